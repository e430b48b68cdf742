/* A map that was submitted, the caller's side: waiting for it, copying its results out, freeing what it holds. */
#ifndef MAP_RESULT_H
#define MAP_RESULT_H

#include "pool/caller.h"

/* Returns 0 or MP_ETIMEOUT, or MP_EINVAL as wait_for_word() does. Copies the results to `results`, unless that is
 * NULL, while it waits: some may have been copied when it fails. The caller does not hold the mutex. */
int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results);
/* Whether all its chunks are done. Needs no lock. */
bool map_is_done(struct mp_result *result);
/* The map's handle is freed: frees the map's blocks and attachments, if all chunks are done. True: no helper is left,
 * and the caller of this function recycles job->slot. False: the rest goes with the last helper (map_helper_gone()).
 * The mutex is held. */
bool map_release(mp_pool *pool, struct map_job *job);
/* One of the map's helpers is done and was taken back. True: it was the last one of a map whose handle is freed; the
 * caller of this function recycles job->slot. The mutex is held. */
bool map_helper_gone(mp_pool *pool, struct map_job *job);
/* Once the map is done: copies the results to the place that the caller chose, unless they are there already. The mutex
 * is not held. */
void map_deliver(mp_pool *pool, struct map_job *job);

#endif
