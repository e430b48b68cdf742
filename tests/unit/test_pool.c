/* Pools: tasks, maps, results, how pools end. What happens when processes die is in test_pool_death.c. */
#include <mp.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/caller.h"
#include "pool_fixture.h"
#include "support.h"

static int make(void **state)
{
    (void)state;
    return make_pool(2);
}

static int nap_ms(const void *arg, void *result)
{
    pause_us(*(const int *)arg * 1000L);
    *(int *)result = (int)getpid();
    return 0;
}

static _Atomic int *gate; /* shared */

/* Returns the code given once the gate is open. */
static int wait_at_gate(const void *arg, void *result)
{
    MUST(wait_until(is_set, gate, 60));
    *(int *)result = (int)getpid();
    return *(const int *)arg;
}

static int fail_odd(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = x + 1;
    return x % 2 == 0 ? 0 : x;
}

static void sizes(void **state)
{
    const int asked[] = {0, 1, 7};
    (void)state;

    for (int i = 0; i < 3; i++) {
        mp_pool *sized;
        int workers, x = 5, y;
        size_t live;
        pid_t pids[16];

        assert_int_equal(mp_pool_create(&sized, asked[i], NULL), 0);
        assert_int_equal(mp_pool_size(sized, &workers), 0);
        assert_int_equal(workers, asked[i] == 0 ? mp_usable_cpu_count() : asked[i]);
        assert_int_equal(mp_pool_workers(sized, pids, 16, &live), 0);
        assert_int_equal(live, workers);
        assert_int_equal(mp_pool_apply(sized, square, &x, sizeof x, &y, sizeof y), 0);
        assert_int_equal(y, 25);
        assert_int_equal(mp_pool_free(sized), 0);
    }
}

static void apply_gives_result_or_code(void **state)
{
    int y = -1;
    (void)state;

    for (int x = 0; x < 100; x++) {
        assert_int_equal(mp_pool_apply(pool, fail_odd, &x, sizeof x, &y, sizeof y), x % 2 == 0 ? 0 : x);
        assert_int_equal(y, x - x % 2 + 1);
    }
}

static void many_tasks_in_any_order(void **state)
{
    enum { TASKS = 20000 };
    mp_result **result = malloc(TASKS * sizeof *result);
    int y;
    (void)state;

    for (int i = 0; i < TASKS; i++)
        assert_int_equal(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof y, &result[i]), 0);
    for (int k = 0; k < TASKS; k++) {
        int i = (int)((long)k * 7919 % TASKS);

        for (int again = 0; again < 2; again++) {
            assert_int_equal(mp_result_get(result[i], &y, sizeof y, 60), 0);
            assert_int_equal(y, i * i);
        }
        assert_int_equal(mp_result_free(result[i]), 0);
        assert_int_equal(mp_result_get(result[i], &y, sizeof y, 60), MP_EINVAL);
    }
    free(result);
}

static void results_can_be_waited_for(void **state)
{
    int code = 0, pid;
    bool ready, successful;
    mp_result *result;
    size_t size;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_apply_async(pool, wait_at_gate, &code, sizeof code, sizeof pid, &result), 0);
    assert_int_equal(mp_result_ready(result, &ready), 0);
    assert_false(ready);
    assert_int_equal(mp_result_successful(result, &successful), MP_ENOTREADY);
    assert_int_equal(mp_result_size(result, &size), MP_ENOTREADY);
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0), MP_ETIMEOUT);
    assert_int_equal(mp_result_wait(result, 0.01), MP_ETIMEOUT);
    atomic_store(gate, 1);
    assert_int_equal(mp_result_wait(result, 60), 0);
    assert_int_equal(mp_result_ready(result, &ready), 0);
    assert_true(ready);
    assert_int_equal(mp_result_successful(result, &successful), 0);
    assert_true(successful);
    assert_int_equal(mp_result_size(result, &size), 0);
    assert_int_equal(size, sizeof pid);
    assert_int_equal(mp_result_get(result, &pid, 1, 0), MP_ETOOSMALL);
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0), 0);
    assert_int_equal(mp_result_free(result), 0);
}

static int return_large(const void *arg, void *result)
{
    size_t size = *(const size_t *)arg;
    char *data = malloc(size + 1);
    (void)result;

    memset(data, 'x', size);
    int error = mp_task_return("first", 5);
    if (error == 0)
        error = mp_task_return(data, size);
    free(data);
    return -error;
}

static int reverse_bytes(const void *arg, void *result)
{
    const unsigned char *from = arg;
    unsigned char *to = result;

    for (int i = 0; i < 3000000; i++)
        to[i] = from[2999999 - i];
    return 0;
}

static void large_arguments_and_results(void **state)
{
    const size_t sizes_wanted[] = {0, 1, 64, 65, 5000000};
    unsigned char *in = malloc(3000000), *out = malloc(5000000);
    mp_result *result;
    size_t size;
    (void)state;

    for (int i = 0; i < 3000000; i++)
        in[i] = (unsigned char)(i * 31);
    assert_int_equal(mp_pool_apply(pool, reverse_bytes, in, 3000000, out, 3000000), 0);
    for (int i = 0; i < 3000000; i++)
        assert_true(out[i] == in[2999999 - i]);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(mp_pool_apply_async(pool, return_large, &sizes_wanted[i], sizeof(size_t), 0, &result), 0);
        assert_int_equal(mp_result_wait(result, 60), 0);
        assert_int_equal(mp_result_size(result, &size), 0);
        assert_int_equal(size, sizes_wanted[i]);
        assert_int_equal(mp_result_get(result, out, size, 0), 0);
        assert_true(size == 0 || (out[0] == 'x' && out[size - 1] == 'x'));
        assert_int_equal(mp_result_free(result), 0);
    }
    assert_int_equal(mp_pool_apply(pool, return_large, &sizes_wanted[1], sizeof(size_t), NULL, 0), MP_ETOOSMALL);
    assert_int_equal(mp_task_return("x", 1), MP_EINVAL);
    free(in);
    free(out);
}

