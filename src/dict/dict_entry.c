#include "dict/dict_entry.h"

/* ---- reading ---- */

ACCESS_INLINE int find_words(const struct reading *reading, const void *key, struct words *words)
{
    const struct object *dict = reading->object;
    struct entry *entry, copy;

    if (reading->version & 1)
        entry = dict_find_reading(reading, key, &copy) ? &copy : NULL;
    else
        entry = dict_find_unlocked(object_heap(dict), dict, key, reading->version);
    if (entry == NULL)
        return MP_EKEY;
    *words = cell_words(&entry->value);
    return 0;
}

int dict_get_words(mp_dict *dict, const struct key *key, struct words *words)
{
    return access_words(dict, OBJECT_DICT, find_words, key, words);
}

int dict_get_value(mp_dict *dict, const struct key *key, int type, mp_value *value)
{
    return access_value(dict, OBJECT_DICT, find_words, key, type, value);
}

int dict_get_bytes(mp_dict *dict, const struct key *key, mp_type type, void *buffer, size_t size, size_t *length)
{
    return access_bytes(dict, OBJECT_DICT, find_words, key, type, buffer, size, length);
}

/* ---- writing ---- */

struct look dict_look(const struct object *dict, const struct key *key)
{
    struct look look;

    look.even = object_read_begin(dict, &look.version);
    look.entry = look.even ? dict_find_unlocked(object_heap(dict), dict, key, look.version) : NULL;
    return look;
}

int dict_insert(struct object *dict, const struct key *key, const mp_value *value)
{
    uint64_t head, body;
    int error = dict_reserve(dict, &key->hash, 1);

    if (error == 0)
        error = dict_store_key(dict, key, &dict->pending[1]);
    if (error == 0 && !cell_plain(value, &head, &body))
        error = cell_build(dict, value, &dict->pending[0], &head, &body);
    if (error != 0) {
        object_release_pending(dict);
        return error;
    }
    object_begin(dict);
    dict_add(dict, key, &dict->pending[1], head, body, &dict->pending[0]);
    object_commit(dict);
    return 0;
}

int dict_store(struct object *dict, const struct key *key, const mp_value *value)
{
    struct entry *entry = dict_find(object_heap(dict), dict, key, NULL);

    return entry != NULL ? cell_replace(dict, &entry->value, value) : dict_insert(dict, key, value);
}

int dict_lock_and_find(mp_dict *handle, const struct key *key, const struct look *look, struct entry **entry)
{
    struct object *dict = dict_object(handle);
    int error = object_lock_alone(handle, OBJECT_DICT);

    if (error != 0)
        return error;
    bool counts = look->even && object_read_valid(dict, look->version);
    *entry = counts ? look->entry : dict_find(object_heap(dict), dict, key, NULL);
    if (*entry != NULL)
        error = stripes_hold_one(dict, key->hash);
    if (error != 0)
        object_unlock(dict);
    return error;
}
