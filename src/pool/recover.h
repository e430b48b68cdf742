/* Recovery after the death of a worker. The supervisor calls it when it has reaped the worker and has rolled back what
 * the worker left half done in the heap (settle_heap() in supervisor.c). No lock but that of the heap is needed: what
 * the worker owned is now the supervisor's. */
#ifndef RECOVER_H
#define RECOVER_H

#include "pool/task.h"

/* Requeues or fails the task and the chunk of worker `index`, frees the blocks of its record, and clears its bits in
 * `sleeping` and `searching`. `error` is the status of what fails. */
void recover_worker(struct pool *pool, uint32_t index, int error);

#endif
