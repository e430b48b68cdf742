/* CIRCLES. Thread 1 is inside a function for A and wants B; thread 2 is inside one for B and wants A.
 *
 *   1. Each stores in the object that it holds what it waits for.
 *   2. Each follows the words from the object that it wants: that object's holder waits for another, and so on.
 *   3. If that leads to an object that the thread itself holds, its wait would close a circle.
 *
 * The words are followed through all heaps that this process has open. A circle that leads through another heap is not
 * found.
 *
 * The store of step 1 and the loads of step 2 are sequentially consistent (Dekker pairing): of the threads of a circle
 * the last one to store sees all the others. A holder that died leaves its word behind. So a thread that has found a
 * circle tries for the mutex once more, and gets it if its holder is dead.
 *
 * LEFT BY exec. When a thread executes another program, the kernel marks the mutexes that it holds as those of a dead
 * owner. But a thread that is not its process's first gets the first one's number before that, and the kernel finds no
 * mutex that names this number. So the mutex names a thread that does not exist any more. The threads that wait for it
 * find that out: stripes_look_for_holder(). A number says nothing in another PID namespace. So the holder writes its
 * namespaces into the object (OBJECT_INSIDE), and a thread in other namespaces goes on waiting.
 *
 * LEFT BY longjmp(). No code runs when a stack is cut off. The frame's address tells it later: a frame that lies below
 * the stack pointer of a later call of the same thread does not exist any more. The mutex that it held is then
 * unlocked; the object stays as it is. */
#include "object/callback.h"

#include <errno.h>
#include <mp.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/lifecycle.h"
#include "heap/heap_file.h"
#include "object/holder.h"
#include "object/object_reclaim.h"
#include "object/stripes.h"

#define DEPTH 32
/* The most steps of a search. A longer circle is not found, and a search that gets into a circle of other threads
 * ends. */
#define STEPS 100000
#define LOOK_NS (20 * MILLISECOND)
#define OFFSET_BITS 36

struct frame {
    struct object *object;
    uintptr_t address; /* of the stack frame that called the function */
    pid_t process;
    int cancelling; /* whether the thread could be cancelled before; inside it cannot */
};

static _Thread_local struct frame frames[DEPTH]; /* mutex_kept of them */

_Static_assert(OBJECT_INSIDE >> OBJECT_INSIDE_SHIFT == (UINT64_C(1) << HOLDER_SPACE_BITS) - 1, "room for namespaces");

/* Under the mutex: notes the holder's namespaces. 0: the holder is not inside a function any more. */
static void note_inside(struct object *object, uint64_t space)
{
    uint64_t met = atomic_load_explicit(&object->met, memory_order_relaxed) & ~OBJECT_INSIDE;

    atomic_store_explicit(&object->met, met | space << OBJECT_INSIDE_SHIFT, memory_order_relaxed);
}

static void leave(struct object *object)
{
    note_inside(object, 0);
    object_unlock(object);
}

static uintptr_t here(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

/* Drops the frames of a process that this one was forked from, and those left by longjmp(). Unlocks the objects of the
 * latter. */
static void drop_left(uintptr_t stack)
{
    while (mutex_kept > 0) {
        struct frame *last = &frames[mutex_kept - 1];
        bool foreign = last->process != lifecycle_pid();

        if (!foreign && last->address >= stack)
            return;
        mutex_kept--;
        if (!foreign)
            leave(last->object);
        cancelling_allow(last->cancelling);
    }
}

__attribute__((noinline)) int callback_begin(struct object *object)
{
    uintptr_t stack = here();

    if (mutex_kept > 0)
        drop_left(stack);
    if (mutex_kept == DEPTH)
        return MP_EDEPTH;
    frames[mutex_kept++] = (struct frame){object, stack, lifecycle_pid(), cancelling_forbid()};
    note_inside(object, holder_space());
    return 0;
}

bool callback_end(struct object *object)
{
    while (mutex_kept > 0) {
        struct frame last = frames[--mutex_kept];
        bool mine = last.process == lifecycle_pid();

        cancelling_allow(last.cancelling);
        if (last.object == object && mine)
            note_inside(object, 0);
        if (last.object == object)
            return mine;
        if (mine) /* a function inside this one was left by longjmp() */
            leave(last.object);
    }
    return false;
}

__attribute__((noinline)) bool callback_inside(const struct heap *heap)
{
    drop_left(here());
    for (int i = 0; i < mutex_kept; i++) {
        if (object_heap(frames[i].object) == heap)
            return true;
    }
    return false;
}

/* ---- circles ---- */

/* Names an object in all processes: its offset, and some bits of its heap's random seed. */
static uint64_t name_of(const struct object *object)
{
    return object_heap(object)->seed[0] >> OFFSET_BITS << OFFSET_BITS | object->self;
}

/* The object of that name, if it lies in that heap. */
static struct object *named_in(const struct heap *heap, uint64_t name)
{
    uint64_t offset = name & ((UINT64_C(1) << OFFSET_BITS) - 1);

    if (heap->seed[0] >> OFFSET_BITS != name >> OFFSET_BITS || offset % 64 != 0 ||
        !heap_holds(heap, offset, sizeof(struct object)))
        return NULL;
    return heap_at(heap, offset);
}

struct search {
    uint64_t name;
    uint64_t waits; /* what the holder of the object of that name waits for */
};

static bool look_in(const struct heap *heap, void *context)
{
    struct search *search = context;
    const struct object *object = named_in(heap, search->name);

    if (object != NULL)
        search->waits = atomic_load(&object->waits);
    return object != NULL;
}

/* The name of what the object's holder waits for, in any heap that this process has open. 0: nothing, or not known. */
static uint64_t waits_of(const struct object *wanted, uint64_t name)
{
    struct search search = {.name = name};

    if (!look_in(object_heap(wanted), &search))
        heap_each_open(look_in, &search);
    return search.waits;
}

static bool is_mine(uint64_t name)
{
    for (int i = 0; i < mutex_kept; i++) {
        if (name_of(frames[i].object) == name)
            return true;
    }
    return false;
}

static bool closes_circle(const struct object *wanted)
{
    uint64_t name = name_of(wanted);

    for (int steps = 0; name != 0 && steps < STEPS; steps++) {
        if (is_mine(name))
            return true;
        name = waits_of(wanted, name);
    }
    return false;
}

static void say(uint64_t name)
{
    for (int i = 0; i < mutex_kept; i++)
        atomic_store(&frames[i].object->waits, name);
}

/* ---- locking ---- */

static int lock_outside(struct object *object, int number)
{
    int error = mutex_lock_slow(&object->mutex, clock_now() + LOOK_NS, number);

    while (error == MP_ETIMEOUT) {
        stripes_look_for_holder(object);
        error = mutex_lock_until(&object->mutex, clock_now() + LOOK_NS);
    }
    return error;
}

static int lock_inside(struct object *object)
{
    int error;

    do {
        say(name_of(object));
        bool circle = closes_circle(object);
        error = mutex_lock_until(&object->mutex, circle ? clock_now() : clock_now() + LOOK_NS);
        if (error == MP_ETIMEOUT && circle)
            error = MP_EDEADLK;
        else if (error == MP_ETIMEOUT)
            stripes_look_for_holder(object);
    } while (error == MP_ETIMEOUT);
    say(0);
    return error;
}

__attribute__((noinline)) int callback_lock(struct object *object, int number)
{
    if (mutex_kept > 0)
        drop_left(here());
    if (mutex_kept == 0)
        return lock_outside(object, number);
    return number == EBUSY ? lock_inside(object) : mutex_error(number);
}
