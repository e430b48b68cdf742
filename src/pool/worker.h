#ifndef WORKER_H
#define WORKER_H

#include "pool/task.h"

/* The forked process becomes worker `index`. */
_Noreturn void worker_run(struct pool *pool, uint32_t index);

#endif
