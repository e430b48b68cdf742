/* What ends the workers when the supervisor ends: a pipe, and the death signal. See supervisor.c. */
#ifndef LIFELINE_H
#define LIFELINE_H

#include <unistd.h>

static inline void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Supervisor: makes the pipe for its workers. Without it they have the death signal only. */
void lifeline_make(void);
/* In a new worker: takes the pipe's read end. Without /proc there is only the death signal. */
void lifeline_take(void);
/* Worker: renews the tie to the supervisor's life, which is lost when the worker changes its user or group. Ends the
 * process if the supervisor has ended. */
void lifeline_renew(void);

#endif
