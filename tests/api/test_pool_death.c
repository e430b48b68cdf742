/* Pools whose workers, supervisor or caller die or are stopped. */
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool_fixture.h"
#include "support.h"

enum { WORKERS = 4 };

static int make(void **state)
{
    (void)state;
    return make_pool(WORKERS);
}

/* Dies in one of several ways, depending on the last digit; other tasks live. */
static int die(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = x;
    switch (x % 10) {
    case 1:
        raise(SIGKILL);
        break;
    case 3:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case 5:
        exit(3);
    case 7:
        _exit(4);
    case 9:
        signal(SIGABRT, SIG_DFL);
        abort();
    default:
        break;
    }
    return 0;
}

static int expected_of(int x)
{
    const int codes[] = {0, MP_EDIED - SIGKILL, 0, MP_EDIED - SIGSEGV, 0, MP_EDIED - 103,
                         0, MP_EDIED - 104,     0, MP_EDIED - SIGABRT};

    return codes[x % 10];
}

static void a_death_fails_its_task_alone(void **state)
{
    mp_result *result[60];
    int y, code;
    (void)state;

    for (int i = 0; i < 60; i++)
        assert_int_equal(mp_pool_apply_async(pool, die, &i, sizeof i, sizeof y, &result[i]), 0);
    for (int i = 0; i < 60; i++) {
        int error = mp_result_get(result[i], &y, sizeof y, 60);

        assert_int_equal(error, expected_of(i));
        assert_int_equal(mp_died(error, &code), error != 0);
        if (i % 10 == 1)
            assert_int_equal(code, -SIGKILL);
        if (i % 10 == 5)
            assert_int_equal(code, 3);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    assert_true(wait_until(is_full, pool, 20));
}

static void map_loses_only_the_items_that_killed(void **state)
{
    int in[100], out[100], status[100];
    (void)state;

    for (int i = 0; i < 100; i++)
        in[i] = i;
    for (size_t chunk = 1; chunk < 60; chunk += 19) {
        mp_map_options options = {.chunk_size = chunk, .status = status};

        assert_int_equal(mp_pool_map_with(pool, die, in, sizeof *in, out, sizeof *out, 100, &options),
                         MP_EDIED - SIGKILL);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(status[i], expected_of(i));
            assert_int_equal(out[i], status[i] == 0 ? i : 0);
        }
    }
}

static int *attempts; /* shared */

static int die_twice(const void *arg, void *result)
{
    *(int *)result = __atomic_add_fetch(&attempts[*(const int *)arg], 1, __ATOMIC_SEQ_CST);
    if (*(int *)result < 3)
        raise(SIGKILL);
    return 0;
}

static void tasks_are_retried_as_asked(void **state)
{
    mp_pool_options options = {.retries = 2};
    mp_pool *patient;
    int in[10], out[10];
    (void)state;

    memset(attempts, 0, 100 * sizeof *attempts);
    for (int i = 0; i < 10; i++)
        in[i] = i;
    assert_int_equal(mp_pool_create(&patient, 2, &options), 0);
    assert_int_equal(mp_pool_map(patient, die_twice, in, sizeof *in, out, sizeof *out, 10), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(out[i], 3);
    attempts[20] = 0;
    assert_int_equal(mp_pool_apply(patient, die_twice, &(int){20}, sizeof(int), out, sizeof *out), 0);
    attempts[21] = -1;
    assert_int_equal(mp_pool_apply(patient, die_twice, &(int){21}, sizeof(int), out, sizeof *out), MP_EDIED - SIGKILL);
    assert_int_equal(mp_pool_free(patient), 0);
}

static volatile bool busy;

static void *burn(void *arg)
{
    while (busy)
        sched_yield();
    return arg;
}

static void all_workers_killed_ten_times(void **state)
{
    const size_t resident = (size_t)1 << 30;
    pthread_t thread[50];
    mp_pool *large;
    char *block = malloc(resident);
    (void)state;

    memset(block, 1, resident);
    busy = true;
    for (int i = 0; i < 50; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, burn, NULL), 0);
    assert_int_equal(mp_pool_create(&large, WORKERS, NULL), 0);
    for (int i = 0; i < 10; i++) {
        pid_t pids[WORKERS];
        size_t live;
        int y;

        assert_true(wait_until(is_full, large, 60));
        assert_int_equal(mp_pool_workers(large, pids, WORKERS, &live), 0);
        for (size_t k = 0; k < live; k++)
            kill(pids[k], SIGKILL);
        int error = mp_pool_apply(large, square, &i, sizeof i, &y, sizeof y);
        /* A worker may have been running this task when it was killed. */
        assert_true(error == MP_EDIED - SIGKILL || (error == 0 && y == i * i));
    }
    busy = false;
    for (int i = 0; i < 50; i++)
        pthread_join(thread[i], NULL);
    assert_true(wait_until(is_full, large, 60));
    assert_int_equal(mp_pool_free(large), 0);
    free(block);
}

