/* The system calls under sync/wait.h: sleeping on a word (a futex), and waking those that sleep. */
#ifndef FUTEX_H
#define FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while *word == expected, until woken or until the deadline. 0 (woken, or the word differed, or spuriously) or
 * MP_ETIMEOUT. Works between processes. Threads may sleep on one word for different reasons: each says by the bits of
 * `who` what it waits for. Only sync/wait.c calls this. */
int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who);
void futex_wake(_Atomic uint32_t *word, int count);
/* Wakes only sleepers that have one of these bits. */
void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who);

#endif
