/* The supervisor as the caller sees it: whether it lives, waiting for its end, and failing what it left undone. The
 * functions here take the pool's mutex for a moment: the calling thread does not hold it. */
#ifndef SUPERVISOR_LINK_H
#define SUPERVISOR_LINK_H

#include "base/clock.h"
#include "pool/caller.h"

/* How long to wait for a supervisor that this process may not even kill. */
#define GIVE_UP_NS (5 * SECOND)

/* Whether the supervisor has ended. If so, all tasks that were not done have been failed. */
bool supervisor_check(mp_pool *pool);
/* For something that the supervisor is to do (sync/wait.h): sleeps until the word is not `value`, and checks meanwhile
 * that the supervisor lives. 0, MP_ETIMEOUT, or MP_EBROKEN: the supervisor has ended. */
int supervisor_await(mp_pool *pool, _Atomic uint32_t *word, uint32_t value, int64_t deadline);
/* Waits for the supervisor's end. False: the deadline came first. */
bool supervisor_wait(mp_pool *pool, int64_t deadline);
/* Waits until the supervisor, which was told to end, has ended. MP_ESYSTEM: it was stopped, and this process may
 * neither continue nor kill it. */
int supervisor_wait_for_end(mp_pool *pool);

#endif
