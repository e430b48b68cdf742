/* The supervisor as the caller sees it: whether it lives, and what is left of the pool when it does not. */
#ifndef SUPERVISOR_LINK_H
#define SUPERVISOR_LINK_H

#include "pool/caller.h"

/* How long to wait for a supervisor that may not be killed either. */
#define GIVE_UP_NS INT64_C(5000000000)

/* Whether the supervisor has ended. If so, all tasks that will not be done any more have been failed. The caller does
 * not hold the mutex, here and below. */
bool supervisor_check(mp_pool *pool);
/* False: the supervisor still lives at the deadline. */
bool supervisor_wait(mp_pool *pool, int64_t deadline);
/* Waits until the supervisor, which was told to end, has ended. MP_ESYSTEM: it was stopped, and this process may
 * neither continue nor kill it. */
int supervisor_wait_for_end(mp_pool *pool);

#endif
