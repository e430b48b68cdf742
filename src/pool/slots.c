/* Slots for tasks, their blocks, and the queue's tail: all that the caller does under the pool's mutex to submit a
 * task. Supervisor and workers call nothing here. */
#include "pool/slots.h"

#include <mp.h>
#include <string.h>

#include "base/delay.h"
#include "base/units.h"
#include "pool/map_result.h"

/* ---- blocks of a task ---- */

static int block_take(mp_pool *pool, uint64_t size, _Atomic uint64_t *slot)
{
    int state = cancelling_forbid();
    int error = heap_alloc(pool->shared.heap, size, slot);

    cancelling_allow(state);
    return error;
}

static void block_put(mp_pool *pool, _Atomic uint64_t *slot)
{
    if (atomic_load_explicit(slot, memory_order_relaxed) == 0)
        return;
    int state = cancelling_forbid();
    heap_free(pool->shared.heap, slot);
    cancelling_allow(state);
}

/* ---- slots ---- */

static int add_segment(mp_pool *pool)
{
    struct heap *heap = pool->shared.heap;
    size_t count = (size_t)SEGMENT_FIRST << pool->segments;

    if (pool->segments == SEGMENTS)
        return MP_ENOMEM;
    int error = block_take(pool, count * sizeof(struct slot) + CACHE_LINE, &pool->staging);
    if (error != 0)
        return error;
    uint64_t block = atomic_load(&pool->staging);
    struct slot *slots = heap_at(heap, round_up(block, CACHE_LINE));
    memset(slots, 0, count * sizeof *slots);
    atomic_store(&pool->shared.segment[pool->segments], block);
    atomic_store(&pool->staging, 0);
    pool->segments++;
    pool->slot_count += count;
    while (count-- > 0) {
        slots[count].result.next = pool->free;
        pool->free = &slots[count];
    }
    return 0;
}

static void detached_push(mp_pool *pool, struct slot *slot)
{
    slot->result.next = NULL;
    if (pool->detached == NULL)
        pool->detached = slot;
    else
        pool->detached_last->result.next = slot;
    pool->detached_last = slot;
    pool->detached_count++;
}

static struct slot *detached_pop(mp_pool *pool)
{
    struct slot *slot = pool->detached;

    pool->detached = slot->result.next;
    pool->detached_count--;
    return slot;
}

/* Looks at up to `count` detached slots and frees those whose tasks are done. */
static void take_back(mp_pool *pool, uint64_t count)
{
    for (; count > 0 && pool->detached != NULL; count--) {
        struct slot *slot = detached_pop(pool);
        struct map_job *helping = slot->result.helping;

        if (task_state(atomic_load(&slot->task.word)) != TASK_DONE) {
            detached_push(pool, slot);
            continue;
        }
        slot_recycle(pool, slot);
        if (helping != NULL && map_helper_gone(pool, helping))
            slot_recycle(pool, helping->slot);
    }
}

struct slot *slot_take(mp_pool *pool)
{
    uint64_t before = pool->detached_count;

    take_back(pool, pool->free != NULL ? 2 : before);
    /* A sweep that found little is not worth repeating for each task: grow as well. */
    if (pool->free == NULL ||
        (before > 0 && before == pool->slot_count && before - pool->detached_count < before / 4)) {
        if (add_segment(pool) != 0 && pool->free == NULL)
            return NULL;
    }
    struct slot *slot = pool->free;
    pool->free = slot->result.next;
    return slot;
}

void slot_recycle(mp_pool *pool, struct slot *slot)
{
    struct task *task = &slot->task;

    block_put(pool, &task->arg_block);
    block_put(pool, &task->result_block);
    block_put(pool, &task->returned_block);
    atomic_store_explicit(&task->word, TASK_FREE, memory_order_relaxed);
    atomic_store_explicit(&slot->result.magic, 0, memory_order_relaxed);
    slot->result.job = NULL;
    slot->result.helping = NULL;
    slot->result.next = pool->free;
    pool->free = slot;
}

