#include "heap/heap_check.h"

#include <mp.h>

#include "heap/heap_block.h"
#include "heap/undo.h"

struct walk {
    const struct heap *heap;
    uint64_t *starts; /* NULL, or a bit for each 16 bytes: a block begins there */
    uint64_t used, used_blocks, free_blocks;
};

bool heap_bit_clear(uint64_t *bits, uint64_t offset)
{
    uint64_t bit = UINT64_C(1) << (offset / 16 % 64), *group = &bits[offset / 16 / 64];
    bool was = (*group & bit) != 0;

    *group &= ~bit;
    return was;
}

static bool block_is_sound(const struct heap *heap, uint64_t block, bool previous_free, uint64_t end)
{
    uint64_t header = word_get(header_of(heap, block));
    uint64_t size = header & ~FLAGS;

    if (size < MIN_BLOCK || size > end - block)
        return false;
    if (((header & FLAG_PREVIOUS_FREE) != 0) != previous_free)
        return false;
    if ((header & FLAG_FREE) == 0)
        return (header & FLAG_PUNCHED) == 0;
    if ((header & FLAG_PUNCHED) != 0) {
        uint64_t solid = size > 2 * MIN_BLOCK ? word_get(solid_word(heap, block)) : 0;

        if (solid < block + MIN_BLOCK || solid >= block + size)
            return false;
    }
    return !previous_free && (header & FLAG_VALUE) == 0 && word_get(footer_of(heap, block, size)) == size;
}

static bool blocks_are_sound(struct walk *walk)
{
    const struct heap *heap = walk->heap;
    uint64_t end = word_get(&heap->size), block = first_block();
    bool previous_free = false;

    while (block < end) {
        if (!block_is_sound(heap, block, previous_free, end))
            return false;
        uint64_t size = size_of(heap, block);

        if (walk->starts != NULL)
            walk->starts[block / 16 / 64] |= UINT64_C(1) << (block / 16 % 64);
        previous_free = (word_get(header_of(heap, block)) & FLAG_FREE) != 0;
        walk->free_blocks += previous_free;
        walk->used_blocks += !previous_free;
        walk->used += previous_free ? 0 : size;
        block += size;
    }
    return block == end && word_get(header_of(heap, end)) == (previous_free ? FLAG_PREVIOUS_FREE : 0);
}

/* Whether a list holds only free blocks of its class, linked both ways, none of which is in a list twice. */
static bool list_is_sound(struct walk *walk, unsigned major, unsigned minor)
{
    const struct heap *heap = walk->heap;
    uint64_t previous = 0;

    for (uint64_t block = word_get(&heap->first_free[major][minor]); block != 0;
         block = word_get(next_link(heap, block))) {
        if (block % 16 != 0 || block < first_block() || block >= word_get(&heap->size) || walk->free_blocks == 0)
            return false;
        if (walk->starts != NULL && !heap_bit_clear(walk->starts, block))
            return false;
        struct size_class class = class_of(size_of(heap, block));
        if ((word_get(header_of(heap, block)) & FLAG_FREE) == 0 || class.major != major || class.minor != minor ||
            word_get(previous_link(heap, block)) != previous)
            return false;
        previous = block;
        walk->free_blocks--;
    }
    return ((word_get(&heap->subclasses[major]) >> minor & 1) != 0) == (previous != 0);
}

static bool lists_are_sound(struct walk *walk)
{
    const struct heap *heap = walk->heap;

    for (unsigned major = 0; major < HEAP_CLASSES; major++) {
        uint64_t minors = word_get(&heap->subclasses[major]);

        if (minors >> HEAP_SUBCLASSES != 0 || (minors != 0) != (word_get(&heap->classes) >> major & 1))
            return false;
        for (unsigned minor = 0; minor < HEAP_SUBCLASSES; minor++) {
            if (!list_is_sound(walk, major, minor))
                return false;
        }
    }
    return word_get(&heap->classes) >> HEAP_CLASSES == 0 && walk->free_blocks == 0;
}

int heap_check(struct heap *heap, uint64_t *starts, uint64_t *count)
{
    struct walk walk = {.heap = heap, .starts = starts};
    uint64_t size = word_get(&heap->size);

    if (undo_count(&heap->undo) != 0 || word_get(&heap->undo.more) != 0 || size < HEAP_FIRST_SIZE ||
        size > heap->limit || size % HEAP_PAGE != 0)
        return MP_ECORRUPT;
    if (!blocks_are_sound(&walk) || !lists_are_sound(&walk) || walk.used != word_get(&heap->used))
        return MP_ECORRUPT;
    *count = walk.used_blocks;
    return 0;
}
