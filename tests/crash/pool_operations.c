/* Pools: workers, supervisors and callers that are killed at every step of what they do.
 *
 * Each run has a pool of its own, made by a process that plays the caller:
 *
 * 1. When all processes of the pool sleep, the tracer takes hold of the victim.
 * 2. The caller gives the cause (submits tasks, say) and is stopped, so that only the victim moves while it is stepped.
 * 3. After the death of the victim the caller goes on.
 *
 * What the caller has to find then:
 *
 * - After the death of a worker: every result but that of the task it had, and a pool as large as before, which works,
 *   closes and joins.
 * - After the death of a supervisor: an error at once instead of an endless wait.
 * - After the death of a caller nothing may be left: no process, no file. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "killer.h"
#include "object/object_check.h"
#include "pool/caller.h"
#include "tracer.h"

#define SECONDS 60
#define PATIENCE 20.0 /* seconds, for what should happen at once */
#define MOST_TASKS 300
#define ITEMS 10   /* of a map */
#define RESULTS 16 /* index in the shared numbers of the first result: aligned to 16 bytes */
#define WATCHED (UINT64_C(384) * 1024)

enum victim { WORKER, NEW_WORKER, SUPERVISOR, NEW_SUPERVISOR, CALLER };

struct scene {
    enum victim victim;
    int workers; /* 0: the cause makes the pool */
    mp_pool_options options;
    void (*first)(void);  /* before the pool is made; NULL: nothing */
    void (*before)(void); /* NULL: nothing */
    bool caller_dies;     /* the cause kills the caller */
};

/* Shared between the tracer and the process that plays the caller. */
static struct control {
    pid_t victim;
    bool killed;
    _Atomic bool decided; /* the victim was killed, or released */
    char problem[300];
} * control;

