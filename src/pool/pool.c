/* Pools: making, closing, terminating, joining and freeing them, and what becomes of them at exit and at a fork.
 *
 * LOCKS. `pools_mutex` guards the list of this process's pools. It is taken before the mutex of a pool. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/descriptor.h"
#include "base/lifecycle.h"
#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "pool/attachments.h"
#include "pool/supervisor.h"
#include "pool/supervisor_link.h"
#include "pool/worker_env.h"
#include "process/process.h"

/* How long exit() waits for a mutex. */
#define LOCK_AT_END_NS (50 * MILLISECOND)

/* This process's pools, to be terminated when it ends. */
static struct mp_pool *pools;
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;

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
    pool->lifeline = -1;
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
    return 0;
}

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* Opens the descriptors with which the supervisor watches this process. MP_EAGAIN: no descriptors. */
static int open_watch(struct supervisor_watch *watch)
{
    *watch = (struct supervisor_watch){.caller = -1, .lifeline = {-1, -1}};
    if (pipe2(watch->lifeline, O_CLOEXEC) != 0)
        return errno == EMFILE || errno == ENFILE ? MP_EAGAIN : MP_ESYSTEM;
    for (int i = 0; i < 2; i++)
        watch->lifeline[i] = descriptor_move_up(watch->lifeline[i]);
    watch->caller = pidfd_of(getpid());
    bool scarce = watch->caller < 0 && (errno == EMFILE || errno == ENFILE);
    if (watch->caller >= 0)
        watch->caller = descriptor_move_up(watch->caller);
    if (watch->lifeline[0] >= 0 && watch->lifeline[1] >= 0 && !scarce)
        return 0;
    close_all(watch->lifeline, 2);
    close_all(&watch->caller, 1);
    return MP_EAGAIN;
}

static void keep_lifeline(mp_pool *pool, int fd)
{
    struct stat file;

    if (fstat(fd, &file) != 0) {
        close(fd);
        return;
    }
    pool->lifeline = fd;
    pool->lifeline_device = file.st_dev;
    pool->lifeline_inode = file.st_ino;
}

/* Closes the lifeline, unless the program has closed it and perhaps opened something else under its number. */
static void drop_lifeline(const mp_pool *pool)
{
    struct stat file;

    /* If fstat() is refused, the descriptor most likely still is the lifeline. */
    if (pool->lifeline >= 0 && (fstat(pool->lifeline, &file) != 0
                                    ? errno != EBADF
                                    : file.st_dev == pool->lifeline_device && file.st_ino == pool->lifeline_inode))
        close(pool->lifeline);
}

static int fork_supervisor(mp_pool *pool)
{
    struct supervisor_watch watch;
    sigset_t all, mask;
    int error = open_watch(&watch);

    if (error != 0)
        return error;
    process_prepare();
    process_flush();
    /* None of the caller's signal handlers may run in the supervisor. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork();
    if (pid == 0)
        supervisor_run(&pool->shared, &mask, &watch);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    close_all(&watch.caller, 1); /* these are for the supervisor only */
    close_all(&watch.lifeline[0], 1);
    if (pid < 0) {
        close_all(&watch.lifeline[1], 1);
        return number == ENOMEM ? MP_ENOMEM : number == EAGAIN ? MP_EAGAIN : MP_ESYSTEM;
    }
    pool->supervisor = pid;
    pool->belief.began = pool->belief.believed = clock_boot();
    keep_lifeline(pool, watch.lifeline[1]);
    return 0;
}

static int wait_for_start(mp_pool *pool)
{
    struct pool *shared = &pool->shared;

    supervisor_await(pool, &shared->started, 0, DEADLINE_NEVER);
    if (atomic_load(&shared->started) == 1)
        return 0;
    supervisor_wait(pool, DEADLINE_NEVER);
    int error = atomic_load(&shared->start_error);
    return error != 0 ? error : MP_EBROKEN;
}

static void release(mp_pool *pool)
{
    struct heap *heap = pool->shared.heap;

    atomic_store(&pool->magic, 0);
    drop_lifeline(pool);
    heap_close(heap);
}

