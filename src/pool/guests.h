/* Guests of a pool: managers that are younger than the pool, so that keeper and workers do not have them by birth.
 * Their memory is mapped there when a map first wants to use it in place, and goes when the caller closes the manager.
 * See guests.c. */
#ifndef GUESTS_H
#define GUESTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define GUESTS 16

struct pool;
struct mp_pool;
struct heap_file;

enum guest_state { GUEST_NONE, GUEST_WANTED, GUEST_THERE, GUEST_REFUSED };
#define GUEST_STATE UINT32_C(3)
#define GUEST_NUMBER_SHIFT 2

/* Which manager has the place and how far it has got is one word: the number of the guest, counted up, and its state.
 * Written by the caller, but for the step from wanted to there or refused, which the keeper makes from the very word it
 * has read: so it never says so of the next guest in this place. What else is to be known of a guest is written before
 * the word that says wanted. */
struct guest {
    _Atomic uint32_t word;                /* futex */
    _Atomic int32_t caller_fd, keeper_fd; /* the file, in these processes; the keeper's while it is there */
    _Atomic uint64_t serial, start, length, device, inode; /* struct heap_file; start: the address in the caller */
    /* The caller's own. */
    uint64_t maps; /* that use it and are not yet released: as long, it stays */
    uint64_t used; /* when it was wanted last: counts maps */
    bool closed;   /* goes with the last map */
    bool late;     /* the keeper did not answer in time */
};

/* ---- the caller's side ---- */

/* Sees that keeper and workers can get at the heap's memory, whose start is at `start` here, and keeps it so until
 * guest_release(). Waits for the keeper, half a second at the most. The guest's index + 1; 0: it cannot be had. Without
 * the pool's mutex. */
uint32_t guest_invite(struct mp_pool *pool, const struct heap_file *file, const void *start);
/* A map that uses it needs it no longer. Under the mutex; pool_unlock() afterwards. Nothing for guest 0. */
void guest_release(struct mp_pool *pool, uint32_t guest);
/* This process has closed the heap of that serial number. Under the mutex; pool_unlock() afterwards. */
void guests_heap_closed(struct mp_pool *pool, uint64_t serial);

/* ---- the keeper's side ---- */

/* In a new keeper: there are none yet. */
void guests_begin(struct pool *pool);
/* Maps those that are wanted, lets go of those that are gone. */
void guests_keep(struct pool *pool);
/* In a new worker: gives the descriptors back that are the keeper's; the mappings remain. */
void guests_enter_worker(void);

/* ---- the workers' side ---- */

/* Maps a guest, if it is not yet mapped. False: this process cannot; one forked by the keeper from now on can. */
bool guest_admit(struct pool *pool, uint32_t guest);
/* Lets go of those that are gone. */
void guests_clear(struct pool *pool);

/* Where that is in this process which is at the address `at` in the caller. `guest` 0: the same everywhere. */
void *guest_memory(struct pool *pool, uint32_t guest, uint64_t at);

#endif
