/* Maps whose arguments and results are copied: workers begin while large arguments are still being copied, and results
 * are copied out while workers go on. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/caller.h"
#include "pool_fixture.h"
#include "support.h"

#define SECONDS 60.0
/* Number of ints; the gate lies somewhere in their second half. */
#define MANY 400000

/* Written by workers. */
static struct shared {
    _Atomic int begun;
    _Atomic int done;
    _Atomic int worker; /* pid of the worker that did the first item */
    _Atomic int hold;   /* 1: the last of the items waits until this is 0 */
} * shared;

static bool is_cpu_free(void)
{
    return mp_usable_cpu_count() > 1;
}

static int count_and_square(const void *arg, void *result)
{
    int x = *(const int *)arg;

    if (x == 0)
        atomic_store(&shared->worker, getpid());
    atomic_fetch_add_explicit(&shared->begun, 1, memory_order_relaxed);
    *(int *)result = (int)((unsigned)x * (unsigned)x);
    return 0;
}

static int hold_last(const void *arg, void *result)
{
    int error = count_and_square(arg, result);

    while (*(const int *)arg == MANY - 1 && atomic_load(&shared->hold))
        pause_us(1000);
    atomic_fetch_add_explicit(&shared->done, 1, memory_order_relaxed);
    return error;
}

static int make(void **state)
{
    (void)state;
    memset(shared, 0, sizeof *shared);
    return make_pool(2);
}

static int *new_numbers(int count)
{
    int *numbers = malloc((size_t)count * sizeof *numbers);

    assert_non_null(numbers);
    for (int i = 0; i < count; i++)
        numbers[i] = i;
    return numbers;
}

static void expect_squares(const int *results, int count)
{
    for (int i = 0; i < count; i++) {
        if (results[i] != (int)((unsigned)i * (unsigned)i))
            fail_msg("result %d is %d", i, results[i]);
    }
}

/* ---- every argument and result arrives ---- */

struct sized {
    size_t arg, result;
};

/* A result whose bytes depend on all bytes of the argument. */
static int mix(const void *arg, void *result)
{
    struct sized sized;
    unsigned char sum = 0;

    memcpy(&sized, arg, sizeof sized);
    for (size_t i = 0; i < sized.arg; i++)
        sum = (unsigned char)(sum * 31 + ((const unsigned char *)arg)[i]);
    for (size_t i = 0; i < sized.result; i++)
        ((unsigned char *)result)[i] = (unsigned char)(sum + i);
    return 0;
}

static void map_sized(mp_pool *of, struct sized sized, size_t count, size_t chunk_size)
{
    unsigned char *args = malloc(count * sized.arg), *results = malloc(count * sized.result);
    unsigned char *expected = malloc(sized.result);
    mp_map_options options = {.chunk_size = chunk_size};

    assert_true(args != NULL && results != NULL && expected != NULL);
    for (size_t i = 0; i < count * sized.arg; i++)
        args[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < count; i++)
        memcpy(args + i * sized.arg, &sized, sizeof sized);
    assert_int_equal(mp_pool_map_with(of, mix, args, sized.arg, results, sized.result, count, &options), 0);
    for (size_t i = 0; i < count; i++) {
        mix(args + i * sized.arg, expected);
        if (memcmp(results + i * sized.result, expected, sized.result) != 0)
            fail_msg("item %zu of %zu, arguments of %zu bytes", i, count, sized.arg);
    }
    free(args);
    free(results);
    free(expected);
}

static void all_sizes_arrive(void **state)
{
    const size_t bytes[] = {65536, 262143, 262144, 262152, 1000000, 3000000};
    const struct sized sizes[] = {{16, 1}, {24, 8}, {104, 3}, {4096, 4096}, {80000, 16}, {262144, 64}};
    const int workers[] = {1, 2, 5};
    (void)state;

    for (size_t w = 0; w < COUNT(workers); w++) {
        mp_pool *of;

        assert_int_equal(mp_pool_create(&of, workers[w], NULL), 0);
        for (size_t b = 0; b < COUNT(bytes); b++) {
            for (size_t s = 0; s < COUNT(sizes); s++) {
                size_t count = (bytes[b] + sizes[s].arg - 1) / sizes[s].arg;

                map_sized(of, sizes[s], count, 0);
                map_sized(of, sizes[s], count, 1);
                map_sized(of, sizes[s], count, count);
            }
        }
        assert_int_equal(mp_pool_free(of), 0);
    }
}

