/* The fixture of tests of pools. A file's make() calls make_pool(). */
#ifndef POOL_FIXTURE_H
#define POOL_FIXTURE_H

#include <mp.h>
#include <stdbool.h>
#include <stddef.h>

static mp_pool *pool;

static inline int make_pool(int workers)
{
    return mp_pool_create(&pool, workers, NULL);
}

static inline int drop(void **state)
{
    (void)state;
    return mp_pool_free(pool);
}

/* For wait_until(): as many workers live as the pool was made with. */
static inline bool is_full(void *of)
{
    size_t live;
    int size;

    return mp_pool_workers(of, NULL, 0, &live) == 0 && mp_pool_size(of, &size) == 0 && (int)live == size;
}

#endif