static void problem(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void problem(const char *format, ...)
{
    va_list arguments;

    if (control->problem[0] != 0)
        return;
    va_start(arguments, format);
    vsnprintf(control->problem, sizeof control->problem, format, arguments);
    va_end(arguments);
}

/* ---- the caller ---- */

static const struct scene *scene;
static mp_pool *pool;
static mp_result *result[MOST_TASKS], *map;
static int submitted, tolerated;
static mp_manager *manager;
static int *numbers; /* in the manager: arguments, and room for results */
static bool closed;

static void must(int error, const char *what)
{
    if (error != 0)
        problem("%s: %s", what, mp_strerror(error));
}

static void expect(bool condition, const char *what)
{
    if (!condition)
        problem("%s", what);
}

static bool wait_for(bool (*condition)(void))
{
    const struct timespec pause = {.tv_nsec = 200000};

    for (double waited = 0; !condition(); waited += 0.0002) {
        if (waited > PATIENCE)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

static bool all_asleep(void)
{
    for (uint32_t i = 0; i < pool->shared.workers; i++) {
        if (atomic_load(&pool->shared.worker[i].asleep) == 0)
            return false;
    }
    return true;
}

static bool decided(void)
{
    return control->decided;
}

static bool is_full(void)
{
    size_t live;

    return mp_pool_workers(pool, NULL, 0, &live) == 0 && live == pool->shared.workers;
}

static int square(const void *arg, void *out)
{
    int x = *(const int *)arg;

    *(int *)out = x * x;
    return 0;
}

struct large {
    int x;
    char filling[996];
};

static int square_of_large(const void *arg, void *out)
{
    struct large back = *(const struct large *)arg;

    back.x *= back.x;
    *(struct large *)out = back;
    return mp_task_return(&back, sizeof back);
}

/* Large enough for the worker to zero memory ahead. */
#define HUGE_SIZE (size_t)65536

/* Reads and writes something in each page: touching all bytes would take too many steps. */
static int square_huge(const void *arg, void *out)
{
    int x = *(const int *)arg;

    for (size_t i = 0; i < HUGE_SIZE; i += 4096) {
        if (((char *)out)[i] != 0)
            return 1;
        ((char *)out)[i] = 1;
    }
    *(int *)out = x * x;
    return 0;
}

static int square_returned(const void *arg, void *out)
{
    int ints[600] = {0};
    (void)out;

    if (mp_task_return(ints, sizeof ints) != 0)
        return 1;
    ints[0] = *(const int *)arg * *(const int *)arg;
    return mp_task_return(ints, sizeof ints[0]);
}

static void submit(int count)
{
    while (count-- > 0) {
        int x = submitted;

        must(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof x, &result[submitted]), "mp_pool_apply_async");
        submitted++;
    }
}

/* After the death of a worker one task may fail; after the death of a supervisor, all. */
static void take_outcome(int error)
{
    if (error == 0 || !control->killed) {
        must(error, "mp_result_get");
        return;
    }
    if (scene->victim == SUPERVISOR || scene->victim == NEW_SUPERVISOR)
        expect(error == MP_EBROKEN || mp_died(error, NULL), "a task of a broken pool fails with something else");
    else if (--tolerated < 0 || error != MP_EDIED - SIGKILL)
        problem("a task failed that the dead one did not have: %s", mp_strerror(error));
}

static void take_results(void)
{
    for (int i = 0; i < submitted; i++) {
        static int out[HUGE_SIZE / sizeof(int)];

        if (result[i] == NULL)
            continue;
        out[0] = -1;
        int error = mp_result_get(result[i], out, sizeof out, PATIENCE);
        take_outcome(error);
        expect(error != 0 || out[0] == i * i, "a task has a wrong result");
        must(mp_result_free(result[i]), "mp_result_free");
        result[i] = NULL;
    }
}

static void take_map(void)
{
    int out[ITEMS], status;

    int error = mp_result_get(map, out, sizeof out, PATIENCE);
    expect(error != MP_ETIMEOUT, "a map does not end");
    for (int i = 0; i < ITEMS; i++) {
        must(mp_result_status(map, (size_t)i, &status), "mp_result_status");
        take_outcome(status);
        expect(status != 0 || out[i] == i * i, "an item of a map has a wrong result");
        error = status == error ? 0 : error;
    }
    expect(error == 0, "a map's error is none of its items'");
    expect(numbers == NULL || memcmp(numbers + RESULTS, out, sizeof out) == 0, "results are not where they should be");
    must(mp_result_free(map), "mp_result_free");
    map = NULL;
}

static void mark_slot(struct slot *slot, object_marker *mark, void *context)
{
    struct map_job *job = slot->result.job;

    mark(context, atomic_load(&slot->task.arg_block));
    mark(context, atomic_load(&slot->task.result_block));
    mark(context, atomic_load(&slot->task.returned_block));
    if (job != NULL) {
        mark(context, atomic_load(&job->args));
        mark(context, atomic_load(&job->results));
        mark(context, atomic_load(&job->statuses));
    }
}

struct marking {
    object_marker *mark;
    void *context;
};

static bool visit_slot(struct slot *slot, void *arg)
{
    struct marking *marking = arg;

    mark_slot(slot, marking->mark, marking->context);
    return false;
}

static void mark_pool(struct heap *heap, object_marker *mark, void *context)
{
    struct pool *shared = &pool->shared;
    struct marking marking = {mark, context};

    mark(context, atomic_load(&heap->root));
    mark(context, atomic_load(&shared->worker_block));
    mark(context, atomic_load(&pool->staging));
    for (uint32_t i = 0; i < shared->workers; i++)
        mark(context, atomic_load(&shared->worker[i].spare));
    for (int i = 0; i < SEGMENTS; i++) {
        mark(context, atomic_load(&shared->segment[i]));
        mark(context, atomic_load(&shared->ring_block[i]));
    }
    slots_visit(shared, visit_slot, &marking);
}

static void finish_working_pool(void)
{
    if (!closed) {
        expect(wait_for(is_full), "the pool is not back at its size");
        int x = 7, y = 0;
        must(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y), "mp_pool_apply afterwards");
        expect(y == 49, "a wrong result afterwards");
        expect(wait_for(all_asleep), "the workers do not come to rest");
    }
    must(mp_pool_close(pool), "mp_pool_close");
    must(mp_pool_join(pool), "mp_pool_join");
}

static void finish_broken_pool(void)
{
    int x = 7, y;
    int error = mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y);

    expect(error == MP_EBROKEN || (closed && error == MP_ECLOSED), "a pool without a supervisor takes tasks");
    must(mp_pool_close(pool), "mp_pool_close");
    error = mp_pool_join(pool);
    expect(error == MP_EBROKEN || (closed && error == 0), "the join of a broken pool says something else");
}

