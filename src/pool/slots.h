/* Slots for tasks, and the queue's tail. The caller holds the pool's mutex in all of these. */
#ifndef SLOTS_H
#define SLOTS_H

#include "pool/caller.h"

/* Takes a free slot: its task owns no blocks and its word says free; its other fields may be stale. NULL: no memory. */
struct slot *slot_take(mp_pool *pool);
/* Frees a slot and all it owns. */
void slot_recycle(mp_pool *pool, struct slot *slot);
/* Ends the handle of a slot whose result is not wanted. A later slot_take() recycles the slot once its task is done. */
void slot_detach(mp_pool *pool, struct slot *slot);
/* Queues the slot's task. MP_ENOMEM: it is not queued. Afterwards the caller unlocks the mutex and wakes a worker. */
int slot_submit(mp_pool *pool, struct slot *slot);
/* Makes a slot with a copy of the argument and room for the result. */
int slot_prepare(mp_pool *pool, struct slot **slot, uint64_t function, const void *arg, uint64_t arg_size,
                 uint64_t result_size);

#endif
