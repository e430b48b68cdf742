/* Attachments of a pool, the caller's side: makes managers younger than the pool known to the pool's processes. The
 * other side is in mappings.h. See attachments.c. */
#ifndef ATTACHMENTS_H
#define ATTACHMENTS_H

#include "heap/heap_file.h"
#include "pool/caller.h"

/* Makes the heap's memory, which starts at `start` here, accessible to supervisor and workers, until
 * attachment_release(). Waits for the supervisor, half a second at most. Returns the attachment's index + 1, or 0 if
 * that is not possible. The caller does not hold the pool's mutex. */
uint32_t attachment_request(mp_pool *pool, const struct heap_file *file, const void *start);
/* A map no longer needs the attachment. The caller holds the mutex, and releases it with pool_unlock(). Does nothing
 * for attachment 0. */
void attachment_release(mp_pool *pool, uint32_t attachment);
/* This process has closed the heap with that serial number. The caller holds the mutex, and releases it with
 * pool_unlock(). */
void attachments_heap_closed(mp_pool *pool, uint64_t serial);

#endif