static void finish(void)
{
    if (pool == NULL)
        return;
    bool supervisor = scene->victim == SUPERVISOR || scene->victim == NEW_SUPERVISOR;
    tolerated = scene->options.retries == 0 ? 1 : 0;
    take_results();
    if (map != NULL)
        take_map();
    if (control->killed && supervisor)
        finish_broken_pool();
    else
        finish_working_pool();
    int error = control->killed && supervisor ? 0 : object_check_heap(pool->shared.heap, mark_pool);
    must(error, "the pool's heap");
    must(mp_pool_free(pool), "mp_pool_free");
    if (manager != NULL) {
        must(mp_memory_free(numbers), "mp_memory_free");
        must(mp_manager_check(manager), "mp_manager_check");
        must(mp_manager_free(manager), "mp_manager_free");
    }
}

/* ---- causes ---- */

static void submit_three(void)
{
    submit(3);
}

static void submit_large(void)
{
    for (int i = 0; i < 3; i++) {
        struct large arg = {.x = submitted};
        int x = submitted;

        if (i != 1)
            must(mp_pool_apply_async(pool, square_of_large, &arg, sizeof arg, sizeof arg, &result[submitted]), "large");
        else
            must(mp_pool_apply_async(pool, square_returned, &x, sizeof x, 0, &result[submitted]), "returned");
        submitted++;
    }
}

static void fire_and_forget(void)
{
    int x = 3;

    for (int i = 0; i < 3; i++)
        must(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof x, NULL), "mp_pool_apply_async");
}

static void submit_map_in_chunks(size_t chunk_size)
{
    int in[ITEMS];

    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    must(mp_pool_map_async(pool, square, in, sizeof *in, sizeof *in, ITEMS, &map,
                           &(mp_map_options){.chunk_size = chunk_size}),
         "mp_pool_map_async");
}

static void submit_map(void)
{
    submit_map_in_chunks(3);
}

/* For one worker the chunks have the sizes 2 2 2 1 1 1 1. */
static void submit_guided_map(void)
{
    submit_map_in_chunks(0);
}

/* So large that the arguments are copied in portions, while workers already begin. */
static void submit_large_map(void)
{
    static int in[ITEMS][8192];

    for (int i = 0; i < ITEMS; i++)
        in[i][0] = i;
    must(mp_pool_map_async(pool, square, in, sizeof *in, sizeof(int), ITEMS, &map, &(mp_map_options){.chunk_size = 1}),
         "mp_pool_map_async");
}

static void make_numbers(void)
{
    must(mp_manager_create(&manager, NULL), "mp_manager_create");
    must(mp_manager_alloc(manager, 2 * RESULTS * sizeof *numbers, (void **)&numbers), "mp_manager_alloc");
    for (int i = 0; i < ITEMS; i++)
        numbers[i] = i;
}

static void submit_map_in_place(void)
{
    must(mp_pool_map_async(pool, square, numbers, sizeof *numbers, sizeof *numbers, ITEMS, &map,
                           &(mp_map_options){.chunk_size = 3, .results = numbers + RESULTS}),
         "mp_pool_map_async");
}

static void submit_huge(void)
{
    int x = submitted;

    must(mp_pool_apply_async(pool, square_huge, &x, sizeof x, HUGE_SIZE, &result[submitted]), "mp_pool_apply_async");
    submitted++;
}

/* The worker has zeroed memory ahead, which another task gets. */
static void three_huge(void)
{
    for (int i = 0; i < 3; i++) {
        submit_huge();
        take_results();
    }
    expect(wait_for(all_asleep), "the workers do not come to rest");
}

/* The memory is younger than the pool: supervisor and workers have to map it. */
static void map_in_young_memory(void)
{
    make_numbers();
    submit_map_in_place();
    take_map();
}

