#include "object/stripes.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/robust_mutex.h"
#include "base/word.h"
#include "object/holder.h"
#include "object/ref.h"

/* The interval at which a thread that waits for a stripe looks for its holder. */
#define LOOK_NS (50 * MILLISECOND)

/* The values of object.held: no stripe, all stripes, or HELD_ONE plus the number of one stripe. Only the holder of the
 * object's mutex reads and writes it. */
enum { HELD_NONE, HELD_ALL, HELD_ONE };

static void give_away(pthread_mutex_t *mutex, pid_t thread)
{
    uint32_t word = robust_mutex_word(mutex);
    pid_t holder;

    if (robust_mutex_held(mutex, &holder) && holder == thread)
        robust_mutex_owner_died(mutex, word);
}

/* Marks the stripes before the mutex. If this thread dies in between, the mutex still names the thread that does not
 * exist any more, and the next thread that looks goes on. */
void stripes_look_for_holder(struct object *object)
{
    uint64_t space = (word_get(&object->met) & OBJECT_INSIDE) >> OBJECT_INSIDE_SHIFT;
    pid_t thread;

    if (space == 0 || space != holder_space() || !robust_mutex_held(&object->mutex, &thread) || thread == 0 ||
        kill(thread, 0) == 0 || errno != ESRCH)
        return;
    for (int i = 0; i < STRIPES && word_get(&object->striped) != 0; i++)
        give_away(&stripes_of(object)->stripe[i].mutex, thread);
    give_away(&object->mutex, thread);
}

/* Slow path: waits for the stripe's holder, which is about to unlock it or is inside a function of the program's. */
static int wait_for_stripe(struct object *object, pthread_mutex_t *stripe, int64_t deadline, int number)
{
    int error;

    do {
        int64_t look = clock_now() + LOOK_NS;

        error = mutex_lock_slow(stripe, look < deadline ? look : deadline, number);
        number = EBUSY;
        if (error == MP_ETIMEOUT)
            stripes_look_for_holder(object);
    } while (error == MP_ETIMEOUT && clock_now() < deadline);
    if (error == MP_EOWNERDEAD) {
        mutex_repaired(stripe);
        error = 0;
    }
    return error;
}

int stripe_lock_slow(struct object *object, pthread_mutex_t *stripe, int number)
{
    /* The stripe's holder may be inside a function of the program's and wait for this thread. Only the object's mutex
     * can tell: see callback.c. */
    if (number == EBUSY && mutex_kept > 0)
        return MP_EDEADLK;
    return wait_for_stripe(object, stripe, DEADLINE_NEVER, number);
}

static int lock_until(struct object *object, pthread_mutex_t *stripe, int64_t deadline)
{
    int number = pthread_mutex_trylock(stripe);

    return number == 0 ? 0 : wait_for_stripe(object, stripe, deadline, number);
}

/* Takes a block of stripes that a reclaimed object left in heap.stripes. False: there is none. */
static bool take_spare(struct object *object)
{
    struct heap *heap = object_heap(object);

    if (heap_lock(heap) != 0)
        return false;
    uint64_t block = word_get(&heap->stripes);
    if (block != 0) {
        heap_set(heap, &heap->stripes, word_get(&stripes_at(heap, block)->next));
        heap_set(heap, &object->stripes, block);
        heap_commit(heap);
    }
    heap_unlock(heap);
    return block != 0;
}

/* Makes a block of stripes. Pending ref 0 owns it until all mutexes in it are made. If it is released before, no thread
 * has used them. */
static bool make_new(struct object *object)
{
    struct heap *heap = object_heap(object);
    int error = heap_alloc(heap, sizeof(struct stripes) + 63, &object->pending[0]);

    if (error != 0)
        return false;
    struct stripes *stripes = stripes_at(heap, word_get(&object->pending[0]));
    word_put(&stripes->next, 0);
    for (int i = 0; error == 0 && i < STRIPES; i++)
        error = mutex_init(&stripes->stripe[i].mutex);
    if (error == 0) {
        object_begin(object);
        object_set(object, &object->stripes, word_get(&object->pending[0]));
        object_set(object, &object->pending[0], 0);
        object_commit(object);
    }
    ref_release(heap, &object->pending[0]);
    return error == 0;
}

void stripes_make(struct object *object)
{
    if (word_get(&object->stripes) == 0 && !take_spare(object) && !make_new(object))
        return;
    word_put(&object->held, HELD_NONE);
    atomic_store_explicit(&object->striped, 1, memory_order_release);
}

