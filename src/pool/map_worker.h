/* Maps, the side of the workers. */
#ifndef MAP_WORKER_H
#define MAP_WORKER_H

#include "pool/task.h"

/* Worker, in a helping task: works on chunks until none is left. False: the worker must be replaced first, as it has
 * done its number of tasks or cannot map an attachment. */
bool map_help(struct pool *pool, uint32_t worker, struct map_job *job);

#endif
