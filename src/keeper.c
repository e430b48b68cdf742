/* The keeper: a small process between the caller and the workers. It forks them, reaps them, clears up after those that die
 * and replaces them, and takes them along when the caller ends.
 *
 * It has one thread, and sits in one poll loop over its children (SIGCHLD through a signalfd) and the caller's pidfd. The
 * caller calls it with a SIGCHLD too: that needs no descriptor, which the program might have closed. If it is killed itself,
 * the kernel kills the workers (PR_SET_PDEATHSIG is exact here: their parent has but one thread), and the caller notices
 * through its pidfd. */
#include <errno.h>
#include <limits.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "delay.h"
#include "dispatch.h"
#include "map.h"
#include "platform.h"
#include "process.h"

#define RETRY_FORK_MS 100
#define MAX_FAILED_STARTS 8

/* This process's own. */
static struct {
    struct pool *pool;
    sigset_t caller_mask; /* what the workers get back */
    struct sigaction caller_child, caller_terminate;
    int children; /* signalfd; -1: not yet */
    uint32_t live;
    uint32_t failed_starts; /* workers that died in the initializer, one after the other */
    bool lost;              /* a worker ended that had not found the queue empty */
    bool stopping;          /* no more replacements */
    /* The workers' pids, 0: none. Those in the pool's heap are for others to read: a task gone wild may have written there. */
    pid_t pid[MP_POOL_MAX_WORKERS];
} self;

/* ---- starting workers ---- */

/* What the caller does about a signal. The standard is what the keeper has set itself. */
static void give_back(int number, const struct sigaction *action)
{
    if (action->sa_handler != SIG_DFL || action->sa_flags != 0)
        sigaction(number, action, NULL);
}

static _Noreturn void become_worker(uint32_t index, pid_t keeper)
{
    char name[WORKER_ROOM];

    death_signal(SIGKILL);
    if (getppid() != keeper)
        _exit(1);
    if (self.children >= 0)
        close(self.children);
    guests_enter_worker();
    give_back(SIGCHLD, &self.caller_child);
    give_back(SIGTERM, &self.caller_terminate);
    pthread_sigmask(SIG_SETMASK, &self.caller_mask, NULL);
    process_enter_worker(index + 1, name);
    worker_run(self.pool, index);
}

/* Starts worker `index`. 0 or MP_EAGAIN, MP_ENOMEM. */
static int start_worker(uint32_t index)
{
    struct worker *worker = &self.pool->worker[index];
    pid_t keeper = getpid();

    memset(worker, 0, sizeof *worker);
    atomic_store(&worker->phase, WORKER_STARTING);
    DELAY_POINT();
    pid_t pid = fork();
    if (pid == 0)
        become_worker(index, keeper);
    if (pid < 0) {
        atomic_store(&worker->phase, WORKER_NONE);
        return errno == ENOMEM ? MP_ENOMEM : MP_EAGAIN;
    }
    self.pid[index] = pid;
    atomic_store(&worker->pid, pid);
    self.live++;
    return 0;
}

/* Whether all are there. */
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

static void kill_workers(void)
{
    for (uint32_t i = 0; i < self.pool->workers; i++) {
        if (self.pid[i] != 0)
            kill(self.pid[i], SIGKILL);
    }
    while (self.live > 0) {
        if (waitpid(-1, NULL, 0) > 0)
            self.live--;
        else if (errno != EINTR)
            break;
    }
    for (uint32_t i = 0; i < self.pool->workers; i++) {
        self.pid[i] = 0;
        atomic_store(&self.pool->worker[i].pid, 0);
    }
}

/* ---- after a death ---- */

static int error_of(int status)
{
    return WIFSIGNALED(status) ? MP_EDIED - WTERMSIG(status) : MP_EDIED - 100 - WEXITSTATUS(status);
}

