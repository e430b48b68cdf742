#include "list/list_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "object/hold.h"
#include "object/object_create.h"

/* ---- segments ---- */

/* Moves the cells into new segments with at least `room` positions: to their start, or to their middle, so that there
 * is room in front as well. A list of any size may shrink this way, but it grows this way only while it has less than a
 * segment. */
static int move_cells(struct object *list, uint64_t room, bool middle)
{
    struct heap *heap = object_heap(list);
    uint64_t old = word_get(&list->root[0]), length = list_length_of(list), start = 0;
    int error = stripes_hold_all(list); /* no writer may change a cell once it is copied */

    if (error == 0)
        error = segments_new(list, REF_CELLS, room, &list->pending[1]);
    if (error != 0) {
        ref_release(heap, &list->pending[1]);
        return error;
    }
    uint64_t new = word_get(&list->pending[1]) & ~REF_MASK;
    if (middle)
        start = (word_get(ref_block(list, word_get(&ref_block(list, new)[1]))) - length + 1) / 2;
    for (uint64_t i = 0; i < length; i++)
        memcpy(list_cell_at(heap, new, start + i), list_cell(list, i), sizeof(struct cell));
    object_begin(list);
    object_set(list, &list->root[0], new | REF_TABLE);
    object_set(list, &list->word[LIST_START], start);
    object_set(list, &list->word[LIST_GAP], 0);
    object_set(list, &list->word[LIST_GAP_SIZE], 0);
    object_set(list, &list->pending[1], old == 0 ? 0 : (old & ~REF_MASK) | REF_TABLE_SHALLOW);
    object_commit(list);
    ref_release(heap, &list->pending[1]);
    return 0;
}

/* Replaces the directory by one without the missing segments at its front, with `front` other missing ones there, and
 * with room behind the last for as many segments as there are. No cell moves. */
static int move_directory(struct object *list, uint64_t front)
{
    uint64_t old = word_get(&list->root[0]), missing = 0;
    _Atomic uint64_t *from = ref_block(list, old);

    while (missing < word_get(&from[0]) && word_get(&from[1 + missing]) == 0)
        missing++;
    uint64_t count = word_get(&from[0]) - missing;
    int error = ref_table_new(list, front + 2 * count, &list->pending[1]);
    if (error != 0)
        return error;
    _Atomic uint64_t *to = ref_block(list, word_get(&list->pending[1]));
    memcpy(&to[1 + front], &from[1 + missing], count * sizeof *to);
    word_put(&to[0], front + count);
    object_begin(list);
    object_set(list, &list->root[0], word_get(&list->pending[1]) | REF_TABLE);
    object_set(list, &list->word[LIST_START], word_get(&list->word[LIST_START]) + front * SEGMENT - missing * SEGMENT);
    object_set(list, &list->pending[1], old & ~REF_MASK);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[1]);
    return 0;
}

static int add_segment(struct object *list)
{
    uint64_t directory = word_get(&list->root[0]) & ~REF_MASK, count = word_get(ref_block(list, directory));
    int error = 0;

    if (1 + count == heap_block_size(object_heap(list), directory) / 8)
        error = move_directory(list, 0);
    if (error != 0)
        return error;
    return segments_add(list, REF_CELLS, word_get(ref_block(list, word_get(&list->root[0]))), &list->pending[1]);
}

/* Removes a segment in which no cell is in use. */
static void remove_segment(struct object *list, uint64_t at)
{
    _Atomic uint64_t *table = ref_block(list, word_get(&list->root[0]));

    object_begin(list);
    object_set(list, &list->pending[1], word_get(&table[1 + at]) & ~REF_MASK);
    object_set(list, &table[1 + at], 0);
    if (at + 1 == word_get(&table[0]))
        object_set(list, &table[0], at);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[1]);
}

/* Replaces the directory by one without the segments that lie wholly in the gap, `count` of them from `first` on. No
 * cell moves. */
