/* The items of a container lie in segments: blocks that never move. So growth copies no item, and no thread waits
 * for it.
 *
 * root[0] is their directory, a REF_TABLE of blocks of one kind. Position p is item p % SEGMENT of the segment
 * p / SEGMENT. Each segment has SEGMENT items. Only a segment that is the only one may have fewer: it starts small, and
 * is extended in place or replaced by a larger one.
 *
 * Every change is made under the object's mutex. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include "object/ref.h"

#define SEGMENT UINT64_C(1024)
/* The least number of items of an only segment. */
#define FIRST_SEGMENT UINT64_C(8)

/* The offset of the item at a position, of `size` bytes; 0: it is not in the heap. May be called without the mutex
 * (optimistic read): the result counts only if the version is the same afterwards. If it is not, the result may be any
 * place in the heap. So the words may hold garbage, and sums may overflow. */
static inline uint64_t segments_place(const struct heap *heap, const struct object *object, uint64_t position,
                                      uint64_t size)
{
    uint64_t end = atomic_load_explicit(&heap->size, memory_order_relaxed);
    uint64_t directory = atomic_load_explicit(&object->root[0], memory_order_relaxed) & ~REF_MASK;
    uint64_t word = directory + 8 * (1 + position / SEGMENT);

    if (word >= end)
        return 0;
    const _Atomic uint64_t *segment = heap_at(heap, word);
    uint64_t place =
        (atomic_load_explicit(segment, memory_order_relaxed) & ~REF_MASK) + BLOCK_ITEMS + position % SEGMENT * size;
    return place > end - size ? 0 : place;
}

/* Like segments_place(), but for a reading, which may go through the undo log. */
uint64_t segments_read_place(const struct reading *reading, uint64_t position, uint64_t size);

/* The number of positions that exist. */
uint64_t segments_capacity(const struct object *object);
/* Makes a block of `count` empty items of that kind. *slot, a pending ref or a word of a REF_TABLE_SHALLOW, owns it as
 * a plain block, so that what the items own is not released with it. */
int segment_new(struct heap *heap, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot);
/* Makes segments with at least `count` positions, in a directory that *slot, a pending ref, owns as a
 * REF_TABLE_SHALLOW. MP_ENOMEM: *slot may own a part of it; the caller releases it. */
int segments_new(struct object *object, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot);
/* Extends an only segment in place to at least `count` positions. False: it has that many already, there is no room
 * behind it, or a segment cannot have that many. A change of its own. */
bool segments_extend(struct object *object, enum ref_kind kind, uint64_t count);
/* Puts a new segment into the directory as number `at`, where there is none: in a gap, or behind the last. The
 * directory has room for it. *pending, an empty pending ref, is used for it and empty again afterwards. A change of its
 * own. */
int segments_add(struct object *object, enum ref_kind kind, uint64_t at, _Atomic uint64_t *pending);

#endif
