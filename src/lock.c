/* Locks for users: an object (object.h) of which nothing but the mutex is used.
 *
 * Anonymous locks lie in a heap of the process that made them, which its children inherit; a child that makes locks has a heap
 * of its own, so that what it leaves behind ends with it. A named lock is a named heap with this one object as its root. */
#include <errno.h>
#include <math.h>
#include <mp.h>

#include "lifecycle.h"
#include "object.h"
#include "platform.h"

/* Room for about a million locks. */
#define LOCK_HEAP_LIMIT (UINT64_C(1) << 30)
#define NAMED_LOCK_LIMIT (UINT64_C(64) * 1024)

static pthread_mutex_t own_heap_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct heap *own_heap;

/* Variables of a thread that are found without a call. (musl does not load a library at run time that has such.) */
#ifdef __GLIBC__
#define FOUND_AT_ONCE __attribute__((tls_model("initial-exec")))
#else
#define FOUND_AT_ONCE
#endif

/* The number of the calling thread, as a mutex that it holds says. Known when it has given a lock back. */
#define UNKNOWN UINT32_MAX
static _Thread_local uint32_t this_thread FOUND_AT_ONCE = UNKNOWN;

static void after_fork(void)
{
    pthread_mutex_init(&own_heap_mutex, NULL);
    own_heap = NULL;
    this_thread = UNKNOWN;
}

static int create_anonymous(struct object **object)
{
    int error = 0;

    pthread_mutex_lock(&own_heap_mutex);
    if (own_heap == NULL)
        error = heap_create_up_to(&own_heap, HEAP_LOCK, LOCK_HEAP_LIMIT);
    pthread_mutex_unlock(&own_heap_mutex);
    return error != 0 ? error : object_create(own_heap, OBJECT_LOCK, object);
}

static int create_named(struct object **object, const char *name)
{
    struct heap *heap;
    int error = heap_create(&heap, HEAP_LOCK, name, NAMED_LOCK_LIMIT);

    if (error != 0)
        return error;
    error = object_create(heap, OBJECT_LOCK, object);
    if (error == 0) {
        atomic_store(&heap->root, (*object)->self);
        error = heap_publish(heap);
    }
    if (error != 0)
        heap_close(heap);
    return error;
}

int mp_lock_create(mp_lock **lock, const mp_lock_options *options)
{
    struct object *object;
    int error;

    if (lock == NULL)
        return MP_EINVAL;
    lifecycle_register(LIFECYCLE_LOCK, NULL, after_fork);
    if (options != NULL && options->name != NULL)
        error = create_named(&object, options->name);
    else
        error = create_anonymous(&object);
    if (error == 0)
        *lock = object_handle(object);
    return error;
}

static int open_named(struct object **object, const char *name)
{
    struct heap *heap;
    int error = heap_open(&heap, HEAP_LOCK, name);

    if (error != 0)
        return error;
    error = object_root(heap, OBJECT_LOCK, object);
    if (error != 0)
        heap_close(heap);
    return error;
}

int mp_lock_open(mp_lock **lock, const char *name, const mp_lock_options *options)
{
    struct object *object;
    int error;

    if (lock == NULL || name == NULL || options != NULL)
        return MP_EINVAL;
    lifecycle_register(LIFECYCLE_LOCK, NULL, after_fork);
    do {
        error = open_named(&object, name);
        if (error == MP_ENOENT)
            error = create_named(&object, name);
    } while (error == MP_EEXIST); /* somebody made it in between */
    if (error == 0)
        *lock = object_handle(object);
    return error;
}

int mp_lock_unlink(const char *name)
{
    return heap_unlink(HEAP_LOCK, name);
}

/* The mutex was taken, or not, for the reason `number`; 0 and EOWNERDEAD: it was. */
static int acquired(mp_lock *lock, int error)
{
    struct object *object = object_of(lock);

    if (error == MP_EOWNERDEAD)
        mutex_repaired(&object->mutex);
    if ((error == 0 || error == MP_EOWNERDEAD) && !object_is(lock, OBJECT_LOCK)) { /* freed while we waited */
        mutex_unlock(&object->mutex);
        return MP_EINVAL;
    }
    return error;
}

