/* Lists: reading, changing, and whole lists. How cells lie in memory is in list_array.h. */
#include <stdlib.h>
#include <string.h>

#include "list_array.h"
#include "snapshot.h"

#define READ_TRIES 64

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- reading ---- */

struct words {
    uint64_t head, body;
};

typedef int reader(const struct heap *heap, const struct words *words, void *out);

static int read_at(const struct object *list, int64_t index, reader *read, void *out)
{
    const struct heap *heap = object_heap(list);
    uint64_t at, end = get(&heap->size), array = get(&list->root[0]) & ~REF_MASK, start = get(&list->word[LIST_START]);

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    if (start > LIST_LARGEST || at > LIST_LARGEST || array == 0 ||
        array + 16 + (start + at + 1) * sizeof(struct cell) > end)
        return MP_ECORRUPT;
    struct cell *cell = &list_cells(heap, array)[start + at];
    struct words words = {get(&cell->head), get(&cell->body)};
    return read(heap, &words, out);
}

static int read_index(mp_list *handle, int64_t index, reader *read, void *out, void (*discard)(void *out))
{
    struct object *list = list_object(handle);

    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t version;

        if (!object_is(list, OBJECT_LIST))
            return MP_EINVAL;
        if (!object_read_begin(list, &version) || !object_is(list, OBJECT_LIST))
            continue;
        int error = read_at(list, index, read, out);
        if (object_read_valid(list, version))
            return error;
        if (error == 0 && discard != NULL)
            discard(out);
    }
    int error = object_lock(list, OBJECT_LIST);
    if (error != 0)
        return error;
    error = read_at(list, index, read, out);
    object_unlock(list);
    return error;
}

static int read_words(const struct heap *heap, const struct words *words, void *out)
{
    (void)heap;
    memcpy(out, words, sizeof *words);
    return 0;
}

static int read_value(const struct heap *heap, const struct words *words, void *out)
{
    return cell_read(heap, words->head, words->body, out);
}

static void discard_value(void *out)
{
    mp_value_free(out);
}

static int get_words(mp_list *list, int64_t index, mp_type type, const void *out, struct words *words)
{
    int error = out == NULL ? MP_EINVAL : read_index(list, index, read_words, words, NULL);

    return error == 0 && (words->head & CELL_TYPE) != type ? MP_ETYPE : error;
}

int mp_list_get(mp_list *list, int64_t index, mp_value *value)
{
    mp_value found;
    int error = value == NULL ? MP_EINVAL : read_index(list, index, read_value, &found, discard_value);

    if (error == 0)
        *value = found;
    return error;
}

int mp_list_get_bool(mp_list *list, int64_t index, bool *value)
{
    struct words words;
    int error = get_words(list, index, MP_BOOL, value, &words);

    if (error == 0)
        *value = words.body != 0;
    return error;
}

int mp_list_get_int(mp_list *list, int64_t index, int64_t *value)
{
    struct words words;
    int error = get_words(list, index, MP_INT, value, &words);

    if (error == 0)
        *value = (int64_t)words.body;
    return error;
}

int mp_list_get_float(mp_list *list, int64_t index, double *value)
{
    struct words words;
    int error = get_words(list, index, MP_FLOAT, value, &words);

    if (error == 0)
        memcpy(value, &words.body, sizeof *value);
    else if (error == MP_ETYPE && (words.head & CELL_TYPE) == MP_INT)
        *value = (double)(int64_t)words.body;
    else
        return error;
    return 0;
}

struct bytes_wanted {
    mp_type type;
    void *buffer;
    size_t size, length;
};

static int read_bytes(const struct heap *heap, const struct words *words, void *out)
{
    struct bytes_wanted *wanted = out;

    if ((words->head & CELL_TYPE) != wanted->type)
        return MP_ETYPE;
    wanted->length = words->head >> CELL_LENGTH_SHIFT;
    if (wanted->length + (wanted->type == MP_STR) > wanted->size)
        return MP_ETOOSMALL;
    return cell_read_bytes(heap, words->head, words->body, wanted->buffer, wanted->size, NULL);
}

static int get_bytes(mp_list *list, int64_t index, struct bytes_wanted *wanted, size_t *length)
{
    if (wanted->buffer == NULL && wanted->size > 0)
        return MP_EINVAL;
    int error = read_index(list, index, read_bytes, wanted, NULL);
    if (length != NULL && (error == 0 || error == MP_ETOOSMALL))
        *length = wanted->length;
    return error;
}

