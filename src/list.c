/* Lists: one array of cells (root[0], REF_CELLS), of which word[LIST_LENGTH] from word[LIST_START] on are in use; so both ends are
 * cheap. Reading takes no mutex (object.h).
 *
 * Appending, setting and popping at the ends change a few words under the undo log. Everything else builds a new array aside
 * (rebuild()): the new order of cells is worked out in private memory, new values are staged in a block of their own, and one
 * change of a few words makes the new array the list's. Which of the old array, the staging block and the block of removed cells
 * owns the cells' content changes in that same moment, by their tags: see commit_rebuild(). */
#include "list.h"

#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "handle.h"
#include "snapshot.h"
#include "value.h"

#define READ_TRIES 64
#define FIRST_CAPACITY 8
#define LARGEST (UINT64_C(1) << 36)

/* Pending refs: 0 the staged cells or one new value, 1 an array, 2 removed cells, 3 a list that is being made from this one. */

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static struct object *object_of(mp_list *list)
{
    return (struct object *)list;
}

static uint64_t length_of(const struct object *list)
{
    return get(&list->word[LIST_LENGTH]);
}

static struct cell *cells_of(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, (ref & ~REF_MASK) + 16);
}

static struct cell *cell_at(const struct object *list, uint64_t index)
{
    return &cells_of(object_heap(list), get(&list->root[0]))[get(&list->word[LIST_START]) + index];
}

static uint64_t capacity(const struct object *list)
{
    uint64_t array = get(&list->root[0]);

    return array == 0 ? 0 : get((_Atomic uint64_t *)heap_at(object_heap(list), array & ~REF_MASK));
}

/* Negative ones count from the end. */
static bool find_index(int64_t index, uint64_t length, uint64_t *at)
{
    if (index < 0)
        index += (int64_t)length;
    *at = (uint64_t)index;
    return index >= 0 && (uint64_t)index < length;
}

/* ---- arrays ---- */

/* A block of `count` cells, all none, that *slot owns as a plain block. */
static int new_cells(struct heap *heap, uint64_t count, _Atomic uint64_t *slot)
{
    if (count > LARGEST)
        return MP_ENOMEM;
    int error = heap_alloc(heap, 16 + count * sizeof(struct cell), slot);
    if (error != 0)
        return error;
    _Atomic uint64_t *block = heap_at(heap, get(slot));
    memset(block, 0, 16 + count * sizeof(struct cell));
    put(&block[0], count);
    return 0;
}

/* Moves the cells into an array of another size. */
static int set_capacity(struct object *list, uint64_t wanted)
{
    struct heap *heap = object_heap(list);
    uint64_t old = get(&list->root[0]);
    int error = new_cells(heap, wanted, &list->pending[1]);

    if (error != 0)
        return error;
    uint64_t new = get(&list->pending[1]);
    if (length_of(list) > 0)
        memcpy(cells_of(heap, new), cell_at(list, 0), length_of(list) * sizeof(struct cell));
    object_begin(list);
    object_set(list, &list->root[0], new | REF_CELLS);
    object_set(list, &list->word[LIST_START], 0);
    object_set(list, &list->pending[1], old & ~REF_MASK);
    object_commit(list);
    ref_release(heap, &list->pending[1]);
    return 0;
}

/* Room for `count` more behind the last. */
static int make_room(struct object *list, uint64_t count)
{
    if (count > LARGEST)
        return MP_ENOMEM;
    uint64_t needed = length_of(list) + count;
    if (get(&list->word[LIST_START]) + needed <= capacity(list))
        return 0;
    uint64_t wanted = needed + needed / 2;
    return set_capacity(list, wanted < FIRST_CAPACITY ? FIRST_CAPACITY : wanted);
}

static void shrink(struct object *list)
{
    if (capacity(list) > 64 && length_of(list) < capacity(list) / 4)
        set_capacity(list, length_of(list) * 2 + FIRST_CAPACITY); /* if there is no memory for it, another time */
}

