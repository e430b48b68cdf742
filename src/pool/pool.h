/* The caller's side of a pool: what pool.c, slots.c, result.c and map.c share. All of it belongs to the process that
 * made the pool; it lies in the pool's heap only so that handles read as zeros, and not as something else, once the
 * pool is freed. */
#ifndef POOL_H
#define POOL_H

#include <pthread.h>

#include "base/cancelling.h"
#include "base/visitors.h"
#include "pool/dispatch.h"

#define POOL_MAGIC UINT64_C(0x6d705f706f6f6c31)

#define RESTING 64

enum pool_call { POOL_CALL_NOBODY, POOL_CALL_KEEPER, POOL_CALL_ALL };

struct mp_pool {
    _Atomic uint64_t magic; /* POOL_MAGIC while the handle is live */
    struct mp_pool *next;   /* of this process's pools */
    pid_t owner, keeper;
    bool ended_at_exit; /* the end of the process has seen to it */
    uint64_t serial;    /* heaps with a lower one (heap_around()) are open in keeper and workers too */
    int64_t keeper_began, keeper_believed; /* when it had been forked; when the pid was last sure to be its own */
    int leash; /* the write end of the pipe that tells the keeper of this process's end; -1: none */
    dev_t leash_device;
    ino_t leash_inode;
    atomic_bool keeper_gone; /* it has ended and was reaped. Written under the mutex */
    pthread_mutex_t mutex;   /* between the caller's threads: guards all below, and the queue's tail */
    struct slot *free;
    struct slot *detached, *detached_last; /* slots whose handle was freed before the task was done, or never given */
    uint64_t detached_count, slot_count;
    int segments, rings;
    uint64_t ring_size;
    _Atomic uint64_t staging; /* owns a block until it has its place */
    /* Large blocks in no use, oldest first: [first_resting .. last_resting) % RESTING. They own them. */
    _Atomic uint64_t resting[RESTING];
    uint64_t first_resting, last_resting, resting_bytes;
    uint32_t guests_made;   /* numbers them */
    uint64_t guests_wanted; /* counts the maps that wanted one */
    enum pool_call to_call; /* whom to call when the mutex is given back */
    struct pool shared;
};

/* 0: the pool is live, and stays so until pool_leave(). MP_EINVAL: not a live pool; MP_EFOREIGN: another process's;
 * MP_ENOMEM. */
int pool_enter(const mp_pool *pool);
static inline void pool_leave(void)
{
    visitor_leave();
}
/* Whether the keeper has ended: if so, all has been failed that will not be done any more. */
bool pool_look_after_keeper(mp_pool *pool);
/* Gives the mutex back, and calls whom `to_call` names: keeper and workers, so that they look what has become of
 * guests. */
void pool_unlock_and_call(mp_pool *pool);
static inline void pool_unlock(mp_pool *pool)
{
    if (pool->to_call == POOL_CALL_NOBODY)
        pthread_mutex_unlock(&pool->mutex);
    else
        pool_unlock_and_call(pool);
}
/* Why no task can be submitted: 0, MP_ECLOSED, MP_EBROKEN, MP_EINITIALIZER. */
int pool_refusal(mp_pool *pool);

/* slots.c. Under the pool's mutex. */
/* As heap_alloc() and heap_free(), for what a task carries: so that large blocks are used again in turn. */
int block_take(mp_pool *pool, uint64_t size, _Atomic uint64_t *slot);
void block_put(mp_pool *pool, _Atomic uint64_t *slot);
/* A slot in no use, its task zero; NULL: no memory. */
struct slot *slot_take(mp_pool *pool);
/* Back to the free ones, with all it owns. */
void slot_recycle(mp_pool *pool, struct slot *slot);
/* Nobody will ask for it: goes back when its task is done. */
void slot_detach(mp_pool *pool, struct slot *slot);
/* Queues the slot's task. MP_ENOMEM: it is not queued. Wake a worker afterwards, without the mutex. */
int slot_submit(mp_pool *pool, struct slot *slot);
/* A slot with a copy of the argument and room for the result. */
int slot_prepare(mp_pool *pool, struct slot **slot, uint64_t function, const void *arg, uint64_t arg_size,
                 uint64_t result_size);

/* result.c. Waits until the word says done: 0 or MP_ETIMEOUT. Should `first` still be queued after a while, there is
 * something wrong, and all workers are called. When it is another word than the one waited for, 0 may also mean: find
 * out what is first now, and wait again. */
int result_wait_word(mp_pool *pool, _Atomic uint32_t *word, _Atomic uint32_t *first, int64_t deadline);

/* map.c. */
/* 0 or MP_ETIMEOUT. Copies the results to `results`, unless that is NULL, while it waits: some may be there after
 * MP_ETIMEOUT. */
int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results);
bool map_is_done(struct mp_result *result);
/* The failure of the first item that failed. */
int map_status(const struct map_job *job);
int map_item_status(struct heap *heap, struct map_job *job, uint64_t index, int *status);
/* Under the mutex: nobody will ask for the map any more, all its chunks are done. */
void map_release(mp_pool *pool, struct map_job *job);
/* Under the mutex: one of its helpers has been taken back. */
void map_helper_gone(mp_pool *pool, struct map_job *job);
/* Whether they still can be had: results in a manager's memory go when this process closes the manager. */
bool map_has_results(const struct map_job *job);
/* Once it is done: copies results to the place they were wanted in, if they are still to be copied there. */
void map_deliver(mp_pool *pool, struct map_job *job);
/* Fails all chunks that are not done. */
void map_fail(struct pool *pool, struct map_job *job, int error);

#endif
