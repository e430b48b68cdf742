#include "base/child.h"

#include <errno.h>
#include <mp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/descriptor.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define WAIT_PIDFD ((idtype_t)3) /* P_PIDFD, which older headers do not have */

int pidfd_of(pid_t pid)
{
    int fd = descriptor_move_up((int)syscall(SYS_pidfd_open, pid, 0)); /* close-on-exec always */

    return fd >= 0 ? fd : -1;
}

int pidfd_signal(int pidfd, int signal)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 || errno == ESRCH)
        return 0;
    return MP_ESYSTEM;
}

/* Where waitid() is refused. Always reaps: wait4() cannot leave the child. */
static int reap_by_wait4(pid_t pid, int *exitcode)
{
    int status;
    long got;

    do {
        got = syscall(SYS_wait4, pid, &status, WNOHANG, NULL);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECHILD ? MP_ENOENT : MP_ESYSTEM;
    if (got > 0)
        *exitcode = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return got > 0;
}

/* Calls waitid() by syscall(), which is no cancellation point. Returns as child_reap() does. */
static int wait_for_end(idtype_t type, id_t id, int flags, int *exitcode)
{
    siginfo_t info = {.si_pid = 0};
    long error;

    do {
        error = syscall(SYS_waitid, type, id, &info, WEXITED | WNOHANG | flags, NULL);
    } while (error != 0 && errno == EINTR);
    if (error != 0 && errno != ECHILD)
        return type == P_PID && flags == 0 ? reap_by_wait4((pid_t)id, exitcode) : MP_ESYSTEM;
    if (error != 0)
        return MP_ENOENT;
    if (info.si_pid == 0)
        return 0;
    *exitcode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

int child_reap(pid_t pid, int pidfd, int *exitcode)
{
    return pidfd >= 0 ? wait_for_end(WAIT_PIDFD, (id_t)pidfd, 0, exitcode)
                      : wait_for_end(P_PID, (id_t)pid, 0, exitcode);
}

int child_look(pid_t pid, int *exitcode)
{
    return wait_for_end(P_PID, (id_t)pid, WNOWAIT, exitcode);
}

int child_wait(pid_t pid)
{
    siginfo_t info;

    if (syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, NULL) == 0)
        return 1;
    return errno == EINTR || errno == ECHILD ? 0 : MP_ESYSTEM;
}