/* ---- building aside ---- */

/* Builds values in a block of cells that pending ref 0 owns. Each cell owns what it will hold before it holds it. */
static int stage(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct heap *heap = object_heap(list);
    int error = new_cells(heap, count, &list->pending[0]);

    if (error != 0)
        return error;
    put(&list->pending[0], get(&list->pending[0]) | REF_CELLS);
    struct cell *cells = cells_of(heap, get(&list->pending[0]));
    for (size_t i = 0; error == 0 && i < count; i++) {
        const mp_value *value = (const mp_value *)(const void *)((const char *)values + i * stride);
        uint64_t head, body;

        put(&cells[i].head, CELL_OWNS);
        undo_order();
        error = value_check(heap, value);
        if (error == 0)
            error = cell_build(list, value, &cells[i].body, &head, &body);
        if (error == 0) {
            put(&cells[i].head, head);
            undo_order();
            put(&cells[i].body, body);
        }
    }
    if (error != 0)
        ref_release(heap, &list->pending[0]);
    return error;
}

/* The new content: for each place which cell goes there: 0 .. length - 1 the list's own, above that the staged ones. No cell
 * twice. */
struct order {
    uint64_t count;
    uint64_t *from;
};

static int order_new(struct order *order, uint64_t count)
{
    order->count = 0;
    order->from = count > LARGEST ? NULL : malloc((count + 1) * sizeof *order->from);
    return order->from == NULL ? MP_ENOMEM : 0;
}

static void order_add(struct order *order, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        order->from[order->count++] = from;
}

/* The list's cells that are in no place of the new order, into a block that pending ref 2 owns, plain for now. */
static int collect_removed(struct object *list, const struct order *order)
{
    uint64_t length = length_of(list), removed = 0;
    unsigned char *kept = calloc(length + 1, 1);

    if (kept == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < order->count; i++) {
        if (order->from[i] < length)
            kept[order->from[i]] = 1;
    }
    for (uint64_t i = 0; i < length; i++)
        removed += !kept[i];
    int error = new_cells(object_heap(list), removed, &list->pending[2]);
    if (error == 0) {
        struct cell *cells = cells_of(object_heap(list), get(&list->pending[2]));

        for (uint64_t i = 0, to = 0; i < length; i++) {
            if (!kept[i])
                memcpy(&cells[to++], cell_at(list, i), sizeof *cells);
        }
    }
    free(kept);
    return error;
}

/* In one moment: the new array owns its cells, and so the staging block and the old array do not any more; the removed cells'
 * block owns those. */
static void commit_rebuild(struct object *list, uint64_t count)
{
    uint64_t old = get(&list->root[0]);

    object_begin(list);
    object_set(list, &list->root[0], get(&list->pending[1]) | REF_CELLS);
    object_set(list, &list->word[LIST_START], 0);
    object_set(list, &list->word[LIST_LENGTH], count);
    object_set(list, &list->pending[0], get(&list->pending[0]) & ~REF_MASK);
    object_set(list, &list->pending[1], old & ~REF_MASK);
    object_set(list, &list->pending[2], get(&list->pending[2]) | REF_CELLS);
    object_commit(list);
}

/* Gives the list a new content. Frees the order. What is replaced, and what failed, is pending afterwards. */
static int exchange_content(struct object *list, struct order *order)
{
    struct heap *heap = object_heap(list);
    uint64_t length = length_of(list);
    int error = collect_removed(list, order);

    if (error == 0)
        error = new_cells(heap, order->count + order->count / 8 + FIRST_CAPACITY, &list->pending[1]);
    if (error == 0) {
        struct cell *cells = cells_of(heap, get(&list->pending[1]));
        struct cell *staged = get(&list->pending[0]) != 0 ? cells_of(heap, get(&list->pending[0])) : NULL;

        for (uint64_t i = 0; i < order->count; i++) {
            uint64_t from = order->from[i];

            memcpy(&cells[i], from < length ? cell_at(list, from) : &staged[from - length], sizeof *cells);
        }
        commit_rebuild(list, order->count);
    }
    free(order->from);
    return error;
}

