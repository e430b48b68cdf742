/* A waiter that has waited long for a lock gets it before all later callers, and the queue does not wait for one that
 * never comes.
 *
 * The tests count acquisitions, not times: a process that calls acquire during another's turn must not get the lock
 * while that turn lasts. A waiter may be passed over if the system does not run it in its turn for too long. That is
 * allowed; the waiter then takes one more ticket, and the test repeats the round. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/object.h"
#include "support.h"

enum { CONTENDERS = 6, ROUNDS = 40, CROWD = TURN_TICKETS + 16 };

/* Shared with the children of a test. */
static volatile struct {
    int begun, stop, overtaken, got;
    int order[CROWD]; /* who got the lock first, second, and so on. Like `got`, guarded by the lock */
} * shared;

static mp_lock *lock;

static struct fair_queue *queue(void)
{
    return &(object_of(lock))->queue;
}

static uint32_t tickets_taken(void)
{
    return atomic_load(&queue()->next_ticket);
}

static int make(void **state)
{
    (void)state;
    memset((void *)(uintptr_t)shared, 0, sizeof *shared);
    return mp_lock_create(&lock, NULL);
}

static int drop(void **state)
{
    (void)state;
    shared->stop = 1;
    return mp_lock_free(lock);
}

static bool are_taken(void *arg)
{
    return tickets_taken() - *(uint32_t *)arg < TURN_TICKETS;
}

/* Waits until that many tickets have been taken. */
static void wait_taken(uint32_t count)
{
    assert_true(wait_until(are_taken, &count, 60));
}

static bool is_wanted(void *arg)
{
    (void)arg;
    return fair_queue_has_waiters(queue());
}

static bool have_begun(void *arg)
{
    return shared->begun >= *(int *)arg;
}

/* Forks a process that waits for the lock, notes its number in `order`, and releases the lock. */
static pid_t start_waiter(int number, double timeout)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    __atomic_fetch_add(&shared->begun, 1, __ATOMIC_SEQ_CST);
    int error = mp_lock_acquire(lock, timeout);
    if (error == 0) {
        shared->order[shared->got] = number;
        shared->got++;
        error = mp_lock_release(lock);
    }
    _exit(error == 0 ? 0 : error == MP_ETIMEOUT ? 1 : 2);
}

static void take(double timeout)
{
    assert_int_equal(mp_lock_acquire(lock, timeout), 0);
}

static void give(void)
{
    assert_int_equal(mp_lock_release(lock), 0);
}

/* ---- no waiter is overtaken ---- */

/* Takes the lock as often as it can. */
static void contend(void)
{
    for (long i = 0; shared->stop == 0; i++) {
        uint32_t served = atomic_load(&queue()->now_serving);
        bool wanted = served != tickets_taken();

        if (mp_lock_acquire(lock, i % 16 == 0 ? 10 : MP_FOREVER) != 0)
            _exit(1);
        if (wanted && served == atomic_load(&queue()->now_serving))
            shared->overtaken++;
        shared->got++;
        if (mp_lock_release(lock) != 0)
            _exit(2);
    }
    _exit(0);
}

static void nobody_overtakes_who_has_waited_long(void **state)
{
    pid_t contender[CONTENDERS];
    (void)state;

    for (int i = 0; i < CONTENDERS; i++) {
        contender[i] = fork();
        if (contender[i] == 0)
            contend();
    }
    for (int round = 0; round < ROUNDS; round++) {
        /* While this process holds the lock, another has waited for too long. So this process does not get the lock
         * back at once. */
        take(60);
        assert_true(wait_until(is_wanted, NULL, 60));
        uint32_t served = atomic_load(&queue()->now_serving);
        give();
        take(60);
        assert_int_not_equal(served, atomic_load(&queue()->now_serving));
        give();
    }
    shared->stop = 1;
    for (int i = 0; i < CONTENDERS; i++)
        assert_int_equal(end_of(contender[i]), 0);
    assert_int_equal(shared->overtaken, 0);
    assert_true(shared->got > ROUNDS);
    assert_false(fair_queue_has_waiters(queue()));
}

