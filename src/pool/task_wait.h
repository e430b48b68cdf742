/* The caller's wait until the word of a task, or of a map's chunk, says done. */
#ifndef TASK_WAIT_H
#define TASK_WAIT_H

#include "pool/caller.h"

static inline bool word_is_done(_Atomic uint32_t *word)
{
    return task_state(atomic_load_explicit(word, memory_order_acquire)) == TASK_DONE;
}

static inline bool result_is_live(const mp_result *result)
{
    return atomic_load_explicit(&result->magic, memory_order_acquire) == RESULT_MAGIC;
}

/* Waits until `word` says done. The caller does not hold the mutex. Returns 0 or MP_ETIMEOUT; MP_EINVAL if another
 * thread has freed the result. If `first` is still queued after a while, a worker may have been stopped: all are woken.
 * If `first` is another word than `word`, 0 may also mean: find the new `first` and wait again. */
int wait_for_word(mp_pool *pool, _Atomic uint32_t *word, _Atomic uint32_t *first, int64_t deadline);

#endif
