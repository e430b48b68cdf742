/* Lists: reading and changing one element. How cells lie in memory is in list_place.h. */
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "list/list_table.h"
#include "object/hold.h"
#include "value/access.h"

/* ---- reading ---- */

ACCESS_INLINE int find_words(const struct reading *reading, const void *locator, struct words *words)
{
    const struct object *list = reading->object;
    const int64_t *index = locator;
    struct list_shape shape;
    struct list_place place;
    uint64_t cell[2], at;

    if ((reading->version & 1) == 0) {
        int error = list_find(list, *index, &place);

        if (error == 0)
            *words = cell_words(place.cell);
        return error;
    }
    object_read_words(reading, &list->word[LIST_START], LIST_WORDS, &shape.start);
    if (!list_find_index(*index, shape.length, &at))
        return MP_EINDEX;
    if (!list_read_element(reading, &shape, at, cell))
        return MP_ECORRUPT;
    *words = (struct words){cell[0], cell[1]};
    return 0;
}

static __attribute__((noinline)) int get_words_slow(mp_list *list, int64_t index, struct words *words)
{
    return access_words(list, OBJECT_LIST, find_words, &index, words);
}

/* Fast path: the list is not being changed. False: take the slow path. Kept short and call-free, like the fast paths in
 * dict.c. */
static inline __attribute__((always_inline)) bool get_fast(const mp_list *handle, int64_t index, struct words *words,
                                                           int *error)
{
    const struct object *list = object_of(handle);
    struct list_place place;
    uint64_t version;

    /* Read the version first. If the place is reused for another list meanwhile, its version differs. */
    if (!object_read_begin(list, &version) || !object_is_fast(handle, OBJECT_LIST))
        return false;
    *error = list_find(list, index, &place);
    if (*error == 0)
        *words = cell_words(place.cell);
    return object_read_valid(list, version); /* freeing a list changes its version before its content goes */
}

/* The two words of an element. */
static inline __attribute__((always_inline)) int get_words(mp_list *list, int64_t index, struct words *words)
{
    struct words slow;
    int error;

    if (!object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    if (get_fast(list, index, words, &error))
        return error;
    error = get_words_slow(list, index, &slow);
    if (error == 0)
        *words = slow;
    return error;
}

static __attribute__((noinline)) int get_value(mp_list *list, int64_t index, int type, mp_value *value)
{
    return access_value(list, OBJECT_LIST, find_words, &index, type, value);
}

int mp_list_get(mp_list *list, int64_t index, mp_value *value)
{
    struct words words;
    mp_value found;
    int error = value == NULL ? MP_EINVAL : get_words(list, index, &words);

    if (error != 0)
        return error;
    if (words.head == MP_INT) {
        cell_int(words.body, value);
        return 0;
    }
    /* A value that owns something needs another read, whose words and content belong together. */
    if (words.head & CELL_OWNS)
        return get_value(list, index, ACCESS_ANY, value);
    error = cell_read(object_heap(list_object(list)), words.head, words.body, &found);
    if (error == 0)
        *value = found;
    return error;
}

/* Inlined, so that a constant `type` leaves one case. */
static inline __attribute__((always_inline)) int get(mp_list *list, int64_t index, mp_type type, void *value)
{
    struct words words;
    int error = value == NULL ? MP_EINVAL : get_words(list, index, &words);

    return error != 0 ? error : access_convert(object_heap(list_object(list)), words, type, value);
}

int mp_list_get_bool(mp_list *list, int64_t index, bool *value)
{
    return get(list, index, MP_BOOL, value);
}

int mp_list_get_int(mp_list *list, int64_t index, int64_t *value)
{
    return get(list, index, MP_INT, value);
}

int mp_list_get_float(mp_list *list, int64_t index, double *value)
{
    return get(list, index, MP_FLOAT, value);
}

int mp_list_get_dict(mp_list *list, int64_t index, mp_dict **value)
{
    return get(list, index, MP_DICT, value);
}

int mp_list_get_list(mp_list *list, int64_t index, mp_list **value)
{
    return get(list, index, MP_LIST, value);
}

static int get_bytes(mp_list *list, int64_t index, mp_type type, void *buffer, size_t size, size_t *length)
{
    struct staged_bytes staged;
    struct words words;
    int error = buffer == NULL && size > 0 ? MP_EINVAL : get_words(list, index, &words);

    if (error != 0)
        return error;
    if (cell_has_block(words.head))
        return access_bytes(list, OBJECT_LIST, find_words, &index, type, buffer, size, length);
    staged_begin(&staged, type, size);
    error = cell_stage_bytes(object_heap(list_object(list)), words.head, words.body, &staged);
    return staged_end(&staged, error, buffer, length);
}

int mp_list_get_str(mp_list *list, int64_t index, char *buffer, size_t size, size_t *length)
{
    return get_bytes(list, index, MP_STR, buffer, size, length);
}

int mp_list_get_bytes(mp_list *list, int64_t index, void *buffer, size_t size, size_t *length)
{
    return get_bytes(list, index, MP_BYTES, buffer, size, length);
}

static int hold_container(mp_list *list, int64_t index, mp_type type, void **container)
{
    mp_value value;
    int error = container == NULL ? MP_EINVAL : get_value(list, index, (int)type, &value);

    if (error == 0)
        *container = value.as.dict;
    return error;
}

int mp_list_hold_dict(mp_list *list, int64_t index, mp_dict **value)
{
    return hold_container(list, index, MP_DICT, (void **)value);
}

int mp_list_hold_list(mp_list *list, int64_t index, mp_list **value)
{
    return hold_container(list, index, MP_LIST, (void **)value);
}

int mp_list_hold(mp_list *list)
{
    return hold_take(list, OBJECT_LIST);
}

int mp_list_length(mp_list *list, size_t *length)
{
    return length == NULL ? MP_EINVAL : access_word(list, OBJECT_LIST, LIST_LENGTH, length);
}

/* ---- one element ---- */

/* Stores a value in a cell next to the range in use, which then becomes part of the range: `start` is the new start. */
static int add_at(struct object *list, uint64_t position, uint64_t start, const mp_value *value)
{
    uint64_t head, body;
    int error = cell_build(list, value, &list->pending[0], &head, &body);

    if (error != 0)
        return error;
    struct cell *cell = list_cell_at(object_heap(list), word_get(&list->root[0]), position);
    object_begin(list);
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
    if (start != word_get(&list->word[LIST_START])) {
        object_set(list, &list->word[LIST_START], start);
        if (word_get(&list->word[LIST_GAP]) != 0)
            object_set(list, &list->word[LIST_GAP], word_get(&list->word[LIST_GAP]) + 1);
    }
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + 1);
    if (head & CELL_OWNS)
        object_set(list, &list->pending[0], 0);
    object_commit(list);
    return 0;
}

