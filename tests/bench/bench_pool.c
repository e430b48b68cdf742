/* A pool of processes. */
#include <mp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pool_works.h"

#define MEBI ((size_t)1 << 20)
#define KIBIS ((size_t)64 << 10)

static size_t items;
static unsigned *numbers, *squares;
static char *mebi_in, *mebi_out;

static int square(const void *arg, void *result)
{
    unsigned x = *(const unsigned *)arg;

    *(unsigned *)result = x * x;
    return 0;
}

static int take_mebi(const void *arg, void *result)
{
    *(char *)result = *(const char *)arg;
    return 0;
}

static int copy_mebi(const void *arg, void *result)
{
    memcpy(result, arg, MEBI);
    return 0;
}

static int give_mebi(const void *arg, void *result)
{
    (void)arg;
    memset(result, 'x', MEBI);
    return 0;
}

static int give_kibis(const void *arg, void *result)
{
    (void)arg;
    memset(result, 'x', KIBIS);
    return 0;
}

static mp_pool *start_pool(int workers)
{
    mp_pool *pool;

    BENCH_CHECK(mp_pool_create(&pool, workers, NULL));
    return pool;
}

static void end_pool(mp_pool *pool)
{
    BENCH_CHECK(mp_pool_close(pool));
    BENCH_CHECK(mp_pool_join(pool));
    BENCH_CHECK(mp_pool_free(pool));
}

static void apply_once(mp_pool *pool)
{
    unsigned x = 3, y;

    BENCH_CHECK(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y));
}

static void start_and_end(const struct bench *bench, double *figures)
{
    size_t times = bench_count(100);
    double begin = bench_now();

    for (size_t i = 0; i < times; i++)
        end_pool(start_pool(bench->processes));
    figures[0] = (bench_now() - begin) / (double)times * 1e3;
}

static void first_result(const struct bench *bench, double *figures)
{
    size_t times = bench_count(100);
    double seconds = 0;

    for (size_t i = 0; i < times; i++) {
        double begin = bench_now();
        mp_pool *pool = start_pool(bench->processes);

        apply_once(pool);
        seconds += bench_now() - begin;
        end_pool(pool);
    }
    figures[0] = seconds / (double)times * 1e3;
}

static void round_trips(const struct bench *bench, size_t times, double rest, double *figures)
{
    double *seconds = malloc(times * sizeof *seconds);
    mp_pool *pool = start_pool(bench->processes);

    apply_once(pool);
    for (size_t i = 0; i < times; i++) {
        if (rest > 0)
            bench_rest(rest);
        double begin = bench_now();

        apply_once(pool);
        seconds[i] = bench_now() - begin;
    }
    end_pool(pool);
    pool_round_trips(seconds, times, figures);
    free(seconds);
}

static void apply(const struct bench *bench, double *figures)
{
    round_trips(bench, bench_count(20000), 0, figures);
}

/* The rest between two calls lets worker and caller fall asleep. */
static void apply_rested(const struct bench *bench, double *figures)
{
    round_trips(bench, bench_count(2000), 200e-6, figures);
}

/* Submits a batch of tasks and then gets all their results. */
static void batch(mp_pool *pool, mp_result **results, size_t tasks)
{
    for (size_t i = 0; i < tasks; i++)
        BENCH_CHECK(mp_pool_apply_async(pool, square, &numbers[i], sizeof *numbers, sizeof *squares, &results[i]));
    for (size_t i = 0; i < tasks; i++) {
        BENCH_CHECK(mp_result_get(results[i], &squares[i], sizeof *squares, MP_FOREVER));
        BENCH_CHECK(mp_result_free(results[i]));
    }
}

static void apply_async(const struct bench *bench, double *figures)
{
    size_t tasks = bench_count(100000);
    mp_result **results = malloc(tasks * sizeof *results);
    mp_pool *pool = start_pool(bench->processes);

    batch(pool, results, tasks);
    double begin = bench_now();
    batch(pool, results, tasks);
    figures[0] = (double)tasks / (bench_now() - begin) * 1e-6;
    end_pool(pool);
    free(results);
}

static double map_seconds(mp_pool *pool, size_t count, const mp_map_options *options)
{
    double begin = bench_now();

    BENCH_CHECK(mp_pool_map_with(pool, square, numbers, sizeof *numbers, squares, sizeof *squares, count, options));
    return bench_now() - begin;
}

