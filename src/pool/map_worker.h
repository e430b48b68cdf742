/* Maps, the side of the workers, and of the supervisor for workers that died. */
#ifndef MAP_WORKER_H
#define MAP_WORKER_H

#include "pool/task.h"

/* Worker, in a helping task: works on chunks until none is left. False: the worker must be replaced first, as it has
 * done its number of tasks or cannot map an attachment. */
bool map_help(struct pool *pool, uint32_t worker, struct map_job *job);
/* Supervisor: finishes or requeues the chunk that a dead worker was in. */
void map_lost(struct pool *pool, struct worker *worker, uint32_t index, int error);

#endif
