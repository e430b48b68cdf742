#include "process/process_lifeline.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/error.h"
#include "base/this_process.h"
#include "process/process_end.h"

#define GRACE SECOND /* between a daemon's SIGTERM and its SIGKILL at exit */

/* The lifeline of this process, until it has named itself. */
static struct descriptor own_lifeline[2] = {{.fd = -1}, {.fd = -1}};
static _Thread_local struct mp_process *starting; /* the process this thread is about to fork, if it has a lifeline */
static struct mp_process *unfreed;                /* handles not freed when this process ended */

/* Makes the lifeline under the mutex, so that a fork by another thread does not inherit it unseen. */
static int make_lifeline(struct mp_process *process)
{
    int fd[2], error = 0;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0)
        return system_error(errno);
    for (int i = 0; i < 2; i++) {
        fd[i] = descriptor_move_up(fd[i]);
        process->lifeline[i] = descriptor_of(fd[i]);
        if (error == 0)
            error = fd[i] < 0 ? fd[i] : hangup_signal_prepare(fd[i], SIGKILL);
    }
    if (error != 0)
        registry_close_lifeline(process);
    process->has_lifeline = error == 0;
    registry_note_descriptors(process);
    return error;
}

int process_lifeline_make(struct mp_process *process)
{
    int error = process->daemon ? make_lifeline(process) : 0;

    return error != 0 && on_main_thread() ? 0 : error;
}

void process_lifeline_starting(struct mp_process *process)
{
    if (starting != process) /* a store would copy the page in the child */
        starting = process;
}

void process_lifeline_after_fork(void)
{
    for (int i = 0; i < 2; i++)
        descriptor_close(&own_lifeline[i]);
    if (starting != NULL) {
        for (int i = 0; i < 2; i++) {
            own_lifeline[i] = starting->lifeline[i];
            starting->lifeline[i].fd = -1;
        }
    }
}

bool process_parent_lives(pid_t parent)
{
    pid_t now = getppid();

    return now == parent || now <= 0; /* in another PID namespace; or the call was refused */
}

void process_lifeline_take(pid_t parent)
{
    bool tied = true;

    if (own_lifeline[0].fd < 0)
        death_signal(SIGKILL);
    for (int i = 0; i < 2; i++)
        tied = (own_lifeline[i].fd < 0 || hangup_signal_take(own_lifeline[i].fd) == 0) && tied;
    for (int i = 0; i < 2; i++)
        descriptor_close(&own_lifeline[i]);
    /* The lifeline alone would be enough, but another child, made without fork handlers, may have it open too. */
    if (!tied || !process_parent_lives(parent))
        raise(SIGKILL);
}

/* ---- the end of this process ---- */

static struct mp_process *oldest_of(bool daemon)
{
    struct mp_process *process = registry_oldest;

    while (process != NULL && (process->pid == 0 || process->daemon != daemon))
        process = process->next;
    return process;
}

/* Signals all daemons. Daemons that may not be sent this signal are killed. */
static void signal_daemons(int number)
{
    struct mp_process *next;

    for (struct mp_process *process = registry_oldest; process != NULL; process = next) {
        next = process->next;
        if (process->pid != 0 && process->daemon && process_signal(process, number) != 0)
            process_signal(process, SIGKILL);
    }
}

/* Waits for a child at exit. Its handle could not be freed before, so it is kept in the list `unfreed`, where leak
 * checkers see that it is not lost. The caller holds the mutex; it is unlocked while waiting. */
static bool end_child(struct mp_process *process, int64_t deadline)
{
    if (process_wait(process, deadline) != 0)
        return false;
    if (process->magic == PROCESS_MAGIC) {
        process->next = unfreed;
        unfreed = process;
    }
    return true;
}

/* Ends all daemons. A daemon that cannot be killed, as it has another user and no lifeline, is not waited for. The
 * caller holds the mutex; it is unlocked while waiting. */
static void end_daemons(void)
{
    int64_t deadline = clock_now() + GRACE;
    struct mp_process *process;

    signal_daemons(SIGTERM);
    while ((process = oldest_of(true)) != NULL) {
        if (end_child(process, deadline))
            continue;
        signal_daemons(SIGKILL);
        deadline = clock_now() + GRACE;
        if (process == oldest_of(true) && kill(process->pid, 0) != 0 && errno != ESRCH && !process->has_lifeline)
            registry_unlink(process);
    }
}

void process_lifeline_end(void)
{
    struct mp_process *process;

    registry_lock_as_known(); /* lifecycle_end() has asked */
    if (oldest_of(true) != NULL)
        end_daemons();
    while ((process = oldest_of(false)) != NULL)
        end_child(process, DEADLINE_NEVER);
    registry_unlock();
}