static void free_manager(void)
{
    must(mp_manager_free(manager), "mp_manager_free");
    manager = NULL;
    numbers = NULL;
}

static void close_it(void)
{
    closed = true;
    must(mp_pool_close(pool), "mp_pool_close");
}

static void submit_and_close(void)
{
    submit(2);
    close_it();
}

static void kill_a_worker(void)
{
    kill(atomic_load(&pool->shared.worker[0].pid), SIGKILL);
}

static void submit_huge_and_kill_a_worker(void)
{
    submit_huge();
    kill_a_worker();
}

static void submit_map_in_place_and_kill_a_worker(void)
{
    submit_map_in_place();
    kill_a_worker();
}

static void submit_and_kill_a_worker(void)
{
    submit(2);
    kill_a_worker();
}

/* Does the first steps of mp_pool_terminate(). The call itself would wait for the supervisor, which is stopped. */
static void begin_to_terminate(void)
{
    closed = true;
    submit(1);
    kill(atomic_load(&pool->shared.worker[0].pid), SIGKILL);
    atomic_store(&pool->shared.state, POOL_TERMINATED);
    expect(kill(pool->supervisor, SIGCHLD) == 0, "the supervisor is called");
    mp_result_free(result[--submitted]);
}

static void die(void)
{
    raise(SIGKILL);
}

/* ---- what callers do, as victims ---- */

static void create(void)
{
    mp_pool *made;

    int error = mp_pool_create(&made, 2, NULL);
    if (error == 0)
        pool = made;
    else
        expect(control->killed && scene->victim == NEW_SUPERVISOR, "mp_pool_create fails");
}

static void submit_one(void)
{
    submit(1);
}

static void sixty_four(void)
{
    submit(64);
}

static void two_hundred_fifty_six(void)
{
    submit(256);
}

static void apply(void)
{
    int x = 5, y = 0;

    must(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y), "mp_pool_apply");
    expect(y == 25, "a wrong result");
}

/* The arguments have a size whose memory rests before it is reused. */
static void apply_large(void)
{
    static struct large in[20], out[20];

    for (int i = 0; i < 2; i++) {
        in->x = i + 5;
        must(mp_pool_apply(pool, square, in, sizeof in, out, sizeof out), "mp_pool_apply");
        expect(out->x == in->x * in->x, "a wrong result");
    }
}

static void whole_map(void)
{
    submit_map();
    take_map();
}

static void whole_large_map(void)
{
    submit_large_map();
    take_map();
}

static void terminate(void)
{
    closed = true;
    must(mp_pool_terminate(pool), "mp_pool_terminate");
}

static void close_and_join(void)
{
    close_it();
    must(mp_pool_join(pool), "mp_pool_join");
}

static void free_it(void)
{
    must(mp_pool_free(pool), "mp_pool_free");
    pool = NULL;
}

/* ---- the process that plays the caller ---- */

static pid_t victim_of(void)
{
    switch (scene->victim) {
    case WORKER:
        return atomic_load(&pool->shared.worker[0].pid);
    case SUPERVISOR:
    case NEW_WORKER:
        return pool->supervisor;
    default:
        return getpid();
    }
}

static bool dirty;

static _Noreturn void play(const struct operation *operation)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (scene->first != NULL)
        scene->first();
    if (scene->workers > 0) {
        must(mp_pool_create(&pool, scene->workers, &scene->options), "mp_pool_create");
        expect(wait_for(all_asleep), "the workers do not come to rest");
        if (dirty)
            make_room_dirty(pool->shared.heap);
    }
    if (scene->before != NULL)
        scene->before();
    control->victim = victim_of();
    if (scene->victim == CALLER)
        trace_me();
    else
        raise(SIGSTOP);
    operation->operate();
    if (scene->victim == CALLER)
        trace_mark_end();
    else if (scene->victim != NEW_SUPERVISOR)
        raise(SIGSTOP);
    /* A new supervisor is traced while its caller goes on. */
    expect(wait_for(decided), "the tracer is stuck");
    finish();
    exit(0);
}

