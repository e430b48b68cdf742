/* Handles in private memory. Their memory is kept for new handles and never given back, so that a stale handle always
 * leads to something that can be looked at. As many are kept as were ever live at once.
 *
 * A handle is the address with a generation in the bits that it leaves free, as those of objects are (object.h): so a
 * stale handle is told from a live one also when its memory serves another. Memory whose generations are used up, after
 * a million handles, serves no more. */
#ifndef HANDLE_H
#define HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap/ranges.h"

/* How such a handle begins. */
struct handle {
    uint64_t magic;                /* 0 while it is not live */
    uint64_t tag;                  /* the bits of the handle that are not its address: the generation */
    _Atomic(struct handle *) next; /* in the list of spare ones */
    struct handle *older;          /* made before this one: plain addresses, which leak checkers can follow */
};

/* Handles of one size that are in no use. Needs no lock, so a fork finds it in order at any time. */
struct spare_handles {
    _Atomic(struct handle *) newest; /* of all that were ever made */
    _Atomic uint64_t
        first; /* the address of the first, and a count of all changes where a handle has its generation (ABA) */
};

#define HANDLE_TAG UINT64_C(0xffff00000000000f)

/* Whether memory of a handle is there: of one that this process has made, or inherited. */
__attribute__((cold)) bool handle_is_made(const struct spare_handles *spare, const struct handle *handle);

/* The memory of a live handle; NULL: it is none. In the worker of a pool it may be a younger one, of memory that is not
 * there. */
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
/* From now on it is live. What users get. */
void *handle_begin(struct handle *handle, uint64_t magic);
/* Ends a handle. */
void handle_put(struct spare_handles *spare, struct handle *handle);

#endif
