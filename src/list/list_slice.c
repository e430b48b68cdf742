/* Slices, with steps and negative bounds as Python has them. */
#include <stdlib.h>

#include "base/word.h"
#include "list/list_table.h"
#include "value/snapshot.h"

struct slice {
    int64_t first, step;
    uint64_t count;
};

static int64_t clip(int64_t bound, int64_t length, int64_t low, int64_t high)
{
    if (bound < 0)
        bound = bound < -length ? low : bound + length;
    return bound < low ? low : bound > high ? high : bound;
}

/* Like Python's slice.indices(). */
static int slice_of(uint64_t size, int64_t start, int64_t stop, int64_t step, struct slice *slice)
{
    int64_t length = (int64_t)size;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;

    if (step == 0)
        return MP_EVALUE;
    if (step == INT64_MIN)
        step = -INT64_MAX;
    start = start == MP_BEGIN ? low : start == MP_END ? high : clip(start, length, low, high);
    stop = stop == MP_BEGIN ? low : stop == MP_END ? high : clip(stop, length, low, high);
    slice->first = start;
    slice->step = step;
    if (step > 0)
        slice->count = stop > start ? (uint64_t)((stop - start - 1) / step + 1) : 0;
    else
        slice->count = start > stop ? (uint64_t)((start - stop - 1) / -step + 1) : 0;
    return 0;
}

static uint64_t slice_index(const struct slice *slice, uint64_t i)
{
    return (uint64_t)(slice->first + (int64_t)i * slice->step);
}

static int derive_slice(struct object *list, const struct slice *slice, mp_list **result)
{
    mp_value *values = malloc((slice->count + 1) * sizeof *values);

    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < slice->count; i++)
        values[i] = cell_view(object_heap(list), list_cell(list, slice_index(slice, i)));
    int error = list_derive(list, values, sizeof *values, slice->count, result);
    free(values);
    return error;
}

int mp_list_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step, mp_list **result)
{
    struct object *list = list_object(handle);
    struct slice slice;
    int error = result == NULL ? MP_EINVAL : list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = slice_of(list_length_of(list), start, stop, step, &slice);
    if (error == 0)
        error = derive_slice(list, &slice, result);
    object_unlock(list);
    return error;
}

static int delete_slice(struct object *list, const struct slice *slice)
{
    if (slice->count == 0)
        return 0;
    if (slice->count == list_length_of(list)) {
        list_empty(list);
        return 0;
    }
    /* Ascending, whichever way the slice runs. */
    uint64_t step = slice->count == 1 ? 1 : (uint64_t)(slice->step > 0 ? slice->step : -slice->step);
    int error = list_cut(list, slice_index(slice, slice->step > 0 ? 0 : slice->count - 1), step, slice->count);
    if (error == 0)
        list_shrink(list);
    return error;
}

int mp_list_delete_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step)
{
    struct object *list = list_object(handle);
    struct slice slice;
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = slice_of(list_length_of(list), start, stop, step, &slice);
    if (error == 0)
        error = delete_slice(list, &slice);
    object_unlock(list);
    return error;
}

/* Exchanges staged cells for elements of the slice, as many as there are of both. Part of a change. */
static uint64_t exchange_staged(struct object *list, const struct slice *slice, struct cell *staged, uint64_t count)
{
    if (count > slice->count)
        count = slice->count;
    for (uint64_t i = 0; i < count; i++) {
        struct cell *cell = list_cell(list, slice_index(slice, i));
        uint64_t head = word_get(&cell->head), body = word_get(&cell->body);

        object_set(list, &cell->head, word_get(&staged[i].head));
        object_set(list, &cell->body, word_get(&staged[i].body));
        object_set(list, &staged[i].head, head);
        object_set(list, &staged[i].body, body);
    }
    return count;
}

/* Moves staged cells into the gap before the element with that index. Part of a change. */
static void fill_gap(struct object *list, uint64_t at, struct cell *staged, uint64_t count)
{
    uint64_t left = word_get(&list->word[LIST_GAP_SIZE]) - count, start = word_get(&list->word[LIST_START]);

    for (uint64_t i = 0; i < count; i++) {
        struct cell *cell = list_cell_at(object_heap(list), word_get(&list->root[0]), start + at + i);

        object_set(list, &cell->head, word_get(&staged[i].head));
        object_set(list, &cell->body, word_get(&staged[i].body));
        object_set(list, &staged[i].head, 0);
    }
    object_set(list, &list->word[LIST_GAP], left > 0 ? 1 + at + count : 0);
    object_set(list, &list->word[LIST_GAP_SIZE], left);
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + count);
}

/* Puts the staged cells in the place of the slice. There is a gap for those that exceed the slice, and room in the undo
 * log. */
static void put_staged(struct object *list, const struct slice *slice, uint64_t count)
{
    struct cell *staged = list_cells(object_heap(list), word_get(&list->pending[0]));

    object_begin(list);
    uint64_t done = exchange_staged(list, slice, staged, count);
    if (done < count)
        fill_gap(list, (uint64_t)slice->first + done, staged + done, count - done);
    if (done < slice->count) {
        list_cut_begin(list, (uint64_t)slice->first + done, 1, slice->count - done);
        object_set(list, &list->word[LIST_LENGTH], list_length_of(list) - (slice->count - done));
    }
    object_commit(list);
}

/* Moves the gap to the slice if the numbers of staged cells and elements differ. */
static int prepare_gap(struct object *list, const struct slice *slice, uint64_t count)
{
    if (count > slice->count)
        return list_open(list, (uint64_t)slice->first + slice->count, count - slice->count);
    return count < slice->count ? list_move_gap(list, (uint64_t)slice->first + count) : 0;
}

static int set_slice(struct object *list, const struct slice *slice, const struct snapshot *items)
{
    uint64_t count = items->count;

    if (slice->step != 1 && slice->count != count)
        return MP_EVALUE;
    if (slice->step == 1 && (uint64_t)slice->first == list_length_of(list))
        return list_append_many(list, &items->item[0].value, sizeof items->item[0], count);
    if (count == 0)
        return delete_slice(list, slice);
    int error = list_stage(list, &items->item[0].value, sizeof items->item[0], count);
    if (error == 0)
        error = object_reserve_undo(list, 4 * count + 8, 4 * count + 8);
    if (error == 0)
        error = prepare_gap(list, slice, count);
    if (error == 0)
        put_staged(list, slice, count);
    object_release_undo(list);
    int unsettled = list_settle(list);
    object_release_pending(list);
    list_shrink(list);
    return error != 0 ? error : unsettled;
}

int mp_list_set_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step, mp_list *other)
{
    struct object *list = list_object(handle);
    struct snapshot items;
    struct slice slice;
    int error = list_lock_both(handle, other, false, &items);

    if (error != 0)
        return error;
    error = slice_of(list_length_of(list), start, stop, step, &slice);
    if (error == 0)
        error = set_slice(list, &slice, &items);
    list_unlock_both(handle, &items);
    return error;
}
