#include "pool/worker_env.h"

bool worker_forked;
uint32_t worker_tasks_left;

void worker_after_fork(void)
{
    worker_forked = true;
}

void worker_env_begin(const struct pool *pool)
{
    worker_forked = false;
    worker_tasks_left = pool->tasks_per_child;
}
