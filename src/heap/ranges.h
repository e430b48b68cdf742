/* Where this process has heaps, so that a handle is known to lead into one before the memory there is touched.
 *
 * Handles of containers and pools are addresses. A worker may be given one of a heap that is younger than the worker:
 * there may be no memory at that address, or the end of a file. So in a worker, and in processes forked from it, each
 * such address is compared with the bounds of the heaps that the process has open. The fast path looks at the range
 * that the last call found, as most calls go there. In other processes all addresses but NULL count as known: a program
 * hands a handle only to processes that have inherited the heap. */
#ifndef RANGES_H
#define RANGES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/heap_layout.h"

/* Tells the compiler that these variables are in this library. Otherwise it would load their addresses first. */
#define RANGE_HIDDEN __attribute__((visibility("hidden")))

/* Bytes that are there as long as the heap is open. Length 0: the range is not in use. */
struct range {
    _Atomic uintptr_t start;
    _Atomic uint64_t length; /* of the file, as it was last known: it only grows */
};

/* Addresses above this one are not looked up. 0; or UINTPTR_MAX in a worker. */
extern RANGE_HIDDEN _Atomic uintptr_t range_unseen;
/* The range in which the last address was found. */
extern RANGE_HIDDEN _Atomic(const struct range *) range_last;

static inline bool range_has(const struct range *range, uintptr_t address)
{
    return address - atomic_load_explicit(&range->start, memory_order_relaxed) <
           atomic_load_explicit(&range->length, memory_order_relaxed);
}

/* Whether the handle is a bare address with that alignment. Other handles have a generation in the other bits, and
 * cannot be followed. */
static inline bool range_is_address(const void *handle, uintptr_t alignment)
{
    return ((uintptr_t)handle & (UINT64_C(0xffff000000000000) | (alignment - 1))) == 0;
}

__attribute__((cold)) bool range_known_slow(const void *address);

/* Whether the process is not a worker, nor forked from one, and the address is not NULL. */
static inline bool range_is_taken_as_known(const void *address)
{
    return (uintptr_t)address > atomic_load_explicit(&range_unseen, memory_order_relaxed);
}

/* Whether the address may be read. False: perhaps there is no memory. */
static inline bool range_known(const void *address)
{
    return __builtin_expect(range_is_taken_as_known(address), 1) ||
           range_has(atomic_load_explicit(&range_last, memory_order_acquire), (uintptr_t)address) ||
           range_known_slow(address);
}

/* From now on only addresses in this process's open heaps are known. */
void ranges_begin(void);

/* Adds a heap that was opened, or removes one before its memory goes. Called by one thread at a time. False: no
 * memory. */
bool range_add(const struct heap *heap);
void range_remove(const struct heap *heap);

#endif