int stripes_hold_all_until(struct object *object, int64_t deadline)
{
    if (word_get(&object->striped) == 0 || word_get(&object->held) == HELD_ALL)
        return 0;
    for (int i = 0; i < STRIPES; i++) {
        int error = lock_until(object, &stripes_of(object)->stripe[i].mutex, deadline);

        while (error != 0 && i-- > 0)
            mutex_unlock(&stripes_of(object)->stripe[i].mutex);
        if (error != 0)
            return error;
    }
    word_put(&object->held, HELD_ALL);
    return 0;
}

int stripes_hold_all(struct object *object)
{
    return stripes_hold_all_until(object, DEADLINE_NEVER);
}

struct stripes_taken stripes_take_free(struct object *object, int64_t deadline)
{
    uint64_t block = atomic_load_explicit(&object->stripes, memory_order_acquire);
    struct stripes_taken taken = {.stripes = NULL, .taken = 0};

    if (atomic_load_explicit(&object->striped, memory_order_acquire) == 0 || block == 0)
        return taken;
    taken.stripes = stripes_at(object_heap(object), block);
    for (unsigned i = 0; i < STRIPES; i++) {
        if (lock_until(object, &taken.stripes->stripe[i].mutex, deadline) == 0)
            taken.taken |= 1U << i;
    }
    return taken;
}

void stripes_give_back(const struct stripes_taken *stripes)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        if (stripes->taken >> i & 1)
            mutex_unlock(&stripes->stripes->stripe[i].mutex);
    }
}

bool stripes_try_hold_all(struct object *object)
{
    if (word_get(&object->striped) == 0)
        return true;
    for (int i = 0; i < STRIPES; i++) {
        struct stripe *stripe = stripes_of(object)->stripe;
        int error = mutex_error(pthread_mutex_trylock(&stripe[i].mutex));

        if (error == MP_EOWNERDEAD)
            mutex_repaired(&stripe[i].mutex);
        else if (error != 0) {
            while (i-- > 0)
                mutex_unlock(&stripe[i].mutex);
            return false;
        }
    }
    word_put(&object->held, HELD_ALL);
    return true;
}

int stripes_hold_one(struct object *object, uint64_t hash)
{
    if (word_get(&object->striped) == 0 || word_get(&object->held) == HELD_ALL)
        return 0;
    pthread_mutex_t *stripe = stripe_of(object, hash);
    int error = lock_until(object, stripe, DEADLINE_NEVER);
    /* A process that dies here leaves the stripe to the next thread as one of a dead owner. The next holder of the
     * mutex ignores what `held` says. */
    if (error == 0)
        word_put(&object->held, HELD_ONE + (uint64_t)((struct stripe *)stripe - stripes_of(object)->stripe));
    return error;
}

void stripes_forget(struct object *object)
{
    word_put(&object->held, HELD_NONE);
}

void stripes_release(struct object *object)
{
    struct stripe *stripe = stripes_of(object)->stripe;
    uint64_t held = word_get(&object->held);

    word_put(&object->held, HELD_NONE);
    if (held >= HELD_ONE)
        mutex_unlock(&stripe[held - HELD_ONE].mutex);
    for (int i = 0; held == HELD_ALL && i < STRIPES; i++)
        mutex_unlock(&stripe[i].mutex);
}

/* Puts the object's block of stripes into heap.stripes, in one step. */
static void give_up(struct object *object)
{
    struct heap *heap = object_heap(object);
    uint64_t block = word_get(&object->stripes);

    if (block == 0 || heap_lock(heap) != 0)
        return;
    heap_set(heap, &stripes_at(heap, block)->next, word_get(&heap->stripes));
    heap_set(heap, &heap->stripes, block);
    heap_set(heap, &object->stripes, 0);
    heap_commit(heap);
    heap_unlock(heap);
}

/* Clears `striped` before it unlocks. A process that dies in between leaves the remaining stripes with a dead owner,
 * which lock recovery handles. A waiter that gets one reads `striped` again and finds that it needs another lock. */
void stripes_end(struct object *object)
{
    word_put(&object->met, 0);
    if (word_get(&object->striped) != 0) {
        word_put(&object->striped, 0);
        undo_order();
        stripes_release(object);
    }
    give_up(object);
}

bool stripes_block_is_sound(const struct heap *heap, uint64_t block)
{
    if (heap_block_size(heap, block) < sizeof(struct stripes) + 63)
        return false;
    const struct stripes *stripes = stripes_at(heap, block);
    for (int i = 0; i < STRIPES; i++) {
        if (mutex_check(&stripes->stripe[i].mutex, heap_numbers_tell(heap)) != 0)
            return false;
    }
    return true;
}

bool stripes_are_sound(const struct object *object)
{
    uint64_t block = word_get(&object->stripes), striped = word_get(&object->striped);

    if (block == 0)
        return striped == 0;
    return striped <= 1 && stripes_block_is_sound(object_heap(object), block);
}
