/* Dicts: the public functions. How entries lie in memory is in dict_table.h, how changes survive death in object.h.
 *
 * Readers take no mutex. Writers of one dict take turns under its mutex; an integer that takes an integer's place (and a float
 * a float's) is one word, stored at once, and readers need not even notice. All other changes go through the undo log, with the
 * version odd meanwhile. */
#include <stdlib.h>
#include <string.h>

#include "dict_table.h"
#include "list_array.h"
#include "snapshot.h"

/* A reader that has lost so often takes the mutex: somebody keeps writing, or died or was stopped while writing. */
#define READ_TRIES 64

static struct object *object_of(mp_dict *dict)
{
    return (struct object *)dict;
}

/* ---- reading ---- */

/* Takes out of an entry what is wanted. May be called on an entry that is changing, and more than once; what it returns and
 * stores counts if the version has not changed. */
typedef int reader(const struct heap *heap, const struct entry *entry, void *out);

static int read_locked(struct object *dict, const struct key *key, reader *read, void *out)
{
    int error = object_lock(dict, OBJECT_DICT);

    if (error != 0)
        return error;
    struct heap *heap = object_heap(dict);
    struct entry *entry = dict_find(heap, dict, key, NULL);
    error = entry == NULL ? MP_EKEY : read(heap, entry, out);
    object_unlock(dict);
    return error;
}

/* `discard`, when given, undoes a read that turned out not to count. */
static int read_entry(struct object *dict, const struct key *key, reader *read, void *out, void (*discard)(void *out))
{
    struct heap *heap = object_heap(dict);

    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t version;

        if (!object_read_begin(dict, &version))
            continue;
        if (!object_is(dict, OBJECT_DICT))
            return MP_EINVAL;
        struct entry *entry = dict_find_unlocked(heap, dict, key, false, version);
        int error = entry == NULL ? MP_EKEY : read(heap, entry, out);
        if (object_read_valid(dict, version))
            return error;
        if (error == 0 && discard != NULL)
            discard(out);
    }
    return read_locked(dict, key, read, out);
}

