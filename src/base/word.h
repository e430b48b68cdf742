/* A word of shared memory, loaded and stored without order. The code that uses them says what orders them, where
 * something has to. */
#ifndef WORD_H
#define WORD_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t word_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline void word_put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

#endif
