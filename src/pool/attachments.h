/* Attachments of a pool: managers younger than the pool, which supervisor and workers therefore have not inherited.
 * Their memory is mapped there when a map first wants to use it in place, and unmapped when the caller closes the
 * manager. See attachments.c. */
#ifndef ATTACHMENTS_H
#define ATTACHMENTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTACHMENTS 16

struct pool;
struct mp_pool;
struct heap_file;

enum attachment_state { ATTACHMENT_NONE, ATTACHMENT_WANTED, ATTACHMENT_THERE, ATTACHMENT_REFUSED };
#define ATTACHMENT_STATE UINT32_C(3)
#define ATTACHMENT_NUMBER_SHIFT 2

/* One word holds the attachment's number, which is counted up, and its state. The caller writes it, except for the step
 * from wanted to there or refused: the supervisor makes that step with a CAS from the word it has read, so it can never
 * apply to the next attachment in this place (no ABA). All other fields that are shared are written before the word
 * says wanted. */
struct attachment {
    _Atomic uint32_t word;                    /* futex */
    _Atomic int32_t caller_fd, supervisor_fd; /* the file, in these processes; the supervisor's while it is there */
    _Atomic uint64_t serial, start, length, device, inode; /* struct heap_file; start: the address in the caller */
    /* The caller's own. */
    uint64_t maps; /* maps that use it and are not yet released: until then it stays */
    uint64_t used; /* when it was wanted last: counts maps */
    bool closed;   /* goes with the last map */
    bool late;     /* the supervisor did not answer in time */
};

/* ---- the caller's side ---- */

/* Makes the heap's memory, which starts at `start` here, accessible to supervisor and workers, until
 * attachment_release(). Waits for the supervisor, half a second at most. Returns the attachment's index + 1, or 0 if
 * that is not possible. The caller does not hold the pool's mutex. */
uint32_t attachment_request(struct mp_pool *pool, const struct heap_file *file, const void *start);
/* A map no longer needs the attachment. The caller holds the mutex, and ends with pool_unlock(). Does nothing for
 * attachment
 * 0. */
void attachment_release(struct mp_pool *pool, uint32_t attachment);
/* This process has closed the heap with that serial number. The caller holds the mutex, and ends with pool_unlock(). */
void attachments_heap_closed(struct mp_pool *pool, uint64_t serial);

/* ---- the supervisor's side ---- */

/* In a new supervisor: there are none yet. */
void attachments_begin(struct pool *pool);
/* Maps the attachments that are wanted and unmaps those that are gone. */
void attachments_keep(struct pool *pool);
/* In a new worker: closes the descriptors inherited from the supervisor; the mappings remain. */
void attachments_enter_worker(void);

/* ---- the workers' side ---- */

/* Maps an attachment, if it is not yet mapped. False: this process cannot; a worker forked by the supervisor from now
 * on can. */
bool attachment_map(struct pool *pool, uint32_t attachment);
/* Unmaps the attachments that are gone. */
void attachments_clear(struct pool *pool);

/* Translates `at`, an address in the caller, to this process. `attachment` 0: the address is the same everywhere. */
void *attachment_memory(struct pool *pool, uint32_t attachment, uint64_t at);

#endif