/* What becomes of the task the dead worker had. Its record names the one it was about to claim or had claimed. */
static void settle_task(struct worker *worker, uint32_t index, int error)
{
    struct pool *pool = self.pool;
    uint64_t offset = atomic_load(&worker->task);

    if (offset == 0)
        return;
    struct task *task = heap_at(pool->heap, offset);
    uint32_t word = atomic_load(&task->word);
    if (!task_runs_on(word, index)) {
        /* It may have died between making it done and waking those who wait. */
        if (task_state(word) == TASK_DONE)
            futex_wake(&task->word, INT_MAX);
        return;
    }
    if (task->function == 0) {
        map_lost(pool, worker, index, error);
        task_requeue(&task->word);
    } else if (task->deaths < pool->retries) {
        task->deaths++;
        task_requeue(&task->word);
    } else {
        task->status = error;
        task_finish(&task->word);
    }
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

/* It refused, or ended the process; or workers are killed in it again and again, which is more likely its own doing. */
static bool initializer_failed(uint32_t phase, int status)
{
    if (self.pool->initializer == NULL || self.stopping)
        return false;
    return phase == WORKER_REFUSED || WIFEXITED(status) ||
           ++self.failed_starts > self.pool->workers + MAX_FAILED_STARTS;
}

static void bury_worker(uint32_t index, int status)
{
    struct pool *pool = self.pool;
    struct worker *worker = &pool->worker[index];
    uint32_t phase = atomic_load(&worker->phase);

    self.live--;
    heap_settle(pool->heap); /* before anybody looks at the task's blocks */
    settle_task(worker, index, error_of(status));
    heap_free(pool->heap, &worker->staging);
    heap_free(pool->heap, &worker->spare);
    /* In this order: who is about to wake it either finds that it does not sleep, or has put it into the set by now. */
    DELAY_POINT();
    atomic_store(&worker->asleep, 0);
    DELAY_POINT();
    set_remove(pool->searching, index);
    DELAY_POINT();
    set_remove(pool->sleeping, index);
    DELAY_POINT();
    /* Not before all is settled: mp_pool_workers() must not show a full pool in which a dead one's task still seems to run. */
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

    /* No SIGCHLD comes again for those not reaped now. */
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid < 0)
            continue;
        if (WIFSTOPPED(status)) {
            dispatch_kick(self.pool); /* it may be the one that all others rely on to find what is queued */
            continue;
        }
        for (uint32_t i = 0; i < self.pool->workers; i++) {
            if (self.pid[i] == pid) {
                bury_worker(i, status);
                break;
            }
        }
    }
}

/* ---- the loop ---- */

static void drain(int fd)
{
    char buffer[sizeof(struct signalfd_siginfo) * 8];

    while (read(fd, buffer, sizeof buffer) > 0)
        ;
}

static _Noreturn void leave(void)
{
    kill_workers();
    atomic_store(&self.pool->orderly, 1);
    _exit(0);
}

/* Closed: workers leave as they find nothing to do. When all have, something may have been queued again meanwhile. */
static bool is_finished(void)
{
    if (self.live > 0)
        return false;
    return self.stopping || !slots_visit(self.pool, is_queued, NULL);
}

/* In a closed pool a worker that has left was not needed, unless another's end has left tasks behind. */
static bool replacements_wanted(uint32_t state)
{
    if (state == POOL_OPEN)
        return true;
    bool wanted = (self.lost || self.live == 0) && slots_visit(self.pool, is_queued, NULL);
    if (wanted && self.live == 0)
        atomic_store(&self.pool->rescan, 1); /* nobody is left to look into anybody's batch */
    return wanted;
}

static void keep(void)
{
    struct pool *pool = self.pool;
    struct pollfd poll_set[] = {
        {.fd = self.children, .events = POLLIN},
        {.fd = pool->caller_pidfd, .events = POLLIN},
    };
    int timeout = -1;

    for (;;) {
        poll(poll_set, 2, timeout);
        if (poll_set[1].revents != 0)
            leave();
        drain(self.children);
        guests_keep(pool); /* before a worker is replaced by one that is to have them */
        reap();
        uint32_t state = atomic_load(&pool->state);
        if (state == POOL_TERMINATED || self.stopping)
            leave();
        if (state == POOL_CLOSED && is_finished())
            leave();
        timeout = !replacements_wanted(state) || replace_missing() ? -1 : RETRY_FORK_MS;
    }
}

/* Signals that came before wait until they are read. */
static int open_children(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    self.children = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return self.children >= 0 && self.pool->caller_pidfd >= 0 ? 0 : MP_EAGAIN;
}

static void start_all(void)
{
    struct pool *pool = self.pool;
    int error = 0;

    for (uint32_t i = 0; i < pool->workers && error == 0; i++)
        error = start_worker(i);
    if (error == 0)
        error = open_children(); /* now, so that these workers need not close it */
    if (error != 0) {
        atomic_store(&pool->start_error, error);
        kill_workers();
    }
    atomic_store(&pool->started, error == 0 ? 1 : 2);
    futex_wake(&pool->started, 1);
    if (error != 0)
        _exit(1);
}

static void take_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL}, ignore = {.sa_handler = SIG_IGN};
    sigset_t mask;

    /* The terminal's SIGINT is the caller's to handle, for the workers as well. */
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGCHLD, &standard, &self.caller_child);
    sigaction(SIGTERM, &standard, &self.caller_terminate);
    sigfillset(&mask);
    sigdelset(&mask, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    self.children = -1;
}

void keeper_run(struct pool *pool, const sigset_t *caller_mask)
{
    self.pool = pool;
    /* A pool made in a task of another: what that one's keeper knew came along with the fork. */
    self.live = self.failed_starts = 0;
    memset(self.pid, 0, pool->workers * sizeof *self.pid);
    self.lost = self.stopping = false;
    guests_begin(pool);
    self.caller_mask = *caller_mask;
    process_title("mp-keeper");
    take_signals();
    start_all();
    keep();
    _exit(0);
}
