/* The loop that sleeps on a shared word: conditions, deadlines, looks, marks, spinning. */
#include <limits.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/futex.h"
#include "support.h"
#include "sync/wait.h"

#define MS INT64_C(1000000)

enum { MARK = 0x80, UNITS = 20000 };

static _Atomic uint32_t word;
static atomic_int looks;

static int begin(void **state)
{
    (void)state;
    atomic_store(&word, 0);
    atomic_store(&looks, 0);
    return 0;
}

static int64_t look_often(const struct wait *wait, uint32_t now)
{
    (void)now;
    return atomic_fetch_add(&looks, 1) == 4 ? MP_EBROKEN : wait->time + MS;
}

static int64_t look_once(const struct wait *wait, uint32_t now)
{
    atomic_fetch_add(&looks, 1);
    assert_int_equal(now, atomic_load(wait->word));
    return DEADLINE_NEVER;
}

static int64_t look_ends_it(const struct wait *wait, uint32_t now)
{
    (void)wait;
    (void)now;
    return 0;
}

static int64_t spin_on(const struct wait *wait, uint32_t now)
{
    (void)wait;
    (void)now;
    return INT64_MAX;
}

/* ---- in one thread ---- */

static void what_is_over_does_not_wait(void **state)
{
    (void)state;
    assert_int_equal(wait_for_change(&word, 1, DEADLINE_NEVER), 0);
    assert_int_equal(wait_for_change(&word, 1, 0), 0);
}

static void a_deadline_ends_it(void **state)
{
    int64_t deadline = clock_now() + 5 * MS;
    (void)state;

    assert_int_equal(wait_for_change(&word, 0, deadline), MP_ETIMEOUT);
    assert_true(clock_now() >= deadline);
    assert_int_equal(wait_for_change(&word, 0, 0), MP_ETIMEOUT);
    assert_int_equal(wait_for(&(struct wait){.word = &word, .deadline = clock_now() + MS, .spin = spin_on}),
                     MP_ETIMEOUT);
}

static void looks_come_in_time_and_may_end_it(void **state)
{
    struct wait wait = {.word = &word, .deadline = DEADLINE_NEVER, .look = look_often, .look_after = MS};
    int64_t before = clock_now();
    (void)state;

    assert_int_equal(wait_for(&wait), MP_EBROKEN);
    assert_int_equal(atomic_load(&looks), 5);
    assert_true(clock_now() >= before + 5 * MS);
    wait.look = look_ends_it;
    assert_int_equal(wait_for(&wait), 0);
}

/* A thread that only tries, again and again, still finds out what a look finds out. */
static void a_look_that_is_due_comes_before_the_deadline(void **state)
{
    (void)state;
    assert_int_equal(wait_for(&(struct wait){.word = &word, .look = look_once}), MP_ETIMEOUT);
    assert_int_equal(atomic_load(&looks), 1);
}

static void the_mark_is_set_for_a_sleep_only(void **state)
{
    struct wait wait = {.word = &word, .value = 1, .mark = MARK, .deadline = clock_now() + MS};
    (void)state;

    assert_int_equal(wait_for(&wait), 0);
    assert_int_equal(atomic_load(&word), 0);
    wait.value = 0;
    wait.deadline = 0;
    assert_int_equal(wait_for(&wait), MP_ETIMEOUT);
    assert_int_equal(atomic_load(&word), 0);
    wait.deadline = clock_now() + MS;
    assert_int_equal(wait_for(&wait), MP_ETIMEOUT);
    assert_int_equal(atomic_load(&word), MARK);
}

/* ---- between threads: a semaphore, whose condition takes a unit ---- */

static bool take_unit(const struct wait *wait, uint32_t now)
{
    while ((now & ~(uint32_t)MARK) > 0) {
        if (atomic_compare_exchange_weak(wait->word, &now, now - 1))
            return true;
    }
    return false;
}

static int64_t spin_briefly(const struct wait *wait, uint32_t now)
{
    (void)wait;
    return now & 1 ? 20000 : 0;
}

static void *taker(void *arg)
{
    for (int i = 0; i < UNITS; i++) {
        struct wait wait = {
            .word = &word, .is_over = take_unit, .mark = MARK, .deadline = DEADLINE_NEVER, .spin = spin_briefly};

        if (wait_for(&wait) != 0)
            return arg;
    }
    return NULL;
}

/* Adds a unit, if there are fewer than 100. Wakes the sleepers only if there is a mark, and takes it back. */
static bool add_unit(void)
{
    uint32_t now = atomic_load(&word);

    do {
        if ((now & ~(uint32_t)MARK) >= 100)
            return false;
    } while (!atomic_compare_exchange_weak(&word, &now, (now & ~(uint32_t)MARK) + 1));
    if (now & MARK)
        futex_wake(&word, INT_MAX);
    return true;
}

static void every_unit_is_taken_once(void **state)
{
    pthread_t threads[3];
    void *failed;
    (void)state;

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, taker, NULL), 0);
    for (int added = 0; added < 3 * UNITS;) {
        if (add_unit())
            added++;
        else
            sched_yield();
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(atomic_load(&word) & ~(uint32_t)MARK, 0);
}

static void *wait_with_bit(void *arg)
{
    uint32_t *who = arg;
    int error = wait_for(&(struct wait){.word = &word, .who = *who, .deadline = DEADLINE_NEVER});

    return error == 0 ? NULL : arg;
}

/* Only a waker that names its bit wakes the sleeper; `who` 0 is woken by all. */
static void a_waker_finds_its_sleepers(void **state)
{
    uint32_t who[2] = {2, 0};
    void *failed;
    (void)state;

    for (int i = 0; i < 2; i++) {
        pthread_t thread;

        atomic_store(&word, 0);
        assert_int_equal(pthread_create(&thread, NULL, wait_with_bit, &who[i]), 0);
        atomic_store(&word, 1);
        futex_wake_some(&word, INT_MAX, 2);
        assert_int_equal(pthread_join(thread, &failed), 0);
        assert_null(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_over_does_not_wait, begin),
        cmocka_unit_test_setup(a_deadline_ends_it, begin),
        cmocka_unit_test_setup(looks_come_in_time_and_may_end_it, begin),
        cmocka_unit_test_setup(a_look_that_is_due_comes_before_the_deadline, begin),
        cmocka_unit_test_setup(the_mark_is_set_for_a_sleep_only, begin),
        cmocka_unit_test_setup(every_unit_is_taken_once, begin),
        cmocka_unit_test_setup(a_waker_finds_its_sleepers, begin),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
