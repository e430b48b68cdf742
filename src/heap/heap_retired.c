#include "heap/heap_retired.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/memory_file.h"
#include "base/units.h"

#define RETIRED_KEPT 16
#define RETIRED_MOST 256

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static struct retired_heap *retired; /* newest first */

/* How many bytes of closed heaps' addresses are kept: few where addresses are scarce. */
static uint64_t retired_bytes(void)
{
    uint64_t left = addresses_left();

    return left == UINT64_MAX ? HEAP_LARGEST : left / 64;
}

static void let_go(struct retired_heap **link)
{
    struct retired_heap *old = *link;

    *link = old->next;
    munmap(old->heap, old->kept);
    free(old);
}

/* Keeps at most the newest `count` closed heaps, with at most that many bytes together. */
static void trim(int count, uint64_t bytes)
{
    struct retired_heap **link = &retired;

    for (; *link != NULL && count > 0 && (*link)->kept <= bytes; count--) {
        bytes -= (*link)->kept;
        link = &(*link)->next;
    }
    while (*link != NULL)
        let_go(link);
}

bool retired_drop(void)
{
    bool any = retired != NULL;

    trim(0, 0);
    return any;
}

void *retired_reuse(uint64_t length)
{
    struct retired_heap **found = NULL, **link = &retired;

    for (int count = 0; *link != NULL; link = &(*link)->next, count++) {
        if (count >= RETIRED_KEPT && (*link)->length == length)
            found = link;
    }
    if (found == NULL)
        return NULL;
    void *address = (*found)->heap;
    let_go(found);
    return address;
}

/* Lays readable zeros over the start of a mapping, in one step: another thread may just read a handle there. The zeros
 * are mapped elsewhere first, and without access: otherwise, in a program that has all its future memory locked, the
 * system would make pages for them. False: there are too many mappings, or too much memory or locked memory. */
static bool lay_zeros_over(void *start, uint64_t size, int flags)
{
    void *zeros = mmap(NULL, size, PROT_NONE, flags, -1, 0);

    if (zeros == MAP_FAILED)
        return false;
    if (mprotect(zeros, size, PROT_READ) == 0 &&
        mremap(zeros, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) != MAP_FAILED)
        return true;
    munmap(zeros, size);
    return false;
}

/* Like lay_zeros_over(), for the whole mapping, and in steps. The first step lays inaccessible memory over it, and
 * cannot fail half-way. If the system refuses that, the heap is unmapped first. Then the part to be kept is made
 * readable. False: no addresses could be kept. */
static bool lay_zeros_in_steps(struct retired_heap *closed, int flags)
{
    if (mmap(closed->heap, closed->length, PROT_NONE, flags | MAP_FIXED, -1, 0) == MAP_FAILED) {
        munmap(closed->heap, closed->length);
        void *address = mmap(closed->heap, closed->length, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);
        if (address != closed->heap) {
            if (address != MAP_FAILED)
                munmap(address, closed->length);
            return false;
        }
    }
    if (closed->kept > 0 && mprotect(closed->heap, closed->kept, PROT_READ) != 0)
        mmap(closed->heap, closed->kept, PROT_READ, flags | MAP_FIXED, -1, 0);
    return true;
}

/* False: it could not be unmapped. Then memory without access lies there instead. */
static bool drop_mapping(void *start, uint64_t size)
{
    if (munmap(start, size) == 0)
        return true;
    mmap(start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return false;
}

/* Unmaps the heap, but keeps the addresses that handles can point to, closed->kept bytes. False: none could be kept. */
static bool take_mapping_away(struct retired_heap *closed)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint64_t size = atomic_load(&closed->heap->size), most = retired_bytes();

    size = size < closed->length ? round_up(size, HEAP_PAGE) : closed->length;
    closed->kept = size < most ? size : most / HEAP_PAGE * HEAP_PAGE;
    if ((closed->kept == 0 || !lay_zeros_over(closed->heap, closed->kept, flags)) && !lay_zeros_in_steps(closed, flags))
        return false;
    if (closed->kept < closed->length &&
        !drop_mapping((char *)closed->heap + closed->kept, closed->length - closed->kept))
        closed->kept = closed->length;
    return closed->kept > 0;
}

void retired_put(struct retired_heap *closed)
{
    if (!take_mapping_away(closed)) {
        free(closed);
        return;
    }
    closed->next = retired;
    retired = closed;
    trim(RETIRED_MOST, retired_bytes());
}
