/* Pools in which random processes are hit. Storm "workers": workers are killed; "retries": the same, with tasks that
 * are run again; "stop": workers and the supervisor are stopped for a while; "supervisor": the supervisor is killed;
 * "creator": the creator of the pool is killed.
 *
 * Each task counts in plain shared memory how often it was started and how often it ended. So at the end: every result
 * is right, or says that a worker was killed; there are no more such results than kills; and no task ran twice that was
 * not to be retried. */
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/caller.h"
#include "storm.h"
#include "support.h"

enum { WORKERS = 4, TASKS = 200, ITEMS = 400, DEADLINE = 10 };
/* Ints in a large argument of a map: so large that all arguments together are copied in portions. */
#define WIDE 256

struct tally {
    _Atomic uint32_t started, ended;
};

struct shared {
    struct tally task[TASKS], item[ITEMS];
};

static struct shared *shared;
static mp_pool *pool;
static uint64_t kills, stops, lost, done;
static uint32_t retries;
static double longest;
static bool disturbed; /* a process was stopped on purpose since then */

/* ---- tasks ---- */

static int compute(struct tally *tally, const int *x, int *y)
{
    atomic_fetch_add(&tally->started, 1);
    for (volatile int i = 0; i < *x % 50 * 2000; i++)
        ;
    *y = *x * 3 + 1;
    atomic_fetch_add(&tally->ended, 1);
    return 0;
}

static int task(const void *arg, void *result)
{
    int x = *(const int *)arg;
    int y;
    int code = compute(&shared->task[x], &x, &y);

    if (x % 3 == 0) { /* a result whose size the task chooses */
        int block[500];

        for (int i = 0; i < 500; i++)
            block[i] = y;
        return mp_task_return(block, sizeof block) == 0 ? code : 1000;
    }
    *(int *)result = y;
    return code;
}

static int item(const void *arg, void *result)
{
    return compute(&shared->item[*(const int *)arg], arg, result);
}

static int nothing(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    return 0;
}

/* ---- a round: some tasks, a map, and kills or stops ---- */

static void note_wait(double since)
{
    double took = now() - since;

    if (!disturbed && took > longest)
        longest = took;
}

/* A task may be started once, and once more for each retry allowed. */
static void check_tally(struct tally *tally, int error)
{
    uint32_t started = atomic_load(&tally->started), ended = atomic_load(&tally->ended);

    PROMISE(started <= retries + 1, started);
    PROMISE(error != 0 || ended >= 1, ended);
    if (error == 0)
        done++;
    else
        lost++;
}

static bool is_expected(int error, int death)
{
    return error == 0 || error == death;
}

static void check_task(mp_result *result, int x, int death)
{
    int block[500] = {0};
    double since = now();
    int error = mp_result_get(result, block, sizeof block, 60);

    note_wait(since);
    PROMISE(is_expected(error, death), error);
    for (int i = 0; i < (x % 3 == 0 ? 500 : 1); i++)
        PROMISE(error != 0 || block[i] == x * 3 + 1, block[i]);
    check_tally(&shared->task[x], error);
    PROMISE(mp_result_free(result) == 0, x);
}

static void check_map(mp_result *result, int death)
{
    int out[ITEMS], status, first = 0;
    double since = now();
    int error = mp_result_get(result, out, sizeof out, 60);

    note_wait(since);
    PROMISE(is_expected(error, death), error);
    for (int i = 0; i < ITEMS; i++) {
        PROMISE(mp_result_status(result, (size_t)i, &status) == 0, i);
        PROMISE(is_expected(status, death), status);
        PROMISE(out[i] == (status == 0 ? i * 3 + 1 : 0), out[i]);
        first = first != 0 ? first : status;
        check_tally(&shared->item[i], status);
    }
    PROMISE(first == error, error);
    PROMISE(mp_result_free(result) == 0, error);
}

struct round {
    mp_result *map, *task[TASKS];
    int tasks;
    mp_manager *manager; /* NULL, or younger than the pool: the map's arguments and results lie there */
};

static int *new_memory(struct round *round)
{
    void *memory;

    PROMISE(mp_manager_create(&round->manager, NULL) == 0, 0);
    PROMISE(mp_manager_alloc(round->manager, 2 * ITEMS * sizeof(int), &memory) == 0, 0);
    return memory;
}

/* Submits a map whose items lie in a manager's memory, or are copied. Copied items are sometimes so large that workers
 * begin before all are copied. */
