/* Where locks lie, so that a handle is known to be one before the memory there is touched.
 *
 * A lock may have been made after this process, in a heap that it has not mapped; and another thread may take the
 * memory of a named lock away. Heaps of anonymous locks stay as long as the process: those it has made or inherited are
 * listed here for good, so that an address is compared with their bounds and that is all. A named lock is entered
 * (visitors.h) before it is looked at. */
#ifndef LOCK_PLACE_H
#define LOCK_PLACE_H

#include <mp.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/visitors.h"
#include "heap/heap.h"

/* The heap of anonymous locks that was listed last. */
extern struct heap *_Atomic lock_place_last;

/* Lists a heap of anonymous locks. */
void lock_place_add(struct heap *heap);

enum lock_place {
    LOCK_PLACE_NONE,
    LOCK_PLACE_STAYS,  /* mapped for good */
    LOCK_PLACE_ENTERED /* mapped until lock_place_leave() */
};

/* Named locks that this process has open, each at a place of its own by its address. What is not noted is asked for. */
#define LOCK_PLACE_NOTES_LOG 10
extern _Atomic(const void *) lock_place_noted[1 << LOCK_PLACE_NOTES_LOG];

static inline _Atomic(const void *) *lock_place_note(const void *lock)
{
    return &lock_place_noted[(uint64_t)(uintptr_t)lock * UINT64_C(0x9e3779b97f4a7c15) >> (64 - LOCK_PLACE_NOTES_LOG)];
}

/* The same as lock_place_enter(), when the lock is neither in the heap listed last nor noted. */
enum lock_place lock_place_enter_later(const void *lock);
/* Who closes a named lock takes the note back and looks then who is inside; here it is the other way round: so one of
 * the two sees the other (a Dekker pairing). */
static inline enum lock_place lock_place_enter_other(const void *lock)
{
    if (lock != NULL && visitor_enter_lock(lock) &&
        __builtin_expect(atomic_load_explicit(lock_place_note(lock), memory_order_acquire) == lock, 1))
        return LOCK_PLACE_ENTERED;
    return lock_place_enter_later(lock);
}
static inline bool lock_place_is_in(const void *lock, const struct heap *heap)
{
    return (uint64_t)((uintptr_t)lock - (uintptr_t)heap) < atomic_load_explicit(&heap->size, memory_order_relaxed);
}
/* Whether the lock's memory is there for as long as the process is. */
static inline bool lock_place_stays(const void *lock)
{
    return __builtin_expect(lock_place_is_in(lock, atomic_load_explicit(&lock_place_last, memory_order_acquire)), 1);
}
/* Whether this process has a lock's memory at that address. */
static inline enum lock_place lock_place_enter(const void *lock)
{
    return lock_place_stays(lock) ? LOCK_PLACE_STAYS : lock_place_enter_other(lock);
}
static inline void lock_place_leave(enum lock_place place)
{
    if (place == LOCK_PLACE_ENTERED)
        visitor_leave_lock();
}

/* The lock whose memory is about to go; NULL: none is. Whoever has taken it sees that, and gives it back. */
extern _Atomic(const void *) lock_place_closing;
static inline bool lock_place_is_closing(const void *lock)
{
    return __builtin_expect(atomic_load_explicit(&lock_place_closing, memory_order_relaxed) == lock, 0);
}

/* Takes a named lock's memory away, when all have left who are inside. `lock` is its place, `take` takes it, so that no
 * thread of this process holds it: 0, MP_EOWNERDEAD, or an error, which is returned; `give` gives it back, and gets
 * what take() said. MP_EINVAL: it is no named lock of this process. */
int lock_place_close(const void *lock, mp_lock *handle, int (*take)(mp_lock *handle),
                     void (*give)(mp_lock *handle, int error));
void lock_place_after_fork(void);

#endif
