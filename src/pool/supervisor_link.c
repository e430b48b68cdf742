#include "pool/supervisor_link.h"

#include <errno.h>
#include <limits.h>
#include <mp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/proc.h"
#include "pool/job.h"
#include "sync/wait.h"

/* A supervisor that should end and has made no step for NUDGE_NS may be stopped: it is sent SIGCONT, and after
 * PATIENCE_NS SIGKILL. */
#define NUDGE_NS (100 * MILLISECOND)
#define PATIENCE_NS SECOND
#define LOOK_NS (10 * MILLISECOND)
/* How often to look for the supervisor's end without a pidfd, in milliseconds. */
#define BLIND_LOOK_MS 5
/* How long a killed supervisor's workers may take to end. */
#define ORPHANS_NS SECOND

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

/* Fails all tasks that are not done. The caller holds the mutex. The supervisor has ended. Its workers have ended too,
 * or were sent SIGKILL and may still execute, or could not be killed and end with their task. */
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

/* Reaps a child if it has ended, or all children of a process group (a negative number) that have. Returns whether any
 * has not ended. */
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
            clock_sleep(100 * MICROSECOND);
    } while (left && clock_now() < deadline);
    if (atomic_load(&shared->grouped) != 0)
        reap_dead(-pool->supervisor);
}

/* Fails what a supervisor that has ended left undone, and reaps its workers if they are now this process's children.
 * The caller holds the mutex. */
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

/* Whether the supervisor has ended. If so, reaps it, and fails what it left undone. The caller holds the mutex. */
static bool supervisor_is_gone(mp_pool *pool)
{
    int exitcode;

    if (pool->supervisor_gone)
        return true;
    int state = cancelling_forbid();
    int found =
        pid_is_believed(pool->supervisor, &pool->belief) ? child_reap(pool->supervisor, -1, &exitcode) : MP_ENOENT;
    if (found == MP_ESYSTEM) { /* waitid() was refused */
        pid_t ended = waitpid(pool->supervisor, NULL, WNOHANG);

        found = ended == 0 ? 0 : 1;
    }
    if (found != 0)
        supervisor_was_reaped(pool);
    cancelling_allow(state);
    return found != 0;
}

/* Whether the supervisor is the first process of a PID namespace. The kernel does not let such a process end before all
 * others in the namespace are reaped, and some of these may be this process's children. */
static bool is_first_process(mp_pool *pool)
{
    return atomic_load(&pool->shared.first) != 0;
}

bool supervisor_check(mp_pool *pool)
{
    size_t children;

    pthread_mutex_lock(&pool->mutex);
    bool gone = supervisor_is_gone(pool);
    pthread_mutex_unlock(&pool->mutex);
    if (!gone && is_first_process(pool))
        mp_process_children(NULL, 0, &children);
    return gone;
}

static int64_t look(const struct wait *wait, uint32_t now)
{
    (void)now;
    return supervisor_check(wait->arg) ? MP_EBROKEN : wait->time + LOOK_NS;
}

int supervisor_await(mp_pool *pool, _Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
    return wait_for(&(struct wait){
        .word = word, .value = value, .deadline = deadline, .look = look, .look_after = LOOK_NS, .arg = pool});
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

static bool poll_for_supervisor(mp_pool *pool, int pidfd, int64_t deadline)
{
    while (!supervisor_check(pool)) {
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

bool supervisor_wait(mp_pool *pool, int64_t deadline)
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

int supervisor_wait_for_end(mp_pool *pool)
{
    uint32_t seen = atomic_load(&pool->shared.ending);
    int64_t moved = clock_now();

    while (!supervisor_wait(pool, clock_now() + NUDGE_NS)) {
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