static bool submit_map(struct round *round)
{
    static int own[ITEMS * WIDE];
    mp_map_options options = {.chunk_size = storm_random(2) * (1 + storm_random(20))};
    size_t width = storm_random(3) == 0 ? WIDE : 1;
    int *x = own;

    if (storm_random(3) == 0) {
        width = 1;
        x = new_memory(round);
        options.results = x + ITEMS; /* a multiple of 16 bytes */
    }
    for (size_t i = 0; i < ITEMS; i++)
        x[i * width] = (int)i;
    memset(shared, 0, sizeof *shared);
    int error = mp_pool_map_async(pool, item, x, width * sizeof *x, sizeof(int), ITEMS, &round->map, &options);
    PROMISE(error == 0 || error == MP_EBROKEN, error);
    if (error != 0 && round->manager != NULL)
        PROMISE(mp_manager_free(round->manager) == 0, error);
    return error == 0;
}

static bool submit_task(struct round *round)
{
    int x = round->tasks;
    int error = mp_pool_apply_async(pool, task, &x, sizeof x, sizeof x, &round->task[x]);

    PROMISE(error == 0 || error == MP_EBROKEN, error);
    round->tasks += error == 0;
    return error == 0;
}

static void finish(struct round *round, int death)
{
    for (int i = 0; i < round->tasks; i++)
        check_task(round->task[i], i, death);
    check_map(round->map, death);
    if (round->manager != NULL)
        PROMISE(mp_manager_free(round->manager) == 0, death);
}

/* The pid of a live worker, or 0. */
static pid_t any_worker(void)
{
    pid_t pids[WORKERS];
    size_t live;

    PROMISE(mp_pool_workers(pool, pids, WORKERS, &live) == 0, 0);
    return live > 0 ? pids[storm_random(live)] : 0;
}

static void kill_one(void)
{
    pid_t pid = any_worker();

    if (pid != 0 && kill(pid, SIGKILL) == 0)
        kills++;
}

static void stop_one(void)
{
    pid_t pid = any_worker(), supervisor;

    PROMISE(mp_pool_supervisor(pool, &supervisor) == 0, 0);
    if (storm_random(4) == 0)
        pid = supervisor;
    if (pid == 0 || kill(pid, SIGSTOP) != 0)
        return;
    disturbed = true;
    pause_us((long)storm_random(4000));
    if (pid != supervisor && storm_random(4) == 0 && kill(pid, SIGKILL) == 0)
        kills++;
    kill(pid, SIGCONT);
    stops++;
}

static bool is_full(void *arg)
{
    size_t live;

    return mp_pool_workers(arg, NULL, 0, &live) == 0 && live == WORKERS;
}

static void worker_round(bool with_stops)
{
    struct round round = {.tasks = 0};

    disturbed = false;
    PROMISE(submit_map(&round), 0);
    for (int i = 0; i < TASKS; i++) {
        PROMISE(submit_task(&round), i);
        if (storm_random(20) != 0)
            continue;
        pause_us((long)(storm_random(2) * storm_random(3000)));
        if (with_stops && storm_random(2) == 0)
            stop_one();
        else
            kill_one();
    }
    finish(&round, MP_EDIED - SIGKILL);
}

static void close_pool(int expected)
{
    PROMISE(mp_pool_close(pool) == 0, expected);
    int error = mp_pool_join(pool);
    PROMISE(error == expected, error);
    PROMISE(mp_pool_free(pool) == 0, expected);
}

/* The memory in use after the caller has had the occasion to take back what workers had left behind. */
static uint64_t quiet_use(void)
{
    memset(shared, 0, sizeof *shared);
    PROMISE(wait_until(is_full, pool, 30), 0);
    for (int x = 0; x < TASKS; x++) {
        int y, error = mp_pool_apply(pool, item, &x, sizeof x, &y, sizeof y);

        PROMISE(error == 0 && y == x * 3 + 1, error);
    }
    return atomic_load(&pool->shared.heap->used);
}

/* Slots and places in the queue are kept for ever, so more of them are made here than the storm will need. */
static void fill_queue(void)
{
    pid_t pids[WORKERS];
    size_t live;

    PROMISE(wait_until(is_full, pool, 30), 0);
    PROMISE(mp_pool_workers(pool, pids, WORKERS, &live) == 0, 0);
    for (size_t i = 0; i < live; i++)
        kill(pids[i], SIGSTOP);
    for (int i = 0; i < 5 * TASKS; i++)
        PROMISE(mp_pool_apply_async(pool, nothing, NULL, 0, 0, NULL) == 0, i);
    for (size_t i = 0; i < live; i++)
        kill(pids[i], SIGCONT);
}