/* ---- the tracer ---- */

/* The pool's heap, mapped by this process. */
static struct heap *seen;

static const char *end_of_heap(void)
{
    uint64_t size = atomic_load(&seen->size);

    return (const char *)seen + (size < WATCHED ? size : WATCHED);
}

/* Maps the memory file of the pool that a process has open. There is exactly one. */
static void map_heap_of(pid_t pid, struct watch *watch)
{
    char path[300], target[100];
    struct dirent *entry;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = 0;
        if (strstr(target, "memfd:libmp") == NULL)
            continue;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *address = mmap(NULL, WATCHED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (address == MAP_FAILED)
            continue;
        seen = address;
        if (seen->kind != HEAP_POOL) { /* the heap of a manager */
            munmap(seen, WATCHED);
            seen = NULL;
            continue;
        }
        watch->end = end_of_heap;
        watch_add(watch, seen, WATCHED);
        break;
    }
    if (directory != NULL)
        closedir(directory);
}

static void unmap_heap(struct watch *watch)
{
    if (seen != NULL)
        munmap(seen, WATCHED);
    seen = NULL;
    watch_free(watch);
}

static pid_t stage; /* the process that plays the caller */

/* Lets the caller go on, to its next stop or to its end. */
static void go_on(void)
{
    int status;

    kill(stage, SIGCONT);
    while (waitpid(stage, &status, WUNTRACED) < 0 && errno == EINTR && !time_is_up())
        ;
    if (!WIFSTOPPED(status))
        stage = 0;
}

/* The victim, seized and stopped, after the cause was given. 0: it could not be seized. */
static pid_t hold_victim(struct watch *watch)
{
    int status;

    while (waitpid(stage, &status, WUNTRACED) < 0 && errno == EINTR && !time_is_up())
        ;
    if (!WIFSTOPPED(status))
        return 0;
    if (scene->workers > 0)
        map_heap_of(stage, watch);
    switch (scene->victim) {
    case CALLER:
        return stage;
    case NEW_SUPERVISOR:
        return trace_seize(stage) && kill(stage, SIGCONT) == 0 ? trace_newborn(stage, NULL) : 0;
    case NEW_WORKER:
        return trace_seize(control->victim) ? trace_newborn(control->victim, go_on) : 0;
    default:
        if (!trace_seize(control->victim))
            return 0;
        go_on();
        return control->victim;
    }
}

/* All processes have to be gone soon. This process reaps orphans. */
static void expect_nobody(void)
{
    const struct timespec pause = {.tv_nsec = 500000};
    int status;

    for (double waited = 0;; waited += 0.0005) {
        pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);

        if (pid < 0 && errno == ECHILD)
            return;
        if (pid > 0)
            continue;
        if (waited > PATIENCE)
            break;
        nanosleep(&pause, NULL);
    }
    problem("processes are left");
}

static void end_stage(bool dead)
{
    int status = 0;

    if (!dead && stage != 0) {
        kill(stage, SIGCONT);
        while (waitpid(stage, &status, 0) < 0 && errno == EINTR && !time_is_up())
            ;
        if (time_is_up()) {
            problem("the caller hangs");
            kill(stage, SIGKILL);
        } else if (WIFSIGNALED(status) && !scene->caller_dies) {
            problem("the caller died of signal %d", WTERMSIG(status));
        }
    }
    expect_nobody();
}

