/* Locks for users. A process that takes a lock after a death is told about it if the dead process held the lock, and
 * never waits for the dead process. */
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>

#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "heap_killer.h"
#include "object/object.h"
#include "object/object_check.h"
#include "object/object_create.h"

static struct heap *heap;
static mp_lock *lock;

static void must(int error)
{
    if (error != 0 && error != MP_EOWNERDEAD)
        abort();
}

/* ---- the scene ---- */

static struct heap *create(void)
{
    struct object *object;

    if (heap_create(&heap, HEAP_LOCK, NULL, 0) != 0 || object_create(heap, OBJECT_LOCK, &object) != 0)
        abort();
    lock = object_handle(object);
    return heap;
}

static void destroy(void)
{
    heap_close(heap);
}

static void recover(void)
{
    heap_recover(heap);
    if (mp_lock_acquire(lock, MP_FOREVER) != MP_EINVAL)
        mp_lock_release(lock);
}

static void inspect(void)
{
    int error = mp_lock_acquire(lock, 10);
    char line[100];

    if (error == 0 || error == MP_EOWNERDEAD) {
        if (mp_lock_acquire(lock, 0) != MP_EDEADLK || mp_lock_release(lock) != 0 ||
            mp_lock_release(lock) != MP_ENOTOWNER)
            report_problem("the lock does not work");
        /* The death of the owner is reported once only. */
        if (mp_lock_acquire(lock, 10) != 0 || mp_lock_release(lock) != 0)
            report_problem("the lock does not work the second time");
    }
    snprintf(line, sizeof line, "acquire: %s", mp_strerror(error));
    report_state(line);
    error = object_check_heap(heap, NULL);
    if (error != 0)
        report_problem("the heap: %s", mp_strerror(error));
}

static const struct scene lock_scene = {create, destroy, recover, inspect, NULL, NULL, NULL};

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&lock_scene, operation, plan, tally);
}

/* ---- waiters with tickets that have died ---- */

static void leave_tickets(uint32_t served, uint32_t taken, uint64_t left)
{
    struct fair_queue *queue = &(object_of(lock))->queue;

    atomic_store(&queue->now_serving, served);
    atomic_store(&queue->next_ticket, taken);
    atomic_store(&queue->abandoned, left);
}

static void one_ticket(void)
{
    leave_tickets(7, 8, 0);
}

/* Three tickets: of a dead waiter, of one that gave up, of a dead one. */
static void three_tickets(void)
{
    leave_tickets(UINT32_MAX - 1, 1, UINT64_C(1) << 63);
}

/* Skipping 40 dead tickets takes some time. */
static void many_tickets(void)
{
    leave_tickets(20, 60, 0);
}

static void tickets_that_cannot_be(void)
{
    leave_tickets(9, 7, UINT64_MAX);
}

/* ---- operations ---- */

static void acquire(void)
{
    must(mp_lock_acquire(lock, MP_FOREVER));
}

static void acquire_in_time(void)
{
    must(mp_lock_acquire(lock, 5));
}

static void try(void)
{
    must(mp_lock_acquire(lock, 0));
}

/* The timeout is long enough to get a ticket, and too short for its turn to come. */
static void give_ticket_up(void)
{
    int error = mp_lock_acquire(lock, 0.02);

    if (error != MP_ETIMEOUT)
        must(error);
}

static void release(void)
{
    must(mp_lock_acquire(lock, MP_FOREVER));
    must(mp_lock_release(lock));
}

static void with(void)
{
    MP_WITH_LOCK (lock) {
        continue;
    }
}

static void make(void)
{
    struct object *object;

    must(object_create(heap, OBJECT_LOCK, &object));
}

static void free_it(void)
{
    must(mp_lock_free(lock));
}

static void make_and_free(void)
{
    struct object *object;

    must(object_create(heap, OBJECT_LOCK, &object));
    must(mp_lock_free(object_handle(object)));
}

static const struct operation operations[] = {
    {"lock.acquire", NULL, acquire, NULL, NULL},
    {"lock.acquire_in_time", NULL, acquire_in_time, NULL, NULL},
    {"lock.try", NULL, try, NULL, NULL},
    {"lock.acquire_and_release", NULL, release, acquire, NULL},
    {"lock.with", NULL, with, acquire, NULL},
    {"lock.make", NULL, make, acquire, NULL},
    {"lock.free", NULL, free_it, acquire, NULL},
    {"lock.make_and_free", NULL, make_and_free, acquire, NULL},
    {"lock.acquire_in_turn", one_ticket, acquire, NULL, NULL},
    {"lock.acquire_in_later_turn", three_tickets, release, acquire, NULL},
    {"lock.acquire_out_of_nonsense", tickets_that_cannot_be, release, acquire, NULL},
    {"lock.give_ticket_up", many_tickets, give_ticket_up, acquire, NULL},
    {"lock.free_in_turn", one_ticket, free_it, acquire, NULL},
};

const struct family lock_family = {operations, sizeof operations / sizeof *operations, run};