int mp_list_get_str(mp_list *list, int64_t index, char *buffer, size_t size, size_t *length)
{
    struct bytes_wanted wanted = {.type = MP_STR, .buffer = buffer, .size = size};
    int error = get_bytes(list, index, &wanted, length);

    if (error == 0)
        buffer[wanted.length] = 0;
    return error;
}

int mp_list_get_bytes(mp_list *list, int64_t index, void *buffer, size_t size, size_t *length)
{
    struct bytes_wanted wanted = {.type = MP_BYTES, .buffer = buffer, .size = size};

    return get_bytes(list, index, &wanted, length);
}

int mp_list_get_dict(mp_list *list, int64_t index, mp_dict **value)
{
    struct words words;
    int error = get_words(list, index, MP_DICT, value, &words);

    if (error == 0)
        *value = heap_at(object_heap(list_object(list)), words.body & ~REF_MASK);
    return error;
}

int mp_list_get_list(mp_list *list, int64_t index, mp_list **value)
{
    struct words words;
    int error = get_words(list, index, MP_LIST, value, &words);

    if (error == 0)
        *value = heap_at(object_heap(list_object(list)), words.body & ~REF_MASK);
    return error;
}

int mp_list_length(mp_list *list, size_t *length)
{
    if (length == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    *length = list_length_of(list_object(list));
    return 0;
}

/* ---- one element ---- */

/* Stores a value in a cell outside the range, which becomes part of it: start and length are the new ones. */
static int add_at(struct object *list, uint64_t position, uint64_t start, const mp_value *value)
{
    uint64_t head, body;
    int error = cell_build(list, value, &list->pending[0], &head, &body);

    if (error != 0)
        return error;
    struct cell *cell = &list_cells(object_heap(list), get(&list->root[0]))[position];
    object_begin(list);
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
    object_set(list, &list->word[LIST_START], start);
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + 1);
    object_set(list, &list->pending[0], 0);
    object_commit(list);
    return 0;
}

static int append_one(struct object *list, const mp_value *value)
{
    int error = list_make_room(list, 1);
    uint64_t start = get(&list->word[LIST_START]);

    return error != 0 ? error : add_at(list, start + list_length_of(list), start, value);
}

int mp_list_append(mp_list *list, mp_value value)
{
    int error = list_lock(list, &value);

    if (error != 0)
        return error;
    error = append_one(list_object(list), &value);
    object_unlock(list_object(list));
    return error;
}

int mp_list_append_none(mp_list *list)
{
    return mp_list_append(list, mp_none());
}

int mp_list_append_bool(mp_list *list, bool value)
{
    return mp_list_append(list, mp_bool(value));
}

int mp_list_append_int(mp_list *list, int64_t value)
{
    return mp_list_append(list, mp_int(value));
}

int mp_list_append_float(mp_list *list, double value)
{
    return mp_list_append(list, mp_float(value));
}

int mp_list_append_str(mp_list *list, const char *text)
{
    return mp_list_append(list, mp_str(text));
}

int mp_list_append_bytes(mp_list *list, const void *data, size_t size)
{
    return mp_list_append(list, mp_bytes(data, size));
}

int mp_list_append_dict(mp_list *list, mp_dict *value)
{
    return mp_list_append(list, mp_dict_value(value));
}

int mp_list_append_list(mp_list *list, mp_list *value)
{
    return mp_list_append(list, mp_list_value(value));
}

static int replace(struct object *list, struct cell *cell, const mp_value *value)
{
    uint64_t head, body, old_head = get(&cell->head);

    if (cell_plain(value, &head, &body) && head == old_head) {
        atomic_store_explicit(&cell->body, body, memory_order_release);
        return 0;
    }
    int error = cell_build(list, value, &list->pending[0], &head, &body);
    if (error != 0)
        return error;
    object_begin(list);
    object_set(list, &list->pending[0], 0);
    if (old_head & CELL_OWNS)
        object_set(list, &list->pending[1], get(&cell->body));
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[1]);
    return 0;
}

int mp_list_set(mp_list *handle, int64_t index, mp_value value)
{
    struct object *list = list_object(handle);
    uint64_t at;
    int error = list_lock(handle, &value);

    if (error != 0)
        return error;
    error = list_find_index(index, list_length_of(list), &at) ? replace(list, list_cell(list, at), &value) : MP_EINDEX;
    object_unlock(list);
    return error;
}