/* One run, up to a point. Returns whether the point was reached. */
static bool run_once(const struct operation *operation, struct trace *trace, size_t point)
{
    struct watch watch = {NULL, 0, NULL};

    memset(control, 0, sizeof *control);
    time_limit(SECONDS);
    stage = fork();
    if (stage == 0)
        play(operation);
    pid_t victim = hold_victim(&watch);
    enum trace_end end = TRACE_GONE;
    if (victim == 0) {
        problem("the victim could not be held");
    } else {
        trace_begin(trace, victim, watch.count > 0 ? &watch : NULL);
        trace->ends_when_blocked = scene->victim != CALLER;
        end = trace_run(trace, point);
        control->killed = end == TRACE_AT_POINT || end == TRACE_STUCK;
        if (end == TRACE_STUCK)
            problem("the victim hangs");
        if (control->killed)
            trace_kill(trace);
        else
            trace_release(trace, end);
    }
    control->decided = true;
    end_stage(scene->victim == CALLER && control->killed);
    unmap_heap(&watch);
    return end == TRACE_AT_POINT;
}

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    struct trace found = {.record = true};

    if (control == NULL)
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    scene = operation->scene;
    dirty = plan->dirty;
    run_once(operation, &found, SIZE_MAX);
    tally->points = found.count;
    if (control->problem[0] != 0)
        failed(tally, operation, found.count, -1, 0, control->problem);
    /* A run has to start processes and wait for them, so a pool gets a third of the kills that other families get. */
    size_t most = plan->points == SIZE_MAX ? SIZE_MAX : (plan->points + 2) / 3;
    for (size_t i = 0; i < found.count && i < most && tally->failures < 3; i++) {
        struct trace trace = {.record = false};
        size_t point = plan->point >= 0 ? (size_t)plan->point : chosen(i, most, found.count);

        tally->killed += run_once(operation, &trace, point);
        trace_free(&trace);
        if (control->problem[0] != 0)
            failed(tally, operation, point, -1, point < found.count ? found.point[point].pc : 0, control->problem);
        if (plan->point >= 0)
            break;
    }
    trace_free(&found);
    time_limit(0);
}

#define SCENE(...) (&(const struct scene){__VA_ARGS__})

