#include "pool_works.h"

#include <math.h>
#include <mp.h>
#include <stdlib.h>
#include <string.h>

#define FULL_ITEMS 1000000
#define MEBI ((size_t)1 << 20)
#define SKEWED_TASKS 1000
#define MOST_WORKERS 64

static const struct crew *crew;
static size_t items;
static unsigned *numbers, *squares;
static char *payload;
static double steps_per_second;

static int square(const void *arg, void *result)
{
    unsigned x = *(const unsigned *)arg;

    *(unsigned *)result = x * x;
    return 0;
}

/* Computes for that many steps. */
static int burn(const void *arg, void *result)
{
    *(uint64_t *)result = bench_burn(*(const uint64_t *)arg);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void pool_round_trips(double *seconds, size_t count, double *figures)
{
    qsort(seconds, count, sizeof *seconds, compare);
    figures[0] = seconds[count / 2] * 1e6;
    figures[1] = seconds[count / 100 * 99] * 1e6;
}

/* ---- small tasks ---- */

static void start_and_end(const struct bench *bench, double *figures)
{
    size_t times = bench_count(100);
    double begin = bench_now();

    for (size_t i = 0; i < times; i++) {
        crew->start(bench->processes);
        crew->end();
    }
    figures[0] = (bench_now() - begin) / (double)times * 1e3;
}

static void round_trip(void)
{
    if (crew->apply != NULL)
        crew->apply(square, &numbers[1], sizeof *numbers, squares, sizeof *squares);
    else
        crew->send(numbers, sizeof *numbers);
}

/* `rest`: seconds of rest before each round trip. */
static void round_trips(const struct bench *bench, size_t times, double rest, double *figures)
{
    double *seconds = malloc(times * sizeof *seconds);

    crew->start(bench->processes);
    round_trip();
    for (size_t i = 0; i < times; i++) {
        if (rest > 0)
            bench_rest(rest);
        double begin = bench_now();

        round_trip();
        seconds[i] = bench_now() - begin;
    }
    crew->end();
    pool_round_trips(seconds, times, figures);
    free(seconds);
}

static void apply(const struct bench *bench, double *figures)
{
    round_trips(bench, bench_count(20000), 0, figures);
}

/* With a rest that is long enough for all to fall asleep. */
static void apply_rested(const struct bench *bench, double *figures)
{
    round_trips(bench, bench_count(2000), 200e-6, figures);
}

/* Millions of tasks a second, submitted one by one. */
static double small_tasks(int workers)
{
    size_t tasks = bench_count(100000) / crew->part;

    crew->start(workers);
    crew->each(square, numbers, sizeof *numbers, squares, sizeof *squares, tasks);
    double begin = bench_now();
    crew->each(square, numbers, sizeof *numbers, squares, sizeof *squares, tasks);
    double seconds = bench_now() - begin;
    crew->end();
    return (double)tasks / seconds * 1e-6;
}

static void apply_async(const struct bench *bench, double *figures)
{
    figures[0] = small_tasks(bench->processes);
}

static double map_seconds(enum crew_share share)
{
    double begin = bench_now();

    crew->map(square, numbers, sizeof *numbers, squares, sizeof *squares, items, share);
    return bench_now() - begin;
}

/* Maps once before measuring: a system that copies allocates its memory in the first map. The first map of a system
 * that works in place is like all others. */
static void map(const struct bench *bench, double *figures)
{
    crew->start(bench->processes);
    map_seconds(CREW_EVEN);
    figures[0] = figures[1] = map_seconds(CREW_EVEN) * 1e3;
    crew->end();
}

static void map_singly(const struct bench *bench, double *figures)
{
    crew->start(bench->processes);
    map_seconds(CREW_SINGLY);
    figures[0] = (double)items / map_seconds(CREW_SINGLY) * 1e-6;
    crew->end();
}

/* ---- tasks that compute ---- */

/* Seconds that one process needs for all the tasks, on its own. */
static double alone(const uint64_t *steps, size_t count)
{
    uint64_t result;
    double begin = bench_now();

    for (size_t i = 0; i < count; i++)
        burn(&steps[i], &result);
    return bench_now() - begin;
}

/* A thousand tasks with lengths from a Pareto distribution: half of them below 0.18 ms, some up to 15 ms. */
static void make_skewed(uint64_t *steps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double random = ((double)(bench_random(i) >> 11) + 1) * 0x1p-53, seconds = 100e-6 * pow(random, -1 / 1.3);

        steps[i] = (uint64_t)((seconds < 15e-3 ? seconds : 15e-3) * steps_per_second);
    }
}

