/* Redis over a Unix socket: a server of its own that keeps nothing on disk, one command for each operation, a
 * connection for each process. Only what is there before the clock runs goes in many commands at a time. The server
 * ends with this program. */
#include <hiredis/hiredis.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../dict_works.h"

#define BATCH 1000

static char *path;
static pid_t server, owner;
static redisContext *redis;

static redisReply *check(redisReply *reply)
{
    if (reply != NULL && reply->type != REDIS_REPLY_ERROR)
        return reply;
    fprintf(stderr, "redis: %s\n", reply == NULL ? redis->errstr : reply->str);
    exit(1);
}

static void connect_to_server(void)
{
    redis = redisConnectUnix(path);
    BENCH_CHECK(redis == NULL || redis->err ? MP_ESYSTEM : 0);
}

static void disconnect(void)
{
    redisFree(redis);
}

static void run_server(pid_t parent)
{
    FILE *null = freopen("/dev/null", "w", stdout);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (null != NULL && getppid() == parent)
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--unixsocketperm", "600", "--save",
               "", "--appendonly", "no", "--daemonize", "no", "--dir", "/", "--logfile", "", (char *)NULL);
    _exit(127);
}

/* The socket is there once the server listens; until then it may as well have failed. */
static bool server_is_up(void)
{
    for (int i = 0; i < 1000 && waitpid(server, NULL, WNOHANG) == 0; i++) {
        redisContext *context = redisConnectUnix(path);
        bool up = context != NULL && !context->err;

        if (context != NULL)
            redisFree(context);
        if (up)
            return true;
        poll(NULL, 0, 10);
    }
    return false;
}

static void stop_server(void)
{
    if (getpid() != owner)
        return;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    unlink(path);
}

static void start_server(void)
{
    owner = getpid();
    path = bench_file("redis.sock");
    server = fork();
    BENCH_CHECK(server < 0 ? MP_EAGAIN : 0);
    if (server == 0)
        run_server(owner);
    atexit(stop_server);
    if (!server_is_up()) {
        fprintf(stderr, "redis-server does not start\n");
        exit(1);
    }
}

static void make(size_t entries)
{
    (void)entries;
    connect_to_server();
    freeReplyObject(check(redisCommand(redis, "FLUSHALL")));
}

static void end(void)
{
    disconnect();
}

static void set(const char *key, int64_t value)
{
    freeReplyObject(check(redisCommand(redis, "SET %b %lld", key, (size_t)KEY_LENGTH, (long long)value)));
}

static int64_t get(const char *key)
{
    redisReply *reply = check(redisCommand(redis, "GET %b", key, (size_t)KEY_LENGTH));
    int64_t value = strtoll(reply->str, NULL, 10);

    freeReplyObject(reply);
    return value;
}

static void add(const char *key, int64_t delta)
{
    freeReplyObject(check(redisCommand(redis, "INCRBY %b %lld", key, (size_t)KEY_LENGTH, (long long)delta)));
}

static redisReply *next_reply(void)
{
    void *reply = NULL;

    redisGetReply(redis, &reply);
    return check(reply);
}

static void fill(size_t first, size_t count)
{
    char key[KEY_SIZE];

    for (size_t i = first; i < first + count; i += BATCH) {
        size_t batch = count - (i - first) < BATCH ? count - (i - first) : BATCH;

        for (size_t j = 0; j < batch; j++) {
            dict_key(i + j, key);
            redisAppendCommand(redis, "SET %b %lld", key, (size_t)KEY_LENGTH, (long long)(i + j));
        }
        for (size_t j = 0; j < batch; j++)
            freeReplyObject(next_reply());
    }
}

/* The values of the keys that a SCAN has found; their number. */
static size_t get_values(const redisReply *keys)
{
    const char *argument[BATCH * 4 + 1] = {"MGET"};
    size_t count = keys->elements < BATCH * 4 ? keys->elements : BATCH * 4;

    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        argument[i + 1] = keys->element[i]->str;
    redisReply *reply = check(redisCommandArgv(redis, (int)count + 1, argument, NULL));
    count = reply->elements;
    freeReplyObject(reply);
    return count;
}

static size_t iterate(void)
{
    char cursor[32] = "0";
    size_t met = 0;

    do {
        redisReply *reply = check(redisCommand(redis, "SCAN %s COUNT %d", cursor, BATCH));

        met += get_values(reply->element[1]);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    return met;
}

static size_t memory(void)
{
    redisReply *reply = check(redisCommand(redis, "INFO memory"));
    size_t used = strtoull(strstr(reply->str, "used_memory:") + strlen("used_memory:"), NULL, 10);

    freeReplyObject(reply);
    return used;
}

int main(int argc, char **argv)
{
    static const struct store store = {.system = "Redis",
                                       .part = 100,
                                       .most = 1000000,
                                       .make = make,
                                       .end = end,
                                       .enter = connect_to_server,
                                       .leave = disconnect,
                                       .set = set,
                                       .get = get,
                                       .add = add,
                                       .iterate = iterate,
                                       .memory = memory,
                                       .fill = fill};

    bench_begin(argc, argv);
    start_server();
    dict_works(&store);
    return 0;
}