static int repeat_byte(const void *arg, void *result)
{
    const unsigned char *bytes = arg;
    size_t size;

    memcpy(&size, bytes, sizeof size);
    unsigned char *out = result;
    size_t rest = size - sizeof size;
    if (out[0] != 0 || memcmp(out, out + 1, size - 1) != 0)
        return 1;
    memcpy(out, bytes + sizeof size, rest);
    if (memcmp(out, out + 1, rest - 1) != 0)
        return 2;
    memset(out, bytes[sizeof size], size);
    return 0;
}

/* Large blocks are freed and reused. Their results are zeroed and right all the same. */
static void large_blocks_are_used_again(void **state)
{
    const size_t most = 3000000;
    unsigned char *in = malloc(most), *out = malloc(most);
    (void)state;

    for (int i = 0; i < 200; i++) {
        size_t size = i < 100 ? (size_t)1 << 20 : 10000 + (size_t)i * 791909 % (most - 10000);

        memset(in, i & 0xff, size);
        memcpy(in, &size, sizeof size);
        assert_int_equal(mp_pool_apply(pool, repeat_byte, in, size, out, size), 0);
        assert_true(out[0] == (i & 0xff) && out[size / 2] == out[0] && out[size - 1] == out[0]);
    }
    assert_true(atomic_load(&pool->shared.heap->used) < (size_t)8 << 20);
    assert_true(atomic_load(&pool->shared.heap->size) < (size_t)40 << 20);
    free(in);
    free(out);
}

/* Fails unless the result buffer has the size asked for and is all zeros. Fills it. */
static int find_zeros(const void *arg, void *result)
{
    size_t size = *(const size_t *)arg;
    unsigned char *bytes = result;

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return 1;
    }
    memset(bytes, 'x', size);
    return 0;
}

/* A worker has memory for that, which it zeroes while it waits. Several sizes, some of them alike; a worker is killed
 * now and then. */
static void large_results_are_zeroed_ahead(void **state)
{
    const size_t sizes[] = {1 << 20, 1 << 20, 1 << 20, 1 << 20, 900000,  900000, 65536,
                            65536,   65536,   65535,   65537,   1 << 20, 3 << 20};
    const size_t kinds = sizeof sizes / sizeof *sizes;
    unsigned char *out = malloc(3 << 20);
    int spares = 0;
    (void)state;

    for (size_t i = 0; i < 40 * kinds; i++) {
        size_t size = sizes[i % kinds], live;
        pid_t pids[64];

        assert_int_equal(mp_pool_apply(pool, find_zeros, &size, sizeof size, out, size), 0);
        assert_true(out[0] == 'x' && out[size - 1] == 'x');
        for (uint32_t w = 0; w < pool->shared.workers; w++)
            spares += atomic_load(&pool->shared.worker[w].spare) != 0;
        if (i % 50 != 49)
            continue;
        assert_int_equal(mp_pool_workers(pool, pids, 64, &live), 0);
        assert_int_equal(kill(pids[i % live], SIGKILL), 0);
        assert_true(wait_until(is_full, pool, 60));
    }
    assert_true(spares > 0);
    free(out);
}

static void maps_keep_order(void **state)
{
    const size_t counts[] = {0, 1, 2, 7, 1000, 300000}, chunks[] = {0, 1, 3, 1000000};
    int *in = malloc(300000 * sizeof *in), *out = malloc(300000 * sizeof *out);
    (void)state;

    for (int i = 0; i < 300000; i++)
        in[i] = i % 40000;
    for (int c = 0; c < 6; c++) {
        for (int k = 0; k < 4; k++) {
            mp_map_options options = {.chunk_size = chunks[k]};

            memset(out, 0xff, 300000 * sizeof *out);
            assert_int_equal(mp_pool_map_with(pool, square, in, sizeof *in, out, sizeof *out, counts[c], &options), 0);
            for (size_t i = 0; i < counts[c]; i++)
                assert_int_equal(out[i], in[i] * in[i]);
        }
    }
    free(in);
    free(out);
}

static void a_failing_item_fails_alone(void **state)
{
    int in[100], out[100], status[100], one;
    mp_map_options options = {.chunk_size = 9, .status = status};
    mp_result *result;
    (void)state;

    for (int i = 0; i < 100; i++)
        in[i] = i;
    assert_int_equal(mp_pool_map_with(pool, fail_odd, in, sizeof *in, out, sizeof *out, 100, &options), 1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(status[i], i % 2 == 0 ? 0 : i);
        assert_int_equal(out[i], i % 2 == 0 ? i + 1 : 0);
    }
    assert_int_equal(mp_pool_map_async(pool, fail_odd, in, sizeof *in, sizeof *out, 100, &result, NULL), 0);
    assert_int_equal(mp_result_get(result, out, sizeof out, 60), 1);
    assert_int_equal(mp_result_status(result, 33, &one), 0);
    assert_int_equal(one, 33);
    assert_int_equal(mp_result_status(result, 100, &one), MP_EINDEX);
    assert_int_equal(out[98], 99);
    assert_int_equal(mp_result_free(result), 0);
}

