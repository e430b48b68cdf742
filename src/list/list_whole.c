/* Lists as a whole: copied, extended, reversed, compared, printed, and made of others. */
#include <stdlib.h>

#include "list/list_table.h"
#include "value/snapshot.h"

int mp_list_copy(mp_list *list, mp_list **copy)
{
    return mp_list_slice(list, MP_BEGIN, MP_END, 1, copy);
}

int mp_list_extend(mp_list *handle, mp_list *other)
{
    struct snapshot items;
    int error = list_lock_both(handle, other, true, &items);

    if (error != 0)
        return error;
    error = list_append_many(list_object(handle), &items.item[0].value, sizeof items.item[0], items.count);
    list_unlock_both(handle, &items);
    return error;
}

int mp_list_extend_values(mp_list *list, const mp_value *values, size_t count)
{
    if (values == NULL && count > 0)
        return MP_EINVAL;
    if (count > SIZE_MAX / sizeof *values)
        return MP_EOVERFLOW;
    int error = list_lock_alone(list, NULL);
    if (error != 0)
        return error;
    error = list_append_many(list_object(list), values, sizeof *values, count);
    object_unlock(list_object(list));
    return error;
}

int mp_list_reverse(mp_list *handle)
{
    struct object *list = list_object(handle);
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = list_turn(list);
    object_unlock(list);
    return error;
}

/* Makes a new list of the list's own values followed by the other's. No process sees it until it is whole. */
static int concat(struct object *list, const struct snapshot *others, mp_list **sum)
{
    uint64_t length = list_length_of(list);
    mp_value *values = malloc((length + others->count + 1) * sizeof *values);

    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < length; i++)
        values[i] = cell_view(object_heap(list), list_cell(list, i));
    for (size_t i = 0; i < others->count; i++)
        values[length + i] = others->item[i].value;
    int error = list_derive(list, values, sizeof *values, length + others->count, sum);
    free(values);
    return error;
}

int mp_list_concat(mp_list *a, mp_list *b, mp_list **sum)
{
    struct snapshot others;
    int error = sum == NULL ? MP_EINVAL : list_lock_both(a, b, false, &others);

    if (error != 0)
        return error;
    error = concat(list_object(a), &others, sum);
    list_unlock_both(a, &others);
    return error;
}

static int repeat(struct object *list, uint64_t times, mp_list **product)
{
    uint64_t length = list_length_of(list), count;

    if (__builtin_mul_overflow(length, times, &count))
        return MP_EOVERFLOW;
    /* Do not gather in private memory what the heap can never hold. */
    if (count > object_heap(list)->limit / sizeof(struct cell))
        return MP_ENOMEM;
    mp_value *values = malloc((count + 1) * sizeof *values);
    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        values[i] = cell_view(object_heap(list), list_cell(list, i % length));
    int error = list_derive(list, values, sizeof *values, count, product);
    free(values);
    return error;
}

int mp_list_repeat(mp_list *handle, int64_t times, mp_list **product)
{
    int error = product == NULL ? MP_EINVAL : list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = repeat(list_object(handle), times > 0 ? (uint64_t)times : 0, product);
    object_unlock(list_object(handle));
    return error;
}

/* ---- comparing and printing ---- */

int mp_list_equal(mp_list *a, mp_list *b, bool *equal)
{
    mp_value first = mp_value_list(a), second = mp_value_list(b);

    return mp_value_equal(&first, &second, equal);
}

int mp_list_print(mp_list *list, FILE *stream)
{
    mp_value value = mp_value_list(list);

    return mp_value_print(&value, stream);
}

int mp_list_json(mp_list *list, char **text)
{
    mp_value value = mp_value_list(list);

    return mp_value_json(&value, text);
}
