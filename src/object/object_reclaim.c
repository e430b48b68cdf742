#include "object/object_reclaim.h"

#include <mp.h>

#include "base/clock.h"
#include "base/word.h"
#include "object/checking.h"
#include "object/object_kind.h"
#include "object/pin.h"
#include "object/ref.h"
#include "object/stripes.h"

/* How long reclaiming waits for the heap's mutex. */
#define PATIENCE_NS (200 * MICROSECOND)
/* The number of objects in limbo, and of dead ones, that one look at them visits. */
#define LOOK_AT_LIMBO (4 * HEAP_PINS)
#define LOOK_AT_MOST 64

/* ---- after a dead owner ---- */

bool object_roll_back_dead(struct object *object)
{
    struct heap *heap = object_heap(object);

    object_begin_again(object);
    if (!undo_roll_back(&object->undo, (char *)heap, word_get(&heap->size)))
        return false;
    object_commit(object);
    return true;
}

void object_finish_repair(struct object *object)
{
    object_release_pending(object);
    object_release_undo(object);
    const struct object_kind *kind = object_kind_of(object_kind(object));
    if (kind != NULL && kind->recover != NULL)
        kind->recover(object);
    mutex_repaired(&object->mutex);
}

int object_repair(struct object *object)
{
    word_put(&object->waits, 0);
    word_put(&object->met, word_get(&object->met) & ~(OBJECT_CHECKED | OBJECT_INSIDE));
    heap_recover(object_heap(object));
    if (!object_roll_back_dead(object)) {
        mutex_unlock(&object->mutex); /* unrepaired: it cannot be locked any more */
        return MP_ECORRUPT;
    }
    object_finish_repair(object);
    return 0;
}

/* ---- dead objects ---- */

/* Under heap_lock(), with nothing to commit: whether the object that *link leads to stays in limbo. If not, takes it
 * out; it dies unless it has a share. */
static bool stays_in_limbo(struct heap *heap, _Atomic uint64_t *link)
{
    struct object *object = ref_object(heap, word_get(link));

    if (word_get(&object->refs) == 0 && pin_is_set(heap, object->self))
        return true;
    heap_set(heap, link, word_get(&object->next));
    heap_set(heap, &object->kept, KEPT_NOT);
    object_die_if_unheld(heap, object);
    heap_commit(heap);
    return false;
}

/* Under heap_lock(): objects in limbo that are not pinned any more die; those that have a share again leave limbo
 * alive. */
static void look_at_limbo(struct heap *heap)
{
    _Atomic uint64_t *link = &heap->limbo;

    for (int looks = 0; word_get(link) != 0 && looks < LOOK_AT_LIMBO; looks++) {
        if (stays_in_limbo(heap, link))
            link = &ref_object(heap, word_get(link))->next;
    }
}

/* Under heap_lock(): takes a dead object out of heap.dead. Objects that died while it was reclaimed lie before it. */
static void unlink_dead(struct heap *heap, struct object *object)
{
    _Atomic uint64_t *link = &heap->dead;

    while (word_get(link) != object->self)
        link = &ref_object(heap, word_get(link))->next;
    heap_set(heap, link, word_get(&object->next));
}

/* Frees the log last, after the commit. If the process dies before that, the object is still dead, and the next process
 * to reclaim it frees the log. */
static bool clear_content(struct heap *heap, struct object *object)
{
    bool released = true;

    object_begin(object);
    for (int i = 0; i < OBJECT_ROOTS && released; i++)
        released = ref_release(heap, &object->root[i]);
    for (int i = 0; i < OBJECT_PENDING && released; i++)
        released = ref_release(heap, &object->pending[i]);
    if (!released)
        return false;
    object_release_undo(object);
    for (int i = 0; i < OBJECT_WORDS; i++)
        word_put(&object->word[i], 0);
    object_commit(object);
    heap_free(heap, &object->undo.log);
    return (word_get(&object->undo.more) | word_get(&object->undo.log)) == 0;
}

/* Within a change: the place is free for another object, of the next generation. */
static void become_spare(struct heap *heap, struct object *object)
{
    uint64_t next = (object_generation(object) + 1) & (OBJECT_GENERATIONS - 1);

    unlink_dead(heap, object);
    if (next == object_first_generation(heap)) {
        object_set_kind(heap, object, OBJECT_SPENT);
        return;
    }
    heap_set(heap, &object->magic, OBJECT_FREE | object_tag_of(next));
    heap_set(heap, &object->next, word_get(&heap->spare));
    heap_set(heap, &heap->spare, object->self);
}

/* Under the object's mutex. Stops where the heap's mutex is not free within heap_patience, as if the process had died
 * there: the object stays dead, and is reclaimed later. */
static void reclaim(struct heap *heap, struct object *object)
{
    stripes_forget(object);
    if (heap_lock(heap) != 0) /* recovers: the step that made the object dead may not be committed */
        return;
    heap_unlock(heap);
    if (object_kind(object) != OBJECT_DEAD || !stripes_try_hold_all(object))
        return;
    if (!clear_content(heap, object)) {
        if (word_get(&object->striped) != 0)
            stripes_release(object);
        return;
    }
    stripes_end(object);
    if (word_get(&object->stripes) != 0 || heap_lock(heap) != 0)
        return;
    become_spare(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
}

/* Takes the mutex of the first dead object whose mutex is free. *error: 0, or MP_EOWNERDEAD. Holds the heap's mutex
 * meanwhile, so it only tries. NULL: there is none. */
static struct object *take_dead(struct heap *heap, int *error)
{
    struct object *found = NULL;
    int looks = 0;

    if (heap_lock_until(heap, clock_now() + PATIENCE_NS) != 0)
        return NULL;
    look_at_limbo(heap);
    for (uint64_t at = word_get(&heap->dead); at != 0 && found == NULL && looks < LOOK_AT_MOST; looks++) {
        struct object *object = ref_object(heap, at);

        *error = mutex_error(pthread_mutex_trylock(&object->mutex));
        if (*error == MP_ETIMEOUT && checking_forgot(object))
            *error = mutex_error(pthread_mutex_trylock(&object->mutex));
        if (*error == 0 || *error == MP_EOWNERDEAD)
            found = object;
        at = word_get(&object->next);
    }
    heap_unlock(heap);
    return found;
}

void object_reclaim_dead(struct heap *heap)
{
    struct object *object, *last = NULL;
    int error;

    while ((word_get(&heap->dead) | word_get(&heap->limbo)) != 0 && (object = take_dead(heap, &error)) != NULL) {
        if (error == MP_EOWNERDEAD && object_repair(object) != 0)
            return;
        heap_patience = PATIENCE_NS;
        reclaim(heap, object);
        heap_patience = 0;
        bool again = object == last && object_kind(object) == OBJECT_DEAD; /* another thread holds its stripes */
        mutex_unlock(&object->mutex);
        if (again)
            return;
        last = object;
    }
}

void object_unlock_striped(struct object *object)
{
    stripes_release(object);
    mutex_unlock(&object->mutex);
}
