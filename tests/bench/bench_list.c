/* A shared list of a million integers, reached in random order. */
#include <mp.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench.h"

static size_t items;
static int64_t *order; /* indices, shuffled */
static mp_manager *manager;
static mp_list *list;

static void append_part(int process, void *arg)
{
    size_t times = *(size_t *)arg;

    (void)process;
    for (size_t i = 0; i < times; i++)
        BENCH_CHECK(mp_list_append_int(list, (int64_t)i));
}

static void get_all(int process, void *arg)
{
    int64_t value;

    (void)process;
    (void)arg;
    for (size_t i = 0; i < items; i++)
        BENCH_CHECK(mp_list_get_int(list, order[i], &value));
}

/* Each process sets elements of its own, which lie between those of the others. */
static void set_part(int process, void *arg)
{
    size_t times = *(size_t *)arg, first = (size_t)process * times;

    for (size_t i = first; i < first + times; i++)
        BENCH_CHECK(mp_list_set_int(list, order[i], (int64_t)i));
}

/* Touches the whole list before the measurement. If processes contend, the list gets its stripes here. */
static void reach(int process, void *arg)
{
    get_all(process, arg);
    set_part(process, arg);
}

static void append(const struct bench *bench, double *figures)
{
    size_t times = items / (size_t)bench->processes;

    BENCH_CHECK(mp_list_clear(list));
    double seconds = bench_processes(bench->processes, NULL, append_part, &times);
    figures[0] = bench->processes == 1 ? seconds / (double)items * 1e9 : (double)items / seconds * 1e-6;
}

static void get(const struct bench *bench, double *figures)
{
    figures[0] = bench_processes(bench->processes, get_all, get_all, NULL) / (double)items * 1e9;
}

static void set(const struct bench *bench, double *figures)
{
    size_t times = items / (size_t)bench->processes;
    double seconds = bench_processes(bench->processes, reach, set_part, &times);

    figures[0] = bench->processes == 1 ? seconds / (double)items * 1e9 : (double)items / seconds * 1e-6;
}

static void iterate(const struct bench *bench, double *figures)
{
    mp_list_iter *iter;
    mp_value value;
    size_t met = 0;

    (void)bench;
    double begin = bench_now();
    BENCH_CHECK(mp_list_iter_create(&iter, list));
    while (mp_list_next(iter, &value) == 0)
        met++;
    BENCH_CHECK(mp_list_iter_free(iter));
    figures[0] = (bench_now() - begin) / (double)items * 1e9;
    BENCH_CHECK(met == items ? 0 : MP_ECORRUPT);
}

/* Shared by the process that appends and the one that watches. */
static struct growth {
    atomic_bool done;
    double longest; /* seconds */
} * growth;

static bool get_or_set(void *arg)
{
    static bool gets;
    int64_t value;

    (void)arg;
    gets = !gets;
    BENCH_CHECK(gets ? mp_list_get_int(list, 0, &value) : mp_list_set_int(list, 0, 1));
    return !atomic_load(&growth->done);
}

static void grow_or_watch(int process, void *arg)
{
    if (process == 0) {
        append_part(process, arg);
        atomic_store(&growth->done, true);
    } else {
        growth->longest = bench_longest_pause(get_or_set, NULL);
    }
}

static void pauses(const struct bench *bench, double *figures)
{
    size_t times = bench_count(10000000);
    mp_list *usual = list;

    growth = bench_shared(sizeof *growth);
    BENCH_CHECK(mp_manager_list(manager, &list));
    append_part(0, &(size_t){1});
    bench_processes(bench->processes, NULL, grow_or_watch, &times);
    figures[0] = growth->longest * 1e3;
    BENCH_CHECK(mp_list_free(list));
    list = usual;
}

/* The works that append leave as many items as they found. */
static const struct bench table[] = {
    {"libmp", {{"list append by 1 process", "ns"}}, append, 1},
    {"libmp", {{"list append by 2 processes", "M/s"}}, append, 2},
    {"libmp", {{"list get by 1 process", "ns"}}, get, 1},
    {"libmp", {{"list set by 1 process", "ns"}}, set, 1},
    {"libmp", {{"list set by 2 processes", "M/s"}}, set, 2},
    {"libmp", {{"list iterate per item", "ns"}}, iterate, 1},
    {"libmp", {{"list growing to 10 M: longest pause of another", "ms"}}, pauses, 2},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    items = bench_count(1000000);
    order = malloc(items * sizeof *order);
    for (size_t i = 0; i < items; i++)
        order[i] = (int64_t)i;
    for (size_t i = items - 1; i > 0; i--) {
        size_t other = bench_random(i) % (i + 1);
        int64_t index = order[i];

        order[i] = order[other];
        order[other] = index;
    }
    BENCH_CHECK(mp_manager_create(&manager, NULL));
    BENCH_CHECK(mp_manager_list(manager, &list));
    append_part(0, &items);
    bench_run(table, sizeof table / sizeof *table);
    BENCH_CHECK(mp_manager_free(manager));
    free(order);
    return 0;
}