static int append_one(struct object *list, const mp_value *value)
{
    int error = list_reserve(list, 1);

    if (error != 0)
        return error;
    return add_at(list, list_position(list, list_length_of(list)), word_get(&list->word[LIST_START]), value);
}

int mp_list_append(mp_list *list, mp_value value)
{
    int error = list_lock_alone(list, &value);

    if (error != 0)
        return error;
    error = append_one(list_object(list), &value);
    object_unlock(list_object(list));
    return error;
}

int mp_list_append_none(mp_list *list)
{
    return mp_list_append(list, mp_value_none());
}

int mp_list_append_bool(mp_list *list, bool value)
{
    return mp_list_append(list, mp_value_bool(value));
}

int mp_list_append_int(mp_list *list, int64_t value)
{
    return mp_list_append(list, mp_value_int(value));
}

int mp_list_append_float(mp_list *list, double value)
{
    return mp_list_append(list, mp_value_float(value));
}

int mp_list_append_str(mp_list *list, const char *text)
{
    return mp_list_append(list, mp_value_str(text));
}

int mp_list_append_bytes(mp_list *list, const void *data, size_t size)
{
    return mp_list_append(list, mp_value_bytes(data, size));
}

int mp_list_append_dict(mp_list *list, mp_dict *value)
{
    return mp_list_append(list, mp_value_dict(value));
}

int mp_list_append_list(mp_list *list, mp_list *value)
{
    return mp_list_append(list, mp_value_list(value));
}

/* ---- replacing an element ---- */

/* Takes the list's mutex and the stripe of the cell that an index leads to. First checks that `value`, if it is not
 * NULL, may be stored in the list. */
static int lock_cell(mp_list *handle, int64_t index, const mp_value *value, struct cell **cell)
{
    struct object *list = list_object(handle);
    struct list_place place;
    int error = list_lock_alone(handle, value);

    if (error != 0)
        return error;
    error = list_find(list, index, &place);
    if (error == 0)
        error = stripes_hold_one(list, list_stripe(list, &place));
    if (error != 0)
        object_unlock(list);
    else
        *cell = place.cell;
    return error;
}

