/* The errors are those that Linux gives for such a call in a program that does nothing wrong. Two groups are left out:
 * errors that only a wrong argument causes (EBADF, EFAULT, EINVAL), and calls that cannot fail otherwise, which are
 * listed at the end. clock_gettime() is not a system call.
 *
 * A failed brk() returns the old end and no error; 0 stands for that here. close() really closes, so its failure is
 * made by a wrapper. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

/* Threads are created by the scenario only, not by the library. */
static bool is_fork(const struct seccomp_data *data)
{
    return (data->args[0] & CLONE_THREAD) == 0;
}

static bool is_wait(const struct seccomp_data *data)
{
    int operation = (int)data->args[1] & FUTEX_CMD_MASK;

    return operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET;
}

/* F_SETOWN needs memory only to set up the descriptor for an owner, which F_SETOWN with 0 does as well. After that it
 * cannot fail. */
static bool needs_memory(const struct seccomp_data *data)
{
    return data->args[1] != F_SETOWN || data->args[2] == 0;
}

const struct call calls[] = {
    /* Memory. */
    {"malloc", -1, FUNCTION_MALLOC, NULL, {ENOMEM}},
    {"mmap", SYS_mmap, 0, NULL, {ENOMEM, ENFILE}},
    {"munmap", SYS_munmap, 0, NULL, {ENOMEM}},
    {"mremap", SYS_mremap, 0, NULL, {ENOMEM}},
    {"mprotect", SYS_mprotect, 0, NULL, {ENOMEM}},
    {"madvise", SYS_madvise, 0, NULL, {ENOMEM, EAGAIN}},
    {"brk", SYS_brk, 0, NULL, {ENOMEM}},
    {"getrandom", SYS_getrandom, 0, NULL, {EINTR}},
    /* Files. */
    {"memfd_create", SYS_memfd_create, 0, NULL, {EMFILE, ENFILE, ENOMEM}},
    {"openat", SYS_openat, 0, NULL, {EMFILE, ENFILE, ENOMEM, ENOSPC, EINTR, EACCES}},
#ifdef SYS_open
    {"open", SYS_open, 0, NULL, {EMFILE, ENFILE, ENOMEM, ENOSPC, EINTR, EACCES}},
#endif
    {"close", -1, FUNCTION_CLOSE, NULL, {EINTR, EIO}},
    {"fallocate", SYS_fallocate, 0, NULL, {ENOSPC, ENOMEM, EINTR, EFBIG}},
    {"ftruncate", SYS_ftruncate, 0, NULL, {EINTR}},
    {"fchmod", SYS_fchmod, 0, NULL, {ENOMEM}},
    {"fstat", SYS_fstat, 0, NULL, {ENOMEM}},
    {"newfstatat", SYS_newfstatat, 0, NULL, {ENOMEM}},
#ifdef SYS_lstat
    {"lstat", SYS_lstat, 0, NULL, {ENOMEM}},
#endif
    {"linkat", SYS_linkat, 0, NULL, {ENOENT, ENOMEM, ENOSPC, EPERM}},
    {"renameat2", SYS_renameat2, 0, NULL, {ENOMEM, ENOSPC}},
    {"getdents64", SYS_getdents64, 0, NULL, {ENOMEM}},
#ifdef SYS_unlink
    {"unlink", SYS_unlink, 0, NULL, {ENOMEM}},
#endif
    {"unlinkat", SYS_unlinkat, 0, NULL, {ENOMEM}},
    {"fstatfs", SYS_fstatfs, 0, NULL, {ENOMEM}},
    {"process_vm_readv", SYS_process_vm_readv, 0, NULL, {ENOMEM}},
    {"flock", SYS_flock, 0, NULL, {EINTR, ENOLCK}},
    {"pread64", SYS_pread64, 0, NULL, {EINTR, EIO, ENOMEM}},
    {"read", SYS_read, 0, NULL, {EINTR, EAGAIN, EIO}},
    {"write", SYS_write, 0, NULL, {EINTR}},
    {"fcntl", SYS_fcntl, 0, needs_memory, {ENOMEM}},
    {"socketpair", SYS_socketpair, 0, NULL, {EMFILE, ENFILE, ENOMEM}},
    {"pipe2", SYS_pipe2, 0, NULL, {EMFILE, ENFILE}},
    {"eventfd2", SYS_eventfd2, 0, NULL, {EMFILE, ENFILE, ENOMEM}},
    {"signalfd4", SYS_signalfd4, 0, NULL, {EMFILE, ENFILE, ENOMEM}},
#ifdef SYS_poll
    {"poll", SYS_poll, 0, NULL, {EINTR, ENOMEM}},
#endif
    {"ppoll", SYS_ppoll, 0, NULL, {EINTR, ENOMEM}},
    /* Processes. */
    {"clone", SYS_clone, 0, is_fork, {EAGAIN, ENOMEM}},
#ifdef SYS_fork
    {"fork", SYS_fork, 0, NULL, {EAGAIN, ENOMEM}},
#endif
    {"pidfd_open", SYS_pidfd_open, 0, NULL, {EMFILE, ENFILE, ENOMEM}},
    {"pidfd_send_signal", SYS_pidfd_send_signal, 0, NULL, {EPERM}},
    {"waitid", SYS_waitid, 0, NULL, {EINTR}},
    {"wait4", SYS_wait4, 0, NULL, {EINTR}},
    {"sched_getaffinity", SYS_sched_getaffinity, 0, NULL, {EINVAL}},
    {"prlimit64", SYS_prlimit64, 0, NULL, {EPERM}},
    /* Waiting. */
    {"futex", SYS_futex, 0, is_wait, {EINTR, EAGAIN}},
    {"clock_nanosleep", SYS_clock_nanosleep, 0, NULL, {EINTR}},
    {"nanosleep", SYS_nanosleep, 0, NULL, {EINTR}},
};

const int call_count = sizeof calls / sizeof *calls;

bool call_cannot_fail(long number)
{
    static const long never[] = {
        SYS_getpid,
        SYS_getppid,
        SYS_gettid,
        SYS_getuid,
        SYS_geteuid,
        SYS_exit,
        SYS_exit_group,
        SYS_lseek,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_restart_syscall,
        SYS_set_robust_list,
        SYS_prctl,  /* to name the process; to get a signal at its parent's death */
        SYS_kill,   /* to a child not yet reaped, or to itself */
        SYS_tgkill, /* the scenario's raise() */
        SYS_sched_yield,
        SYS_ioctl, /* stdio asks whether it writes to a terminal */
#ifdef SYS_pause
        SYS_pause,
#endif
        SYS_get_robust_list,
        SYS_setpgid, /* of a child that was just forked */
        SYS_membarrier,
        SYS_clone3, /* the scenario's threads */
#ifdef SYS_rseq
        SYS_rseq,
#endif
    };

    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        if (never[i] == number)
            return true;
    }
    return false;
}