static int leave_out_segments(struct object *list, uint64_t first, uint64_t count)
{
    uint64_t old = word_get(&list->root[0]);
    _Atomic uint64_t *from = ref_block(list, old);
    uint64_t all = word_get(&from[0]);
    int error = ref_table_new(list, count, &list->pending[0]);

    if (error == 0)
        error = ref_table_new(list, all - count + (all - count) / 8, &list->pending[1]);
    if (error != 0) {
        ref_release(object_heap(list), &list->pending[0]);
        return error;
    }
    _Atomic uint64_t *to = ref_block(list, word_get(&list->pending[1])),
                     *out = ref_block(list, word_get(&list->pending[0]));
    memcpy(&to[1], &from[1], first * sizeof *to);
    memcpy(&to[1 + first], &from[1 + first + count], (all - first - count) * sizeof *to);
    memcpy(&out[1], &from[1 + first], count * sizeof *out);
    word_put(&to[0], all - count);
    word_put(&out[0], count);
    object_begin(list);
    object_set(list, &list->root[0], word_get(&list->pending[1]) | REF_TABLE);
    object_set(list, &list->word[LIST_GAP_SIZE], word_get(&list->word[LIST_GAP_SIZE]) - count * SEGMENT);
    object_set(list, &list->pending[0], word_get(&list->pending[0]) | REF_TABLE);
    object_set(list, &list->pending[1], old & ~REF_MASK);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[0]);
    ref_release(object_heap(list), &list->pending[1]);
    return 0;
}

/* Shrinks a gap of two segments or more: only the parts of segments that elements share stay. If there is no memory for
 * that, moves the gap to the nearer end of the list instead. */
static void shrink_gap(struct object *list)
{
    uint64_t at = word_get(&list->word[LIST_GAP]) - 1, size = word_get(&list->word[LIST_GAP_SIZE]),
             length = list_length_of(list);
    uint64_t begin = word_get(&list->word[LIST_START]) + at, first = (begin + SEGMENT - 1) / SEGMENT;

    if (leave_out_segments(list, first, (begin + size) / SEGMENT - first) == MP_ENOMEM)
        list_move_gap(list, at < length - at ? 0 : length);
}

/* Removes segments that are not in use, but keeps one at either end, so that a caller that pushes and pops by turns at
 * the end of a segment does not allocate each time. */
static void remove_unused_segments(struct object *list)
{
    uint64_t start = word_get(&list->word[LIST_START]), end = list_position(list, list_length_of(list));
    _Atomic uint64_t *table = ref_block(list, word_get(&list->root[0]));

    while (word_get(&table[0]) > (end + SEGMENT - 1) / SEGMENT + 1)
        remove_segment(list, word_get(&table[0]) - 1);
    for (uint64_t at = start / SEGMENT; at >= 2 && word_get(&table[at - 1]) != 0; at--)
        remove_segment(list, at - 2);
}

/* The room that a small list gets when its cells move: more than it needs, so that they do not soon move again. */
static uint64_t room_for(uint64_t needed)
{
    uint64_t room = needed + needed / 2;

    return room < SEGMENT ? room : needed < SEGMENT ? SEGMENT : needed;
}

static bool has_room(const struct object *list, uint64_t count)
{
    return list_position(list, list_length_of(list)) + count <= segments_capacity(list);
}

static int add_room(struct object *list, uint64_t count)
{
    int error = 0;

    /* An only segment that grows in place leaves no hole in the heap. So a heap that was emptied holds as much as
     * before. */
    if (segments_capacity(list) < SEGMENT &&
        segments_extend(list, REF_CELLS, list_position(list, list_length_of(list)) + count))
        return 0;
    if (segments_capacity(list) < SEGMENT)
        return move_cells(list, room_for(list_length_of(list) + count), false);
    while (error == 0 && !has_room(list, count))
        error = add_segment(list);
    if (error != 0)
        remove_unused_segments(list);
    return error;
}

