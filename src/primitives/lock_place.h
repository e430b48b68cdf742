/* Checks that a handle is a lock's before the memory there is touched.
 *
 * A lock may have been made after this process, in a heap that this process has not mapped; and another thread may
 * unmap a named lock. Heaps of anonymous locks stay mapped as long as the process. Those that the process has made or
 * inherited are listed here for good, so comparing an address with their bounds is enough. A named lock is entered
 * (visitors.h) before it is read. */
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

/* A cache, hashed by address, of the named locks that this process has open. A lock that is not noted here is looked
 * up. */
#define LOCK_PLACE_NOTES_LOG 10
extern _Atomic(const void *) lock_place_noted[1 << LOCK_PLACE_NOTES_LOG];

static inline _Atomic(const void *) *lock_place_note(const void *lock)
{
    return &lock_place_noted[(uint64_t)(uintptr_t)lock * UINT64_C(0x9e3779b97f4a7c15) >> (64 - LOCK_PLACE_NOTES_LOG)];
}

/* Slow path of lock_place_enter(), for a lock that is neither in the heap listed last nor noted. */
enum lock_place lock_place_enter_slow(const void *lock);
/* Enters the lock, then reads the note. A thread that closes the lock clears the note, then looks for threads inside.
 * So at least one of the two sees the other (a Dekker pairing). */
static inline enum lock_place lock_place_enter_other(const void *lock)
{
    if (lock != NULL && visitor_enter_lock(lock) &&
        __builtin_expect(atomic_load_explicit(lock_place_note(lock), memory_order_acquire) == lock, 1))
        return LOCK_PLACE_ENTERED;
    return lock_place_enter_slow(lock);
}
static inline bool lock_place_is_in(const void *lock, const struct heap *heap)
{
    return (uint64_t)((uintptr_t)lock - (uintptr_t)heap) < atomic_load_explicit(&heap->size, memory_order_relaxed);
}
/* Whether the lock's memory stays mapped for as long as the process lives. */
static inline bool lock_place_stays(const void *lock)
{
    return __builtin_expect(lock_place_is_in(lock, atomic_load_explicit(&lock_place_last, memory_order_acquire)), 1);
}
/* Whether this process has a lock's memory mapped at that address. LOCK_PLACE_ENTERED: call lock_place_leave()
 * afterwards. */
static inline enum lock_place lock_place_enter(const void *lock)
{
    return lock_place_stays(lock) ? LOCK_PLACE_STAYS : lock_place_enter_other(lock);
}
static inline void lock_place_leave(enum lock_place place)
{
    if (place == LOCK_PLACE_ENTERED)
        visitor_leave_lock();
}

/* The lock that is about to be unmapped; NULL: none. A thread that has taken it sees that, and gives it back. */
extern _Atomic(const void *) lock_place_closing;
static inline bool lock_place_is_closing(const void *lock)
{
    return __builtin_expect(atomic_load_explicit(&lock_place_closing, memory_order_relaxed) == lock, 0);
}

/* Unmaps a named lock, once all threads have left it. `lock` is its place. `take` takes the lock, so that no other
 * thread of this process holds it, and returns 0, MP_EOWNERDEAD, or an error, which is returned. `give` gives it back,
 * and gets the result of take(). MP_EINVAL: it is no named lock of this process. */
int lock_place_close(const void *lock, mp_lock *handle, int (*take)(mp_lock *handle),
                     void (*give)(mp_lock *handle, int error));
void lock_place_after_fork(void);

#endif
