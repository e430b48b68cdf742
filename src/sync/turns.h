/* Who has waited long for a lock, and whose turn it is.
 *
 * A mutex goes to whoever happens to come by when it is free: that is fast, but who sleeps may be overtaken any number
 * of times. So who has waited for TURN_AFTER_NS takes a ticket, and while there are tickets not served, only the one
 * whose turn it is goes for the mutex; who comes later steps aside until none is left. The rest of the time nothing is
 * handed over, and all that taking a lock costs more is a look at two words.
 *
 * DEATH. Nothing here is owned. Tickets are taken in one step, and served grows by one at a time. When the mutex was
 * seen free for TURN_LASTS_NS and the one whose turn it is has not taken it, it has died or is stopped: then all
 * tickets are void, and those who still wait take new ones. Whatever the words hold, nobody waits for longer than that
 * for anybody who does not come: they say who goes first, and nothing depends on it. */
#ifndef TURNS_H
#define TURNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TURN_AFTER_NS INT64_C(1000000)
#define TURN_LASTS_NS INT64_C(5000000)
/* So many have a ticket at a time. Others wait for one. */
#define TURN_TICKETS 64

/* All zero when it is made, and as good with any other values. */
struct turns {
    _Atomic uint32_t served; /* the ticket whose turn it is: grows. Those who wait sleep on it */
    _Atomic uint32_t taken;  /* the next ticket to be taken; the same as served: there is none */
    _Atomic uint64_t left;   /* bit ticket % 64: who had that ticket waits no longer */
    _Atomic uint64_t idle;   /* a note since when the mutex was seen free, and in which turn; 0: it was not */
};

/* Whether somebody is to have the mutex before all who come now. */
static inline bool turns_wanted(const struct turns *turns)
{
    return atomic_load_explicit(&turns->served, memory_order_relaxed) !=
           atomic_load_explicit(&turns->taken, memory_order_relaxed);
}

/* What is asked again and again while a wait lasts. */
struct turns_watch {
    /* Whether the mutex's holder has died without the kernel having noted it, and the mutex now is one whose owner
     * died. */
    bool (*revive)(pthread_mutex_t *mutex);
    /* Whether the wait is to end, with MP_EINVAL: the lock is taken away. */
    bool (*is_closing)(const pthread_mutex_t *mutex);
};

/* Takes the mutex in its turn. As mutex_lock_until(), but: a deadline that is past takes it only if it is free and
 * nobody's turn. For a thread that does not hold it, when it was not free, or turns_wanted(). */
int turns_lock(struct turns *turns, pthread_mutex_t *mutex, int64_t deadline, const struct turns_watch *watch);

#endif
