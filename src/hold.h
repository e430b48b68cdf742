/* Holds: what processes hold of dicts and lists, so that these live. mp_manager_dict(), a value that comes out of a container, a
 * copy: each is one hold, which is given up once, by whatever process has the handle. See hold.c.
 *
 * What a process holds is written down in the heap, under the heap's mutex: so it can be given back when the process has died. */
#ifndef HOLD_H
#define HOLD_H

#include <mp.h>

#include "object.h"

/* One process's record in a heap. */
struct holder {
    _Atomic uint64_t next;    /* in heap.holders */
    _Atomic uint64_t serial;  /* counts the holders of the heap; names the byte of the file that is locked */
    _Atomic uint64_t process; /* its pid */
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

/* This process holds the object once more. 0, MP_EINVAL (no live handle of that kind), MP_ENOMEM, MP_EAGAIN. */
int hold_take(const void *handle, uint64_t kind);
/* Gives up one of this process's holds in the object; if it has none and `any`, one of another process's. MP_EINVAL: none. */
int hold_give(const void *handle, uint64_t kind, bool any);

/* ---- for snapshots ---- */

/* Makes a hold with room for shares in `count` objects; its offset goes to *hold. */
int hold_table_new(struct heap *heap, uint64_t count, uint64_t *hold);
/* Adds a share in an object that cannot end meanwhile. */
void hold_table_add(struct heap *heap, uint64_t hold, struct object *object);
void hold_table_free(struct heap *heap, uint64_t hold);

/* ---- for object.c: a new object is born with a hold ---- */

/* This process's record in the heap, made if there is none. MP_ENOMEM. */
int hold_begin(struct heap *heap, struct holder **holder);
/* Under heap_lock(), as the first words of a change, which it commits: there is a block for the next hold. */
int hold_ready(struct heap *heap, struct holder *holder);
/* Within a change, after that: a hold in the object. */
void hold_enter(struct heap *heap, struct holder *holder, struct object *object);

/* ---- when processes end ---- */

/* Gives back what dead processes held. True: there was something. */
bool hold_look(struct heap *heap);
/* This process closes the heap. What it holds is given back when all that were forked from it have done so, too. */
void hold_leave(struct heap *heap);

/* ---- for the checker ---- */

/* Names the blocks and refs that holders own; `table`: the refs in it are shares. False: the chains do not add up. */
bool hold_check(struct heap *heap, uint64_t most, bool (*mark)(void *context, uint64_t ref), void *context);

#endif
