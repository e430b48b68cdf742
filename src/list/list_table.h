/* How a list's cells lie in memory, and how they are exchanged for others: what the files of lists (list*.c) share, and
 * what dict_whole.c needs of them.
 *
 * Cells lie in segments (segments.h). Of their positions word[LIST_LENGTH] from word[LIST_START] on are in use: so both
 * ends are cheap. Cells outside that range are none; segments that lie wholly before it may be missing. Reading takes
 * no mutex (object.h).
 *
 * THE GAP. Between two elements there may be a gap of word[LIST_GAP_SIZE] positions that are not in use: word[LIST_GAP]
 * is 1 more than the index of the element behind it, 0: there is none. Who removes from the middle makes one, or moves
 * the one there is and makes it larger; who inserts there moves one from an end, and fills it. Cells cross the gap a
 * few at a time: after each such change the list holds what it did before, no memory was needed, and the undo log has
 * had room. What has become a gap of whole segments is given back (list_shrink()).
 *
 * What has to remove many elements at once, or turn the list around, is done by one small change as well, for whoever
 * reads; the cells follow, a few at a time:
 *   - word[LIST_STEP] > 0: behind the gap, after word[LIST_PHASE] elements, lies the first of word[LIST_LEFT] cells
 *     that belong to the list no more; the others lie word[LIST_STEP] apart. They own what is in them, until they
 * become part of the gap.
 *   - word[LIST_STEP] is LIST_TURN: word[LIST_LEFT] elements at either end are where they belong; those between are
 *     still in the order that they had before. word[LIST_GAP] is 1, so that every index is looked at, and there is no
 * gap. A death may leave it so. The next who changes the list goes on with it first: list_settle().
 *
 * A cell's body that takes the place of another, under the same head, is one word, stored at once, and readers need not
 * even notice: for that the cell's stripe is enough, where the list has stripes (stripes.h). Cells of one cache line
 * share a stripe. A cell that an index leads to must stay that one for as long as its stripe is held: so who changes
 * which cell any index leads to, at the front or by moving cells, holds all stripes. But who only appends holds none,
 * as indices lead where they led; negative ones do not, which count from the end: for those the mutex is taken.
 *
 * So all of that changes a few words at a time under the undo log, and needs at the most another segment; a list of
 * less than a segment may move. Only sorting builds new segments aside (list_rebuild()): the new order of cells is
 * worked out in private memory, and one change of a few words makes the new segments the list's.
 *
 * Pending refs: 0 the staged cells or one new value, 1 segments, 2 removed cells, 3 a list that is being made from this
 * one. */
#ifndef LIST_TABLE_H
#define LIST_TABLE_H

#include <mp.h>

#include "object/segments.h"
#include "object/stripes.h"
#include "value/value.h"

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

#define LIST_TURN UINT64_MAX

/* A list's words, in their order. */
struct list_shape {
    uint64_t start, length, gap, gap_size, step, left, phase;
};

/* How far behind the list's start an index leads that is not before the gap. */
uint64_t list_beyond(const struct list_shape *shape, uint64_t at);
uint64_t list_position_beyond(const struct object *list, uint64_t at);

static inline uint64_t list_shape_position(const struct list_shape *shape, uint64_t at)
{
    return shape->start + (at >= shape->gap - 1 ? list_beyond(shape, at) : at);
}

/* For a reading: the two words of the element at that index, which is less than the length. False: there are none in
 * the heap. */
bool list_read_element(const struct reading *reading, const struct list_shape *shape, uint64_t at, uint64_t *words);

/* The position that an index leads to; one that is the list's length: the next one's. */
static inline __attribute__((always_inline)) uint64_t list_position(const struct object *list, uint64_t at)
{
    if (__builtin_expect(at >= list_get(&list->word[LIST_GAP]) - 1, 0)) /* no gap: never */
        return list_position_beyond(list, at);
    return list_get(&list->word[LIST_START]) + at;
}

/* Of `run` elements from an index on, how many certainly lie one behind the other. */
static inline uint64_t list_straight(const struct object *list, uint64_t at, uint64_t run)
{
    uint64_t gap = list_get(&list->word[LIST_GAP]);

    if (gap == 0 || run == 0)
        return run;
    if (list_get(&list->word[LIST_STEP]) != 0)
        return 1;
    return at < gap - 1 && run > gap - 1 - at ? gap - 1 - at : run;
}

