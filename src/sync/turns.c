#include "sync/turns.h"

#include <limits.h>
#include <mp.h>

#include "base/delay.h"
#include "base/platform.h"
#include "sync/mutex.h"

/* Who waits looks whether the one whose turn it is still comes: after an eighth of the time it has waited, within these
 * bounds. So a lock that is held for long does not keep those busy who wait for it. */
#define LOOK_FIRST_NS INT64_C(2000000)
#define LOOK_LAST_NS INT64_C(50000000)

/* Who sleeps on `served`: those with a ticket, told apart by it as far as there are bits, and those without. */
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

/* False: too many have one. */
static bool take_ticket(struct turns *turns, uint32_t *ticket)
{
    for (;;) {
        /* First: of a moment before, so that there are no more than it seems. */
        uint32_t served = atomic_load(&turns->served);
        uint32_t next = atomic_load(&turns->taken);

        if (next - served >= TURN_TICKETS)
            return false;
        if (atomic_compare_exchange_strong(&turns->taken, &next, next + 1)) {
            DELAY_POINT();
            *ticket = next;
            return true;
        }
    }
}

/* So many tickets as that there cannot be: the memory is damaged. */
static bool is_nonsense(const struct turns *turns, uint32_t served)
{
    uint32_t next = atomic_load(&turns->taken);

    return next - served > TURN_TICKETS && atomic_load(&turns->served) == served;
}

/* Whether that ticket has not been served and not been passed over. */
static bool is_valid(const struct turns *turns, uint32_t ticket, uint32_t served)
{
    return ticket - served < atomic_load(&turns->taken) - served;
}

/* Tickets from there to there are done with. */
static void forget(struct turns *turns, uint32_t from, uint32_t to)
{
    for (; from != to; from++)
        atomic_fetch_and(&turns->left, ~left_bit(from));
}

static void wake_next(struct turns *turns, uint32_t served)
{
    bool more = served != atomic_load(&turns->taken);

    futex_wake_some(&turns->served, INT_MAX, more ? sleepers_with(served) : WITHOUT_TICKET);
}

/* After a ticket's turn, if it still is its turn: now it is the next one's. Those who wait no longer are skipped: each
 * sets its bit first and looks then whether it is its turn, and here it is first its turn and then its bit is looked
 * at; so one of the two sees the other. A bit that a death has left there makes one who comes much later take a new
 * ticket. */
static void end_turn(struct turns *turns, uint32_t ticket)
{
    bool left;

    do {
        uint32_t expected = ticket;

        if (!atomic_compare_exchange_strong(&turns->served, &expected, ticket + 1))
            return;
        DELAY_POINT();
        forget(turns, ticket, ticket + 1);
        ticket++;
        left = (atomic_load(&turns->left) & left_bit(ticket)) != 0;
    } while (left && ticket != atomic_load(&turns->taken));
    wake_next(turns, ticket);
}

/* The one whose turn it is does not come. It has seldom died alone, and the others may be dead as well: so that nobody
 * waits for each of them, all tickets are void, and who lives and waits takes a new one. */
static void end_all_turns(struct turns *turns, uint32_t served)
{
    uint32_t expected = served, next = atomic_load(&turns->taken);

    if (!atomic_compare_exchange_strong(&turns->served, &expected, next))
        return;
    DELAY_POINT();
    if (next - served <= TURN_TICKETS)
        forget(turns, served, next);
    futex_wake(&turns->served, INT_MAX);
}

static void give_ticket_up(struct turns *turns, uint32_t ticket)
{
    atomic_fetch_or(&turns->left, left_bit(ticket));
    DELAY_POINT();
    uint32_t served = atomic_load(&turns->served);
    if (served == ticket)
        end_turn(turns, ticket);
    else if (!is_valid(turns, ticket, served))
        atomic_fetch_and(&turns->left, ~left_bit(ticket));
}

/* ---- those who do not come ---- */

/* What `idle` holds: the low bits of the ticket whose turn it was, and of the moment. So what somebody notes too late
 * counts for nothing once the turn is over. */
#define MOMENT ((UINT64_C(1) << 48) - 1)

static uint64_t note_of(uint32_t served, int64_t now)
{
    return (uint64_t)served << 48 | ((uint64_t)now & MOMENT);
}

/* Notes that the mutex is free in that turn. Who takes it meanwhile takes it first and then looks at the note, here it
 * is the other way round: so one of the two takes the note back. */
static void note_idle(struct turns *turns, const pthread_mutex_t *mutex, uint32_t served, int64_t now)
{
    pid_t holder;

    atomic_store(&turns->idle, note_of(served, now));
    atomic_thread_fence(memory_order_seq_cst); /* the C library takes the mutex with an order of its own: see taken() */
    DELAY_POINT();
    if (robust_mutex_held(mutex, &holder))
        atomic_store(&turns->idle, 0);
    else
        wake_next(turns, served); /* who made it its turn may have died before it did that */
}

/* Somebody else's turn it is. If the mutex has been free for long enough, ends all turns; if it is free now, notes
 * that. Returns when to look again. */