int list_reserve(struct object *list, uint64_t count)
{
    if (count > LIST_LARGEST || count > object_heap(list)->limit / sizeof(struct cell))
        return MP_ENOMEM;
    if (has_room(list, count))
        return 0;
    int error = add_room(list, count);
    return error == MP_ENOMEM ? list_gather_room(list, count) : error;
}

static int add_room_in_front(struct object *list)
{
    uint64_t start = word_get(&list->word[LIST_START]);
    int error = 0;

    if (segments_capacity(list) < SEGMENT)
        return start > 0 ? 0 : move_cells(list, room_for(list_length_of(list) + 1), true);
    if (start == 0)
        error = move_directory(list, word_get(ref_block(list, word_get(&list->root[0]))));
    start = word_get(&list->word[LIST_START]);
    if (error != 0 || start % SEGMENT != 0 ||
        word_get(&ref_block(list, word_get(&list->root[0]))[start / SEGMENT]) != 0)
        return error;
    return segments_add(list, REF_CELLS, start / SEGMENT - 1, &list->pending[1]);
}

int list_reserve_front(struct object *list)
{
    int error = add_room_in_front(list);

    return error == MP_ENOMEM ? list_open_front(list) : error;
}

void list_empty(struct object *list)
{
    object_begin(list);
    object_set(list, &list->pending[1], word_get(&list->root[0]));
    object_set(list, &list->root[0], 0);
    for (int i = 0; i < LIST_WORDS; i++)
        object_set(list, &list->word[i], 0);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[1]);
}

void list_shrink(struct object *list)
{
    if (list_length_of(list) == 0 && segments_capacity(list) > FIRST_SEGMENT) {
        list_empty(list);
        return;
    }
    if (word_get(&list->word[LIST_GAP_SIZE]) >= 2 * SEGMENT)
        shrink_gap(list);
    remove_unused_segments(list);
    uint64_t room = segments_capacity(list), length = list_length_of(list);

    /* A list of more than one segment is measured against one segment. Otherwise a list that shrinks to one segment and
     * then takes another would move its cells at every step to and fro. */
    if (room > SEGMENT)
        room = SEGMENT;
    if (room > 64 && length < room / 4)
        move_cells(list, length + length / 2 + FIRST_SEGMENT, false); /* without memory, a later call tries again */
}

/* Fast path of list_take_out(): removes the cell at either end of a list that has no gap. */
static void drop_end(struct object *list, uint64_t at)
{
    struct cell *cell = list_cell(list, at);

    object_begin(list);
    if (word_get(&cell->head) & CELL_OWNS)
        object_set(list, &list->pending[0], word_get(&cell->body));
    object_set(list, &cell->head, 0);
    object_set(list, &cell->body, 0);
    if (at == 0)
        object_set(list, &list->word[LIST_START], word_get(&list->word[LIST_START]) + 1);
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) - 1);
    object_commit(list);
}

int list_remove_at(struct object *list, uint64_t at)
{
    uint64_t length = list_length_of(list);
    int error = list_settle(list);

    if (error == 0 && (at == 0 || at == length - 1) && length > 1 && word_get(&list->word[LIST_GAP]) == 0)
        drop_end(list, at);
    else if (error == 0)
        error = list_take_out(list, at);
    if (error != 0)
        return error;
    ref_release(object_heap(list), &list->pending[0]);
    list_shrink(list);
    return 0;
}

/* ---- a gap ---- */

