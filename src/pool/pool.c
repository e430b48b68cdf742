/* Pools: making, closing, terminating, joining and freeing them; and what the caller does when the supervisor has
 * ended. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/delay.h"
#include "base/lifecycle.h"
#include "base/platform.h"
#include "heap/ranges.h"
#include "pool/attachments.h"
#include "pool/job.h"
#include "pool/pool.h"
#include "pool/supervisor.h"
#include "pool/worker_env.h"
#include "process/process.h"

#define START_LOOK_NS INT64_C(10000000)
/* A supervisor that should end and has made no step for NUDGE_NS may be stopped: it is sent SIGCONT, and after
 * PATIENCE_NS
 * SIGKILL. */
#define NUDGE_NS INT64_C(100000000)
#define PATIENCE_NS INT64_C(1000000000)
/* How long to wait for a supervisor that may not be killed either. */
#define GIVE_UP_NS INT64_C(5000000000)
/* How often to look for the supervisor's end without a pidfd, in milliseconds. */
#define BLIND_LOOK_MS 5
/* The kernel does not reuse a pid within this time. */
#define BELIEF_NS INT64_C(20000000)
/* How long a killed supervisor's workers may take to end. */
#define ORPHANS_NS INT64_C(1000000000)
/* How long exit() waits for a mutex. */
#define LOCK_AT_END_NS INT64_C(50000000)
#define NAP_NS INT64_C(100000)

/* This process's pools, to be terminated when it ends. */
static struct mp_pool *pools;
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;

int pool_enter(const mp_pool *pool)
{
    if (!range_is_address(pool, 2 * CACHE_LINE) || !range_known(pool))
        return MP_EINVAL;
    if (!visitor_enter(pool))
        return MP_ENOMEM;
    int error = 0;
    if (atomic_load_explicit(&pool->magic, memory_order_acquire) != POOL_MAGIC)
        error = MP_EINVAL;
    else if (pool->owner != lifecycle_pid())
        error = MP_EFOREIGN;
    if (error != 0)
        pool_leave();
    return error;
}

static void nap(void)
{
    const struct timespec pause = {.tv_nsec = NAP_NS};

    nanosleep(&pause, NULL);
}

/* ---- the supervisor's end ---- */

struct failing {
    struct pool *pool;
    int error;
};

static bool fail_slot(struct slot *slot, void *arg)
{
    struct failing *failing = arg;
    uint32_t state = task_state(atomic_load(&slot->task.word));

    if (slot->result.job != NULL)
        job_fail(failing->pool, slot->result.job, failing->error);
    if (state == TASK_QUEUED || state == TASK_RUNNING) {
        slot->task.status = failing->error;
        task_finish(&slot->task.word);
    }
    return false;
}

/* Fails all tasks that are not done. The caller holds the mutex. Supervisor and workers have ended. */
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

/* Reaps a child that has ended, or all such of a process group (a negative number). Returns whether some have not
 * ended. */
static bool reap_dead(pid_t which)
{
    pid_t found;

    do {
        found = waitpid(which, NULL, WNOHANG);
    } while (found > 0 || (found < 0 && errno == EINTR));
    return found == 0;
}

/* The supervisor was killed, and its workers with it. If this process is init, or a subreaper, they are now its
 * children. They are found by pid, in case a task has left the group, and then by their group. */
static void reap_orphans(mp_pool *pool)
{
    struct pool *shared = &pool->shared;
    int64_t deadline = clock_now() + ORPHANS_NS;
    bool left;

    do {
        left = false;
        for (uint32_t i = 0; i < shared->workers; i++) {
            pid_t pid = atomic_load(&shared->worker[i].pid);

            if (pid > 0 && reap_dead(pid))
                left = true;
        }
        if (left)
            nap();
    } while (left && clock_now() < deadline);
    if (atomic_load(&shared->grouped) != 0)
        reap_dead(-pool->supervisor);
}

/* Settles what a supervisor that has ended left behind. The caller holds the mutex. */
static void supervisor_was_reaped(mp_pool *pool)
{
    struct pool *shared = &pool->shared;

    pool->supervisor_gone = true;
    if (atomic_load(&shared->orderly) == 0) {
        reap_orphans(pool);
        if (atomic_load(&shared->broken) == 0)
            atomic_store(&shared->broken, MP_EBROKEN);
    }
    fail_all(pool);
}

/* Whether the pid is still the supervisor's: a program that reaps the supervisor itself lets the pid be reused. */
static bool supervisor_is_believed(mp_pool *pool)
{
    int64_t now = clock_boot();

    if (now - pool->supervisor_believed < BELIEF_NS)
        return true;
    if (!process_began_by(pool->supervisor, pool->supervisor_began))
        return false;
    pool->supervisor_believed = now;
    return true;
}

