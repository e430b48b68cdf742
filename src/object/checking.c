/* Crash order of a checker, for each object:
 *   1. It takes the mutex.
 *   2. It writes the note.
 *   3. Later it clears the note.
 *   4. It unlocks the mutex.
 * A checker killed between 1 and 2, or between 3 and 4, holds a mutex without a note. That mutex is the one that it
 * took last of all that it holds, so the kernel marks it: a robust list begins with the mutex that was taken last.
 * Invariant: the mutex of an object with a note is held by a checker, alive or dead; no other thread gets it before the
 * note is cleared. */
#include "object/checking.h"

#include <mp.h>
#include <time.h>

#include "base/clock.h"
#include "base/robust_mutex.h"
#include "base/word.h"
#include "object/holder.h"
#include "sync/mutex.h"

#define LOOK_NS (20 * MILLISECOND)

/* Whether the mutex is held by a thread with the number of the heap's checker. */
static bool is_checkers(const struct heap *heap, const pthread_mutex_t *mutex)
{
    pid_t thread;

    return robust_mutex_held(mutex, &thread) &&
           (uint64_t)thread == atomic_load_explicit(&heap->checker, memory_order_acquire);
}

static bool give_away(const struct heap *heap, pthread_mutex_t *mutex)
{
    uint32_t word = robust_mutex_word(mutex);

    return is_checkers(heap, mutex) &&
           holder_is_dead(word & ROBUST_THREAD, word_get(&heap->checker_mark), mutex, true) &&
           robust_mutex_owner_died(mutex, word);
}

bool checking_forgot(struct object *object)
{
    return checking_holds(object) && give_away(object_heap(object), &object->mutex);
}

void checking_inherit(struct object *object)
{
    atomic_store(&object->met, word_get(&object->met) | OBJECT_CHECKED);
}

int checking_lock(struct object *object, int64_t deadline)
{
    int error = mutex_lock_until(&object->mutex, deadline);

    if (error == 0)
        checking_inherit(object);
    return error;
}

void checking_unlock(struct object *object)
{
    atomic_store(&object->met, word_get(&object->met) & ~OBJECT_CHECKED);
    mutex_unlock(&object->mutex);
}

/* Called before mutex_check(), for which a mutex that names no live thread is damaged. Tries several times, as
 * holder_is_dead() asks thoroughly only once in a millisecond. */
static void give_away_certainly(const struct heap *heap, pthread_mutex_t *mutex)
{
    for (int i = 0; i < 3 && is_checkers(heap, mutex) && !give_away(heap, mutex); i++)
        clock_sleep(MILLISECOND);
}

int checking_look(struct object *object, bool numbers_tell)
{
    if (checking_holds(object))
        give_away_certainly(object_heap(object), &object->mutex);
    return mutex_check(&object->mutex, numbers_tell);
}

/* A checker takes heap.checking before all other mutexes. So if the kernel marks only some of them, it does not mark
 * this one. */
static int lock_checking(struct heap *heap, int64_t deadline)
{
    int error;

    do {
        int64_t look = clock_now() + LOOK_NS;

        give_away_certainly(heap, &heap->checking);
        error = mutex_check(&heap->checking, heap_numbers_tell(heap));
        if (error == 0)
            error = mutex_lock_until(&heap->checking, look < deadline ? look : deadline);
    } while (error == MP_ETIMEOUT && clock_now() < deadline);
    return error;
}

int checking_begin(struct heap *heap, int64_t deadline)
{
    pid_t thread = 0;
    int error = lock_checking(heap, deadline);

    if (error == MP_EOWNERDEAD) {
        mutex_repaired(&heap->checking);
        error = 0;
    }
    if (error == 0 && robust_mutex_held(&heap->checking, &thread) && holder_own.thread != (uint32_t)thread)
        holder_make((uint32_t)thread);
    return error;
}

void checking_say(struct heap *heap)
{
    atomic_store(&heap->checker, 0);
    atomic_store(&heap->checker_mark, holder_own.mark);
    atomic_store(&heap->checker, holder_own.thread);
}

void checking_end(struct heap *heap)
{
    atomic_store(&heap->checker, 0);
    mutex_unlock(&heap->checking);
}
