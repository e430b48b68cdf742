#include "pool/caller.h"

#include "base/delay.h"
#include "base/lifecycle.h"
#include "heap/ranges.h"

int pool_enter(const mp_pool *pool)
{
    if (!range_is_address(pool, 2 * CACHE_LINE) || !range_known(pool))
        return MP_EINVAL;
    if (!visitor_enter(pool))
        return MP_ENOMEM;
    int error = 0;
    if (atomic_load_explicit(&pool->magic, memory_order_acquire) != POOL_MAGIC)
        error = MP_EINVAL;
    else if (pool->owner != lifecycle_pid())
        error = MP_EFOREIGN;
    if (error != 0)
        pool_leave();
    return error;
}

void pool_unlock_and_call(mp_pool *pool)
{
    enum pool_call to_call = pool->to_call;

    pool->to_call = POOL_CALL_NOBODY;
    pthread_mutex_unlock(&pool->mutex);
    DELAY_POINT();
    supervisor_call(&pool->shared);
    if (to_call == POOL_CALL_ALL)
        dispatch_wake_all(&pool->shared);
}
