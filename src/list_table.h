/* How a list's cells lie in memory, and how they are exchanged for others: what the files of lists (list*.c) share, and what
 * dict_whole.c needs of them.
 *
 * Cells lie in segments (segments.h). Of their positions word[LIST_LENGTH] from word[LIST_START] on are in use: so both ends are
 * cheap. Cells outside that range are none; segments that lie wholly before it may be missing. Reading takes no mutex (object.h).
 *
 * A cell's body that takes the place of another, under the same head, is one word, stored at once, and readers need not even
 * notice: for that the cell's stripe is enough, where the list has stripes (stripes.h). Cells of one cache line share a stripe.
 * A cell that an index leads to must stay that one for as long as its stripe is held: so who changes which cell any index leads
 * to, at the front or by moving cells, holds all stripes. But who only appends holds none, as indices lead where they led;
 * negative ones do not, which count from the end: for those the mutex is taken.
 *
 * Appending, setting, and inserting and removing at the ends, a few at once as well, change a few words under the undo log, and
 * need at the most another segment; a list of less than a segment moves then. Everything else builds new segments aside
 * (list_rebuild()): the new order of cells is worked out in private memory, new values are staged in a block of their own, and
 * one change of a few words makes the new segments the list's. Which of the old ones, the staging block and the block of removed
 * cells owns the cells' content changes in that same moment, by their tags: see commit_rebuild().
 *
 * Pending refs: 0 the staged cells or one new value, 1 segments, 2 removed cells, 3 a list that is being made from this one. */
#ifndef LIST_TABLE_H
#define LIST_TABLE_H

#include <mp.h>

#include "segments.h"
#include "stripes.h"
#include "value.h"

#define LIST_LARGEST (UINT64_C(1) << 36)

static inline uint64_t list_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline struct object *list_object(mp_list *list)
{
    return object_of(list);
}

static inline uint64_t list_length_of(const struct object *list)
{
    return list_get(&list->word[LIST_LENGTH]);
}

/* The cells of a block that a ref leads to. */
static inline struct cell *list_cells(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, (ref & ~REF_MASK) + 16);
}

/* The cell at a position of the segments in a directory. It must be there. */
static inline struct cell *list_cell_at(const struct heap *heap, uint64_t directory, uint64_t position)
{
    const _Atomic uint64_t *table = heap_at(heap, directory & ~REF_MASK);

    return &list_cells(heap, list_get(&table[1 + position / SEGMENT]))[position % SEGMENT];
}

static inline struct cell *list_cell(const struct object *list, uint64_t index)
{
    return list_cell_at(object_heap(list), list_get(&list->root[0]), list_get(&list->word[LIST_START]) + index);
}

/* Where a user's index leads: negative ones count from the end. False: nowhere. */
static inline bool list_find_index(int64_t index, uint64_t length, uint64_t *at)
{
    *at = (uint64_t)index + (index < 0 ? length : 0);
    return *at < length;
}

struct list_place {
    struct cell *cell;
    uint64_t in; /* which one it is of its segment: stays the same for as long as the cell does */
};

/* What an index leads to. May be called without the mutex: then what it says counts if the version was even before and is the
 * same afterwards, and whatever the words were, the cell lies in the heap. 0, MP_EINDEX, MP_ECORRUPT. */
static inline __attribute__((always_inline)) int list_find(const struct object *list, int64_t index,
                                                           struct list_place *place)
{
    uint64_t start = list_get(&list->word[LIST_START]), at;

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    uint64_t cell = segments_place(object_heap(list), list, start + at, sizeof(struct cell));
    if (cell == 0)
        return MP_ECORRUPT;
    place->cell = heap_at(object_heap(list), cell);
    place->in = (start + at) % SEGMENT;
    return 0;
}

/* What stands for a key's hash where it is a list's cell that has a stripe. The first cache lines of a segment have one each.
 * Further on 16 lines share one, so that who goes through a part of a long list takes one again that it has just had, and which
 * one it is is mixed, as elements that are much used may lie a power of two apart. */
static inline uint64_t list_stripe(const struct object *list, const struct list_place *place)
{
    uint64_t offset = heap_offset(object_heap(list), place->cell), line = offset / 64;
    uint64_t first = (offset - place->in * sizeof(struct cell)) / 64, mix = UINT64_C(0x9e3779b97f4a7c15);

    return line - first < 16 ? first * mix + (line << 60) : line / 16 * mix;
}

/* Takes the mutex of a list that `value`, when given, may be stored in, and its stripes; the mutex alone. */
int list_lock(mp_list *handle, const mp_value *value);
int list_lock_alone(mp_list *handle, const mp_value *value);

/* All of these are called under the list's mutex, and all stripes unless something else is said. MP_ENOMEM: all is as it was. */

/* Room for `count` more behind the last. Takes the stripes it needs. */
int list_make_room(struct object *list, uint64_t count);
/* Room for one more before the first, in a list that is not empty. */
int list_make_room_in_front(struct object *list);
/* Gives memory back if little of it is in use. */
void list_shrink(struct object *list);
/* Builds `count` values, `stride` bytes apart, in a block of cells that pending ref 0 owns. */
int list_stage(struct object *list, const mp_value *values, size_t stride, size_t count);

/* Takes so many elements away at either end: `at` is the first of them. Costs as much as they are many, and three times the memory
 * of their cells for a moment. */
int list_remove_end(struct object *list, uint64_t at, uint64_t count);

/* The new content: for each place which cell goes there: 0 .. length - 1 the list's own, above that the staged ones. No cell
 * twice. */
struct list_order {
    uint64_t count;
    uint64_t *from;
};

int list_order_new(struct list_order *order, uint64_t count);
static inline void list_order_add(struct list_order *order, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        order->from[order->count++] = from;
}

/* Gives the list a new content: frees the order, releases what is replaced. */
int list_rebuild(struct object *list, struct list_order *order);
/* The same, but what is replaced, or has failed, is pending afterwards. */
int list_exchange_content(struct object *list, struct list_order *order);
/* Puts values behind the last: all or none. Takes the stripes it needs. */
int list_append_many(struct object *list, const mp_value *values, size_t stride, size_t count);

/* Makes a new list of `count` values, `stride` bytes apart, owned by *slot, an empty pending ref of `owner`, whose mutex is held.
 * MP_ENOMEM: *slot may own a part of it; release it. */
int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count);
/* Makes a new list with a handle, of values that may lie in this list's own cells. */
int list_derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result);

/* list.c: takes an element out. */
int list_remove_at(struct object *list, uint64_t at);

#endif