/* All but the usual case. Only now does the time matter, which costs a look at the clock. `number` is what
 * pthread_mutex_trylock() said; NOT_TRIED: it is somebody's turn. */
#define NOT_TRIED (-1)

/* Who holds it and tries for it is told EDEADLK, but by musl EBUSY. */
#ifdef __GLIBC__
#define BUSY_MAY_BE_MINE false
#else
#define BUSY_MAY_BE_MINE true
#endif

__attribute__((noinline, cold)) static int acquire_later(mp_lock *lock, double timeout, int number)
{
    struct object *object = object_of(lock);
    int64_t deadline;

    if (number != EBUSY && number != NOT_TRIED)
        return acquired(lock, mutex_error(number));
    if ((number == NOT_TRIED || BUSY_MAY_BE_MINE) && robust_mutex_is_mine(&object->mutex))
        return MP_EDEADLK;
    if (number == EBUSY && timeout <= 0)
        return MP_ETIMEOUT;
    clock_deadline(timeout, &deadline); /* it is no NaN */
    return acquired(lock, turns_lock(&object->turns, &object->mutex, deadline));
}

int mp_lock_acquire(mp_lock *lock, double timeout)
{
    struct object *object = object_of(lock);

    if (!object_is(lock, OBJECT_LOCK) || isnan(timeout))
        return MP_EINVAL;
    if (turns_wanted(&object->turns))
        return acquire_later(lock, timeout, NOT_TRIED);
    int number = pthread_mutex_trylock(&object->mutex);
    if (number != 0 || atomic_load_explicit(&object->magic, memory_order_relaxed) != object_magic(lock, OBJECT_LOCK))
        return acquire_later(lock, timeout, number);
    return 0;
}

static uint32_t holder_of(const struct object *object)
{
    return robust_mutex_word(&object->mutex) & ROBUST_THREAD;
}

__attribute__((noinline, cold)) static int release_later(mp_lock *lock)
{
    struct object *object = object_of(lock);

    if (!object_is(lock, OBJECT_LOCK))
        return MP_EINVAL;
    uint32_t holder = holder_of(object);
    int error = mutex_unlock(&object->mutex);
    if (error == 0)
        this_thread = holder;
    return error;
}

/* When this thread is known to hold it, giving it up cannot fail. So there is no error to be made one of ours, and what is called
 * can be jumped to, which makes an uncontended lock by a twentieth cheaper. (A child of _Fork(), of which nobody is told, may
 * take itself for its parent's thread; it is not to use locks, and if it gives one of its parent's up, it gets EPERM as it is.) */
int mp_lock_release(mp_lock *lock)
{
    struct object *object = object_of(lock);

    if (!object_is_at_once(lock, OBJECT_LOCK) || holder_of(object) != this_thread)
        return release_later(lock);
    return pthread_mutex_unlock(&object->mutex);
}

int mp_lock_free(mp_lock *lock)
{
    struct object *object = object_of(lock);

    if (lock == NULL)
        return 0;
    if (!object_is(lock, OBJECT_LOCK))
        return MP_EINVAL;
    /* Whosever turn it is: nobody holds it. */
    int error = acquired(lock, mutex_error(pthread_mutex_trylock(&object->mutex)));
    if (error == MP_ETIMEOUT || error == MP_EDEADLK)
        return MP_EBUSY;
    if (error != 0 && error != MP_EOWNERDEAD)
        return error;
    mutex_unlock(&object->mutex);
    struct heap *heap = object_heap(object);
    if (atomic_load(&heap->root) == object->self)
        return heap_close(heap);
    return object_free(lock, OBJECT_LOCK);
}

mp_lock_guard mp_lock_guard_enter(mp_lock *lock)
{
    int error = mp_lock_acquire(lock, MP_FOREVER);

    return (mp_lock_guard){error == 0 || error == MP_EOWNERDEAD ? lock : NULL};
}

void mp_lock_guard_leave(mp_lock_guard *guard)
{
    if (guard == NULL || guard->lock == NULL)
        return;
    mp_lock_release(guard->lock);
    guard->lock = NULL;
}
