/* Pools: made, closed, terminated, joined, freed; and what the caller does when the keeper is gone. */
#include <errno.h>
#include <limits.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "delay.h"
#include "lifecycle.h"
#include "platform.h"
#include "pool.h"
#include "process.h"

#define START_LOOK_NS INT64_C(10000000)
#define PATIENCE_NS INT64_C(500000000)
/* Looks this often for the keeper's end when there is no pidfd to wait for. */
#define BLIND_LOOK_MS 5

/* This process's pools, to be terminated when it ends. */
static struct mp_pool *pools;
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;

int pool_check(const mp_pool *pool)
{
    if (pool == NULL || (uintptr_t)pool % (2 * CACHE_LINE) != 0 || pool->magic != POOL_MAGIC)
        return MP_EINVAL;
    return pool->owner == lifecycle_pid() ? 0 : MP_EFOREIGN;
}

/* ---- the keeper's end ---- */

struct failing {
    struct pool *pool;
    int error;
};

static bool fail_slot(struct slot *slot, void *arg)
{
    struct failing *failing = arg;
    uint32_t state = task_state(atomic_load(&slot->task.word));

    if (slot->result.job != NULL)
        map_fail(failing->pool, slot->result.job, failing->error);
    if (state == TASK_QUEUED || state == TASK_RUNNING) {
        slot->task.status = failing->error;
        task_finish(&slot->task.word);
    }
    return false;
}

/* Under the mutex, when keeper and workers are no more. */
static void fail_all(mp_pool *pool)
{
    struct pool *shared = &pool->shared;
    struct failing failing = {shared, MP_EBROKEN};

    if (atomic_load(&shared->state) == POOL_TERMINATED)
        failing.error = MP_ETERMINATED;
    else if (atomic_load(&shared->broken) != 0)
        failing.error = atomic_load(&shared->broken);
    slots_visit(shared, fail_slot, &failing);
}

/* Under the mutex. The keeper has ended: settles what it left. */
static void bury_keeper(mp_pool *pool)
{
    struct pool *shared = &pool->shared;

    pool->keeper_gone = true;
    if (atomic_load(&shared->orderly) == 0 && atomic_load(&shared->broken) == 0)
        atomic_store(&shared->broken, MP_EBROKEN);
    fail_all(pool);
}

/* Under the mutex. Whether the keeper has ended: then it is reaped and buried. */
static bool keeper_is_gone(mp_pool *pool)
{
    int exitcode;

    if (pool->keeper_gone)
        return true;
    int found = child_reap(pool->keeper, pool->keeper_pidfd, &exitcode);
    if (found == MP_ESYSTEM) {
        pool->keeper_pidfd = -1; /* the program has closed it; its number may be another's by now */
        found = child_reap(pool->keeper, -1, &exitcode);
    }
    if (found != 0)
        bury_keeper(pool);
    return found != 0;
}

bool pool_look_after_keeper(mp_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    bool gone = keeper_is_gone(pool);
    pthread_mutex_unlock(&pool->mutex);
    return gone;
}

static void signal_keeper(mp_pool *pool, int number)
{
    pthread_mutex_lock(&pool->mutex);
    if (!keeper_is_gone(pool)) {
        if (pool->keeper_pidfd < 0 || pidfd_signal(pool->keeper_pidfd, number) != 0)
            kill(pool->keeper, number);
    }
    pthread_mutex_unlock(&pool->mutex);
}

/* It looks at everything when it hears of a child. */
static void call_keeper(mp_pool *pool)
{
    signal_keeper(pool, SIGCHLD);
}

void pool_unlock_and_call(mp_pool *pool)
{
    enum pool_call to_call = pool->to_call;

    pool->to_call = POOL_CALL_NOBODY;
    pthread_mutex_unlock(&pool->mutex);
    DELAY_POINT();
    call_keeper(pool);
    if (to_call == POOL_CALL_ALL)
        dispatch_wake_all(&pool->shared);
}

/* False: it still lives at the deadline. */
static bool wait_for_keeper(mp_pool *pool, int64_t deadline)
{
    while (!pool_look_after_keeper(pool)) {
        struct pollfd set = {.fd = pool->keeper_pidfd, .events = POLLIN};
        int64_t left = deadline == DEADLINE_NEVER ? INT_MAX : (deadline - clock_now() + 999999) / 1000000;

        if (left <= 0)
            return false;
        if (set.fd < 0 && left > BLIND_LOOK_MS)
            left = BLIND_LOOK_MS;
        poll(&set, 1, (int)left);
    }
    return true;
}

int pool_refusal(mp_pool *pool)
{
    if (atomic_load_explicit(&pool->shared.state, memory_order_relaxed) != POOL_OPEN)
        return MP_ECLOSED;
    return atomic_load_explicit(&pool->shared.broken, memory_order_relaxed);
}

