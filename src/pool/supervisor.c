/* The supervisor: a process of each pool, between the caller and the workers. It forks the workers and reaps them. When
 * one dies, it recovers what that worker has left (recover.c) and replaces it. It maps attachments (mappings.c). When
 * the caller ends, it ends the workers. It runs no tasks. Of the pool's locks it takes only that of the heap.
 *
 * It has one thread and sleeps on one futex, pool->calls. The caller, and the supervisor's own SIGCHLD handler,
 * increment it for every event. So the caller needs neither a descriptor, which the program might have closed, nor the
 * permission to send signals, which setuid() takes away.
 *
 * THE CALLER'S END raises SIGCHLD in the supervisor in two ways, as either may fail:
 * - the kernel's death signal: lost if the caller has dropped its privileges;
 * - the hang-up of a pipe whose write end the caller has: missing if a child of the caller holds the write end as well.
 * Both are hints: a pidfd, or the parent's pid, says whether the caller has ended. The supervisor checks that every few
 * seconds in any case.
 *
 * THE SUPERVISOR'S END, for whatever reason, ends the workers, in two ways again (lifeline.c):
 * - the death signal (exact here, as their parent has one thread only): lost once a worker has changed its user or
 *   group;
 * - the hang-up of the supervisor's own pipe, which each worker has opened for itself: lost if a task has closed it.
 * From time to time a worker looks whether the death signal still holds. If not, it renews both, and exits if it has
 * another parent.
 *
 * SIGNALS. Supervisor and workers have a process group of their own: a signal that a terminal or a program sends to the
 * caller's group does not reach them, while tasks have the dispositions and the mask that the program had. The
 * supervisor blocks signals sent to itself, except SIGCHLD. */
#include "pool/supervisor.h"

#include <errno.h>
#include <limits.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/delay.h"
#include "base/futex.h"
#include "base/this_process.h"
#include "heap/heap_file.h"
#include "heap/ranges.h"
#include "pool/dispatch.h"
#include "pool/lifeline.h"
#include "pool/mappings.h"
#include "pool/recover.h"
#include "pool/worker.h"
#include "process/process.h"
#include "sync/wait.h"

#define RETRY_FORK_NS (100 * MILLISECOND)
/* How often to check that the caller lives: with all hints working, and without. */
#define LOOK_SELDOM_NS (5 * SECOND)
#define LOOK_OFTEN_NS (50 * MILLISECOND)
/* How long to wait for workers that this process may not kill. */
#define UNKILLABLE_NS SECOND
#define MAX_FAILED_STARTS 8

/* This process's own. */
static struct {
    struct pool *pool;
    sigset_t caller_mask; /* the mask that the workers restore */
    struct sigaction caller_child;
    pid_t parent; /* what getppid() says while the caller lives; 0 also when it is in another PID namespace */
    struct supervisor_watch watch;
    uint32_t live;
    uint32_t failed_starts; /* workers that died in the initializer, one after the other */
    bool lost;              /* a worker ended before it had found the queue empty */
    bool stopping;          /* no more replacements */
    /* The workers' pids, 0: none. The pids in the pool's heap are for other processes: a task with a wild pointer may
     * have overwritten them. */
    pid_t pid[MP_POOL_MAX_WORKERS];
} self;

/* ---- starting workers ---- */

static _Noreturn void become_worker(uint32_t index)
{
    char name[WORKER_ROOM];

    /* If the supervisor dies now, the caller finds here which child to reap. */
    atomic_store(&self.pool->worker[index].pid, getpid());
    lifeline_take();
    lifeline_renew();
    close_end(&self.watch.lifeline[0]);
    close_end(&self.watch.caller);
    mappings_enter_worker();
    ranges_begin();
    sigaction(SIGCHLD, &self.caller_child, NULL);
    pthread_sigmask(SIG_SETMASK, &self.caller_mask, NULL);
    process_enter_worker(index + 1, name);
    worker_run(self.pool, index);
}

/* Starts worker `index`. 0 or MP_EAGAIN, MP_ENOMEM. */
static int start_worker(uint32_t index)
{
    struct worker *worker = &self.pool->worker[index];

    memset(worker, 0, sizeof *worker);
    atomic_store(&worker->phase, WORKER_STARTING);
    DELAY_POINT();
    pid_t pid = fork();
    if (pid == 0)
        become_worker(index);
    if (pid < 0) {
        atomic_store(&worker->phase, WORKER_NONE);
        return errno == ENOMEM ? MP_ENOMEM : MP_EAGAIN;
    }
    self.pid[index] = pid;
    atomic_store(&worker->pid, pid);
    self.live++;
    return 0;
}

/* Returns whether all workers are there. */
static bool replace_missing(void)
{
    bool all = true;

    for (uint32_t i = 0; i < self.pool->workers; i++) {
        if (self.pid[i] == 0 && start_worker(i) != 0)
            all = false;
    }
    self.lost = !all;
    return all;
}

