/* Attachments of a pool, the side of the supervisor and the workers: what each of these processes has mapped of them.
 * No lock: each process has its own list of mappings, and uses it in one thread. See attachments.c. */
#ifndef MAPPINGS_H
#define MAPPINGS_H

#include "pool/task.h"

static inline uint32_t attachment_state(uint32_t word)
{
    return word & ATTACHMENT_STATE;
}

static inline uint32_t attachment_number(uint32_t word)
{
    return word >> ATTACHMENT_NUMBER_SHIFT;
}

/* ---- the supervisor's side ---- */

/* In a new supervisor: begins with no mappings. */
void mappings_begin(struct pool *pool);
/* Maps the attachments that are wanted, and unmaps those that the caller has removed. */
void mappings_keep(struct pool *pool);
/* In a new worker: closes the descriptors inherited from the supervisor; the mappings remain. */
void mappings_enter_worker(void);

/* ---- the workers' side ---- */

/* Maps an attachment, if it is not yet mapped. False: this process cannot; a worker forked by the supervisor from now
 * on can. */
bool mapping_make(struct pool *pool, uint32_t attachment);
/* Unmaps the attachments that the caller has removed. */
void mappings_clear(struct pool *pool);

/* Translates `at`, an address in the caller, to this process. `attachment` 0: the address is the same everywhere. In
 * the caller itself every address stays as it is. */
void *mapping_memory(struct pool *pool, uint32_t attachment, uint64_t at);

#endif
