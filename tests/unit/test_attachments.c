/* Attachments: maps in place in the memory of managers that are younger than the pool. */
#include <dirent.h>
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/caller.h"
#include "pool_fixture.h"
#include "support.h"

enum { WORKERS = 2, ITEMS = 2000, MANY = 40 };
#define HEAP_BYTES (INT64_C(1) << 24) /* larger than the pool's heap in these tests */

/* Shared between the processes. */
static struct {
    _Atomic(char *) heap; /* the pool's */
    atomic_int started, go;
    atomic_int attempts[ITEMS];
} * shared;

static int make(void **state)
{
    (void)state;
    memset(shared, 0, sizeof *shared);
    return make_pool(WORKERS);
}

/* ---- helpers ---- */

static mp_manager *new_manager(void)
{
    mp_manager *manager;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    return manager;
}

static int *take(mp_manager *manager, size_t count)
{
    int *memory;

    assert_int_equal(mp_manager_alloc(manager, count * sizeof *memory, (void **)&memory), 0);
    return memory;
}

static void fill(int *args, int count)
{
    for (int i = 0; i < count; i++)
        args[i] = i + 1;
}

static int square_once(const void *arg, void *result)
{
    int x = *(const int *)arg;

    if (*(int *)result != 0)
        return 77;
    *(int *)result = x * x;
    return 0;
}

static void expect_squares(const int *results, int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(results[i], (i + 1) * (i + 1));
}

static void map_squares(int *args, int *results, int count)
{
    memset(results, 1, (size_t)count * sizeof *results);
    fill(args, count);
    assert_int_equal(mp_pool_map(pool, square_once, args, sizeof(int), results, sizeof(int), (size_t)count), 0);
    expect_squares(results, count);
}

static void map_in(mp_manager *manager)
{
    int *memory = take(manager, (size_t)2 * ITEMS);

    map_squares(memory, memory + ITEMS, ITEMS);
    assert_int_equal(mp_memory_free(memory), 0);
}

/* Tells which of argument and result lie in the pool's heap. That heap is at one address in all processes of the
 * pool. */
static int say_where(const void *arg, void *result)
{
    const char *heap = atomic_load(&shared->heap);

    *(int *)result = 1 + ((const char *)arg - heap < HEAP_BYTES && (const char *)arg > heap) +
                     2 * ((const char *)result - heap < HEAP_BYTES && (const char *)result > heap);
    return 0;
}

/* Whether a map in this memory copies, in one direction or both. */
static bool copies(mp_manager *manager)
{
    int *memory = take(manager, 2 * ITEMS), *results = memory + ITEMS;

    atomic_store(&shared->heap, (char *)pool->shared.heap);
    assert_int_equal(mp_pool_map(pool, say_where, memory, sizeof(int), results, sizeof(int), ITEMS), 0);
    int where = results[0] - 1;
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(results[i], where + 1);
    assert_int_equal(mp_memory_free(memory), 0);
    return where != 0;
}

/* ---- what the pool's processes hold ---- */

struct holding {
    int mappings, descriptors;
};

static int mappings_of(pid_t pid)
{
    char path[64], line[512];
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "memfd:libmp") != NULL || strstr(line, "/dev/shm/") != NULL;
    if (maps != NULL)
        fclose(maps);
    return count;
}

static int descriptors_of(pid_t pid)
{
    char path[64];
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

static void workers_of(pid_t *pids)
{
    size_t count;

    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &count), 0);
    assert_int_equal(count, WORKERS);
}

static struct holding held(void)
{
    struct holding held = {0, 0};
    pid_t pids[WORKERS + 1];
    size_t count;

    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &count), 0);
    assert_int_equal(mp_pool_supervisor(pool, &pids[count++]), 0);
    for (size_t i = 0; i < count; i++) {
        held.mappings += mappings_of(pids[i]);
        held.descriptors += descriptors_of(pids[i]);
    }
    return held;
}

