#include "process/process_end.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/descriptor.h"
#include "base/proc.h"

#define FIRST_PAUSE (100 * MICROSECOND)
#define LONGEST_PAUSE (10 * MILLISECOND)

void process_reap(struct mp_process *process)
{
    int exitcode = MP_EXITCODE_UNKNOWN;
    int found = MP_ENOENT;

    if (process->ended)
        return;
    if (pid_is_believed(process->pid, &process->belief))
        found = process->waiters > 0 ? child_look(process->pid, &exitcode) : child_reap(process->pid, -1, &exitcode);
    if (found == MP_ESYSTEM) /* refused: without waitid() the only way to look is to reap */
        found = child_reap(process->pid, -1, &exitcode);
    if (found == 0)
        return;
    process->exitcode = exitcode;
    process->zombie = found == 1 && process->waiters > 0;
    process->ended = true;
    registry_unlink(process);
    registry_release(process);
}

/* The state of one waiter. */
struct patience {
    int64_t deadline;
    int64_t pause;
    bool readable; /* the pidfd was */
    bool asked;    /* for a pidfd: if refused once, it is always refused */
};

static struct timespec until(int64_t deadline, int64_t most)
{
    int64_t left = deadline - clock_now();

    if (left > most)
        left = most;
    if (left < 0)
        left = 0;
    return (struct timespec){.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
}

/* Sleeps until the process may have ended, or the deadline, or a signal. A debugger may delay the reaping of a process
 * that has ended. So once the pidfd has been readable, the waiter polls with pauses, as if there was no pidfd. */
static void wait_a_while(int pidfd, struct patience *patience)
{
    CANCELLING_FORBIDDEN;
    struct pollfd watch = {.fd = pidfd, .events = POLLIN};
    struct timespec time;

    if (pidfd >= 0 && !patience->readable) {
        time = until(patience->deadline, INT64_MAX);
        patience->readable = ppoll(&watch, 1, &time, NULL) > 0;
        return;
    }
    time = until(patience->deadline, patience->pause);
    nanosleep(&time, NULL);
    patience->pause = patience->pause * 2 < LONGEST_PAUSE ? patience->pause * 2 : LONGEST_PAUSE;
}

/* The pid is believed. The caller holds the mutex; it is unlocked while sleeping. */
static void sleep_once(struct mp_process *process, struct patience *patience)
{
    int found = 0; /* 1: it has certainly ended and is not reaped */

    process->waiters++;
    if (patience->deadline != DEADLINE_NEVER && process->pidfd.fd < 0 && !patience->asked) {
        patience->asked = true;
        process->pidfd = descriptor_of(pidfd_of(process->pid));
        registry_note_descriptors(process);
    }
    int pidfd = process->pidfd.fd;
    registry_unlock();
    if (patience->deadline == DEADLINE_NEVER)
        found = child_wait(process->pid);
    if (patience->deadline != DEADLINE_NEVER || found == MP_ESYSTEM)
        wait_a_while(pidfd, patience);
    registry_lock();
    process->waiters--;
    if (found == 1)
        process->belief.believed = clock_boot();
}

int process_wait(struct mp_process *process, int64_t deadline)
{
    struct patience patience = {.deadline = deadline, .pause = FIRST_PAUSE};

    for (;;) {
        process_reap(process);
        if (process->ended || (deadline != DEADLINE_NEVER && clock_now() >= deadline))
            break;
        sleep_once(process, &patience);
    }
    if (process->ended) {
        registry_release(process);
        return 0;
    }
    if (process->waiters == 0) {
        descriptor_close(&process->pidfd);
        registry_note_descriptors(process);
    }
    return MP_ETIMEOUT;
}

int process_signal(struct mp_process *process, int number)
{
    process_reap(process);
    if (process->ended || kill(process->pid, number) == 0 || errno == ESRCH)
        return 0;
    if (number != SIGKILL || process->lifeline[0].fd < 0)
        return MP_ESYSTEM;
    registry_close_lifeline(process);
    registry_note_descriptors(process);
    return 0;
}