/* The first call on a pool allocates the memory that later calls reuse. */
static void map(const struct bench *bench, double *figures)
{
    mp_pool *pool = start_pool(bench->processes);

    figures[0] = map_seconds(pool, items, NULL) * 1e3;
    figures[1] = map_seconds(pool, items, NULL) * 1e3;
    end_pool(pool);
}

/* A map in place: nothing needs to be copied. */
static void map_in_place(const struct bench *bench, double *figures)
{
    mp_manager *manager;
    unsigned *in, *out;

    BENCH_CHECK(mp_manager_create(&manager, NULL));
    BENCH_CHECK(mp_manager_alloc(manager, items * sizeof *in, (void **)&in));
    BENCH_CHECK(mp_manager_alloc(manager, items * sizeof *out, (void **)&out));
    memcpy(in, numbers, items * sizeof *in);
    memset(out, 0, items * sizeof *out);
    mp_pool *pool = start_pool(bench->processes);
    for (int i = 0; i < 2; i++) {
        double begin = bench_now();

        BENCH_CHECK(mp_pool_map(pool, square, in, sizeof *in, out, sizeof *out, items));
        figures[i] = (bench_now() - begin) * 1e3;
    }
    end_pool(pool);
    BENCH_CHECK(mp_manager_free(manager));
}

static void map_serially(const struct bench *bench, double *figures)
{
    mp_task_function *volatile function = square;
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < items; i++)
        function(&numbers[i], &squares[i]);
    figures[0] = (bench_now() - begin) * 1e3;
}

static void map_chunk_1(const struct bench *bench, double *figures)
{
    mp_map_options options = {.chunk_size = 1};
    mp_pool *pool = start_pool(bench->processes);

    map_seconds(pool, items, &options);
    figures[0] = (double)items / map_seconds(pool, items, &options) * 1e-6;
    end_pool(pool);
}

/* Gigabytes per second of `times` calls that carry a mebibyte each. */
static double rate(size_t times, double seconds)
{
    return (double)(times * MEBI) / seconds * 1e-9;
}

static void large_argument(const struct bench *bench, double *figures)
{
    size_t times = bench_count(500);
    mp_pool *pool = start_pool(bench->processes);
    char result;

    BENCH_CHECK(mp_pool_apply(pool, take_mebi, mebi_in, MEBI, &result, 1));
    double begin = bench_now();
    for (size_t i = 0; i < times; i++)
        BENCH_CHECK(mp_pool_apply(pool, take_mebi, mebi_in, MEBI, &result, 1));
    figures[0] = rate(times, bench_now() - begin);
    end_pool(pool);
}

static void large_result(const struct bench *bench, double *figures)
{
    size_t times = bench_count(500);
    mp_pool *pool = start_pool(bench->processes);

    BENCH_CHECK(mp_pool_apply(pool, give_mebi, NULL, 0, mebi_out, MEBI));
    double begin = bench_now();
    for (size_t i = 0; i < times; i++)
        BENCH_CHECK(mp_pool_apply(pool, give_mebi, NULL, 0, mebi_out, MEBI));
    figures[0] = rate(times, bench_now() - begin);
    end_pool(pool);
}

/* Results of 64 KiB, one after the other. */
static void medium_result(const struct bench *bench, double *figures)
{
    size_t times = bench_count(2000);
    double *seconds = malloc(times * sizeof *seconds);
    mp_pool *pool = start_pool(bench->processes);

    for (size_t i = 0; i < times; i++) {
        double begin = bench_now();

        BENCH_CHECK(mp_pool_apply(pool, give_kibis, NULL, 0, mebi_out, KIBIS));
        seconds[i] = bench_now() - begin;
    }
    end_pool(pool);
    pool_round_trips(seconds, times, figures);
    free(seconds);
}

/* A mebibyte in both directions. */
static void large_both(const struct bench *bench, double *figures)
{
    size_t times = bench_count(500);
    mp_pool *pool = start_pool(bench->processes);

    BENCH_CHECK(mp_pool_apply(pool, copy_mebi, mebi_in, MEBI, mebi_out, MEBI));
    double begin = bench_now();
    for (size_t i = 0; i < times; i++)
        BENCH_CHECK(mp_pool_apply(pool, copy_mebi, mebi_in, MEBI, mebi_out, MEBI));
    figures[0] = rate(times, bench_now() - begin);
    end_pool(pool);
}