static void failures_are_told_as_results_are(void **state)
{
    int code = 7, pid;
    bool ready, successful;
    mp_result *result;
    int status;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_apply_async(pool, wait_at_gate, &code, sizeof code, sizeof pid, &result), 0);
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0.001), MP_ETIMEOUT);
    assert_int_equal(mp_result_status(result, 0, &status), MP_ENOTREADY);
    atomic_store(gate, 1);
    assert_int_equal(mp_result_wait(result, 60), 0);
    assert_int_equal(mp_result_ready(result, &ready), 0);
    assert_true(ready);
    assert_int_equal(mp_result_successful(result, &successful), 0);
    assert_false(successful);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0), 7);
    assert_int_equal(mp_result_status(result, 0, &status), 0);
    assert_int_equal(status, 7);
    assert_int_equal(mp_result_status(result, 1, &status), MP_EINDEX);
    assert_int_equal(mp_result_free(result), 0);
    /* The library's own codes arrive unchanged; there are no other negative codes. */
    for (code = -1; code >= MP_EDEPTH; code--)
        assert_int_equal(mp_pool_apply(pool, wait_at_gate, &code, sizeof code, &pid, sizeof pid), code);
    const int others[] = {MP_EDEPTH - 1, -500, MP_EDIED, MP_EDIED - SIGKILL, INT32_MIN};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        code = others[i];
        assert_int_equal(mp_pool_apply(pool, wait_at_gate, &code, sizeof code, &pid, sizeof pid), MP_EVALUE);
    }
}

static void *get_own_pid(void *arg)
{
    int y = 0;

    return mp_result_get(arg, &y, sizeof y, 60) == 0 && y == (int)getpid() ? arg : NULL;
}

static int return_arg_at_gate(const void *arg, void *result)
{
    int code = wait_at_gate(arg, result);

    *(int *)result = *(const int *)arg;
    return code == *(const int *)arg ? 0 : 1;
}

static void several_threads_get_one_result(void **state)
{
    pthread_t thread[8];
    int pid = (int)getpid();
    mp_result *result;
    void *got;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_apply_async(pool, return_arg_at_gate, &pid, sizeof pid, sizeof pid, &result), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, get_own_pid, result), 0);
    atomic_store(gate, 1);
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], &got);
        assert_ptr_equal(got, result);
    }
    assert_int_equal(mp_result_free(result), 0);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void signals_do_not_shorten_waits(void **state)
{
    const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}, old;
    int code = 0, pid;
    mp_result *result;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_apply_async(pool, wait_at_gate, &code, sizeof code, sizeof pid, &result), 0);
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    double start = now();
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0.2), MP_ETIMEOUT);
    assert_true(now() - start >= 0.2);
    for (int x = 0; x < 200; x++) {
        int y;

        assert_int_equal(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y), 0);
        assert_int_equal(y, x * x);
    }
    atomic_store(gate, 1);
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 60), 0);
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_join(pool), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(mp_result_free(result), 0);
}

static void maps_millions(void **state)
{
    enum { COUNT = 3000000 };
    int *in = malloc(COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);
    (void)state;

    for (int i = 0; i < COUNT; i++)
        in[i] = i % 46000;
    assert_int_equal(mp_pool_map(pool, square, in, sizeof *in, out, sizeof *out, COUNT), 0);
    for (int i = 0; i < COUNT; i++)
        assert_true(out[i] == in[i] * in[i]);
    free(in);
    free(out);
}

static int get_pid(const void *arg, void *result)
{
    (void)arg;
    *(int *)result = (int)getpid();
    return 0;
}

/* `expected`: the number of items of each chunk, counted as the items that ran in one process, since each chunk has a
 * worker of its own; 0 ends the list. */
static void assert_chunks(int workers, size_t count, size_t chunk_size, const size_t *expected)
{
    mp_pool_options options = {.max_tasks_per_child = 1};
    mp_map_options map_options = {.chunk_size = chunk_size};
    int pids[200];
    size_t at = 0;
    mp_pool *fresh;

    assert_int_equal(mp_pool_create(&fresh, workers, &options), 0);
    assert_int_equal(mp_pool_map_with(fresh, get_pid, NULL, 0, pids, sizeof *pids, count, &map_options), 0);
    for (; *expected != 0; expected++) {
        size_t end = at + *expected;

        assert_true(end <= count);
        assert_true(end == count || pids[end] != pids[end - 1]);
        for (; at < end; at++)
            assert_int_equal(pids[at], pids[end - 1]);
    }
    assert_int_equal(at, count);
    assert_int_equal(mp_pool_free(fresh), 0);
}

static void chunks_are_of_the_size_said(void **state)
{
    (void)state;
    assert_chunks(1, 100, 0, (size_t[]){25, 25, 25, 25, 0});
    assert_chunks(1, 101, 0, (size_t[]){26, 26, 26, 23, 0});
    assert_chunks(3, 60, 0, (size_t[]){5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0});
    assert_chunks(2, 3, 0, (size_t[]){1, 1, 1, 0});
    assert_chunks(2, 100, 40, (size_t[]){40, 40, 20, 0});
}

