/* What /proc tells of processes and threads. */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What tells whether a pid is still that of a child: times of clock_boot(). Both begin as the time of the fork. A
 * program that reaps the child itself lets the pid be reused. */
struct pid_belief {
    int64_t began;    /* when it was forked */
    int64_t believed; /* when the pid was last known to be the child's */
};
/* Whether the pid is still the child's. True also when the system does not tell. */
bool pid_is_believed(pid_t pid, struct pid_belief *belief);
/* Whether there is a thread of that number whose process maps the same file as this process does at `address`. True
 * also when the system does not tell. */
bool thread_shares(pid_t thread, const void *address);
/* Numbers that identify the PID namespace and the time namespace of the process. False: the system does not tell. */
bool process_namespaces(uint64_t inode[2]);
/* Whether /proc shows the PID namespace of the process. False also when the system does not tell. */
bool process_table_is_own(void);
/* When the thread of that number began, in ticks since the system was started. *ended: the thread has ended, and only
 * its status is left, to be reaped. False: there is no such thread, or the system does not tell. */
bool thread_began(pid_t thread, uint64_t *ticks, bool *ended);
/* Nanoseconds in such a tick. */
uint64_t process_tick(void);

#endif
