/* Handles in private memory that begin with a magic number. Their memory is kept for new handles and never given back, so
 * that a stale handle always leads to a magic number that can be looked at. */
#ifndef HANDLE_H
#define HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How such a handle begins. */
struct handle {
    uint64_t magic;      /* 0 while it is not live */
    struct handle *next; /* in the list of spare ones */
};

/* Handles of one size that are in no use. Needs no lock, so a fork finds it in order at any time. */
struct spare_handles {
    _Atomic(struct handle *) first;
};

/* True when it is the address of a live handle, as far as its own words can tell. */
static inline bool handle_is(const struct handle *handle, uint64_t magic)
{
    return handle != NULL && ((uintptr_t)handle & (_Alignof(max_align_t) - 1)) == 0 && handle->magic == magic;
}
/* A handle of `size` bytes that is not live yet; what follows its beginning is undefined. NULL: no memory. */
void *handle_take(struct spare_handles *spare, size_t size);
/* Ends a handle. */
void handle_put(struct spare_handles *spare, struct handle *handle);

#endif