/* The speed reached, as a part of the ideal speed. With two workers, 1 means half of the time that one process needs
 * alone. */
static double skewed(int workers, bool maps)
{
    uint64_t steps[SKEWED_TASKS], results[SKEWED_TASKS];
    size_t count = items == FULL_ITEMS ? SKEWED_TASKS : SKEWED_TASKS / 10;

    make_skewed(steps, count);
    crew->start(workers);
    double ideal = alone(steps, count) / workers, begin = bench_now();
    if (maps)
        crew->map(burn, steps, sizeof *steps, results, sizeof *results, count, CREW_SKEWED);
    else
        crew->each(burn, steps, sizeof *steps, results, sizeof *results, count);
    double seconds = bench_now() - begin;
    crew->end();
    return ideal / seconds;
}

static void skewed_map(const struct bench *bench, double *figures)
{
    figures[0] = skewed(bench->processes, true);
}

static void skewed_each(const struct bench *bench, double *figures)
{
    figures[0] = skewed(bench->processes, false);
}

/* Seconds per task for `count` tasks of the same length, with `workers` workers. */
static double equal_tasks(int workers, double length, size_t count)
{
    uint64_t *steps = malloc(count * sizeof *steps), *results = malloc(count * sizeof *results);

    for (size_t i = 0; i < count; i++)
        steps[i] = (uint64_t)(length * steps_per_second);
    crew->start(workers);
    crew->each(burn, steps, sizeof *steps, results, sizeof *results, (size_t)workers);
    double begin = bench_now();
    crew->each(burn, steps, sizeof *steps, results, sizeof *results, count);
    double seconds = bench_now() - begin;
    crew->end();
    free(steps);
    free(results);
    return seconds / (double)count;
}

/* The speed of many workers on few CPUs, relative to that of two. They are measured in turn, because the machine may be
 * slower for a while. */
static void crowd(const struct bench *bench, double *figures)
{
    double two = 0, many = 0;

    for (int i = 0; i < 4; i++) {
        two += equal_tasks(2, 10e-6, bench_count(10000));
        many += equal_tasks(bench->processes, 10e-6, bench_count(10000));
    }
    figures[0] = two / many;
}

/* ---- much to carry ---- */

/* Seconds per call, of `times` calls. */
static double carry(size_t size, size_t times, bool back)
{
    double begin = 0;

    crew->start(2);
    for (size_t i = 0; i <= times; i++) {
        if (i == 1)
            begin = bench_now();
        if (back)
            crew->fetch(payload, size);
        else
            crew->send(payload, size);
    }
    double seconds = bench_now() - begin;
    crew->end();
    return seconds / (double)times;
}

static void send(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = (double)MEBI / carry(MEBI, bench_count(500), false) * 1e-9;
}

static void fetch(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = (double)MEBI / carry(MEBI, bench_count(500), true) * 1e-9;
}

/* ---- the tables ---- */

static const struct bench start_table[] = {{NULL, {{"pool create + close + join", "ms"}}, start_and_end, 2}};
static const struct bench apply_table[] = {
    {NULL, {{"apply round trip: median", "µs"}, {"apply round trip: 99th percentile", "µs"}}, apply, 2},
    {NULL,
     {{"apply round trip after a rest: median", "µs"}, {"apply round trip after a rest: 99th percentile", "µs"}},
     apply_rested,
     2}};