/* Whether the pool is full again, and its processes hold no more than before. */
static bool have_let_go(void *arg)
{
    const struct holding *before = arg;
    struct holding now = held();

    if (!is_full(pool))
        return false;
    return now.mappings <= before->mappings && now.descriptors <= before->descriptors;
}

/* ---- in place ---- */

static void nothing_is_copied(void **state)
{
    mp_manager *manager = new_manager(), *other = new_manager();
    int own[ITEMS];
    (void)state;

    assert_false(copies(manager));
    assert_false(copies(other));
    assert_false(copies(manager));
    int *memory = take(manager, 2 * ITEMS), *elsewhere = take(other, 2 * ITEMS);
    map_squares(memory, elsewhere, ITEMS);
    map_squares(elsewhere, memory + ITEMS, ITEMS);
    map_squares(own, memory, ITEMS);
    map_squares(memory, own, ITEMS);
    map_squares(memory, memory, ITEMS);
    map_squares(memory, memory + 4, ITEMS);
    map_squares(memory + 4, memory, ITEMS);
    map_squares(memory + 1, memory + ITEMS + 1, ITEMS - 1);
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_free(other), 0);
}

/* Named managers work as well, and one file may be mapped twice. */
static void managers_opened_later(void **state)
{
    char name[64];
    mp_manager *manager, *again;
    int64_t ref;
    void *there;
    (void)state;

    snprintf(name, sizeof name, "attachments-%d", (int)getpid());
    const mp_manager_options options = {.name = name};
    assert_int_equal(mp_manager_create(&manager, &options), 0);
    assert_int_equal(mp_manager_open(&again, name, NULL), 0);
    assert_false(copies(again));
    int *here = take(manager, 3 * ITEMS);
    assert_int_equal(mp_memory_ref(here, &ref), 0);
    assert_int_equal(mp_manager_memory(again, ref, &there), 0);
    assert_ptr_not_equal(here, there);
    map_squares(here, (int *)there, ITEMS);
    map_squares(here, (int *)there + 4, ITEMS);
    map_squares((int *)there + 4, here, ITEMS);
    map_squares(here, (int *)there + ITEMS, ITEMS);
    assert_int_equal(mp_manager_free(manager), 0);
    map_in(again);
    assert_int_equal(mp_manager_free(again), 0);
    assert_int_equal(count_shared_files(), 0);
    assert_int_equal(mp_manager_open(&again, name, NULL), MP_ENOENT);
}