/* The same, and releases what is pending. */
static int rebuild(struct object *list, struct order *order)
{
    int error = exchange_content(list, order);

    object_release_pending(list);
    return error;
}

/* Behind the last: all or none. */
static int append_many(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct heap *heap = object_heap(list);

    if (count == 0)
        return 0;
    int error = make_room(list, count);
    if (error == 0)
        error = stage(list, values, stride, count);
    if (error != 0)
        return error;
    error = object_reserve_undo(list, 2 * count + 2);
    if (error == 0) {
        struct cell *staged = cells_of(heap, get(&list->pending[0])), *to = cell_at(list, length_of(list));

        object_begin(list);
        for (size_t i = 0; i < count; i++) {
            object_set(list, &to[i].head, get(&staged[i].head));
            object_set(list, &to[i].body, get(&staged[i].body));
        }
        object_set(list, &list->word[LIST_LENGTH], length_of(list) + count);
        object_set(list, &list->pending[0], get(&list->pending[0]) & ~REF_MASK);
        object_commit(list);
    }
    object_release_undo(list);
    ref_release(heap, &list->pending[0]);
    return error;
}

int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count)
{
    struct object *list;
    int error = object_create_in(object_heap(owner), OBJECT_LIST, slot, &list);

    if (error == 0)
        error = object_lock(list, OBJECT_LIST);
    if (error != 0)
        return error;
    error = append_many(list, values, stride, count);
    mutex_unlock(&list->mutex); /* what died meanwhile is buried when the owner is unlocked */
    return error;
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

    if (!find_index(index, length_of(list), &at))
        return MP_EINDEX;
    if (start > LARGEST || at > LARGEST || array == 0 || array + 16 + (start + at + 1) * sizeof(struct cell) > end)
        return MP_ECORRUPT;
    struct cell *cell = &cells_of(heap, array)[start + at];
    struct words words = {get(&cell->head), get(&cell->body)};
    return read(heap, &words, out);
}

static int read_index(mp_list *handle, int64_t index, reader *read, void *out, void (*discard)(void *out))
{
    struct object *list = object_of(handle);

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
        *value = heap_at(object_heap(object_of(list)), words.body & ~REF_MASK);
    return error;
}

int mp_list_get_list(mp_list *list, int64_t index, mp_list **value)
{
    struct words words;
    int error = get_words(list, index, MP_LIST, value, &words);

    if (error == 0)
        *value = heap_at(object_heap(object_of(list)), words.body & ~REF_MASK);
    return error;
}

