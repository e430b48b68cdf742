#ifndef MAP_H
#define MAP_H

#include "pool/caller.h"

/* Returns 0 or MP_ETIMEOUT, or MP_EINVAL as wait_for_word() does. Copies the results to `results`, unless that is
 * NULL, while it waits: some may have been copied when it fails. */
int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results);
bool map_is_done(struct mp_result *result);
/* Frees a map whose handle is freed. If helpers are still there, the job goes with the last one. The caller holds the
 * mutex. */
void map_release(mp_pool *pool, struct map_job *job);
/* The caller holds the mutex. One of the map's helping tasks has been taken back. */
void map_helper_gone(mp_pool *pool, struct map_job *job);
/* Once the map is done: copies the results to the place that the caller chose, unless they are there already. */
void map_deliver(mp_pool *pool, struct map_job *job);

#endif