/* Sets the state, which only ever grows. */
static void raise_state(mp_pool *pool, uint32_t state)
{
    uint32_t now = atomic_load(&pool->shared.state);

    while (now < state && !atomic_compare_exchange_weak(&pool->shared.state, &now, state))
        ;
}

/* Locks a mutex, or gives up after a while: the code that exit() has interrupted (in a signal handler), or another
 * thread, may hold it for good. */
static bool lock_at_end(pthread_mutex_t *mutex)
{
    int64_t deadline = clock_now() + LOCK_AT_END_NS;

    while (pthread_mutex_trylock(mutex) != 0) {
        if (clock_now() >= deadline)
            return false;
        clock_sleep(100 * MICROSECOND);
    }
    return true;
}

/* Like mp_pool_terminate(), but without the mutex if another thread keeps it: then no waiter is told, and the
 * supervisor is not reaped. The wait for the supervisor is limited too: the supervisor ends with this process in any
 * case. */
static void end_at_exit(mp_pool *pool)
{
    int64_t deadline = clock_now() + GIVE_UP_NS;
    int exitcode;

    raise_state(pool, POOL_TERMINATED);
    supervisor_call(&pool->shared);
    if (lock_at_end(&pool->mutex)) {
        pthread_mutex_unlock(&pool->mutex);
        supervisor_wait_for_end(pool);
        return;
    }
    while (!pool->supervisor_gone && child_look(pool->supervisor, &exitcode) == 0 && clock_now() < deadline)
        clock_sleep(100 * MICROSECOND);
}

/* Returns a pool of this process that has not been ended yet, and enters it as a visitor: no other thread frees it
 * meanwhile. After _Fork() or clone(), which run no fork handlers, a child has its parent's pools in the list too: they
 * are skipped. */
static mp_pool *next_to_end(struct visitor *own)
{
    bool locked = lock_at_end(&pools_mutex); /* if it fails, no other thread can free a pool either */
    mp_pool *pool = pools;

    while (pool != NULL && (pool->owner != getpid() || pool->ended_at_exit))
        pool = pool->next;
    if (pool != NULL)
        pool->ended_at_exit = true;
    if (own != NULL)
        atomic_store(&own->pool, pool);
    if (locked)
        pthread_mutex_unlock(&pools_mutex);
    return pool;
}

/* exit() may be called inside a call on a pool. At the end this restores what that call's visitor has noted, though the
 * call will hardly go on. */
static void terminate_all(void)
{
    struct visitor *own = visitor_own != NULL ? visitor_own : visitor_make();
    const void *noted = own != NULL ? atomic_load(&own->pool) : NULL;

    for (mp_pool *pool; (pool = next_to_end(own)) != NULL;)
        end_at_exit(pool);
    if (own != NULL)
        atomic_store(&own->pool, noted);
}

static void after_fork(void)
{
    pthread_mutex_init(&pools_mutex, NULL);
    for (const mp_pool *pool = pools; pool != NULL; pool = pool->next)
        drop_lifeline(pool);
    pools = NULL;
    visitors_after_fork();
    worker_after_fork();
}

/* This process has closed a manager that may be an attachment. */
static void heap_closed(uint64_t serial)
{
    pthread_mutex_lock(&pools_mutex);
    for (mp_pool *pool = pools; pool != NULL; pool = pool->next) {
        pthread_mutex_lock(&pool->mutex);
        attachments_heap_closed(pool, serial);
        pool_unlock(pool);
    }
    pthread_mutex_unlock(&pools_mutex);
}

static void enter_list(mp_pool *pool)
{
    lifecycle_register(LIFECYCLE_POOL, terminate_all, after_fork);
    heap_when_closed(heap_closed);
    pthread_mutex_lock(&pools_mutex);
    pool->next = pools;
    pools = pool;
    pthread_mutex_unlock(&pools_mutex);
}

static void leave_list(mp_pool *pool)
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