int mp_list_length(mp_list *list, size_t *length)
{
    if (length == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    *length = length_of(object_of(list));
    return 0;
}

/* ---- one element ---- */

/* Locks a list that `value` may be stored in. */
static int lock_for(mp_list *handle, const mp_value *value)
{
    struct object *list = object_of(handle);

    if (!object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    int error = value != NULL ? value_check(object_heap(list), value) : 0;
    return error != 0 ? error : object_lock(list, OBJECT_LIST);
}

/* Stores a value in a cell outside the range, which becomes part of it: start and length are the new ones. */
static int add_at(struct object *list, uint64_t position, uint64_t start, const mp_value *value)
{
    uint64_t head, body;
    int error = cell_build(list, value, &list->pending[0], &head, &body);

    if (error != 0)
        return error;
    struct cell *cell = &cells_of(object_heap(list), get(&list->root[0]))[position];
    object_begin(list);
    object_set(list, &cell->head, head);
    object_set(list, &cell->body, body);
    object_set(list, &list->word[LIST_START], start);
    object_set(list, &list->word[LIST_LENGTH], length_of(list) + 1);
    object_set(list, &list->pending[0], 0);
    object_commit(list);
    return 0;
}

static int append_one(struct object *list, const mp_value *value)
{
    int error = make_room(list, 1);
    uint64_t start = get(&list->word[LIST_START]);

    return error != 0 ? error : add_at(list, start + length_of(list), start, value);
}

int mp_list_append(mp_list *list, mp_value value)
{
    int error = lock_for(list, &value);

    if (error != 0)
        return error;
    error = append_one(object_of(list), &value);
    object_unlock(object_of(list));
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
    struct object *list = object_of(handle);
    uint64_t at;
    int error = lock_for(handle, &value);

    if (error != 0)
        return error;
    error = find_index(index, length_of(list), &at) ? replace(list, cell_at(list, at), &value) : MP_EINDEX;
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

    if (!find_index(index, length_of(list), &at))
        return MP_EINDEX;
    struct cell *cell = cell_at(list, at);
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
    int error = lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = add_to(object_of(handle), index, delta, &sum);
    object_unlock(object_of(handle));
    if (error == 0 && now != NULL)
        *now = sum;
    return error;
}

int mp_list_compare_and_swap(mp_list *handle, int64_t index, mp_value expected, mp_value desired)
{
    struct object *list = object_of(handle);
    uint64_t at;
    int error = lock_for(handle, &desired);

    if (error != 0)
        return error;
    error = value_check(object_heap(list), &expected);
    if (error == 0 && !find_index(index, length_of(list), &at))
        error = MP_EINDEX;
    if (error == 0) {
        mp_value now = cell_view(object_heap(list), cell_at(list, at));
        error = value_same(&now, &expected) ? replace(list, cell_at(list, at), &desired) : MP_ECHANGED;
    }
    object_unlock(list);
    return error;
}

/* ---- inserting and removing ---- */

static int insert_at(struct object *list, uint64_t at, const mp_value *value)
{
    uint64_t length = length_of(list), start = get(&list->word[LIST_START]);
    struct order order;

    if (at == length)
        return append_one(list, value);
    if (at == 0 && start > 0)
        return add_at(list, start - 1, start - 1, value);
    int error = order_new(&order, length + 1);
    if (error != 0)
        return error;
    error = stage(list, value, sizeof *value, 1);
    if (error != 0) {
        free(order.from);
        return error;
    }
    order_add(&order, 0, at);
    order_add(&order, length, length + 1);
    order_add(&order, at, length);
    return rebuild(list, &order);
}

int mp_list_insert(mp_list *handle, int64_t index, mp_value value)
{
    struct object *list = object_of(handle);
    int error = lock_for(handle, &value);

    if (error != 0)
        return error;
    int64_t length = (int64_t)length_of(list);
    if (index < 0)
        index = index + length < 0 ? 0 : index + length;
    error = insert_at(list, (uint64_t)(index > length ? length : index), &value);
    object_unlock(list);
    return error;
}

/* The cell at either end leaves the range; what it owned is in pending ref 0 then. */
static void drop_end(struct object *list, uint64_t at)
{
    struct cell *cell = cell_at(list, at);

    object_begin(list);
    if (get(&cell->head) & CELL_OWNS)
        object_set(list, &list->pending[0], get(&cell->body));
    object_set(list, &cell->head, 0);
    object_set(list, &cell->body, 0);
    if (at == 0)
        object_set(list, &list->word[LIST_START], get(&list->word[LIST_START]) + 1);
    object_set(list, &list->word[LIST_LENGTH], length_of(list) - 1);
    object_commit(list);
}

/* `hand_out`: the element is a container that gets its handle. */
static int remove_from_middle(struct object *list, uint64_t at, bool hand_out)
{
    uint64_t length = length_of(list);
    struct order order;
    int error = order_new(&order, length);

    if (error != 0)
        return error;
    order_add(&order, 0, at);
    order_add(&order, at + 1, length);
    error = exchange_content(list, &order);
    if (error == 0 && hand_out) /* the one removed cell */
        object_adopt(object_heap(list), &cells_of(object_heap(list), get(&list->pending[2]))->body);
    object_release_pending(list);
    return error;
}

static int remove_at(struct object *list, uint64_t at, bool hand_out)
{
    if (at != 0 && at != length_of(list) - 1)
        return remove_from_middle(list, at, hand_out);
    drop_end(list, at);
    if (hand_out)
        object_adopt(object_heap(list), &list->pending[0]);
    else
        ref_release(object_heap(list), &list->pending[0]);
    shrink(list);
    return 0;
}

static int take_at(struct object *list, int64_t index, mp_value *value)
{
    uint64_t at;
    mp_value copy = mp_none();

    if (!find_index(index, length_of(list), &at))
        return MP_EINDEX;
    struct cell *cell = cell_at(list, at);
    int error = value != NULL ? cell_read(object_heap(list), get(&cell->head), get(&cell->body), &copy) : 0;
    if (error != 0)
        return error;
    error = remove_at(list, at, copy.type == MP_DICT || copy.type == MP_LIST);
    if (error != 0)
        mp_value_free(&copy);
    else if (value != NULL)
        *value = copy;
    return error;
}

int mp_list_pop(mp_list *list, int64_t index, mp_value *value)
{
    int error = lock_for(list, NULL);

    if (error != 0)
        return error;
    error = take_at(object_of(list), index, value);
    object_unlock(object_of(list));
    return error;
}

int mp_list_delete(mp_list *list, int64_t index)
{
    return mp_list_pop(list, index, NULL);
}

int mp_list_clear(mp_list *handle)
{
    struct object *list = object_of(handle);
    int error = lock_for(handle, NULL);

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
    return list == NULL ? 0 : object_free(object_of(list), OBJECT_LIST);
}

/* ---- searching: on a snapshot, as comparing may have to look into other containers ---- */

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
        error = snapshot_take(object_of(list), OBJECT_LIST, &items);
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
        error = snapshot_take(object_of(list), OBJECT_LIST, &items);
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

/* Removes what the search found, unless the list has changed since: then `changed`. */
static int remove_found(struct object *list, uint64_t version, size_t index, const mp_value *found, bool *changed)
{
    int error = object_lock(list, OBJECT_LIST);

    if (error != 0)
        return error;
    *changed = get(&list->version) != version;
    if (!*changed) {
        mp_value now = cell_view(object_heap(list), cell_at(list, index));

        /* A number may have taken another's place without the version telling. */
        *changed = !value_same(&now, found);
        if (!*changed)
            error = remove_at(list, index, false);
    }
    object_unlock(list);
    return error;
}

int mp_list_remove(mp_list *handle, mp_value value)
{
    struct object *list = object_of(handle);
    bool changed = true;
    int error = check_value(handle, &value, handle);

    while (error == 0 && changed) {
        struct snapshot items;
        uint64_t version;
        size_t index = 0;

        error = object_lock(list, OBJECT_LIST);
        if (error != 0)
            return error;
        version = get(&list->version);
        error = snapshot_take_locked(list, &items);
        object_unlock(list);
        if (error != 0)
            return error;
        error = find_value(&items, &value, 0, &index);
        if (error == 0)
            error = remove_found(list, version, index, &items.item[index].value, &changed);
        snapshot_free(&items);
    }
    return error;
}

/* ---- slices ---- */

struct slice {
    int64_t first, step;
    uint64_t count;
};

static int64_t clip(int64_t bound, int64_t length, int64_t low, int64_t high)
{
    if (bound < 0)
        bound = bound < -length ? low : bound + length;
    return bound < low ? low : bound > high ? high : bound;
}

/* As Python's slice.indices(). */
static int slice_of(uint64_t size, int64_t start, int64_t stop, int64_t step, struct slice *slice)
{
    int64_t length = (int64_t)size;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;

    if (step == 0)
        return MP_EVALUE;
    if (step == INT64_MIN)
        step = -INT64_MAX;
    start = start == MP_BEGIN ? low : start == MP_END ? high : clip(start, length, low, high);
    stop = stop == MP_BEGIN ? low : stop == MP_END ? high : clip(stop, length, low, high);
    slice->first = start;
    slice->step = step;
    if (step > 0)
        slice->count = stop > start ? (uint64_t)((stop - start - 1) / step + 1) : 0;
    else
        slice->count = start > stop ? (uint64_t)((start - stop - 1) / -step + 1) : 0;
    return 0;
}

static uint64_t slice_index(const struct slice *slice, uint64_t i)
{
    return (uint64_t)(slice->first + (int64_t)i * slice->step);
}

/* A new list made of values while this one's mutex is held: pending ref 3 owns it until it is whole. */
static int derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result)
{
    int error = list_from_values(list, &list->pending[3], values, stride, count);

    if (error != 0) {
        ref_release(object_heap(list), &list->pending[3]);
        return error;
    }
    *result = heap_at(object_heap(list), get(&list->pending[3]) & ~REF_MASK);
    object_adopt(object_heap(list), &list->pending[3]);
    return 0;
}

static int derive_slice(struct object *list, const struct slice *slice, mp_list **result)
{
    mp_value *values = malloc((slice->count + 1) * sizeof *values);

    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < slice->count; i++)
        values[i] = cell_view(object_heap(list), cell_at(list, slice_index(slice, i)));
    int error = derive(list, values, sizeof *values, slice->count, result);
    free(values);
    return error;
}

