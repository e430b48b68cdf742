/* Maps, the workers' side: a helper claims chunks and runs their items. No lock: a claimed chunk belongs to the worker
 * that its word names. See job.h. */
#ifndef MAP_WORKER_H
#define MAP_WORKER_H

#include "pool/task.h"

/* In a worker, as a helper: works on chunks until none is left. False: the worker must be replaced first, as it has
 * done its number of tasks or cannot map an attachment. */
bool map_help(struct pool *pool, uint32_t worker, struct map_job *job);

#endif