/* A process that tries again and again does not overtake either. */
static void not_even_by_one_try(void **state)
{
    uint32_t before;
    (void)state;

    do {
        before = tickets_taken();
        shared->got = 0;
        take(0);
        pid_t waiter = start_waiter(7, MP_FOREVER);
        wait_taken(before + 1);
        give();
        while (shared->got == 0) {
            int error = mp_lock_acquire(lock, 0);

            if (error == 0) {
                /* Getting the lock is allowed if the waiter has had it, or if its turn has passed. */
                assert_true(shared->got == 1 || atomic_load(&queue()->now_serving) != before);
                give();
            } else {
                assert_int_equal(error, MP_ETIMEOUT);
            }
        }
        assert_int_equal(end_of(waiter), 0);
    } while (tickets_taken() != before + 1);
}

static void who_has_waited_longest_is_first(void **state)
{
    enum { WAITERS = 5 };
    uint32_t before;
    (void)state;

    do {
        pid_t waiter[WAITERS];

        before = tickets_taken();
        shared->got = 0;
        take(10);
        for (int i = 0; i < WAITERS; i++) {
            waiter[i] = start_waiter(i, i % 2 == 0 ? MP_FOREVER : 60);
            wait_taken(before + (uint32_t)i + 1);
        }
        assert_int_equal(mp_lock_acquire(lock, 0), MP_EDEADLK);
        assert_int_equal(mp_lock_acquire(lock, MP_FOREVER), MP_EDEADLK);
        assert_int_equal(mp_lock_free(lock), MP_EBUSY);
        give();
        for (int i = 0; i < WAITERS; i++)
            assert_int_equal(end_of(waiter[i]), 0);
    } while (tickets_taken() != before + WAITERS);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(shared->order[i], i);
}

static void who_gives_up_is_skipped(void **state)
{
    uint32_t before;
    (void)state;

    do {
        before = tickets_taken();
        shared->got = 0;
        take(10);
        pid_t first = start_waiter(1, MP_FOREVER);
        wait_taken(before + 1);
        pid_t leaves = start_waiter(2, 0.5);
        wait_taken(before + 2);
        pid_t last = start_waiter(3, MP_FOREVER);
        wait_taken(before + 3);
        assert_int_equal(end_of(leaves), 1);
        assert_int_equal(atomic_load(&queue()->abandoned), UINT64_C(1) << (before + 1) % 64);
        give();
        assert_int_equal(end_of(first), 0);
        assert_int_equal(end_of(last), 0);
    } while (tickets_taken() != before + 3);
    assert_int_equal(shared->got, 2);
    assert_int_equal(shared->order[0], 1);
    assert_int_equal(shared->order[1], 3);
    assert_int_equal(atomic_load(&queue()->abandoned), 0);
    assert_false(fair_queue_has_waiters(queue()));
}

static void who_gives_up_in_its_turn_ends_it(void **state)
{
    uint32_t before = tickets_taken();
    (void)state;

    take(0);
    pid_t waiter = start_waiter(1, 0.5);
    wait_taken(before + 1);
    assert_int_equal(end_of(waiter), 1);
    assert_false(fair_queue_has_waiters(queue()));
    give();
    take(0);
    give();
}

static void a_crowd_is_served(void **state)
{
    pid_t waiter[CROWD];
    int all = CROWD;
    (void)state;

    take(0);
    for (int i = 0; i < CROWD; i++)
        waiter[i] = start_waiter(i, MP_FOREVER);
    assert_true(wait_until(have_begun, &all, 60));
    wait_taken(TURN_TICKETS);
    assert_int_equal(tickets_taken(), TURN_TICKETS);
    give();
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(end_of(waiter[i]), 0);
    assert_int_equal(shared->got, CROWD);
    assert_false(fair_queue_has_waiters(queue()));
}

