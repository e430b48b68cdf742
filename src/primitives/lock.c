/* Locks for users: objects (object.h) without content. Only the mutex and what belongs to it is used.
 *
 * Anonymous locks lie in a heap of the process that made them, which its children inherit. A child that makes locks has
 * a heap of its own, so its locks end with it. A named lock is a named heap with this one object as its root. */
#include "primitives/lock.h"

#include <errno.h>
#include <math.h>
#include <mp.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/lifecycle.h"
#include "base/robust_mutex.h"
#include "base/word.h"
#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "heap/heap_name.h"
#include "object/holder.h"
#include "object/object_create.h"
#include "object/object_reclaim.h"
#include "primitives/lock_place.h"

/* Room for about a million locks. */
#define LOCK_HEAP_LIMIT (UINT64_C(1) << 30)
#define NAMED_LOCK_LIMIT (UINT64_C(64) * 1024)

static pthread_mutex_t own_heap_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct heap *own_heap;
static bool own_heap_listed;

static void after_fork(void)
{
    pthread_mutex_init(&own_heap_mutex, NULL);
    own_heap = NULL;
    own_heap_listed = false;
    lock_place_after_fork();
}

static int create_anonymous(struct object **object)
{
    int error = mutex_supported();

    pthread_mutex_lock(&own_heap_mutex);
    if (own_heap == NULL && error == 0)
        error = heap_create_up_to(&own_heap, HEAP_LOCK, LOCK_HEAP_LIMIT);
    if (error == 0 && !own_heap_listed) {
        lock_place_add(own_heap);
        own_heap_listed = true;
    }
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
    int state = cancelling_forbid();
    if (options != NULL && options->name != NULL)
        error = create_named(&object, options->name);
    else
        error = create_anonymous(&object);
    cancelling_allow(state);
    if (error == 0)
        *lock = object_handle(object);
    return error;
}

static int open_named(struct object **object, const char *name)
{
    struct heap *heap;
    int error = mutex_supported();

    if (error == 0)
        error = heap_open(&heap, HEAP_LOCK, name);
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
    int state = cancelling_forbid();
    do {
        error = open_named(&object, name);
        if (error == MP_ENOENT)
            error = create_named(&object, name);
    } while (error == MP_EEXIST); /* another process made it in between */
    cancelling_allow(state);
    if (error == 0)
        *lock = object_handle(object);
    return error;
}

int mp_lock_unlink(const char *name)
{
    CANCELLING_FORBIDDEN;
    return heap_unlink(HEAP_LOCK, name);
}

static uint32_t thread_of(const struct object *object)
{
    return robust_mutex_word(&object->mutex) & ROBUST_THREAD;
}

/* The mark of the calling thread, which holds the mutex. The check of the thread number finds out a child of _Fork(),
 * which runs no fork handlers. */
static uint64_t own_mark(const struct object *object)
{
    uint32_t thread = thread_of(object);

    if (holder_own.thread != thread)
        holder_make(thread);
    return holder_own.mark;
}

/* ---- holders that died ---- */

static struct object *object_with(pthread_mutex_t *mutex)
{
    return (struct object *)((char *)mutex - offsetof(struct object, mutex));
}

/* If the mutex's holder is gone and the kernel has not noted it in the mutex, does what the kernel would have done.
 * Returns whether it did so. */
static bool revive_if(pthread_mutex_t *mutex, bool thorough)
{
    uint32_t word = robust_mutex_word(mutex);
    uint64_t mark = word_get(&object_with(mutex)->holder);
    pid_t thread;

    return robust_mutex_held(mutex, &thread) && (word & ROBUST_THREAD) == (uint32_t)thread &&
           holder_is_dead((uint32_t)thread, mark, mutex, thorough) && robust_mutex_owner_died(mutex, word);
}

static bool revive(pthread_mutex_t *mutex)
{
    return revive_if(mutex, true);
}

static bool is_closing(const pthread_mutex_t *mutex)
{
    return lock_place_is_closing((const char *)mutex - offsetof(struct object, mutex));
}

static const struct fair_queue_watch watch = {revive, is_closing};

/* ---- giving back ---- */

/* Slow path of release(). `number` is the result of pthread_mutex_unlock(): it fails in a child of _Fork() or clone(),
 * which takes itself for its parent's thread. 0: unlock was not called. */
__attribute__((noinline, cold)) static int release_slow(mp_lock *lock, int number)
{
    struct object *object = object_of(lock);

    if (number != 0)
        word_put(&object->holder, holder_own.mark);
    else if (!object_is_there(lock, OBJECT_LOCK))
        return MP_EINVAL;
    return number != 0 ? mutex_error(number) : MP_ENOTOWNER;
}

