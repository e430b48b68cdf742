/* The heaps' ranges are in an array sorted by address. A search takes no lock, as it may come from an exit handler that
 * has interrupted a change. There are two arrays: a change is made in the one that is not in use, and a store to
 * `current` puts it to use. So a search sees an array that does not change, unless there are two changes meanwhile.
 * `current` also counts the changes: if it is another value afterwards, the search starts over. */
#include "heap/ranges.h"

#include <stdlib.h>

#define FIRST_ROOM 16
#define WHICH UINT64_C(1)

/* A range in use, or a spare one. The memory is type-stable: it is never freed, so `range_last` always leads to a
 * range. */
struct owned_range {
    struct range range;
    struct owned_range *spare;
};

/* Memory that was outgrown is kept, as a search may still read it. Each one is at least twice as large as the one
 * before, so all together are less than twice the last. */
struct memory {
    struct memory *outgrown;
    size_t room;
    _Atomic(struct owned_range *) sorted[];
};

struct array {
    _Atomic(struct memory *) memory;
    _Atomic size_t count; /* stored after the memory that has room for that many */
};

static const struct range nothing;
_Atomic uintptr_t range_unseen;
_Atomic(const struct range *) range_last = &nothing;

static struct array arrays[2];
static _Atomic uint64_t current; /* in bit 0 the array in use, above it the number of changes */
static struct owned_range *spare;

static struct owned_range *at(const struct memory *memory, size_t index)
{
    return atomic_load_explicit(&memory->sorted[index], memory_order_acquire);
}

static uintptr_t start_of(const struct owned_range *range)
{
    return atomic_load_explicit(&range->range.start, memory_order_relaxed);
}

/* The number of ranges that begin at the address or before it. */
static size_t count_up_to(const struct memory *memory, size_t count, uintptr_t address)
{
    size_t from = 0;

    while (from < count) {
        size_t middle = from + (count - from) / 2;

        if (start_of(at(memory, middle)) <= address)
            from = middle + 1;
        else
            count = middle;
    }
    return from;
}

/* ---- looking ---- */

/* The last range that begins at the address or before it; NULL: none. */
static struct owned_range *find(uintptr_t address)
{
    struct owned_range *found;
    uint64_t now;

    do {
        now = atomic_load_explicit(&current, memory_order_acquire);
        size_t count = atomic_load_explicit(&arrays[now & WHICH].count, memory_order_acquire);
        const struct memory *memory = atomic_load_explicit(&arrays[now & WHICH].memory, memory_order_relaxed);
        size_t before = count > 0 ? count_up_to(memory, count, address) : 0;

        found = before > 0 ? at(memory, before - 1) : NULL;
        atomic_thread_fence(memory_order_acquire);
    } while (atomic_load_explicit(&current, memory_order_relaxed) != now);
    return found;
}

/* Stores the present length of the file, unless the range is given up meanwhile. Invariant: the length of a range in
 * use only grows, and is not 0. A heap that is just being made has the size 0 until it is formatted. */
static void lengthen(struct range *range)
{
    const struct heap *heap = (const struct heap *)atomic_load(&range->start);
    uint64_t length = atomic_load(&range->length), size = length != 0 ? atomic_load(&heap->size) : 0;

    if (size > length)
        atomic_compare_exchange_strong(&range->length, &length, size);
}

bool range_known_slow(const void *address)
{
    struct owned_range *found = find((uintptr_t)address);
    if (found == NULL)
        return false;
    if (!range_has(&found->range, (uintptr_t)address))
        lengthen(&found->range);
    if (!range_has(&found->range, (uintptr_t)address))
        return false;
    atomic_store_explicit(&range_last, &found->range, memory_order_release);
    return true;
}

void ranges_begin(void)
{
    atomic_store(&range_unseen, UINTPTR_MAX);
}

/* ---- changing ---- */

static struct memory *with_room(struct array *array, size_t count)
{
    struct memory *memory = atomic_load_explicit(&array->memory, memory_order_relaxed);
    size_t room = memory != NULL ? memory->room : FIRST_ROOM / 2;

    if (memory != NULL && count <= room)
        return memory;
    while ((room *= 2) < count)
        ;
    struct memory *larger = calloc(1, sizeof *larger + room * sizeof larger->sorted[0]);
    if (larger == NULL)
        return NULL;
    larger->outgrown = memory;
    larger->room = room;
    atomic_store_explicit(&array->memory, larger, memory_order_release);
    return larger;
}

static const struct memory *all(size_t *count)
{
    const struct array *array = &arrays[atomic_load_explicit(&current, memory_order_relaxed) & WHICH];

    *count = atomic_load_explicit(&array->count, memory_order_relaxed);
    return atomic_load_explicit(&array->memory, memory_order_relaxed);
}

/* Makes the array that is not in use a copy of the other, with `added` inserted at that index, or, if `added` is NULL,
 * without the range at that index; then puts it to use. False: no memory. */
static bool change(size_t index, struct owned_range *added)
{
    uint64_t next = (atomic_load_explicit(&current, memory_order_relaxed) + 2) ^ WHICH;
    size_t count, from = 0;
    const struct memory *old = all(&count);
    size_t wanted = added != NULL ? count + 1 : count - 1;
    struct memory *memory = wanted > 0 ? with_room(&arrays[next & WHICH], wanted) : NULL;

    if (wanted > 0 && memory == NULL)
        return false;
    if (added == NULL && index == 0)
        from = 1;
    for (size_t to = 0; to < wanted; to++) {
        bool here = added != NULL && to == index;

        atomic_store_explicit(&memory->sorted[to], here ? added : at(old, from), memory_order_release);
        from += here ? 0 : added == NULL && from + 1 == index ? 2 : 1;
    }
    atomic_store_explicit(&arrays[next & WHICH].count, wanted, memory_order_release);
    atomic_store_explicit(&current, next, memory_order_release);
    return true;
}

bool range_add(const struct heap *heap)
{
    struct owned_range *added = spare != NULL ? spare : calloc(1, sizeof *added);
    size_t count;
    const struct memory *memory = all(&count);

    if (added == NULL)
        return false;
    if (added == spare)
        spare = added->spare;
    atomic_store(&added->range.start, (uintptr_t)heap);
    if (change(count > 0 ? count_up_to(memory, count, (uintptr_t)heap) : 0, added)) {
        atomic_store(&added->range.length, sizeof *heap);
        return true;
    }
    added->spare = spare;
    spare = added;
    return false;
}

void range_remove(const struct heap *heap)
{
    size_t count;
    const struct memory *memory = all(&count);
    size_t before = count > 0 ? count_up_to(memory, count, (uintptr_t)heap) : 0;
    struct owned_range *removed = before > 0 ? at(memory, before - 1) : NULL;

    if (removed == NULL || start_of(removed) != (uintptr_t)heap)
        return;
    atomic_store(&removed->range.length, 0);
    /* This cannot fail: the other array has held as many ranges before, and none need no memory. */
    change(before - 1, NULL);
    removed->spare = spare;
    spare = removed;
}
