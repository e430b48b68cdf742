#include "object/object_lock.h"

#include <errno.h>
#include <mp.h>

#include "base/clock.h"
#include "base/word.h"
#include "object/callback.h"
#include "object/checking.h"

/* How long a reader waits for a mutex or for stripes. */
#define READ_PATIENCE_NS (200 * MICROSECOND)
/* The interval at which a thread that waits for a checker asks whether it is dead. */
#define CHECKER_LOOK_NS (2 * MILLISECOND)
/* An object gets stripes after threads that need only one stripe have waited for its mutex this often. */
#define MEETINGS 32

/* Under the object's mutex: whether its magic is that one. If not, takes the heap's mutex once, which rolls back what a
 * dead process left unfinished, and looks again. 0, MP_EINVAL, MP_ETIMEOUT. */
static int check_magic(struct object *object, uint64_t magic, int64_t deadline)
{
    struct heap *heap = object_heap(object);

    if (word_get(&object->magic) == magic)
        return 0;
    int error = heap_lock_until(heap, deadline);
    if (error == MP_ETIMEOUT)
        return error;
    if (error == 0)
        heap_unlock(heap);
    return word_get(&object->magic) == magic ? 0 : MP_EINVAL;
}

/* Completes locking. `error` is the result of taking the mutex. */
static int finish_lock(struct object *object, uint64_t magic, int error, int64_t deadline)
{
    if (error == MP_EOWNERDEAD)
        error = object_repair(object);
    if (error != 0)
        return error;
    error = check_magic(object, magic, deadline);
    if (error != 0) {
        mutex_unlock(&object->mutex);
        return error;
    }
    stripes_forget(object); /* whatever a dead holder held, we hold nothing */
    return 0;
}

/* Waits while a checker holds the mutex. MP_ETIMEOUT: no checker holds it any more, but another thread may. */
static int wait_for_checker(struct object *object)
{
    int error = MP_ETIMEOUT;

    while (error == MP_ETIMEOUT && checking_holds(object)) {
        checking_forgot(object);
        error = mutex_lock_until(&object->mutex, clock_now() + CHECKER_LOOK_NS);
    }
    return error;
}

static int wait_for_mutex(struct object *object, int number)
{
    int error = number == EBUSY && checking_holds(object) ? wait_for_checker(object) : MP_ETIMEOUT;

    return error == MP_ETIMEOUT ? callback_lock(object, number) : error;
}

int object_lock_alone_slow(struct object *object, uint64_t magic, int number)
{
    int error = number == 0 ? 0 : wait_for_mutex(object, number);

    return finish_lock(object, magic, error, DEADLINE_NEVER);
}

int object_lock_slow(struct object *object, uint64_t magic, int number)
{
    int error = object_lock_alone_slow(object, magic, number);

    if (error == 0) {
        error = stripes_hold_all(object);
        if (error != 0)
            mutex_unlock(&object->mutex);
    }
    return error;
}

int object_lock_to_read(struct object *object, uint64_t magic)
{
    int number = pthread_mutex_trylock(&object->mutex);
    int64_t deadline = clock_now() + READ_PATIENCE_NS;
    int error = number == 0 ? 0 : mutex_lock_slow(&object->mutex, deadline, number);

    return finish_lock(object, magic, error, deadline);
}

int object_lock_all_to_read(struct object *object, uint64_t magic)
{
    int error = object_lock_to_read(object, magic);

    if (error == 0) {
        error = stripes_hold_all_until(object, clock_now() + READ_PATIENCE_NS);
        if (error != 0)
            mutex_unlock(&object->mutex);
    }
    return error;
}

int stripes_lock_mutex_slow(struct object *object, uint64_t magic, int number)
{
    int error = object_lock_alone_slow(object, magic, number);

    if (error == 0 && number == EBUSY && word_get(&object->striped) == 0) {
        word_put(&object->met, word_get(&object->met) + 1);
        if (word_get(&object->met) >= MEETINGS)
            stripes_make(object);
    }
    return error;
}