static inline struct cell *list_cell(const struct object *list, uint64_t index)
{
    return list_cell_at(object_heap(list), list_get(&list->root[0]), list_position(list, index));
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

/* What an index leads to. May be called without the mutex: then what it says counts if the version was even before and
 * is the same afterwards, and whatever the words were, the cell lies in the heap. 0, MP_EINDEX, MP_ECORRUPT. */
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

/* What stands for a key's hash where it is a list's cell that has a stripe. The first cache lines of a segment have one
 * each. Further on 16 lines share one, so that who goes through a part of a long list takes one again that it has just
 * had, and which one it is is mixed, as elements that are much used may lie a power of two apart. */
static inline uint64_t list_stripe(const struct object *list, const struct list_place *place)
{
    uint64_t offset = heap_offset(object_heap(list), place->cell), line = offset / 64;
    uint64_t first = (offset - place->in * sizeof(struct cell)) / 64, mix = UINT64_C(0x9e3779b97f4a7c15);

    return line - first < 16 ? first * mix + (line << 60) : line / 16 * mix;
}

/* Takes the mutex of a list that `value`, when given, may be stored in, and its stripes; the mutex alone. Settles it.
 * */
int list_lock(mp_list *handle, const mp_value *value);
int list_lock_alone(mp_list *handle, const mp_value *value);

/* All of these are called under the list's mutex, and all stripes unless something else is said. MP_ENOMEM: all is as
 * it was. */

/* Room for `count` more behind the last. Takes the stripes it needs. */
int list_make_room(struct object *list, uint64_t count);
/* Room for one more before the first, in a list that is not empty. */
int list_make_room_in_front(struct object *list);
/* Gives memory back if little of it is in use. */
void list_shrink(struct object *list);
/* Builds `count` values, `stride` bytes apart, in a block of cells that pending ref 0 owns. */
int list_stage(struct object *list, const mp_value *values, size_t stride, size_t count);

/* Goes on with what a death has left half done. Takes the stripes that it needs. 0, MP_ECORRUPT (of a stripe). */
int list_settle_now(struct object *list);
static inline int list_settle(struct object *list)
{
    return __builtin_expect(list_get(&list->word[LIST_STEP]) == 0, 1) ? 0 : list_settle_now(list);
}

/* Of these (list_gap.c) those that take something away, or turn it around, need no memory. The list is settled. */

/* Moves the gap, if there is one, to an index; at either end it is none any more. Takes the stripes it needs. */
int list_move_gap(struct object *list, uint64_t to);
/* Takes an element out. What it owned is in pending ref 0 then. */
int list_take_out(struct object *list, uint64_t at);
/* Removes so many elements, `step` apart, from `first` on. */
int list_cut(struct object *list, uint64_t first, uint64_t step, uint64_t count);
/* Part of a change, of which LIST_LENGTH is another; the gap, if there is one, is before `first`. To be followed by
 * list_settle_now(). */
void list_cut_begin(struct object *list, uint64_t first, uint64_t step, uint64_t count);
/* Removes all. */
void list_empty(struct object *list);
/* Reverses the list. */
int list_turn(struct object *list);
/* Gets what room there is in the list's segments behind the last element. MP_ENOMEM: it is not `count` cells. */
int list_gather_room(struct object *list, uint64_t count);
/* Makes a gap of at least `count` cells before the element with that index, or behind the last, in a list that is not
 * empty. */
int list_open(struct object *list, uint64_t at, uint64_t count);
/* Gets room for one before the first element, out of what room there is. */
int list_open_front(struct object *list);

/* The new content: for each place which cell goes there: 0 .. length - 1 the list's own, above that the staged ones. No
 * cell twice. */
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

/* Gives the list a new content, which holds all of its own cells and the staged ones: frees the order. */
int list_rebuild(struct object *list, struct list_order *order);
/* Puts values behind the last: all or none. Takes the stripes it needs. */
int list_append_many(struct object *list, const mp_value *values, size_t stride, size_t count);

/* Makes a new list of `count` values, `stride` bytes apart, owned by *slot, an empty pending ref of `owner`, whose
 * mutex is held. MP_ENOMEM: *slot may own a part of it; release it. */
int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count);
/* Makes a new list with a handle, of values that may lie in this list's own cells. */
int list_derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result);

/* list.c: takes an element out. */
int list_remove_at(struct object *list, uint64_t at);

/* list_gap.c: in a list whose owner died goes on with what it has begun. The mutex is held, and no stripe. */
void list_repair(struct object *list);

#endif