int mp_list_set_int(mp_list *list, int64_t index, int64_t value)
{
    return mp_list_set(list, index, mp_int(value));
}

int mp_list_set_float(mp_list *list, int64_t index, double value)
{
    return mp_list_set(list, index, mp_float(value));
}

int mp_list_set_str(mp_list *list, int64_t index, const char *text)
{
    return mp_list_set(list, index, mp_str(text));
}

static int add_to(struct object *list, int64_t index, int64_t delta, int64_t *sum)
{
    uint64_t at;

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    struct cell *cell = list_cell(list, at);
    if (get(&cell->head) != MP_INT)
        return MP_ETYPE;
    if (__builtin_add_overflow((int64_t)get(&cell->body), delta, sum))
        return MP_EOVERFLOW;
    atomic_store_explicit(&cell->body, (uint64_t)*sum, memory_order_release);
    return 0;
}

int mp_list_add_int(mp_list *handle, int64_t index, int64_t delta, int64_t *now)
{
    int64_t sum;
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = add_to(list_object(handle), index, delta, &sum);
    object_unlock(list_object(handle));
    if (error == 0 && now != NULL)
        *now = sum;
    return error;
}

int mp_list_compare_and_swap(mp_list *handle, int64_t index, mp_value expected, mp_value desired)
{
    struct object *list = list_object(handle);
    uint64_t at;
    int error = list_lock(handle, &desired);

    if (error != 0)
        return error;
    error = value_check(object_heap(list), &expected);
    if (error == 0 && !list_find_index(index, list_length_of(list), &at))
        error = MP_EINDEX;
    if (error == 0) {
        mp_value now = cell_view(object_heap(list), list_cell(list, at));
        error = value_same(&now, &expected) ? replace(list, list_cell(list, at), &desired) : MP_ECHANGED;
    }
    object_unlock(list);
    return error;
}

/* ---- inserting and removing ---- */

