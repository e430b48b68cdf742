/* Slices, with steps and negative bounds as Python has them. */
#include <stdlib.h>

#include "list_table.h"
#include "snapshot.h"

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

/* As Python's slice.indices(). */
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
    uint64_t length = list_length_of(list);
    struct list_order order;

    if (slice->count == 0)
        return 0;
    /* Ascending, whichever way the slice runs. */
    uint64_t step = (uint64_t)(slice->step > 0 ? slice->step : -slice->step);
    uint64_t first = slice_index(slice, slice->step > 0 ? 0 : slice->count - 1), from = 0;
    /* Of more, building anew takes less memory. */
    if ((step == 1 || slice->count == 1) && slice->count <= length / 4 &&
        (first == 0 || first + slice->count == length))
        return list_remove_end(list, first, slice->count);
    int error = list_order_new(&order, length);
    if (error != 0)
        return error;
    for (uint64_t i = 0; i < slice->count; i++) {
        list_order_add(&order, from, first + i * step);
        from = first + i * step + 1;
    }
    list_order_add(&order, from, length);
    return list_rebuild(list, &order);
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

static int set_slice(struct object *list, const struct slice *slice, const struct snapshot *items)
{
    uint64_t length = list_length_of(list);
    struct list_order order;

    if (slice->step != 1 && slice->count != items->count)
        return MP_EVALUE;
    if (slice->step == 1 && (uint64_t)slice->first == length)
        return list_append_many(list, &items->item[0].value, sizeof items->item[0], items->count);
    int error = list_order_new(&order, length + items->count);
    if (error != 0)
        return error;
    error = list_stage(list, &items->item[0].value, sizeof items->item[0], items->count);
    if (error != 0) {
        free(order.from);
        return error;
    }
    if (slice->step == 1) {
        uint64_t first = (uint64_t)slice->first;

        list_order_add(&order, 0, first);
        list_order_add(&order, length, length + items->count);
        list_order_add(&order, first + slice->count, length);
    } else {
        list_order_add(&order, 0, length);
        for (uint64_t i = 0; i < slice->count; i++)
            order.from[slice_index(slice, i)] = length + i;
    }
    return list_rebuild(list, &order);
}

int mp_list_set_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step, mp_list *other)
{
    struct object *list = list_object(handle);
    struct snapshot items;
    struct slice slice;

    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(other, OBJECT_LIST, &items);
    if (error != 0)
        return error;
    error = object_lock(handle, OBJECT_LIST);
    if (error == 0) {
        error = slice_of(list_length_of(list), start, stop, step, &slice);
        if (error == 0)
            error = set_slice(list, &slice, &items);
        object_unlock(list);
    }
    snapshot_free(&items);
    return error;
}
