/* Sorting. Indices are sorted in private memory, then the list changes in one step. The mutex is held all the while, so
 * views of the cells need no copies. */
#include <stdlib.h>
#include <string.h>

#include "list/list_table.h"
#include "object/callback.h"
#include "value/compare.h"

struct sorting {
    struct object *list;
    struct list_order order;
    uint64_t *other;
    mp_value *values;
    mp_compare *compare;
    void *arg;
    bool reverse;
    bool called, foreign;
    int error;
};

/* Whether the element at the later place sorts before the other. */
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

/* Bottom-up merge sort: stable. Sorts indices; returns the array that holds the result. */
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

/* Allocates and reads what sorting needs. False: no memory. */
static bool prepare(struct sorting *sorting)
{
    uint64_t length = list_length_of(sorting->list);

    if (list_order_new(&sorting->order, length) != 0)
        return false;
    sorting->other = malloc((length + 1) * sizeof *sorting->other);
    sorting->values = malloc((length + 1) * sizeof *sorting->values);
    if (sorting->other == NULL || sorting->values == NULL)
        return false;
    for (uint64_t i = 0; i < length; i++)
        sorting->values[i] = cell_view(object_heap(sorting->list), list_cell(sorting->list, i));
    list_order_add(&sorting->order, 0, length);
    return true;
}

/* Runs however the user's function is left, also by a C++ exception or the end of the thread. A child forked inside the
 * function runs this too, but holds nothing. */
static void leave(struct sorting *sorting)
{
    if (sorting->called && !callback_end(sorting->list))
        sorting->foreign = true;
    if (!sorting->foreign)
        object_unlock(sorting->list);
    free(sorting->order.from);
    free(sorting->other);
    free(sorting->values);
}

static int sort(struct sorting *sorting)
{
    uint64_t *from = sorting->order.from, length = sorting->order.count;
    int error = callback_begin(sorting->list);

    if (error != 0)
        return error;
    sorting->called = true;
    uint64_t *sorted = sort_indices(sorting, from, sorting->other, length);
    sorting->called = false;
    sorting->foreign = !callback_end(sorting->list);
    if (sorting->foreign)
        return MP_EFOREIGN;
    if (sorted != from)
        memcpy(from, sorted, length * sizeof *sorted);
    if (sorting->error != 0)
        return sorting->error;
    struct list_order order = sorting->order;
    sorting->order.from = NULL; /* list_rebuild() frees it */
    return list_rebuild(sorting->list, &order);
}

int mp_list_sort(mp_list *handle, mp_compare *compare, void *arg, bool reverse)
{
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    struct sorting sorting __attribute__((cleanup(leave))) = {
        .list = list_object(handle), .compare = compare, .arg = arg, .reverse = reverse};
    return prepare(&sorting) ? sort(&sorting) : MP_ENOMEM;
}
