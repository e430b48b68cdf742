/* Objects: made, shared, locked, repaired, buried. See object.h for who owns what.
 *
 * An object's block is made once and then goes between use and heap.spare for ever. One that nobody holds any more (no ref, no
 * handle) becomes OBJECT_DEAD and enters heap.dead in the same step that gives up the last hold; whoever comes by next buries
 * it: under its mutex, releases its content piece by piece, then moves it to heap.spare. A burial that is cut short by death
 * is taken up by the next. Releasing content may give up the last hold of others, which enter heap.dead in turn: nothing
 * recurses, however deep containers are nested. */
#include "object.h"

#include <mp.h>

#include "cancelling.h"
#include "stripes.h"

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static struct object *object_at(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, ref & ~REF_MASK);
}

/* ---- making ---- */

/* Under heap_lock(), as the first words of a change: an object that is in no use. NULL: no memory. */
static struct object *take_object(struct heap *heap, int *error)
{
    struct object *object;

    *error = 0;
    if (get(&heap->spare) != 0) {
        object = object_at(heap, get(&heap->spare));
        heap_set(heap, &heap->spare, get(&object->next));
        return object;
    }
    /* A step of its own: while a block may still be taken back, the free lists' words inside it must not be touched. */
    if (get(&heap->carving) == 0) {
        *error = heap_alloc_locked(heap, sizeof(struct object) + 63, &heap->carving);
        if (*error != 0)
            return NULL;
        heap_commit(heap);
    }
    /* Aligned to cache lines, so that readers' words and the mutex lie in different ones. */
    uint64_t offset = (get(&heap->carving) + 63) / 64 * 64;
    object = heap_at(heap, offset);
    *object = (struct object){.self = offset, .block = get(&heap->carving)};
    *error = mutex_init(&object->mutex);
    if (*error != 0)
        return NULL;
    put(&object->next_all, get(&heap->objects));
    heap_set(heap, &heap->objects, offset);
    heap_set(heap, &heap->carving, 0);
    return object;
}

static int create(struct heap *heap, uint64_t magic, _Atomic uint64_t *slot, struct object **result)
{
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    struct object *object = take_object(heap, &error);
    if (object == NULL) {
        undo_roll_back(&heap->undo, (char *)heap, get(&heap->size));
        heap_unlock(heap);
        return error;
    }
    /* Nobody looks at these before the magic is there. */
    put(&object->refs, slot != NULL);
    put(&object->handle, slot == NULL);
    if (slot != NULL)
        heap_set(heap, slot, object->self | REF_OBJECT);
    undo_order();
    heap_set(heap, &object->magic, magic);
    heap_commit(heap);
    heap_unlock(heap);
    *result = object;
    return 0;
}

int object_create(struct heap *heap, uint64_t magic, struct object **object)
{
    return create(heap, magic, NULL, object);
}

int object_create_in(struct heap *heap, uint64_t magic, _Atomic uint64_t *slot, struct object **object)
{
    return create(heap, magic, slot, object);
}

/* ---- sharing ---- */

void object_adopt(struct heap *heap, _Atomic uint64_t *slot)
{
    if (heap_lock(heap) != 0)
        return;
    struct object *object = object_at(heap, get(slot));
    heap_set(heap, &object->handle, 1);
    heap_set(heap, &object->refs, get(&object->refs) - 1);
    heap_set(heap, slot, 0);
    heap_commit(heap);
    heap_unlock(heap);
}

int object_retain(struct object *object, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    if (get(&object->magic) == OBJECT_DICT || get(&object->magic) == OBJECT_LIST) {
        heap_set(heap, &object->refs, get(&object->refs) + 1);
        heap_set(heap, slot, object->self | REF_OBJECT);
        heap_commit(heap);
    } else {
        error = MP_EINVAL;
    }
    heap_unlock(heap);
    return error;
}

/* Within a change of the heap's: if that was the last hold on it, the object is dead. */
static void die_if_unheld(struct heap *heap, struct object *object)
{
    if (get(&object->refs) != 0 || get(&object->handle) != 0)
        return;
    heap_set(heap, &object->magic, OBJECT_DEAD);
    heap_set(heap, &object->next, get(&heap->dead));
    heap_set(heap, &heap->dead, object->self);
}