/* Releases the lock if this thread holds it, and leaves `mark` in it. */
static inline int release(mp_lock *lock, uint64_t mark)
{
    struct object *object = object_of(lock);

    if (!object_is_fast(lock, OBJECT_LOCK) || word_get(&object->holder) != holder_own.mark)
        return release_slow(lock, 0);
    word_put(&object->holder, mark);
    int number = pthread_mutex_unlock(&object->mutex);
    return __builtin_expect(number == 0, 1) ? 0 : release_slow(lock, number);
}

/* Gives back a lock that was taken, when no caller was told that. If `error` is MP_EOWNERDEAD, the next holder is told
 * instead. */
static void give_back(mp_lock *lock, int error)
{
    release(lock, error == MP_EOWNERDEAD ? HOLDER_SUSPECT : 0);
}

/* ---- taking ---- */

/* Completes an acquisition. `error` 0 or MP_EOWNERDEAD: the mutex was taken; otherwise it was not, for that reason.
 * `version` is the object's at the beginning of the call. If it has changed, the lock was freed meanwhile, and this is
 * another lock in its place. */
static int acquired(mp_lock *lock, uint64_t version, int error)
{
    struct object *object = object_of(lock);

    if (error == MP_EOWNERDEAD) {
        heap_recover(object_heap(object)); /* the owner may have died while it freed the lock */
        mutex_repaired(&object->mutex);
    }
    if (error != 0 && error != MP_EOWNERDEAD)
        return error;
    if (!object_is_there(lock, OBJECT_LOCK) || word_get(&object->version) != version) {
        mutex_unlock(&object->mutex);
        return MP_EINVAL;
    }
    if (word_get(&object->holder) == HOLDER_SUSPECT)
        error = MP_EOWNERDEAD;
    word_put(&object->holder, own_mark(object));
    return error;
}

/* A thread of another PID namespace that holds the mutex may have the same number as this thread. The mutex word then
 * says that this thread holds it, and the C library would refuse to wait on the mutex. Waits until that is over. False:
 * the deadline came first, or the lock is closing. */
static bool wait_for_namesake(const struct object *object, int64_t deadline)
{
    for (int64_t pause = 50 * MICROSECOND; robust_mutex_is_mine(&object->mutex); pause *= pause < MILLISECOND ? 2 : 1) {
        if (clock_now() >= deadline || is_closing(&object->mutex))
            return false;
        clock_sleep(pause);
    }
    return true;
}

static bool is_mine(const struct object *object)
{
    return word_get(&object->holder) == holder_own.mark && robust_mutex_is_mine(&object->mutex);
}

static int wait_for_it(struct object *object, int64_t deadline)
{
    for (;;) {
        int error = fair_queue_lock(&object->queue, &object->mutex, deadline, &watch);

        if (error != MP_EDEADLK || is_mine(object))
            return error;
        if (!wait_for_namesake(object, deadline))
            return MP_ETIMEOUT;
    }
}

/* Slow path of acquire(). The clock is read only here. `number` is the result of pthread_mutex_trylock(). NOT_TRIED: it
 * was not called, as a queued thread comes first. */
#define NOT_TRIED (-1)

__attribute__((noinline, cold)) static int acquire_slow(mp_lock *lock, double timeout, int number)
{
    struct object *object = object_of(lock);
    uint64_t version = word_get(&object->version);
    int64_t deadline;

    if (number == 0 || number == EOWNERDEAD)
        return acquired(lock, version, mutex_error(number));
    if (is_mine(object))
        return MP_EDEADLK;
    if (number != EBUSY && number != EDEADLK && number != NOT_TRIED)
        return mutex_error(number);
    if (number == EBUSY && revive_if(&object->mutex, timeout <= 0) && timeout <= 0)
        return acquired(lock, version, mutex_error(pthread_mutex_trylock(&object->mutex)));
    if (number != NOT_TRIED && timeout <= 0)
        return MP_ETIMEOUT;
    clock_deadline(timeout, &deadline); /* cannot fail: acquire() has ruled out a NaN */
    return acquired(lock, version, wait_for_it(object, deadline));
}

static inline int acquire(mp_lock *lock, double timeout)
{
    struct object *object = object_of(lock);

    if (!object_is_there(lock, OBJECT_LOCK) || isnan(timeout))
        return MP_EINVAL;
    if (fair_queue_has_waiters(&object->queue))
        return acquire_slow(lock, timeout, NOT_TRIED);
    int number = pthread_mutex_trylock(&object->mutex);
    uint64_t own = holder_own.mark;
    if (number != 0 || word_get(&object->holder) != 0 || word_get(&object->magic) != object_magic(lock, OBJECT_LOCK) ||
        own == HOLDER_UNKNOWN)
        return acquire_slow(lock, timeout, number);
    word_put(&object->holder, own);
    return 0;
}

