/* Children: waiting for them, reaping them. Pidfds. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>

/* A close-on-exec descriptor, 3 or more, that becomes readable when the process ends. -1: the process is gone and
 * reaped, there are no descriptors left, or the system refuses them. */
int pidfd_of(pid_t pid);
/* Sends a signal through a pidfd. 0 also if the process has ended. */
int pidfd_signal(int pidfd, int signal);
/* Reaps a child if it has ended; through its pidfd, if that is not negative. 1: done, and its exit code is stored (or
 * minus the signal that killed it); 0: it still runs; MP_ENOENT: it is reaped already; MP_ESYSTEM: the descriptor is no
 * pidfd (any more), or the system refuses. */
int child_reap(pid_t pid, int pidfd, int *exitcode);
/* Like child_reap() through the pid, but the child stays to be reaped. */
int child_look(pid_t pid, int *exitcode);
/* Waits until the child has ended, was reaped elsewhere, or a signal came. 1: it has ended, and is still to be reaped;
 * 0: not known; MP_ESYSTEM: the system refuses such waits, and this has not waited. */
int child_wait(pid_t pid);

#endif
