/* A storm over a library that delays between the steps of its protocols (src/base/delay.h): pools of 1 to 8 workers,
 * tasks of all sorts, workers that are killed. Required:
 *
 * - Every task runs once. If workers are killed, it runs at least once, and no more often than its retries allow.
 * - Every result arrives.
 * - No worker sleeps while there is work.
 *
 *     storm_delays SECONDS [SEED]     rounds with random seeds, or from SEED on, for that time
 *     storm_delays round SEED         one round, with delays as the environment says
 *
 * Each round is a process of its own: its delays are set through the environment, and a hang is noticed. */
#include <mp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TASKS = 3000,
    PENDING = 64,
    RETRIES = 8,
    MAX_WORKERS = 8,
    LONGEST_MAP = 200,
    LONGEST_BURST = 600,
    TEXT = 40,
    ROUND_SECONDS = 60
};

#define MUST(condition) \
    do { \
        if (!(condition)) \
            fail(__LINE__, #condition); \
    } while (0)

/* Shared with the workers. */
static struct shared {
    _Atomic uint32_t runs[TASKS];
    _Atomic uint32_t meeting; /* number of meetings so far */
    _Atomic uint32_t met[MAX_WORKERS];
} * shared;

static mp_dict *dict;
static uint64_t seed;
static bool killing;

static struct {
    mp_result *result;
    int task;
} pending[PENDING];
static int pending_count;

static _Noreturn void fail(int line, const char *what)
{
    fprintf(stderr, "storm_delays: line %d: not true: %s (seed %llu)\n", line, what, (unsigned long long)seed);
    _exit(1);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int below(int limit)
{
    return rand() % limit;
}

/* ---- tasks ---- */

static int square(const void *arg, void *result)
{
    int task = *(const int *)arg;

    atomic_fetch_add(&shared->runs[task], 1);
    *(int *)result = task * task;
    return 0;
}

static int square_returned(const void *arg, void *result)
{
    int task = *(const int *)arg, y = task * task;
    (void)result;

    atomic_fetch_add(&shared->runs[task], 1);
    return mp_task_return(&y, sizeof y) == 0 ? 0 : 1;
}

/* Writes a text of one repeated letter, which must never be read mixed with another. */
static int write_text(const void *arg, void *result)
{
    int task = *(const int *)arg;
    char text[TEXT + 1] = {0};

    memset(text, 'a' + task % 26, TEXT);
    atomic_fetch_add(&shared->runs[task], 1);
    *(int *)result = task * task;
    return mp_dict_set_str(dict, "text", text) == 0 && mp_dict_add_int(dict, "count", 1, NULL) == 0 ? 0 : 1;
}

struct meeting {
    uint32_t number;
    int place, places;
};

/* Ends when all tasks of this meeting have begun. So if one of them stays queued while a worker sleeps, none ends. */
static int meet(const void *arg, void *result)
{
    const struct meeting *meeting = arg;
    (void)result;

    atomic_store(&shared->met[meeting->place], meeting->number);
    for (int i = 0; i < meeting->places; i++) {
        while (atomic_load(&shared->met[i]) < meeting->number)
            sched_yield();
    }
    return 0;
}

/* ---- the caller ---- */

static void check_runs(int from, int to)
{
    for (int i = from; i < to; i++) {
        uint32_t runs = atomic_load(&shared->runs[i]);

        MUST(runs >= 1 && runs <= (killing ? 1 + RETRIES : 1));
    }
}

static void take_result(int at)
{
    int y = -1, task = pending[at].task;

    MUST(mp_result_get(pending[at].result, &y, sizeof y, ROUND_SECONDS) == 0);
    MUST(y == task * task);
    MUST(mp_result_free(pending[at].result) == 0);
    check_runs(task, task + 1);
    pending[at] = pending[--pending_count];
}

static void start_task(mp_pool *pool, int task)
{
    mp_task_function *const functions[] = {square, square, square_returned, write_text};
    mp_result *result;

    if (below(4) == 0) {
        MUST(mp_pool_apply_async(pool, square, &task, sizeof task, sizeof(int), NULL) == 0);
        return;
    }
    MUST(mp_pool_apply_async(pool, functions[below(4)], &task, sizeof task, sizeof(int), &result) == 0);
    if (pending_count == PENDING)
        take_result(below(PENDING));
    pending[pending_count].result = result;
    pending[pending_count++].task = task;
}

/* Submits many tasks at once without results: the queue's ring wraps, and workers take several at a time. */
static void start_burst(mp_pool *pool, int task, int count)
{
    for (int i = task; i < task + count; i++)
        MUST(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof(int), NULL) == 0);
}

static void apply_task(mp_pool *pool, int task)
{
    int y = -1;

    MUST(mp_pool_apply(pool, square, &task, sizeof task, &y, sizeof y) == 0);
    MUST(y == task * task);
    check_runs(task, task + 1);
}

static void map_tasks(mp_pool *pool, int task, int count)
{
    int args[LONGEST_MAP], results[LONGEST_MAP];
    mp_map_options options = {.chunk_size = (size_t)below(8)};

    for (int i = 0; i < count; i++)
        args[i] = task + i;
    MUST(mp_pool_map_with(pool, square, args, sizeof(int), results, sizeof(int), (size_t)count, &options) == 0);
    for (int i = 0; i < count; i++)
        MUST(results[i] == args[i] * args[i]);
    check_runs(task, task + count);
}

/* The caller does not wait inside the library here, so nothing wakes sleeping workers after a while. */
static void hold_meeting(mp_pool *pool, int places)
{
    struct meeting meeting = {.number = atomic_fetch_add(&shared->meeting, 1) + 1, .places = places};
    mp_result *results[MAX_WORKERS];
    double end = now() + ROUND_SECONDS / 2.0;

    for (int i = 0; i < places; i++) {
        meeting.place = i;
        MUST(mp_pool_apply_async(pool, meet, &meeting, sizeof meeting, 0, &results[i]) == 0);
    }
    for (int i = 0; i < places; i++) {
        bool ready = false;

        while (!ready) {
            MUST(mp_result_ready(results[i], &ready) == 0);
            MUST(now() < end);
            sched_yield();
        }
        MUST(mp_result_get(results[i], NULL, 0, 0) == 0);
        MUST(mp_result_free(results[i]) == 0);
    }
}

static void kill_one(mp_pool *pool)
{
    pid_t pids[MAX_WORKERS];
    size_t live;

    MUST(mp_pool_workers(pool, pids, MAX_WORKERS, &live) == 0);
    if (live > 0)
        kill(pids[(size_t)below((int)live)], SIGKILL);
}

static void read_text(void)
{
    char text[TEXT + 1] = {0};
    size_t length;
    int error = mp_dict_get_str(dict, "text", text, sizeof text, &length);

    MUST(error == 0 || error == MP_EKEY);
    for (int i = 1; error == 0 && i < TEXT; i++)
        MUST(text[i] == text[0]);
}

static int run_round(void)
{
    int workers = 1 + below(MAX_WORKERS);
    mp_pool_options options = {.retries = killing ? RETRIES : 0,
                               .max_tasks_per_child = below(3) == 0 ? 1 + below(30) : 0};
    mp_manager *manager;
    mp_pool *pool;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(shared != MAP_FAILED);
    MUST(mp_manager_create(&manager, NULL) == 0 && mp_manager_dict(manager, &dict) == 0);
    MUST(mp_pool_create(&pool, workers, &options) == 0);
    for (int task = 0; task < TASKS;) {
        int count = 1;

        switch (below(24)) {
        case 0:
            count = 1 + below(TASKS - task < LONGEST_MAP ? TASKS - task : LONGEST_MAP);
            map_tasks(pool, task, count);
            break;
        case 1:
            apply_task(pool, task);
            break;
        case 2:
            hold_meeting(pool, workers);
            count = 0;
            break;
        case 3:
            if (killing && below(4) == 0)
                kill_one(pool);
            read_text();
            count = 0;
            break;
        case 4:
            while (pending_count > 0)
                take_result(pending_count - 1);
            count = 0;
            break;
        case 5:
            count = 1 + below(TASKS - task < LONGEST_BURST ? TASKS - task : LONGEST_BURST);
            start_burst(pool, task, count);
            if (below(2) == 0)
                hold_meeting(pool, workers);
            break;
        default:
            start_task(pool, task);
        }
        task += count;
    }
    if (below(2) == 0) {
        while (pending_count > 0)
            take_result(pending_count - 1);
    }
    MUST(mp_pool_close(pool) == 0);
    MUST(mp_pool_join(pool) == 0);
    while (pending_count > 0)
        take_result(pending_count - 1);
    check_runs(0, TASKS);
    MUST(mp_pool_free(pool) == 0);
    MUST(mp_manager_free(manager) == 0);
    return 0;
}

/* ---- rounds ---- */

static void set(const char *name, int value)
{
    char text[32];

    snprintf(text, sizeof text, "%d", value);
    setenv(name, text, 1);
}

static _Noreturn void exec_round(char *program, uint64_t number)
{
    char text[32];
    char *args[] = {program, (char[]){"round"}, text, NULL};

    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    srand((unsigned)number);
    setenv("MP_DELAY_SEED", text, 1);
    set("MP_DELAY_ONE_IN", below(2) == 0 ? 2 + below(40) : 40 + below(2000));
    set("MP_DELAY_MAX_US", 1 + below(200));
    set("MP_DELAY_KILL_ONE_IN", number % 2 == 0 ? 0 : 2000 + below(4000));
    execv("/proc/self/exe", args);
    _exit(127);
}

/* Returns whether the round went well. */
static bool spawn_round(char *program, uint64_t number)
{
    double end = now() + 2 * ROUND_SECONDS;
    int status;
    pid_t pid = fork();

    if (pid == 0)
        exec_round(program, number);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now() > end) {
            fprintf(stderr, "storm_delays: hangs (seed %llu)\n", (unsigned long long)number);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return false;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "round") == 0) {
        seed = strtoull(argv[2], NULL, 10);
        killing = seed % 2 == 1;
        srand((unsigned)seed ^ 0x5eed);
        return run_round();
    }
    if (argc < 2) {
        fprintf(stderr, "usage: storm_delays SECONDS [SEED]\n");
        return 2;
    }
    double end = now() + strtod(argv[1], NULL);
    uint64_t number = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) % 1000000 * 1000;
    uint64_t rounds = 0;
    printf("storm_delays: from seed %llu\n", (unsigned long long)number);
    fflush(stdout);
    for (; now() < end; number++, rounds++) {
        if (!spawn_round(argv[0], number)) {
            fprintf(stderr, "storm_delays: failed; again with: %s 1 %llu\n", argv[0], (unsigned long long)number);
            return 1;
        }
    }
    printf("storm_delays: %llu rounds of %d tasks\n", (unsigned long long)rounds, TASKS);
    return 0;
}