static void results_of_map_async(void **state)
{
    mp_manager *manager = new_manager();
    int *args = take(manager, 2 * ITEMS), *results = args + ITEMS;
    mp_map_options options = {.results = results};
    mp_result *result;
    (void)state;

    fill(args, ITEMS);
    assert_int_equal(mp_pool_map_async(pool, square_once, args, sizeof(int), sizeof(int), ITEMS, &result, &options), 0);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
    expect_squares(results, ITEMS);
    assert_int_equal(mp_result_free(result), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

/* A manager is made at the address of an earlier one, which the workers may still have mapped. Each map must use its
 * own manager. */
static void one_after_the_other(void **state)
{
    (void)state;

    for (int i = 0; i < MANY; i++) {
        mp_manager *manager = new_manager();

        map_in(manager);
        assert_int_equal(mp_manager_free(manager), 0);
    }
}

static void more_than_there_are_places(void **state)
{
    struct holding before = held();
    mp_manager *manager[MANY];
    pid_t supervisor;
    (void)state;

    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    int at_first = mappings_of(supervisor);
    for (int i = 0; i < MANY; i++)
        manager[i] = new_manager();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            map_in(manager[i]);
    }
    assert_true(mappings_of(supervisor) <= at_first + ATTACHMENTS);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(mp_manager_free(manager[i]), 0);
    assert_true(wait_until(have_let_go, &before, 60));
}

static int wait_for_go(const void *arg, void *result)
{
    atomic_fetch_add(&shared->started, 1);
    MUST(wait_until(is_set, &shared->go, 60));
    *(int *)result = *(const int *)arg * *(const int *)arg;
    return 0;
}

static bool have_started(void *arg)
{
    return atomic_load(&shared->started) >= *(int *)arg;
}

/* All attachments are in use by maps that have not ended, so the next map copies. */
static void all_places_in_use(void **state)
{
    mp_manager *manager[ATTACHMENTS + 1];
    mp_result *result[ATTACHMENTS];
    (void)state;

    for (int i = 0; i <= ATTACHMENTS; i++)
        manager[i] = new_manager();
    for (int i = 0; i < ATTACHMENTS; i++) {
        int *memory = take(manager[i], 200);
        mp_map_options options = {.results = memory + 100};

        fill(memory, 1);
        assert_int_equal(
            mp_pool_map_async(pool, wait_for_go, memory, sizeof(int), sizeof(int), 1, &result[i], &options), 0);
    }
    int *memory = take(manager[ATTACHMENTS], 200);
    mp_map_options options = {.results = memory + 100};
    mp_result *copied;
    fill(memory, 100);
    assert_int_equal(mp_pool_map_async(pool, square_once, memory, sizeof(int), sizeof(int), 100, &copied, &options), 0);
    atomic_store(&shared->go, 1);
    for (int i = 0; i < ATTACHMENTS; i++) {
        assert_int_equal(mp_result_get(result[i], NULL, 0, 60), 0);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    assert_int_equal(mp_result_wait(copied, 60), 0);
    expect_squares(memory + 100, 100);
    memset(memory + 100, 0, 100 * sizeof *memory);
    assert_int_equal(mp_result_get(copied, memory + 100, 100 * sizeof *memory, 60), 0);
    expect_squares(memory + 100, 100);
    assert_int_equal(mp_result_free(copied), 0);
    map_in(manager[ATTACHMENTS]);
    for (int i = 0; i <= ATTACHMENTS; i++)
        assert_int_equal(mp_manager_free(manager[i]), 0);
}

/* ---- how long an attachment lasts ---- */

static void it_goes_with_the_manager(void **state)
{
    struct holding before = held();
    (void)state;

    for (int i = 0; i < 5; i++) {
        mp_manager *manager = new_manager();

        map_in(manager);
        assert_false(have_let_go(&before));
        assert_int_equal(mp_manager_free(manager), 0);
        assert_true(wait_until(have_let_go, &before, 60));
    }
}

/* The manager is closed while its map runs, and a worker is killed. The replacement must be able to map the memory all
 * the same. */
static void a_map_outlives_its_manager(void **state)
{
    struct holding before = held();
    mp_manager *manager = new_manager();
    int *memory = take(manager, 200), two = 2, copy[100];
    mp_map_options options = {.chunk_size = 1, .results = memory + 100};
    mp_result *result;
    pid_t pids[WORKERS];
    (void)state;

    fill(memory, 100);
    assert_int_equal(mp_pool_map_async(pool, wait_for_go, memory, sizeof(int), sizeof(int), 100, &result, &options), 0);
    assert_true(wait_until(have_started, &two, 60));
    assert_int_equal(mp_manager_free(manager), 0);
    workers_of(pids);
    assert_int_equal(kill(pids[0], SIGKILL), 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), MP_EDIED - SIGKILL);
    assert_int_equal(mp_result_get(result, copy, sizeof copy, 60), MP_EINVAL);
    assert_true(wait_until(is_full, pool, 60));
    assert_false(have_let_go(&before));
    assert_int_equal(mp_result_free(result), 0);
    assert_true(wait_until(have_let_go, &before, 60));
}

static void forked_processes_change_nothing(void **state)
{
    mp_manager *manager = new_manager();
    int *memory = take(manager, 2 * ITEMS), status;
    (void)state;

    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            fill(memory, ITEMS);
            _exit(mp_manager_free(manager) != 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(mp_pool_map(pool, square_once, memory, sizeof(int), memory + ITEMS, sizeof(int), ITEMS), 0);
        expect_squares(memory + ITEMS, ITEMS);
    }
    assert_int_equal(mp_manager_free(manager), 0);
}

/* Runs in a task: makes a pool, and a manager that is younger than it. The task's own arguments are an attachment of
 * the outer pool. */
static int nest(const void *arg, void *result)
{
    mp_manager *manager;
    mp_pool *inner;
    int *memory, error;

    if (mp_pool_create(&inner, 2, NULL) != 0 || mp_manager_create(&manager, NULL) != 0 ||
        mp_manager_alloc(manager, 200 * sizeof(int), (void **)&memory) != 0)
        return 1;
    fill(memory, 100);
    memory[0] = *(const int *)arg;
    error = mp_pool_map(inner, square_once, memory, sizeof(int), memory + 100, sizeof(int), 100);
    if (error != 0 || memory[199] != 100 * 100)
        return 2;
    *(int *)result = memory[100];
    error = mp_pool_map(inner, square_once, arg, sizeof(int), &memory[100], sizeof(int), 1);
    if (error != 0 || memory[100] != *(int *)result)
        return 3;
    return mp_pool_free(inner) != 0 || mp_manager_free(manager) != 0 ? 4 : 0;
}

static void pools_in_tasks(void **state)
{
    struct holding before = held();
    mp_manager *manager = new_manager();
    int *memory = take(manager, 200);
    (void)state;

    fill(memory, 10);
    assert_int_equal(mp_pool_map(pool, nest, memory, sizeof(int), memory + 100, sizeof(int), 10), 0);
    expect_squares(memory + 100, 10);
    assert_int_equal(mp_manager_free(manager), 0);
    assert_true(wait_until(have_let_go, &before, 60));
}

/* ---- deaths, and impossible cases ---- */

static int die_once(const void *arg, void *result)
{
    int x = *(const int *)arg;

    *(int *)result = -1;
    if (x % 10 == 0 && atomic_fetch_add(&shared->attempts[x], 1) == 0)
        raise(SIGKILL);
    *(int *)result = x * x;
    return 0;
}

static void workers_that_die_lose_one_item(void **state)
{
    const mp_pool_options patient = {.retries = 1};
    (void)state;

    for (int retries = 0; retries < 2; retries++) {
        mp_manager *manager;
        mp_pool *here;

        memset(shared, 0, sizeof *shared);
        assert_int_equal(mp_pool_create(&here, WORKERS, retries ? &patient : NULL), 0);
        manager = new_manager();
        int *memory = take(manager, 2 * ITEMS), status[100];
        mp_map_options options = {.status = status, .chunk_size = 7};
        fill(memory, 100);
        memset(memory + ITEMS, 1, 100 * sizeof *memory);
        int error = mp_pool_map_with(here, die_once, memory, sizeof(int), memory + ITEMS, sizeof(int), 100, &options);
        assert_int_equal(error, retries ? 0 : MP_EDIED - SIGKILL);
        for (int i = 0; i < 100; i++) {
            bool lost = !retries && (i + 1) % 10 == 0;

            assert_int_equal(status[i], lost ? MP_EDIED - SIGKILL : 0);
            assert_int_equal(memory[ITEMS + i], lost ? 0 : (i + 1) * (i + 1));
        }
        assert_int_equal(mp_pool_free(here), 0);
        assert_int_equal(mp_manager_free(manager), 0);
    }
}

/* From now on this process cannot open a descriptor. Waits until all workers run this task. */
static int lose_descriptors(const void *arg, void *result)
{
    struct rlimit none = {0, 0};

    (void)arg;
    (void)result;
    atomic_fetch_add(&shared->started, 1);
    MUST(reaches(&shared->started, WORKERS, 60));
    return setrlimit(RLIMIT_NOFILE, &none) != 0;
}

static void workers_that_cannot_map_are_replaced(void **state)
{
    mp_manager *older = new_manager(), *manager = new_manager(), *another = new_manager();
    pid_t before[WORKERS], after[WORKERS];
    mp_result *result[WORKERS];
    (void)state;

    map_in(older);
    workers_of(before);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(mp_pool_apply_async(pool, lose_descriptors, NULL, 0, 0, &result[i]), 0);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(mp_result_get(result[i], NULL, 0, 60), 0);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    map_in(manager); /* at least one worker fails to map it */
    assert_true(wait_until(is_full, pool, 60));
    workers_of(after);
    assert_true(before[0] != after[0] || before[1] != after[1]);
    map_in(older);
    map_in(another); /* no further attachments: the map copies */
    assert_true(copies(another));
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_free(another), 0);
    assert_int_equal(mp_manager_free(older), 0);
}

