#include "base/this_process.h"

#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

/* prctl() with one argument. The C library's function lies in a page that a forked child has not mapped yet: the page
 * fault would be the most expensive thing that many a child does. The same goes for pthread_sigmask() (see
 * signals_set()). */
static void control_process(int option, unsigned long argument)
{
#ifdef __x86_64__
    long number = SYS_prctl;

    __asm__ volatile("syscall" : "+a"(number) : "D"((long)option), "S"(argument) : "rcx", "r11", "memory");
#else
    prctl(option, argument, 0, 0, 0);
#endif
}

uint64_t signals_set(uint64_t mask)
{
    uint64_t before = 0;
#ifdef __x86_64__
    long number = SYS_rt_sigprocmask;
    register long size __asm__("r10") = sizeof mask;

    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"((long)SIG_SETMASK), "S"(&mask), "d"(&before), "r"(size)
                     : "rcx", "r11", "memory");
#else
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, &before, sizeof mask);
#endif
    return before;
}

void death_signal(int signal)
{
    control_process(PR_SET_PDEATHSIG, (unsigned long)signal);
}

bool death_signal_holds(int signal)
{
    int now = 0;

    return prctl(PR_GET_PDEATHSIG, (unsigned long)(uintptr_t)&now, 0, 0, 0) == 0 && now == signal;
}

int hangup_signal_prepare(int fd, int signal)
{
    if (fcntl(fd, F_SETOWN, 0) == 0 && fcntl(fd, F_SETSIG, signal) == 0 && fcntl(fd, F_SETFL, O_ASYNC) == 0)
        return 0;
    return system_error(errno);
}

int hangup_signal_take(int fd)
{
    return fcntl(fd, F_SETOWN, getpid()) == 0 ? 0 : MP_ESYSTEM;
}

bool on_main_thread(void)
{
    return (pid_t)syscall(SYS_gettid) == getpid();
}

void process_title(const char *name)
{
    control_process(PR_SET_NAME, (unsigned long)(uintptr_t)name);
}
