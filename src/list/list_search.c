/* Searching lists. Works on a snapshot, as comparing may have to look into other containers and may take long. */
#include "base/word.h"
#include "list/list_table.h"
#include "value/compare.h"
#include "value/snapshot.h"

static int find_value(const struct snapshot *items, const mp_value *value, size_t from, size_t *index)
{
    for (size_t i = from; i < items->count; i++) {
        bool equal;
        int error = value_equal(&items->item[i].value, value, &equal);

        if (error != 0)
            return error;
        if (equal) {
            *index = i;
            return 0;
        }
    }
    return MP_EVALUE;
}

static int check_value(mp_list *list, const mp_value *value, const void *out)
{
    if (out == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    return value_is_valid(value) ? 0 : MP_EINVAL;
}

int mp_list_index(mp_list *list, mp_value value, size_t *index)
{
    struct snapshot items;
    int error = check_value(list, &value, index);

    if (error == 0)
        error = snapshot_take(list, OBJECT_LIST, &items);
    if (error != 0)
        return error;
    error = find_value(&items, &value, 0, index);
    snapshot_free(&items);
    return error;
}

int mp_list_count(mp_list *list, mp_value value, size_t *count)
{
    struct snapshot items;
    size_t found = 0, at = 0;
    int error = check_value(list, &value, count);

    if (error == 0)
        error = snapshot_take(list, OBJECT_LIST, &items);
    if (error != 0)
        return error;
    while ((error = find_value(&items, &value, at, &at)) == 0) {
        found++;
        at++;
    }
    snapshot_free(&items);
    if (error != MP_EVALUE)
        return error;
    *count = found;
    return 0;
}

int mp_list_contains(mp_list *list, mp_value value, bool *found)
{
    size_t index;
    int error = found == NULL ? MP_EINVAL : mp_list_index(list, value, &index);

    if (error == 0 || error == MP_EVALUE)
        *found = error == 0;
    return error == MP_EVALUE ? 0 : error;
}

/* Removes the element that the search found, unless the list has changed since; sets *changed then. */
static int remove_found(mp_list *handle, uint64_t version, size_t index, const mp_value *found, bool *changed)
{
    struct object *list = list_object(handle);
    int error = object_lock(handle, OBJECT_LIST);

    if (error != 0)
        return error;
    *changed = word_get(&list->version) != version;
    if (!*changed) {
        mp_value now = cell_view(object_heap(list), list_cell(list, index));

        /* A number may have replaced another without a change of the version. */
        *changed = !value_same(&now, found);
        if (!*changed)
            error = list_remove_at(list, index);
    }
    object_unlock(list);
    return error;
}

int mp_list_remove(mp_list *handle, mp_value value)
{
    struct object *list = list_object(handle);
    bool changed = true;
    int error = check_value(handle, &value, handle);

    while (error == 0 && changed) {
        struct snapshot items;
        uint64_t version;
        size_t index = 0;

        error = object_lock(handle, OBJECT_LIST);
        if (error != 0)
            return error;
        version = word_get(&list->version);
        error = snapshot_take_locked(list, OBJECT_LIST, &items);
        object_unlock(list);
        if (error != 0)
            return error;
        error = find_value(&items, &value, 0, &index);
        if (error == 0)
            error = remove_found(handle, version, index, &items.item[index].value, &changed);
        snapshot_free(&items);
    }
    return error;
}