static void limit_supervisor(rlim_t descriptors)
{
    struct rlimit limit;
    pid_t supervisor;

    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    assert_int_equal(prlimit(supervisor, RLIMIT_NOFILE, NULL, &limit), 0);
    limit.rlim_cur = descriptors;
    assert_int_equal(prlimit(supervisor, RLIMIT_NOFILE, &limit, NULL), 0);
}

/* If the supervisor cannot map, the map copies. The results are put in their place when the caller asks for them, or
 * frees them. */
static void a_supervisor_that_cannot_map(void **state)
{
    mp_manager *manager = new_manager(), *other = new_manager();
    int *memory = take(manager, 2 * ITEMS), *results = memory + ITEMS;
    mp_map_options options = {.results = results};
    mp_result *result;
    bool ready = false;
    (void)state;

    limit_supervisor(0);
    for (int i = 0; i < 4; i++) {
        fill(memory, ITEMS);
        memset(results, 1, ITEMS * sizeof *results);
        assert_int_equal(
            mp_pool_map_async(pool, square_once, memory, sizeof(int), sizeof(int), ITEMS, &result, &options), 0);
        if (i == 0)
            assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
        else if (i == 1)
            assert_int_equal(mp_result_wait(result, 60), 0);
        while (i == 2 && !ready)
            assert_int_equal(mp_result_ready(result, &ready), 0);
        if (i < 3)
            expect_squares(results, ITEMS);
        assert_int_equal(mp_result_free(result), 0);
    }
    map_squares(memory, results, ITEMS);
    assert_true(copies(manager));
    limit_supervisor(64);
    assert_true(copies(manager)); /* the supervisor is not asked again for this manager */
    assert_false(copies(other));
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_free(other), 0);
}

