/* The addresses of closed heaps.
 *
 * The addresses that handles can point to, up to the end of the heap, stay mapped for a while and read as zeros: so a
 * stale handle is an error and not a crash. All other addresses are given back at once. Kept are
 * - the last RETIRED_KEPT closed heaps, within retired_bytes(),
 * - older ones, until a new heap reuses their addresses or there are more than RETIRED_MOST.
 * All are given up when a mapping fails.
 *
 * The functions are called by one thread at a time. */
#ifndef HEAP_RETIRED_H
#define HEAP_RETIRED_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/heap_layout.h"

struct retired_heap {
    struct retired_heap *next;
    struct heap *heap;
    uint64_t length; /* bytes that were mapped */
    uint64_t kept;   /* bytes that are still mapped */
};

/* Takes the mapping of a heap away and keeps its addresses; the caller has set `heap` and `length`. Takes over the
 * structure, which malloc() gave. */
void retired_put(struct retired_heap *closed);
/* Among the closed heaps of that length, takes the one closed longest ago, if at least RETIRED_KEPT heaps of any length
 * were closed after it. Gives up its addresses, and returns where they were: a new heap fits there. NULL: there is
 * none. */
void *retired_reuse(uint64_t length);
/* Gives up all addresses. Returns whether there were any. */
bool retired_drop(void);

#endif