/* By default chunks get smaller, and each item is in one of them. */
static void default_chunks_shrink(void **state)
{
    const size_t counts[] = {0, 1, 15, 16, 17, 100, 1000, 100001};
    const int workers[] = {1, 2, 7};
    (void)state;

    for (int w = 0; w < 3; w++) {
        mp_pool *fresh;

        assert_int_equal(mp_pool_create(&fresh, workers[w], NULL), 0);
        for (int c = 0; c < 8; c++) {
            mp_result *result;
            uint64_t items = 0, before = UINT64_MAX;

            assert_int_equal(mp_pool_map_async(fresh, get_pid, NULL, 0, sizeof(int), counts[c], &result, NULL), 0);
            const struct map_job *job = result->job;
            for (uint64_t i = 0; i < job->level_count; i++) {
                bool last = i + 1 == job->level_count;
                const struct level *level = &job->level[i];
                uint64_t chunks = (last ? job->chunk_count : level[1].chunk) - level->chunk;

                assert_int_equal(level->item, items);
                assert_true(level->size < before && (level->size - 1) * 8 * (uint64_t)workers[w] < counts[c] + 1);
                items += chunks * level->size;
                before = level->size;
            }
            assert_int_equal(items, counts[c]);
            assert_int_equal(before, 1);
            assert_int_equal(mp_result_wait(result, 60), 0);
            assert_int_equal(mp_result_free(result), 0);
        }
        assert_int_equal(mp_pool_free(fresh), 0);
    }
}

/* The number of times that a process has gone to sleep and been woken. */
static long switches(pid_t pid)
{
    char path[64], line[200];
    long count = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "voluntary_ctxt_switches: %ld", &count);
    fclose(status);
    assert_true(count >= 0);
    return count;
}

enum { IDLERS = 16 };

static bool all_asleep(void *arg)
{
    const mp_pool *idle = arg;

    for (uint32_t i = 0; i < idle->shared.workers; i++) {
        if (atomic_load(&idle->shared.worker[i].asleep) == 0)
            return false;
    }
    return true;
}

static void note_switches(mp_pool *idle, long *counts)
{
    assert_true(wait_until(all_asleep, idle, 60));
    for (int i = 0; i < IDLERS; i++)
        counts[i] = switches(atomic_load(&idle->shared.worker[i].pid));
    counts[IDLERS] = switches(idle->supervisor);
}

/* No process of a pool without tasks wakes up, nor does a caller that waits for nothing. */
static void an_idle_pool_sleeps(void **state)
{
    long before[IDLERS + 1], after[IDLERS + 1];
    mp_pool *idle;
    (void)state;

    assert_int_equal(mp_pool_create(&idle, IDLERS, NULL), 0);
    note_switches(idle, before);
    nap_ms(&(int){300}, &(int){0});
    /* A worker that says that it sleeps may not have fallen asleep yet at the first count: once each. */
    note_switches(idle, after);
    for (int i = 0; i <= IDLERS; i++)
        assert_true(after[i] - before[i] <= 1);
    nap_ms(&(int){300}, &(int){0});
    note_switches(idle, before);
    for (int i = 0; i <= IDLERS; i++)
        assert_int_equal(after[i], before[i]);
    assert_int_equal(mp_pool_free(idle), 0);
}

/* Of many sleeping workers, one wakes for one task. (If the CPUs are busy, a caller that has waited long wakes all of
 * them.) */
static void one_task_wakes_one_worker(void **state)
{
    long before[IDLERS + 1], after[IDLERS + 1];
    mp_pool *idle;
    int woken = 0, x = 3, y;
    (void)state;

    assert_int_equal(mp_pool_create(&idle, IDLERS, NULL), 0);
    for (int tries = 0; tries < 100 && woken != 1; tries++) {
        note_switches(idle, before);
        assert_int_equal(mp_pool_apply(idle, square, &x, sizeof x, &y, sizeof y), 0);
        note_switches(idle, after);
        woken = 0;
        for (int i = 0; i < IDLERS; i++)
            woken += after[i] != before[i];
    }
    assert_int_equal(woken, 1);
    assert_int_equal(mp_pool_free(idle), 0);
}

static int stay_on(void *cpus)
{
    return sched_setaffinity(0, sizeof(cpu_set_t), cpus) == 0 ? 0 : 1;
}

/* Returns when that many workers have arrived. */
static int meet(const void *arg, void *result)
{
    (void)result;
    atomic_fetch_add(gate, 1);
    MUST(reaches(gate, *(const int *)arg, 60));
    return 0;
}

static bool both_asleep(void *arg)
{
    return atomic_load(&((mp_pool *)arg)->shared.sleeping[0]) == 3;
}

static bool both_have_come(void *arg)
{
    (void)arg;
    return atomic_load(gate) == 2;
}

/* Finds the CPUs that this process may use, and makes a set with the first of them alone. Returns its number. */
static size_t usable_cpus(cpu_set_t *all, cpu_set_t *one)
{
    size_t first = 0;

    assert_int_equal(sched_getaffinity(0, sizeof *all, all), 0);
    while (!CPU_ISSET(first, all))
        first++;
    CPU_ZERO(one);
    CPU_SET(first, one);
    return first;
}

/* The first worker wakes the second one. It is still the caller who waits, and whose CPU both workers must leave
 * alone. */