/* Whether the supervisor has ended; if so, it is reaped and settled. The caller holds the mutex. */
static bool supervisor_is_gone(mp_pool *pool)
{
    int exitcode;

    if (pool->supervisor_gone)
        return true;
    int state = cancelling_forbid();
    int found = supervisor_is_believed(pool) ? child_reap(pool->supervisor, -1, &exitcode) : MP_ENOENT;
    if (found == MP_ESYSTEM) { /* waitid() was refused */
        pid_t ended = waitpid(pool->supervisor, NULL, WNOHANG);

        found = ended == 0 ? 0 : 1;
    }
    if (found != 0)
        supervisor_was_reaped(pool);
    cancelling_allow(state);
    return found != 0;
}

/* Whether the supervisor is the first process of a PID namespace: that one does not end before all others there are
 * reaped, this process's children too. */
static bool is_first_process(mp_pool *pool)
{
    return atomic_load(&pool->shared.first) != 0;
}

bool pool_check_supervisor(mp_pool *pool)
{
    size_t children;

    pthread_mutex_lock(&pool->mutex);
    bool gone = supervisor_is_gone(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (!gone && is_first_process(pool))
        mp_process_children(NULL, 0, &children);
    return gone;
}

/* Returns 0 also if the supervisor has ended. */
static int signal_supervisor(mp_pool *pool, int number)
{
    int error = 0;

    pthread_mutex_lock(&pool->mutex);
    if (!supervisor_is_gone(pool) && kill(pool->supervisor, number) != 0 && errno != ESRCH)
        error = MP_ESYSTEM;
    pthread_mutex_unlock(&pool->mutex);
    return error;
}

void pool_unlock_and_call(mp_pool *pool)
{
    enum pool_call to_call = pool->to_call;

    pool->to_call = POOL_CALL_NOBODY;
    pthread_mutex_unlock(&pool->mutex);
    DELAY_POINT();
    supervisor_call(&pool->shared);
    if (to_call == POOL_CALL_ALL)
        dispatch_wake_all(&pool->shared);
}

static bool poll_for_supervisor(mp_pool *pool, int pidfd, int64_t deadline)
{
    while (!pool_check_supervisor(pool)) {
        struct pollfd set = {.fd = pidfd, .events = POLLIN};
        int64_t left = deadline == DEADLINE_NEVER ? INT_MAX : (deadline - clock_now() + 999999) / 1000000;

        if (left <= 0)
            return false;
        if ((set.fd < 0 || is_first_process(pool)) && left > BLIND_LOOK_MS)
            left = BLIND_LOOK_MS;
        if (poll(&set, 1, (int)left) > 0) /* a debugger may delay the reaping, or it is reaped already */
            pidfd = -1;
    }
    return true;
}

/* False: the supervisor still lives at the deadline. */
static bool wait_for_supervisor(mp_pool *pool, int64_t deadline)
{
    int pidfd = -1;

    pthread_mutex_lock(&pool->mutex);
    if (!supervisor_is_gone(pool))
        pidfd = pidfd_of(pool->supervisor);
    pthread_mutex_unlock(&pool->mutex);
    pidfd = pidfd >= 0 ? descriptor_move_up(pidfd) : -1;
    bool gone = poll_for_supervisor(pool, pidfd, deadline);
    if (pidfd >= 0)
        close(pidfd);
    return gone;
}

/* Waits until the supervisor, which was told to end, has ended. MP_ESYSTEM: it was stopped, and this process may
 * neither continue nor kill it. */
static int wait_for_end(mp_pool *pool)
{
    uint32_t seen = atomic_load(&pool->shared.ending);
    int64_t moved = clock_now();

    while (!wait_for_supervisor(pool, clock_now() + NUDGE_NS)) {
        uint32_t step = atomic_load(&pool->shared.ending);
        int64_t now = clock_now();

        if (step != seen) {
            seen = step;
            moved = now;
            continue;
        }
        signal_supervisor(pool, SIGCONT);
        if (now - moved > PATIENCE_NS && signal_supervisor(pool, SIGKILL) != 0 && now - moved > GIVE_UP_NS)
            return MP_ESYSTEM;
    }
    return 0;
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
    pool->supervisor_began = pool->supervisor_believed = clock_boot();
    keep_lifeline(pool, watch.lifeline[1]);
    return 0;
}

static int wait_for_start(mp_pool *pool)
{
    struct pool *shared = &pool->shared;

    while (atomic_load(&shared->started) == 0) {
        if (pool_check_supervisor(pool))
            break;
        futex_wait(&shared->started, 0, clock_now() + START_LOOK_NS);
    }
    if (atomic_load(&shared->started) == 1)
        return 0;
    wait_for_supervisor(pool, DEADLINE_NEVER);
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
        nap();
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
        wait_for_end(pool);
        return;
    }
    while (!pool->supervisor_gone && child_look(pool->supervisor, &exitcode) == 0 && clock_now() < deadline)
        nap();
}

/* Returns a pool of this process that has not been ended yet, and pins it (visitor): no other thread frees it
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

/* exit() may be called inside a call on a pool: restore the pin of that call, though it will hardly go on. */
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
    int error = wait_for_end(pool);
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

        wait_for_supervisor(pool, DEADLINE_NEVER);
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
        nap();
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
