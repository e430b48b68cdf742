/* Plain memory in a manager: its lifetime, its numbers, and maps that use it in place. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager_fixture.h"
#include "pool/caller.h"
#include "support.h"

static void *take(size_t size)
{
    void *memory;

    assert_int_equal(mp_manager_alloc(manager, size, &memory), 0);
    return memory;
}

static bool is_zero(const unsigned char *memory, size_t size)
{
    return size == 0 || (memory[0] == 0 && memcmp(memory, memory + 1, size - 1) == 0);
}

/* ---- lifetime ---- */

static void memory_is_zeroed_aligned_and_given_back(void **state)
{
    const size_t sizes[] = {0, 1, 15, 16, 17, 63, 64, 65, 4096, 100000, 20000000};
    unsigned char *memory[11];
    (void)state;

    assert_int_equal(mp_memory_free(take(1)), 0); /* the object that this needs is kept for reuse */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 11; i++) {
            size_t size = 1;

            memory[i] = take(sizes[i]);
            assert_int_equal((uintptr_t)memory[i] % 64, 0);
            assert_true(is_zero(memory[i], sizes[i]));
            assert_int_equal(mp_memory_size(memory[i], &size), 0);
            assert_int_equal(size, sizes[i]);
            memset(memory[i], 'x', sizes[i]);
            assert_int_equal(mp_manager_check(manager), 0);
        }
        for (int i = 10; i >= 0; i--)
            assert_int_equal(mp_memory_free(memory[i]), 0);
        static size_t before;
        if (round == 0)
            before = used();
        assert_int_equal(used(), before);
    }
}

static void what_is_no_memory_is_refused(void **state)
{
    mp_manager *other;
    char *memory = take(1000), *second = take(1000);
    size_t size;
    (void)state;

    assert_int_equal(mp_memory_free(NULL), 0);
    for (int i = 1; i < 1000; i++)
        assert_int_equal(mp_memory_free(memory + i), MP_EINVAL);
    for (int i = 1; i < 64; i++)
        assert_int_equal(mp_memory_free(memory - i), MP_EINVAL);
    assert_int_equal(mp_memory_free(dict), MP_EINVAL);
    assert_int_equal(mp_memory_free(manager), MP_EINVAL);
    assert_int_equal(mp_dict_free((mp_dict *)(void *)memory), MP_EINVAL);
    /* A process that forges a header in its own memory names an object with another address. */
    memcpy(memory + 64 - 16, memory - 16, 16);
    assert_int_equal(mp_memory_size(memory + 64, &size), MP_EINVAL);
    assert_int_equal(mp_memory_free(memory), 0);
    assert_int_equal(mp_memory_free(memory), MP_EINVAL);
    assert_int_equal(mp_memory_size(memory, &size), MP_EINVAL);
    assert_int_equal(mp_memory_size(second, &size), 0);
    assert_int_equal(mp_manager_create(&other, NULL), 0);
    assert_int_equal(mp_manager_alloc(other, 10, (void **)&memory), 0);
    assert_int_equal(mp_manager_free(other), 0);
    assert_int_equal(mp_memory_free(memory), MP_EINVAL);
    assert_int_equal(mp_memory_size(second, &size), 0);
    assert_int_equal(size, 1000);
}

static void no_memory_changes_nothing(void **state)
{
    mp_manager *small;
    mp_manager_info before, after;
    void *memory = NULL;
    (void)state;

    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 20}), 0);
    assert_int_equal(mp_manager_alloc(small, (size_t)10 << 20, &memory), MP_ENOMEM);
    assert_int_equal(mp_manager_get_info(small, &before), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(mp_manager_alloc(small, (size_t)1 << 20, &memory), MP_ENOMEM);
        assert_int_equal(mp_manager_alloc(small, SIZE_MAX, &memory), MP_ENOMEM);
    }
    assert_int_equal(mp_manager_get_info(small, &after), 0);
    assert_int_equal(before.used, after.used);
    assert_null(memory);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
}