static int nap_ms(const void *arg, void *result)
{
    (void)result;

    pause_us(*(const int *)arg * 1000L);
    return 0;
}

static bool all_gone(void *arg)
{
    const pid_t *pid = arg;

    for (int i = 0; i < WORKERS + 1; i++) {
        if (pid[i] != 0 && !process_gone(pid[i]))
            return false;
    }
    return true;
}

static void a_dead_supervisor_is_an_error(void **state)
{
    pid_t pids[WORKERS + 1] = {0}, supervisor;
    int ms = 60000, y;
    mp_result *result;
    mp_pool *doomed;
    size_t live;
    (void)state;

    assert_int_equal(mp_pool_create(&doomed, WORKERS, NULL), 0);
    assert_int_equal(mp_pool_apply_async(doomed, nap_ms, &ms, sizeof ms, 0, &result), 0);
    assert_int_equal(mp_pool_workers(doomed, pids, WORKERS, &live), 0);
    assert_int_equal(mp_pool_supervisor(doomed, &supervisor), 0);
    kill(supervisor, SIGKILL);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), MP_EBROKEN);
    assert_int_equal(mp_pool_apply(doomed, square, &ms, sizeof ms, &y, sizeof y), MP_EBROKEN);
    assert_true(wait_until(all_gone, pids, 20));
    assert_int_equal(mp_pool_close(doomed), 0);
    assert_int_equal(mp_pool_join(doomed), MP_EBROKEN);
    assert_int_equal(mp_result_free(result), 0);
    assert_int_equal(mp_pool_free(doomed), 0);
}

/* A program with a busy pool: reports its pids, then ends as it was asked. */
static _Noreturn void be_a_caller(int pipe, bool leave)
{
    pid_t pids[WORKERS + 1] = {0};
    int ms = 60000;
    size_t live;
    mp_pool *left;

    if (mp_pool_create(&left, WORKERS, NULL) != 0)
        _exit(1);
    for (int i = 0; i < 3 * WORKERS; i++)
        mp_pool_apply_async(left, nap_ms, &ms, sizeof ms, 0, NULL);
    mp_pool_workers(left, pids, WORKERS, &live);
    mp_pool_supervisor(left, &pids[WORKERS]);
    if (write(pipe, pids, sizeof pids) != sizeof pids)
        _exit(1);
    if (leave)
        exit(0);
    for (;;)
        pause();
}

static void nothing_outlives_the_caller(void **state)
{
    (void)state;
    for (int leave = 0; leave < 2; leave++) {
        pid_t pids[WORKERS + 1];
        int ends[2], status;

        assert_int_equal(pipe(ends), 0);
        pid_t caller = fork();
        if (caller == 0)
            be_a_caller(ends[1], leave != 0);
        assert_int_equal(read(ends[0], pids, sizeof pids), sizeof pids);
        if (!leave)
            kill(caller, SIGKILL);
        assert_int_equal(waitpid(caller, &status, 0), caller);
        assert_true(leave ? WIFEXITED(status) && WEXITSTATUS(status) == 0 : WIFSIGNALED(status));
        assert_true(wait_until(all_gone, pids, 20));
        close(ends[0]);
        close(ends[1]);
    }
}

static bool is_empty(void *arg)
{
    size_t live;

    return mp_pool_workers(arg, NULL, 0, &live) == 0 && live == 0;
}

/* Reports the pid of its worker through the pipe in the argument, and waits to be killed. */
static int tell_and_wait(const void *arg, void *result)
{
    pid_t pid = getpid();
    (void)result;

    if (write(*(const int *)arg, &pid, sizeof pid) != sizeof pid)
        return 1;
    for (;;)
        pause();
}

static void any_signal_that_ends_a_worker_is_named(void **state)
{
    const int signals[] = {SIGTERM, SIGKILL, SIGHUP, SIGUSR1};
    int ends[2], code, y, nine = 9;
    mp_result *result;
    mp_pool *own;
    pid_t pid;
    (void)state;

    assert_int_equal(pipe(ends), 0); /* made before the pool, so that its workers inherit it */
    assert_int_equal(mp_pool_create(&own, 2, NULL), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(mp_pool_apply_async(own, tell_and_wait, &ends[1], sizeof(int), 0, &result), 0);
        assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
        if (i >= 4) /* a stopped worker as well */
            kill(pid, SIGSTOP);
        kill(pid, i >= 4 ? SIGKILL : signals[i]);
        int error = mp_result_get(result, NULL, 0, 60);
        assert_int_equal(error, MP_EDIED - (i >= 4 ? SIGKILL : signals[i]));
        assert_true(mp_died(error, &code));
        assert_int_equal(code, i >= 4 ? -SIGKILL : -signals[i]);
        assert_int_equal(mp_result_free(result), 0);
        assert_int_equal(mp_pool_apply(own, square, &nine, sizeof nine, &y, sizeof y), 0);
        assert_int_equal(y, 81);
    }
    assert_int_equal(mp_pool_free(own), 0);
    close(ends[0]);
    close(ends[1]);
}

