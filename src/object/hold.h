/* Holds: what processes hold of dicts and lists, so that these live. mp_manager_dict(), a value that comes out of a
 * container, a copy: each is one hold, which is given up once, by whatever process has the handle. See hold.c.
 *
 * What a process holds is written down in the heap: so it can be given back when the process has died. Nothing here
 * waits for a process that keeps the heap's mutex, where it does not say so. */
#ifndef HOLD_H
#define HOLD_H

#include <mp.h>

#include "object/object.h"

/* One process's record in a heap. */
/* LEFT: its process has closed the heap; those forked from it may still have it. DEAD: its holds are being given
 * back. */
enum holder_state { HOLDER_LIVES, HOLDER_DEAD, HOLDER_LEFT };

struct holder {
    _Atomic uint64_t next;    /* in heap.holders */
    _Atomic uint64_t mark;    /* of its owner (owner.h) */
    _Atomic uint64_t state;   /* enum holder_state */
    _Atomic uint64_t holds;   /* chain of its holds */
    _Atomic uint64_t reserve; /* owns the block of the next hold: so one can be had in a full heap; 0: none */
    _Atomic uint64_t trash;   /* owns a block that is being freed */
};

struct hold {
    _Atomic uint64_t ref;            /* a share in a dict or list; or a REF_TABLE of shares, of a snapshot */
    _Atomic uint64_t holder;         /* whose it is */
    _Atomic uint64_t same;           /* the next hold in the same object */
    _Atomic uint64_t next, previous; /* in holder.holds */
};

/* ---- for handles ---- */

/* This process holds the object once more. 0, MP_EINVAL (no live handle of that kind), MP_ENOMEM. Waits for the heap's
 * mutex only where no place for a pin is free. */
int hold_take(const void *handle, uint64_t kind);
/* Gives up one of this process's holds in the object. MP_EINVAL: it has none. */
int hold_give(const void *handle, uint64_t kind);
/* The same; if this process has none, one of another process's. Waits for the heap's mutex. */
int hold_give_any(const void *handle, uint64_t kind);

/* ---- for snapshots ---- */

/* Holds many objects at once: by a table of shares, or by a pin of all objects there are. */
struct hold_table {
    struct heap *heap;
    uint64_t hold;      /* whose ref is the table; 0: none */
    uint64_t pinned_by; /* the mark of the owner that pins all objects; 0: none */
};

/* A table for shares in `count` objects. MP_ENOMEM. */
int hold_table_begin(struct heap *heap, uint64_t count, struct hold_table *table);
/* Every object that is alive stays so. MP_ETIMEOUT: no place for a pin is free. */
int hold_table_pin(struct heap *heap, struct hold_table *table);
/* Adds a share in an object that cannot end meanwhile. */
void hold_table_add(struct hold_table *table, struct object *object);
void hold_table_end(struct hold_table *table);

/* ---- for object.c: a new object is born with a hold ---- */

/* heap_lock(), with nothing to commit, and this process's record in the heap. MP_ENOMEM: not locked. Waits. */
int hold_lock(struct heap *heap, struct holder **holder);
/* Under heap_lock(), as the first words of a change, which it commits: there is a block for the next hold. */
int hold_ready(struct heap *heap, struct holder *holder);
/* Within a change, after that: a hold in the object. */
void hold_enter(struct heap *heap, struct holder *holder, struct object *object);

/* ---- when processes end ---- */

/* Looks for dead owners, at so many records as one look may take or at all, and gives back what they held. True: there
 * was something. Before it looks at all, this process gives up what it could not without the heap's mutex. */
bool hold_look(struct heap *heap);
bool hold_look_at_all(struct heap *heap);
/* This process closes the heap. What it holds is given back when all that were forked from it have done so, too. */
void hold_leave(struct heap *heap);

/* ---- for the checker ---- */

/* Names the blocks and refs that holders own, none of which is followed before mark() is true. False: the chains, or
 * what they lead to, or the counts of pins, cannot be those of holders. */
bool hold_check(struct heap *heap, uint64_t most, bool (*mark)(void *context, uint64_t ref), void *context);

#endif
