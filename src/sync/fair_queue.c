#include "sync/fair_queue.h"

#include <limits.h>
#include <mp.h>

#include "base/clock.h"
#include "base/delay.h"
#include "base/futex.h"
#include "base/robust_mutex.h"
#include "sync/mutex.h"
#include "sync/wait.h"

/* How often a waiter checks that the thread whose turn it is still comes: after an eighth of the time that the waiter
 * has waited, within these bounds. So waiters for a lock that is held for long use little CPU. */
#define LOOK_FIRST_NS (2 * MILLISECOND)
#define LOOK_LAST_NS (50 * MILLISECOND)

/* The futex bitset of the waiters on `now_serving`: bits 0 to 30 are ticket % 31, bit 31 is a waiter without a
 * ticket. */
#define WITHOUT_TICKET (UINT32_C(1) << 31)

static uint32_t sleepers_with(uint32_t ticket)
{
    return UINT32_C(1) << ticket % 31;
}

static uint64_t left_bit(uint32_t ticket)
{
    return UINT64_C(1) << ticket % 64;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- tickets ---- */

/* Takes the next ticket. False: TURN_TICKETS are out. */
static bool take_ticket(struct fair_queue *queue, uint32_t *ticket)
{
    for (;;) {
        /* Loaded before `next_ticket`: so the difference is never less than the number of tickets that are out. */
        uint32_t served = atomic_load(&queue->now_serving);
        uint32_t next = atomic_load(&queue->next_ticket);

        if (next - served >= TURN_TICKETS)
            return false;
        if (atomic_compare_exchange_strong(&queue->next_ticket, &next, next + 1)) {
            DELAY_POINT();
            *ticket = next;
            return true;
        }
    }
}

/* Whether more tickets are out than there can be: then the memory is damaged. */
static bool is_nonsense(const struct fair_queue *queue, uint32_t served)
{
    uint32_t next = atomic_load(&queue->next_ticket);

    return next - served > TURN_TICKETS && atomic_load(&queue->now_serving) == served;
}

/* Whether the ticket is still out: neither served nor void. */
static bool is_valid(const struct fair_queue *queue, uint32_t ticket, uint32_t served)
{
    return ticket - served < atomic_load(&queue->next_ticket) - served;
}

/* Clears the bits of the tickets in [from, to), which are served or void. */
static void forget(struct fair_queue *queue, uint32_t from, uint32_t to)
{
    for (; from != to; from++)
        atomic_fetch_and(&queue->abandoned, ~left_bit(from));
}

static void wake_next(struct fair_queue *queue, uint32_t served)
{
    bool more = served != atomic_load(&queue->next_ticket);

    futex_wake_some(&queue->now_serving, INT_MAX, more ? sleepers_with(served) : WITHOUT_TICKET);
}

/* Ends the turn of a ticket, if it still is its turn, and begins the next. Tickets that were given up are skipped. This
 * is a Dekker pairing; all four accesses are sequentially consistent, so at least one side sees the other:
 *
 *   the thread that gives its ticket up      this thread
 *   1. sets its bit in `abandoned`           1. stores the ticket in `now_serving`
 *   2. loads `now_serving`                   2. loads its bit
 *
 * A thread that dies after step 1 leaves its bit set. A thread that gets a ticket with the same bit much later is then
 * skipped once, and takes a new ticket. */
static void end_turn(struct fair_queue *queue, uint32_t ticket)
{
    bool left;

    do {
        uint32_t expected = ticket;

        if (!atomic_compare_exchange_strong(&queue->now_serving, &expected, ticket + 1))
            return;
        DELAY_POINT();
        forget(queue, ticket, ticket + 1);
        ticket++;
        left = (atomic_load(&queue->abandoned) & left_bit(ticket)) != 0;
    } while (left && ticket != atomic_load(&queue->next_ticket));
    wake_next(queue, ticket);
}

/* The thread whose turn it is does not take it. Threads with other tickets have often died with it, and each would cost
 * the same wait again. So all tickets become void, and each live thread that waits takes a new one. */
static void void_all_tickets(struct fair_queue *queue, uint32_t served)
{
    uint32_t expected = served, next = atomic_load(&queue->next_ticket);

    if (!atomic_compare_exchange_strong(&queue->now_serving, &expected, next))
        return;
    DELAY_POINT();
    if (next - served <= TURN_TICKETS)
        forget(queue, served, next);
    futex_wake(&queue->now_serving, INT_MAX);
}

static void give_ticket_up(struct fair_queue *queue, uint32_t ticket)
{
    atomic_fetch_or(&queue->abandoned, left_bit(ticket));
    DELAY_POINT();
    uint32_t served = atomic_load(&queue->now_serving);
    if (served == ticket)
        end_turn(queue, ticket);
    else if (!is_valid(queue, ticket, served))
        atomic_fetch_and(&queue->abandoned, ~left_bit(ticket));
}

/* ---- threads that do not take their turn ---- */

/* `idle_since` holds the low bits of the ticket whose turn it was, and of the time. So a note that comes late, after
 * that turn is over, does not count. */
#define MOMENT ((UINT64_C(1) << 48) - 1)

static uint64_t note_of(uint32_t served, int64_t now)
{
    return (uint64_t)served << 48 | ((uint64_t)now & MOMENT);
}

/* Notes that the mutex is free in that turn. A thread may take the mutex at the same time: see take(). This is a
 * Dekker pairing, so at least one of the two clears the note:
 *
 *   this thread                              the thread that takes the mutex
 *   1. stores the note                       1. takes the mutex
 *   2. fence                                 2. fence
 *   3. loads the mutex: is it held?          3. loads the note: is there one? */
static void note_idle(struct fair_queue *queue, const pthread_mutex_t *mutex, uint32_t served, int64_t now)
{
    pid_t holder;

    atomic_store(&queue->idle_since, note_of(served, now));
    atomic_thread_fence(memory_order_seq_cst); /* the C library takes the mutex with acquire only */
    DELAY_POINT();
    if (robust_mutex_held(mutex, &holder))
        atomic_store(&queue->idle_since, 0);
    else
        wake_next(queue, served); /* the thread that began the turn may have died before it woke the next */
}

/* ---- waiting ---- */

/* A thread that waits for the mutex: the arguments of all steps. */
struct waiter {
    struct fair_queue *queue;
    pthread_mutex_t *mutex;
    int64_t begin, deadline;
    const struct fair_queue_watch *watch;
    uint32_t ticket;
};

static int64_t pause_after(const struct waiter *waiter, int64_t now)
{
    int64_t pause = (now - waiter->begin) / 8;

    return pause < LOOK_FIRST_NS ? LOOK_FIRST_NS : earlier(pause, LOOK_LAST_NS);
}

/* For a thread that waits for another's turn to end. If the mutex has been free for TURN_LASTS_NS in this turn, ends
 * all turns. If it is free now, notes that. Returns the time at which to look again, or MP_EINVAL if the lock is
 * closing. */
static int64_t look(const struct wait *wait, uint32_t served)
{
    const struct waiter *waiter = wait->arg;
    struct fair_queue *queue = waiter->queue;
    pthread_mutex_t *mutex = waiter->mutex;
    uint64_t note = atomic_load(&queue->idle_since);
    /* Read after the note: a note is never later than this, if it is one of this clock. */
    int64_t now = clock_now();
    int64_t idle_for = (int64_t)(((uint64_t)now - note) & MOMENT);
    pid_t holder;

    if (waiter->watch->is_closing(mutex))
        return MP_EINVAL;
    if (is_nonsense(queue, served)) {
        void_all_tickets(queue, served);
        return now;
    }
    if (robust_mutex_held(mutex, &holder)) {
        if (note != 0)
            atomic_store(&queue->idle_since, 0);
        return now + pause_after(waiter, now);
    }
    /* A note of another turn, or of a time that lies ahead (another clock, or damage), is replaced. */
    if (note == 0 || (note ^ note_of(served, 0)) >> 48 != 0 || idle_for > (int64_t)(MOMENT / 2)) {
        note_idle(queue, mutex, served, now);
        return now + TURN_LASTS_NS;
    }
    if (idle_for < TURN_LASTS_NS)
        return now + TURN_LASTS_NS - idle_for;
    atomic_store(&queue->idle_since, 0);
    void_all_tickets(queue, served);
    return now;
}

/* With a ticket: whether its turn has come, or it is void. Without: whether no ticket is out. */
static bool may_try(const struct wait *wait, uint32_t served)
{
    const struct waiter *waiter = wait->arg;

    if (wait->who == WITHOUT_TICKET)
        return served == atomic_load(&waiter->queue->next_ticket);
    return served == waiter->ticket || !is_valid(waiter->queue, waiter->ticket, served);
}

static int wait_in_queue(struct waiter *waiter, int64_t end, uint32_t who)
{
    return wait_for(&(struct wait){.word = &waiter->queue->now_serving,
                                   .is_over = may_try,
                                   .look = look,
                                   .deadline = end,
                                   .who = who,
                                   .arg = waiter});
}

/* Takes the mutex, whatever the turn. If it gets it, the current turn is not idle: clears the note. */
static int take(const struct waiter *waiter, int64_t end)
{
    int error = mutex_lock_until(waiter->mutex, end);

    if (error == MP_ETIMEOUT && waiter->watch->revive(waiter->mutex))
        error = mutex_lock_until(waiter->mutex, end);
    if (error == MP_ETIMEOUT)
        return error;
    atomic_thread_fence(memory_order_seq_cst); /* see note_idle() */
    if (atomic_load_explicit(&waiter->queue->idle_since, memory_order_relaxed) != 0)
        atomic_store(&waiter->queue->idle_since, 0);
    return error;
}

/* Waits until no ticket is out, and then tries for the mutex; until `end`. */
static int compete(struct waiter *waiter, int64_t end)
{
    int error = fair_queue_has_waiters(waiter->queue) ? wait_in_queue(waiter, end, WITHOUT_TICKET) : 0;

    return error != 0 ? error : take(waiter, end);
}

/* It is this ticket's turn. MP_ETIMEOUT: the mutex was not free, and the turn may have ended meanwhile. */
static int in_turn(const struct waiter *waiter)
{
    int error = take(waiter, earlier(waiter->deadline, clock_now() + LOOK_LAST_NS));

    if (error != MP_ETIMEOUT)
        end_turn(waiter->queue, waiter->ticket);
    return error;
}

/* 0: the thread is to wait on. */
static int reason_to_end(const struct waiter *waiter)
{
    if (clock_now() >= waiter->deadline)
        return MP_ETIMEOUT;
    return waiter->watch->is_closing(waiter->mutex) ? MP_EINVAL : 0;
}

/* Waits with a ticket for its turn. MP_ETIMEOUT: the deadline is past, or the ticket has become void. */
static int with_ticket(struct waiter *waiter)
{
    struct fair_queue *queue = waiter->queue;
    int error;

    do {
        error = wait_in_queue(waiter, waiter->deadline, sleepers_with(waiter->ticket));
        if (error != 0)
            break;
        if (!is_valid(queue, waiter->ticket, atomic_load(&queue->now_serving)))
            return MP_ETIMEOUT;
        error = in_turn(waiter);
        if (error != MP_ETIMEOUT)
            return error;
        error = reason_to_end(waiter);
    } while (error == 0);
    give_ticket_up(queue, waiter->ticket);
    return error;
}

int fair_queue_lock(struct fair_queue *queue, pthread_mutex_t *mutex, int64_t deadline,
                    const struct fair_queue_watch *watch)
{
    int64_t now = clock_now();
    struct waiter waiter = {queue, mutex, now, deadline, watch, 0};

    int error = compete(&waiter, earlier(deadline, now + TURN_AFTER_NS));
    while (error == MP_ETIMEOUT && (error = reason_to_end(&waiter)) == 0) {
        now = clock_now();
        error = take_ticket(queue, &waiter.ticket)
                    ? with_ticket(&waiter)
                    : compete(&waiter, earlier(deadline, now + pause_after(&waiter, now)));
    }
    return error;
}
