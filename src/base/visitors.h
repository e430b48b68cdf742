/* Which threads of this process are inside a call on a pool, a result or a named lock. A thread that frees a pool or a
 * result waits until the others have left it; a thread that closes a named lock waits before it takes the memory away.
 *
 * Each thread that was ever inside has a record. A thread that enters stores what it is about to use in its record, and
 * then loads whether that is live. A thread that frees it makes it not live, and then loads the records. This is a
 * Dekker pairing (store-buffer): at least one of the two sees what the other has stored. While only one thread has a
 * record, there is no other to pair with, and no fence. When a second thread makes its record, it calls membarrier(),
 * after which the first has passed a fence. The record of a thread that has ended is reused. */
#ifndef VISITORS_H
#define VISITORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct visitor {
    struct visitor *next;
    atomic_bool taken;
    int depth; /* of nested calls */
    _Atomic(const void *) pool, result;
    _Atomic(const void *) lock; /* calls on locks do not nest */
};

extern _Thread_local struct visitor *visitor_own;
extern atomic_bool visitors_several;
extern atomic_bool visitors_fence; /* the system has no membarrier() */

/* Gives this thread a record. NULL: no memory. */
struct visitor *visitor_make(void);

/* Between the store of what this thread uses and the load whether that is live: a fence, if *fence is set. */
static inline void visitors_order(const atomic_bool *fence)
{
    if (atomic_load_explicit(fence, memory_order_relaxed))
        atomic_thread_fence(memory_order_seq_cst);
    else
        atomic_signal_fence(memory_order_seq_cst);
}

/* Notes that this thread uses the pool from now on; afterwards the caller looks whether it is live. False: no
 * memory. */
static inline bool visitor_enter(const void *pool)
{
    struct visitor *own = visitor_own != NULL ? visitor_own : visitor_make();

    if (own == NULL)
        return false;
    if (own->depth++ > 0)
        return true;
    atomic_store_explicit(&own->pool, pool, memory_order_relaxed);
    visitors_order(&visitors_several);
    return true;
}

/* Like visitor_enter(), for a result; the thread has entered its pool. */
static inline void visitor_enter_result(const void *result)
{
    atomic_store_explicit(&visitor_own->result, result, memory_order_relaxed);
    visitors_order(&visitors_several);
}

static inline void visitor_leave(void)
{
    if (--visitor_own->depth > 0)
        return;
    atomic_store_explicit(&visitor_own->result, NULL, memory_order_release);
    atomic_store_explicit(&visitor_own->pool, NULL, memory_order_release);
}

/* Whether another thread is inside the pool or the result; at most one of the two is NULL. The caller has made it not
 * live before. */
bool visitors_are_in(const void *pool, const void *result);
/* Like visitor_enter(), for a lock. Locks are taken far more often than freed, so the fence is up to visitors_are_at():
 * it makes all threads of the process pass one, by membarrier(). */
static inline bool visitor_enter_lock(const void *lock)
{
    struct visitor *own = visitor_own != NULL ? visitor_own : visitor_make();

    if (own == NULL)
        return false;
    atomic_store_explicit(&own->lock, lock, memory_order_relaxed);
    visitors_order(&visitors_fence);
    return true;
}

static inline void visitor_leave_lock(void)
{
    atomic_store_explicit(&visitor_own->lock, NULL, memory_order_release);
}

bool visitors_are_at(const void *lock);
/* In the child of a fork: clears all records, and frees those of the other threads, which the child does not have. */
void visitors_after_fork(void);

#endif