int list_open(struct object *list, uint64_t at, uint64_t count)
{
    MP_ASSERT(list_is_settled(list));
    uint64_t length = list_length_of(list);
    bool end = at == 0 || at == length;

    if (!end && word_get(&list->word[LIST_GAP]) != 0 && word_get(&list->word[LIST_GAP_SIZE]) >= count)
        return list_move_gap(list, at);
    int error = list_move_gap(list, length);
    if (error != 0)
        return error;
    bool front = at < length / 2 && list_room_in_front(list) >= count;
    if (!front && count == 1 && at < length / 2 && segments_capacity(list) > SEGMENT)
        front = list_reserve_front(list) == 0;
    if (!front) {
        error = list_reserve(list, count);
        if (error == 0)
            error = stripes_hold_all(list);
    }
    if (error != 0)
        return error;
    list_begin_gap(list, front, count);
    if (at == (front ? 0 : length))
        return 0;
    error = list_move_gap(list, at);
    if (error == 0 && end) /* list_move_gap() left no gap there */
        list_begin_gap(list, at == 0, count);
    return error;
}

/* ---- building aside ---- */

/* Makes a block of `count` empty cells, which *slot owns as a plain block. */
static int new_cells(struct object *list, uint64_t count, _Atomic uint64_t *slot)
{
    return count > LIST_LARGEST ? MP_ENOMEM : segment_new(object_heap(list), REF_CELLS, count, slot);
}

int list_stage(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct heap *heap = object_heap(list);
    int error = new_cells(list, count, &list->pending[0]);

    if (error != 0)
        return error;
    word_put(&list->pending[0], word_get(&list->pending[0]) | REF_CELLS);
    struct cell *cells = list_cells(heap, word_get(&list->pending[0]));
    for (size_t i = 0; error == 0 && i < count; i++) {
        const mp_value *value = (const mp_value *)(const void *)((const char *)values + i * stride);

        error = cell_stage(list, value, &cells[i]);
    }
    if (error != 0)
        ref_release(heap, &list->pending[0]);
    return error;
}

int list_order_new(struct list_order *order, uint64_t count)
{
    order->count = 0;
    order->from = count > LIST_LARGEST ? NULL : malloc((count + 1) * sizeof *order->from);
    return order->from == NULL ? MP_ENOMEM : 0;
}

/* One change: the new segments own their cells, the staging block and the old segments do not any more. */
static void commit_rebuild(struct object *list, uint64_t count)
{
    uint64_t old = word_get(&list->root[0]);

    object_begin(list);
    object_set(list, &list->root[0], (word_get(&list->pending[1]) & ~REF_MASK) | REF_TABLE);
    object_set(list, &list->word[LIST_START], 0);
    object_set(list, &list->word[LIST_LENGTH], count);
    object_set(list, &list->word[LIST_GAP], 0);
    object_set(list, &list->word[LIST_GAP_SIZE], 0);
    object_set(list, &list->pending[0], word_get(&list->pending[0]) & ~REF_MASK);
    object_set(list, &list->pending[1], old == 0 ? 0 : (old & ~REF_MASK) | REF_TABLE_SHALLOW);
    object_commit(list);
}

/* Copies the cells into the new segments. */
static void copy_in_order(struct object *list, const struct list_order *order)
{
    struct heap *heap = object_heap(list);
    const struct cell *staged = word_get(&list->pending[0]) != 0 ? list_cells(heap, word_get(&list->pending[0])) : NULL;
    uint64_t new = word_get(&list->pending[1]), length = list_length_of(list);

    for (uint64_t i = 0; i < order->count; i++) {
        uint64_t from = order->from[i];

        memcpy(list_cell_at(heap, new, i), from < length ? list_cell(list, from) : &staged[from - length],
               sizeof(struct cell));
    }
}

int list_rebuild(struct object *list, struct list_order *order)
{
    MP_ASSERT(list_is_settled(list));
    int error = segments_new(list, REF_CELLS, order->count + FIRST_SEGMENT, &list->pending[1]);

    if (error == 0) {
        copy_in_order(list, order);
        commit_rebuild(list, order->count);
    }
    free(order->from);
    object_release_pending(list);
    return error;
}

