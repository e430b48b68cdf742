/* Which threads of this process are inside a call on which pool, or on which result: so that who frees it waits until
 * they have left; or on which named lock: so that who frees it does not take the memory away under them.
 *
 * Each thread that has ever been inside has a record, where it notes what it is about to use, then looks whether that
 * still is live (a Dekker pairing with who frees it: that one first makes it not live, and then looks at the records).
 * While only one thread has a record there is nobody to pair with, and no fence; the second one to come sees to it,
 * with membarrier(), that the first has passed one. Records of threads that have ended serve others. */
#ifndef VISITORS_H
#define VISITORS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct visitor {
    struct visitor *next;
    atomic_bool taken;
    int depth; /* calls inside calls */
    _Atomic(const void *) pool, result;
    _Atomic(const void *) lock; /* there is no call inside one on a lock */
};

extern _Thread_local struct visitor *visitor_own;
extern atomic_bool visitors_several;
extern atomic_bool visitors_fence; /* the system has no membarrier() */

/* A record for this thread. NULL: no memory. */
struct visitor *visitor_make(void);

/* Between what this thread has noted and its look whether that still is live. */
static inline void visitors_order(const atomic_bool *fence)
{
    if (atomic_load_explicit(fence, memory_order_relaxed))
        atomic_thread_fence(memory_order_seq_cst);
    else
        atomic_signal_fence(memory_order_seq_cst);
}

/* Notes that this thread uses that from now on, before it looks whether it is live. False: no memory. */
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

/* The same for a result, in a pool that was entered. */
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

/* Whether another thread is inside; not both NULL. After what they look at says that it is not live. */
bool visitors_are_in(const void *pool, const void *result);
/* The same for a lock. Locks are taken far more often than freed: so the fence is up to visitors_are_at(), which has
 * all threads of the process pass one. */
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
/* In the child of a fork: the other threads are not there. */
void visitors_after_fork(void);

#endif