static void nobody_waits_for_a_worker_but_the_caller(void **state)
{
    cpu_set_t before, one, others;
    size_t first = usable_cpus(&before, &one);
    mp_pool *pair;
    mp_result *result;
    (void)state;

    CPU_XOR(&others, &before, &one);
    if (CPU_COUNT(&others) == 0)
        return;
    mp_pool_options options = {.initializer = stay_on, .initializer_arg = &others};
    assert_int_equal(mp_pool_create(&pair, 2, &options), 0);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    for (int i = 0; i < 10; i++) {
        atomic_store(gate, 0);
        assert_true(wait_until(both_asleep, pair, 60));
        atomic_store(&pair->shared.waited, 0); /* as if after a pause */
        assert_int_equal(mp_pool_map_async(pair, meet, (int[]){2, 2}, sizeof(int), 0, 2, &result, NULL), 0);
        assert_true(wait_until(both_have_come, NULL, 60));
        assert_int_equal(atomic_load(&pair->shared.wanted_cpu), first + 1);
        assert_int_equal(mp_result_wait(result, 60), 0);
        assert_int_equal(mp_result_free(result), 0);
    }
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(mp_pool_free(pair), 0);
}

static void the_default_size_is_what_may_be_used(void **state)
{
    cpu_set_t before, one;
    int workers;
    mp_pool *narrow;
    (void)state;

    usable_cpus(&before, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(mp_pool_create(&narrow, 0, NULL), 0);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(mp_pool_size(narrow, &workers), 0);
    assert_int_equal(workers, 1);
    assert_int_equal(mp_pool_free(narrow), 0);
}

struct passed {
    mp_dict *dict;
    mp_list *list;
    mp_lock *lock;
    int number;
};

static int use_what_is_passed(const void *arg, void *result)
{
    const struct passed *passed = arg;
    int64_t count;
    (void)result;

    if (mp_list_append_int(passed->list, passed->number) != 0 || mp_lock_acquire(passed->lock, MP_FOREVER) != 0)
        return 1;
    if (mp_dict_get_int(passed->dict, "count", &count) != 0 || mp_dict_set_int(passed->dict, "count", count + 1) != 0)
        return 2;
    return mp_lock_release(passed->lock) == 0 ? 0 : 3;
}

static void containers_and_locks_are_passed_to_tasks(void **state)
{
    enum { TASKS = 2000 };
    static struct passed passed[TASKS];
    mp_manager *manager;
    mp_pool *younger;
    struct passed all;
    int64_t value;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_lock_create(&all.lock, NULL), 0);
    assert_int_equal(mp_pool_create(&younger, 3, NULL), 0);
    /* The containers are younger than the workers: their addresses are new to the workers, in memory that they have
     * mapped. */
    assert_int_equal(mp_manager_dict(manager, &all.dict), 0);
    assert_int_equal(mp_manager_list(manager, &all.list), 0);
    assert_int_equal(mp_dict_set_int(all.dict, "count", 0), 0);
    for (int i = 0; i < TASKS; i++) {
        all.number = i;
        passed[i] = all;
    }
    assert_int_equal(mp_pool_map(younger, use_what_is_passed, passed, sizeof *passed, NULL, 0, TASKS), 0);
    assert_int_equal(mp_dict_get_int(all.dict, "count", &value), 0);
    assert_int_equal(value, TASKS);
    assert_int_equal(mp_list_sort(all.list, NULL, NULL, false), 0);
    for (int i = 0; i < TASKS; i++) {
        assert_int_equal(mp_list_get_int(all.list, i, &value), 0);
        assert_int_equal(value, i);
    }
    assert_int_equal(mp_pool_free(younger), 0);
    assert_int_equal(mp_lock_free(all.lock), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

static int *counter; /* shared: the number of initialised workers, or of tasks run */

static int count_task(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void forgotten_tasks_are_done(void **state)
{
    (void)state;
    *counter = 0;
    for (int i = 0; i < 5000; i++)
        assert_int_equal(mp_pool_apply_async(pool, count_task, NULL, 0, 0, NULL), 0);
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_join(pool), 0);
    assert_int_equal(*counter, 5000);
}

static int initialize(void *arg)
{
    __atomic_add_fetch(counter, *(int *)arg, __ATOMIC_SEQ_CST);
    return 0;
}

static void workers_are_initialized_and_replaced(void **state)
{
    int ten = 10, pid, last = 0, changes = 0, in[50], out[50];
    mp_pool_options options = {.initializer = initialize, .initializer_arg = &ten, .max_tasks_per_child = 2};
    mp_map_options each = {.chunk_size = 1};
    mp_pool *replaced;
    (void)state;

    *counter = 0;
    assert_int_equal(mp_pool_create(&replaced, 1, &options), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(mp_pool_apply(replaced, get_pid, NULL, 0, &pid, sizeof pid), 0);
        changes += pid != last;
        last = pid;
    }
    assert_int_equal(changes, 10);
    for (int i = 0; i < 50; i++)
        in[i] = i;
    assert_int_equal(mp_pool_map_with(replaced, square, in, sizeof *in, out, sizeof *out, 50, &each), 0);
    assert_int_equal(out[49], 49 * 49);
    assert_int_equal(mp_pool_close(replaced), 0);
    assert_int_equal(mp_pool_join(replaced), 0);
    assert_true(*counter >= 10 * (10 + 25));
    assert_int_equal(mp_pool_free(replaced), 0);
}

/* The first task waits until the others are done. */
static int wait_for_the_others(const void *arg, void *result)
{
    double end = now() + 30;
    (void)result;

    if (*(const int *)arg == 0) {
        while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < 19 && now() < end)
            sched_yield();
        return __atomic_load_n(counter, __ATOMIC_SEQ_CST) == 19 ? 0 : 1;
    }
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void workers_are_replaced_after_closing(void **state)
{
    mp_pool_options options = {.max_tasks_per_child = 1};
    mp_pool *closed;
    mp_result *result;
    (void)state;

    *counter = 0;
    assert_int_equal(mp_pool_create(&closed, 2, &options), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mp_pool_apply_async(closed, wait_for_the_others, &i, sizeof i, 0, i == 0 ? &result : NULL), 0);
    assert_int_equal(mp_pool_close(closed), 0);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
    assert_int_equal(mp_pool_join(closed), 0);
    assert_int_equal(mp_pool_free(closed), 0);
}

/* Records which worker was initialised how often, in a list of pids in shared memory. */
static int note_pid(void *arg)
{
    _Atomic int *pids = arg;

    for (int i = 0; i < 1000; i++) {
        int none = 0;

        if (atomic_compare_exchange_strong(&pids[i], &none, (int)getpid()))
            return 0;
    }
    return 1;
}

static int times_noted(_Atomic int *pids, int pid)
{
    int times = 0;

    for (int i = 0; i < 1000; i++)
        times += atomic_load(&pids[i]) == pid;
    return times;
}

static void each_worker_is_initialized_once(void **state)
{
    const size_t size = 1000 * sizeof(_Atomic int);
    _Atomic int *pids = shared_memory(size);
    mp_pool_options options = {
        .initializer = note_pid, .initializer_arg = (void *)(uintptr_t)pids, .max_tasks_per_child = 3};
    int ran[100];
    mp_pool *replaced;
    (void)state;

    assert_int_equal(mp_pool_create(&replaced, 3, &options), 0);
    for (int i = 0; i < 100; i++) {
        int error = mp_pool_apply(replaced, get_pid, NULL, 0, &ran[i], sizeof ran[i]);

        assert_int_equal(error, 0);
        if (i % 10 == 0) /* replaced after a death as well as after its share of tasks */
            kill(ran[i], SIGKILL);
    }
    assert_int_equal(mp_pool_free(replaced), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(times_noted(pids, ran[i]), 1);
    munmap((void *)(uintptr_t)pids, size);
}

static int refuse(void *arg)
{
    (void)arg;
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    return 1;
}

static void a_failing_initializer_breaks_the_pool(void **state)
{
    mp_pool_options options = {.initializer = refuse};
    mp_pool *broken;
    int x = 1, y;
    (void)state;

    *counter = 0;
    assert_int_equal(mp_pool_create(&broken, 3, &options), 0);
    assert_int_equal(mp_pool_apply(broken, square, &x, sizeof x, &y, sizeof y), MP_EINITIALIZER);
    assert_int_equal(mp_pool_apply(broken, square, &x, sizeof x, &y, sizeof y), MP_EINITIALIZER);
    assert_in_range(*counter, 1, 6);
    assert_int_equal(mp_pool_free(broken), 0);
}

static void closing_and_joining(void **state)
{
    int ms = 100, pid;
    mp_result *result;
    (void)state;

    assert_int_equal(mp_pool_join(pool), MP_EBUSY);
    assert_int_equal(mp_pool_apply_async(pool, nap_ms, &ms, sizeof ms, sizeof pid, &result), 0);
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_apply_async(pool, nap_ms, &ms, sizeof ms, sizeof pid, NULL), MP_ECLOSED);
    assert_int_equal(mp_pool_map(pool, nap_ms, &ms, sizeof ms, &pid, sizeof pid, 1), MP_ECLOSED);
    assert_int_equal(mp_pool_join(pool), 0);
    assert_int_equal(mp_pool_join(pool), 0);
    assert_int_equal(mp_result_get(result, &pid, sizeof pid, 0), 0);
    assert_true(process_gone(pid));
    assert_int_equal(mp_result_free(result), 0);
}

static void *get_in_thread(void *arg)
{
    int pid;

    return (void *)(intptr_t)mp_result_get(arg, &pid, sizeof pid, 60);
}

static void terminating_is_prompt(void **state)
{
    enum { TASKS = 400 };
    mp_result *result[TASKS];
    int ms = 60000, pid;
    pthread_t thread;
    void *got;
    (void)state;

    for (int i = 0; i < TASKS; i++)
        assert_int_equal(mp_pool_apply_async(pool, nap_ms, &ms, sizeof ms, sizeof pid, &result[i]), 0);
    assert_int_equal(pthread_create(&thread, NULL, get_in_thread, result[TASKS - 1]), 0);
    double start = now();
    assert_int_equal(mp_pool_terminate(pool), 0);
    assert_int_equal(mp_result_get(result[0], &pid, sizeof pid, 60), MP_ETERMINATED);
    pthread_join(thread, &got);
    assert_int_equal((intptr_t)got, MP_ETERMINATED);
    assert_true(now() - start < 5);
    assert_int_equal(mp_pool_apply(pool, square, &ms, sizeof ms, &pid, sizeof pid), MP_ECLOSED);
    assert_int_equal(mp_pool_join(pool), 0);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(mp_result_free(result[i]), 0);
}

static void terminating_leaves_nobody(void **state)
{
    pid_t pids[3];
    int in[100] = {0}, out[100], status, code = 0;
    mp_result *single, *map;
    size_t live;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_workers(pool, pids, 2, &live), 0);
    assert_int_equal(live, 2);
    assert_int_equal(mp_pool_supervisor(pool, &pids[2]), 0);
    assert_int_equal(mp_pool_apply_async(pool, wait_at_gate, &code, sizeof code, sizeof code, &single), 0);
    assert_int_equal(mp_pool_map_async(pool, wait_at_gate, in, sizeof *in, sizeof *out, 100, &map, NULL), 0);
    assert_int_equal(mp_result_wait(map, 0.01), MP_ETIMEOUT);
    assert_int_equal(mp_pool_terminate(pool), 0);
    assert_int_equal(mp_pool_terminate(pool), 0);
    for (int i = 0; i < 3; i++)
        assert_true(wait_until(is_gone, &pids[i], 20));
    atomic_store(gate, 1); /* no worker is left to go through */
    assert_int_equal(mp_result_get(single, &code, sizeof code, MP_FOREVER), MP_ETERMINATED);
    assert_int_equal(mp_result_get(map, out, sizeof out, MP_FOREVER), MP_ETERMINATED);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(mp_result_status(map, i, &status), 0);
        assert_int_equal(status, MP_ETERMINATED);
    }
    assert_int_equal(mp_pool_workers(pool, pids, 2, &live), 0);
    assert_int_equal(live, 0);
    assert_int_equal(mp_pool_join(pool), 0);
    assert_int_equal(mp_result_free(single), 0);
    assert_int_equal(mp_result_free(map), 0);
}

