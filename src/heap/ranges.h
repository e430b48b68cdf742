/* Where this process has heaps: so that a handle is known to lead into one before the memory there is touched.
 *
 * Handles of containers and pools are addresses. What a task is given may be one of a heap that is younger than its
 * worker: there may be nothing at that address, or the end of a file. So in a worker, and in what it forks, each
 * such address is compared with the bounds of the heaps that the process has open. Most calls go where the call
 * before went, which is looked at first. Elsewhere all addresses but NULL are taken as known: handles are handed on
 * to those who have inherited the heap. */
#ifndef RANGES_H
#define RANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/heap.h"

/* Told to the compiler, which otherwise would look for their addresses first. */
#define RANGE_HIDDEN __attribute__((visibility("hidden")))

/* Bytes at that address that are there as long as the heap is open. Length 0: the rest does not count. */
struct range {
    _Atomic uintptr_t start;
    _Atomic uint64_t length; /* as far as the file was known to go: it only grows */
};

/* Addresses above this one are not looked at: 0, or UINTPTR_MAX in a worker. */
extern RANGE_HIDDEN _Atomic uintptr_t range_unseen;
/* Where the last one was found. */
extern RANGE_HIDDEN _Atomic(const struct range *) range_last;

static inline bool range_has(const struct range *range, uintptr_t address)
{
    return address - atomic_load_explicit(&range->start, memory_order_relaxed) <
           atomic_load_explicit(&range->length, memory_order_relaxed);
}

/* Whether it is no more than an address with that alignment: other handles have a generation in the other bits, and so
 * lead nowhere. */
static inline bool range_is_address(const void *handle, uintptr_t alignment)
{
    return ((uintptr_t)handle & (UINT64_C(0xffff000000000000) | (alignment - 1))) == 0;
}

__attribute__((cold)) bool range_known_slow(const void *address);

/* Whether this is not the worker of a pool, and the address not NULL. */
static inline bool range_is_taken_as_known(const void *address)
{
    return (uintptr_t)address > atomic_load_explicit(&range_unseen, memory_order_relaxed);
}

/* False: nothing can be said to be there. */
static inline bool range_known(const void *address)
{
    return __builtin_expect(range_is_taken_as_known(address), 1) ||
           range_has(atomic_load_explicit(&range_last, memory_order_acquire), (uintptr_t)address) ||
           range_known_slow(address);
}

/* From now on only what lies in this process's heaps is known. */
void ranges_begin(void);

/* A heap is open from now on, or no longer: before its memory goes. Called by one thread at a time. False: no
 * memory. */
bool range_add(const struct heap *heap);
void range_remove(const struct heap *heap);

#endif