static int64_t look(struct turns *turns, const pthread_mutex_t *mutex, uint32_t served, int64_t pause)
{
    uint64_t note = atomic_load(&turns->idle);
    /* After the note was read: what was noted since does not seem to lie ahead. */
    int64_t now = clock_now();
    int64_t idle_for = (int64_t)(((uint64_t)now - note) & MOMENT);
    pid_t holder;

    if (is_nonsense(turns, served)) {
        end_all_turns(turns, served);
        return now;
    }
    if (robust_mutex_held(mutex, &holder)) {
        if (note != 0)
            atomic_store(&turns->idle, 0);
        return now + pause;
    }
    /* What lies ahead all the same was noted by another clock, or by nobody. */
    if (note == 0 || (note ^ note_of(served, 0)) >> 48 != 0 || idle_for > (int64_t)(MOMENT / 2)) {
        note_idle(turns, mutex, served, now);
        return now + TURN_LASTS_NS;
    }
    if (idle_for < TURN_LASTS_NS)
        return now + TURN_LASTS_NS - idle_for;
    atomic_store(&turns->idle, 0);
    end_all_turns(turns, served);
    return now;
}

/* ---- waiting ---- */

/* What all steps of a wait share. */
struct wait {
    struct turns *turns;
    pthread_mutex_t *mutex;
    int64_t begin, deadline;
    const struct turns_watch *watch;
};

static int64_t pause_after(const struct wait *wait, int64_t now)
{
    int64_t pause = (now - wait->begin) / 8;

    return pause < LOOK_FIRST_NS ? LOOK_FIRST_NS : earlier(pause, LOOK_LAST_NS);
}

/* Waits, without a ticket, until nobody has one, or until `end`, which is past it MP_ETIMEOUT. */
static int step_aside(const struct wait *wait, int64_t end)
{
    struct turns *turns = wait->turns;

    while (turns_wanted(turns)) {
        int64_t now = clock_now();
        uint32_t served = atomic_load(&turns->served);
        int64_t again = look(turns, wait->mutex, served, pause_after(wait, now));

        if (now >= end && turns_wanted(turns))
            return MP_ETIMEOUT;
        futex_wait_as(&turns->served, served, earlier(again, end), WITHOUT_TICKET);
    }
    return 0;
}

/* Whichever thread's turn it was, the mutex was taken: turns are not idle. */
static int taken(const struct wait *wait, int error)
{
    atomic_thread_fence(memory_order_seq_cst); /* see note_idle() */
    if (atomic_load_explicit(&wait->turns->idle, memory_order_relaxed) != 0)
        atomic_store(&wait->turns->idle, 0);
    return error;
}

/* Takes the mutex, whoever's turn it is. */
static int take(const struct wait *wait, int64_t end)
{
    int error = mutex_lock_until(wait->mutex, end);

    if (error == MP_ETIMEOUT && wait->watch->revive(wait->mutex))
        error = mutex_lock_until(wait->mutex, end);
    return error;
}

/* As one of those who compete, until `end`. */
static int compete(const struct wait *wait, int64_t end)
{
    int error = step_aside(wait, end);

    if (error != 0)
        return error;
    error = take(wait, end);
    return error == MP_ETIMEOUT ? error : taken(wait, error);
}

/* Its turn it is. MP_ETIMEOUT also when that may have ended. */
static int in_turn(const struct wait *wait, uint32_t ticket)
{
    int error = take(wait, earlier(wait->deadline, clock_now() + LOOK_LAST_NS));

    if (error == MP_ETIMEOUT)
        return error;
    error = taken(wait, error);
    end_turn(wait->turns, ticket);
    return error;
}

/* With a ticket, until it is served. MP_ETIMEOUT also when it was passed over. */
static int with_ticket(const struct wait *wait, uint32_t ticket)
{
    struct turns *turns = wait->turns;

    for (;;) {
        int64_t now = clock_now();
        uint32_t served = atomic_load(&turns->served);

        if (!is_valid(turns, ticket, served))
            return MP_ETIMEOUT;
        bool closing = wait->watch->is_closing(wait->mutex);
        if (closing || now >= wait->deadline) {
            give_ticket_up(turns, ticket);
            return closing ? MP_EINVAL : MP_ETIMEOUT;
        }
        if (served == ticket) {
            int error = in_turn(wait, ticket);

            if (error != MP_ETIMEOUT)
                return error;
        } else {
            int64_t again = look(turns, wait->mutex, served, pause_after(wait, now));

            futex_wait_as(&turns->served, served, earlier(again, wait->deadline), sleepers_with(ticket));
        }
    }
}

int turns_lock(struct turns *turns, pthread_mutex_t *mutex, int64_t deadline, const struct turns_watch *watch)
{
    int64_t now = clock_now();
    struct wait wait = {turns, mutex, now, deadline, watch};
    uint32_t ticket;

    int error = compete(&wait, earlier(deadline, now + TURN_AFTER_NS));
    while (error == MP_ETIMEOUT && (now = clock_now()) < deadline) {
        if (watch->is_closing(mutex))
            return MP_EINVAL;
        if (take_ticket(turns, &ticket))
            error = with_ticket(&wait, ticket);
        else
            error = compete(&wait, earlier(deadline, now + pause_after(&wait, now)));
    }
    return error;
}