/* False: this process may not, or cannot, kill it. It tries to become root again, in case it has only set that
 * aside. */
static bool kill_worker(pid_t pid)
{
    if (kill(pid, SIGKILL) == 0 || errno == ESRCH)
        return true;
    return syscall(SYS_setresuid, -1, 0, -1) == 0 && kill(pid, SIGKILL) == 0;
}

/* Workers that may not be killed leave when they have done their task, or when this process ends. */
static void kill_workers(void)
{
    bool all = true;

    for (uint32_t i = 0; i < self.pool->workers; i++) {
        if (self.pid[i] != 0 && !kill_worker(self.pid[i]))
            all = false;
        atomic_fetch_add(&self.pool->ending, 1);
    }
    int64_t deadline = all ? DEADLINE_NEVER : clock_now() + UNKILLABLE_NS;
    while (self.live > 0 && clock_now() < deadline) {
        uint32_t seen = atomic_load(&self.pool->calls);
        pid_t pid = waitpid(-1, NULL, all ? 0 : WNOHANG);

        if (pid > 0)
            self.live--;
        else if (pid == 0)
            wait_for_change(&self.pool->calls, seen, deadline);
        else if (errno != EINTR)
            break;
        atomic_fetch_add(&self.pool->ending, 1);
    }
    for (uint32_t i = 0; i < self.pool->workers; i++) {
        self.pid[i] = 0;
        atomic_store(&self.pool->worker[i].pid, 0);
    }
}

/* The caller may have closed named heaps that this process still has open. If this process is their last user, it
 * removes their names. */
static _Noreturn void leave(void)
{
    kill_workers();
    heap_leave_names();
    atomic_store(&self.pool->orderly, 1);
    _exit(0);
}

/* ---- after a death ---- */

static int error_of(int status)
{
    return WIFSIGNALED(status) ? MP_EDIED - WTERMSIG(status) : MP_EDIED - 100 - WEXITSTATUS(status);
}

static bool is_queued(struct slot *slot, void *arg)
{
    (void)arg;
    return task_state(atomic_load(&slot->task.word)) == TASK_QUEUED;
}

static bool wake_waiters(struct slot *slot, void *arg)
{
    (void)arg;
    if (atomic_load(&slot->task.word) & TASK_WAITER)
        futex_wake(&slot->task.word, INT_MAX);
    return false;
}

/* No task will run any more. The caller's threads find out why when they wake. */
static void give_up(int error)
{
    self.stopping = true;
    atomic_store(&self.pool->broken, error);
    kill_workers();
    slots_visit(self.pool, wake_waiters, NULL);
}

/* Whether the initializer is to blame for a death: it refused, or ended the process; or workers are killed in it again
 * and again, which is more likely its own doing. */
static bool initializer_failed(uint32_t phase, int status)
{
    if (self.pool->initializer == NULL || self.stopping)
        return false;
    return phase == WORKER_REFUSED || WIFEXITED(status) ||
           ++self.failed_starts > self.pool->workers + MAX_FAILED_STARTS;
}

static bool hung_up(int fd)
{
    struct pollfd set = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&set, 1, 0) > 0;
}

static bool caller_is_gone(void)
{
    if (self.watch.caller >= 0)
        return hung_up(self.watch.caller);
    pid_t parent = getppid();
    if (parent >= 0 && parent != self.parent)
        return true;
    /* If the caller is in another PID namespace, or getppid() is refused, only the pipe tells. */
    return parent <= 0 && hung_up(self.watch.lifeline[0]);
}

static bool pool_is_over(void)
{
    return atomic_load(&self.pool->state) == POOL_TERMINATED || caller_is_gone();
}

/* Rolls back what the dead worker left in the heap. A caller whose signal handler called exit() holds the heap's lock
 * for good: so the wait checks whether the pool is over. */
static void settle_heap(struct heap *heap)
{
    int error;

    while ((error = heap_lock_until(heap, clock_now() + LOOK_OFTEN_NS)) == MP_ETIMEOUT) {
        if (pool_is_over())
            leave();
    }
    if (error == 0)
        heap_unlock(heap);
}

static void worker_was_reaped(uint32_t index, int status)
{
    struct pool *pool = self.pool;
    struct worker *worker = &pool->worker[index];
    uint32_t phase = atomic_load(&worker->phase);

    self.live--;
    settle_heap(pool->heap); /* before any process looks at the task's blocks */
    recover_worker(pool, index, error_of(status));
    DELAY_POINT();
    /* Only after all is settled: mp_pool_workers() must not show a full pool while a dead worker's task still seems to
     * run. */
    self.pid[index] = 0;
    atomic_store(&worker->pid, 0);
    if (phase != WORKER_STARTING && phase != WORKER_REFUSED)
        self.failed_starts = 0;
    else if (initializer_failed(phase, status))
        give_up(MP_EINITIALIZER);
    if (phase == WORKER_LEAVING && WIFEXITED(status))
        return;
    self.lost = true;
    atomic_store(&pool->rescan, 1);
    DELAY_POINT();
    dispatch_wake_all(pool);
}

