/* Handles in private memory. Their memory is kept for new handles and never given back (type-stable memory), so that a
 * stale handle always leads to something that can be looked at. The memory of as many is kept as were ever live at
 * once.
 *
 * A handle is an address with a generation in the bits that the address leaves free, as handles of objects are
 * (object.h). So a stale handle differs from a live one even when its memory serves another. Memory whose generations
 * are used up, after a million handles, is not used again. */
#ifndef HANDLE_H
#define HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/ranges.h"

/* The beginning of a handle's memory. */
struct handle {
    uint64_t magic;                /* 0 while it is not live */
    uint64_t tag;                  /* the bits of the handle that are not its address: the generation */
    _Atomic(struct handle *) next; /* the next unused handle */
    struct handle *older;          /* made before this one: plain addresses, which leak checkers can follow */
};

/* The unused handles of one size. There is no lock, so a forked child finds them whole at any time. */
struct spare_handles {
    _Atomic(struct handle *) newest; /* of all that were ever made */
    _Atomic uint64_t
        first; /* the address of the first; in the bits where handles have the generation, a count of changes (ABA) */
};

#define HANDLE_TAG UINT64_C(0xffff00000000000f)

/* Whether this process has made a handle at that address, or inherited one. */
__attribute__((cold)) bool handle_is_made(const struct spare_handles *spare, const struct handle *handle);

/* The memory of a live handle; NULL: the handle is not live. In a pool's worker, a handle may have been made after the
 * worker was forked; its address may lead nowhere. So handle_is_made() is asked there before the memory is read. */
static inline void *handle_of(const struct spare_handles *spare, const void *handle, uint64_t magic)
{
    struct handle *found = (struct handle *)((uintptr_t)handle & ~HANDLE_TAG);

    if (__builtin_expect(!range_is_taken_as_known(found), 0) && !handle_is_made(spare, found))
        return NULL;
    return found->magic == magic && found->tag == ((uintptr_t)handle & HANDLE_TAG) ? found : NULL;
}
/* Memory of `size` bytes for a handle that is not live yet; what follows its beginning is undefined. NULL: no
 * memory. */
void *handle_take(struct spare_handles *spare, size_t size);
/* Makes the handle live. Returns what users get. */
void *handle_begin(struct handle *handle, uint64_t magic);
/* Ends a handle. */
void handle_put(struct spare_handles *spare, struct handle *handle);

#endif
