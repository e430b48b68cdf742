/* Dicts: operations that take two steps in Python, where they are a race, in one atomic step. */
#include <string.h>

#include "base/word.h"
#include "dict/dict_entry.h"
#include "object/callback.h"

static int add_to(struct object *dict, const struct key *key, struct entry *entry, int64_t delta, int64_t *now)
{
    int64_t sum = delta;

    if (entry == NULL) {
        mp_value value = mp_value_int(delta);
        int error = dict_insert(dict, key, &value);
        if (error != 0)
            return error;
    } else {
        if (word_get(&entry->value.head) != MP_INT)
            return MP_ETYPE;
        if (__builtin_add_overflow((int64_t)word_get(&entry->value.body), delta, &sum))
            return MP_EOVERFLOW;
        atomic_store_explicit(&entry->value.body, (uint64_t)sum, memory_order_release);
    }
    if (now != NULL)
        *now = sum;
    return 0;
}

static __attribute__((noinline)) int add_looked(mp_dict *handle, const struct key *key, const struct look *look,
                                                int64_t delta, int64_t *now)
{
    struct object *dict = dict_object(handle);
    struct entry *entry;
    int error = dict_lock_and_find(handle, key, look, &entry);

    if (error != 0)
        return error;
    error = add_to(dict, key, entry, delta, now);
    object_unlock(dict);
    return error;
}

static __attribute__((noinline)) int add(mp_dict *handle, const struct key *key, int64_t delta, int64_t *now)
{
    struct look look = dict_look(dict_object(handle), key);

    return add_looked(handle, key, &look, delta, now);
}

static __attribute__((noinline)) int add_short(mp_dict *dict, const char *text, int64_t delta, int64_t *now)
{
    struct key key;
    int error = dict_prepare_text(dict, text, &key);

    return error != 0 ? error : add(dict, &key, delta, now);
}

/* Like set_plain() in dict.c. */
int mp_dict_add_int(mp_dict *handle, const char *text, int64_t delta, int64_t *now)
{
    int64_t sum;

    if (!object_is(handle, OBJECT_DICT) || text == NULL)
        return MP_EINVAL;
    struct object *dict = dict_object(handle);
    size_t size = strlen(text);
    if (size > KEY_INLINE)
        return add_short(handle, text, delta, now);
    struct key key;
    key_prepare_short(object_heap(dict), MP_STR, text, size, &key);
    struct look look = dict_look_short(dict, &key);
    pthread_mutex_t *guard = dict_lock_plain(handle, key.hash, &look, MP_INT);
    if (guard == NULL) {
        struct key key_seen = key;
        struct look look_seen = look;

        return add_looked(handle, &key_seen, &look_seen, delta, now);
    }
    bool over = __builtin_add_overflow((int64_t)word_get(&look.entry->value.body), delta, &sum);
    if (!over)
        atomic_store_explicit(&look.entry->value.body, (uint64_t)sum, memory_order_release);
    stripes_unguard(dict, guard);
    if (!over && now != NULL)
        *now = sum;
    return over ? MP_EOVERFLOW : 0;
}

int mp_dict_add(mp_dict *dict, mp_value key_value, int64_t delta, int64_t *now)
{
    struct key key;
    int error = dict_prepare(dict, &key_value, &key);

    return error != 0 ? error : add(dict, &key, delta, now);
}

/* Computes the integer under a key, 0 if there is none, plus delta. */
static int sum_of(struct object *dict, const struct key *key, int64_t delta, struct entry **entry, int64_t *sum)
{
    *entry = dict_find(object_heap(dict), dict, key, NULL);
    if (*entry != NULL && word_get(&(*entry)->value.head) != MP_INT)
        return MP_ETYPE;
    int64_t now = *entry != NULL ? (int64_t)word_get(&(*entry)->value.body) : 0;
    return __builtin_add_overflow(now, delta, sum) ? MP_EOVERFLOW : 0;
}

/* Stores an integer under a key. Room has been made. Part of a change. */
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
    int error = amount == INT64_MIN ? MP_EOVERFLOW : dict_reserve(dict, hashes, 2);

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
    struct object *dict = dict_object(handle);
    struct key keys[2];
    int error = dict_prepare_text(handle, from, &keys[0]);

    if (error == 0)
        error = dict_prepare_text(handle, to, &keys[1]);
    if (error == 0)
        error = object_lock(handle, OBJECT_DICT);
    if (error != 0)
        return error;
    /* A transfer to the same key changes nothing, but the key must exist afterwards. */
    bool same = keys[0].hash == keys[1].hash && strcmp(from, to) == 0;
    error = same ? add_to(dict, &keys[0], dict_find(object_heap(dict), dict, &keys[0], NULL), 0, NULL)
                 : transfer(dict, &keys[0], &keys[1], amount);
    object_unlock(dict);
    return error;
}

/* Inserts, and stores a copy of the value in *copy unless that is NULL. The copy is made first, as nothing may fail
 * after the insertion. */
static int insert_and_copy(struct object *dict, const struct key *key, const mp_value *value, mp_value *copy)
{
    mp_value made = mp_value_none();
    int error = copy != NULL ? value_copy(value, &made) : 0;

    if (error == 0)
        error = dict_insert(dict, key, value);
    if (error != 0)
        mp_value_free(&made);
    else if (copy != NULL)
        *copy = made;
    return error;
}