int mp_list_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step, mp_list **result)
{
    struct object *list = object_of(handle);
    struct slice slice;
    int error = result == NULL ? MP_EINVAL : lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = slice_of(length_of(list), start, stop, step, &slice);
    if (error == 0)
        error = derive_slice(list, &slice, result);
    object_unlock(list);
    return error;
}

int mp_list_copy(mp_list *list, mp_list **copy)
{
    return mp_list_slice(list, MP_BEGIN, MP_END, 1, copy);
}

static int delete_slice(struct object *list, const struct slice *slice)
{
    uint64_t length = length_of(list);
    struct order order;

    if (slice->count == 0)
        return 0;
    int error = order_new(&order, length);
    if (error != 0)
        return error;
    /* Ascending, whichever way the slice runs. */
    uint64_t step = (uint64_t)(slice->step > 0 ? slice->step : -slice->step);
    uint64_t first = slice_index(slice, slice->step > 0 ? 0 : slice->count - 1), from = 0;
    for (uint64_t i = 0; i < slice->count; i++) {
        order_add(&order, from, first + i * step);
        from = first + i * step + 1;
    }
    order_add(&order, from, length);
    return rebuild(list, &order);
}

int mp_list_delete_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step)
{
    struct object *list = object_of(handle);
    struct slice slice;
    int error = lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = slice_of(length_of(list), start, stop, step, &slice);
    if (error == 0)
        error = delete_slice(list, &slice);
    object_unlock(list);
    return error;
}