static void memory_is_shared_with_forked_processes(void **state)
{
    char *memory = take(100);
    int status;
    (void)state;

    pid_t pid = fork();
    if (pid == 0) {
        char *own = NULL;

        strcpy(memory, "from the child");
        if (mp_manager_alloc(manager, 5000000, (void **)&own) != 0)
            _exit(1);
        strcpy(own, "grown");
        memcpy(memory + 64, &own, sizeof own);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(memory, "from the child");
    char *theirs;
    memcpy(&theirs, memory + 64, sizeof theirs);
    assert_string_equal(theirs, "grown");
    assert_int_equal(mp_memory_free(theirs), 0);
    pid = fork();
    if (pid == 0)
        _exit(mp_memory_free(memory) == 0 ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(mp_memory_free(memory), MP_EINVAL);
}

/* The same heap at two addresses, as in two programs. */
static void a_number_names_it_in_every_program(void **state)
{
    char name[64];
    mp_manager *one, *two;
    mp_dict *root;
    void *here, *there = NULL;
    int64_t ref, bad[] = {0, 1, -1, 64, INT64_MAX, INT64_MIN, INT64_C(1) << 36};
    (void)state;

    snprintf(name, sizeof name, "test-memory-%ld", (long)getpid());
    assert_int_equal(mp_manager_create(&one, &(mp_manager_options){.name = name}), 0);
    assert_int_equal(mp_manager_open(&two, name, NULL), 0);
    assert_int_equal(mp_manager_alloc(one, 100, &here), 0);
    assert_int_equal(mp_memory_ref(here, &ref), 0);
    assert_int_equal(mp_manager_root(one, &root), 0);
    assert_int_equal(mp_dict_set_int(root, "memory", ref), 0);
    ref = 0;
    assert_int_equal(mp_manager_root(two, &root), 0);
    assert_int_equal(mp_dict_get_int(root, "memory", &ref), 0);
    assert_int_equal(mp_manager_memory(two, ref, &there), 0);
    assert_true(here != there);
    strcpy(here, "text");
    assert_string_equal(there, "text");
    for (int i = 0; i < 7; i++)
        assert_int_equal(mp_manager_memory(two, bad[i], &there), MP_EINVAL);
    assert_int_equal(mp_manager_memory(two, ref + 64, &there), MP_EINVAL);
    assert_int_equal(mp_memory_free(there), 0);
    assert_int_equal(mp_memory_free(here), MP_EINVAL);
    assert_int_equal(mp_manager_memory(one, ref, &here), MP_EINVAL);
    assert_int_equal(mp_manager_check(one), 0);
    assert_int_equal(mp_manager_free(one), 0);
    assert_int_equal(mp_manager_free(two), 0);
}

/* ---- maps in place ---- */

enum { ITEMS = 3000 };

/* Stores the square of a number. A multiple of 100 fails, and something is stored as well. */
static int square_once(const void *arg, void *result)
{
    int x = *(const int *)arg;

    if (*(int *)result != 0)
        return 77;
    *(int *)result = x * x;
    return x % 100 == 0 ? 9 : 0;
}

static int expected(int x)
{
    return x % 100 == 0 ? 0 : x * x;
}

/* Maps between all places for arguments and results. Shared places come twice, so that some ranges overlap. */
static void map_between(mp_pool *pool, int *args, int *results)
{
    static int status[ITEMS];
    mp_map_options options = {.status = status};

    for (int i = 0; i < ITEMS; i++)
        args[i] = i + 1;
    assert_int_equal(mp_pool_map_with(pool, square_once, args, sizeof(int), results, sizeof(int), ITEMS, &options), 9);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(results[i], expected(i + 1));
        assert_int_equal(status[i], (i + 1) % 100 == 0 ? 9 : 0);
        if (results + ITEMS <= args || args + ITEMS <= results)
            assert_int_equal(args[i], i + 1);
    }
}

static void maps_in_place_do_what_others_do(void **state)
{
    mp_pool *pool;
    (void)state;

    int *before = take(4 * ITEMS * sizeof(int));
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    int *after = take(4 * ITEMS * sizeof(int)), *own = malloc(4 * ITEMS * sizeof(int));
    int *places[] = {before, before + 1,    before + 4, before + ITEMS, before + 2 * ITEMS, before + 4 * ITEMS - ITEMS,
                     after,  after + ITEMS, own};
    for (size_t a = 0; a < sizeof places / sizeof *places; a++) {
        for (size_t r = 0; r < sizeof places / sizeof *places; r++)
            map_between(pool, places[a], places[r]);
    }
    assert_int_equal(mp_pool_map(pool, square_once, before, sizeof(int), before, sizeof(int), 0), 0);
    assert_int_equal(mp_pool_free(pool), 0);
    assert_int_equal(mp_memory_free(before), 0);
    assert_int_equal(mp_memory_free(after), 0);
    free(own);
}

static size_t pool_used(mp_pool *pool)
{
    return atomic_load(&pool->shared.heap->size);
}

static int same(const void *arg, void *result)
{
    *(int *)result = *(const int *)arg;
    return 0;
}

/* Maps a million numbers. The pool's heap must grow by less than one copy of them. */
static void nothing_is_copied(void **state)
{
    const size_t count = 1000000;
    mp_pool *pool;
    (void)state;

    int *args = take(count * sizeof *args), *results = take(count * sizeof *results);
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    for (size_t i = 0; i < count; i++)
        args[i] = (int)i;
    size_t before = pool_used(pool);
    assert_int_equal(mp_pool_map(pool, same, args, sizeof *args, results, sizeof *results, count), 0);
    assert_memory_equal(args, results, count * sizeof *args);
    assert_true(pool_used(pool) - before < count);
    assert_int_equal(mp_pool_map(pool, same, args, sizeof *args, args, sizeof *args, count), 0);
    assert_memory_equal(args, results, count * sizeof *args);
    assert_true(pool_used(pool) - before > count);
    assert_int_equal(mp_pool_free(pool), 0);
    assert_int_equal(mp_memory_free(args), 0);
    assert_int_equal(mp_memory_free(results), 0);
}

/* Managers made after the pool, some of them at the address of an older one. See test_attachments.c. */
static void younger_managers_do_as_well(void **state)
{
    mp_pool *pool;
    mp_manager *younger;
    int *args;
    (void)state;

    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(mp_manager_create(&younger, NULL), 0);
        assert_int_equal(mp_manager_alloc(younger, 2 * ITEMS * sizeof(int), (void **)&args), 0);
        map_between(pool, args, args + ITEMS);
        assert_int_equal(mp_manager_free(younger), 0);
    }
    assert_int_equal(mp_pool_free(pool), 0);
}

