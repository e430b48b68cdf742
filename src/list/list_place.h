/* How a list's cells lie in memory: where an index leads. list_gap.h moves cells, list_table.h makes room for them.
 *
 * Cells lie in segments (segments.h). The positions in use begin at word[LIST_START] and hold word[LIST_LENGTH] cells.
 * So pushing and popping is cheap at both ends. Cells outside that range are empty; segments that lie wholly before it
 * may be missing. Readers take no mutex (object.h).
 *
 * THE GAP (a gap buffer). Between two elements there may be a gap of word[LIST_GAP_SIZE] positions that are not in use.
 * word[LIST_GAP] is 1 more than the index of the element behind the gap; 0: there is no gap. A removal from the middle
 * makes a gap, or moves the gap that is there and makes it larger. An insertion in the middle moves a gap there and
 * fills it. Cells cross the gap a few at a time. After each such change the list holds what it did before. No memory is
 * needed for it, and the undo log has room. Whole segments that have become part of the gap are given back
 * (list_shrink()).
 *
 * Removing many elements at once, or reversing the list, is one small change as well, as seen by readers; the cells
 * follow, a few at a time:
 *   - word[LIST_STEP] > 0: word[LIST_LEFT] cells behind the gap do not belong to the list any more. The first of them
 *     lies after word[LIST_PHASE] elements, the others word[LIST_STEP] apart. They own their content until they become
 *     part of the gap.
 *   - word[LIST_STEP] is LIST_TURN: the list is being reversed. word[LIST_LEFT] elements at either end are in their new
 *     places; those between are still in their old order. There is no gap. word[LIST_GAP] is 1, so that every index
 *     takes the slow path.
 * A process that dies may leave the list so. The next process that changes the list finishes it first: list_settle().
 *
 * Replacing a cell's body under the same head is one atomic store, and readers need not notice it. For that the cell's
 * stripe is enough, where the list has stripes (lock striping, stripes.h). Cells of one cache line share a stripe.
 * Invariant: while a stripe is held, an index leads to the same cell. So a process that changes which cell an index
 * leads to, at the front or by moving cells, holds all stripes. A process that only appends holds none, as indices from
 * the start lead where they led. Negative indices, which count from the end, do not; for those the mutex is taken.
 *
 * All of that changes a few words at a time under the undo log, and needs at the most another segment. Only a list of
 * less than a segment may move as a whole. Sorting alone builds new segments aside (list_rebuild()): the new order of
 * cells is worked out in private memory, and one change of a few words makes the new segments the list's.
 *
 * Pending refs: 0 the staged cells or one new value, 1 segments, 2 removed cells, 3 a list that is being made from this
 * one. */
#ifndef LIST_PLACE_H
#define LIST_PLACE_H

#include <mp.h>

#include "base/word.h"
#include "object/object_lock.h"
#include "object/segments.h"
#include "value/value.h"

/* A list's words: the position of the first cell in use; how many are; where there is a gap between them, and more
 * about that. root[0] is a directory of blocks of cells. Cells outside the list's range, and in its gap, are empty, and
 * so own nothing. */
enum { LIST_START, LIST_LENGTH, LIST_GAP, LIST_GAP_SIZE, LIST_STEP, LIST_LEFT, LIST_PHASE, LIST_WORDS };

static inline struct object *list_object(mp_list *list)
{
    return object_of(list);
}

static inline uint64_t list_length_of(const struct object *list)
{
    return word_get(&list->word[LIST_LENGTH]);
}

/* The cells of the block that a ref leads to. */
static inline struct cell *list_cells(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, (ref & ~REF_MASK) + 16);
}

/* The cell at a position of the segments in a directory. The position must exist. */
static inline struct cell *list_cell_at(const struct heap *heap, uint64_t directory, uint64_t position)
{
    const _Atomic uint64_t *table = heap_at(heap, directory & ~REF_MASK);

    return &list_cells(heap, word_get(&table[1 + position / SEGMENT]))[position % SEGMENT];
}

#define LIST_TURN UINT64_MAX

/* A list's words, in their order. */
struct list_shape {
    uint64_t start, length, gap, gap_size, step, left, phase;
};

/* The distance from the list's start of the element with an index that is not before the gap. */
uint64_t list_beyond(const struct list_shape *shape, uint64_t at);
uint64_t list_position_beyond(const struct object *list, uint64_t at);

static inline uint64_t list_shape_position(const struct list_shape *shape, uint64_t at)
{
    return shape->start + (at >= shape->gap - 1 ? list_beyond(shape, at) : at);
}

/* Reads, as part of a reading, the two words of the element with that index, which is less than the length. False: the
 * index leads out of the heap. */
bool list_read_element(const struct reading *reading, const struct list_shape *shape, uint64_t at, uint64_t *words);

/* The position that an index leads to. For the list's length: the position of the next element to be appended. */
static inline __attribute__((always_inline)) uint64_t list_position(const struct object *list, uint64_t at)
{
    if (__builtin_expect(at >= word_get(&list->word[LIST_GAP]) - 1, 0)) /* without a gap this is never true */
        return list_position_beyond(list, at);
    return word_get(&list->word[LIST_START]) + at;
}

/* The number of elements, of `run` from an index on, that are certain to lie one behind the other. */
static inline uint64_t list_straight(const struct object *list, uint64_t at, uint64_t run)
{
    uint64_t gap = word_get(&list->word[LIST_GAP]);

    if (gap == 0 || run == 0)
        return run;
    if (word_get(&list->word[LIST_STEP]) != 0)
        return 1;
    return at < gap - 1 && run > gap - 1 - at ? gap - 1 - at : run;
}

static inline struct cell *list_cell(const struct object *list, uint64_t index)
{
    return list_cell_at(object_heap(list), word_get(&list->root[0]), list_position(list, index));
}

/* Translates a user's index: negative ones count from the end. False: out of range. */
static inline bool list_find_index(int64_t index, uint64_t length, uint64_t *at)
{
    *at = (uint64_t)index + (index < 0 ? length : 0);
    return *at < length;
}

struct list_place {
    struct cell *cell;
    uint64_t in; /* the cell's number within its segment, which does not change */
};

/* Finds the cell that an index leads to. May be called without the mutex: then the result counts if the version was
 * even before and is the same afterwards. Whatever the words were, the cell lies in the heap. 0, MP_EINDEX,
 * MP_ECORRUPT. */
static inline __attribute__((always_inline)) int list_find(const struct object *list, int64_t index,
                                                           struct list_place *place)
{
    uint64_t at;

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    uint64_t position = list_position(list, at);
    uint64_t cell = segments_place(object_heap(list), list, position, sizeof(struct cell));
    if (cell == 0)
        return MP_ECORRUPT;
    place->cell = heap_at(object_heap(list), cell);
    place->in = position % SEGMENT;
    return 0;
}

/* The hash that chooses a cell's stripe (lock striping). Each of the first 16 cache lines of a segment has a stripe of
 * its own. Beyond these, each run of 16 lines shares a stripe, so that a thread that goes through a part of a long list
 * takes again a stripe that it has just had. Runs are hashed to stripes because elements in frequent use are often a
 * power of two apart. */
static inline uint64_t list_stripe(const struct object *list, const struct list_place *place)
{
    uint64_t offset = heap_offset(object_heap(list), place->cell), line = offset / 64;
    uint64_t first = (offset - place->in * sizeof(struct cell)) / 64, mix = UINT64_C(0x9e3779b97f4a7c15);

    return line - first < 16 ? first * mix + (line << 60) : line / 16 * mix;
}

#endif