/* ---- making ---- */

static int make_heap(mp_pool **result, uint32_t workers)
{
    struct heap *heap;
    int error = heap_create(&heap, HEAP_POOL, NULL, 0);

    if (error != 0)
        return error;
    error = heap_alloc(heap, sizeof(struct mp_pool) + 2 * CACHE_LINE, &heap->root);
    if (error != 0) {
        heap_close(heap);
        return error;
    }
    const uint64_t align = 2 * CACHE_LINE;
    mp_pool *pool = heap_at(heap, (atomic_load(&heap->root) + align - 1) / align * align);
    memset(pool, 0, sizeof *pool);
    pool->shared.heap = heap;
    heap_around(heap, HEAP_POOL, &pool->serial);
    pool->keeper_pidfd = pool->shared.caller_pidfd = -1;
    error = heap_alloc(heap, workers * sizeof(struct worker) + align, &pool->shared.worker_block);
    if (error != 0) {
        heap_close(heap);
        return error;
    }
    pool->shared.worker = heap_at(heap, (atomic_load(&pool->shared.worker_block) + align - 1) / align * align);
    memset(pool->shared.worker, 0, workers * sizeof(struct worker));
    *result = pool;
    return 0;
}

static int fill_in(mp_pool *pool, uint32_t workers, const mp_pool_options *options)
{
    struct pool *shared = &pool->shared;
    pthread_mutexattr_t attributes;

    shared->workers = workers;
    shared->sets = (workers + 63) / 64;
    if (options != NULL) {
        shared->initializer = options->initializer;
        shared->initializer_arg = options->initializer_arg;
        shared->tasks_per_child = (uint32_t)options->max_tasks_per_child;
        shared->retries = (uint32_t)options->retries;
    }
    pool->owner = getpid();
    shared->caller = pool->owner;
    if (pthread_mutexattr_init(&attributes) != 0)
        return MP_ENOMEM;
    pthread_mutex_init(&pool->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    shared->caller_pidfd = pidfd_of(pool->owner);
    return shared->caller_pidfd < 0 ? MP_EAGAIN : 0;
}

static int fork_keeper(mp_pool *pool)
{
    sigset_t all, mask;

    process_prepare();
    process_flush();
    /* None of the caller's signal handlers may run in the keeper. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork();
    if (pid == 0)
        keeper_run(&pool->shared, &mask);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    close(pool->shared.caller_pidfd); /* only the keeper needs it */
    if (pid < 0)
        return number == ENOMEM ? MP_ENOMEM : MP_EAGAIN;
    pool->keeper = pid;
    pool->keeper_pidfd = pidfd_of(pid);
    if (pool->keeper_pidfd >= 0)
        return 0;
    kill(pid, SIGKILL);
    wait_for_keeper(pool, DEADLINE_NEVER);
    return MP_EAGAIN;
}

static int wait_for_start(mp_pool *pool)
{
    struct pool *shared = &pool->shared;

    while (atomic_load(&shared->started) == 0) {
        if (pool_look_after_keeper(pool))
            break;
        futex_wait(&shared->started, 0, clock_now() + START_LOOK_NS);
    }
    if (atomic_load(&shared->started) == 1)
        return 0;
    wait_for_keeper(pool, DEADLINE_NEVER);
    int error = atomic_load(&shared->start_error);
    return error != 0 ? error : MP_EBROKEN;
}

static void release(mp_pool *pool)
{
    struct heap *heap = pool->shared.heap;

    pool->magic = 0;
    if (pool->keeper_pidfd >= 0)
        close(pool->keeper_pidfd);
    heap_close(heap);
}

static void terminate_all(void)
{
    for (;;) {
        pthread_mutex_lock(&pools_mutex);
        mp_pool *pool = pools;
        if (pool != NULL)
            pools = pool->next;
        pthread_mutex_unlock(&pools_mutex);
        if (pool == NULL)
            return;
        mp_pool_terminate(pool);
    }
}

static void after_fork(void)
{
    pthread_mutex_init(&pools_mutex, NULL);
    pools = NULL;
    worker_after_fork();
}

/* This process has closed a manager that may be a guest. */
static void heap_closed(uint64_t serial)
{
    pthread_mutex_lock(&pools_mutex);
    for (mp_pool *pool = pools; pool != NULL; pool = pool->next) {
        pthread_mutex_lock(&pool->mutex);
        guests_heap_closed(pool, serial);
        pool_unlock(pool);
    }
    pthread_mutex_unlock(&pools_mutex);
}

static void enter(mp_pool *pool)
{
    lifecycle_register(LIFECYCLE_POOL, terminate_all, after_fork);
    heap_when_closed(heap_closed);
    pthread_mutex_lock(&pools_mutex);
    pool->next = pools;
    pools = pool;
    pthread_mutex_unlock(&pools_mutex);
}

static void leave(mp_pool *pool)
{
    pthread_mutex_lock(&pools_mutex);
    for (mp_pool **link = &pools; *link != NULL; link = &(*link)->next) {
        if (*link == pool) {
            *link = pool->next;
            break;
        }
    }
    pthread_mutex_unlock(&pools_mutex);
}

static int check_options(int workers, const mp_pool_options *options)
{
    if (workers < 0 || workers > MP_POOL_MAX_WORKERS)
        return MP_EINVAL;
    return options != NULL && (options->max_tasks_per_child < 0 || options->retries < 0) ? MP_EINVAL : 0;
}

int mp_pool_create(mp_pool **result, int workers, const mp_pool_options *options)
{
    mp_pool *pool;
    int error = check_options(workers, options);

    if (result == NULL || error != 0)
        return MP_EINVAL;
    if (workers == 0)
        workers = mp_usable_cpu_count();
    if (workers > MP_POOL_MAX_WORKERS)
        workers = MP_POOL_MAX_WORKERS;
    lifecycle_register(LIFECYCLE_POOL, terminate_all, after_fork);
    error = make_heap(&pool, (uint32_t)workers);
    if (error != 0)
        return error;
    error = fill_in(pool, (uint32_t)workers, options);
    if (error == 0)
        error = fork_keeper(pool);
    if (error == 0) {
        atomic_store(&pool->shared.cpus, (uint32_t)cpus_usable_lately());
        error = wait_for_start(pool);
    }
    if (error != 0) {
        release(pool);
        return error;
    }
    pool->magic = POOL_MAGIC;
    enter(pool);
    *result = pool;
    return 0;
}

/* ---- ending ---- */

/* States only grow. */
static void set_state(mp_pool *pool, uint32_t state)
{
    pthread_mutex_lock(&pool->mutex); /* whoever is submitting gets done first */
    if (atomic_load(&pool->shared.state) < state)
        atomic_store(&pool->shared.state, state);
    pthread_mutex_unlock(&pool->mutex);
}

int mp_pool_close(mp_pool *pool)
{
    int error = pool_check(pool);

    if (error != 0)
        return error;
    set_state(pool, POOL_CLOSED);
    dispatch_wake_all(&pool->shared);
    call_keeper(pool);
    return 0;
}

int mp_pool_terminate(mp_pool *pool)
{
    int error = pool_check(pool);

    if (error != 0)
        return error;
    set_state(pool, POOL_TERMINATED);
    call_keeper(pool);
    /* A keeper that does not answer was stopped, or worse. Its workers go with it. */
    if (!wait_for_keeper(pool, clock_now() + PATIENCE_NS)) {
        signal_keeper(pool, SIGKILL);
        wait_for_keeper(pool, DEADLINE_NEVER);
    }
    return 0;
}

int mp_pool_join(mp_pool *pool)
{
    int error = pool_check(pool);

    if (error != 0)
        return error;
    if (atomic_load(&pool->shared.state) == POOL_OPEN)
        return MP_EBUSY;
    wait_for_keeper(pool, DEADLINE_NEVER);
    return atomic_load(&pool->shared.broken) == MP_EBROKEN ? MP_EBROKEN : 0;
}

int mp_pool_free(mp_pool *pool)
{
    if (pool == NULL)
        return 0;
    int error = mp_pool_terminate(pool);
    if (error != 0)
        return error;
    leave(pool);
    release(pool);
    return 0;
}

/* ---- asking ---- */

int mp_pool_size(mp_pool *pool, int *workers)
{
    int error = workers == NULL ? MP_EINVAL : pool_check(pool);

    if (error == 0)
        *workers = (int)pool->shared.workers;
    return error;
}

int mp_pool_workers(mp_pool *pool, pid_t *pids, size_t capacity, size_t *count)
{
    int error = count == NULL || (pids == NULL && capacity > 0) ? MP_EINVAL : pool_check(pool);
    size_t live = 0;

    if (error != 0)
        return error;
    for (uint32_t i = 0; i < pool->shared.workers && !pool->keeper_gone; i++) {
        pid_t pid = atomic_load(&pool->shared.worker[i].pid);

        if (pid == 0)
            continue;
        if (live < capacity)
            pids[live] = pid;
        live++;
    }
    *count = live;
    return 0;
}

int mp_pool_keeper(mp_pool *pool, pid_t *pid)
{
    int error = pid == NULL ? MP_EINVAL : pool_check(pool);

    if (error == 0)
        *pid = pool->keeper;
    return error;
}