static int set_slice(struct object *list, const struct slice *slice, const struct snapshot *items)
{
    uint64_t length = length_of(list);
    struct order order;

    if (slice->step != 1 && slice->count != items->count)
        return MP_EVALUE;
    int error = order_new(&order, length + items->count);
    if (error != 0)
        return error;
    error = stage(list, &items->item[0].value, sizeof items->item[0], items->count);
    if (error != 0) {
        free(order.from);
        return error;
    }
    if (slice->step == 1) {
        uint64_t first = (uint64_t)slice->first;

        order_add(&order, 0, first);
        order_add(&order, length, length + items->count);
        order_add(&order, first + slice->count, length);
    } else {
        order_add(&order, 0, length);
        for (uint64_t i = 0; i < slice->count; i++)
            order.from[slice_index(slice, i)] = length + i;
    }
    return rebuild(list, &order);
}

int mp_list_set_slice(mp_list *handle, int64_t start, int64_t stop, int64_t step, mp_list *other)
{
    struct object *list = object_of(handle);
    struct snapshot items;
    struct slice slice;

    if (!object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(object_of(other), OBJECT_LIST, &items);
    if (error != 0)
        return error;
    error = object_lock(list, OBJECT_LIST);
    if (error == 0) {
        error = slice_of(length_of(list), start, stop, step, &slice);
        if (error == 0)
            error = set_slice(list, &slice, &items);
        object_unlock(list);
    }
    snapshot_free(&items);
    return error;
}

/* ---- whole lists ---- */

int mp_list_extend(mp_list *handle, mp_list *other)
{
    struct object *list = object_of(handle);
    struct snapshot items;

    if (!object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(object_of(other), OBJECT_LIST, &items);
    if (error != 0)
        return error;
    error = object_lock(list, OBJECT_LIST);
    if (error == 0) {
        error = append_many(list, &items.item[0].value, sizeof items.item[0], items.count);
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
    int error = lock_for(list, NULL);
    if (error != 0)
        return error;
    error = append_many(object_of(list), values, sizeof *values, count);
    object_unlock(object_of(list));
    return error;
}

int mp_list_reverse(mp_list *handle)
{
    struct object *list = object_of(handle);
    struct order order;
    int error = lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = order_new(&order, length_of(list));
    if (error == 0) {
        for (uint64_t i = length_of(list); i > 0; i--)
            order.from[order.count++] = i - 1;
        error = rebuild(list, &order);
    }
    object_unlock(list);
    return error;
}

/* The list's own values, and behind them the other's: one new list, which is nobody's until it is whole. */
static int concat(struct object *list, const struct snapshot *others, mp_list **sum)
{
    uint64_t length = length_of(list);
    mp_value *values = malloc((length + others->count + 1) * sizeof *values);

    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < length; i++)
        values[i] = cell_view(object_heap(list), cell_at(list, i));
    for (size_t i = 0; i < others->count; i++)
        values[length + i] = others->item[i].value;
    int error = derive(list, values, sizeof *values, length + others->count, sum);
    free(values);
    return error;
}

int mp_list_concat(mp_list *a, mp_list *b, mp_list **sum)
{
    struct snapshot others;

    if (sum == NULL || !object_is(a, OBJECT_LIST))
        return MP_EINVAL;
    int error = snapshot_take(object_of(b), OBJECT_LIST, &others);
    if (error != 0)
        return error;
    error = lock_for(a, NULL);
    if (error == 0) {
        error = concat(object_of(a), &others, sum);
        object_unlock(object_of(a));
    }
    snapshot_free(&others);
    return error;
}

static int repeat(struct object *list, uint64_t times, mp_list **product)
{
    uint64_t length = length_of(list), count;

    if (__builtin_mul_overflow(length, times, &count))
        return MP_EOVERFLOW;
    /* What the heap can never hold is not even gathered in private memory. */
    if (count > object_heap(list)->limit / sizeof(struct cell))
        return MP_ENOMEM;
    mp_value *values = malloc((count + 1) * sizeof *values);
    if (values == NULL)
        return MP_ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        values[i] = cell_view(object_heap(list), cell_at(list, i % length));
    int error = derive(list, values, sizeof *values, count, product);
    free(values);
    return error;
}

int mp_list_repeat(mp_list *handle, int64_t times, mp_list **product)
{
    int error = product == NULL ? MP_EINVAL : lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = repeat(object_of(handle), times > 0 ? (uint64_t)times : 0, product);
    object_unlock(object_of(handle));
    return error;
}

/* ---- sorting ---- */

struct sorting {
    mp_value *values;
    mp_compare *compare;
    void *arg;
    bool reverse;
    int error;
};

/* Whether the element that stands behind goes before the other. */
static bool goes_before(struct sorting *sorting, uint64_t behind, uint64_t front)
{
    const mp_value *a = &sorting->values[behind], *b = &sorting->values[front];
    int order = 0;

    if (sorting->compare != NULL) {
        order = sorting->compare(a, b, sorting->arg);
    } else if (sorting->error == 0) {
        sorting->error = value_order(a, b, &order);
    }
    return sorting->reverse ? order > 0 : order < 0;
}

/* Merge sort, from the bottom: stable. Sorts indices; returns where the result is. */
static uint64_t *sort_indices(struct sorting *sorting, uint64_t *from, uint64_t *to, uint64_t count)
{
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t low = 0; low < count; low += 2 * width) {
            uint64_t middle = low + width < count ? low + width : count;
            uint64_t high = low + 2 * width < count ? low + 2 * width : count;

            for (uint64_t at = low, left = low, right = middle; at < high; at++) {
                bool take_right = left == middle || (right < high && goes_before(sorting, from[right], from[left]));
                to[at] = take_right ? from[right++] : from[left++];
            }
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static int sort(struct object *list, struct sorting *sorting)
{
    uint64_t length = length_of(list);
    struct order order;
    struct callback callback;
    int error = order_new(&order, length);
    uint64_t *other = malloc((length + 1) * sizeof *other);

    sorting->values = malloc((length + 1) * sizeof *sorting->values);
    if (error == 0 && (other == NULL || sorting->values == NULL)) {
        free(order.from);
        error = MP_ENOMEM;
    }
    if (error == 0) {
        for (uint64_t i = 0; i < length; i++)
            sorting->values[i] = cell_view(object_heap(list), cell_at(list, i));
        order_add(&order, 0, length);
        object_callback_begin(&callback, list);
        uint64_t *sorted = sort_indices(sorting, order.from, other, length);
        object_callback_end(&callback);
        if (sorted != order.from)
            memcpy(order.from, sorted, length * sizeof *sorted);
        error = sorting->error;
        if (error == 0)
            error = rebuild(list, &order);
        else
            free(order.from);
    }
    free(other);
    free(sorting->values);
    return error;
}

int mp_list_sort(mp_list *handle, mp_compare *compare, void *arg, bool reverse)
{
    struct sorting sorting = {.compare = compare, .arg = arg, .reverse = reverse};
    int error = lock_for(handle, NULL);

    if (error != 0)
        return error;
    error = sort(object_of(handle), &sorting);
    object_unlock(object_of(handle));
    return error;
}

/* ---- iterating ---- */

#define ITER_MAGIC UINT64_C(0x6d705f6c69746572)

struct mp_list_iter {
    struct handle handle;
    mp_list *list;
    int64_t next;
    mp_value value; /* the one handed out last */
};

static struct spare_handles spare_iters;

int mp_list_iter_create(mp_list_iter **iter, mp_list *list)
{
    if (iter == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    mp_list_iter *new = handle_take(&spare_iters, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->list = list;
    new->next = 0;
    new->value = mp_none();
    new->handle.magic = ITER_MAGIC;
    *iter = new;
    return 0;
}

int mp_list_next(mp_list_iter *iter, mp_value *value)
{
    if (!handle_is((struct handle *)iter, ITER_MAGIC) || value == NULL)
        return MP_EINVAL;
    mp_value_free(&iter->value);
    int error = mp_list_get(iter->list, iter->next, &iter->value);
    if (error != 0)
        return error == MP_EINDEX ? MP_ESTOP : error;
    iter->next++;
    *value = iter->value;
    value->owned = NULL;
    return 0;
}

int mp_list_iter_free(mp_list_iter *iter)
{
    if (iter == NULL)
        return 0;
    if (!handle_is((struct handle *)iter, ITER_MAGIC))
        return MP_EINVAL;
    mp_value_free(&iter->value);
    handle_put(&spare_iters, &iter->handle);
    return 0;
}