/* Takes the lock that lets the caller replace the body of the cell that an index leads to, whose head is `head`: the
 * cell's stripe, or the mutex if the list has no stripes. Returns that lock. NULL: the fast path does not apply, and
 * nothing is held. */
static inline __attribute__((always_inline)) pthread_mutex_t *guard_plain(mp_list *handle, int64_t index, uint64_t head,
                                                                          struct cell **cell)
{
    struct object *list = list_object(handle);
    struct list_place place;
    uint64_t version;

    if (index < 0 || !object_read_begin(list, &version) || list_find(list, index, &place) != 0)
        return NULL;
    *cell = place.cell;
    return stripes_guard(list, object_magic(handle, OBJECT_LIST), version, list_stripe(list, &place), &place.cell->head,
                         head);
}

static __attribute__((noinline)) int set_slow(mp_list *list, int64_t index, mp_value value)
{
    struct cell *cell;
    int error = lock_cell(list, index, &value, &cell);

    if (error != 0)
        return error;
    error = cell_replace(list_object(list), cell, &value);
    object_unlock(list_object(list));
    return error;
}

/* Slow path of set_plain(). The mp_value is built only here, so that the fast path does without. */
static __attribute__((noinline)) int set_plain_slow(mp_list *list, int64_t index, mp_type type, uint64_t body)
{
    mp_value value;

    cell_number((uint64_t)type, body, &value);
    return set_slow(list, index, value);
}

/* Sets a value that is one word. Fast path: the element has the same type. */
static inline __attribute__((always_inline)) int set_plain(mp_list *handle, int64_t index, mp_type type, uint64_t body)
{
    struct object *list = list_object(handle);
    struct cell *cell;

    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    pthread_mutex_t *guard = guard_plain(handle, index, (uint64_t)type, &cell);
    if (guard == NULL)
        return set_plain_slow(handle, index, type, body);
    atomic_store_explicit(&cell->body, body, memory_order_release);
    stripes_unguard(list, guard);
    return 0;
}

int mp_list_set(mp_list *list, int64_t index, mp_value value)
{
    uint64_t head, body;

    if (cell_plain(&value, &head, &body))
        return set_plain(list, index, value.type, body);
    return set_slow(list, index, value);
}

int mp_list_set_int(mp_list *list, int64_t index, int64_t value)
{
    return set_plain(list, index, MP_INT, (uint64_t)value);
}

int mp_list_set_float(mp_list *list, int64_t index, double value)
{
    uint64_t body;

    memcpy(&body, &value, sizeof body);
    return set_plain(list, index, MP_FLOAT, body);
}

int mp_list_set_str(mp_list *list, int64_t index, const char *text)
{
    return set_slow(list, index, mp_value_str(text));
}

/* The caller holds the lock that guards the cell. */
static inline int add_to(struct cell *cell, int64_t delta, int64_t *sum)
{
    if (__builtin_add_overflow((int64_t)word_get(&cell->body), delta, sum))
        return MP_EOVERFLOW;
    atomic_store_explicit(&cell->body, (uint64_t)*sum, memory_order_release);
    return 0;
}

static __attribute__((noinline)) int add_slow(mp_list *list, int64_t index, int64_t delta, int64_t *now)
{
    struct cell *cell;
    int64_t sum = 0;
    int error = lock_cell(list, index, NULL, &cell);

    if (error != 0)
        return error;
    error = word_get(&cell->head) == MP_INT ? add_to(cell, delta, &sum) : MP_ETYPE;
    object_unlock(list_object(list));
    if (error == 0 && now != NULL)
        *now = sum;
    return error;
}

int mp_list_add_int(mp_list *handle, int64_t index, int64_t delta, int64_t *now)
{
    struct object *list = list_object(handle);
    struct cell *cell;
    int64_t sum;

    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    pthread_mutex_t *guard = guard_plain(handle, index, MP_INT, &cell);
    if (guard == NULL)
        return add_slow(handle, index, delta, now);
    int error = add_to(cell, delta, &sum);
    stripes_unguard(list, guard);
    if (error == 0 && now != NULL)
        *now = sum;
    return error;
}

static int swap_slow(mp_list *handle, int64_t index, const mp_value *expected, const mp_value *desired)
{
    struct object *list = list_object(handle);
    struct cell *cell;
    int error = lock_cell(handle, index, desired, &cell);

    if (error != 0)
        return error;
    mp_value now = cell_view(object_heap(list), cell);
    error = value_same(&now, expected) ? cell_replace(list, cell, desired) : MP_ECHANGED;
    object_unlock(list);
    return error;
}

