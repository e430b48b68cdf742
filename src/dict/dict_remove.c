/* Dicts: removing entries. */
#include "base/word.h"
#include "dict/dict_entry.h"

/* Removes an entry and stores its key and value in *key and *value, where these are not NULL. A container that is
 * handed out is held before its entry goes, so it lives on. */
static int take(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, mp_value *key, mp_value *value)
{
    struct heap *heap = object_heap(dict);
    mp_value key_copy = mp_value_none(), value_copied = mp_value_none();
    int error = key != NULL ? key_read(heap, &entry->key, &key_copy) : 0;

    if (error == 0 && value != NULL)
        error = cell_value(heap, &entry->value, &value_copied);
    if (error == 0 && value != NULL)
        error = value_hold(&value_copied);
    if (error != 0) {
        mp_value_free(&key_copy);
        return error;
    }
    object_begin(dict);
    dict_take_out(dict, entry, slot, &dict->pending[1], &dict->pending[0]);
    object_commit(dict);
    object_release_pending(dict);
    dict_shrink(dict);
    if (key != NULL)
        *key = key_copy;
    if (value != NULL)
        *value = value_copied;
    return 0;
}

static int remove_key(mp_dict *handle, const struct key *key, mp_value *value)
{
    struct object *dict = dict_object(handle);
    _Atomic uint64_t *slot;
    int error = object_lock(handle, OBJECT_DICT);

    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, key, &slot);
    error = entry == NULL ? MP_EKEY : take(dict, entry, slot, NULL, value);
    object_unlock(dict);
    return error;
}

int mp_dict_remove_key(mp_dict *dict, const char *text)
{
    struct key key;
    int error = dict_prepare_text(dict, text, &key);

    return error != 0 ? error : remove_key(dict, &key, NULL);
}

int mp_dict_remove(mp_dict *dict, mp_value key_value)
{
    return mp_dict_pop(dict, key_value, NULL);
}

int mp_dict_pop(mp_dict *dict, mp_value key_value, mp_value *value)
{
    struct key key;
    int error = dict_prepare(dict, &key_value, &key);

    return error != 0 ? error : remove_key(dict, &key, value);
}

int mp_dict_pop_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    if (value == NULL || !value_is_valid(&fallback))
        return MP_EINVAL;
    int error = mp_dict_pop(dict, key, value);
    return error == MP_EKEY ? value_copy(&fallback, value) : error;
}

/* The slot of an entry that is in the dict. */
static _Atomic uint64_t *slot_of(struct object *dict, const struct entry *entry)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *slot = NULL;
    struct key key;
    mp_value value;

    if (key_read(heap, &entry->key, &value) != 0)
        return NULL;
    if (key_prepare(heap, &value, &key) == 0)
        dict_find(heap, dict, &key, &slot);
    mp_value_free(&value);
    return slot;
}

static int take_newest(struct object *dict, mp_value *key, mp_value *value)
{
    for (uint64_t position = dict_word(dict, DICT_USED); position-- > 0;) {
        struct entry *entry = dict_entry(object_heap(dict), dict, position);

        if (word_get(&entry->sequence) == 0)
            continue;
        _Atomic uint64_t *slot = slot_of(dict, entry);
        return slot == NULL ? MP_ENOMEM : take(dict, entry, slot, key, value);
    }
    return MP_EKEY;
}

int mp_dict_popitem(mp_dict *handle, mp_value *key, mp_value *value)
{
    struct object *dict = dict_object(handle);
    int error = object_lock(handle, OBJECT_DICT);

    if (error != 0)
        return error;
    error = take_newest(dict, key, value);
    object_unlock(dict);
    return error;
}

int mp_dict_clear(mp_dict *handle)
{
    struct object *dict = dict_object(handle);
    int error = object_lock(handle, OBJECT_DICT);

    if (error != 0)
        return error;
    dict_empty(dict);
    object_unlock(dict);
    return 0;
}
