/* Holds: the shares that processes have in dicts and lists, and that keep these alive. Each handle that a user gets
 * (from mp_manager_dict(), as a value read from a container, as a copy) is one hold. A hold is given up once, by any
 * process that has the handle. See hold.c.
 *
 * Holds are recorded in the heap, so they can be given back when the process has died. No function here waits for a
 * process that keeps the heap's mutex, except where a comment says that it waits, or where neither a place for a pin
 * nor private memory is left. */
#ifndef HOLD_H
#define HOLD_H

#include <mp.h>

#include "object/object.h"

/* The state of one process's record in a heap. LEFT: the process has closed the heap; processes forked from it may
 * still have it open. DEAD: its holds are being given back. */
enum holder_state { HOLDER_LIVES, HOLDER_DEAD, HOLDER_LEFT };

struct holder {
    _Atomic uint64_t next;    /* in heap.holders */
    _Atomic uint64_t mark;    /* of its owner (owner.h) */
    _Atomic uint64_t state;   /* enum holder_state */
    _Atomic uint64_t holds;   /* chain of its holds */
    _Atomic uint64_t reserve; /* owns the block of the next hold, for when the heap is full; 0: none */
    _Atomic uint64_t trash;   /* owns a block that is being freed */
};

struct hold {
    _Atomic uint64_t ref;            /* a share in a dict or list; or a REF_TABLE of shares, of a snapshot */
    _Atomic uint64_t holder;         /* the record that it belongs to */
    _Atomic uint64_t same;           /* the next hold in the same object */
    _Atomic uint64_t next, previous; /* in holder.holds */
};

/* ---- for handles ---- */

/* Takes one more hold in the object for this process. 0, MP_EINVAL (not a live handle of that kind), MP_ENOMEM. Waits
 * for the heap's mutex only if no place for a pin is free. */
int hold_take(const void *handle, uint64_t kind);
/* Gives up one of this process's holds in the object. MP_EINVAL: it has none. */
int hold_give(const void *handle, uint64_t kind);
/* Like hold_give(), but if this process has none, gives up one of another process's. Waits for the heap's mutex. */
int hold_give_any(const void *handle, uint64_t kind);

/* ---- for snapshots ---- */

/* Holds many objects at once: by a table of shares, or by a pin of every object in the heap. */
struct hold_table {
    struct heap *heap;
    uint64_t hold;      /* the hold whose ref is the table; 0: none */
    uint64_t pinned_by; /* the mark of the owner that pins all objects; 0: none */
};

/* Begins a table for shares in `count` objects; or pins every object, if there is no memory or the heap's mutex is not
 * free soon. MP_ENOMEM. */
int hold_table_begin(struct heap *heap, uint64_t count, struct hold_table *table);
/* Pins every object in the heap: all that are alive stay so. MP_ETIMEOUT: no place for a pin is free. */
int hold_table_pin(struct heap *heap, struct hold_table *table);
/* Adds a share in an object. The caller makes sure that the object cannot die meanwhile. */
void hold_table_add(struct hold_table *table, struct object *object);
void hold_table_end(struct hold_table *table);

/* ---- for object_create.c: a new object is born with a hold ---- */

/* Takes the heap's mutex, with nothing to commit, and returns this process's record in the heap. MP_ENOMEM: the mutex
 * is not held. Waits. */
int hold_lock(struct heap *heap, struct holder **holder);
/* Under heap_lock(), with nothing to commit: makes sure that there is a block for the next hold. A change of its
 * own. */
int hold_ready(struct heap *heap, struct holder *holder);
/* Within a change, after hold_ready(): makes a hold in the object. The caller commits. */
void hold_enter(struct heap *heap, struct holder *holder, struct object *object);

/* ---- when processes end ---- */

/* Look for dead owners and give back what they held: hold_look() among a limited number of records, hold_look_at_all()
 * among all. True: there was something. hold_look_at_all() first does what this process could not do without the heap's
 * mutex, if the mutex is free soon. */
bool hold_look(struct heap *heap);
bool hold_look_at_all(struct heap *heap);
/* This process closes the heap. What it holds is given back once all processes forked from it have closed the heap or
 * ended, too. */
void hold_leave(struct heap *heap);

/* ---- for the checker ---- */

/* Calls mark() for each block and ref that holders own, and follows one only if mark() returns true. `most`: the most
 * records and holds that there can be. False: the chains, what they lead to, or the counts of pins are damaged. */
bool hold_check(struct heap *heap, uint64_t most, bool (*mark)(void *context, uint64_t ref), void *context);

#endif
