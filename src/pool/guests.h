/* Guests of a pool: managers younger than the pool, which keeper and workers therefore have not inherited. Their memory
 * is mapped there when a map first wants to use it in place, and unmapped when the caller closes the manager. See
 * guests.c. */
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

/* One word holds the guest's number, which is counted up, and its state. The caller writes it, except for the step from
 * wanted to there or refused: the keeper makes that step with a CAS from the word it has read, so it can never apply to
 * the next guest in this place (no ABA). All other fields that are shared are written before the word says wanted. */
struct guest {
    _Atomic uint32_t word;                /* futex */
    _Atomic int32_t caller_fd, keeper_fd; /* the file, in these processes; the keeper's while it is there */
    _Atomic uint64_t serial, start, length, device, inode; /* struct heap_file; start: the address in the caller */
    /* The caller's own. */
    uint64_t maps; /* maps that use it and are not yet released: until then it stays */
    uint64_t used; /* when it was wanted last: counts maps */
    bool closed;   /* goes with the last map */
    bool late;     /* the keeper did not answer in time */
};

/* ---- the caller's side ---- */

/* Makes the heap's memory, which starts at `start` here, accessible to keeper and workers, until guest_release(). Waits
 * for the keeper, half a second at most. Returns the guest's index + 1, or 0 if that is not possible. The caller does
 * not hold the pool's mutex. */
uint32_t guest_invite(struct mp_pool *pool, const struct heap_file *file, const void *start);
/* A map no longer needs the guest. The caller holds the mutex, and ends with pool_unlock(). Does nothing for guest
 * 0. */
void guest_release(struct mp_pool *pool, uint32_t guest);
/* This process has closed the heap with that serial number. The caller holds the mutex, and ends with pool_unlock(). */
void guests_heap_closed(struct mp_pool *pool, uint64_t serial);

/* ---- the keeper's side ---- */

/* In a new keeper: there are none yet. */
void guests_begin(struct pool *pool);
/* Maps the guests that are wanted and unmaps those that are gone. */
void guests_keep(struct pool *pool);
/* In a new worker: closes the descriptors inherited from the keeper; the mappings remain. */
void guests_enter_worker(void);

/* ---- the workers' side ---- */

/* Maps a guest, if it is not yet mapped. False: this process cannot; a worker forked by the keeper from now on can. */
bool guest_admit(struct pool *pool, uint32_t guest);
/* Unmaps the guests that are gone. */
void guests_clear(struct pool *pool);

/* Translates `at`, an address in the caller, to this process. `guest` 0: the address is the same everywhere. */
void *guest_memory(struct pool *pool, uint32_t guest, uint64_t at);

#endif
