/* Stripes: more mutexes for an object that several processes contend for.
 *
 * Who only puts another word in the place of one, where it lies, holds the stripe of its key and nothing else: so those who
 * do that to different keys go on side by side. Who takes entries out, moves them, replaces more than a word or wants to see
 * one moment of it all holds the object's mutex and, after it, the stripes of the keys concerned, or all. Who only adds
 * entries holds the mutex alone. Nobody who holds a stripe waits for the mutex.
 *
 * A stripe guards single stores, so there is nothing to repair after a holder that died. What its owner held besides, a
 * change half done, shows in the object's version: whoever holds a stripe looks at that first.
 *
 * The block is made when it is first needed and stays the object's for ever, as its mutexes must stay mutexes. */
#ifndef STRIPES_H
#define STRIPES_H

#include "object.h"

#define STRIPES 16

struct stripes {
    _Alignas(64) _Atomic uint64_t ready; /* 1: the mutexes are made */
    struct stripe {
        _Alignas(64) pthread_mutex_t mutex;
    } stripe[STRIPES];
};

static inline struct stripes *stripes_of(const struct object *object)
{
    uint64_t block = atomic_load_explicit(&object->stripes, memory_order_relaxed);

    return heap_at(object_heap(object), (block + 63) / 64 * 64);
}

/* Of a striped object: the mutex for a key with this hash. */
static inline pthread_mutex_t *stripe_of(const struct object *object, uint64_t hash)
{
    return &stripes_of(object)->stripe[hash >> 60 & (STRIPES - 1)].mutex;
}

/* When a stripe is not to be had at once, for the reason that pthread_mutex_trylock() gave. 0, MP_EDEADLK, MP_ECORRUPT. */
int stripe_lock_later(pthread_mutex_t *stripe, int number);

/* Under the object's mutex. Gives it stripes; without memory it gets none. */
void stripes_make(struct object *object);
/* Takes all stripes, or that of a key, until object_unlock(). An object that is not striped, or all of whose stripes are
 * held, needs none. 0, MP_ECORRUPT. */
int stripes_hold_all(struct object *object);
int stripes_hold_one(struct object *object, uint64_t hash);
/* Gives those up that are held. */
void stripes_release(struct object *object);
/* The same of an object that is buried, of which all are held: it is striped no more. */
void stripes_end(struct object *object);
/* For the checker: whether the block can be one; its mutexes, if they are made. */
bool stripes_are_sound(const struct object *object);

#endif
