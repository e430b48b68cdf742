/* Waiting until a condition on a shared word (a futex) holds. This is the only loop that sleeps on a futex. Threads
 * that wait for a mutex, a descriptor or a child sleep in the system's own calls. Threads that wait for what no word
 * announces look again after pauses of a fixed length.
 *
 * The condition is on the word's value. It may act as well: take one unit of a semaphore by a CAS, for example. The
 * thread sleeps only while the word has the value for which the condition was false, so it misses no change. A process
 * that dies changes no word: the look, from time to time, is for that.
 *
 * WAKING. The process that changes the word wakes the sleepers. There are two ways to save the system call when there
 * are none:
 * - The waiter sets `mark` in the word itself. The process that changes the word by an atomic operation finds the bits
 *   in the old value.
 * - The waiter announces itself in another word and then tests the condition; the process that changes the word does so
 *   and then loads that other word. This is a Dekker pairing: all four accesses are sequentially consistent. */
#ifndef WAIT_H
#define WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct wait {
    _Atomic uint32_t *word;
    /* Whether the wait is over. NULL: it is over once the word, without the mark, is not `value`. */
    bool (*is_over)(const struct wait *wait, uint32_t now);
    uint32_t value;
    uint32_t mark; /* bits that are set in the word before the thread sleeps */
    uint32_t who;  /* the bits by which futex_wake_some() finds this sleeper; 0: all wakers find it */
    int64_t deadline;
    /* Called first `look_after` nanoseconds after the beginning. Returns the time of the next look; or 0 or an MP_E...,
     * which is then the result of the wait. NULL: no looks. */
    int64_t (*look)(const struct wait *wait, uint32_t now);
    int64_t look_after;
    /* Returns for how many nanoseconds after the beginning to spin before the thread sleeps. Called again after every
     * 64 tests of the condition. NULL: it does not spin. */
    int64_t (*spin)(const struct wait *wait, uint32_t now);
    void *arg;    /* for these functions */
    int64_t time; /* set by wait_for(): when it last read the clock */
};

/* Returns 0, MP_ETIMEOUT, or what `look` returned. A deadline that is past does not keep a wait from being over, nor
 * from a look that is due. */
int wait_for(struct wait *wait);

/* Waits until the word is not `value`. */
static inline int wait_for_change(_Atomic uint32_t *word, uint32_t value, int64_t deadline)
{
    return wait_for(&(struct wait){.word = word, .value = value, .deadline = deadline});
}

#endif
