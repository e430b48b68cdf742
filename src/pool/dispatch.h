/* Claiming and finishing tasks, and waking workers: used by the caller, the supervisor and the workers of a pool. No
 * lock is taken: each step is an atomic operation on one word. Which task to claim is decided in worker.c and
 * map_worker.c. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "base/cpu.h"
#include "base/futex.h"
#include "base/units.h"
#include "pool/task.h"

static inline uint32_t task_state(uint32_t word)
{
    return word & TASK_STATE;
}

/* Whether the word says that this worker runs the task or chunk. */
static inline bool task_runs_on(uint32_t word, uint32_t worker)
{
    return task_state(word) == TASK_RUNNING && word >> TASK_WORKER_SHIFT == worker;
}

/* Claims a queued task or chunk for a worker. The worker has stored in its record beforehand what it is about to
 * claim. */
bool task_claim(_Atomic uint32_t *word, uint32_t worker);
/* Sets the word to done and wakes its waiters. The outcome must be written before. */
void task_finish(_Atomic uint32_t *word);
/* Sets a running task back to queued; the waiter bit stays. */
void task_requeue(_Atomic uint32_t *word);

/* How long a worker spins for work before it sleeps, if a CPU is free for that. */
#define WORKER_SPIN_NS 50000

/* Caller, while it waits for a worker: keeps `wanted_cpu` at the CPU it runs on, unless `wanted_cpu` is 0. */
static inline void dispatch_follow_caller(struct pool *pool)
{
    uint32_t cpu = cpu_now(), wanted = atomic_load_explicit(&pool->wanted_cpu, memory_order_relaxed);

    if (wanted != 0 && wanted != cpu)
        atomic_store_explicit(&pool->wanted_cpu, cpu, memory_order_relaxed);
}

/* Worker: whether the caller, which may be waiting for it, was seen last on this CPU. */
static inline bool dispatch_cpu_is_wanted(const struct pool *pool)
{
    return atomic_load_explicit(&pool->wanted_cpu, memory_order_relaxed) == cpu_now();
}

/* Wakes one sleeping worker, unless there is none or one is searching already. Called after a task was queued. */
void dispatch_wake(struct pool *pool);
/* Like dispatch_wake(), but for the caller, which may be about to wait for that worker. (A worker never waits for
 * another that it wakes.) */
void dispatch_wake_by_caller(struct pool *pool);
/* Wakes every worker, also those that are in no set. */
void dispatch_wake_all(struct pool *pool);
/* Called when a task was queued without a ticket: makes a worker look at all tasks. */
void dispatch_rescan(struct pool *pool);
/* Called when a worker has been stopped, or when a task has waited so long that the worker that was to find it may have
 * been. Wakes all workers to look at all tasks. */
void dispatch_resync(struct pool *pool);

static inline bool set_has_any(struct pool *pool, _Atomic uint64_t *set)
{
    for (uint32_t i = 0; i < pool->sets; i++) {
        if (atomic_load_explicit(&set[i], memory_order_seq_cst) != 0)
            return true;
    }
    return false;
}

static inline void set_add(_Atomic uint64_t *set, uint32_t worker)
{
    atomic_fetch_or(&set[worker / 64], UINT64_C(1) << worker % 64);
}

/* Returns whether the worker was in the set. */
static inline bool set_remove(_Atomic uint64_t *set, uint32_t worker)
{
    uint64_t bit = UINT64_C(1) << worker % 64;

    return (atomic_fetch_and(&set[worker / 64], ~bit) & bit) != 0;
}

/* Whether a CPU is free for one more process than the workers that are awake. */
static inline bool cpu_is_idle(struct pool *pool)
{
    uint32_t awake = pool->workers;

    for (uint32_t i = 0; i < pool->sets; i++)
        awake -= (uint32_t)__builtin_popcountll(atomic_load_explicit(&pool->sleeping[i], memory_order_relaxed));
    return awake < pool->cpus;
}

/* Calls visit for every slot until it returns true. Returns whether it did. */
bool slots_visit(struct pool *pool, bool (*visit)(struct slot *slot, void *arg), void *arg);

/* Whether the queue has tickets that no worker has taken. */
static inline bool tickets_left(struct pool *pool)
{
    return atomic_load(&pool->head) < atomic_load(&pool->tail);
}

/* The task's argument, and the room for its result. NULL if the size is 0. */
const void *task_arg(struct heap *heap, struct task *task);
void *task_result(struct heap *heap, struct task *task);
/* The result of a task that is done, and its size in bytes. */
const void *task_outcome(struct heap *heap, struct task *task, uint64_t *size);
/* Whether the result lies behind the argument in task.data. */
static inline bool task_result_is_inline(uint64_t arg_size, uint64_t result_size)
{
    return arg_size <= TASK_INLINE && result_size <= TASK_INLINE - round_up(arg_size, 16);
}

/* Makes the supervisor check everything. Needs no descriptor and no permission. May be called in a signal handler. */
static inline void supervisor_call(struct pool *pool)
{
    atomic_fetch_add(&pool->calls, 1);
    futex_wake(&pool->calls, 1);
}

#endif