static void results_of_map_async_go_where_they_are_wanted(void **state)
{
    mp_pool *pool;
    mp_result *result;
    static int copy[ITEMS];
    int status;
    size_t size;
    (void)state;

    int *args = take(ITEMS * sizeof *args), *results = take(ITEMS * sizeof *results);
    mp_map_options options = {.results = results};
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    for (int i = 0; i < ITEMS; i++)
        args[i] = i + 1;
    assert_int_equal(mp_pool_map_async(pool, square_once, args, sizeof(int), sizeof(int), ITEMS, &result, &options), 0);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), 9);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(results[i], expected(i + 1));
    assert_int_equal(mp_result_get(result, copy, sizeof copy, 60), 9);
    assert_memory_equal(copy, results, sizeof copy);
    assert_int_equal(mp_result_get(result, results, ITEMS * sizeof(int), 60), 9);
    assert_int_equal(mp_result_get(result, copy, 1, 60), MP_ETOOSMALL);
    assert_int_equal(mp_result_size(result, &size), 0);
    assert_int_equal(size, sizeof copy);
    assert_int_equal(mp_result_status(result, 99, &status), 0);
    assert_int_equal(status, 9);
    assert_int_equal(mp_result_free(result), 0);
    options.results = copy;
    assert_int_equal(mp_pool_map_async(pool, square_once, args, sizeof(int), sizeof(int), ITEMS, &result, &options),
                     MP_EINVAL);
    options.results = results + 1;
    assert_int_equal(mp_pool_map_async(pool, square_once, args, sizeof(int), sizeof(int), 1, &result, &options),
                     MP_EINVAL);
    options.results = results;
    assert_int_equal(mp_pool_map_with(pool, square_once, args, sizeof(int), results, sizeof(int), 1, &options),
                     MP_EINVAL);
    assert_int_equal(mp_pool_free(pool), 0);
}

/* ---- deaths ---- */

static int *attempts; /* shared */

/* Dies in the middle of every tenth item, once. */
static int die_half_way(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = -1;
    if (x % 10 == 0 && __atomic_add_fetch(&attempts[x], 1, __ATOMIC_SEQ_CST) == 1)
        raise(SIGKILL);
    *(int *)result = x * x;
    return 0;
}