static void results_may_take_the_arguments_place(void **state)
{
    int *numbers = new_numbers(MANY);
    (void)state;

    assert_int_equal(mp_pool_map(pool, count_and_square, numbers, sizeof(int), numbers, sizeof(int), MANY), 0);
    expect_squares(numbers, MANY);
    free(numbers);
}

/* Results in place may overlap the arguments: all of the overlapped arguments must be copied before any result is
 * written. */
static void results_in_place_may_overlap_the_arguments(void **state)
{
    enum { APART = MANY / 4 };
    mp_manager *manager;
    mp_pool *of;
    void *memory;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_pool_create(&of, 2, NULL), 0);
    assert_int_equal(mp_manager_alloc(manager, (MANY + APART) * sizeof(int), &memory), 0);
    for (int shift = 0; shift <= APART; shift += APART) {
        int *args = (int *)memory + shift, *results = (int *)memory + APART - shift;

        for (int i = 0; i < MANY; i++)
            args[i] = i;
        assert_int_equal(mp_pool_map(of, count_and_square, args, sizeof(int), results, sizeof(int), MANY), 0);
        expect_squares(results, MANY);
    }
    assert_int_equal(mp_memory_free(memory), 0);
    assert_int_equal(mp_pool_free(of), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

struct wide {
    int square;
    int beside[7];
};

static int square_widely(const void *arg, void *result)
{
    ((struct wide *)result)->beside[6] = *(const int *)arg;
    return count_and_square(arg, result);
}

/* The results are not aligned, so they are copied, to memory that overlaps the arguments, which need not be aligned.
 * Arguments must not be overwritten while workers read them. */
static void results_not_in_place_may_overlap_the_arguments(void **state)
{
    mp_manager *manager;
    mp_pool *of;
    void *memory;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_pool_create(&of, 2, NULL), 0);
    assert_int_equal(mp_manager_alloc(manager, MANY * sizeof(struct wide) + 16, &memory), 0);
    for (int i = 0; i < MANY; i++)
        ((int *)memory)[i] = i;
    struct wide *results = (struct wide *)((char *)memory + sizeof(int));
    assert_int_equal(mp_pool_map(of, square_widely, memory, sizeof(int), results, sizeof(struct wide), MANY), 0);
    for (int i = 0; i < MANY; i++) {
        if (results[i].beside[6] != i || results[i].square != (int)((unsigned)i * (unsigned)i))
            fail_msg("item %d got %d", i, results[i].beside[6]);
    }
    assert_int_equal(mp_memory_free(memory), 0);
    assert_int_equal(mp_pool_free(of), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

static void an_async_map_has_copied_all_when_it_returns(void **state)
{
    int *numbers = new_numbers(MANY), *squares = new_numbers(MANY);
    mp_result *result;
    (void)state;

    assert_int_equal(mp_pool_map_async(pool, count_and_square, numbers, sizeof(int), sizeof(int), MANY, &result, NULL),
                     0);
    memset(numbers, 0xff, MANY * sizeof *numbers);
    assert_int_equal(mp_result_get(result, squares, MANY * sizeof *squares, SECONDS), 0);
    expect_squares(squares, MANY);
    assert_int_equal(mp_result_free(result), 0);
    free(numbers);
    free(squares);
}

/* A worker that found nothing left to do is not called again. With many workers there would be no end to the calls. */
static void each_helper_is_called_once(void **state)
{
    enum { ITEMS = 8 };
    const size_t sizes[] = {sizeof(int), 100000};
    char *args = calloc(ITEMS, sizes[1]);
    int squares[ITEMS];
    mp_pool *of;
    (void)state;

    assert_non_null(args);
    assert_int_equal(mp_pool_create(&of, ITEMS, NULL), 0);
    for (int i = 0; i < 400; i++) {
        uint64_t before = atomic_load(&of->shared.tail);

        assert_int_equal(mp_pool_map(of, count_and_square, args, sizes[i % 2], squares, sizeof(int), ITEMS), 0);
        assert_in_range(atomic_load(&of->shared.tail) - before, 1, ITEMS);
    }
    assert_int_equal(mp_pool_free(of), 0);
    free(args);
}

static void a_map_without_memory_keeps_nothing(void **state)
{
    const size_t endless = (size_t)1 << 33;
    int *numbers = new_numbers(MANY);
    (void)state;

    for (size_t bytes = 64 * 1024; bytes <= MANY * sizeof(int); bytes *= 2) {
        mp_result *result;

        assert_int_equal(mp_pool_map_async(pool, count_and_square, numbers, bytes / 8, endless, 8, &result, NULL),
                         MP_ENOMEM);
        assert_int_equal(atomic_load(&pool->staging), 0);
    }
    free(numbers);
}

/* Each map uses pages that the workers have mapped already, however late the helpers of the previous map are, which
 * keep its job alive. */
static void each_map_lies_where_the_last_one_did(void **state)
{
    int *numbers = new_numbers(MANY), *squares = new_numbers(MANY);
    uint64_t args = 0, results = 0;
    mp_result *result;
    (void)state;

    for (int i = 0; i < 50; i++) {
        assert_int_equal(
            mp_pool_map_async(pool, count_and_square, numbers, sizeof(int), sizeof(int), MANY, &result, NULL), 0);
        assert_true(args == 0 || atomic_load(&result->job->args) == args);
        assert_true(results == 0 || atomic_load(&result->job->results) == results);
        args = atomic_load(&result->job->args);
        results = atomic_load(&result->job->results);
        assert_int_equal(mp_result_get(result, squares, MANY * sizeof *squares, SECONDS), 0);
        /* In two maps of three, acts as if a helper had not been taken back. */
        if (i % 3 != 0) {
            struct map_job *job = result->job;

            pthread_mutex_lock(&pool->mutex);
            job->helpers++;
            pthread_mutex_unlock(&pool->mutex);
        }
        assert_int_equal(mp_result_free(result), 0);
    }
    free(numbers);
    free(squares);
}

/* ---- while the arguments are copied ----
 *
 * The second half of the arguments cannot be read at first. The caller, who copies them, gets into a signal handler
 * there, and goes on when the condition that it waits for is true. */

static struct {
    int *numbers;
    char *page;
    _Atomic int reached;
    bool (*opens)(void);
    bool opened;
} gate;

static void at_gate(int signal_number, siginfo_t *info, void *context)
{
    const char *address = info->si_addr;
    (void)context;

    if (gate.page == NULL || address < gate.page || address >= gate.page + sysconf(_SC_PAGESIZE)) {
        signal(signal_number, SIG_DFL);
        return;
    }
    atomic_store(&gate.reached, 1);
    for (double end = now() + SECONDS; !gate.opened && now() < end;) {
        gate.opened = gate.opens();
        pause_us(1000);
    }
    mprotect(gate.page, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE);
}

static void make_gate(bool (*opens)(void))
{
    struct sigaction action = {.sa_sigaction = at_gate, .sa_flags = SA_SIGINFO};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    gate.numbers = mmap(NULL, MANY * sizeof(int), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(gate.numbers != MAP_FAILED);
    for (int i = 0; i < MANY; i++)
        gate.numbers[i] = i;
    gate.page = (char *)gate.numbers + MANY * sizeof(int) * 3 / 4 / page * page;
    gate.opens = opens;
    gate.opened = false;
    atomic_store(&gate.reached, 0);
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    assert_int_equal(mprotect(gate.page, page, PROT_NONE), 0);
}

static void drop_gate(void)
{
    signal(SIGSEGV, SIG_DFL);
    munmap(gate.numbers, MANY * sizeof(int));
    gate.page = NULL;
}

/* Maps through the gate; returns the result of the map. */
static int map_through(mp_task_function *function)
{
    int *squares = malloc(MANY * sizeof *squares);

    assert_non_null(squares);
    int error = mp_pool_map(pool, function, gate.numbers, sizeof(int), squares, sizeof(int), MANY);
    assert_true(gate.opened);
    if (error == 0)
        expect_squares(squares, MANY);
    free(squares);
    return error;
}

/* The map runs each item once, although the caller stops at the gate until it opens. Skipped if no CPU is free for a
 * worker: then none would begin. */
static void map_waits_at_gate(bool (*opens)(void))
{
    if (!is_cpu_free())
        return;
    make_gate(opens);
    assert_int_equal(map_through(count_and_square), 0);
    assert_int_equal(atomic_load(&shared->begun), MANY);
    drop_gate();
}

static bool one_has_begun(void)
{
    return atomic_load(&shared->begun) > 0;
}

static void workers_begin_before_all_arguments_are_there(void **state)
{
    (void)state;
    map_waits_at_gate(one_has_begun);
}

/* The worker has done all items whose arguments are there. */
static bool the_worker_sleeps(void)
{
    int worker = atomic_load(&shared->worker);

    return worker != 0 && process_state(worker) == 'S';
}

static void a_worker_sleeps_until_there_are_arguments(void **state)
{
    (void)state;
    map_waits_at_gate(the_worker_sleeps);
}

/* Kills the worker while it waits for arguments. */
static bool the_worker_is_gone(void)
{
    static int killed;
    int worker = atomic_load(&shared->worker);

    if (the_worker_sleeps() && worker != killed) {
        kill(worker, SIGKILL);
        killed = worker;
    }
    return killed == worker && worker != 0 && process_gone(worker);
}

static void nothing_is_lost_with_a_worker_that_waits_for_arguments(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        memset(shared, 0, sizeof *shared);
        map_waits_at_gate(the_worker_is_gone);
    }
}

static pid_t supervisor;

static bool the_supervisor_is_dead(void)
{
    siginfo_t info = {.si_pid = 0};

    if (one_has_begun())
        kill(supervisor, SIGKILL);
    return waitid(P_PID, (id_t)supervisor, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == supervisor;
}

static void a_dead_supervisor_is_noticed(void **state)
{
    (void)state;
    if (!is_cpu_free())
        return;
    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    make_gate(the_supervisor_is_dead);
    assert_int_equal(map_through(count_and_square), MP_EBROKEN);
    drop_gate();
}

static int (*end_pool)(mp_pool *);
static _Atomic int ended;

static bool pool_has_ended(void)
{
    return atomic_load(&ended);
}

/* Checks that the mutex is free while the caller copies. */
static void *end_when_copying(void *arg)
{
    (void)arg;

    while (!atomic_load(&gate.reached) || !one_has_begun())
        pause_us(1000);
    int error = end_pool(pool);
    atomic_store(&ended, 1);
    return error == 0 ? NULL : arg;
}

static void end_while_copying(int (*how)(mp_pool *), int expected)
{
    pthread_t thread;
    void *failed;

    if (!is_cpu_free())
        return;
    end_pool = how;
    atomic_store(&ended, 0);
    make_gate(pool_has_ended);
    assert_int_equal(pthread_create(&thread, NULL, end_when_copying, shared), 0);
    assert_int_equal(map_through(count_and_square), expected);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_int_equal(mp_pool_join(pool), 0);
    drop_gate();
}

static void a_pool_closed_meanwhile_finishes_the_map(void **state)
{
    (void)state;
    end_while_copying(mp_pool_close, 0);
}

static void a_pool_terminated_meanwhile_fails_the_map(void **state)
{
    (void)state;
    end_while_copying(mp_pool_terminate, is_cpu_free() ? MP_ETERMINATED : 0);
}

/* ---- results ---- */

static bool all_but_one_are_done(void *arg)
{
    (void)arg;
    return atomic_load(&shared->done) == MANY - 1;
}

/* A caller that gives up waiting finds its buffer unchanged. */
static void a_timeout_leaves_the_buffer_alone(void **state)
{
    int *numbers = new_numbers(MANY), *squares = malloc(MANY * sizeof *squares);
    mp_result *result;
    (void)state;

    assert_non_null(squares);
    memset(squares, 'x', MANY * sizeof *squares);
    atomic_store(&shared->hold, 1);
    assert_int_equal(mp_pool_map_async(pool, hold_last, numbers, sizeof(int), sizeof(int), MANY, &result, NULL), 0);
    assert_true(wait_until(all_but_one_are_done, NULL, SECONDS));
    assert_int_equal(mp_result_get(result, squares, MANY * sizeof *squares, 0.01), MP_ETIMEOUT);
    for (size_t i = 0; i < MANY * sizeof *squares; i++)
        assert_int_equal(((char *)squares)[i], 'x');
    atomic_store(&shared->hold, 0);
    assert_int_equal(mp_result_get(result, squares, MANY * sizeof *squares, SECONDS), 0);
    expect_squares(squares, MANY);
    assert_int_equal(mp_result_free(result), 0);
    free(numbers);
    free(squares);
}

static void too_small_a_buffer_is_left_alone(void **state)
{
    int *numbers = new_numbers(MANY);
    mp_result *result;
    int few[4] = {-1, -1, -1, -1};
    (void)state;

    assert_int_equal(mp_pool_map_async(pool, count_and_square, numbers, sizeof(int), sizeof(int), MANY, &result, NULL),
                     0);
    assert_int_equal(mp_result_get(result, few, sizeof few, MP_FOREVER), MP_ETOOSMALL);
    for (size_t i = 0; i < COUNT(few); i++)
        assert_int_equal(few[i], -1);
    assert_int_equal(mp_result_free(result), 0);
    free(numbers);
}

struct waiting {
    mp_result *result;
    int *squares;
    int error;
};

static void *wait_for_it(void *arg)
{
    struct waiting *waiting = arg;

    waiting->error = mp_result_get(waiting->result, waiting->squares, MANY * sizeof(int), MP_FOREVER);
    return NULL;
}

/* Each thread gets the result into a buffer of its own. */
static void several_threads_get_one_result(void **state)
{
    int *numbers = new_numbers(MANY);
    struct waiting waiting[4];
    pthread_t thread[4];
    mp_result *result;
    (void)state;

    for (int round = 0; round < 20; round++) {
        assert_int_equal(
            mp_pool_map_async(pool, count_and_square, numbers, sizeof(int), sizeof(int), MANY, &result, NULL), 0);
        for (int i = 0; i < 4; i++) {
            waiting[i] = (struct waiting){.result = result, .squares = calloc(MANY, sizeof(int))};
            assert_non_null(waiting[i].squares);
            assert_int_equal(pthread_create(&thread[i], NULL, wait_for_it, &waiting[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(thread[i], NULL), 0);
            assert_int_equal(waiting[i].error, 0);
            expect_squares(waiting[i].squares, MANY);
            free(waiting[i].squares);
        }
        assert_int_equal(mp_result_free(result), 0);
    }
    free(numbers);
}

static int fail_some(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = x;
    return x % 1000 == 7 ? 3 : 0;
}

/* Wherever an item fails, its result is zeros. */
static void failed_items_are_zeros(void **state)
{
    int *numbers = new_numbers(MANY), *results = malloc(MANY * sizeof *results);
    (void)state;

    assert_non_null(results);
    assert_int_equal(mp_pool_map(pool, fail_some, numbers, sizeof(int), results, sizeof(int), MANY), 3);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(results[i], i % 1000 == 7 ? 0 : i);
    free(numbers);
    free(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_sizes_arrive),
        TEST(results_may_take_the_arguments_place),
        TEST(results_in_place_may_overlap_the_arguments),
        TEST(results_not_in_place_may_overlap_the_arguments),
        TEST(an_async_map_has_copied_all_when_it_returns),
        TEST(each_helper_is_called_once),
        TEST(a_map_without_memory_keeps_nothing),
        TEST(each_map_lies_where_the_last_one_did),
        TEST(workers_begin_before_all_arguments_are_there),
        TEST(a_worker_sleeps_until_there_are_arguments),
        TEST(nothing_is_lost_with_a_worker_that_waits_for_arguments),
        TEST(a_dead_supervisor_is_noticed),
        TEST(a_pool_closed_meanwhile_finishes_the_map),
        TEST(a_pool_terminated_meanwhile_fails_the_map),
        TEST(a_timeout_leaves_the_buffer_alone),
        TEST(too_small_a_buffer_is_left_alone),
        TEST(several_threads_get_one_result),
        TEST(failed_items_are_zeros),
    };

    shared = shared_memory(sizeof *shared);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
