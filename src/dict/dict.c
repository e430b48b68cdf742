/* Dicts: values got and set by key. */
#include <string.h>

#include "base/word.h"
#include "dict/dict_entry.h"
#include "object/hold.h"

/* ---- getting ---- */

static __attribute__((noinline)) int get_words_slow(mp_dict *dict, const char *text, struct words *words)
{
    struct key key;
    int error = dict_prepare_text(dict, text, &key);

    return error != 0 ? error : dict_get_words(dict, &key, words);
}

/* Fast path: the key is short, and the dict is not being changed. False: take the slow path. Kept short and call-free:
 * consecutive lookups overlap their cache misses only if both fit in the processor's reorder buffer. */
static inline __attribute__((always_inline)) bool get_words_fast(const mp_dict *handle, const char *text, size_t size,
                                                                 struct words *words, int *error)
{
    const struct object *dict = object_of(handle);
    const struct heap *heap = object_heap(dict);
    struct key key;
    uint64_t version;

    /* Read the version first. If the place is reused for another dict meanwhile, its version differs. */
    if (size > KEY_INLINE || !object_read_begin(dict, &version) || !object_is_fast(handle, OBJECT_DICT))
        return false;
    key_prepare_short(heap, MP_STR, text, size, &key);
    struct entry *entry;
    if (!dict_find_fast(heap, dict, &key, version, &entry))
        return false;
    *error = MP_EKEY;
    if (entry != NULL) {
        *words = cell_words(&entry->value);
        *error = 0;
    }
    return object_read_valid(dict, version); /* freeing a dict changes its version before its content goes */
}

