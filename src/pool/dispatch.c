#include "pool/dispatch.h"

#include <limits.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/delay.h"
#include "base/futex.h"
#include "base/units.h"

bool task_claim(_Atomic uint32_t *word, uint32_t worker)
{
    uint32_t now = atomic_load_explicit(word, memory_order_relaxed);

    DELAY_POINT();
    while (task_state(now) == TASK_QUEUED) {
        uint32_t claimed = TASK_RUNNING | (now & TASK_WAITER) | worker << TASK_WORKER_SHIFT;

        if (atomic_compare_exchange_weak(word, &now, claimed))
            return true;
    }
    return false;
}

void task_finish(_Atomic uint32_t *word)
{
    uint32_t before = atomic_exchange(word, TASK_DONE);

    DELAY_POINT();
    if (before & TASK_WAITER)
        futex_wake(word, INT_MAX);
}

void task_requeue(_Atomic uint32_t *word)
{
    uint32_t now = atomic_load(word);

    while (!atomic_compare_exchange_weak(word, &now, TASK_QUEUED | (now & TASK_WAITER)))
        ;
}

/* Returns whether the worker slept, or was about to. The futex is woken in any case: an earlier waker may have died
 * after storing the 0. */
static bool wake_worker(struct pool *pool, uint32_t index)
{
    struct worker *worker = &pool->worker[index];
    bool slept = atomic_exchange(&worker->asleep, 0) != 0;

    DELAY_POINT();
    futex_wake(&worker->asleep, 1);
    return slept;
}

/* If the caller has rested for longer than a worker spins, it will rest again: a worker that spins on the caller's CPU
 * then spins for nothing, so `wanted_cpu` names that CPU. A caller that has not rested soon submits more, and it is
 * best that both sides spin: where they share a CPU, the system then moves one of them away. Without `wanted_cpu`, a
 * round trip after a rest takes 3.9 times as long (tests/bench/limits.md). */
static void note_caller(struct pool *pool)
{
    bool rested = clock_now() - atomic_load_explicit(&pool->waited, memory_order_relaxed) > WORKER_SPIN_NS;

    atomic_store_explicit(&pool->wanted_cpu, rested ? cpu_now() : 0, memory_order_relaxed);
}

static void wake(struct pool *pool, bool by_caller)
{
    if (!set_has_any(pool, pool->sleeping) || set_has_any(pool, pool->searching))
        return;
    DELAY_POINT();
    for (uint32_t i = 0; i < pool->sets; i++) {
        uint64_t asleep;

        while ((asleep = atomic_load(&pool->sleeping[i])) != 0) {
            uint32_t index = i * 64 + (uint32_t)__builtin_ctzll(asleep);

            if (!set_remove(pool->sleeping, index))
                continue; /* another waker has it */
            DELAY_POINT();
            /* Set the bit on its behalf, so that no other worker is woken before this one has looked. */
            set_add(pool->searching, index);
            DELAY_POINT();
            if (by_caller)
                note_caller(pool);
            atomic_store_explicit(&pool->woken_cpu,
                                  atomic_load_explicit(&pool->worker[index].slept_on, memory_order_relaxed),
                                  memory_order_relaxed);
            if (wake_worker(pool, index))
                return;
            DELAY_POINT();
            /* The worker woke by itself before we set its `searching` bit, and may already run a task: it would never
             * clear the bit, and while it works no worker would be woken for what is queued. Clear it. */
            atomic_store_explicit(&pool->woken_cpu, 0, memory_order_relaxed);
            set_remove(pool->searching, index);
        }
    }
}

void dispatch_wake(struct pool *pool)
{
    wake(pool, false);
}

void dispatch_wake_by_caller(struct pool *pool)
{
    wake(pool, true);
}

void dispatch_wake_all(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->workers; i++) {
        set_remove(pool->sleeping, i);
        DELAY_POINT();
        wake_worker(pool, i);
    }
}

void dispatch_rescan(struct pool *pool)
{
    atomic_store(&pool->rescan, 1);
    DELAY_POINT();
    dispatch_wake(pool);
}

void dispatch_resync(struct pool *pool)
{
    /* A worker that really searches does so with or without its bit. */
    for (uint32_t i = 0; i < pool->sets; i++)
        atomic_store(&pool->searching[i], 0);
    atomic_store(&pool->rescan, 1);
    dispatch_wake_all(pool);
}

bool slots_visit(struct pool *pool, bool (*visit)(struct slot *slot, void *arg), void *arg)
{
    for (int k = 0; k < SEGMENTS; k++) {
        uint64_t block = atomic_load_explicit(&pool->segment[k], memory_order_acquire);

        if (block == 0)
            return false;
        struct slot *slots = heap_at(pool->heap, round_up(block, CACHE_LINE));
        for (size_t i = 0; i < (size_t)SEGMENT_FIRST << k; i++) {
            if (visit(&slots[i], arg))
                return true;
        }
    }
    return false;
}

const void *task_arg(struct heap *heap, struct task *task)
{
    if (task->arg_size == 0)
        return NULL;
    return task->arg_size <= TASK_INLINE ? task->data : heap_at(heap, atomic_load(&task->arg_block));
}

void *task_result(struct heap *heap, struct task *task)
{
    if (task->result_size == 0)
        return NULL;
    if (task_result_is_inline(task->arg_size, task->result_size))
        return task->data + round_up(task->arg_size, 16);
    return heap_at(heap, atomic_load(&task->result_block));
}

const void *task_outcome(struct heap *heap, struct task *task, uint64_t *size)
{
    if (task->returned == 0) {
        *size = task->result_size;
        return task_result(heap, task);
    }
    struct returned *returned = heap_at(heap, atomic_load(&task->returned_block));
    *size = returned->size;
    return returned->data;
}