static const struct operation operations[] = {
    {"pool.worker_tasks", NULL, submit_three, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_large_tasks", NULL, submit_large, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_tasks_retried", NULL, submit_large, NULL,
     SCENE(.victim = WORKER, .workers = 1, .options = {.retries = 1})},
    {"pool.worker_forgotten_tasks", NULL, fire_and_forget, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_of_two", NULL, submit_three, NULL, SCENE(.victim = WORKER, .workers = 2)},
    {"pool.worker_map", NULL, submit_map, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_map_retried", NULL, submit_map, NULL,
     SCENE(.victim = WORKER, .workers = 1, .options = {.retries = 1})},
    {"pool.worker_guided_map", NULL, submit_guided_map, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_large_map", NULL, submit_large_map, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_map_in_place", NULL, submit_map_in_place, NULL,
     SCENE(.victim = WORKER, .workers = 1, .first = make_numbers)},
    {"pool.supervisor_map_in_place", NULL, submit_map_in_place_and_kill_a_worker, NULL,
     SCENE(.victim = SUPERVISOR, .workers = 1, .first = make_numbers)},
    {"pool.worker_zeroes_ahead", NULL, submit_huge, NULL, SCENE(.victim = WORKER, .workers = 1, .before = three_huge)},
    {"pool.worker_zeroes_ahead_retried", NULL, submit_huge, NULL,
     SCENE(.victim = WORKER, .workers = 1, .options = {.retries = 1}, .before = three_huge)},
    {"pool.supervisor_frees_what_was_zeroed", NULL, submit_huge_and_kill_a_worker, NULL,
     SCENE(.victim = SUPERVISOR, .workers = 1, .before = three_huge)},
    {"pool.worker_admits_attachment", NULL, submit_map_in_place, NULL,
     SCENE(.victim = WORKER, .workers = 1, .before = make_numbers)},
    {"pool.worker_lets_attachment_go", NULL, free_manager, NULL,
     SCENE(.victim = WORKER, .workers = 1, .before = map_in_young_memory)},
    {"pool.worker_inherits_attachment", NULL, submit_map_in_place_and_kill_a_worker, NULL,
     SCENE(.victim = NEW_WORKER, .workers = 1, .before = map_in_young_memory)},
    {"pool.supervisor_receives_attachment", NULL, submit_map_in_place, NULL,
     SCENE(.victim = SUPERVISOR, .workers = 1, .before = make_numbers)},
    {"pool.supervisor_has_attachment", NULL, submit_map_in_place_and_kill_a_worker, NULL,
     SCENE(.victim = SUPERVISOR, .workers = 1, .before = map_in_young_memory)},
    {"pool.supervisor_lets_attachment_go", NULL, free_manager, NULL,
     SCENE(.victim = SUPERVISOR, .workers = 2, .before = map_in_young_memory)},
    {"pool.invite_attachment", NULL, submit_map_in_place, NULL,
     SCENE(.victim = CALLER, .workers = 2, .before = make_numbers)},
    {"pool.send_attachment_away", NULL, free_manager, NULL,
     SCENE(.victim = CALLER, .workers = 2, .before = map_in_young_memory)},
    {"pool.worker_map_of_two", NULL, submit_map, NULL, SCENE(.victim = WORKER, .workers = 2)},
    {"pool.worker_retires", NULL, submit_three, NULL,
     SCENE(.victim = WORKER, .workers = 1, .options = {.max_tasks_per_child = 1})},
    {"pool.worker_retires_from_map", NULL, submit_map, NULL,
     SCENE(.victim = WORKER, .workers = 1, .options = {.max_tasks_per_child = 2})},
    {"pool.worker_closes", NULL, submit_and_close, NULL, SCENE(.victim = WORKER, .workers = 1)},
    {"pool.worker_starts", NULL, submit_and_kill_a_worker, NULL, SCENE(.victim = NEW_WORKER, .workers = 1)},
    {"pool.supervisor_starts", NULL, create, NULL, SCENE(.victim = NEW_SUPERVISOR)},
    {"pool.supervisor_replaces_idle", NULL, kill_a_worker, NULL, SCENE(.victim = SUPERVISOR, .workers = 2)},
    {"pool.supervisor_replaces_busy", NULL, submit_and_kill_a_worker, NULL, SCENE(.victim = SUPERVISOR, .workers = 1)},
    {"pool.supervisor_closes", NULL, submit_and_close, NULL, SCENE(.victim = SUPERVISOR, .workers = 1)},
    {"pool.supervisor_terminates", NULL, begin_to_terminate, NULL, SCENE(.victim = SUPERVISOR, .workers = 2)},
    {"pool.supervisor_without_caller", NULL, die, NULL, SCENE(.victim = SUPERVISOR, .workers = 2, .caller_dies = true)},
    {"pool.create", NULL, create, NULL, SCENE(.victim = CALLER)},
    {"pool.submit", NULL, submit_one, NULL, SCENE(.victim = CALLER, .workers = 2)},
    {"pool.submit_large", NULL, submit_large, NULL, SCENE(.victim = CALLER, .workers = 1)},
    {"pool.submit_grows_slots", NULL, submit_one, NULL, SCENE(.victim = CALLER, .workers = 1, .before = sixty_four)},
    {"pool.submit_grows_queue", NULL, submit_one, NULL,
     SCENE(.victim = CALLER, .workers = 1, .before = two_hundred_fifty_six)},
    {"pool.apply", NULL, apply, NULL, SCENE(.victim = CALLER, .workers = 1)},
    {"pool.apply_large", NULL, apply_large, NULL, SCENE(.victim = CALLER, .workers = 1)},
    {"pool.submit_map", NULL, submit_map, NULL, SCENE(.victim = CALLER, .workers = 2)},
    {"pool.map", NULL, whole_map, NULL, SCENE(.victim = CALLER, .workers = 2)},
    {"pool.large_map", NULL, whole_large_map, NULL, SCENE(.victim = CALLER, .workers = 2)},
    {"pool.get_and_free", NULL, take_results, NULL, SCENE(.victim = CALLER, .workers = 1, .before = submit_three)},
    {"pool.close", NULL, close_it, NULL, SCENE(.victim = CALLER, .workers = 2, .before = submit_three)},
    {"pool.close_and_join", NULL, close_and_join, NULL, SCENE(.victim = CALLER, .workers = 2, .before = submit_three)},
    {"pool.terminate", NULL, terminate, NULL, SCENE(.victim = CALLER, .workers = 2)},
    {"pool.free", NULL, free_it, NULL, SCENE(.victim = CALLER, .workers = 2)},
};

const struct family pool_family = {operations, sizeof operations / sizeof *operations, run};