/* Appends the staged cells. The caller has made room for them in the segments and in the undo log. */
static void add_staged(struct object *list, uint64_t count)
{
    struct cell *staged = list_cells(object_heap(list), word_get(&list->pending[0]));

    object_begin(list);
    for (uint64_t i = 0; i < count; i++) {
        struct cell *to = list_cell(list, list_length_of(list) + i);

        object_set(list, &to->head, word_get(&staged[i].head));
        object_set(list, &to->body, word_get(&staged[i].body));
    }
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + count);
    object_set(list, &list->pending[0], word_get(&list->pending[0]) & ~REF_MASK);
    object_commit(list);
}

int list_append_many(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    MP_ASSERT(list_is_settled(list));
    if (count == 0)
        return 0;
    int error = list_reserve(list, count);
    if (error != 0)
        return error;
    error = list_stage(list, values, stride, count);
    if (error == 0)
        error = object_reserve_undo(list, 2 * count + 2, 2 * count + 2);
    if (error == 0)
        add_staged(list, count);
    else
        remove_unused_segments(list);
    object_release_undo(list);
    ref_release(object_heap(list), &list->pending[0]);
    return error;
}

/* Fills a list that is still empty and that no other process sees. So it needs no undo log of all cells, which would
 * take twice their memory. */
static int fill(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct list_order order;
    int error = list_order_new(&order, count);

    if (error != 0)
        return error;
    error = list_stage(list, values, stride, count);
    if (error != 0) {
        free(order.from);
        return error;
    }
    list_order_add(&order, 0, count);
    return list_rebuild(list, &order);
}

int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count)
{
    struct object *list;
    int error = object_create_in(object_heap(owner), OBJECT_LIST, slot, &list);

    if (error == 0)
        error = object_lock(object_handle(list), OBJECT_LIST);
    if (error != 0)
        return error;
    error = count < SEGMENT ? list_append_many(list, values, stride, count) : fill(list, values, stride, count);
    mutex_unlock(&list->mutex); /* objects that died meanwhile are reclaimed when the owner is unlocked */
    return error;
}

/* Pending ref 3 of this list owns the new list until it is whole. */
int list_derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result)
{
    int error = list_from_values(list, &list->pending[3], values, stride, count);

    if (error == 0) {
        mp_list *new = object_handle(object_pending(list, 3));

        error = hold_take(new, OBJECT_LIST);
        if (error == 0)
            *result = new;
    }
    ref_release(object_heap(list), &list->pending[3]);
    return error;
}

/* Checks that the handle is a list's and that `value`, if it is not NULL, may be stored in it. 0, MP_EINVAL,
 * MP_EFOREIGN. */
static int check(mp_list *handle, const mp_value *value)
{
    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    return value != NULL ? value_check(object_heap(list_object(handle)), value) : 0;
}

static int settled(struct object *list)
{
    int error = list_settle(list);

    if (error != 0)
        object_unlock(list);
    return error;
}

int list_lock(mp_list *handle, const mp_value *value)
{
    int error = check(handle, value);

    if (error == 0)
        error = object_lock(handle, OBJECT_LIST);
    return error != 0 ? error : settled(list_object(handle));
}

int list_lock_alone(mp_list *handle, const mp_value *value)
{
    int error = check(handle, value);

    if (error == 0)
        error = object_lock_alone(handle, OBJECT_LIST);
    return error != 0 ? error : settled(list_object(handle));
}

int list_lock_both(mp_list *handle, mp_list *other, bool alone, struct snapshot *items)
{
    int error = object_is(handle, OBJECT_LIST) ? snapshot_take(other, OBJECT_LIST, items) : MP_EINVAL;

    if (error != 0)
        return error;
    error = alone ? list_lock_alone(handle, NULL) : list_lock(handle, NULL);
    if (error != 0)
        snapshot_free(items);
    return error;
}

void list_unlock_both(mp_list *handle, struct snapshot *items)
{
    object_unlock(list_object(handle));
    snapshot_free(items);
}