static void a_freed_pool_leaves_nobody(void **state)
{
    pid_t pids[3];
    int code = 0;
    mp_pool *freed;
    mp_result *result;
    size_t live;
    (void)state;

    atomic_store(gate, 0);
    assert_int_equal(mp_pool_create(&freed, 2, NULL), 0);
    assert_int_equal(mp_pool_workers(freed, pids, 2, &live), 0);
    assert_int_equal(mp_pool_supervisor(freed, &pids[2]), 0);
    assert_int_equal(mp_pool_apply_async(freed, wait_at_gate, &code, sizeof code, sizeof code, &result), 0);
    assert_int_equal(mp_pool_free(freed), 0);
    for (int i = 0; i < 3; i++)
        assert_true(wait_until(is_gone, &pids[i], 20));
    assert_int_equal(mp_result_get(result, &code, sizeof code, 0), MP_EINVAL);
    assert_int_equal(mp_result_free(result), MP_EINVAL);
}

static void *use_pool(void *arg)
{
    for (int i = 0; i < 3000; i++) {
        int y, x = i % 1000;

        if (mp_pool_apply(arg, square, &x, sizeof x, &y, sizeof y) != 0 || y != x * x)
            return arg;
    }
    return NULL;
}

static void threads_share_pools(void **state)
{
    pthread_t thread[6];
    mp_pool *second;
    void *result;
    (void)state;

    assert_int_equal(mp_pool_create(&second, 3, NULL), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_pool, i % 2 ? pool : second), 0);
    for (int i = 0; i < 6; i++) {
        pthread_join(thread[i], &result);
        assert_null(result);
    }
    assert_int_equal(mp_pool_free(second), 0);
}

