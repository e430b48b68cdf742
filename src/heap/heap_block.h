/* The parts of a block, and the class of a free one, for the allocator (heap.c says what is where) and its checker. */
#ifndef HEAP_BLOCK_H
#define HEAP_BLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/units.h"
#include "base/word.h"
#include "heap/heap_layout.h"

#define FLAG_FREE UINT64_C(1)
#define FLAG_PREVIOUS_FREE UINT64_C(2) /* the block before this one is free */
#define FLAG_PUNCHED UINT64_C(4)       /* free, and pages inside were given back */
#define FLAG_VALUE UINT64_C(8)         /* in use, and copied by system calls where no mutex is held */
#define FLAGS UINT64_C(15)

#define MIN_BLOCK UINT64_C(32)
#define LINEAR_LIMIT UINT64_C(256) /* below, a subclass every 16 bytes; above, 16 for each power of two */

typedef _Atomic uint64_t word;

static inline word *word_at(const struct heap *heap, uint64_t offset)
{
    return heap_at(heap, offset);
}

/* The parts of a block. */
static inline word *header_of(const struct heap *heap, uint64_t block)
{
    return word_at(heap, block - 8);
}

static inline word *next_link(const struct heap *heap, uint64_t block)
{
    return word_at(heap, block);
}

static inline word *previous_link(const struct heap *heap, uint64_t block)
{
    return word_at(heap, block + 8);
}

/* In a punched block: the offset up to which all of its pages are there. */
static inline word *solid_word(const struct heap *heap, uint64_t block)
{
    return word_at(heap, block + 16);
}

static inline word *footer_of(const struct heap *heap, uint64_t block, uint64_t size)
{
    return word_at(heap, block + size - 16);
}

static inline uint64_t size_of(const struct heap *heap, uint64_t block)
{
    return word_get(header_of(heap, block)) & ~FLAGS;
}

static inline uint64_t first_block(void)
{
    return round_up(sizeof(struct heap), 16) + 16;
}

struct size_class {
    unsigned major, minor;
};

static inline struct size_class class_of(uint64_t size)
{
    if (size < LINEAR_LIMIT)
        return (struct size_class){0, (unsigned)(size / 16)};
    unsigned log = 63 - (unsigned)__builtin_clzll(size);
    return (struct size_class){log - 7, (unsigned)(size >> (log - 4)) & 15};
}

#endif