/* The supervisor may not open the caller's memory, unless it runs as root: then the map copies. */
static void a_caller_that_may_not_be_looked_into(void **state)
{
    mp_manager *manager = new_manager();
    int *memory = take(manager, 2 * ITEMS);
    mp_map_options options = {.results = memory + ITEMS};
    mp_result *result;
    (void)state;

    assert_int_equal(prctl(PR_SET_DUMPABLE, 0), 0);
    fill(memory, ITEMS);
    assert_int_equal(mp_pool_map_async(pool, square_once, memory, sizeof(int), sizeof(int), ITEMS, &result, &options),
                     0);
    assert_int_equal(mp_result_get(result, NULL, 0, 60), 0);
    expect_squares(memory + ITEMS, ITEMS);
    assert_int_equal(mp_result_free(result), 0);
    map_squares(memory, memory + ITEMS, ITEMS);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

/* After the change of user the worker may not open the supervisor's memory any more, so it is replaced. */
static int become_nobody(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    atomic_fetch_add(&shared->started, 1);
    MUST(reaches(&shared->started, WORKERS, 60));
    return geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0);
}

static void workers_that_change_their_user(void **state)
{
    mp_manager *manager = new_manager(), *another = new_manager();
    mp_result *result[WORKERS];
    (void)state;

    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(mp_pool_apply_async(pool, become_nobody, NULL, 0, 0, &result[i]), 0);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(mp_result_get(result[i], NULL, 0, 60), 0);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    map_in(manager);
    map_in(another);
    assert_true(wait_until(is_full, pool, 60));
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_free(another), 0);
}