void slot_detach(mp_pool *pool, struct slot *slot)
{
    atomic_store_explicit(&slot->result.magic, 0, memory_order_relaxed);
    detached_push(pool, slot);
}

static int grow_ring(mp_pool *pool)
{
    struct pool *shared = &pool->shared;
    uint64_t size = pool->ring_size == 0 ? 256 : pool->ring_size * 2;
    uint64_t tail = atomic_load(&shared->tail);

    if (pool->rings == SEGMENTS)
        return MP_ENOMEM;
    int error = block_take(pool, (size + 1) * sizeof(uint64_t), &shared->ring_block[pool->rings]);
    if (error != 0)
        return error;
    _Atomic uint64_t *old = heap_at(shared->heap, atomic_load(&shared->ring));
    _Atomic uint64_t *ring = heap_at(shared->heap, atomic_load(&shared->ring_block[pool->rings]));
    atomic_store(&ring[0], size);
    for (uint64_t i = 1; i <= size; i++)
        atomic_store_explicit(&ring[i], 0, memory_order_relaxed);
    for (uint64_t i = 0; i < pool->ring_size && i < tail; i++) {
        uint64_t ticket = tail - 1 - i;

        atomic_store_explicit(&ring[1 + ticket % size], atomic_load(&old[1 + ticket % pool->ring_size]),
                              memory_order_relaxed);
    }
    atomic_store(&shared->ring, atomic_load(&shared->ring_block[pool->rings]));
    pool->rings++;
    pool->ring_size = size;
    return 0;
}

int slot_submit(mp_pool *pool, struct slot *slot)
{
    struct pool *shared = &pool->shared;
    uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_relaxed);

    /* Acquire: pairs with the worker that moved the head; it has read the places that are now written again. */
    if (tail - atomic_load_explicit(&shared->head, memory_order_acquire) >= pool->ring_size) {
        int error = grow_ring(pool);
        if (error != 0)
            return error;
    }
    _Atomic uint64_t *ring = heap_at(shared->heap, atomic_load_explicit(&shared->ring, memory_order_relaxed));
    atomic_store_explicit(&slot->task.word, TASK_QUEUED, memory_order_release);
    DELAY_POINT();
    atomic_store_explicit(&ring[1 + (tail & (pool->ring_size - 1))], heap_offset(shared->heap, &slot->task),
                          memory_order_relaxed);
    DELAY_POINT();
    /* seq_cst: the store comes before the load of `sleeping` in dispatch_wake() (Dekker pairing with
     * sleep_until_woken() in worker.c). */
    atomic_store(&shared->tail, tail + 1);
    DELAY_POINT();
    return 0;
}

int slot_prepare(mp_pool *pool, struct slot **result, uint64_t function, const void *arg, uint64_t arg_size,
                 uint64_t result_size)
{
    struct heap *heap = pool->shared.heap;
    int error = 0;

    if (arg_size > SIZE_MOST || result_size > SIZE_MOST)
        return MP_ENOMEM;
    struct slot *slot = slot_take(pool);
    if (slot == NULL)
        return MP_ENOMEM;
    struct task *task = &slot->task;
    task->function = function;
    task->arg_size = arg_size;
    task->result_size = result_size;
    task->deaths = 0;
    task->returned = 0;
    if (arg_size > TASK_INLINE)
        error = block_take(pool, arg_size, &task->arg_block);
    if (error == 0 && !task_result_is_inline(arg_size, result_size))
        error = block_take(pool, result_size, &task->result_block);
    if (error != 0) {
        slot_recycle(pool, slot);
        return error;
    }
    if (arg_size > TASK_INLINE)
        memcpy(heap_at(heap, atomic_load(&task->arg_block)), arg, arg_size);
    else if (arg_size > 0)
        memcpy(task->data, arg, arg_size);
    slot->result.pool = pool;
    *result = slot;
    return 0;
}