static void reap(void)
{
    int status;
    pid_t pid;

    /* Reap all: there is no further SIGCHLD for a child left unreaped. */
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid < 0)
            continue;
        if (WIFSTOPPED(status)) {
            dispatch_resync(self.pool); /* others may rely on it to find what is queued */
            continue;
        }
        for (uint32_t i = 0; i < self.pool->workers; i++) {
            if (self.pid[i] == pid) {
                worker_was_reaped(i, status);
                break;
            }
        }
    }
}

/* ---- the loop ---- */

/* In a closed pool, workers leave when they find nothing to do. After the last one has left, a task may have been
 * queued again. */
static bool is_finished(void)
{
    if (self.live > 0)
        return false;
    return self.stopping || !slots_visit(self.pool, is_queued, NULL);
}

/* In a closed pool, a worker that has left is not replaced, unless the end of another has left tasks behind. */
static bool replacements_wanted(uint32_t state)
{
    if (state == POOL_OPEN)
        return true;
    bool wanted = (self.lost || self.live == 0) && slots_visit(self.pool, is_queued, NULL);
    if (wanted && self.live == 0)
        atomic_store(&self.pool->rescan, 1); /* no worker is left to look into the batches */
    return wanted;
}

/* The time until which to sleep. If the pipe has hung up and the caller lives, the program has closed the pipe. */
static int64_t next_look(bool retry)
{
    int64_t pause = retry ? RETRY_FORK_NS : LOOK_SELDOM_NS;

    if (self.watch.lifeline[0] < 0 || hung_up(self.watch.lifeline[0]))
        pause = LOOK_OFTEN_NS;
    return clock_now() + pause;
}

static void keep(void)
{
    struct pool *pool = self.pool;

    for (;;) {
        /* Load before the checks: a later event then ends the sleep. */
        uint32_t seen = atomic_load(&pool->calls);

        if (pool_is_over())
            leave();
        mappings_keep(pool); /* a replacement forked below inherits them */
        reap();
        uint32_t state = atomic_load(&pool->state);
        if (state == POOL_TERMINATED || self.stopping)
            leave();
        if (state == POOL_CLOSED && is_finished())
            leave();
        bool retry = replacements_wanted(state) && !replace_missing();
        wait_for_change(&pool->calls, seen, next_look(retry));
    }
}

/* Makes the caller's end raise SIGCHLD in this process. */
static void watch_caller(void)
{
    self.parent = getppid() != 0 ? self.pool->caller : 0;
    death_signal(SIGCHLD);
    close_end(&self.watch.lifeline[1]);
    if (self.watch.lifeline[0] >= 0 && (hangup_signal_prepare(self.watch.lifeline[0], SIGCHLD) != 0 ||
                                        hangup_signal_take(self.watch.lifeline[0]) != 0))
        close_end(&self.watch.lifeline[0]);
}

static void start_all(void)
{
    struct pool *pool = self.pool;
    int error = 0;

    for (uint32_t i = 0; i < pool->workers && error == 0; i++)
        error = start_worker(i);
    if (error != 0) {
        atomic_store(&pool->start_error, error);
        kill_workers();
    }
    atomic_store(&pool->started, error == 0 ? 1 : 2);
    futex_wake(&pool->started, 1);
    if (error != 0)
        _exit(1);
}

static void at_child(int number)
{
    int before = errno;
    (void)number;

    supervisor_call(self.pool);
    errno = before;
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = at_child, .sa_flags = SA_RESTART};
    sigset_t mask;

    sigfillset(&mask);
    sigdelset(&mask, SIGCHLD);
    sigaction(SIGCHLD, &action, &self.caller_child);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (setpgid(0, 0) == 0)
        atomic_store(&self.pool->grouped, 1);
    atomic_store(&self.pool->first, getpid() == 1 ? 1 : 0);
}

void supervisor_run(struct pool *pool, const sigset_t *caller_mask, const struct supervisor_watch *watch)
{
    self.pool = pool;
    self.watch = *watch;
    /* If this pool is made in a task of another pool, the fork brought that supervisor's state along: reset it. */
    self.live = self.failed_starts = 0;
    memset(self.pid, 0, pool->workers * sizeof *self.pid);
    self.lost = self.stopping = false;
    mappings_begin(pool);
    self.caller_mask = *caller_mask;
    process_title("mp-supervisor");
    take_signals();
    watch_caller();
    lifeline_make();
    start_all();
    keep();
    _exit(0);
}
