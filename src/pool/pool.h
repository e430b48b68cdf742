/* The caller's side of a pool, shared by pool.c, slots.c, result.c and map.c. All of it belongs to the process that
 * made the pool. It lies in the pool's heap for one reason: once the pool is freed, handles read as zeros and not as
 * something else. */
#ifndef POOL_H
#define POOL_H

#include <pthread.h>

#include "base/cancelling.h"
#include "base/visitors.h"
#include "pool/dispatch.h"

#define POOL_MAGIC UINT64_C(0x6d705f706f6f6c31)

#define RESTING 64

enum pool_call { POOL_CALL_NOBODY, POOL_CALL_SUPERVISOR, POOL_CALL_ALL };

struct mp_pool {
    _Atomic uint64_t magic; /* POOL_MAGIC while the handle is live */
    struct mp_pool *next;   /* of this process's pools */
    pid_t owner, supervisor;
    bool ended_at_exit; /* the exit handler has ended it */
    uint64_t serial;    /* heaps with a lower one (heap_around()) are open in supervisor and workers too */
    int64_t supervisor_began, supervisor_believed; /* when it was forked; when the pid was last known to be its own */
    int lifeline; /* the write end of the pipe that tells the supervisor of this process's end; -1: none */
    dev_t lifeline_device;
    ino_t lifeline_inode;
    atomic_bool supervisor_gone; /* the supervisor has ended and was reaped. Written under the mutex */
    pthread_mutex_t mutex;       /* between the caller's threads: guards all below, and the queue's tail */
    struct slot *free;
    struct slot *detached, *detached_last; /* slots whose handle was freed before the task was done, or never given */
    uint64_t detached_count, slot_count;
    int segments, rings;
    uint64_t ring_size;
    _Atomic uint64_t staging; /* owns a block until it has its place */
    /* Owns the large blocks that are not in use, oldest first: [first_resting .. last_resting) % RESTING. */
    _Atomic uint64_t resting[RESTING];
    uint64_t first_resting, last_resting, resting_bytes;
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
/* Whether the supervisor has ended. If so, all tasks that will not be done any more have been failed. */
bool pool_check_supervisor(mp_pool *pool);
/* Unlocks the mutex and wakes the processes named by `to_call` (supervisor and workers), so that they look which
 * attachments have changed. */
void pool_unlock_and_call(mp_pool *pool);
static inline void pool_unlock(mp_pool *pool)
{
    if (pool->to_call == POOL_CALL_NOBODY)
        pthread_mutex_unlock(&pool->mutex);
    else
        pool_unlock_and_call(pool);
}
/* Returns why no task can be submitted: MP_ECLOSED, MP_EBROKEN, MP_EINITIALIZER; 0: tasks can be submitted. */
int pool_refusal(mp_pool *pool);

/* slots.c. The caller holds the pool's mutex. */
/* Like heap_alloc() and heap_free(), but for the blocks of a task: large blocks are used again in turn. */
int block_take(mp_pool *pool, uint64_t size, _Atomic uint64_t *slot);
void block_put(mp_pool *pool, _Atomic uint64_t *slot);
/* Takes a free slot, whose task is zeroed. NULL: no memory. */
struct slot *slot_take(mp_pool *pool);
/* Frees a slot and all it owns. */
void slot_recycle(mp_pool *pool, struct slot *slot);
/* Marks a slot whose result is not wanted: it is freed when its task is done. */
void slot_detach(mp_pool *pool, struct slot *slot);
/* Queues the slot's task. MP_ENOMEM: it is not queued. Afterwards the caller unlocks the mutex and wakes a worker. */
int slot_submit(mp_pool *pool, struct slot *slot);
/* Makes a slot with a copy of the argument and room for the result. */
int slot_prepare(mp_pool *pool, struct slot **slot, uint64_t function, const void *arg, uint64_t arg_size,
                 uint64_t result_size);

/* result.c. Waits until `word` says done. Returns 0 or MP_ETIMEOUT; MP_EINVAL if another thread has freed the result.
 * If `first` is still queued after a while, a worker may have been stopped, and all workers are woken. If `first` is
 * another word than `word`, 0 may also mean: find the new `first` and wait again. */
int result_wait_word(mp_pool *pool, _Atomic uint32_t *word, _Atomic uint32_t *first, int64_t deadline);

/* map.c. */
/* Returns 0 or MP_ETIMEOUT, or MP_EINVAL as result_wait_word() does. Copies the results to `results`, unless that is
 * NULL, while it waits: some may have been copied when it fails. */
int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results);
bool map_is_done(struct mp_result *result);
/* Frees a map whose handle is freed. If helpers are still there, the job goes with the last one. The caller holds the
 * mutex. */
void map_release(mp_pool *pool, struct map_job *job);
/* The caller holds the mutex. One of the map's helping tasks has been taken back. */
void map_helper_gone(mp_pool *pool, struct map_job *job);
/* Once the map is done: copies the results to the place that the caller chose, unless they are there already. */
void map_deliver(mp_pool *pool, struct map_job *job);

#endif
