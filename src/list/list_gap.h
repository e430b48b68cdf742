/* The gap of a list (a gap buffer), and what uses it: see list_place.h. Nothing here needs memory.
 *
 * Unless a comment says something else, the caller of the functions below holds the list's mutex and all stripes, and
 * the list is settled. */
#ifndef LIST_GAP_H
#define LIST_GAP_H

#include "list/list_place.h"

/* Finishes a removal or reversal that a dead process left unfinished. Takes the stripes that it needs. 0, MP_ECORRUPT
 * (of a stripe). */
int list_settle_now(struct object *list);
static inline bool list_is_settled(const struct object *list)
{
    return word_get(&list->word[LIST_STEP]) == 0;
}
static inline int list_settle(struct object *list)
{
    return __builtin_expect(list_is_settled(list), 1) ? 0 : list_settle_now(list);
}
/* Finishes a removal or reversal that the dead owner of the list's mutex began. The caller holds the mutex and no
 * stripe. */
void list_repair(struct object *list);

/* Moves the gap, if there is one, to an index. At either end of the list it stops being a gap. Takes the stripes it
 * needs. */
int list_move_gap(struct object *list, uint64_t to);
/* Removes an element. Afterwards pending ref 0 owns what the element owned. */
int list_take_out(struct object *list, uint64_t at);
/* Removes `count` elements, `step` apart, from `first` on. */
int list_cut(struct object *list, uint64_t first, uint64_t step, uint64_t count);
/* Begins a removal as part of the caller's change, which also sets LIST_LENGTH. The gap, if there is one, is before
 * `first`. The caller calls list_settle_now() after the change. */
void list_cut_begin(struct object *list, uint64_t first, uint64_t step, uint64_t count);
/* Reverses the list. */
int list_turn(struct object *list);
/* Moves all free room of the list's segments behind the last element. MP_ENOMEM: there is room for less than `count`
 * cells. */
int list_gather_room(struct object *list, uint64_t count);
/* Makes room for one element before the first, out of the room in the list's segments. */
int list_open_front(struct object *list);
/* The number of free positions before the first cell that exist. */
uint64_t list_room_in_front(const struct object *list);
/* Makes a gap of `size` positions, which exist and are empty, at the front or the end of a list that has no gap. */
void list_begin_gap(struct object *list, bool front, uint64_t size);

#endif