static int use_inner_pool(const void *arg, void *result)
{
    mp_pool *inner;
    int error = mp_pool_create(&inner, 2, NULL);

    if (error == 0)
        error = mp_pool_apply(inner, square, arg, sizeof(int), result, sizeof(int));
    return error != 0 || mp_pool_free(inner) != 0 ? 1 : 0;
}

static int return_seven(void *arg)
{
    (void)arg;
    return 7;
}

static int start_process(const void *arg, void *result)
{
    mp_process *process;
    (void)arg;

    if (mp_process_start(&process, return_seven, NULL, NULL) != 0 || mp_process_join(process, 30) != 0)
        return 1;
    mp_process_exitcode(process, result);
    return mp_process_free(process) == 0 ? 0 : 2;
}

static void tasks_use_pools_and_processes(void **state)
{
    int x = 12, y;
    (void)state;

    assert_int_equal(mp_pool_apply(pool, use_inner_pool, &x, sizeof x, &y, sizeof y), 0);
    assert_int_equal(y, 144);
    assert_int_equal(mp_pool_apply(pool, start_process, NULL, 0, &y, sizeof y), 0);
    assert_int_equal(y, 7);
}

static void a_forked_child_is_refused(void **state)
{
    int status, x = 1, y;
    mp_result *result;
    (void)state;

    assert_int_equal(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof y, &result), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int ok = mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y) == MP_EFOREIGN &&
                 mp_result_get(result, &y, sizeof y, 0) == MP_EFOREIGN && mp_pool_close(pool) == MP_EFOREIGN &&
                 mp_pool_terminate(pool) == MP_EFOREIGN && mp_pool_join(pool) == MP_EFOREIGN &&
                 mp_pool_free(pool) == MP_EFOREIGN && mp_result_free(result) == MP_EFOREIGN;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(mp_result_get(result, &y, sizeof y, 60), 0);
    assert_int_equal(mp_result_free(result), 0);
}

