#include "object/ref.h"

#include <mp.h>
#include <string.h>

#include "base/word.h"
#include "object/object_kind.h"
#include "object/pin.h"

/* The least room of a table. */
#define FIRST_ROOM 7

/* ---- shares ---- */

int object_retain(const void *handle, uint64_t kind, _Atomic uint64_t *slot)
{
    struct object *object = object_of(handle);
    struct heap *heap = object_heap(object);
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    if (word_get(&object->magic) == object_magic(handle, kind)) {
        heap_set(heap, &object->refs, word_get(&object->refs) + 1);
        heap_set(heap, slot, object->self | REF_OBJECT);
        heap_commit(heap);
    } else {
        error = MP_EINVAL;
    }
    heap_unlock(heap);
    return error;
}

static bool is_container(const struct object *object)
{
    return object_kind_is_container(object_kind(object));
}

static void enter_limbo(struct heap *heap, struct object *object)
{
    heap_set(heap, &object->kept, KEPT_LIMBO);
    heap_set(heap, &object->next, word_get(&heap->limbo));
    heap_set(heap, &heap->limbo, object->self);
}

void object_die_if_unheld(struct heap *heap, struct object *object)
{
    if (word_get(&object->refs) != 0 || word_get(&object->kept) != KEPT_NOT)
        return;
    if (is_container(object) && pin_is_set(heap, object->self)) {
        enter_limbo(heap, object);
        return;
    }
    object_set_kind(heap, object, OBJECT_DEAD);
    heap_set(heap, &object->next, word_get(&heap->dead));
    heap_set(heap, &heap->dead, object->self);
}

void object_lose_share(struct heap *heap, struct object *object)
{
    uint64_t refs = word_get(&object->refs) - 1;

    /* An object that is known to be pinned enters limbo first: so refs and kept never both say that it is not alive. */
    if (refs == 0 && word_get(&object->kept) == KEPT_NOT && is_container(object) && pin_is_set(heap, object->self))
        enter_limbo(heap, object);
    heap_set(heap, &object->refs, refs);
    object_die_if_unheld(heap, object);
}

static void release_share(struct heap *heap, _Atomic uint64_t *ref)
{
    if (heap_lock(heap) != 0)
        return;
    struct object *object = ref_object(heap, word_get(ref));
    heap_set(heap, ref, 0);
    object_lose_share(heap, object);
    heap_commit(heap);
    heap_unlock(heap);
}

/* ---- releasing ---- */

static bool owns_nothing(const _Atomic uint64_t *ref)
{
    return (word_get(ref) & ~REF_MASK) == 0;
}

static bool release_table(struct heap *heap, _Atomic uint64_t *table, bool shell)
{
    bool released = true;

    for (uint64_t i = word_get(&table[0]); i > 0 && released; i--) {
        if (shell)
            heap_free(heap, &table[i]);
        released = shell ? owns_nothing(&table[i]) : ref_release(heap, &table[i]);
    }
    return released;
}

static bool release_items(struct heap *heap, _Atomic uint64_t *block, const struct block_kind *kind)
{
    _Atomic uint64_t *ref;
    uint64_t count = word_get(&block[0]), at = 0;
    bool released = true;

    while (released && kind != NULL && (ref = kind->next_ref((char *)block + BLOCK_ITEMS, count, &at)) != NULL)
        released = ref_release(heap, ref);
    return released;
}

bool ref_release(struct heap *heap, _Atomic uint64_t *ref)
{
    uint64_t value = word_get(ref);
    _Atomic uint64_t *block = heap_at(heap, value & ~REF_MASK);
    bool released = true;

    if ((value & ~REF_MASK) == 0)
        return true;
    switch (value & REF_MASK) {
    case REF_OBJECT:
        release_share(heap, ref);
        return owns_nothing(ref);
    case REF_TABLE:
        released = release_table(heap, block, false);
        break;
    case REF_TABLE_SHALLOW:
        released = release_table(heap, block, true);
        break;
    case REF_BLOCK:
        break;
    default:
        released = release_items(heap, block, block_kinds[value & REF_MASK]);
    }
    if (released)
        heap_free(heap, ref);
    return owns_nothing(ref);
}

void object_release_pending(struct object *object)
{
    struct heap *heap = object_heap(object);

    for (int i = 0; i < OBJECT_PENDING; i++)
        ref_release(heap, &object->pending[i]);
}

/* ---- tables ---- */

int ref_table_new(struct object *object, uint64_t count, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(object);
    uint64_t size = (1 + (count < FIRST_ROOM ? FIRST_ROOM : count)) * 8;
    int error = heap_alloc(heap, size, slot);

    if (error == 0)
        memset(heap_at(heap, word_get(slot)), 0, size);
    return error;
}

int ref_table_reserve(struct object *object, _Atomic uint64_t *root, _Atomic uint64_t *pending)
{
    struct heap *heap = object_heap(object);
    uint64_t old = word_get(root), count = word_get(heap_at(heap, old & ~REF_MASK));

    if (1 + count < heap_block_size(heap, old & ~REF_MASK) / 8)
        return 0;
    int error = ref_table_new(object, count * 2, pending);
    if (error != 0)
        return error;
    memcpy(heap_at(heap, word_get(pending)), heap_at(heap, old & ~REF_MASK), (1 + count) * 8);
    object_begin(object);
    object_set(object, root, word_get(pending) | REF_TABLE);
    object_set(object, pending, (old & ~REF_MASK) | REF_BLOCK);
    object_commit(object);
    ref_release(heap, pending);
    return 0;
}