/* ---- no waiter waits for one that does not come ---- */

static bool can_be_taken(void *arg)
{
    (void)arg;
    return mp_lock_acquire(lock, 0) == 0;
}

static void a_dead_one_is_passed_over(void **state)
{
    (void)state;
    take(0);
    pid_t waiter = start_waiter(1, MP_FOREVER);
    wait_taken(1);
    kill(waiter, SIGKILL);
    assert_int_equal(end_of(waiter), -SIGKILL);
    give();
    /* The dead waiter might still come, as far as is known here. */
    assert_int_equal(mp_lock_acquire(lock, 0), MP_ETIMEOUT);
    double start = now();
    take(MP_FOREVER);
    assert_true(now() - start < 1); /* takes milliseconds, except on a busy machine */
    assert_false(shared->got);
    give();
}

static void those_who_only_try_pass_it_over_too(void **state)
{
    (void)state;
    take(0);
    pid_t waiter = start_waiter(1, MP_FOREVER);
    wait_taken(1);
    kill(waiter, SIGKILL);
    assert_int_equal(end_of(waiter), -SIGKILL);
    give();
    assert_true(wait_until(can_be_taken, NULL, 20));
    give();
    assert_false(fair_queue_has_waiters(queue()));
}

static void many_dead_ones_are_passed_over(void **state)
{
    pid_t waiter[TURN_TICKETS];
    (void)state;

    take(0);
    for (int i = 0; i < TURN_TICKETS; i++)
        waiter[i] = start_waiter(i, MP_FOREVER);
    wait_taken(TURN_TICKETS);
    for (int i = 0; i < TURN_TICKETS; i++) {
        kill(waiter[i], SIGKILL);
        assert_int_equal(end_of(waiter[i]), -SIGKILL);
    }
    give();
    double start = now();
    take(MP_FOREVER);
    assert_true(now() - start < 5); /* takes a tenth of a second, except on a busy machine */
    give();
    assert_false(shared->got);
}

/* Only the first dead waiter is waited for: after it the live ones take new tickets, and the dead do not. */
static void one_dead_one_is_waited_for(void **state)
{
    pid_t waiter[4];
    (void)state;

    take(0);
    for (int i = 0; i < 4; i++) {
        waiter[i] = start_waiter(i, MP_FOREVER);
        wait_taken((uint32_t)i + 1);
    }
    for (int i = 0; i < 4; i += 2) {
        kill(waiter[i], SIGKILL);
        assert_int_equal(end_of(waiter[i]), -SIGKILL);
    }
    give();
    for (int i = 1; i < 4; i += 2)
        assert_int_equal(end_of(waiter[i]), 0);
    assert_true(atomic_load(&queue()->next_ticket) >= 6);
    assert_false(fair_queue_has_waiters(queue()));
}

static void a_stopped_one_is_passed_over_and_comes_again(void **state)
{
    int status;
    (void)state;

    take(0);
    pid_t waiter = start_waiter(1, MP_FOREVER);
    wait_taken(1);
    kill(waiter, SIGSTOP);
    assert_int_equal(waitpid(waiter, &status, WUNTRACED), waiter);
    assert_true(WIFSTOPPED(status));
    give();
    double start = now();
    for (int i = 0; i < 1000; i++) {
        take(MP_FOREVER);
        give();
    }
    assert_true(now() - start < 2); /* the stopped waiter is waited for only once */
    assert_int_equal(shared->got, 0);
    take(0);
    kill(waiter, SIGCONT);
    wait_taken(2); /* now it waits like one that has just come */
    give();
    assert_int_equal(end_of(waiter), 0);
    assert_int_equal(shared->got, 1);
}

