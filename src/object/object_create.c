#include "object/object_create.h"

#include <mp.h>

#include "base/robust_mutex.h"
#include "base/word.h"
#include "object/checking.h"
#include "object/hold.h"
#include "object/holder.h"
#include "object/object_kind.h"
#include "object/object_reclaim.h"
#include "object/ref.h"

/* Places are made in clusters, side by side. Places stay for ever, and scattered ones would cut up the memory of blocks
 * that are freed. A cluster has one place more than a quarter of those that exist, at most CLUSTER_MOST. */
#define CLUSTER_PART 4
#define CLUSTER_MOST 64

static int take_cluster(struct heap *heap)
{
    uint64_t count = word_get(&heap->made) / CLUSTER_PART + 1;

    if (count > CLUSTER_MOST)
        count = CLUSTER_MOST;
    int error = heap_alloc_locked(heap, count * OBJECT_STRIDE + 63, &heap->under_construction);
    if (error == MP_ENOMEM && count > 1)
        error = heap_alloc_locked(heap, OBJECT_STRIDE + 63, &heap->under_construction);
    return error;
}

/* Writes `count` places, each of which leads to the next. The last leads to the chains heap.spare and heap.objects. */
static int make_places(struct heap *heap, uint64_t block, uint64_t count)
{
    uint64_t magic = OBJECT_FREE | object_tag_of(object_first_generation(heap)), at = object_first_of(block);
    int error = 0;

    for (; count > 0 && error == 0; count--, at += OBJECT_STRIDE) {
        struct object *object = heap_at(heap, at);

        *object = (struct object){.magic = magic, .self = at, .block = block};
        word_put(&object->next, count > 1 ? at + OBJECT_STRIDE : word_get(&heap->spare));
        word_put(&object->next_all, count > 1 ? at + OBJECT_STRIDE : word_get(&heap->objects));
        error = mutex_init(&object->mutex);
    }
    return error;
}

/* Under heap_lock(), with nothing to commit.
 *   1. heap.under_construction gets the block, and that is committed: while a block may still be taken back, the free
 *      lists' words inside it must not be touched.
 *   2. The places are written. Nothing leads to them yet.
 *   3. One change puts them into the chains and clears heap.under_construction.
 * A process that dies between 1 and 3 leaves the block to heap.under_construction, and the next maker begins with step
 * 2. */
static int make_spares(struct heap *heap)
{
    int error = word_get(&heap->under_construction) == 0 ? take_cluster(heap) : 0;

    if (error != 0)
        return error;
    heap_commit(heap);
    uint64_t block = word_get(&heap->under_construction), first = object_first_of(block);
    uint64_t count = (block + heap_block_size(heap, block) - first) / OBJECT_STRIDE;
    error = make_places(heap, block, count);
    if (error != 0)
        return error;
    heap_set(heap, &heap->objects, first);
    heap_set(heap, &heap->spare, first);
    heap_set(heap, &heap->made, word_get(&heap->made) + count);
    heap_set(heap, &heap->under_construction, 0);
    heap_commit(heap);
    return 0;
}

/* Under heap_lock(), as the first words of a change: takes an object out of heap.spare. NULL: *error says why. */
static struct object *take_object(struct heap *heap, uint64_t kind, int *error)
{
    *error = word_get(&heap->spare) == 0 ? make_spares(heap) : 0;
    if (*error != 0)
        return NULL;
    struct object *object = ref_object(heap, word_get(&heap->spare));
    if (object_kind_has_undo(kind))
        *error = heap_alloc_locked(heap, UNDO_LOG_BYTES, &object->undo.log);
    if (*error != 0)
        return NULL;
    heap_set(heap, &heap->spare, word_get(&object->next));
    return object;
}

/* Within a change: from the commit on, the object is one of that kind. No other process looks at its words before. */
static void begin_life(struct heap *heap, struct object *object, uint64_t kind)
{
    word_put(&object->waits, 0);
    undo_order();
    object_set_kind(heap, object, kind);
}

/* Makes an object. Its only share is that of *slot, if it is given; or that of a hold, if `held`; else its handle keeps
 * it. */
static int create(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, bool held, struct object **result)
{
    struct holder *holder = NULL;
    int error = held ? hold_lock(heap, &holder) : heap_lock(heap);

    if (error != 0)
        return error;
    if (holder != NULL)
        error = hold_ready(heap, holder);
    struct object *object = error == 0 ? take_object(heap, kind, &error) : NULL;
    if (object == NULL) {
        undo_roll_back(&heap->undo, (char *)heap, word_get(&heap->size));
        heap_unlock(heap);
        return error;
    }
    word_put(&object->refs, slot != NULL);
    word_put(&object->kept, slot == NULL && !held ? KEPT_HANDLE : KEPT_NOT);
    word_put(&object->holds, 0);
    if (slot != NULL)
        heap_set(heap, slot, object->self | REF_OBJECT);
    if (holder != NULL)
        hold_enter(heap, holder, object);
    begin_life(heap, object, kind);
    heap_commit(heap);
    if (holder != NULL)
        hold_ready(heap, holder); /* without memory, a later call tries again */
    heap_unlock(heap);
    *result = object;
    return 0;
}

int object_create(struct heap *heap, uint64_t kind, struct object **object)
{
    return create(heap, kind, NULL, false, object);
}

int object_create_in(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, struct object **object)
{
    return create(heap, kind, slot, false, object);
}

int object_create_held(struct heap *heap, uint64_t kind, struct object **object)
{
    int error = create(heap, kind, NULL, true, object);

    if (error == MP_ENOMEM && hold_look_at_all(heap)) /* what the dead held may be enough */
        error = create(heap, kind, NULL, true, object);
    return error;
}

int object_free(const void *handle, uint64_t kind)
{
    if (!object_is(handle, kind))
        return MP_EINVAL;
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);
    if (error != 0)
        return error;
    if (word_get(&object->magic) != object_magic(handle, kind) || word_get(&object->kept) == 0) {
        heap_unlock(heap);
        return MP_EINVAL;
    }
    heap_set(heap, &object->kept, 0);
    object_die_if_unheld(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
    object_reclaim_dead(heap);
    return 0;
}

/* Whether the mutex of an object in a heap that was just opened names a thread of another PID namespace. Only locks are
 * shared by name between namespaces, and only they have marks. What the heap says of namespaces does not count: the
 * file may be damaged. */
static bool is_held_elsewhere(const struct object *object, uint64_t kind)
{
    pid_t thread;

    return kind == OBJECT_LOCK && robust_mutex_held(&object->mutex, &thread) &&
           holder_is_elsewhere((uint32_t)thread, word_get(&object->holder));
}

int object_root(struct heap *heap, uint64_t kind, struct object **root)
{
    uint64_t offset = atomic_load(&heap->root);

    if (offset % 64 != 0 || offset < sizeof(struct heap) || offset > word_get(&heap->size) - sizeof(struct object))
        return MP_ECORRUPT;
    *root = ref_object(heap, offset);
    if (object_kind(*root) == OBJECT_DEAD)
        heap_recover(heap);
    if (object_kind(*root) != kind || (*root)->self != offset ||
        checking_look(*root, !is_held_elsewhere(*root, kind)) != 0)
        return MP_ECORRUPT;
    return !object_kind_has_undo(kind) || heap_holds(heap, word_get(&(*root)->undo.log), UNDO_LOG_BYTES) ? 0
                                                                                                         : MP_ECORRUPT;
}
