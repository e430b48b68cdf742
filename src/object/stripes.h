/* Stripes: lock striping, more mutexes for a dict or list that several processes contend for.
 *
 * A thread that stores one word over another, in place, holds the stripe of its key (of a list's cell, list_place.h)
 * and nothing else. So threads that do that to different keys run side by side. A thread that takes entries out, moves
 * them, replaces more than a word or copies the whole holds the object's mutex and, after it, the stripes of the keys
 * concerned, or all. A thread that only adds entries holds the mutex alone. Invariant: no thread that holds a stripe
 * waits for the mutex.
 *
 * A stripe guards single stores, so there is nothing to repair after a holder that died. If its owner has also left a
 * change unfinished, the object's version shows that: a thread that holds a stripe looks at the version first.
 *
 * An object gets stripes when threads that only store a word have often had to wait for its mutex. Threads that add and
 * remove entries do not count: for them stripes are only a cost. When the object is reclaimed, its stripes wait in
 * heap.stripes for the next object that needs some. Their block is never used for anything else, as its mutexes must
 * stay mutexes (type-stable memory): a late thread may still take one, and then finds that the object has changed. */
#ifndef STRIPES_H
#define STRIPES_H

#include "base/units.h"
#include "object/object.h"

#define STRIPES 16

struct stripes {
    _Alignas(64) _Atomic uint64_t next; /* in heap.stripes: the next block; guarded by the heap's mutex */
    struct stripe {
        _Alignas(64) pthread_mutex_t mutex;
    } stripe[STRIPES];
};

static inline struct stripes *stripes_at(const struct heap *heap, uint64_t block)
{
    return heap_at(heap, round_up(block, CACHE_LINE));
}

static inline struct stripes *stripes_of(const struct object *object)
{
    return stripes_at(object_heap(object), atomic_load_explicit(&object->stripes, memory_order_relaxed));
}

/* The stripe of a striped object for a key with this hash. NULL: the object was reclaimed meanwhile, which cannot
 * happen under its mutex. */
static inline pthread_mutex_t *stripe_of(const struct object *object, uint64_t hash)
{
    uint64_t block = atomic_load_explicit(&object->stripes, memory_order_relaxed);

    if (__builtin_expect(block == 0, 0))
        return NULL;
    return &stripes_at(object_heap(object), block)->stripe[hash >> 60 & (STRIPES - 1)].mutex;
}

/* Takes a stripe after pthread_mutex_trylock() has failed: `number` is what it returned. 0, MP_EDEADLK, MP_ECORRUPT. */
int stripe_lock_slow(struct object *object, pthread_mutex_t *stripe, int number);
/* Called by a thread that has waited for a while for the object's mutex or one of its stripes. If their holder has
 * executed another program from inside a function of the program's (callback.c), marks them as those of a dead
 * owner. */
void stripes_look_for_holder(struct object *object);
/* Under the object's mutex. Gives it stripes; without memory it gets none. */
void stripes_make(struct object *object);
/* Takes all stripes, or that of a key, until object_unlock(). An object that is not striped, or all of whose stripes
 * are held, needs none. 0, MP_ECORRUPT. */
int stripes_hold_all(struct object *object);
/* Like stripes_hold_all(), but with a deadline: MP_ETIMEOUT. */
int stripes_hold_all_until(struct object *object, int64_t deadline);
/* For a reader that does not hold the mutex: takes the stripes that become free before the deadline. The holder of
 * another one may store words meanwhile. */
struct stripes_taken {
    struct stripes *stripes; /* NULL: the object is not striped */
    unsigned taken;          /* a bit for each */
};
struct stripes_taken stripes_take_free(struct object *object, int64_t deadline);
void stripes_give_back(const struct stripes_taken *stripes);
/* Takes all stripes if no live thread holds one, and repairs those whose owner has died. Does not wait. */
bool stripes_try_hold_all(struct object *object);
int stripes_hold_one(struct object *object, uint64_t hash);
/* Under the mutex: no stripe counts as held, whatever a dead predecessor held. */
void stripes_forget(struct object *object);
/* Unlocks the stripes that are held. */
void stripes_release(struct object *object);
/* For an object that is being reclaimed, with all its stripes held: unlocks them, puts their block into
 * heap.stripes. */
void stripes_end(struct object *object);
/* For the checker: whether the block is one of sound stripes; whether the object's are. */
bool stripes_block_is_sound(const struct heap *heap, uint64_t block);
bool stripes_are_sound(const struct object *object);

#endif
