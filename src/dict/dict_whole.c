/* Dicts as a whole: updated from another, copied, compared, printed, and made into lists. */
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "dict/dict_entry.h"
#include "list/list_table.h"
#include "object/hold.h"
#include "object/object_create.h"
#include "value/snapshot.h"

/* Builds the keys and values of `items` in a block of entries that pending ref 0 owns, so that storing them cannot
 * fail. An entry is counted in the block before it owns anything, so that releasing the block releases it. */
static int stage(struct object *dict, const struct snapshot *items)
{
    struct heap *heap = object_heap(dict);
    int error = segment_new(heap, REF_ENTRIES, items->count, &dict->pending[0]);

    if (error != 0)
        return error;
    struct entry *staged = heap_at(heap, word_get(&dict->pending[0]) + 16);
    undo_order();
    atomic_store(&dict->pending[0], word_get(&dict->pending[0]) | REF_ENTRIES);
    for (size_t i = 0; error == 0 && i < items->count; i++) {
        struct key key;

        atomic_store(&staged[i].key.head, CELL_OWNS);
        atomic_store(&staged[i].sequence, 1);
        error = key_prepare(heap, &items->item[i].key, &key);
        if (error == 0)
            error = cell_stage(dict, &items->item[i].value, &staged[i].value);
        if (error == 0)
            error = dict_store_key(dict, &key, &staged[i].key.body);
    }
    return error;
}

/* The most stores that one staged entry takes, and the most different words that they go to. The dict's own words are
 * counted once for all entries. */
#define UPDATE_NOTES (DICT_ADD_WORDS + 1)
#define UPDATE_WORDS (UPDATE_NOTES - 3)

/* Stores a staged entry's value in the dict. The staged entry then owns what was there before, or nothing. Part of a
 * change. */
static void put_staged(struct object *dict, const mp_value *key_value, struct entry *staged)
{
    struct heap *heap = object_heap(dict);
    uint64_t head = word_get(&staged->value.head), body = word_get(&staged->value.body);
    struct key key;

    key_prepare(heap, key_value, &key);
    struct entry *entry = dict_find(heap, dict, &key, NULL);
    if (entry != NULL) {
        object_set(dict, &staged->value.head, word_get(&entry->value.head));
        object_set(dict, &staged->value.body, word_get(&entry->value.body));
        object_set(dict, &entry->value.head, head);
        object_set(dict, &entry->value.body, body);
        return;
    }
    dict_add(dict, &key, &staged->key.body, head, body, &staged->value.body);
    object_set(dict, &staged->sequence, 0);
}

static int make_room_for(struct object *dict, const struct snapshot *items)
{
    uint64_t *hashes = malloc(items->count * sizeof *hashes);
    int error = hashes == NULL ? MP_ENOMEM : 0;
    struct key key;

    for (size_t i = 0; error == 0 && i < items->count; i++) {
        error = key_prepare(object_heap(dict), &items->item[i].key, &key);
        hashes[i] = key.hash;
    }
    if (error == 0)
        error = dict_reserve(dict, hashes, items->count);
    free(hashes);
    return error;
}

/* Stores all items or none. */
static int update(struct object *dict, const struct snapshot *items)
{
    int error = make_room_for(dict, items);

    if (error == 0)
        error = stage(dict, items);
    if (error == 0)
        error = object_reserve_undo(dict, items->count * UPDATE_NOTES, items->count * UPDATE_WORDS + 3);
    if (error == 0) {
        struct entry *staged = heap_at(object_heap(dict), (word_get(&dict->pending[0]) & ~REF_MASK) + 16);

        object_begin(dict);
        for (size_t i = 0; i < items->count; i++)
            put_staged(dict, &items->item[i].key, &staged[i]);
        object_commit(dict);
    }
    object_release_undo(dict);
    object_release_pending(dict);
    return error;
}

