/* Refs: who owns what.
 *
 * A `ref` is a word in the heap that owns what it points to. It is an offset, with the kind of what lies there in its
 * low four bits (enum ref_kind), which says how it is released. Invariant: at each instant every block is owned by
 * exactly one ref, or free. An operation that needs blocks first takes them into the object's pending refs, then moves
 * them to their place with object_set(), so that pending ref and place change together. What it replaces moves to a
 * pending ref in the same way, and is released after the commit. So after a death, once the undo log is rolled back,
 * all that is pending is released. An object dies in the same step that takes its last share, unless it is pinned
 * (pin.h): then it lives on in heap.limbo. */
#ifndef REF_H
#define REF_H

#include "object/object.h"

/* The numbers of all kinds are listed here, so that none is given twice. */
enum ref_kind {
    REF_BLOCK = 0,   /* a block without refs in it */
    REF_OBJECT = 1,  /* a share in an object: counted in object.refs */
    REF_TABLE = 2,   /* a block: word 0 says how many words follow that are refs; each is released, then the block */
    REF_CELLS = 3,   /* a block of items (struct block_kind): value/cell.h */
    REF_ENTRIES = 4, /* a block of items: dict/dict_layout.h */
    /* A table like REF_TABLE, but only the table and the blocks that it refers to are freed: what lies in these belongs
     * to another table now, or still. */
    REF_TABLE_SHALLOW = 5
};
#define REF_MASK UINT64_C(15)

/* A kind of block that holds items of the same size: word 0 says how many lie from byte BLOCK_ITEMS on. When such a
 * block is released, what its items own is released first. */
#define BLOCK_ITEMS 16
struct block_kind {
    const char *name;
    uint64_t item; /* bytes */
    /* The next ref that an item owns. *at, 0 at first, says how far the items have been visited. NULL: there are no
     * more. For releasing and for the checker: it reads nothing outside the items. */
    _Atomic uint64_t *(*next_ref)(void *items, uint64_t count, uint64_t *at);
};
/* By enum ref_kind. NULL: the kind is one of those that ref.c knows, or none. The table is in kinds.c, as it names what
 * lies in layers above. */
extern const struct block_kind *const block_kinds[REF_MASK + 1];

static inline struct object *ref_object(const struct heap *heap, uint64_t ref)
{
    return heap_at(heap, ref & ~REF_MASK);
}

/* The block that a ref of the object owns. */
static inline _Atomic uint64_t *ref_block(const struct object *object, uint64_t ref)
{
    return heap_at(object_heap(object), ref & ~REF_MASK);
}

/* The object that a pending ref owns. */
static inline struct object *object_pending(const struct object *object, int i)
{
    return ref_object(object_heap(object), atomic_load_explicit(&object->pending[i], memory_order_relaxed));
}

/* Releases what *ref owns, whatever kind it is, and stores 0 there. If the process dies at any point of this, another
 * can do it again. Under the mutex of the object that the ref lies in. False: heap_lock() failed on the way; what is
 * left is still owned by *ref. */
bool ref_release(struct heap *heap, _Atomic uint64_t *ref);
/* Releases all pending refs. */
void object_release_pending(struct object *object);

/* ---- shares ---- */

/* Stores a share in the object in *slot, in one step. MP_EINVAL when the handle is not one of a live object of that
 * kind. */
int object_retain(const void *handle, uint64_t kind, _Atomic uint64_t *slot);
/* Within a change of the heap's: takes a share from an object. With its last share the object dies, or enters
 * heap.limbo if it is pinned. */
void object_lose_share(struct heap *heap, struct object *object);
/* Within a change of the heap's: the object dies, or enters heap.limbo, if it has no share and nothing keeps it. The
 * caller has stored the last 0 in refs or in kept; pin_is_set() loads after that (pin.h). */
void object_die_if_unheld(struct heap *heap, struct object *object);

/* ---- tables: they grow by being replaced ---- */

/* Makes an empty table with room for `count` refs, all 0, in *slot (a pending ref). MP_ENOMEM. */
int ref_table_new(struct object *object, uint64_t count, _Atomic uint64_t *slot);
/* Makes room for one more ref in the table that *root owns. *pending, an empty pending ref, is used for it and empty
 * again afterwards. A change of its own. MP_ENOMEM. */
int ref_table_reserve(struct object *object, _Atomic uint64_t *root, _Atomic uint64_t *pending);

#endif
