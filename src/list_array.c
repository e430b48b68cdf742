#include "list_array.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 8

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static uint64_t capacity(const struct object *list)
{
    uint64_t array = get(&list->root[0]);

    return array == 0 ? 0 : get((_Atomic uint64_t *)heap_at(object_heap(list), array & ~REF_MASK));
}

/* ---- arrays ---- */

/* A block of `count` cells, all none, that *slot owns as a plain block. */
static int new_cells(struct heap *heap, uint64_t count, _Atomic uint64_t *slot)
{
    if (count > LIST_LARGEST)
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
    int error = stripes_hold_all(list); /* nobody may change what has been copied */

    if (error == 0)
        error = new_cells(heap, wanted, &list->pending[1]);
    if (error != 0)
        return error;
    uint64_t new = get(&list->pending[1]);
    if (list_length_of(list) > 0)
        memcpy(list_cells(heap, new), list_cell(list, 0), list_length_of(list) * sizeof(struct cell));
    object_begin(list);
    object_set(list, &list->root[0], new | REF_CELLS);
    object_set(list, &list->word[LIST_START], 0);
    object_set(list, &list->pending[1], old & ~REF_MASK);
    object_commit(list);
    ref_release(heap, &list->pending[1]);
    return 0;
}

/* Room for `count` more behind the last. */
int list_make_room(struct object *list, uint64_t count)
{
    if (count > LIST_LARGEST)
        return MP_ENOMEM;
    uint64_t needed = list_length_of(list) + count;
    if (get(&list->word[LIST_START]) + needed <= capacity(list))
        return 0;
    uint64_t wanted = needed + needed / 2;
    return set_capacity(list, wanted < FIRST_CAPACITY ? FIRST_CAPACITY : wanted);
}

void list_shrink(struct object *list)
{
    if (capacity(list) > 64 && list_length_of(list) < capacity(list) / 4)
        set_capacity(list, list_length_of(list) * 2 + FIRST_CAPACITY); /* if there is no memory for it, another time */
}

/* ---- building aside ---- */

/* Builds values in a block of cells that pending ref 0 owns. Each cell owns what it will hold before it holds it. */
int list_stage(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct heap *heap = object_heap(list);
    int error = new_cells(heap, count, &list->pending[0]);

    if (error != 0)
        return error;
    put(&list->pending[0], get(&list->pending[0]) | REF_CELLS);
    struct cell *cells = list_cells(heap, get(&list->pending[0]));
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

int list_order_new(struct list_order *order, uint64_t count)
{
    order->count = 0;
    order->from = count > LIST_LARGEST ? NULL : malloc((count + 1) * sizeof *order->from);
    return order->from == NULL ? MP_ENOMEM : 0;
}

/* The list's cells that are in no place of the new order, into a block that pending ref 2 owns, plain for now. */
static int collect_removed(struct object *list, const struct list_order *order)
{
    uint64_t length = list_length_of(list), removed = 0;
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
        struct cell *cells = list_cells(object_heap(list), get(&list->pending[2]));

        for (uint64_t i = 0, to = 0; i < length; i++) {
            if (!kept[i])
                memcpy(&cells[to++], list_cell(list, i), sizeof *cells);
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
int list_exchange_content(struct object *list, struct list_order *order)
{
    struct heap *heap = object_heap(list);
    uint64_t length = list_length_of(list);
    int error = collect_removed(list, order);

    if (error == 0)
        error = new_cells(heap, order->count + order->count / 8 + FIRST_CAPACITY, &list->pending[1]);
    if (error == 0) {
        struct cell *cells = list_cells(heap, get(&list->pending[1]));
        struct cell *staged = get(&list->pending[0]) != 0 ? list_cells(heap, get(&list->pending[0])) : NULL;

        for (uint64_t i = 0; i < order->count; i++) {
            uint64_t from = order->from[i];

            memcpy(&cells[i], from < length ? list_cell(list, from) : &staged[from - length], sizeof *cells);
        }
        commit_rebuild(list, order->count);
    }
    free(order->from);
    return error;
}

/* The same, and releases what is pending. */
int list_rebuild(struct object *list, struct list_order *order)
{
    int error = list_exchange_content(list, order);

    object_release_pending(list);
    return error;
}

/* Behind the last: all or none. */
int list_append_many(struct object *list, const mp_value *values, size_t stride, size_t count)
{
    struct heap *heap = object_heap(list);

    if (count == 0)
        return 0;
    int error = list_make_room(list, count);
    if (error == 0)
        error = list_stage(list, values, stride, count);
    if (error != 0)
        return error;
    error = object_reserve_undo(list, 2 * count + 2);
    if (error == 0) {
        struct cell *staged = list_cells(heap, get(&list->pending[0])), *to = list_cell(list, list_length_of(list));

        object_begin(list);
        for (size_t i = 0; i < count; i++) {
            object_set(list, &to[i].head, get(&staged[i].head));
            object_set(list, &to[i].body, get(&staged[i].body));
        }
        object_set(list, &list->word[LIST_LENGTH], list_length_of(list) + count);
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
    error = list_append_many(list, values, stride, count);
    mutex_unlock(&list->mutex); /* what died meanwhile is buried when the owner is unlocked */
    return error;
}

/* A new list made of values while this one's mutex is held: pending ref 3 owns it until it is whole. */
int list_derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result)
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

/* A list that `value` may be stored in: 0, MP_EINVAL, MP_EFOREIGN. */
static int check(mp_list *handle, const mp_value *value)
{
    if (!object_is(handle, OBJECT_LIST))
        return MP_EINVAL;
    return value != NULL ? value_check(object_heap(list_object(handle)), value) : 0;
}

int list_lock(mp_list *handle, const mp_value *value)
{
    int error = check(handle, value);

    return error != 0 ? error : object_lock(list_object(handle), OBJECT_LIST);
}

int list_lock_alone(mp_list *handle, const mp_value *value)
{
    int error = check(handle, value);

    return error != 0 ? error : object_lock_alone(list_object(handle), OBJECT_LIST);
}