static void worker_storm(uint64_t until, bool with_stops)
{
    mp_pool_options pool_options = {.retries = (int)retries};
    uint64_t used = 0;

    PROMISE(mp_pool_create(&pool, WORKERS, &pool_options) == 0, 0);
    fill_queue();
    while (kills + stops < until) {
        worker_round(with_stops);
        if (used == 0 && kills + stops >= until / 5)
            used = quiet_use();
    }
    long long leaked = (long long)quiet_use() - (long long)used;
    printf("  bytes leaked %lld\n", leaked);
    PROMISE(leaked <= 0, leaked);
    PROMISE(lost <= kills, lost - kills);
    close_pool(0);
}

/* ---- supervisors ---- */

static void supervisor_round(void)
{
    struct round round = {.tasks = 0};
    uint64_t at = storm_random(TASKS);
    pid_t supervisor;

    PROMISE(mp_pool_create(&pool, WORKERS, NULL) == 0, 0);
    PROMISE(mp_pool_supervisor(pool, &supervisor) == 0, 0);
    PROMISE(submit_map(&round), 0);
    for (int i = 0; i < TASKS && submit_task(&round); i++) {
        if ((uint64_t)i == at) {
            pause_us((long)storm_random(2000));
            if (storm_random(2) == 0)
                kill_one(); /* so that the supervisor may be reclaiming it */
            kill(supervisor, SIGKILL);
            kills++;
        }
    }
    double since = now();
    finish(&round, MP_EBROKEN);
    note_wait(since);
    close_pool(MP_EBROKEN);
}

/* ---- creators ---- */

static _Noreturn void be_creator(uint64_t seed)
{
    storm_seed(seed);
    for (;;) {
        struct round round = {.tasks = 0};

        if (mp_pool_create(&pool, WORKERS, NULL) != 0 || !submit_map(&round))
            _exit(STORM_FAILED);
        while (round.tasks < TASKS && submit_task(&round))
            ;
        finish(&round, 0);
        if (storm_random(2) == 0)
            close_pool(0);
        else if (mp_pool_free(pool) != 0)
            _exit(STORM_FAILED);
    }
}

/* The creator and all its descendants have the write end of this pipe: it hangs up when all of them are gone. */
static void creator_round(void)
{
    struct pollfd end = {.events = POLLIN};
    int pipe_ends[2], status;

    PROMISE(pipe(pipe_ends) == 0, 0);
    pid_t creator = fork();
    PROMISE(creator >= 0, creator);
    if (creator == 0)
        be_creator(kills + 1);
    close(pipe_ends[1]);
    pause_us((long)storm_random(12000));
    kill(creator, SIGKILL);
    kills++;
    double since = now();
    PROMISE(waitpid(creator, &status, 0) == creator && WIFSIGNALED(status), status);
    end.fd = pipe_ends[0];
    PROMISE(poll(&end, 1, 60000) == 1 && (end.revents & POLLHUP) != 0, end.revents);
    note_wait(since);
    close(pipe_ends[0]);
}

int main(int argc, char **argv)
{
    struct storm_options options = storm_parse(argc, argv);
    bool of_workers = strcmp(options.storm, "supervisor") != 0 && strcmp(options.storm, "creator") != 0;
    uint64_t until = options.kills != 0 ? options.kills : of_workers ? 800 : 200;
    double begun = now();

    shared = shared_memory(sizeof *shared);
    int descriptors = count_descriptors();
    retries = strcmp(options.storm, "retries") == 0 ? 2 : 0;
    if (of_workers)
        worker_storm(until, strcmp(options.storm, "stop") == 0);
    while (kills < until && !of_workers) {
        if (strcmp(options.storm, "supervisor") == 0)
            supervisor_round();
        else
            creator_round();
    }
    printf("  %llu kills and %llu stops survived in %.1f s, %llu tasks and items done, %llu lost\n",
           (unsigned long long)kills, (unsigned long long)stops, now() - begun, (unsigned long long)done,
           (unsigned long long)lost);
    printf("  longest wait %.3f s (promised: 1 s)\n", longest);
    PROMISE(longest < DEADLINE, longest * 1000);
    PROMISE(count_descriptors() == descriptors, count_descriptors() - descriptors);
    PROMISE(count_children() == 0, count_children());
    return 0;
}