/* A pool whose processes are all stopped, even the supervisor, is terminated like any other. */
static void the_stopped_are_terminated(void **state)
{
    (void)state;
    for (int supervisor_too = 0; supervisor_too < 2; supervisor_too++) {
        pid_t pids[WORKERS + 1];
        mp_result *result[WORKERS];
        mp_pool *stopped;
        int ends[2];

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(mp_pool_create(&stopped, WORKERS, NULL), 0);
        for (int i = 0; i < WORKERS; i++) {
            assert_int_equal(mp_pool_apply_async(stopped, tell_and_wait, &ends[1], sizeof(int), 0, &result[i]), 0);
            assert_int_equal(read(ends[0], &pids[i], sizeof pids[i]), sizeof pids[i]);
        }
        assert_int_equal(mp_pool_supervisor(stopped, &pids[WORKERS]), 0);
        for (int i = 0; i < WORKERS + supervisor_too; i++)
            kill(pids[i], SIGSTOP);
        assert_int_equal(mp_pool_terminate(stopped), 0);
        for (int i = 0; i < WORKERS; i++) {
            assert_int_equal(mp_result_get(result[i], NULL, 0, 60), MP_ETERMINATED);
            assert_int_equal(mp_result_free(result[i]), 0);
        }
        assert_true(wait_until(all_gone, pids, 20));
        assert_int_equal(mp_pool_free(stopped), 0);
        close(ends[0]);
        close(ends[1]);
    }
}

static int sleep_for_ever(void *arg)
{
    while (arg == NULL)
        pause();
    return 0;
}

/* A worker with a pool and a process of its own: reports all their pids, and is killed. */
static int have_a_household(const void *arg, void *result)
{
    pid_t pids[WORKERS + 1] = {0};
    mp_process *process;
    mp_pool *inner;
    size_t live;
    (void)result;

    if (mp_pool_create(&inner, WORKERS - 1, NULL) != 0 || mp_pool_workers(inner, pids, WORKERS - 1, &live) != 0 ||
        mp_pool_supervisor(inner, &pids[WORKERS - 1]) != 0 ||
        mp_process_start(&process, sleep_for_ever, NULL, NULL) != 0 || mp_process_pid(process, &pids[WORKERS]) != 0 ||
        write(*(const int *)arg, pids, sizeof pids) != sizeof pids)
        return 1;
    raise(SIGKILL);
    return 2;
}

static void a_killed_workers_household_goes_with_it(void **state)
{
    pid_t pids[WORKERS + 1];
    mp_pool *outer;
    int ends[2];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(mp_pool_create(&outer, 2, NULL), 0);
    assert_int_equal(mp_pool_apply(outer, have_a_household, &ends[1], sizeof(int), NULL, 0), MP_EDIED - SIGKILL);
    assert_int_equal(read(ends[0], pids, sizeof pids), sizeof pids);
    assert_true(wait_until(all_gone, pids, 20));
    assert_int_equal(mp_pool_free(outer), 0);
    close(ends[0]);
    close(ends[1]);
}

static int die_at_once(void *arg)
{
    raise(*(int *)arg);
    _exit(0);
}

static void an_initializer_that_dies_breaks_the_pool(void **state)
{
    int numbers[] = {0, SIGKILL}; /* 0: exits without a signal */
    (void)state;

    for (int i = 0; i < 2; i++) {
        mp_pool_options options = {.initializer = die_at_once, .initializer_arg = &numbers[i]};
        mp_pool *broken;
        int x = 1, y;

        assert_int_equal(mp_pool_create(&broken, 2, &options), 0);
        assert_int_equal(mp_pool_apply(broken, square, &x, sizeof x, &y, sizeof y), MP_EINITIALIZER);
        assert_true(wait_until(is_empty, broken, 20)); /* and it stays empty: the supervisor ends */
        assert_int_equal(mp_pool_close(broken), 0);
        assert_int_equal(mp_pool_join(broken), 0);
        assert_int_equal(mp_pool_free(broken), 0);
    }
}

