/* Sleeping on a word, and waking those that do. */
#ifndef FUTEX_H
#define FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while *word == expected, until woken or until the deadline. 0 (woken, or the word differed, or spuriously) or
 * MP_ETIMEOUT. Works between processes. */
int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);
void futex_wake(_Atomic uint32_t *word, int count);
/* Like futex_wait() and futex_wake(), for a word on which threads sleep for different reasons. Each sleeper says by the
 * bits of `who` what it waits for; a wake-up is for the sleepers that have one of its bits. */
int futex_wait_as(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who);
void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who);

#endif