/* The upper bound: a process writes 1 MiB, another copies it out. */
struct relay {
    _Alignas(128) atomic_int turn; /* 0: the reader's turn, 1: the writer's */
    _Alignas(128) char block[4][MEBI];
};

static void relay_side(int side, void *arg)
{
    struct relay *relay = arg;
    size_t times = bench_count(500);

    for (size_t i = 0; i < times; i++) {
        while (atomic_load(&relay->turn) != side)
            ;
        if (side == 1)
            memset(relay->block[i % 4], 'x', MEBI);
        else
            memcpy(mebi_out, relay->block[i % 4], MEBI);
        atomic_store(&relay->turn, 1 - side);
    }
}

static void written_and_copied(const struct bench *bench, double *figures)
{
    struct relay *relay = bench_shared(sizeof *relay);

    memset(relay->block, 0, sizeof relay->block);
    atomic_store(&relay->turn, 1);
    figures[0] = rate(bench_count(500), bench_processes(bench->processes, NULL, relay_side, relay));
}

static void copy(const struct bench *bench, double *figures)
{
    void *(*volatile function)(void *, const void *, size_t) = memcpy;
    size_t times = bench_count(500);
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < times; i++)
        function(mebi_out, mebi_in, MEBI);
    figures[0] = rate(times, bench_now() - begin);
}

/* Run while the program has little memory, since each fork copies its page tables. */
static const struct bench starting[] = {
    {"libmp", {{"pool create + close + join", "ms"}}, start_and_end, 2},
    {"libmp", {{"pool create until first result", "ms"}}, first_result, 2},
};

static const struct bench table[] = {
    {"libmp", {{"apply round trip: median", "µs"}, {"apply round trip: 99th percentile", "µs"}}, apply, 2},
    {"libmp",
     {{"apply round trip after a rest: median", "µs"}, {"apply round trip after a rest: 99th percentile", "µs"}},
     apply_rested,
     2},
    {"libmp", {{"apply_async + get with 2 workers", "M/s"}}, apply_async, 2},
    {"libmp", {{"apply_async + get with 16 workers", "M/s"}}, apply_async, 16},
    {"libmp", {{"first map of x*x over 1 M ints", "ms"}, {"map of x*x over 1 M ints", "ms"}}, map, 2},
    {"serial loop", {{"map of x*x over 1 M ints", "ms"}}, map_serially, 1},
    {"libmp",
     {{"first map of x*x over 1 M ints in place", "ms"}, {"map of x*x over 1 M ints in place", "ms"}},
     map_in_place,
     2},
    {"libmp", {{"map with chunk size 1", "M/s"}}, map_chunk_1, 2},
    {"libmp", {{"apply with 1 MiB argument", "GB/s"}}, large_argument, 2},
    {"memcpy", {{"apply with 1 MiB argument", "GB/s"}}, copy, 1},
    {"libmp", {{"apply with 64 KiB result: median", "µs"}}, medium_result, 2},
    {"libmp", {{"apply with 1 MiB result", "GB/s"}}, large_result, 2},
    {"memset + memcpy by 2 processes", {{"apply with 1 MiB result", "GB/s"}}, written_and_copied, 2},
    {"memcpy", {{"apply with 1 MiB result", "GB/s"}}, copy, 1},
    {"libmp", {{"apply with 1 MiB argument and result", "GB/s"}}, large_both, 2},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    bench_run(starting, sizeof starting / sizeof *starting);
    items = bench_count(1000000);
    numbers = malloc(items * sizeof *numbers);
    squares = calloc(items, sizeof *squares);
    mebi_in = malloc(MEBI);
    mebi_out = malloc(MEBI);
    for (size_t i = 0; i < items; i++)
        numbers[i] = (unsigned)i;
    memset(squares, 'x', items * sizeof *squares);
    memset(mebi_in, 'x', MEBI);
    memset(mebi_out, 'x', MEBI);
    bench_run(table, sizeof table / sizeof *table);
    free(numbers);
    free(squares);
    free(mebi_in);
    free(mebi_out);
    return 0;
}
