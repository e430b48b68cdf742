/* Where locks lie, so that a handle is known to be one before the memory there is touched.
 *
 * A lock may have been made after this process, in a heap that it has not mapped; and another thread may take the memory of a named
 * lock away. Heaps of anonymous locks stay as long as the process: those it has made or inherited are listed here for good, so that
 * an address is compared with their bounds and that is all. A named lock is entered (visitors.h) before it is looked at. */
#ifndef LOCK_PLACE_H
#define LOCK_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "heap.h"

/* The heap of anonymous locks that was listed last. */
extern struct heap *_Atomic lock_place_last;

/* Lists a heap of anonymous locks. */
void lock_place_add(struct heap *heap);

enum lock_place {
    LOCK_PLACE_NONE,
    LOCK_PLACE_STAYS,  /* mapped for good */
    LOCK_PLACE_ENTERED /* mapped until lock_place_leave() */
};

/* The same as lock_place_enter(), when the lock is not in the heap listed last. */
enum lock_place lock_place_enter_other(const void *lock);
static inline bool lock_place_is_in(const void *lock, const struct heap *heap)
{
    return (uint64_t)((uintptr_t)lock - (uintptr_t)heap) < atomic_load_explicit(&heap->size, memory_order_relaxed);
}
/* Whether this process has a lock's memory at that address. */
static inline enum lock_place lock_place_enter(const void *lock)
{
    const struct heap *heap = atomic_load_explicit(&lock_place_last, memory_order_acquire);

    return __builtin_expect(lock_place_is_in(lock, heap), 1) ? LOCK_PLACE_STAYS : lock_place_enter_other(lock);
}
void lock_place_leave(enum lock_place place);

/* Takes a named lock's memory away. MP_EBUSY: another thread is inside, or it is held; MP_EINVAL: it is no named lock of this
 * process. Between looking and doing nobody enters. */
int lock_place_close(const void *lock, bool (*is_held)(const void *lock));
void lock_place_after_fork(void);

#endif
