/* Locking an object: its mutex, and its stripes where it has some. */
#ifndef OBJECT_LOCK_H
#define OBJECT_LOCK_H

#include "object/object.h"
#include "object/object_reclaim.h"
#include "object/stripes.h"

/* `magic` below is object_magic() of the handle.
 *
 * The fast path of locking: takes the mutex if it is free, and the object live and not striped. False: the caller takes
 * the slow path, with *number, which is what pthread_mutex_trylock() returned. If that is 0, the mutex is held. */
static inline bool object_lock_fast(struct object *object, uint64_t magic, int *number)
{
    *number = pthread_mutex_trylock(&object->mutex);
    return *number == 0 && atomic_load_explicit(&object->magic, memory_order_relaxed) == magic &&
           atomic_load_explicit(&object->striped, memory_order_relaxed) == 0;
}
int object_lock_slow(struct object *object, uint64_t magic, int number);
int object_lock_alone_slow(struct object *object, uint64_t magic, int number);
/* Takes the mutex of a live object of that kind, and its stripes, and repairs what a dead predecessor left. MP_EINVAL,
 * MP_EDEADLK. */
static inline int object_lock(const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);
    uint64_t magic = object_magic(handle, kind);
    int number;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    return object_lock_fast(object, magic, &number) ? 0 : object_lock_slow(object, magic, number);
}
/* Like object_lock(), but without the stripes: other threads may still replace single words in place. */
static inline int object_lock_alone(const void *handle, uint64_t kind)
{
    struct object *object = object_of(handle);
    uint64_t magic = object_magic(handle, kind);
    int number;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    return object_lock_fast(object, magic, &number) ? 0 : object_lock_alone_slow(object, magic, number);
}
/* Like object_lock_alone(), but waits only for a moment: MP_ETIMEOUT. The caller unlocks with mutex_unlock(). */
int object_lock_to_read(struct object *object, uint64_t magic);
/* Like object_lock(), but waits only for a moment: MP_ETIMEOUT. */
int object_lock_all_to_read(struct object *object, uint64_t magic);

/* The slow path of stripes_guard() for an object without stripes: takes its mutex after pthread_mutex_trylock() has
 * failed. `number` is what it returned. 0, MP_EINVAL, MP_EDEADLK, MP_ECORRUPT. */
int stripes_lock_mutex_slow(struct object *object, uint64_t magic, int number);

/* Takes the mutex that guards a word in an object of that kind, so that another value can be stored in the word: the
 * stripe of its key, or the object's mutex if the object has no stripes. `version` is the even version at which the
 * word was found. *head, which describes the word, must be `kind`. NULL: nothing is held; the word is gone, may be
 * gone, or is of another kind. */
static inline __attribute__((always_inline)) pthread_mutex_t *stripes_guard(struct object *object, uint64_t magic,
                                                                            uint64_t version, uint64_t hash,
                                                                            const _Atomic uint64_t *head, uint64_t kind)
{
    uint64_t striped = atomic_load_explicit(&object->striped, memory_order_acquire);

    if (!object_read_valid(object, version))
        return NULL;
    pthread_mutex_t *guard = striped ? stripe_of(object, hash) : &object->mutex;
    if (__builtin_expect(guard == NULL, 0))
        return NULL;
    int number = pthread_mutex_trylock(guard);
    if (number != 0 &&
        (striped ? stripe_lock_slow(object, guard, number) : stripes_lock_mutex_slow(object, magic, number)) != 0)
        return NULL;
    /* A thread needs what we hold before it takes the word away or moves it. So the word is there, and stays, if
     * nothing has changed since it was seen. */
    if (object_read_valid(object, version) && atomic_load_explicit(head, memory_order_relaxed) == kind &&
        atomic_load_explicit(&object->striped, memory_order_relaxed) == striped &&
        atomic_load_explicit(&object->magic, memory_order_relaxed) == magic)
        return guard;
    mutex_unlock(guard);
    return NULL;
}

static inline void stripes_unguard(struct object *object, pthread_mutex_t *guard)
{
    struct heap *heap = object_heap(object);

    mutex_unlock(guard);
    if (atomic_load_explicit(&heap->dead, memory_order_relaxed) != 0)
        object_reclaim_dead(heap);
}

#endif