static void refuses_bad_input(void **state)
{
    mp_pool *none = NULL;
    mp_result *result;
    int x = 1, y;
    size_t count;
    (void)state;

    assert_int_equal(mp_pool_create(NULL, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_pool_create(&none, -1, NULL), MP_EINVAL);
    assert_int_equal(mp_pool_create(&none, MP_POOL_MAX_WORKERS + 1, NULL), MP_EINVAL);
    assert_int_equal(mp_pool_create(&none, 1, &(mp_pool_options){.max_tasks_per_child = -1}), MP_EINVAL);
    assert_int_equal(mp_pool_create(&none, 1, &(mp_pool_options){.retries = -1}), MP_EINVAL);
    assert_int_equal(mp_pool_apply(NULL, square, &x, sizeof x, &y, sizeof y), MP_EINVAL);
    assert_int_equal(mp_pool_apply(pool, NULL, &x, sizeof x, &y, sizeof y), MP_EINVAL);
    assert_int_equal(mp_pool_apply(pool, square, NULL, 4, &y, sizeof y), MP_EINVAL);
    assert_int_equal(mp_pool_apply(pool, square, &x, sizeof x, NULL, 4), MP_EINVAL);
    assert_int_equal(mp_pool_apply_async(pool, square, &x, SIZE_MAX, 4, &result), MP_ENOMEM);
    assert_int_equal(mp_pool_apply_async(pool, square, &x, sizeof x, SIZE_MAX, &result), MP_ENOMEM);
    assert_int_equal(mp_pool_map(pool, square, &x, SIZE_MAX, &y, 4, 2), MP_EOVERFLOW);
    assert_int_equal(mp_pool_map(pool, square, &x, 4, &y, 4, SIZE_MAX), MP_EOVERFLOW);
    assert_int_equal(mp_pool_map(pool, square, NULL, 4, &y, 4, 1), MP_EINVAL);
    assert_int_equal(mp_pool_map(pool, square, &x, 4, NULL, 4, 1), MP_EINVAL);
    assert_int_equal(mp_pool_map_async(pool, square, &x, 4, 4, 1, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_pool_close(NULL), MP_EINVAL);
    assert_int_equal(mp_pool_terminate(NULL), MP_EINVAL);
    assert_int_equal(mp_pool_join(NULL), MP_EINVAL);
    assert_int_equal(mp_pool_free(NULL), 0);
    assert_int_equal(mp_pool_size(pool, NULL), MP_EINVAL);
    assert_int_equal(mp_pool_workers(pool, NULL, 1, &count), MP_EINVAL);
    assert_int_equal(mp_pool_supervisor(pool, NULL), MP_EINVAL);
    assert_int_equal(mp_result_get(NULL, &y, 4, 1), MP_EINVAL);
    assert_int_equal(mp_result_free(NULL), 0);
    assert_int_equal(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof y, &result), 0);
    assert_int_equal(mp_result_wait(result, (double)NAN), MP_EINVAL);
    assert_int_equal(mp_result_get(result, NULL, 4, 1), MP_EINVAL);
    assert_int_equal(mp_result_ready(result, NULL), MP_EINVAL);
    assert_int_equal(mp_result_wait(result, 60), 0);
    assert_int_equal(mp_pool_create(&none, 1, NULL), 0);
    assert_int_equal(mp_pool_free(none), 0);
    assert_int_equal(mp_pool_apply(none, square, &x, sizeof x, &y, sizeof y), MP_EINVAL);
    assert_int_equal(mp_pool_free(none), MP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sizes),
        TEST(apply_gives_result_or_code),
        TEST(many_tasks_in_any_order),
        TEST(results_can_be_waited_for),
        TEST(large_arguments_and_results),
        TEST(large_blocks_are_used_again),
        TEST(large_results_are_zeroed_ahead),
        TEST(maps_keep_order),
        TEST(a_failing_item_fails_alone),
        TEST(failures_are_told_as_results_are),
        TEST(several_threads_get_one_result),
        TEST(signals_do_not_shorten_waits),
        TEST(maps_millions),
        TEST(chunks_are_of_the_size_said),
        TEST(default_chunks_shrink),
        cmocka_unit_test(an_idle_pool_sleeps),
        cmocka_unit_test(one_task_wakes_one_worker),
        cmocka_unit_test(nobody_waits_for_a_worker_but_the_caller),
        TEST(the_default_size_is_what_may_be_used),
        TEST(containers_and_locks_are_passed_to_tasks),
        TEST(forgotten_tasks_are_done),
        TEST(workers_are_initialized_and_replaced),
        TEST(workers_are_replaced_after_closing),
        TEST(each_worker_is_initialized_once),
        TEST(a_failing_initializer_breaks_the_pool),
        TEST(closing_and_joining),
        TEST(terminating_is_prompt),
        TEST(terminating_leaves_nobody),
        TEST(a_freed_pool_leaves_nobody),
        TEST(threads_share_pools),
        TEST(tasks_use_pools_and_processes),
        TEST(a_forked_child_is_refused),
        TEST(refuses_bad_input),
    };

    mp_lock *first;

    /* The heap of this process's locks stays open, with its descriptor. */
    if (mp_lock_create(&first, NULL) != 0 || mp_lock_free(first) != 0)
        return 1;
    counter = shared_memory(sizeof *counter);
    gate = shared_memory(sizeof *gate);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