/* Reads a value for the user, under the mutex. A container is held. */
static int read_held(const struct heap *heap, const struct entry *entry, mp_value *value)
{
    mp_value found;
    int error = cell_value(heap, &entry->value, &found);

    if (error == 0)
        error = value_hold(&found);
    if (error == 0)
        *value = found;
    return error;
}

int mp_dict_setdefault(mp_dict *handle, mp_value key_value, mp_value fallback, mp_value *value)
{
    struct object *dict = dict_object(handle);
    struct key key;
    int error = dict_prepare(handle, &key_value, &key);

    if (error == 0)
        error = value_check(object_heap(dict), &fallback);
    if (error == 0)
        error = object_lock(handle, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry == NULL)
        error = insert_and_copy(dict, &key, &fallback, value);
    else if (value != NULL)
        error = read_held(object_heap(dict), entry, value);
    object_unlock(dict);
    return error;
}

int mp_dict_compare_and_swap(mp_dict *handle, mp_value key_value, mp_value expected, mp_value desired)
{
    struct object *dict = dict_object(handle);
    struct key key;
    int error = dict_prepare(handle, &key_value, &key);

    if (error == 0)
        error = value_check(object_heap(dict), &desired);
    if (error == 0)
        error = value_check(object_heap(dict), &expected);
    if (error == 0)
        error = object_lock(handle, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry == NULL) {
        error = MP_EKEY;
    } else {
        mp_value now = cell_view(object_heap(dict), &entry->value);
        error = value_same(&now, &expected) ? cell_replace(dict, &entry->value, &desired) : MP_ECHANGED;
    }
    object_unlock(dict);
    return error;
}

/* Moves the value's words from one entry to the other. The other entry's old value goes to pending ref 0. If the keys
 * are equal, the other entry is a new one, too: as in Python the entry becomes the newest, and its key is `to`. */
static int move(struct object *dict, const struct key *from, const struct key *to)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *slot = NULL;
    struct entry *source = dict_find(heap, dict, from, NULL), *target = dict_find(heap, dict, to, NULL);
    int error = 0;

    if (source == NULL)
        return MP_EKEY;
    if (target == source)
        target = NULL;
    if (target == NULL) {
        error = dict_reserve(dict, &to->hash, 1); /* this may move entries */
        if (error == 0)
            error = dict_store_key(dict, to, &dict->pending[2]);
        if (error != 0)
            return error;
    }
    source = dict_find(heap, dict, from, &slot);
    uint64_t head = word_get(&source->value.head), body = word_get(&source->value.body);
    object_begin(dict);
    if (target == NULL) {
        dict_add(dict, to, &dict->pending[2], head, body, &dict->pending[3]);
    } else {
        if (word_get(&target->value.head) & CELL_OWNS)
            object_set(dict, &dict->pending[0], word_get(&target->value.body));
        object_set(dict, &target->value.head, head);
        object_set(dict, &target->value.body, body);
    }
    object_set(dict, &source->value.head, MP_NONE);
    dict_take_out(dict, source, slot, &dict->pending[1], &dict->pending[3]);
    object_commit(dict);
    object_release_pending(dict);
    dict_shrink(dict);
    return 0;
}

int mp_dict_move(mp_dict *handle, mp_value from, mp_value to)
{
    struct object *dict = dict_object(handle);
    struct key keys[2];
    int error = dict_prepare(handle, &from, &keys[0]);

    if (error == 0)
        error = dict_prepare(handle, &to, &keys[1]);
    if (error == 0)
        error = object_lock(handle, OBJECT_DICT);
    if (error != 0)
        return error;
    error = move(dict, &keys[0], &keys[1]);
    object_unlock(dict);
    return error;
}

/* A call of the user's function on a value. */
struct application {
    struct object *dict;
    mp_value before; /* the old value; entry and mutex keep a container alive */
    mp_value value;  /* the function's result */
    bool called, foreign;
};

/* Runs however the user's function is left, also by a C++ exception or the end of the thread. */
static void leave(struct application *application)
{
    if (application->called && !callback_end(application->dict))
        application->foreign = true;
    if (!application->foreign)
        object_unlock(application->dict);
    mp_value_free(&application->before);
}

/* Stores the function's result. A child forked inside the function returns from it too, but holds nothing. */
static int finish(struct application *application, const struct key *key)
{
    struct object *dict = application->dict;

    application->called = false;
    application->foreign = !callback_end(dict);
    if (application->foreign)
        return MP_EFOREIGN;
    int error = value_check(object_heap(dict), &application->value);
    return error != 0 ? error : dict_store(dict, key, &application->value);
}

int mp_dict_apply(mp_dict *handle, mp_value key_value, mp_dict_function *function, void *arg)
{
    struct object *dict = dict_object(handle);
    mp_value before = mp_value_none();
    struct key key;
    int error = function == NULL ? MP_EINVAL : dict_prepare(handle, &key_value, &key);

    if (error == 0)
        error = object_lock(handle, OBJECT_DICT);
    if (error != 0)
        return error;
    struct entry *entry = dict_find(object_heap(dict), dict, &key, NULL);
    if (entry != NULL)
        error = cell_value(object_heap(dict), &entry->value, &before);
    struct application application __attribute__((cleanup(leave))) = {.dict = dict, .before = before};
    if (error == 0)
        error = callback_begin(dict);
    if (error != 0)
        return error;
    application.called = true;
    application.value = before;
    application.value.owned = NULL;
    error = function(&application.value, entry != NULL, arg);
    return error != 0 ? error : finish(&application, &key);
}