__attribute__((noinline)) static int acquire_elsewhere(mp_lock *lock, double timeout)
{
    enum lock_place place = lock_place_enter_other(object_of(lock));

    if (place == LOCK_PLACE_NONE)
        return visitor_own == NULL ? MP_ENOMEM : MP_EINVAL;
    int error = acquire(lock, timeout);
    if ((error == 0 || error == MP_EOWNERDEAD) && place == LOCK_PLACE_ENTERED &&
        lock_place_is_closing(object_of(lock))) {
        give_back(lock, error);
        error = MP_EINVAL;
    }
    lock_place_leave(place);
    return error;
}

int mp_lock_acquire(mp_lock *lock, double timeout)
{
    return lock_place_stays(object_of(lock)) ? acquire(lock, timeout) : acquire_elsewhere(lock, timeout);
}

__attribute__((noinline)) static int release_elsewhere(mp_lock *lock, uint64_t mark)
{
    enum lock_place place = lock_place_enter_other(object_of(lock));

    if (place == LOCK_PLACE_NONE)
        return visitor_own == NULL ? MP_ENOMEM : MP_EINVAL;
    int error = release(lock, mark);
    lock_place_leave(place);
    return error;
}

static inline int release_leaving(mp_lock *lock, uint64_t mark)
{
    return lock_place_stays(object_of(lock)) ? release(lock, mark) : release_elsewhere(lock, mark);
}

int mp_lock_release(mp_lock *lock)
{
    return release_leaving(lock, 0);
}

/* ---- freeing ---- */

/* Takes the lock if it is free, ahead of queued threads. */
static int take_to_free(mp_lock *lock)
{
    struct object *object = object_of(lock);

    if (!object_is_there(lock, OBJECT_LOCK))
        return MP_EINVAL;
    uint64_t version = word_get(&object->version);
    int number = pthread_mutex_trylock(&object->mutex);
    if (number == EBUSY && revive(&object->mutex))
        number = pthread_mutex_trylock(&object->mutex);
    return number == EBUSY || number == EDEADLK ? MP_EBUSY : acquired(lock, version, mutex_error(number));
}

/* Frees an anonymous lock. The lock dies while this thread holds it, so no other thread holds a lock that it may not
 * release. A thread that waits for the lock gets the mutex afterwards, sees that the lock is gone, and unlocks. The
 * object can be reclaimed only after the mutex is unlocked. */
static int free_anonymous(mp_lock *lock)
{
    struct object *object = object_of(lock);
    int error = take_to_free(lock);

    if (error != 0 && error != MP_EOWNERDEAD)
        return error;
    error = object_free(lock, OBJECT_LOCK);
    word_put(&object->holder, 0);
    mutex_unlock(&object->mutex);
    object_reclaim_dead(object_heap(object));
    return error;
}

int mp_lock_free(mp_lock *lock)
{
    if (lock == NULL)
        return 0;
    CANCELLING_FORBIDDEN;
    enum lock_place place = lock_place_enter(object_of(lock));
    lock_place_leave(place);
    switch (place) {
    case LOCK_PLACE_STAYS:
        return free_anonymous(lock);
    case LOCK_PLACE_ENTERED:
        return lock_place_close(object_of(lock), lock, take_to_free, give_back);
    case LOCK_PLACE_NONE:
        break;
    }
    return MP_EINVAL;
}

/* ---- with ---- */

mp_lock_guard mp_lock_guard_enter(mp_lock *lock)
{
    int error = mp_lock_acquire(lock, MP_FOREVER);

    return (mp_lock_guard){error == 0 || error == MP_EOWNERDEAD ? lock : NULL, error == MP_EOWNERDEAD};
}

mp_lock_guard mp_lock_guard_enter_status(mp_lock *lock, int *status)
{
    if (status == NULL)
        return (mp_lock_guard){NULL, 0};
    *status = mp_lock_acquire(lock, MP_FOREVER);
    return (mp_lock_guard){*status == 0 || *status == MP_EOWNERDEAD ? lock : NULL, 0};
}

void mp_lock_guard_leave(mp_lock_guard *guard)
{
    if (guard == NULL || guard->lock == NULL)
        return;
    release_leaving(guard->lock, guard->untold != 0 ? HOLDER_SUSPECT : 0);
    guard->lock = NULL;
}

const struct object_kind lock_kind = {.name = "lock", .kind = OBJECT_LOCK, .words = OBJECT_WORDS};
