/* Two pipes to a process that takes what comes and answers: what carrying bytes to another process and back costs
 * without any library. */
#include <fcntl.h>
#include <mp.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../pool_works.h"

#define PIPE_SIZE (1 << 20) /* as much as an ordinary user may have */

/* What a message begins with. */
struct head {
    size_t to, back; /* bytes that follow; bytes of the answer */
};

static int out, in;
static pid_t server;

static void write_all(int file, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(file, data, size);

        BENCH_CHECK(written <= 0 ? MP_ESYSTEM : 0);
        data += written;
        size -= (size_t)written;
    }
}

static bool read_all(int file, char *data, size_t size)
{
    while (size > 0) {
        ssize_t got = read(file, data, size);

        if (got <= 0)
            return false;
        data += got;
        size -= (size_t)got;
    }
    return true;
}

static void serve(int from, int to)
{
    static char memory[16 << 20];
    struct head head;

    while (read_all(from, (char *)&head, sizeof head) && read_all(from, memory, head.to))
        write_all(to, memory, head.back);
    _exit(0);
}

static void start(int workers)
{
    int there[2], back[2];

    (void)workers;
    BENCH_CHECK(pipe(there) || pipe(back) ? MP_EAGAIN : 0);
    fcntl(there[1], F_SETPIPE_SZ, PIPE_SIZE);
    fcntl(back[1], F_SETPIPE_SZ, PIPE_SIZE);
    server = fork();
    BENCH_CHECK(server < 0 ? MP_EAGAIN : 0);
    if (server == 0) {
        close(there[1]);
        serve(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    out = there[1];
    in = back[0];
}

static void end(void)
{
    close(out);
    close(in);
    waitpid(server, NULL, 0);
}

static void send_all(const void *data, size_t size)
{
    struct head head = {size, 1};
    char answer;

    write_all(out, (char *)&head, sizeof head);
    write_all(out, data, size);
    BENCH_CHECK(read_all(in, &answer, 1) ? 0 : MP_ESYSTEM);
}

static void fetch(void *data, size_t size)
{
    struct head head = {0, size};

    write_all(out, (char *)&head, sizeof head);
    BENCH_CHECK(read_all(in, data, size) ? 0 : MP_ESYSTEM);
}

int main(int argc, char **argv)
{
    static const struct crew crew = {
        .system = "pipe", .copies = true, .part = 1, .start = start, .end = end, .send = send_all, .fetch = fetch};

    bench_begin(argc, argv);
    pool_works(&crew);
    return 0;
}
