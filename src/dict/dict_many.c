/* Dicts: many keys at once. In a large dict a search waits for memory twice, for a slot of the index and then for the
 * entry. Both are prefetched for a whole group of keys before the first is needed, so that the waits overlap. */
#include "dict/dict_entry.h"

#define GROUP INDEX_PREFETCH

/* Prepares keys until one is invalid; *error then says why. Returns how many are prepared. */
static size_t prepare_group(mp_dict *dict, const mp_value *keys, size_t count, struct key *group, int *error)
{
    size_t i = 0;

    for (*error = 0; i < count && i < GROUP; i++) {
        *error = dict_prepare(dict, &keys[i], &group[i]);
        if (*error != 0)
            break;
    }
    return i;
}

/* Stores none in *value if there is no such key. */
static int get_or_none(mp_dict *dict, const struct key *key, mp_value *value, size_t *present)
{
    int error = dict_get_value(dict, key, ACCESS_ANY, value);

    if (error == 0)
        ++*present;
    else
        *value = mp_value_none();
    return error == MP_EKEY ? 0 : error;
}

int mp_dict_get_many(mp_dict *dict, const mp_value *keys, mp_value *values, size_t count, size_t *found)
{
    struct key group[GROUP];
    size_t done = 0, present = 0;
    int error = 0;

    if (!object_is(dict, OBJECT_DICT) || (count > 0 && (keys == NULL || values == NULL)))
        return MP_EINVAL;
    while (error == 0 && done < count) {
        size_t size = prepare_group(dict, keys + done, count - done, group, &error);

        index_prefetch(dict_object(dict), group, size);
        for (size_t i = 0; error == 0 && i < size; i++)
            error = get_or_none(dict, &group[i], &values[done++], &present);
    }
    if (error == 0 && found != NULL)
        *found = present;
    for (size_t i = 0; error != 0 && i < count; i++) {
        if (i < done)
            mp_value_free(&values[i]);
        values[i] = mp_value_none();
    }
    return error;
}

/* Sets a group under one hold of the mutex. Returns how many were set. */
static size_t set_group(mp_dict *handle, const struct key *group, const mp_value *values, size_t size, int *error)
{
    struct object *dict = dict_object(handle);
    struct heap *heap = object_heap(dict);
    size_t i = 0;

    index_prefetch(dict, group, size);
    *error = object_lock(handle, OBJECT_DICT);
    if (*error != 0)
        return 0;
    for (; i < size; i++) {
        *error = value_check(heap, &values[i]);
        if (*error == 0)
            *error = dict_store(dict, &group[i], &values[i]);
        if (*error != 0)
            break;
    }
    object_unlock(dict);
    return i;
}

int mp_dict_set_many(mp_dict *dict, const mp_value *keys, const mp_value *values, size_t count, size_t *done)
{
    struct key group[GROUP];
    size_t set = 0;
    int error = 0, unfit = 0;

    if (!object_is(dict, OBJECT_DICT) || (count > 0 && (keys == NULL || values == NULL)))
        return MP_EINVAL;
    while (error == 0 && unfit == 0 && set < count) {
        size_t size = prepare_group(dict, keys + set, count - set, group, &unfit);

        if (size > 0)
            set += set_group(dict, group, values + set, size, &error);
    }
    if (done != NULL)
        *done = set;
    return error != 0 ? error : unfit;
}
