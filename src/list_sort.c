/* Sorting: of indices, in private memory; the list then changes in one step. Its mutex is held all the while, so that views of its
 * cells need no copies. */
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "list_table.h"

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
    uint64_t length = list_length_of(list);
    struct list_order order;
    struct callback callback;
    int error = list_order_new(&order, length);
    uint64_t *other = malloc((length + 1) * sizeof *other);

    sorting->values = malloc((length + 1) * sizeof *sorting->values);
    if (error == 0 && (other == NULL || sorting->values == NULL)) {
        free(order.from);
        error = MP_ENOMEM;
    }
    if (error == 0) {
        for (uint64_t i = 0; i < length; i++)
            sorting->values[i] = cell_view(object_heap(list), list_cell(list, i));
        list_order_add(&order, 0, length);
        object_callback_begin(&callback, list);
        uint64_t *sorted = sort_indices(sorting, order.from, other, length);
        object_callback_end(&callback);
        if (sorted != order.from)
            memcpy(order.from, sorted, length * sizeof *sorted);
        error = sorting->error;
        if (error == 0)
            error = list_rebuild(list, &order);
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
    int error = list_lock(handle, NULL);

    if (error != 0)
        return error;
    error = sort(list_object(handle), &sorting);
    object_unlock(list_object(handle));
    return error;
}