static const struct bench each_table[] = {
    {NULL, {{"apply_async + get with 2 workers", "M/s"}}, apply_async, 2},
    {NULL, {{"apply_async + get with 16 workers", "M/s"}}, apply_async, 16},
};
static const struct bench map_table[] = {
    {NULL, {{"map of x*x over 1 M ints", "ms"}, {"map of x*x over 1 M ints in place", "ms"}}, map, 2},
    {NULL, {{"map with chunk size 1", "M/s"}}, map_singly, 2},
};
static const struct bench copying_map_table[] = {
    {NULL, {{"map of x*x over 1 M ints", "ms"}}, map, 2},
    {NULL, {{"map with chunk size 1", "M/s"}}, map_singly, 2},
};
static const struct bench send_table[] = {{NULL, {{"apply with 1 MiB argument", "GB/s"}}, send, 2}};
static const struct bench fetch_table[] = {{NULL, {{"apply with 1 MiB result", "GB/s"}}, fetch, 2}};
static const struct bench map_load_table[] = {
    {NULL, {{"skewed tasks by map: part of the ideal", "share"}}, skewed_map, 2}};
static const struct bench each_load_table[] = {
    {NULL, {{"skewed tasks one by one: part of the ideal", "share"}}, skewed_each, 2},
    {NULL, {{"10 µs tasks: 64 workers / 2 workers", "share"}}, crowd, MOST_WORKERS},
};

#define RUN(table) run(table, sizeof table / sizeof *table)

static void run(const struct bench *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bench bench = table[i];

        bench.system = crew->system;
        bench_run(&bench, 1);
    }
}

static void run_tables(void)
{
    if (!crew->loads) {
        if (crew->starts)
            RUN(start_table);
        if (crew->apply != NULL || crew->send != NULL)
            RUN(apply_table);
        if (crew->each != NULL)
            RUN(each_table);
        if (crew->map != NULL && crew->copies)
            RUN(copying_map_table);
        else if (crew->map != NULL)
            RUN(map_table);
        if (crew->send != NULL)
            RUN(send_table);
        if (crew->fetch != NULL)
            RUN(fetch_table);
    }
    if (crew->map != NULL)
        RUN(map_load_table);
    if (crew->each != NULL)
        RUN(each_load_table);
}

/* ---- the sweeps ---- */

static void sweep_workers(void)
{
    int most = items == FULL_ITEMS ? MOST_WORKERS : 4;

    for (int workers = 1; workers <= most; workers *= 2) {
        bench_point(crew->system, "apply_async + get", "workers", workers, small_tasks(workers), "M/s");
        double each = equal_tasks(workers, 10e-6, bench_count(10000));
        bench_point(crew->system, "10 µs tasks", "workers", workers, each * 1e6, "µs");
    }
}

/* With two workers, the ideal cost per task is half of a task's length. */
static void sweep_lengths(void)
{
    static const double lengths[] = {0, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        double whole = bench_count(100) == 100 ? 0.2 : 0.02;
        size_t count = lengths[i] < 10e-6 ? bench_count(20000) : (size_t)(whole / lengths[i]) + 2;

        count = count / 2 * 2;
        bench_point(crew->system, "task by 2 workers", "length in µs", lengths[i] * 1e6,
                    equal_tasks(2, lengths[i], count) * 1e6, "µs");
    }
}

static void sweep_payloads(void)
{
    for (size_t size = 8; size <= 16 * MEBI; size *= 8) {
        size_t times = bench_count((8 * MEBI + 64 * size) / (size + 4096)) + 1;

        bench_point(crew->system, "apply with argument", "bytes", (double)size, carry(size, times, false) * 1e6, "µs");
    }
}

static void sweep(void)
{
    if (crew->each != NULL && bench_wanted("pool|workers"))
        sweep_workers();
    if (crew->each != NULL && bench_wanted("pool|length"))
        sweep_lengths();
    if (crew->send != NULL && bench_wanted("pool|payload"))
        sweep_payloads();
}

void pool_works(const struct crew *the_crew)
{
    crew = the_crew;
    items = bench_count(FULL_ITEMS);
    numbers = malloc(items * sizeof *numbers);
    squares = calloc(items, sizeof *squares);
    payload = malloc(16 * MEBI);
    memset(payload, 'x', 16 * MEBI);
    for (size_t i = 0; i < items; i++)
        numbers[i] = (unsigned)i;
    steps_per_second = bench_steps_per_second();
    if (bench_sweeps())
        sweep();
    else
        run_tables();
    free(numbers);
    free(squares);
    free(payload);
}