int mp_dict_update(mp_dict *handle, mp_dict *other)
{
    struct object *dict = dict_object(handle);
    struct snapshot items;

    if (!object_is(handle, OBJECT_DICT))
        return MP_EINVAL;
    int error = snapshot_take(other, OBJECT_DICT, &items);
    if (error != 0)
        return error;
    error = object_lock(handle, OBJECT_DICT);
    if (error == 0) {
        error = items.count > 0 ? update(dict, &items) : 0;
        object_unlock(dict);
    }
    snapshot_free(&items);
    return error;
}

/* Makes a new container out of a dict's content. The dict's mutex is held. Pending ref 1 owns the new container until
 * it is whole. */
typedef int maker(struct object *dict, const struct snapshot *items);

/* Gives the user the handle of what pending ref 1 owns. This process then holds it. */
static int hand_out(struct object *dict, uint64_t kind, void **result)
{
    void *handle = object_handle(object_pending(dict, 1));
    int error = hold_take(handle, kind);

    if (error == 0)
        *result = handle;
    return error;
}

static int derive(mp_dict *handle, maker *make, uint64_t kind, void **result)
{
    struct object *dict = dict_object(handle);
    struct snapshot items;
    int error = result == NULL ? MP_EINVAL : object_lock(handle, OBJECT_DICT);

    if (error != 0)
        return error;
    error = snapshot_take_locked(dict, OBJECT_DICT, &items);
    if (error == 0) {
        error = make(dict, &items);
        if (error == 0)
            error = hand_out(dict, kind, result);
        object_release_pending(dict);
        snapshot_free(&items);
    }
    object_unlock(dict);
    return error;
}

static int make_copy(struct object *dict, const struct snapshot *items)
{
    struct object *copy;
    int error = object_create_in(object_heap(dict), OBJECT_DICT, &dict->pending[1], &copy);

    if (error != 0 || items->count == 0)
        return error;
    error = object_lock(object_handle(copy), OBJECT_DICT);
    if (error == 0) {
        error = update(copy, items);
        mutex_unlock(&copy->mutex); /* objects that died meanwhile are reclaimed when the source is unlocked */
    }
    return error;
}

int mp_dict_copy(mp_dict *dict, mp_dict **copy)
{
    return derive(dict, make_copy, OBJECT_DICT, (void **)copy);
}

static int make_keys(struct object *dict, const struct snapshot *items)
{
    return list_from_values(dict, &dict->pending[1], &items->item[0].key, sizeof items->item[0], items->count);
}

static int make_values(struct object *dict, const struct snapshot *items)
{
    return list_from_values(dict, &dict->pending[1], &items->item[0].value, sizeof items->item[0], items->count);
}

static int make_items(struct object *dict, const struct snapshot *items)
{
    int error = list_from_values(dict, &dict->pending[1], NULL, 0, 0);

    for (size_t i = 0; error == 0 && i < items->count; i++) {
        error = list_from_values(dict, &dict->pending[2], &items->item[i].key, sizeof(mp_value), 2);
        if (error == 0)
            error = mp_list_append_list(object_handle(object_pending(dict, 1)), object_handle(object_pending(dict, 2)));
        ref_release(object_heap(dict), &dict->pending[2]);
    }
    return error;
}

int mp_dict_keys(mp_dict *dict, mp_list **keys)
{
    return derive(dict, make_keys, OBJECT_LIST, (void **)keys);
}

int mp_dict_values(mp_dict *dict, mp_list **values)
{
    return derive(dict, make_values, OBJECT_LIST, (void **)values);
}

int mp_dict_items(mp_dict *dict, mp_list **items)
{
    return derive(dict, make_items, OBJECT_LIST, (void **)items);
}

/* ---- comparing and printing ---- */

int mp_dict_equal(mp_dict *a, mp_dict *b, bool *equal)
{
    mp_value first = mp_value_dict(a), second = mp_value_dict(b);

    return mp_value_equal(&first, &second, equal);
}

int mp_dict_print(mp_dict *dict, FILE *stream)
{
    mp_value value = mp_value_dict(dict);

    return mp_value_print(&value, stream);
}

int mp_dict_json(mp_dict *dict, char **text)
{
    mp_value value = mp_value_dict(dict);

    return mp_value_json(&value, text);
}
