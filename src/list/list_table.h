/* How a list grows and shrinks: its segments, and values that are built aside before they become its own. */
#ifndef LIST_TABLE_H
#define LIST_TABLE_H

#include "list/list_gap.h"
#include "value/snapshot.h"

#define LIST_LARGEST (UINT64_C(1) << 36)

/* Takes a list's mutex, and all of its stripes (list_lock()) or none (list_lock_alone()). First checks that `value`, if
 * it is not NULL, may be stored in the list. Then settles the list. On failure nothing is held. */
int list_lock(mp_list *handle, const mp_value *value);
int list_lock_alone(mp_list *handle, const mp_value *value);
/* Takes a snapshot of another list, then the list's mutex: with `alone` as list_lock_alone() does, else as list_lock().
 * On failure nothing is held. list_unlock_both() releases both. */
int list_lock_both(mp_list *handle, mp_list *other, bool alone, struct snapshot *items);
void list_unlock_both(mp_list *handle, struct snapshot *items);

/* Unless a comment says something else, the caller of the functions below holds the list's mutex and all stripes, and
 * the list is settled. MP_ENOMEM: the list holds what it did before. */

/* Makes room for `count` more behind the last element. Takes the stripes it needs. */
int list_reserve(struct object *list, uint64_t count);
/* Makes room for one more before the first element of a list that is not empty. */
int list_reserve_front(struct object *list);
/* Gives memory back if little of it is in use. */
void list_shrink(struct object *list);
/* Builds `count` values, `stride` bytes apart, in a block of cells that pending ref 0 owns. */
int list_stage(struct object *list, const mp_value *values, size_t stride, size_t count);
/* Makes a gap of at least `count` cells before the element with that index, or behind the last element. The list is not
 * empty. */
int list_open(struct object *list, uint64_t at, uint64_t count);
/* Removes all elements. */
void list_empty(struct object *list);
/* Removes an element. Settles the list first. */
int list_remove_at(struct object *list, uint64_t at);

/* The new order of a list's cells: for each place the number of the cell that goes there. Numbers below the length are
 * the list's own cells, those above are the staged cells. No number occurs twice. */
struct list_order {
    uint64_t count;
    uint64_t *from;
};

int list_order_new(struct list_order *order, uint64_t count);
static inline void list_order_add(struct list_order *order, uint64_t from, uint64_t to)
{
    for (; from < to; from++)
        order->from[order->count++] = from;
}

/* Gives the list the new order, which holds all of its own cells and all staged ones. Frees the order. */
int list_rebuild(struct object *list, struct list_order *order);
/* Appends values: all or none. Takes the stripes it needs. */
int list_append_many(struct object *list, const mp_value *values, size_t stride, size_t count);

/* Makes a new list of `count` values, `stride` bytes apart. *slot, an empty pending ref of `owner`, owns it; the mutex
 * of `owner` is held. MP_ENOMEM: *slot may own a part of the list; the caller releases it. */
int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count);
/* Makes a new list with a handle. The values may lie in this list's own cells. */
int list_derive(struct object *list, const mp_value *values, size_t stride, size_t count, mp_list **result);

#endif
