/* Pins: how a process holds dicts and lists while another process keeps the heap's mutex.
 *
 * A hold (hold.h) is recorded under the heap's mutex. A stopped process may keep that mutex for ever, and a reader must
 * not wait for it. So a reader that does not get the mutex soon publishes the object in one of the heap's places
 * instead, with plain atomic stores: it pins the object. The process that gives up the last share in an object looks at
 * the places before the object dies. A pinned object goes into heap.limbo, alive, until its pin has gone.
 *
 * This is a Dekker pairing, as of hazard pointers:
 *
 *   the process that pins                      the process that gives up the last share, under the heap's mutex
 *   1. stores the object in a place            1. stores 0 in refs, or in kept
 *   2. fence                                   2. fence
 *   3. loads refs and kept: does it live?      3. loads the places: is it pinned?
 *
 * At least one of the two sees what the other has stored.
 *
 * A pin is turned into a hold as soon as its process gets the heap's mutex for anything it does with holds. */
#ifndef PIN_H
#define PIN_H

#include "heap/heap.h"

/* In place of an object: every object of the heap is pinned. */
#define PIN_ALL UINT64_MAX

/* Publishes the object at that offset. Returns its place; -1: no place is free. What the caller loads afterwards is
 * ordered behind that. */
int pin_begin(struct heap *heap, uint64_t owner, uint64_t object);
/* The object that was published in that place was found alive: from now on pin_next() and pin_end_one() find the
 * pin. */
void pin_confirm(struct heap *heap, int place, uint64_t owner, uint64_t object);
/* Takes back what was published in a place and not confirmed. Neither this nor pin_confirm() does anything if a child
 * that a signal handler has forked in between took it back before. */
void pin_end(struct heap *heap, int place, uint64_t owner, uint64_t object);
/* Takes back one confirmed pin of the owner's in that object. False: there is none. Threads of the owner may do so at
 * the same time. */
bool pin_end_one(struct heap *heap, uint64_t owner, uint64_t object);
/* The next place from *place on with a confirmed pin of the owner's in a single object, and which one. False: there is
 * none. */
bool pin_next(const struct heap *heap, uint64_t owner, int *place, uint64_t *object);

/* ---- under the heap's mutex ---- */

/* Whether any process pins that object. What this loads is ordered behind the caller's stores. */
bool pin_is_set(struct heap *heap, uint64_t object);
/* Takes back a confirmed pin of any owner's in that object. False: there is none. */
bool pin_end_any(struct heap *heap, uint64_t object);
/* For the checker: whether the counts are such that no claim goes unseen. */
bool pin_check(const struct heap *heap);
/* The owner of a place; 0: none. */
uint64_t pin_owner(const struct heap *heap, int place);
/* Takes back the pin of an owner that is dead, if the place still is its own. */
void pin_drop(struct heap *heap, int place, uint64_t owner);

#endif
