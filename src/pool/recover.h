/* What a worker that died has left behind. */
#ifndef RECOVER_H
#define RECOVER_H

#include "pool/task.h"

/* Supervisor: requeues or fails the task of the dead worker, and clears what is set for it. The heap must have been
 * recovered. */
void recover_worker(struct pool *pool, uint32_t index, int error);

#endif
