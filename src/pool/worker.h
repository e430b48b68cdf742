/* The process of a worker as the supervisor starts it. See worker.c. */
#ifndef WORKER_H
#define WORKER_H

#include "pool/task.h"

/* The forked process becomes worker `index`. */
_Noreturn void worker_run(struct pool *pool, uint32_t index);

#endif