/* The two words of a key's value. */
static inline __attribute__((always_inline)) int get_words(mp_dict *dict, const char *text, struct words *words)
{
    struct words slow;
    int error;

    if (!object_is(dict, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    if (get_words_fast(dict, text, strlen(text), words, &error))
        return error;
    error = get_words_slow(dict, text, &slow);
    if (error == 0)
        *words = slow;
    return error;
}

/* Inlined, so that a constant `type` leaves one case. */
static inline __attribute__((always_inline)) int get(mp_dict *dict, const char *key, mp_type type, void *value)
{
    struct words words;
    int error = value == NULL ? MP_EINVAL : get_words(dict, key, &words);

    return error != 0 ? error : access_convert(object_heap(dict_object(dict)), words, type, value);
}

int mp_dict_get_bool(mp_dict *dict, const char *key, bool *value)
{
    return get(dict, key, MP_BOOL, value);
}

int mp_dict_get_int(mp_dict *dict, const char *key, int64_t *value)
{
    return get(dict, key, MP_INT, value);
}

int mp_dict_get_float(mp_dict *dict, const char *key, double *value)
{
    return get(dict, key, MP_FLOAT, value);
}

int mp_dict_get_dict(mp_dict *dict, const char *key, mp_dict **value)
{
    return get(dict, key, MP_DICT, value);
}

int mp_dict_get_list(mp_dict *dict, const char *key, mp_list **value)
{
    return get(dict, key, MP_LIST, value);
}

static int get_bytes(mp_dict *dict, const char *text, mp_type type, void *buffer, size_t size, size_t *length)
{
    struct key key;
    int error = buffer == NULL && size > 0 ? MP_EINVAL : dict_prepare_text(dict, text, &key);

    return error != 0 ? error : dict_get_bytes(dict, &key, type, buffer, size, length);
}

int mp_dict_get_str(mp_dict *dict, const char *key, char *buffer, size_t size, size_t *length)
{
    return get_bytes(dict, key, MP_STR, buffer, size, length);
}

int mp_dict_get_bytes(mp_dict *dict, const char *key, void *buffer, size_t size, size_t *length)
{
    return get_bytes(dict, key, MP_BYTES, buffer, size, length);
}

static int hold_container(mp_dict *dict, const char *text, mp_type type, void **container)
{
    struct key key;
    mp_value value;
    int error = container == NULL ? MP_EINVAL : dict_prepare_text(dict, text, &key);

    if (error == 0)
        error = dict_get_value(dict, &key, (int)type, &value);
    if (error == 0)
        *container = value.as.dict;
    return error;
}

int mp_dict_hold_dict(mp_dict *dict, const char *key, mp_dict **value)
{
    return hold_container(dict, key, MP_DICT, (void **)value);
}

int mp_dict_hold_list(mp_dict *dict, const char *key, mp_list **value)
{
    return hold_container(dict, key, MP_LIST, (void **)value);
}

int mp_dict_hold(mp_dict *dict)
{
    return hold_take(dict, OBJECT_DICT);
}

int mp_dict_free(mp_dict *dict)
{
    return dict == NULL ? 0 : hold_give_any(dict, OBJECT_DICT);
}

int mp_dict_get(mp_dict *dict, mp_value key_value, mp_value *value)
{
    struct key key;
    int error = value == NULL ? MP_EINVAL : dict_prepare(dict, &key_value, &key);

    return error != 0 ? error : dict_get_value(dict, &key, ACCESS_ANY, value);
}

int mp_dict_get_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    int error = value_is_valid(&fallback) ? mp_dict_get(dict, key, value) : MP_EINVAL;

    return error == MP_EKEY ? value_copy(&fallback, value) : error;
}

int mp_dict_contains_key(mp_dict *dict, const char *key, bool *found)
{
    struct words words;
    int error = found == NULL ? MP_EINVAL : get_words(dict, key, &words);

    if (error == 0 || error == MP_EKEY)
        *found = error == 0;
    return error == MP_EKEY ? 0 : error;
}

int mp_dict_contains(mp_dict *dict, mp_value key_value, bool *found)
{
    struct key key;
    struct words words;
    int error = found == NULL ? MP_EINVAL : dict_prepare(dict, &key_value, &key);

    if (error == 0)
        error = dict_get_words(dict, &key, &words);
    if (error == 0 || error == MP_EKEY)
        *found = error == 0;
    return error == MP_EKEY ? 0 : error;
}

int mp_dict_length(mp_dict *dict, size_t *length)
{
    return length == NULL ? MP_EINVAL : access_word(dict, OBJECT_DICT, DICT_LIVE, length);
}

/* ---- setting ---- */

static __attribute__((noinline)) int set_looked(mp_dict *handle, const struct key *key, const struct look *look,
                                                const mp_value *value)
{
    struct object *dict = dict_object(handle);
    struct entry *entry;
    int error = dict_lock_and_find(handle, key, look, &entry);

    if (error != 0)
        return error;
    error = entry != NULL ? cell_replace(dict, &entry->value, value) : dict_insert(dict, key, value);
    object_unlock(dict);
    return error;
}

static int set(mp_dict *handle, const struct key *key, const mp_value *value)
{
    struct object *dict = dict_object(handle);
    int error = value_check(object_heap(dict), value);

    if (error != 0)
        return error;
    struct look look = dict_look(dict, key);
    return set_looked(handle, key, &look, value);
}

static __attribute__((noinline)) int set_short(mp_dict *dict, const char *text, mp_value value)
{
    struct key key;
    int error = dict_prepare_text(dict, text, &key);

    return error != 0 ? error : set(dict, &key, &value);
}

/* Slow path of set_plain(). The mp_value is built only here, so that the fast path does without. */
static __attribute__((noinline)) int set_plain_short(mp_dict *dict, const char *text, mp_type type, uint64_t body)
{
    mp_value value;

    cell_number((uint64_t)type, body, &value);
    return set_short(dict, text, value);
}

static __attribute__((noinline)) int set_plain_looked(mp_dict *dict, const struct key *key, const struct look *look,
                                                      mp_type type, uint64_t body)
{
    mp_value value;

    cell_number((uint64_t)type, body, &value);
    return set_looked(dict, key, look, &value);
}

/* Sets a value that is one word. Fast path: the key has a value of the same type. Kept short, like
 * get_words_fast(). */
static inline __attribute__((always_inline)) int set_plain(mp_dict *handle, const char *text, mp_type type,
                                                           uint64_t body)
{
    if (!object_is(handle, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    struct object *dict = dict_object(handle);
    size_t size = strlen(text);
    if (size > KEY_INLINE)
        return set_plain_short(handle, text, type, body);
    struct key key;
    key_prepare_short(object_heap(dict), MP_STR, text, size, &key);
    struct look look = dict_look_short(dict, &key);
    pthread_mutex_t *guard = dict_lock_plain(handle, key.hash, &look, (uint64_t)type);
    if (guard == NULL) {
        /* Copies, so that the compiler can keep the originals in registers. */
        struct key key_seen = key;
        struct look look_seen = look;

        return set_plain_looked(handle, &key_seen, &look_seen, type, body);
    }
    atomic_store_explicit(&look.entry->value.body, body, memory_order_release);
    stripes_unguard(dict, guard);
    return 0;
}

int mp_dict_set_none(mp_dict *dict, const char *key)
{
    return set_short(dict, key, mp_value_none());
}

int mp_dict_set_bool(mp_dict *dict, const char *key, bool value)
{
    return set_plain(dict, key, MP_BOOL, value);
}

int mp_dict_set_int(mp_dict *dict, const char *key, int64_t value)
{
    return set_plain(dict, key, MP_INT, (uint64_t)value);
}

int mp_dict_set_float(mp_dict *dict, const char *key, double value)
{
    uint64_t body;

    memcpy(&body, &value, sizeof body);
    return set_plain(dict, key, MP_FLOAT, body);
}

int mp_dict_set_str(mp_dict *dict, const char *key, const char *text)
{
    return set_short(dict, key, mp_value_str(text));
}

int mp_dict_set_bytes(mp_dict *dict, const char *key, const void *data, size_t size)
{
    return set_short(dict, key, mp_value_bytes(data, size));
}

int mp_dict_set_dict(mp_dict *dict, const char *key, mp_dict *value)
{
    return set_short(dict, key, mp_value_dict(value));
}

int mp_dict_set_list(mp_dict *dict, const char *key, mp_list *value)
{
    return set_short(dict, key, mp_value_list(value));
}

int mp_dict_set(mp_dict *dict, mp_value key_value, mp_value value)
{
    struct key key;
    int error = dict_prepare(dict, &key_value, &key);

    return error != 0 ? error : set(dict, &key, &value);
}