/* A waiter is woken for its turn, and dies before it wakes the next: no other waiter may sleep for ever. */
static void a_turn_that_nobody_was_told_of(void **state)
{
    (void)state;
    take(0);
    pid_t first = start_waiter(1, MP_FOREVER);
    wait_taken(1);
    pid_t second = start_waiter(2, MP_FOREVER);
    wait_taken(2);
    kill(first, SIGKILL);
    assert_int_equal(end_of(first), -SIGKILL);
    atomic_store(&queue()->now_serving, 1); /* the state in which it died */
    give();
    assert_int_equal(end_of(second), 0);
    assert_int_equal(shared->got, 1);
}

static void words_may_hold_anything(void **state)
{
    static const uint32_t apart[] = {0, 1, 2, 63, 64, 65, 1000, UINT32_MAX / 2, UINT32_MAX / 2 + 1, UINT32_MAX};
    static const uint64_t words[] = {0, 1, UINT64_C(1) << 62, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
    uint32_t served = UINT32_MAX - 20;
    (void)state;

    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) {
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            atomic_store(&queue()->now_serving, served);
            atomic_store(&queue()->next_ticket, served + apart[i]);
            atomic_store(&queue()->idle_since, words[k]);
            atomic_store(&queue()->abandoned, words[(k + i) % 6]);
            double start = now();
            take(k % 2 == 0 ? MP_FOREVER : 20);
            assert_true(now() - start < 5); /* takes a tenth of a second, except on a busy machine */
            give();
            atomic_store(&queue()->next_ticket, atomic_load(&queue()->now_serving) + apart[i]);
            assert_true(wait_until(can_be_taken, NULL, 60));
            give();
            served += 11;
        }
    }
}

/* A value of `idle_since` in the future, from another clock perhaps, does not tell how long the lock has been free. */
static void a_note_that_lies_ahead_ends_no_turn(void **state)
{
    (void)state;

    for (uint64_t ahead = 1; ahead <= 100000000; ahead *= 100) {
        uint32_t served = tickets_taken();

        atomic_store(&queue()->next_ticket, served + 1); /* the ticket of a waiter that never comes */
        int64_t start = clock_now();
        atomic_store(&queue()->idle_since,
                     (uint64_t)served << 48 | (((uint64_t)start + 1000000 * ahead) & 0xffffffffffff));
        take(MP_FOREVER);
        assert_true(clock_now() - start >= TURN_LASTS_NS);
        give();
    }
}

static void a_dead_owner_is_told_to_whose_turn_it_is(void **state)
{
    (void)state;
    pid_t owner = fork();
    if (owner == 0) {
        take(0);
        shared->begun = 1;
        for (;;)
            pause();
    }
    assert_true(wait_until(have_begun, &(int){1}, 60));
    pid_t waiter = start_waiter(1, MP_FOREVER);
    wait_taken(1);
    kill(owner, SIGKILL);
    assert_int_equal(end_of(owner), -SIGKILL);
    assert_int_equal(end_of(waiter), 2); /* MP_EOWNERDEAD; the waiter dies with the lock in its turn */
    assert_int_equal(mp_lock_acquire(lock, 10), MP_EOWNERDEAD);
    give();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_overtakes_who_has_waited_long),
        TEST(not_even_by_one_try),
        TEST(who_has_waited_longest_is_first),
        TEST(who_gives_up_is_skipped),
        TEST(who_gives_up_in_its_turn_ends_it),
        TEST(a_crowd_is_served),
        TEST(a_dead_one_is_passed_over),
        TEST(those_who_only_try_pass_it_over_too),
        TEST(many_dead_ones_are_passed_over),
        TEST(one_dead_one_is_waited_for),
        TEST(a_stopped_one_is_passed_over_and_comes_again),
        TEST(a_turn_that_nobody_was_told_of),
        TEST(words_may_hold_anything),
        TEST(a_note_that_lies_ahead_ends_no_turn),
        TEST(a_dead_owner_is_told_to_whose_turn_it_is),
    };
    mp_lock *first;

    shared = shared_memory(sizeof *shared);
    /* The heap of this process's locks stays open, with its descriptor. */
    if (mp_lock_create(&first, NULL) != 0)
        return 1;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