static inline int check_and_prepare(mp_dict *dict, const char *text, struct key *key)
{
    if (!object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    return key_prepare_str(object_heap(object_of(dict)), text, key);
}

static int prepare(mp_dict *dict, const mp_value *value, struct key *key)
{
    if (!object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    return key_prepare(object_heap(object_of(dict)), value, key);
}

struct words {
    uint64_t head, body;
};

static int read_words(const struct heap *heap, const struct entry *entry, void *out)
{
    struct words *words = out;

    (void)heap;
    words->head = dict_get(&entry->value.head);
    words->body = dict_get(&entry->value.body);
    return 0;
}

static int read_value(const struct heap *heap, const struct entry *entry, void *out)
{
    return cell_read(heap, dict_get(&entry->value.head), dict_get(&entry->value.body), out);
}

static void discard_value(void *out)
{
    mp_value_free(out);
}

static __attribute__((noinline)) int get_words_slowly(mp_dict *dict, const char *text, struct words *words)
{
    struct key key;
    int error = check_and_prepare(dict, text, &key);

    return error != 0 ? error : read_entry(object_of(dict), &key, read_words, words, NULL);
}

/* What nearly always happens: the key is short, and nobody changes the dict. False: something else did. Written out, and without a call: while a
 * processor waits for memory it goes on as far as its window of instructions reaches, and so, if they are few, it begins the next
 * search before this one is through. */
static inline __attribute__((always_inline)) bool get_words_at_once(const struct object *dict, const char *text,
                                                                    size_t size, struct words *words, int *error)
{
    const struct heap *heap = object_heap(dict);
    struct key key;
    uint64_t version;

    if (size > KEY_INLINE || !object_read_begin(dict, &version))
        return false;
    key_prepare_short(heap, MP_STR, text, size, &key);
    const struct entry *entry = dict_find_unlocked(heap, dict, &key, true, version);
    *error = MP_EKEY;
    if (entry != NULL) {
        words->head = dict_get(&entry->value.head);
        words->body = dict_get(&entry->value.body);
        *error = 0;
    }
    return object_read_valid(dict, version) && dict_get(&dict->magic) == OBJECT_DICT;
}

/* The two words of a key's value. */
static inline __attribute__((always_inline)) int get_words(mp_dict *dict, const char *text, struct words *words)
{
    struct words slow;
    int error;

    if (!object_is(dict, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    if (get_words_at_once(object_of(dict), text, strlen(text), words, &error))
        return error;
    error = get_words_slowly(dict, text, &slow);
    if (error == 0)
        *words = slow;
    return error;
}

int mp_dict_get_bool(mp_dict *dict, const char *key, bool *value)
{
    struct words words;
    int error = value == NULL ? MP_EINVAL : get_words(dict, key, &words);

    if (error == 0 && (words.head & CELL_TYPE) != MP_BOOL)
        error = MP_ETYPE;
    if (error == 0)
        *value = words.body != 0;
    return error;
}

int mp_dict_get_int(mp_dict *dict, const char *key, int64_t *value)
{
    struct words words;
    int error = value == NULL ? MP_EINVAL : get_words(dict, key, &words);

    if (error == 0 && (words.head & CELL_TYPE) != MP_INT)
        error = MP_ETYPE;
    if (error == 0)
        *value = (int64_t)words.body;
    return error;
}

int mp_dict_get_float(mp_dict *dict, const char *key, double *value)
{
    struct words words;
    int error = value == NULL ? MP_EINVAL : get_words(dict, key, &words);

    if (error != 0)
        return error;
    if ((words.head & CELL_TYPE) == MP_INT)
        *value = (double)(int64_t)words.body;
    else if ((words.head & CELL_TYPE) == MP_FLOAT)
        memcpy(value, &words.body, sizeof *value);
    else
        return MP_ETYPE;
    return 0;
}

struct bytes_wanted {
    mp_type type;
    void *buffer;
    size_t size, length;
};

static int read_bytes(const struct heap *heap, const struct entry *entry, void *out)
{
    struct bytes_wanted *wanted = out;
    uint64_t head = dict_get(&entry->value.head);

    if ((head & CELL_TYPE) != wanted->type)
        return MP_ETYPE;
    wanted->length = head >> CELL_LENGTH_SHIFT;
    if (wanted->length + (wanted->type == MP_STR) > wanted->size)
        return MP_ETOOSMALL;
    return cell_read_bytes(heap, head, dict_get(&entry->value.body), wanted->buffer, wanted->size, NULL);
}

static int get_bytes(mp_dict *dict, const char *text, struct bytes_wanted *wanted, size_t *length)
{
    struct key key;

    if (wanted->buffer == NULL && wanted->size > 0)
        return MP_EINVAL;
    int error = check_and_prepare(dict, text, &key);
    if (error == 0)
        error = read_entry(object_of(dict), &key, read_bytes, wanted, NULL);
    if (length != NULL && (error == 0 || error == MP_ETOOSMALL))
        *length = wanted->length;
    return error;
}

int mp_dict_get_str(mp_dict *dict, const char *key, char *buffer, size_t size, size_t *length)
{
    struct bytes_wanted wanted = {.type = MP_STR, .buffer = buffer, .size = size};
    int error = get_bytes(dict, key, &wanted, length);

    if (error == 0)
        buffer[wanted.length] = 0;
    return error;
}

int mp_dict_get_bytes(mp_dict *dict, const char *key, void *buffer, size_t size, size_t *length)
{
    struct bytes_wanted wanted = {.type = MP_BYTES, .buffer = buffer, .size = size};

    return get_bytes(dict, key, &wanted, length);
}

static int get_container(mp_dict *dict, const char *key, mp_type type, void **container)
{
    struct words words;
    int error = get_words(dict, key, &words);

    if (error == 0 && (words.head & CELL_TYPE) != type)
        error = MP_ETYPE;
    if (error == 0)
        *container = heap_at(object_heap(object_of(dict)), words.body & ~REF_MASK);
    return error;
}

int mp_dict_get_dict(mp_dict *dict, const char *key, mp_dict **value)
{
    return value == NULL ? MP_EINVAL : get_container(dict, key, MP_DICT, (void **)value);
}

int mp_dict_get_list(mp_dict *dict, const char *key, mp_list **value)
{
    return value == NULL ? MP_EINVAL : get_container(dict, key, MP_LIST, (void **)value);
}

int mp_dict_get(mp_dict *dict, mp_value key_value, mp_value *value)
{
    struct key key;
    mp_value found;
    int error = value == NULL ? MP_EINVAL : prepare(dict, &key_value, &key);

    if (error == 0)
        error = read_entry(object_of(dict), &key, read_value, &found, discard_value);
    if (error == 0)
        *value = found;
    return error;
}

int mp_dict_get_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    int error = value_is_valid(&fallback) ? mp_dict_get(dict, key, value) : MP_EINVAL;

    return error == MP_EKEY ? value_copy(&fallback, value) : error;
}

int mp_dict_has(mp_dict *dict, const char *key, bool *found)
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
    int error = found == NULL ? MP_EINVAL : prepare(dict, &key_value, &key);

    if (error == 0)
        error = read_entry(object_of(dict), &key, read_words, &words, NULL);
    if (error == 0 || error == MP_EKEY)
        *found = error == 0;
    return error == MP_EKEY ? 0 : error;
}

int mp_dict_length(mp_dict *dict, size_t *length)
{
    if (length == NULL || !object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    *length = dict_word(object_of(dict), DICT_LIVE);
    return 0;
}

/* ---- writing, under the mutex ---- */

/* Another value for an entry. */
static int replace(struct object *dict, struct entry *entry, const mp_value *value)
{
    uint64_t head, body, old_head = dict_get(&entry->value.head);

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
        object_set(dict, &dict->pending[1], dict_get(&entry->value.body));
    object_set(dict, &entry->value.head, head);
    object_set(dict, &entry->value.body, body);
    object_commit(dict);
    ref_release(object_heap(dict), &dict->pending[1]);
    return 0;
}

static int insert(struct object *dict, const struct key *key, const mp_value *value)
{
    uint64_t head, body;
    int error = dict_make_room(dict, &key->hash, 1);

    if (error == 0)
        error = dict_store_key(dict, key, &dict->pending[1]);
    if (error == 0)
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

static int store(struct object *dict, const struct key *key, const mp_value *value)
{
    struct entry *entry = dict_find(object_heap(dict), dict, key, NULL);

    return entry != NULL ? replace(dict, entry, value) : insert(dict, key, value);
}

/* Takes the mutex and finds a key's entry, NULL if there is none. Looks before it has the mutex, so that writers of different keys
 * wait for memory at the same time and not one after the other; what it finds counts if the version is still the same. */
static int lock_and_find(struct object *dict, const struct key *key, struct entry **entry)
{
    struct heap *heap = object_heap(dict);
    uint64_t version;
    bool found = object_read_begin(dict, &version);

    if (found)
        *entry = dict_find_unlocked(heap, dict, key, false, version);
    int error = object_lock(dict, OBJECT_DICT);
    if (error == 0 && (!found || !object_read_valid(dict, version)))
        *entry = dict_find(heap, dict, key, NULL);
    return error;
}

static int set(mp_dict *handle, const struct key *key, const mp_value *value)
{
    struct object *dict = object_of(handle);
    struct entry *entry;
    int error = value_check(object_heap(dict), value);

    if (error == 0)
        error = lock_and_find(dict, key, &entry);
    if (error != 0)
        return error;
    error = entry != NULL ? replace(dict, entry, value) : insert(dict, key, value);
    object_unlock(dict);
    return error;
}

static __attribute__((noinline)) int set_short(mp_dict *dict, const char *text, mp_value value)
{
    struct key key;
    int error = check_and_prepare(dict, text, &key);

    return error != 0 ? error : set(dict, &key, &value);
}

/* Finds the entry of a short key whose value is of type `head`, and takes the mutex. NULL: something else was the case, and the mutex is not held.
 * Short, as get_words_at_once() is. */
static inline __attribute__((always_inline)) struct entry *lock_plain(struct object *dict, const char *text,
                                                                      size_t size, uint64_t head)
{
    const struct heap *heap = object_heap(dict);
    struct key key;
    uint64_t version;

    if (size > KEY_INLINE || !object_read_begin(dict, &version))
        return NULL;
    key_prepare_short(heap, MP_STR, text, size, &key);
    struct entry *entry = dict_find_unlocked(heap, dict, &key, true, version);
    if (entry == NULL || !object_read_valid(dict, version) || object_lock(dict, OBJECT_DICT) != 0)
        return NULL;
    if (object_read_valid(dict, version) && dict_get(&entry->value.head) == head)
        return entry;
    object_unlock(dict);
    return NULL;
}

/* A value that is one word, and nothing else, often takes the place of one of its kind. */
static inline __attribute__((always_inline)) int set_plain(mp_dict *handle, const char *text, mp_type type,
                                                           uint64_t body, mp_value value)
{
    if (!object_is(handle, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    struct object *dict = object_of(handle);
    struct entry *entry = lock_plain(dict, text, strlen(text), (uint64_t)type);
    if (entry == NULL)
        return set_short(handle, text, value);
    atomic_store_explicit(&entry->value.body, body, memory_order_release);
    object_unlock(dict);
    return 0;
}

int mp_dict_set_none(mp_dict *dict, const char *key)
{
    return set_short(dict, key, mp_none());
}

int mp_dict_set_bool(mp_dict *dict, const char *key, bool value)
{
    return set_plain(dict, key, MP_BOOL, value, (mp_value){.type = MP_BOOL, .as.boolean = value});
}

int mp_dict_set_int(mp_dict *dict, const char *key, int64_t value)
{
    return set_plain(dict, key, MP_INT, (uint64_t)value, (mp_value){.type = MP_INT, .as.integer = value});
}

int mp_dict_set_float(mp_dict *dict, const char *key, double value)
{
    uint64_t body;

    memcpy(&body, &value, sizeof body);
    return set_plain(dict, key, MP_FLOAT, body, (mp_value){.type = MP_FLOAT, .as.real = value});
}

int mp_dict_set_str(mp_dict *dict, const char *key, const char *text)
{
    return set_short(dict, key, mp_str(text));
}

int mp_dict_set_bytes(mp_dict *dict, const char *key, const void *data, size_t size)
{
    return set_short(dict, key, mp_bytes(data, size));
}

int mp_dict_set_dict(mp_dict *dict, const char *key, mp_dict *value)
{
    return set_short(dict, key, mp_dict_value(value));
}

int mp_dict_set_list(mp_dict *dict, const char *key, mp_list *value)
{
    return set_short(dict, key, mp_list_value(value));
}

int mp_dict_set(mp_dict *dict, mp_value key_value, mp_value value)
{
    struct key key;
    int error = prepare(dict, &key_value, &key);

    return error != 0 ? error : set(dict, &key, &value);
}

/* ---- removing ---- */

/* Takes an entry out and stores its key and value in *key and *value, where these are not NULL. A container that is handed
 * out and was held nowhere else keeps living through its handle. */
static int take(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, mp_value *key, mp_value *value)
{
    struct heap *heap = object_heap(dict);
    mp_value key_copy = mp_none(), value_copied = mp_none();
    int error = key != NULL ? key_read(heap, entry, &key_copy) : 0;

    if (error == 0 && value != NULL)
        error = read_value(heap, entry, &value_copied);
    if (error != 0) {
        mp_value_free(&key_copy);
        return error;
    }
    object_begin(dict);
    dict_take_out(dict, entry, slot, &dict->pending[1], &dict->pending[0]);
    object_commit(dict);
    if (value != NULL && (value_copied.type == MP_DICT || value_copied.type == MP_LIST))
        object_adopt(heap, &dict->pending[0]);
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
    struct object *dict = object_of(handle);
    _Atomic uint64_t *slot;
    int error = object_lock(dict, OBJECT_DICT);

    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, key, &slot);
    error = entry == NULL ? MP_EKEY : take(dict, entry, slot, NULL, value);
    object_unlock(dict);
    return error;
}

int mp_dict_delete(mp_dict *dict, const char *text)
{
    struct key key;
    int error = check_and_prepare(dict, text, &key);

    return error != 0 ? error : remove_key(dict, &key, NULL);
}

int mp_dict_remove(mp_dict *dict, mp_value key_value)
{
    return mp_dict_pop(dict, key_value, NULL);
}

int mp_dict_pop(mp_dict *dict, mp_value key_value, mp_value *value)
{
    struct key key;
    int error = prepare(dict, &key_value, &key);

    return error != 0 ? error : remove_key(dict, &key, value);
}

int mp_dict_pop_default(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    if (value == NULL || !value_is_valid(&fallback))
        return MP_EINVAL;
    int error = mp_dict_pop(dict, key, value);
    return error == MP_EKEY ? value_copy(&fallback, value) : error;
}

/* The slot of an entry that is there. */
static _Atomic uint64_t *slot_of(struct object *dict, const struct entry *entry)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *slot = NULL;
    struct key key;
    mp_value value;

    if (key_read(heap, entry, &value) != 0)
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

        if (dict_get(&entry->sequence) == 0)
            continue;
        _Atomic uint64_t *slot = slot_of(dict, entry);
        return slot == NULL ? MP_ENOMEM : take(dict, entry, slot, key, value);
    }
    return MP_EKEY;
}

int mp_dict_popitem(mp_dict *handle, mp_value *key, mp_value *value)
{
    struct object *dict = object_of(handle);
    int error = object_lock(dict, OBJECT_DICT);

    if (error != 0)
        return error;
    error = take_newest(dict, key, value);
    object_unlock(dict);
    return error;
}

int mp_dict_clear(mp_dict *handle)
{
    struct object *dict = object_of(handle);
    int error = object_lock(dict, OBJECT_DICT);

    if (error != 0)
        return error;
    dict_empty(dict);
    object_unlock(dict);
    return 0;
}

int mp_dict_free(mp_dict *dict)
{
    return dict == NULL ? 0 : object_free(object_of(dict), OBJECT_DICT);
}

/* ---- atomic forms ---- */

static int add_to(struct object *dict, const struct key *key, struct entry *entry, int64_t delta, int64_t *now)
{
    int64_t sum = delta;

    if (entry == NULL) {
        mp_value value = mp_int(delta);
        int error = insert(dict, key, &value);
        if (error != 0)
            return error;
    } else {
        if (dict_get(&entry->value.head) != MP_INT)
            return MP_ETYPE;
        if (__builtin_add_overflow((int64_t)dict_get(&entry->value.body), delta, &sum))
            return MP_EOVERFLOW;
        atomic_store_explicit(&entry->value.body, (uint64_t)sum, memory_order_release);
    }
    if (now != NULL)
        *now = sum;
    return 0;
}

static int add(mp_dict *handle, const struct key *key, int64_t delta, int64_t *now)
{
    struct object *dict = object_of(handle);
    struct entry *entry;
    int error = lock_and_find(dict, key, &entry);

    if (error != 0)
        return error;
    error = add_to(dict, key, entry, delta, now);
    object_unlock(dict);
    return error;
}

static __attribute__((noinline)) int add_short(mp_dict *dict, const char *text, int64_t delta, int64_t *now)
{
    struct key key;
    int error = check_and_prepare(dict, text, &key);

    return error != 0 ? error : add(dict, &key, delta, now);
}

int mp_dict_add_int(mp_dict *handle, const char *text, int64_t delta, int64_t *now)
{
    int64_t sum;

    if (!object_is(handle, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    struct object *dict = object_of(handle);
    struct entry *entry = lock_plain(dict, text, strlen(text), MP_INT);
    if (entry == NULL)
        return add_short(handle, text, delta, now);
    bool over = __builtin_add_overflow((int64_t)dict_get(&entry->value.body), delta, &sum);
    if (!over)
        atomic_store_explicit(&entry->value.body, (uint64_t)sum, memory_order_release);
    object_unlock(dict);
    if (!over && now != NULL)
        *now = sum;
    return over ? MP_EOVERFLOW : 0;
}

int mp_dict_add(mp_dict *dict, mp_value key_value, int64_t delta, int64_t *now)
{
    struct key key;
    int error = prepare(dict, &key_value, &key);

    return error != 0 ? error : add(dict, &key, delta, now);
}

/* The integer under a key, 0 if there is none, plus delta. */
static int sum_of(struct object *dict, const struct key *key, int64_t delta, struct entry **entry, int64_t *sum)
{
    *entry = dict_find(object_heap(dict), dict, key, NULL);
    if (*entry != NULL && dict_get(&(*entry)->value.head) != MP_INT)
        return MP_ETYPE;
    int64_t now = *entry != NULL ? (int64_t)dict_get(&(*entry)->value.body) : 0;
    return __builtin_add_overflow(now, delta, sum) ? MP_EOVERFLOW : 0;
}

/* Stores an integer under a key: part of a change. Room has been made. */
static void put_sum(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, struct entry *entry,
                    int64_t sum)
{
    if (entry != NULL)
        object_set(dict, &entry->value.body, (uint64_t)sum);
    else
        dict_add(dict, key, key_pending, MP_INT, (uint64_t)sum, NULL);
}

static int transfer(struct object *dict, const struct key *from, const struct key *to, int64_t amount)
{
    struct entry *entry[2];
    int64_t sum[2];
    uint64_t hashes[2] = {from->hash, to->hash};
    int error = amount == INT64_MIN ? MP_EOVERFLOW : dict_make_room(dict, hashes, 2);

    if (error == 0)
        error = sum_of(dict, from, -amount, &entry[0], &sum[0]);
    if (error == 0)
        error = sum_of(dict, to, amount, &entry[1], &sum[1]);
    if (error != 0 || (entry[0] != NULL && entry[0] == entry[1]))
        return error;
    if (entry[0] == NULL)
        error = dict_store_key(dict, from, &dict->pending[0]);
    if (error == 0 && entry[1] == NULL)
        error = dict_store_key(dict, to, &dict->pending[1]);
    if (error != 0) {
        object_release_pending(dict);
        return error;
    }
    object_begin(dict);
    put_sum(dict, from, &dict->pending[0], entry[0], sum[0]);
    put_sum(dict, to, &dict->pending[1], entry[1], sum[1]);
    object_commit(dict);
    return 0;
}

int mp_dict_transfer_int(mp_dict *handle, const char *from, const char *to, int64_t amount)
{
    struct object *dict = object_of(handle);
    struct key keys[2];
    int error = check_and_prepare(handle, from, &keys[0]);

    if (error == 0)
        error = check_and_prepare(handle, to, &keys[1]);
    if (error == 0)
        error = object_lock(dict, OBJECT_DICT);
    if (error != 0)
        return error;
    /* To itself is nothing, though the key is to be there afterwards. */
    bool same = keys[0].hash == keys[1].hash && strcmp(from, to) == 0;
    error = same ? add_to(dict, &keys[0], dict_find(object_heap(dict), dict, &keys[0], NULL), 0, NULL)
                 : transfer(dict, &keys[0], &keys[1], amount);
    object_unlock(dict);
    return error;
}

/* Inserts, and stores a copy of the value in *copy unless that is NULL: made first, as nothing may fail after the insertion. */
static int insert_and_copy(struct object *dict, const struct key *key, const mp_value *value, mp_value *copy)
{
    mp_value made = mp_none();
    int error = copy != NULL ? value_copy(value, &made) : 0;

    if (error == 0)
        error = insert(dict, key, value);
    if (error != 0)
        mp_value_free(&made);
    else if (copy != NULL)
        *copy = made;
    return error;
}

int mp_dict_setdefault(mp_dict *handle, mp_value key_value, mp_value fallback, mp_value *value)
{
    struct object *dict = object_of(handle);
    struct key key;
    int error = prepare(handle, &key_value, &key);

    if (error == 0)
        error = value_check(object_heap(dict), &fallback);
    if (error == 0)
        error = object_lock(dict, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry == NULL)
        error = insert_and_copy(dict, &key, &fallback, value);
    else if (value != NULL)
        error = read_value(object_heap(dict), entry, value);
    object_unlock(dict);
    return error;
}

int mp_dict_compare_and_swap(mp_dict *handle, mp_value key_value, mp_value expected, mp_value desired)
{
    struct object *dict = object_of(handle);
    struct key key;
    int error = prepare(handle, &key_value, &key);

    if (error == 0)
        error = value_check(object_heap(dict), &desired);
    if (error == 0)
        error = value_check(object_heap(dict), &expected);
    if (error == 0)
        error = object_lock(dict, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry == NULL) {
        error = MP_EKEY;
    } else {
        mp_value now = cell_view(object_heap(dict), &entry->value);
        error = value_same(&now, &expected) ? replace(dict, entry, &desired) : MP_ECHANGED;
    }
    object_unlock(dict);
    return error;
}

/* The value's words go from one entry to the other; what was there goes to pending ref 0. */
static int move(struct object *dict, const struct key *from, const struct key *to)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *slot = NULL;
    int error = dict_make_room(dict, &to->hash, 1);

    if (error != 0)
        return error;
    struct entry *source = dict_find(heap, dict, from, &slot), *target = dict_find(heap, dict, to, NULL);
    if (source == NULL || source == target)
        return source == NULL ? MP_EKEY : 0;
    if (target == NULL) {
        error = dict_store_key(dict, to, &dict->pending[2]);
        if (error != 0)
            return error;
    }
    uint64_t head = dict_get(&source->value.head), body = dict_get(&source->value.body);
    object_begin(dict);
    if (target == NULL) {
        dict_add(dict, to, &dict->pending[2], head, body, &dict->pending[3]);
    } else {
        if (dict_get(&target->value.head) & CELL_OWNS)
            object_set(dict, &dict->pending[0], dict_get(&target->value.body));
        object_set(dict, &target->value.head, head);
        object_set(dict, &target->value.body, body);
    }
    object_set(dict, &source->value.head, MP_NONE);
    dict_take_out(dict, source, slot, &dict->pending[1], &dict->pending[3]);
    object_commit(dict);
    object_release_pending(dict);
    return 0;
}

int mp_dict_move(mp_dict *handle, mp_value from, mp_value to)
{
    struct object *dict = object_of(handle);
    struct key keys[2];
    int error = prepare(handle, &from, &keys[0]);

    if (error == 0)
        error = prepare(handle, &to, &keys[1]);
    if (error == 0)
        error = object_lock(dict, OBJECT_DICT);
    if (error != 0)
        return error;
    error = move(dict, &keys[0], &keys[1]);
    object_unlock(dict);
    return error;
}

int mp_dict_apply(mp_dict *handle, mp_value key_value, mp_dict_function *function, void *arg)
{
    struct object *dict = object_of(handle);
    mp_value before = mp_none();
    struct key key;
    int error = function == NULL ? MP_EINVAL : prepare(handle, &key_value, &key);

    if (error == 0)
        error = object_lock(dict, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry != NULL)
        error = read_value(object_heap(dict), entry, &before);
    if (error == 0) {
        mp_value value = before;
        struct callback callback;

        value.owned = NULL;
        object_callback_begin(&callback, dict);
        error = function(&value, entry != NULL, arg);
        object_callback_end(&callback);
        if (error == 0)
            error = value_check(object_heap(dict), &value);
        if (error == 0)
            error = store(dict, &key, &value);
    }
    object_unlock(dict);
    mp_value_free(&before);
    return error;
}

/* ---- whole dicts ---- */

/* Builds the keys and values of `items` in a block of entries that pending ref 0 owns, so that storing them cannot fail. Each
 * entry counts, for whoever has to release it, before it owns anything. */
static int stage(struct object *dict, const struct snapshot *items)
{
    struct heap *heap = object_heap(dict);
    int error = heap_alloc(heap, 16 + items->count * sizeof(struct entry), &dict->pending[0]);

    if (error != 0)
        return error;
    _Atomic uint64_t *block = heap_at(heap, dict_get(&dict->pending[0]));
    struct entry *staged = (struct entry *)(block + 2);
    memset(block, 0, 16 + items->count * sizeof(struct entry));
    atomic_store(&block[0], items->count);
    undo_order();
    atomic_store(&dict->pending[0], dict_get(&dict->pending[0]) | REF_ENTRIES);
    for (size_t i = 0; i < items->count; i++) {
        struct key key;
        uint64_t head, body;

        atomic_store(&staged[i].key_head, CELL_OWNS);
        atomic_store(&staged[i].value.head, CELL_OWNS);
        atomic_store(&staged[i].sequence, 1);
        error = key_prepare(heap, &items->item[i].key, &key);
        if (error == 0)
            error = value_check(heap, &items->item[i].value);
        if (error == 0)
            error = dict_store_key(dict, &key, &staged[i].key_body);
        if (error == 0)
            error = cell_build(dict, &items->item[i].value, &staged[i].value.body, &head, &body);
        if (error != 0)
            return error;
        atomic_store(&staged[i].value.head, head);
        undo_order();
        atomic_store(&staged[i].value.body, body);
    }
    return 0;
}

/* Words that storing one staged entry changes, at the most. */
#define UPDATE_WORDS (DICT_ADD_WORDS + 4)

/* Part of a change: a staged entry's value goes into the dict. The staged entry then owns what was there before, or nothing. */
static void put_staged(struct object *dict, const mp_value *key_value, struct entry *staged)
{
    struct heap *heap = object_heap(dict);
    uint64_t head = dict_get(&staged->value.head), body = dict_get(&staged->value.body);
    struct key key;

    key_prepare(heap, key_value, &key);
    struct entry *entry = dict_find(heap, dict, &key, NULL);
    if (entry != NULL) {
        object_set(dict, &staged->value.head, dict_get(&entry->value.head));
        object_set(dict, &staged->value.body, dict_get(&entry->value.body));
        object_set(dict, &entry->value.head, head);
        object_set(dict, &entry->value.body, body);
        return;
    }
    dict_add(dict, &key, &staged->key_body, head, body, &staged->value.body);
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
        error = dict_make_room(dict, hashes, items->count);
    free(hashes);
    return error;
}

/* All or none. */
static int update(struct object *dict, const struct snapshot *items)
{
    int error = make_room_for(dict, items);

    if (error == 0)
        error = stage(dict, items);
    if (error == 0)
        error = object_reserve_undo(dict, items->count * UPDATE_WORDS);
    if (error == 0) {
        struct entry *staged = heap_at(object_heap(dict), (dict_get(&dict->pending[0]) & ~REF_MASK) + 16);

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
    struct object *dict = object_of(handle);
    struct snapshot items;

    if (!object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    int error = snapshot_take(object_of(other), OBJECT_DICT, &items);
    if (error != 0)
        return error;
    error = object_lock(dict, OBJECT_DICT);
    if (error == 0) {
        error = items.count > 0 ? update(dict, &items) : 0;
        object_unlock(dict);
    }
    snapshot_free(&items);
    return error;
}

/* Makes a new container out of a dict's content while its mutex is held, in pending ref 1, which owns it until it is whole. */
typedef int maker(struct object *dict, const struct snapshot *items, struct object **result);

static int derive(mp_dict *handle, maker *make, struct object **result)
{
    struct object *dict = object_of(handle);
    struct snapshot items;
    int error = object_lock(dict, OBJECT_DICT);

    if (error != 0)
        return error;
    error = snapshot_take_locked(dict, &items);
    if (error == 0) {
        error = make(dict, &items, result);
        if (error == 0)
            object_adopt(object_heap(dict), &dict->pending[1]);
        object_release_pending(dict);
        snapshot_free(&items);
    }
    object_unlock(dict);
    return error;
}

static int make_copy(struct object *dict, const struct snapshot *items, struct object **result)
{
    int error = object_create_in(object_heap(dict), OBJECT_DICT, &dict->pending[1], result);

    if (error != 0 || items->count == 0)
        return error;
    error = object_lock(*result, OBJECT_DICT);
    if (error == 0) {
        error = update(*result, items);
        mutex_unlock(&(*result)->mutex); /* what died meanwhile is buried when the source is unlocked */
    }
    return error;
}

int mp_dict_copy(mp_dict *dict, mp_dict **copy)
{
    struct object *result = NULL;
    int error = copy == NULL ? MP_EINVAL : derive(dict, make_copy, &result);

    if (error == 0)
        *copy = (mp_dict *)result;
    return error;
}

static int make_keys(struct object *dict, const struct snapshot *items, struct object **result)
{
    int error = list_from_values(dict, &dict->pending[1], items->item != NULL ? &items->item[0].key : NULL,
                                 sizeof items->item[0], items->count);

    *result = heap_at(object_heap(dict), dict_get(&dict->pending[1]) & ~REF_MASK);
    return error;
}

static int make_values(struct object *dict, const struct snapshot *items, struct object **result)
{
    int error = list_from_values(dict, &dict->pending[1], items->item != NULL ? &items->item[0].value : NULL,
                                 sizeof items->item[0], items->count);

    *result = heap_at(object_heap(dict), dict_get(&dict->pending[1]) & ~REF_MASK);
    return error;
}

static int make_items(struct object *dict, const struct snapshot *items, struct object **result)
{
    struct heap *heap = object_heap(dict);
    int error = list_from_values(dict, &dict->pending[1], NULL, 0, 0);

    for (size_t i = 0; error == 0 && i < items->count; i++) {
        error = list_from_values(dict, &dict->pending[2], &items->item[i].key, sizeof(mp_value), 2);
        if (error == 0) {
            mp_list *pair = heap_at(heap, dict_get(&dict->pending[2]) & ~REF_MASK);
            error = mp_list_append_list(heap_at(heap, dict_get(&dict->pending[1]) & ~REF_MASK), pair);
        }
        ref_release(heap, &dict->pending[2]);
    }
    *result = heap_at(heap, dict_get(&dict->pending[1]) & ~REF_MASK);
    return error;
}

int mp_dict_keys(mp_dict *dict, mp_list **keys)
{
    struct object *result = NULL;
    int error = keys == NULL ? MP_EINVAL : derive(dict, make_keys, &result);

    if (error == 0)
        *keys = (mp_list *)result;
    return error;
}

int mp_dict_values(mp_dict *dict, mp_list **values)
{
    struct object *result = NULL;
    int error = values == NULL ? MP_EINVAL : derive(dict, make_values, &result);

    if (error == 0)
        *values = (mp_list *)result;
    return error;
}

int mp_dict_items(mp_dict *dict, mp_list **items)
{
    struct object *result = NULL;
    int error = items == NULL ? MP_EINVAL : derive(dict, make_items, &result);

    if (error == 0)
        *items = (mp_list *)result;
    return error;
}
