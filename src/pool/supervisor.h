/* The supervisor's process as the caller starts it. See supervisor.c. */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <signal.h>

#include "pool/task.h"

/* The descriptors with which the supervisor watches the caller. */
struct supervisor_watch {
    int caller;      /* its pidfd; -1: there are no pidfds */
    int lifeline[2]; /* a pipe: the supervisor has the read end, the caller the write end; -1: none */
};

/* The forked process becomes the pool's supervisor. */
_Noreturn void supervisor_run(struct pool *pool, const sigset_t *caller_mask, const struct supervisor_watch *watch);

#endif