/* Whether a stored number, bool or none equals a value. */
static bool plain_equals(uint64_t head, uint64_t body, const mp_value *value)
{
    mp_value stored;

    if (head == MP_INT && value->type == MP_INT)
        return body == (uint64_t)value->as.integer;
    cell_number(head, body, &stored);
    return value_same(&stored, value);
}

int mp_list_compare_and_swap(mp_list *handle, int64_t index, mp_value expected, mp_value desired)
{
    struct object *list = list_object(handle);
    uint64_t head, body;
    struct cell *cell;
    pthread_mutex_t *guard = NULL;

    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    int error = value_check(object_heap(list), &desired);
    if (error == 0)
        error = value_check(object_heap(list), &expected);
    if (error != 0)
        return error;
    if (cell_plain(&desired, &head, &body))
        guard = guard_plain(handle, index, head, &cell);
    if (guard == NULL)
        return swap_slow(handle, index, &expected, &desired);
    bool same = plain_equals(head, word_get(&cell->body), &expected);
    if (same)
        atomic_store_explicit(&cell->body, body, memory_order_release);
    stripes_unguard(list, guard);
    return same ? 0 : MP_ECHANGED;
}

/* ---- inserting and removing ---- */

static int prepend_one(struct object *list, const mp_value *value)
{
    int error = list_reserve_front(list);
    uint64_t start = word_get(&list->word[LIST_START]);

    return error != 0 ? error : add_at(list, start - 1, start - 1, value);
}

/* Inserts in the middle: the value goes to the first cell of the gap. */
static int fill_gap(struct object *list, uint64_t at, const mp_value *value)
{
    uint64_t head, body;
    int error = list_open(list, at, 1);

    if (error == 0)
        error = cell_build(list, value, &list->pending[0], &head, &body);
    if (error != 0)
        return error;
    struct cell *cell =
        list_cell_at(object_heap(list), word_get(&list->root[0]), word_get(&list->word[LIST_START]) + at);
    uint64_t left = word_get(&list->word[LIST_GAP_SIZE]) - 1;
    object_begin(list);
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
    object_set(list, &list->word[LIST_GAP], left > 0 ? 1 + at + 1 : 0);
    object_set(list, &list->word[LIST_GAP_SIZE], left);
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + 1);
    if (head & CELL_OWNS)
        object_set(list, &list->pending[0], 0);
    object_commit(list);
    return 0;
}

static int insert_at(struct object *list, uint64_t at, const mp_value *value)
{
    if (at == list_length_of(list))
        return append_one(list, value);
    return at == 0 ? prepend_one(list, value) : fill_gap(list, at, value);
}

int mp_list_insert(mp_list *handle, int64_t index, mp_value value)
{
    struct object *list = list_object(handle);
    int error = list_lock(handle, &value);

    if (error != 0)
        return error;
    int64_t length = (int64_t)list_length_of(list);
    if (index < 0)
        index = index + length < 0 ? 0 : index + length;
    error = insert_at(list, (uint64_t)(index > length ? length : index), &value);
    object_unlock(list);
    return error;
}

static int take_at(struct object *list, int64_t index, mp_value *value)
{
    uint64_t at;
    mp_value copy = mp_value_none();

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    int error = value != NULL ? cell_value(object_heap(list), list_cell(list, at), &copy) : 0;
    if (error == 0) /* hold it while the list still owns it, so that it lives on */
        error = value_hold(&copy);
    if (error != 0)
        return error;
    error = list_remove_at(list, at);
    if (error != 0)
        mp_value_free(&copy);
    else if (value != NULL)
        *value = copy;
    return error;
}

int mp_list_pop(mp_list *list, int64_t index, mp_value *value)
{
    int error = list_lock(list, NULL);

    if (error != 0)
        return error;
    error = take_at(list_object(list), index, value);
    object_unlock(list_object(list));
    return error;
}

int mp_list_delete(mp_list *list, int64_t index)
{
    return mp_list_pop(list, index, NULL);
}

int mp_list_clear(mp_list *handle)
{
    struct object *list = list_object(handle);
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    list_empty(list);
    object_unlock(list);
    return 0;
}

int mp_list_free(mp_list *list)
{
    return list == NULL ? 0 : hold_give_any(list, OBJECT_LIST);
}