static int create(mp_pool **result, int workers, const mp_pool_options *options)
{
    mp_pool *pool;

    lifecycle_register(LIFECYCLE_POOL, terminate_all, after_fork);
    int error = make_heap(&pool, (uint32_t)workers);
    if (error != 0)
        return error;
    error = fill_in(pool, (uint32_t)workers, options);
    if (error == 0)
        error = fork_supervisor(pool);
    if (error == 0) {
        atomic_store(&pool->shared.cpus, (uint32_t)cpus_usable_lately());
        error = wait_for_start(pool);
    }
    if (error != 0) {
        release(pool);
        return error;
    }
    atomic_store(&pool->magic, POOL_MAGIC);
    enter_list(pool);
    *result = pool;
    return 0;
}

int mp_pool_create(mp_pool **result, int workers, const mp_pool_options *options)
{
    int error = check_options(workers, options);

    if (result == NULL || error != 0)
        return MP_EINVAL;
    int state = cancelling_forbid();
    if (workers == 0)
        workers = mp_usable_cpu_count();
    if (workers > MP_POOL_MAX_WORKERS)
        workers = MP_POOL_MAX_WORKERS;
    error = create(result, workers, options);
    cancelling_allow(state);
    return error;
}

/* ---- ending ---- */

static void set_state(mp_pool *pool, uint32_t state)
{
    pthread_mutex_lock(&pool->mutex); /* threads that are submitting finish first */
    raise_state(pool, state);
    pthread_mutex_unlock(&pool->mutex);
}

int mp_pool_close(mp_pool *pool)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    set_state(pool, POOL_CLOSED);
    dispatch_wake_all(&pool->shared);
    supervisor_call(&pool->shared);
    pool_leave();
    return 0;
}

static int terminate(mp_pool *pool)
{
    int state = cancelling_forbid();

    set_state(pool, POOL_TERMINATED);
    supervisor_call(&pool->shared);
    int error = supervisor_wait_for_end(pool);
    cancelling_allow(state);
    return error;
}

int mp_pool_terminate(mp_pool *pool)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    error = terminate(pool);
    pool_leave();
    return error;
}

int mp_pool_join(mp_pool *pool)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    if (atomic_load(&pool->shared.state) == POOL_OPEN) {
        error = MP_EBUSY;
    } else {
        int state = cancelling_forbid();

        supervisor_wait(pool, DEADLINE_NEVER);
        cancelling_allow(state);
        error = atomic_load(&pool->shared.broken) == MP_EBROKEN ? MP_EBROKEN : 0;
    }
    pool_leave();
    return error;
}

int mp_pool_free(mp_pool *pool)
{
    uint64_t live = POOL_MAGIC;

    if (pool == NULL)
        return 0;
    int error = pool_enter(pool);
    if (error != 0)
        return error;
    terminate(pool); /* if it fails, the supervisor keeps its own mapping only */
    bool mine = atomic_compare_exchange_strong(&pool->magic, &live, 0);
    pool_leave();
    if (!mine)
        return MP_EINVAL; /* another thread was faster */
    int state = cancelling_forbid();
    leave_list(pool);
    while (visitors_are_in(pool, NULL))
        clock_sleep(100 * MICROSECOND);
    release(pool);
    cancelling_allow(state);
    return 0;
}

/* ---- asking ---- */

int mp_pool_size(mp_pool *pool, int *workers)
{
    int error = workers == NULL ? MP_EINVAL : pool_enter(pool);

    if (error != 0)
        return error;
    *workers = (int)pool->shared.workers;
    pool_leave();
    return 0;
}

int mp_pool_workers(mp_pool *pool, pid_t *pids, size_t capacity, size_t *count)
{
    int error = count == NULL || (pids == NULL && capacity > 0) ? MP_EINVAL : pool_enter(pool);
    size_t live = 0;

    if (error != 0)
        return error;
    for (uint32_t i = 0; i < pool->shared.workers && !pool->supervisor_gone; i++) {
        pid_t pid = atomic_load(&pool->shared.worker[i].pid);

        if (pid == 0)
            continue;
        if (live < capacity)
            pids[live] = pid;
        live++;
    }
    *count = live;
    pool_leave();
    return 0;
}

int mp_pool_supervisor(mp_pool *pool, pid_t *pid)
{
    int error = pid == NULL ? MP_EINVAL : pool_enter(pool);

    if (error != 0)
        return error;
    *pid = pool->supervisor;
    pool_leave();
    return 0;
}
