/* A pool as the process that made it, the caller, sees it. Of struct mp_pool, other processes use only `shared`
 * (task.h). All of it lies in the pool's heap, for two reasons. Once the pool is freed, its handle leads to zeros
 * (heap_close()), so a stale handle is found out. And `staging` owns a block, as only words of the heap can.
 *
 * A public function enters the pool first (pool_enter()): until it leaves, no thread frees the pool. The mutex is not
 * held while a thread waits for a task, for the supervisor or for an attachment. */
#ifndef CALLER_H
#define CALLER_H

#include <pthread.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/proc.h"
#include "base/visitors.h"
#include "pool/dispatch.h"

#define POOL_MAGIC UINT64_C(0x6d705f706f6f6c31)

enum pool_call { POOL_CALL_NOBODY, POOL_CALL_SUPERVISOR, POOL_CALL_ALL };

struct mp_pool {
    _Atomic uint64_t magic; /* POOL_MAGIC while the handle is live */
    struct mp_pool *next;   /* of this process's pools */
    pid_t owner, supervisor;
    bool ended_at_exit;       /* the exit handler has ended it */
    uint64_t serial;          /* heaps with a lower serial (heap_around()) are open in supervisor and workers too */
    struct pid_belief belief; /* in the supervisor's pid */
    int lifeline;             /* the write end of the pipe that tells the supervisor of this process's end; -1: none */
    dev_t lifeline_device;
    ino_t lifeline_inode;
    atomic_bool supervisor_gone; /* the supervisor has ended and was reaped. Written under the mutex */
    pthread_mutex_t mutex;       /* between the caller's threads: guards all below but `shared`, and the queue's tail */
    struct slot *free;
    struct slot *detached, *detached_last; /* slots whose handle was freed before the task was done, or never given */
    uint64_t detached_count, slot_count;
    int segments, rings;
    uint64_t ring_size;
    _Atomic uint64_t staging;    /* owns a block until it has its place */
    uint32_t attachments_made;   /* the last number given to an attachment */
    uint64_t attachments_wanted; /* counts the maps that wanted one */
    enum pool_call to_call;      /* whom to wake when the mutex is unlocked */
    struct pool shared;
};

/* Returns 0 if the pool is live; it then stays so until pool_leave(). MP_EINVAL: not a live pool. MP_EFOREIGN: it
 * belongs to another process. MP_ENOMEM. */
int pool_enter(const mp_pool *pool);
static inline void pool_leave(void)
{
    visitor_leave();
}
/* Unlocks the mutex and wakes the processes named by `to_call` (supervisor and workers), so that they notice which
 * attachments have changed. The caller holds the mutex. */
void pool_unlock_and_call(mp_pool *pool);
static inline void pool_unlock(mp_pool *pool)
{
    if (pool->to_call == POOL_CALL_NOBODY)
        pthread_mutex_unlock(&pool->mutex);
    else
        pool_unlock_and_call(pool);
}
/* Returns why no task can be submitted: MP_ECLOSED, MP_EBROKEN, MP_EINITIALIZER; 0: tasks can be submitted. */
static inline int pool_refusal(const mp_pool *pool)
{
    if (atomic_load_explicit(&pool->shared.state, memory_order_relaxed) != POOL_OPEN)
        return MP_ECLOSED;
    return atomic_load_explicit(&pool->shared.broken, memory_order_relaxed);
}

#endif
