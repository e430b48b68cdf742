/* The items of a dict or list, in segments: blocks that never move, so that growth copies none of them and nobody waits
 * for it.
 *
 * root[0] is their directory, a REF_TABLE of refs of one kind, REF_ENTRIES or REF_CELLS. Position p is item p % SEGMENT
 * of the segment p / SEGMENT. Each has SEGMENT items; but an only one may have less: it starts small, and is replaced
 * by larger ones.
 *
 * Every change is made under the object's mutex. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include "object/object.h"

#define SEGMENT UINT64_C(1024)
/* What an only one has at least. */
#define FIRST_SEGMENT UINT64_C(8)

/* Where the item at a position lies, of `size` bytes; 0: not in the heap. May be called without the mutex: then what it
 * finds is worth something only if the version is still the same afterwards, and may be anything else in the heap if
 * not; so what words may hold that nobody has meant, and whether sums overflow, does not matter. */
static inline uint64_t segments_place(const struct heap *heap, const struct object *object, uint64_t position,
                                      uint64_t size)
{
    uint64_t end = atomic_load_explicit(&heap->size, memory_order_relaxed);
    uint64_t directory = atomic_load_explicit(&object->root[0], memory_order_relaxed) & ~REF_MASK;
    uint64_t word = directory + 8 * (1 + position / SEGMENT);

    if (word >= end)
        return 0;
    const _Atomic uint64_t *segment = heap_at(heap, word);
    uint64_t place = (atomic_load_explicit(segment, memory_order_relaxed) & ~REF_MASK) + 16 + position % SEGMENT * size;
    return place > end - size ? 0 : place;
}

/* The same for a reading, which may go through the undo log. */
uint64_t segments_read_place(const struct reading *reading, uint64_t position, uint64_t size);

/* Positions there are. */
uint64_t segments_capacity(const struct object *object);
/* Makes a block of `count` items of that kind, all of them none, in *slot (a pending ref, or a word of a shell): as a
 * plain block, which owns none of its items. */
int segment_new(struct heap *heap, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot);
/* Makes segments with at least `count` positions, in a directory that *slot, a pending ref, owns as a
 * REF_TABLE_SHALLOW. MP_ENOMEM: *slot may own a part of it; release it. */
int segments_new(struct object *object, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot);
/* Gives an only segment at least `count` positions, where it is. False: it has them, or there is no room behind it, or
 * they are more than a segment has. A change of its own. */
bool segments_extend(struct object *object, enum ref_kind kind, uint64_t count);
/* Puts a new segment into the directory as number `at`, where none is: in a gap, or behind the last. The directory has
 * room for it. *pending, an empty pending ref, is used for it and empty again afterwards. A change of its own. */
int segments_add(struct object *object, enum ref_kind kind, uint64_t at, _Atomic uint64_t *pending);

#endif