static void retries_are_counted(void **state)
{
    int out;
    (void)state;

    for (int retries = 0; retries < 4; retries++) {
        mp_pool_options options = {.retries = retries};
        mp_map_options map_options = {.chunk_size = 3};
        int items[] = {50, 51, 52, 53}, results[4];
        mp_pool *patient;

        memset(attempts, 0, 100 * sizeof *attempts);
        assert_int_equal(mp_pool_create(&patient, 2, &options), 0);
        attempts[40] = -100;
        assert_int_equal(mp_pool_apply(patient, die_twice, &(int){40}, sizeof(int), &out, sizeof out),
                         MP_EDIED - SIGKILL);
        assert_int_equal(attempts[40], -100 + 1 + retries);
        attempts[51] = -100; /* in the middle of a chunk */
        attempts[50] = attempts[52] = attempts[53] = 2;
        assert_int_equal(
            mp_pool_map_with(patient, die_twice, items, sizeof *items, results, sizeof *results, 4, &map_options),
            MP_EDIED - SIGKILL);
        assert_int_equal(attempts[51], -100 + 1 + retries);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(results[i], i == 1 ? 0 : 3);
            assert_int_equal(attempts[items[i]], i == 1 ? -100 + 1 + retries : 3); /* the others ran only once */
        }
        assert_int_equal(mp_pool_free(patient), 0);
    }
}

static void the_supervisor_heeds_no_signal_and_workers_are_in_its_group(void **state)
{
    pid_t pids[WORKERS], again[WORKERS], supervisor;
    size_t live;
    int y;
    (void)state;

    assert_true(wait_until(is_full, pool, 20));
    for (int i = 0; i < 4 * WORKERS; i++)
        assert_int_equal(mp_pool_apply(pool, square, &i, sizeof i, &y, sizeof y), 0);
    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGTSTP, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        kill(supervisor, signals[i]);
    assert_int_not_equal(getpgid(supervisor), getpgrp());
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(getpgid(pids[i]), supervisor);
    for (int i = 0; i < 100; i++)
        assert_int_equal(mp_pool_apply(pool, square, &i, sizeof i, &y, sizeof y), 0);
    assert_int_equal(mp_pool_workers(pool, again, WORKERS, &live), 0);
    assert_memory_equal(pids, again, sizeof pids);
}

static void a_stopped_worker_holds_up_only_its_task(void **state)
{
    pid_t pids[WORKERS];
    mp_result *result;
    size_t live;
    int y, ms = 100;
    (void)state;

    assert_true(wait_until(is_full, pool, 20));
    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
    kill(pids[0], SIGSTOP);
    kill(pids[1], SIGSTOP);
    assert_int_equal(mp_pool_apply_async(pool, nap_ms, &ms, sizeof ms, 0, &result), 0);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(mp_pool_apply(pool, square, &i, sizeof i, &y, sizeof y), 0);
        assert_int_equal(y, i * i);
    }
    kill(pids[0], SIGCONT);
    kill(pids[1], SIGCONT);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
    assert_int_equal(mp_result_free(result), 0);
}

/* Workers are killed at random while tasks of all sorts are running. */
static void a_storm_loses_nothing_but_what_was_hit(void **state)
{
    enum { TASKS = 3000 };
    static mp_result *result[TASKS];
    int done = 0, lost = 0, y;
    (void)state;

    srand(5);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof y, &result[i]), 0);
        if (i % 50 == 0) {
            pid_t pids[WORKERS];
            size_t live;

            assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
            if (live > 0)
                kill(pids[(size_t)rand() % (live < WORKERS ? live : WORKERS)], SIGKILL);
        }
    }
    for (int i = 0; i < TASKS; i++) {
        int error = mp_result_get(result[i], &y, sizeof y, 60);

        assert_true(error == 0 || error == MP_EDIED - SIGKILL);
        if (error == 0)
            assert_int_equal(y, i * i);
        done += error == 0;
        lost += error != 0;
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    assert_true(lost <= TASKS / 50);
    assert_int_equal(done + lost, TASKS);
    assert_true(wait_until(is_full, pool, 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_death_fails_its_task_alone),
        TEST(map_loses_only_the_items_that_killed),
        TEST(tasks_are_retried_as_asked),
        TEST(all_workers_killed_ten_times),
        TEST(a_dead_supervisor_is_an_error),
        TEST(nothing_outlives_the_caller),
        TEST(any_signal_that_ends_a_worker_is_named),
        TEST(the_stopped_are_terminated),
        TEST(a_killed_workers_household_goes_with_it),
        TEST(an_initializer_that_dies_breaks_the_pool),
        TEST(retries_are_counted),
        TEST(the_supervisor_heeds_no_signal_and_workers_are_in_its_group),
        TEST(a_stopped_worker_holds_up_only_its_task),
        TEST(a_storm_loses_nothing_but_what_was_hit),
    };

    attempts = shared_memory(100 * sizeof *attempts);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
