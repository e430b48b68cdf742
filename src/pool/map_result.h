/* A map that was submitted, on the caller's side: waited for, collected, delivered, given back. */
#ifndef MAP_RESULT_H
#define MAP_RESULT_H

#include "pool/caller.h"

/* Returns 0 or MP_ETIMEOUT, or MP_EINVAL as wait_for_word() does. Copies the results to `results`, unless that is
 * NULL, while it waits: some may have been copied when it fails. */
int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results);
/* Whether all its chunks are done. */
bool map_is_done(struct mp_result *result);
/* Of a map whose handle is freed: gives back what it holds. Returns whether no helper is there any more: then the job's
 * slot is to be recycled. Else the job goes with the last one. The caller holds the mutex. */
bool map_release(mp_pool *pool, struct map_job *job);
/* One of the map's helping tasks has been taken back. The rest as with map_release(). */
bool map_helper_gone(mp_pool *pool, struct map_job *job);
/* Once the map is done: copies the results to the place that the caller chose, unless they are there already. */
void map_deliver(mp_pool *pool, struct map_job *job);

#endif
