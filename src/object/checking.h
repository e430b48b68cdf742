/* The checker of a heap, and its death. The checker (object_check.c) holds the mutex of every object at once. When a
 * thread dies, the kernel marks at most 2 048 of its robust mutexes as a dead owner's (ROBUST_LIST_LIMIT). The others
 * keep the dead thread's number for ever. So the checker writes its mark (holder.h) into the heap first, and a note
 * into each object whose mutex it holds. A thread that waits for an object with a note asks whether the checker is
 * dead; if it is, the thread marks the mutex as the kernel would have. */
#ifndef CHECKING_H
#define CHECKING_H

#include "object/object.h"

/* The calling thread is the only one that checks the heap from here on. MP_ETIMEOUT, MP_EDEADLK, MP_ECORRUPT. */
int checking_begin(struct heap *heap, int64_t deadline);
/* Writes the checker's mark, before it takes any object's mutex. No dead checker has such a mutex any more. */
void checking_say(struct heap *heap);
void checking_end(struct heap *heap);
/* The checker locks and unlocks an object. It unlocks in the reverse order of locking. */
int checking_lock(struct object *object, int64_t deadline);
void checking_unlock(struct object *object);
/* The checker keeps the mutex of an object whose owner died: it takes the owner's place. */
void checking_inherit(struct object *object);
/* Whether a checker holds the object's mutex, dead or alive. */
static inline bool checking_holds(const struct object *object)
{
    return (atomic_load_explicit(&object->met, memory_order_relaxed) & OBJECT_CHECKED) != 0;
}
/* If a checker holds the mutex and is dead, marks the mutex as one whose owner died. Returns whether it did so. */
bool checking_forgot(struct object *object);
/* Like checking_forgot(), but makes certain that a dead checker is found out. Then calls mutex_check() with
 * `numbers_tell`. */
int checking_look(struct object *object, bool numbers_tell);

#endif
