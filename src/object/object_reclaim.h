/* What the dead leave: the change of an owner that died under an object's mutex is rolled back, and objects that have
 * died are reclaimed.
 *
 * An object without a share (no ref, no handle) is dead: the step that takes its last share also makes it OBJECT_DEAD
 * and puts it into heap.dead. The next process to unlock any object of the heap reclaims it: under its mutex, releases
 * its content piece by piece, then moves it to heap.spare. If that process dies meanwhile, the next one goes on.
 * Releasing content may take the last share of other objects, which enter heap.dead in turn: nothing recurses, however
 * deep containers are nested.
 *
 * The process that reclaims may hold other mutexes. So it does not wait for an object's mutex or stripes: an object
 * that another process has locked is left to that process, which looks for dead objects when it unlocks. */
#ifndef OBJECT_RECLAIM_H
#define OBJECT_RECLAIM_H

#include "object/object.h"

/* What object_lock() does after MP_EOWNERDEAD: brings the object back to a whole state, and makes its mutex usable.
 * MP_ECORRUPT: its undo log is damaged. The mutex is unlocked unrepaired, and all later calls get MP_ECORRUPT, too. */
int object_repair(struct object *object);
/* object_repair() in two steps, for the checker, which looks at everything in between. The heap's own log is rolled
 * back already. The first step rolls the object's unfinished change back (false: the undo log is damaged). The second
 * releases what was pending, and makes the mutex usable. */
bool object_roll_back_dead(struct object *object);
void object_finish_repair(struct object *object);
/* Reclaims dead objects, and those in heap.limbo that are not pinned any more. Does not wait for an object that another
 * process has locked: that process calls this when it unlocks the object. While another process keeps the heap's mutex,
 * all are left to later calls, also in the middle of one. Only for an object that a dead process had locked it waits
 * for the heap's mutex. */
void object_reclaim_dead(struct heap *heap);
/* Also unlocks the stripes that are held. */
void object_unlock_striped(struct object *object);
/* Unlocks the object. Then reclaims dead objects, if there are any. */
static inline void object_unlock(struct object *object)
{
    struct heap *heap = object_heap(object);

    MP_ASSERT(undo_count(&object->undo) == 0);
    if (atomic_load_explicit(&object->striped, memory_order_relaxed) != 0)
        object_unlock_striped(object);
    else
        mutex_unlock(&object->mutex);
    if (atomic_load_explicit(&heap->dead, memory_order_relaxed) != 0)
        object_reclaim_dead(heap);
}

#endif