static void deaths_in_place(void **state)
{
    enum { COUNT = 100 };
    (void)state;

    int *args = take(COUNT * sizeof *args), *results = take(COUNT * sizeof *results);
    for (int retries = 0; retries < 2; retries++) {
        for (int aliasing = 0; aliasing < 2; aliasing++) {
            mp_pool_options options = {.retries = retries};
            int status[COUNT], *out = aliasing ? args : results;
            mp_map_options map_options = {.status = status, .chunk_size = 7};
            mp_pool *pool;

            memset(attempts, 0, COUNT * sizeof *attempts);
            for (int i = 0; i < COUNT; i++)
                args[i] = i;
            assert_int_equal(mp_pool_create(&pool, 2, &options), 0);
            int error = mp_pool_map_with(pool, die_half_way, args, sizeof *args, out, sizeof *out, COUNT, &map_options);
            assert_int_equal(error, retries ? 0 : MP_EDIED - SIGKILL);
            for (int i = 0; i < COUNT; i++) {
                bool lost = retries == 0 && i % 10 == 0;

                assert_int_equal(status[i], lost ? MP_EDIED - SIGKILL : 0);
                assert_int_equal(out[i], lost ? 0 : i * i);
            }
            assert_int_equal(mp_pool_free(pool), 0);
        }
    }
}

_Noreturn static int wait_for_ever(const void *arg, void *result)
{
    *(int *)result = *(const int *)arg;
    for (;;)
        pause();
}

static void a_terminated_map_is_zeroed(void **state)
{
    mp_pool *pool;
    mp_result *result;
    (void)state;

    int *args = take(10 * sizeof *args), *results = take(10 * sizeof *results);
    mp_map_options options = {.results = results};
    for (int i = 0; i < 10; i++)
        args[i] = results[i] = i + 1;
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    assert_int_equal(mp_pool_map_async(pool, wait_for_ever, args, sizeof(int), sizeof(int), 10, &result, &options), 0);
    assert_int_equal(mp_pool_terminate(pool), 0);
    assert_int_equal(mp_result_get(result, NULL, 0, MP_FOREVER), MP_ETERMINATED);
    assert_true(is_zero((unsigned char *)results, 10 * sizeof *results));
    assert_int_equal(mp_pool_free(pool), 0);
}

/* The caller frees the manager before the map has ended. */
static void a_map_outlives_its_manager(void **state)
{
    mp_manager *gone;
    (void)state;

    for (int waits = 0; waits < 2; waits++) {
        mp_pool *pool;
        mp_result *result;
        int *numbers, copy[16] = {0};

        assert_int_equal(mp_manager_create(&gone, NULL), 0);
        assert_int_equal(mp_manager_alloc(gone, 32 * sizeof *numbers, (void **)&numbers), 0);
        for (int i = 0; i < 10; i++)
            numbers[i] = i + 1;
        mp_map_options options = {.results = numbers + 16};
        assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
        assert_int_equal(mp_pool_map_async(pool, waits ? wait_for_ever : square_once, numbers, sizeof(int), sizeof(int),
                                           10, &result, &options),
                         0);
        if (!waits)
            assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
        assert_int_equal(mp_manager_free(gone), 0);
        if (waits)
            assert_int_equal(mp_pool_terminate(pool), 0);
        assert_int_equal(mp_result_get(result, NULL, 0, 60), waits ? MP_ETERMINATED : 0);
        assert_int_equal(mp_result_get(result, copy, sizeof copy, 60), MP_EINVAL);
        assert_int_equal(mp_pool_free(pool), 0);
    }
}

/* Processes are killed at random while they allocate and free: the heap stays sound. Memory that they held stays with
 * the manager. */
static void processes_die_as_they_take_and_free(void **state)
{
    (void)state;

    for (int i = 0; i < 30; i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            void *memory;

            for (;;) {
                if (mp_manager_alloc(manager, (size_t)(rand() % 5000), &memory) != 0 || mp_memory_free(memory) != 0)
                    _exit(1);
            }
        }
        pause_us(500 + i * 100);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(mp_manager_check(manager), 0);
        assert_int_equal(mp_memory_free(take(100)), 0);
    }
    assert_true(used() < 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MANAGED(memory_is_zeroed_aligned_and_given_back),
        MANAGED(what_is_no_memory_is_refused),
        MANAGED(no_memory_changes_nothing),
        MANAGED(memory_is_shared_with_forked_processes),
        MANAGED(a_number_names_it_in_every_program),
        MANAGED(maps_in_place_do_what_others_do),
        MANAGED(nothing_is_copied),
        MANAGED(younger_managers_do_as_well),
        MANAGED(results_of_map_async_go_where_they_are_wanted),
        MANAGED(deaths_in_place),
        MANAGED(a_terminated_map_is_zeroed),
        MANAGED(a_map_outlives_its_manager),
        MANAGED(processes_die_as_they_take_and_free),
    };

    attempts = shared_memory(4096);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