static void release_share(struct heap *heap, _Atomic uint64_t *ref)
{
    if (heap_lock(heap) != 0)
        return;
    struct object *object = object_at(heap, get(ref));
    heap_set(heap, &object->refs, get(&object->refs) - 1);
    heap_set(heap, ref, 0);
    die_if_unheld(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
}

/* ---- burying ---- */

/* Under heap_lock(): takes a dead object out of heap.dead, where those that died while it was buried lie before it. */
static void unlink_dead(struct heap *heap, struct object *object)
{
    _Atomic uint64_t *link = &heap->dead;

    while (get(link) != object->self)
        link = &object_at(heap, get(link))->next;
    heap_set(heap, link, get(&object->next));
}

static void clear_content(struct heap *heap, struct object *object)
{
    object_begin(object);
    for (int i = 0; i < OBJECT_ROOTS; i++)
        ref_release(heap, &object->root[i]);
    object_release_pending(object);
    object_release_undo(object);
    for (size_t i = 0; i < sizeof object->word / sizeof object->word[0]; i++)
        put(&object->word[i], 0);
    object_commit(object);
}

bool object_take_back(struct object *object)
{
    struct heap *heap = object_heap(object);

    object_begin(object);
    if (!undo_roll_back(&object->undo, (char *)heap, get(&heap->size)))
        return false;
    object_commit(object);
    return true;
}

void object_finish_repair(struct object *object)
{
    object_release_pending(object);
    object_release_undo(object);
    mutex_repaired(&object->mutex);
}

int object_repair(struct object *object)
{
    heap_settle(object_heap(object));
    if (!object_take_back(object)) {
        mutex_unlock(&object->mutex); /* not repaired: nobody gets it any more */
        return MP_ECORRUPT;
    }
    object_finish_repair(object);
    return 0;
}

/* False: cannot be done now, for this thread is inside the object. */
static bool bury(struct heap *heap, struct object *object)
{
    int error = mutex_lock(&object->mutex);

    if (error == MP_EOWNERDEAD)
        error = object_repair(object);
    if (error != 0)
        return false;
    put(&object->held, 0);
    heap_settle(heap); /* that it is dead may be a step not committed */
    if (get(&object->magic) == OBJECT_DEAD && (error = stripes_hold_all(object)) == 0) {
        clear_content(heap, object);
        stripes_end(object);
        error = heap_lock(heap);
        if (error == 0) {
            unlink_dead(heap, object);
            heap_set(heap, &object->magic, OBJECT_SPARE);
            heap_set(heap, &object->next, get(&heap->spare));
            heap_set(heap, &heap->spare, object->self);
            heap_commit(heap);
            heap_unlock(heap);
        }
    }
    mutex_unlock(&object->mutex);
    return error == 0;
}

void object_bury_dead(struct heap *heap)
{
    uint64_t dead;

    while ((dead = get(&heap->dead)) != 0) {
        if (!bury(heap, object_at(heap, dead)))
            return;
    }
}

int object_free(struct object *object, uint64_t magic)
{
    if (!object_is(object, magic))
        return MP_EINVAL;
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);
    if (error != 0)
        return error;
    if (get(&object->magic) != magic || get(&object->handle) == 0) {
        heap_unlock(heap);
        return MP_EINVAL;
    }
    heap_set(heap, &object->handle, 0);
    die_if_unheld(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
    object_bury_dead(heap);
    return 0;
}

/* ---- locking ---- */

bool object_is_after_all(const struct object *object, uint64_t magic)
{
    heap_settle(object_heap(object));
    return get(&object->magic) == magic;
}

static int lock_mutex(struct object *object, uint64_t magic, int number)
{
    int error = number == 0 ? 0 : mutex_lock_later(&object->mutex, DEADLINE_NEVER, number);

    if (error == MP_EOWNERDEAD)
        error = object_repair(object);
    if (error != 0)
        return error;
    if (get(&object->magic) != magic) {
        heap_settle(object_heap(object));
        if (get(&object->magic) != magic) {
            mutex_unlock(&object->mutex);
            return MP_EINVAL;
        }
    }
    return 0;
}

int object_lock_alone_later(struct object *object, uint64_t magic, int number)
{
    int error = lock_mutex(object, magic, number);

    if (error != 0)
        return error;
    put(&object->held, 0); /* whatever a dead holder held, we hold nothing */
    return 0;
}

int object_lock_later(struct object *object, uint64_t magic, int number)
{
    int error = object_lock_alone_later(object, magic, number);

    if (error == 0) {
        error = stripes_hold_all(object);
        if (error != 0)
            mutex_unlock(&object->mutex);
    }
    return error;
}

void object_unlock_striped(struct object *object)
{
    stripes_release(object);
    mutex_unlock(&object->mutex);
}

static _Thread_local const struct callback *innermost;

void object_callback_begin(struct callback *callback, const struct object *object)
{
    *callback = (struct callback){innermost, object_heap(object), cancelling_forbid()};
    innermost = callback;
}

void object_callback_end(const struct callback *callback)
{
    innermost = callback->outer;
    cancelling_allow(callback->cancelling);
}

bool object_in_callback(const struct heap *heap)
{
    const struct callback *callback = innermost;

    while (callback != NULL && callback->heap != heap)
        callback = callback->outer;
    return callback != NULL;
}

void object_roll_back(struct object *object)
{
    undo_roll_back(&object->undo, (char *)object_heap(object), get(&object_heap(object)->size));
    object_commit(object);
}

int object_reserve_undo(struct object *object, uint64_t records)
{
    struct undo *undo = &object->undo;

    if (records <= UNDO_RECORDS)
        return 0;
    if (records > UINT64_C(1) << 40)
        return MP_ENOMEM;
    records -= UNDO_RECORDS;
    if (get(&undo->more) != 0 && undo->more_capacity >= records)
        return 0;
    object_release_undo(object);
    int error = heap_alloc(object_heap(object), records * sizeof(struct undo_record), &undo->more);
    if (error == 0)
        undo->more_capacity = records;
    return error;
}

void object_release_undo(struct object *object)
{
    object->undo.more_capacity = 0;
    heap_free(object_heap(object), &object->undo.more);
}

int object_root(struct heap *heap, uint64_t magic, struct object **root)
{
    uint64_t offset = atomic_load(&heap->root);

    if (offset % 64 != 0 || offset < sizeof(struct heap) || offset > get(&heap->size) - sizeof(struct object))
        return MP_ECORRUPT;
    *root = object_at(heap, offset);
    return object_is(*root, magic) && (*root)->self == offset && mutex_check(&(*root)->mutex) == 0 ? 0 : MP_ECORRUPT;
}

/* ---- releasing ---- */

static void release_cell(struct heap *heap, _Atomic uint64_t *head, _Atomic uint64_t *body)
{
    if (get(head) & CELL_OWNS)
        ref_release(heap, body);
}

static void release_table(struct heap *heap, _Atomic uint64_t *table, bool shell)
{
    for (uint64_t i = get(&table[0]); i > 0; i--) {
        if (shell)
            heap_free(heap, &table[i]);
        else
            ref_release(heap, &table[i]);
    }
}

static void release_cells(struct heap *heap, _Atomic uint64_t *block)
{
    struct cell *cells = (struct cell *)(block + 2);

    for (uint64_t i = 0, count = get(&block[0]); i < count; i++)
        release_cell(heap, &cells[i].head, &cells[i].body);
}

static void release_entries(struct heap *heap, _Atomic uint64_t *block)
{
    struct entry *entries = (struct entry *)(block + 2);

    for (uint64_t i = 0, count = get(&block[0]); i < count; i++) {
        if (get(&entries[i].sequence) == 0)
            continue;
        release_cell(heap, &entries[i].key_head, &entries[i].key_body);
        release_cell(heap, &entries[i].value.head, &entries[i].value.body);
    }
}

void ref_release(struct heap *heap, _Atomic uint64_t *ref)
{
    uint64_t value = get(ref);
    _Atomic uint64_t *block = heap_at(heap, value & ~REF_MASK);

    if ((value & ~REF_MASK) == 0)
        return;
    switch ((enum ref_kind)(value & REF_MASK)) {
    case REF_OBJECT:
        release_share(heap, ref);
        return;
    case REF_TABLE:
        release_table(heap, block, false);
        break;
    case REF_SHELL:
        release_table(heap, block, true);
        break;
    case REF_CELLS:
        release_cells(heap, block);
        break;
    case REF_ENTRIES:
        release_entries(heap, block);
        break;
    case REF_BLOCK:
        break;
    }
    heap_free(heap, ref);
}

void object_release_pending(struct object *object)
{
    struct heap *heap = object_heap(object);

    for (int i = 0; i < OBJECT_PENDING; i++)
        ref_release(heap, &object->pending[i]);
}
