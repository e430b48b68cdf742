#include "primitives/lock_place.h"

#include <mp.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "heap/heap_file.h"

#define LISTED 16

static struct heap nothing; /* its size is 0, so no address is in it */
struct heap *_Atomic lock_place_last = &nothing;

/* All heaps ever listed, up to LISTED. Those beyond are found by heap_around(). */
static struct heap *_Atomic listed[LISTED];
static atomic_int listed_count;

_Atomic(const void *) lock_place_closing;
_Atomic(const void *) lock_place_noted[1 << LOCK_PLACE_NOTES_LOG]; /* changed under the mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void lock_place_add(struct heap *heap)
{
    pthread_mutex_lock(&mutex);
    int count = atomic_load_explicit(&listed_count, memory_order_relaxed);

    if (count < LISTED) {
        atomic_store_explicit(&listed[count], heap, memory_order_relaxed);
        atomic_store_explicit(&listed_count, count + 1, memory_order_release);
    }
    atomic_store_explicit(&lock_place_last, heap, memory_order_release);
    pthread_mutex_unlock(&mutex);
}

static bool is_listed(const void *lock)
{
    for (int i = atomic_load_explicit(&listed_count, memory_order_acquire); i-- > 0;) {
        if (lock_place_is_in(lock, atomic_load_explicit(&listed[i], memory_order_relaxed)))
            return true;
    }
    return false;
}

/* The heap of locks that the address lies in. NULL: none, or the address is beyond the heap's size, where there is no
 * file. */
static struct heap *heap_of(const void *lock)
{
    struct heap *heap = heap_around(lock, HEAP_LOCK, NULL);

    return heap != NULL && lock_place_is_in(lock, heap) ? heap : NULL;
}

static bool is_named(const void *lock, const struct heap *heap)
{
    return atomic_load(&heap->root) == heap_offset(heap, lock);
}

/* The caller holds the mutex, so no thread closes the lock meanwhile. */
static enum lock_place look_up(const void *lock)
{
    const struct heap *heap = heap_of(lock);

    if (heap == NULL)
        return LOCK_PLACE_NONE;
    if (!is_named(lock, heap)) /* the root is the only lock in a named lock's heap */
        return atomic_load(&heap->root) == 0 ? LOCK_PLACE_STAYS : LOCK_PLACE_NONE;
    if (!visitor_enter_lock(lock))
        return LOCK_PLACE_NONE;
    atomic_store(lock_place_note(lock), lock);
    return LOCK_PLACE_ENTERED;
}

enum lock_place lock_place_enter_slow(const void *lock)
{
    if (visitor_own != NULL)
        visitor_leave_lock();
    if (is_listed(lock))
        return LOCK_PLACE_STAYS;
    pthread_mutex_lock(&mutex);
    enum lock_place place = look_up(lock);
    pthread_mutex_unlock(&mutex);
    return place;
}

/* Waits until no thread is inside the lock. Most threads are inside for less than a microsecond, and a thread that
 * waits for the lock checks now and then whether it is closing. No thread comes in meanwhile: the note is gone, and a
 * thread that looks the lock up waits for the mutex. */
static void wait_until_left(const void *lock)
{
    for (int64_t pause = 20 * MICROSECOND; visitors_are_at(lock); pause = pause < MILLISECOND ? 2 * pause : pause)
        clock_sleep(pause);
}

int lock_place_close(const void *lock, mp_lock *handle, int (*take)(mp_lock *handle),
                     void (*give)(mp_lock *handle, int error))
{
    pthread_mutex_lock(&mutex);
    struct heap *heap = heap_of(lock);
    int error = heap != NULL && is_named(lock, heap) ? take(handle) : MP_EINVAL;
    if (error == 0 || error == MP_EOWNERDEAD) {
        const void *expected = lock;

        atomic_store(&lock_place_closing, lock);
        give(handle, error);
        atomic_compare_exchange_strong(lock_place_note(lock), &expected, NULL);
        wait_until_left(lock);
        error = heap_close(heap);
        atomic_store(&lock_place_closing, NULL);
    }
    pthread_mutex_unlock(&mutex);
    return error;
}

void lock_place_after_fork(void)
{
    pthread_mutex_init(&mutex, NULL);
    atomic_store(&lock_place_closing, NULL);
    visitors_after_fork();
}
