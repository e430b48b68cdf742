/* The fair queue of a lock: a ticket lock that begins only when a thread has waited for long.
 *
 * A mutex goes to the thread that happens to try when it is free. That is fast, but a sleeping thread may be overtaken
 * any number of times. So a thread that has waited for TURN_AFTER_NS takes a ticket. While there are tickets that have
 * not been served, only the thread whose turn it is tries for the mutex; threads that come later wait until no ticket
 * is left. At all other times the mutex is not handed over, and the fair queue costs a look at two words.
 *
 * DEATH. No thread owns anything here. A ticket is taken in one step, and `now_serving` grows by one at a time. If the
 * mutex was seen free for TURN_LASTS_NS, the thread whose turn it is has died or is stopped. Then all tickets become
 * void, and the threads that still wait take new ones. The words only say which thread goes first; mutual exclusion
 * does not depend on them. So damaged words delay a thread by that time at the most. */
#ifndef FAIR_QUEUE_H
#define FAIR_QUEUE_H

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TURN_AFTER_NS MILLISECOND
#define TURN_LASTS_NS (5 * MILLISECOND)
/* The most tickets at a time. Further threads wait for one. */
#define TURN_TICKETS 64

/* All zero at first. Any other values are harmless. */
struct fair_queue {
    _Atomic uint32_t now_serving; /* the ticket whose turn it is: grows. A futex of the waiters */
    _Atomic uint32_t next_ticket; /* the next ticket to be taken; equal to now_serving: no ticket is out */
    _Atomic uint64_t abandoned;   /* bit ticket % 64: that ticket was given up */
    _Atomic uint64_t idle_since;  /* since when the mutex was seen free, and in which turn; 0: it was not */
};

/* Whether a thread in the queue is to have the mutex before threads that come now. */
static inline bool fair_queue_has_waiters(const struct fair_queue *queue)
{
    return atomic_load_explicit(&queue->now_serving, memory_order_relaxed) !=
           atomic_load_explicit(&queue->next_ticket, memory_order_relaxed);
}

/* Questions that a wait asks repeatedly. */
struct fair_queue_watch {
    /* Whether the mutex's holder has died without the kernel's noticing. If so, the mutex is now one whose owner
     * died. */
    bool (*revive)(pthread_mutex_t *mutex);
    /* Whether the wait is to end with MP_EINVAL, as another thread closes the lock. */
    bool (*is_closing)(const pthread_mutex_t *mutex);
};

/* The slow path of taking the lock: for a thread that does not hold the mutex, when the mutex was not free or
 * fair_queue_has_waiters(). Like mutex_lock_until(), but with a deadline that is past it takes the mutex only if the
 * mutex is free and no ticket is out. */
int fair_queue_lock(struct fair_queue *queue, pthread_mutex_t *mutex, int64_t deadline,
                    const struct fair_queue_watch *watch);

#endif
