/* The end of a child: waiting for it, reaping it, bringing it about.
 *
 * REAPING. The library reaps only its own children, one by one. A program that reaps them itself, or ignores SIGCHLD,
 * loses the exit code: MP_EXITCODE_UNKNOWN. The pid may then be reused by another child of the program. So a pid is
 * believed only for a time in which it cannot have been reused. Then it is checked again: the system must say that the
 * process began when our child did. A pid that is believed, and belongs to a child not yet reaped, can be sent a
 * signal. (Without /proc, or without a free descriptor, any pid that is a child of this process is believed.)
 *
 * A pidfd for each child, from its start, would save the belief, and is not taken. The child of each later fork would
 * have to close those of all its siblings: beside 1000 of them a start and join then takes 6.7 ms instead of 1.0 ms
 * (medians of 12 alternating runs; alone 0.70 and 0.74 ms). Before Linux 6.9 all pidfds, eventfds and the like have the
 * same inode: so if the program closes all descriptors, the pidfd cannot be told from a file of the program's. Where
 * there is no free descriptor, the belief would be needed all the same. */
#ifndef PROCESS_END_H
#define PROCESS_END_H

#include "process/process_registry.h"

/* The caller of these functions holds the mutex of the registry. */

/* Checks whether the process has ended. If so, notes the exit code, and reaps it unless a thread is about to wait for
 * the pid. */
void process_reap(struct mp_process *process);
/* 0, or MP_ETIMEOUT. The mutex is unlocked while waiting. The handle may have been freed on return. */
int process_wait(struct mp_process *process, int64_t deadline);
/* Sends a signal. If SIGKILL is refused, because either process now has another user, closing the lifeline may still
 * kill the daemon. */
int process_signal(struct mp_process *process, int number);

#endif
