/* How workers end when the supervisor ends: by the kernel's death signal, or by the signal that is sent when the
 * supervisor's pipe, the lifeline, hangs up. Both are SIGKILL. See THE SUPERVISOR'S END in supervisor.c. The pipe that
 * tells the supervisor of the caller's end is another one (struct supervisor_watch). */
#ifndef LIFELINE_H
#define LIFELINE_H

#include <unistd.h>

static inline void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* In the supervisor: makes the pipe for its workers. If that fails, they have the death signal only. */
void lifeline_make(void);
/* In a new worker: closes the pipe's write end, and opens the read end for itself. Without /proc the worker has the
 * death signal only. */
void lifeline_take(void);
/* In a worker: if the death signal was lost, as when the worker has changed its user or group, asks for both signals
 * again, and ends this process if the supervisor has ended meanwhile. */
void lifeline_renew(void);

#endif