static int insert_at(struct object *list, uint64_t at, const mp_value *value)
{
    uint64_t length = list_length_of(list), start = get(&list->word[LIST_START]);
    struct list_order order;

    if (at == length)
        return append_one(list, value);
    if (at == 0 && start > 0)
        return add_at(list, start - 1, start - 1, value);
    int error = list_order_new(&order, length + 1);
    if (error != 0)
        return error;
    error = list_stage(list, value, sizeof *value, 1);
    if (error != 0) {
        free(order.from);
        return error;
    }
    list_order_add(&order, 0, at);
    list_order_add(&order, length, length + 1);
    list_order_add(&order, at, length);
    return list_rebuild(list, &order);
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

/* The cell at either end leaves the range; what it owned is in pending ref 0 then. */
static void drop_end(struct object *list, uint64_t at)
{
    struct cell *cell = list_cell(list, at);

    object_begin(list);
    if (get(&cell->head) & CELL_OWNS)
        object_set(list, &list->pending[0], get(&cell->body));
    object_set(list, &cell->head, 0);
    object_set(list, &cell->body, 0);
    if (at == 0)
        object_set(list, &list->word[LIST_START], get(&list->word[LIST_START]) + 1);
    object_set(list, &list->word[LIST_LENGTH], list_length_of(list) - 1);
    object_commit(list);
}

/* `hand_out`: the element is a container that gets its handle. */
static int remove_from_middle(struct object *list, uint64_t at, bool hand_out)
{
    uint64_t length = list_length_of(list);
    struct list_order order;
    int error = list_order_new(&order, length);

    if (error != 0)
        return error;
    list_order_add(&order, 0, at);
    list_order_add(&order, at + 1, length);
    error = list_exchange_content(list, &order);
    if (error == 0 && hand_out) /* the one removed cell */
        object_adopt(object_heap(list), &list_cells(object_heap(list), get(&list->pending[2]))->body);
    object_release_pending(list);
    return error;
}

int list_remove_at(struct object *list, uint64_t at, bool hand_out)
{
    if (at != 0 && at != list_length_of(list) - 1)
        return remove_from_middle(list, at, hand_out);
    drop_end(list, at);
    if (hand_out)
        object_adopt(object_heap(list), &list->pending[0]);
    else
        ref_release(object_heap(list), &list->pending[0]);
    list_shrink(list);
    return 0;
}

static int take_at(struct object *list, int64_t index, mp_value *value)
{
    uint64_t at;
    mp_value copy = mp_none();

    if (!list_find_index(index, list_length_of(list), &at))
        return MP_EINDEX;
    struct cell *cell = list_cell(list, at);
    int error = value != NULL ? cell_read(object_heap(list), get(&cell->head), get(&cell->body), &copy) : 0;
    if (error != 0)
        return error;
    error = list_remove_at(list, at, copy.type == MP_DICT || copy.type == MP_LIST);
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
    object_begin(list);
    object_set(list, &list->pending[1], get(&list->root[0]));
    object_set(list, &list->root[0], 0);
    object_set(list, &list->word[LIST_START], 0);
    object_set(list, &list->word[LIST_LENGTH], 0);
    object_commit(list);
    ref_release(object_heap(list), &list->pending[1]);
    object_unlock(list);
    return 0;
}

int mp_list_free(mp_list *list)
{
    return list == NULL ? 0 : object_free(list_object(list), OBJECT_LIST);
}

/* ---- whole lists ---- */

int mp_list_copy(mp_list *list, mp_list **copy)
{
    return mp_list_slice(list, MP_BEGIN, MP_END, 1, copy);
}

int mp_list_extend(mp_list *handle, mp_list *other)
{
    struct object *list = list_object(handle);
    struct snapshot items;

    if (!object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(list_object(other), OBJECT_LIST, &items);
    if (error != 0)
        return error;
    error = object_lock(list, OBJECT_LIST);
    if (error == 0) {
        error = list_append_many(list, &items.item[0].value, sizeof items.item[0], items.count);
        object_unlock(list);
    }
    snapshot_free(&items);
    return error;
}

int mp_list_extend_values(mp_list *list, const mp_value *values, size_t count)
{
    if (values == NULL && count > 0)
        return MP_EINVAL;
    if (count > SIZE_MAX / sizeof *values)
        return MP_EOVERFLOW;
    int error = list_lock(list, NULL);
    if (error != 0)
        return error;
    error = list_append_many(list_object(list), values, sizeof *values, count);
    object_unlock(list_object(list));
    return error;
}

int mp_list_reverse(mp_list *handle)
{
    struct object *list = list_object(handle);
    struct list_order order;
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = list_order_new(&order, list_length_of(list));
    if (error == 0) {
        for (uint64_t i = list_length_of(list); i > 0; i--)
            order.from[order.count++] = i - 1;
        error = list_rebuild(list, &order);
    }
    object_unlock(list);
    return error;
}

/* The list's own values, and behind them the other's: one new list, which is nobody's until it is whole. */
static int concat(struct object *list, const struct snapshot *others, mp_list **sum)
{
    uint64_t length = list_length_of(list);
    mp_value *values = malloc((length + others->count + 1) * sizeof *values);

    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < length; i++)
        values[i] = cell_view(object_heap(list), list_cell(list, i));
    for (size_t i = 0; i < others->count; i++)
        values[length + i] = others->item[i].value;
    int error = list_derive(list, values, sizeof *values, length + others->count, sum);
    free(values);
    return error;
}

int mp_list_concat(mp_list *a, mp_list *b, mp_list **sum)
{
    struct snapshot others;

    if (sum == NULL || !object_is(a, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(list_object(b), OBJECT_LIST, &others);
    if (error != 0)
        return error;
    error = list_lock(a, NULL);
    if (error == 0) {
        error = concat(list_object(a), &others, sum);
        object_unlock(list_object(a));
    }
    snapshot_free(&others);
    return error;
}

static int repeat(struct object *list, uint64_t times, mp_list **product)
{
    uint64_t length = list_length_of(list), count;

    if (__builtin_mul_overflow(length, times, &count))
        return MP_EOVERFLOW;
    /* What the heap can never hold is not even gathered in private memory. */
    if (count > object_heap(list)->limit / sizeof(struct cell))
        return MP_ENOMEM;
    mp_value *values = malloc((count + 1) * sizeof *values);
    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        values[i] = cell_view(object_heap(list), list_cell(list, i % length));
    int error = list_derive(list, values, sizeof *values, count, product);
    free(values);
    return error;
}

int mp_list_repeat(mp_list *handle, int64_t times, mp_list **product)
{
    int error = product == NULL ? MP_EINVAL : list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = repeat(list_object(handle), times > 0 ? (uint64_t)times : 0, product);
    object_unlock(list_object(handle));
    return error;
}
