#include "dict/dict_entry.h"

#include "base/word.h"

/* ---- reading ---- */

static int read_locked(mp_dict *handle, const struct key *key, dict_reader *read, void *out)
{
    struct object *dict = dict_object(handle);
    int error = object_lock_to_read(dict, object_magic(handle, OBJECT_DICT));

    if (error != 0)
        return error;
    struct heap *heap = object_heap(dict);
    struct entry *entry = dict_find(heap, dict, key, NULL);
    error = entry == NULL ? MP_EKEY : read(heap, entry, out);
    mutex_unlock(&dict->mutex);
    return error;
}

static int read_once(const struct reading *reading, const struct key *key, dict_reader *read, void *out)
{
    struct object *dict = (struct object *)(uintptr_t)reading->object;
    struct entry *entry, copy;

    if (reading->version & 1)
        entry = dict_find_reading(reading, key, &copy) ? &copy : NULL;
    else
        entry = dict_find_unlocked(object_heap(dict), dict, key, reading->version);
    return entry == NULL ? MP_EKEY : read(object_heap(dict), entry, out);
}

int dict_read(mp_dict *handle, const struct key *key, dict_reader *read, void *out, void (*discard)(void *out))
{
    struct reading reading = {.object = dict_object(handle)};

    for (unsigned tries = 0;; tries++) {
        bool patient = object_read_again(&reading, tries);

        if (!object_is(handle, OBJECT_DICT))
            return MP_EINVAL;
        int error = read_once(&reading, key, read, out);
        if (object_reading_valid(&reading))
            return error;
        if (error == 0 && discard != NULL)
            discard(out);
        if (patient)
            continue;
        error = read_locked(handle, key, read, out);
        if (error != MP_ETIMEOUT)
            return error;
    }
}

int dict_read_word(mp_dict *handle, int word, uint64_t *value)
{
    struct object *dict = dict_object(handle);
    struct reading reading = {.object = dict};

    for (unsigned tries = 0;; tries++) {
        object_read_again(&reading, tries); /* a word is read faster than others write: no mutex is ever needed */
        if (!object_is(handle, OBJECT_DICT))
            return MP_EINVAL;
        *value = object_read_word(&reading, &dict->word[word]);
        if (object_reading_valid(&reading))
            return 0;
    }
}

int dict_read_value(const struct heap *heap, const struct entry *entry, void *out)
{
    return cell_read(heap, word_get(&entry->value.head), word_get(&entry->value.body), out);
}

void dict_discard_value(void *out)
{
    mp_value_free(out);
}

int dict_get_value(mp_dict *dict, const struct key *key, mp_value *value)
{
    int error, held = 0;

    do {
        error = dict_read(dict, key, dict_read_value, value, dict_discard_value);
        if (error == 0)
            held = value_hold(value);
    } while (error == 0 && held == MP_EINVAL); /* another value has replaced it meanwhile */
    return error != 0 ? error : held;
}

/* ---- writing ---- */

struct look dict_look(const struct object *dict, const struct key *key)
{
    struct look look;

    look.even = object_read_begin(dict, &look.version);
    look.entry = look.even ? dict_find_unlocked(object_heap(dict), dict, key, look.version) : NULL;
    return look;
}

int dict_replace(struct object *dict, struct entry *entry, const mp_value *value)
{
    uint64_t head, body, old_head = word_get(&entry->value.head);

    if (cell_plain(value, &head, &body) && head == old_head) {
        atomic_store_explicit(&entry->value.body, body, memory_order_release);
        return 0;
    }
    int error = cell_build(dict, value, &dict->pending[0], &head, &body);
    if (error != 0)
        return error;
    object_begin(dict);
    object_set(dict, &dict->pending[0], 0);
    if (old_head & CELL_OWNS)
        object_set(dict, &dict->pending[1], word_get(&entry->value.body));
    object_set(dict, &entry->value.head, head);
    object_set(dict, &entry->value.body, body);
    object_commit(dict);
    ref_release(object_heap(dict), &dict->pending[1]);
    return 0;
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

    return entry != NULL ? dict_replace(dict, entry, value) : dict_insert(dict, key, value);
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