static void a_stopped_supervisor(void **state)
{
    struct holding before = held();
    mp_manager *manager = new_manager(), *other = new_manager();
    pid_t supervisor;
    (void)state;

    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    assert_int_equal(kill(supervisor, SIGSTOP), 0);
    map_in(manager);
    double begin = now();
    map_in(manager);
    assert_true(now() - begin < 0.4); /* no second wait for the stopped supervisor */
    map_in(other);
    assert_int_equal(mp_manager_free(other), 0);
    assert_int_equal(kill(supervisor, SIGCONT), 0);
    double end = now() + 60;
    while (copies(manager) && now() < end)
        ;
    assert_true(now() < end);
    assert_int_equal(mp_manager_free(manager), 0);
    assert_true(wait_until(have_let_go, &before, 60));
}

static void a_dead_supervisor(void **state)
{
    mp_manager *manager = new_manager();
    int *memory = take(manager, 200);
    pid_t supervisor;
    (void)state;

    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    fill(memory, 100);
    assert_int_equal(mp_pool_map(pool, square_once, memory, sizeof(int), memory + 100, sizeof(int), 100), MP_EBROKEN);
    assert_int_equal(mp_manager_free(manager), 0);
}

/* Workers are killed at random while they map. */
static void workers_are_killed_as_they_map(void **state)
{
    struct holding before = held();
    (void)state;

    for (int i = 0; i < 40; i++) {
        mp_manager *manager = new_manager();
        int *memory = take(manager, 2 * ITEMS), error;
        mp_map_options options = {.results = memory + ITEMS};
        mp_result *result;
        pid_t pids[WORKERS];
        size_t count;

        fill(memory, ITEMS);
        assert_int_equal(
            mp_pool_map_async(pool, square_once, memory, sizeof(int), sizeof(int), ITEMS, &result, &options), 0);
        pause_us(i * 5);
        assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &count), 0);
        if (count > 0)
            kill(pids[i % (int)count], SIGKILL);
        error = mp_result_get(result, NULL, 0, 60);
        assert_true(error == 0 || error == MP_EDIED - SIGKILL);
        int lost = 0;
        for (int j = 0; j < ITEMS; j++)
            lost += memory[ITEMS + j] != (j + 1) * (j + 1);
        assert_int_equal(lost, error != 0);
        assert_int_equal(mp_result_free(result), 0);
        assert_int_equal(mp_manager_free(manager), 0);
        assert_true(wait_until(is_full, pool, 60));
    }
    assert_true(wait_until(have_let_go, &before, 60));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_copied),
        TEST(managers_opened_later),
        TEST(results_of_map_async),
        TEST(one_after_the_other),
        TEST(more_than_there_are_places),
        TEST(all_places_in_use),
        TEST(it_goes_with_the_manager),
        TEST(a_map_outlives_its_manager),
        TEST(forked_processes_change_nothing),
        TEST(pools_in_tasks),
        TEST(workers_that_die_lose_one_item),
        TEST(workers_that_cannot_map_are_replaced),
        TEST(a_supervisor_that_cannot_map),
        TEST(a_caller_that_may_not_be_looked_into),
        TEST(workers_that_change_their_user),
        TEST(a_stopped_supervisor),
        TEST(a_dead_supervisor),
        TEST(workers_are_killed_as_they_map),
    };

    shared = shared_memory(sizeof *shared);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
