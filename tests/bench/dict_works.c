#include "dict_works.h"

#include <mp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FULL_ENTRIES 1000000
#define GROWTH 10000000
#define SAMPLE ((size_t)1000000) /* the most keys that a sweep reaches */

static const struct store *store;
static size_t entries;
static char (*keys)[KEY_SIZE];     /* in the order of insertion */
static char (*shuffled)[KEY_SIZE]; /* as reached: in another order, stored one behind the other */
static double insert_seconds;      /* for all inserted entries together */
static size_t inserted;            /* the entries that were inserted one by one in that time */
static double bytes_per_entry;

void dict_key(size_t number, char key[KEY_SIZE])
{
    uint64_t random = bench_random(number);

    for (int i = KEY_LENGTH - 1; i >= 0; i--, random >>= 4)
        key[i] = "0123456789abcdef"[random & 15];
    key[KEY_LENGTH] = 0;
}

static void make_keys(void)
{
    keys = malloc(entries * sizeof *keys);
    shuffled = malloc(entries * sizeof *shuffled);
    for (size_t i = 0; i < entries; i++)
        dict_key(i, keys[i]);
    memcpy(shuffled, keys, entries * sizeof *keys);
    for (size_t i = entries - 1; i > 0; i--) {
        size_t other = bench_random(entries + i) % (i + 1);
        char key[KEY_SIZE];

        memcpy(key, shuffled[i], sizeof key);
        memcpy(shuffled[i], shuffled[other], sizeof key);
        memcpy(shuffled[other], key, sizeof key);
    }
}

/* The keys that a process reaches, one after the other. No two processes are at the same place. These functions take
 * few instructions, because they are part of what is measured. */
static const char *first_key(int process)
{
    return shuffled[(size_t)process * (entries / BENCH_MAX_PROCESSES) % entries];
}

static const char *next_key(const char *key)
{
    key += KEY_SIZE;
    return key == shuffled[entries] ? shuffled[0] : key;
}

static void enter(void)
{
    if (store->enter != NULL)
        store->enter();
}

static void leave(void)
{
    if (store->leave != NULL)
        store->leave();
}

/* Runs in several processes or threads: once before the clock starts, and then again. Each reaches *arg keys. */
static void get_each(int process, void *arg)
{
    size_t times = *(size_t *)arg;
    const char *key = first_key(process);

    for (size_t i = 0; i < times; i++, key = next_key(key))
        store->get(key);
}

static void warm_up(int process, void *arg)
{
    enter();
    get_each(process, arg);
}

static void get_all(int process, void *arg)
{
    get_each(process, arg);
    leave();
}

static void set_all(int process, void *arg)
{
    size_t times = *(size_t *)arg;
    const char *key = first_key(process);

    for (size_t i = 0; i < times; i++, key = next_key(key))
        store->set(key, (int64_t)i);
    leave();
}

/* 95 gets per 5 sets. */
static void mix_all(int process, void *arg)
{
    size_t times = *(size_t *)arg;
    const char *key = first_key(process);

    for (size_t i = 0; i < times; i++, key = next_key(key)) {
        if (i % 20 == 0)
            store->set(key, (int64_t)i);
        else
            store->get(key);
    }
    leave();
}

static void enter_only(int process, void *arg)
{
    (void)process;
    (void)arg;
    enter();
}

static void add_all(int process, void *arg)
{
    size_t times = *(size_t *)arg;

    (void)process;
    for (size_t i = 0; i < times; i++)
        store->add(keys[0], 1);
    leave();
}

static double together(int processes, bench_work *before, bench_work *work, void *arg)
{
    return (store->threads ? bench_threads : bench_processes)(processes, before, work, arg);
}

/* Millions of steps per second by all processes together, each of which does `times` steps. */
static double rate(int processes, bench_work *work, size_t times)
{
    double seconds = together(processes, warm_up, work, &times);

    return (double)times * processes / seconds * 1e-6;
}

/* Nanoseconds per step for one process; millions of steps per second for several together. */
static double figure(int processes, bench_work *work)
{
    double millions = rate(processes, work, entries / store->part);

    return processes == 1 ? 1e3 / millions : millions;
}

static void get(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench->processes, get_all);
}

static void set(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench->processes, set_all);
}

static void mix(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench->processes, mix_all);
}

static double adds(int processes, size_t whole)
{
    size_t times = bench_count(whole) / (size_t)processes / store->part + 1;

    return (double)times * processes / together(processes, enter_only, add_all, &times) * 1e-6;
}

static void add(const struct bench *bench, double *figures)
{
    figures[0] = adds(bench->processes, 4000000);
}

static void insert(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = insert_seconds / (double)inserted * 1e9;
    figures[1] = bytes_per_entry;
}

static void iterate(const struct bench *bench, double *figures)
{
    double begin = bench_now();

    (void)bench;
    BENCH_CHECK(store->iterate() == entries ? 0 : MP_ECORRUPT);
    figures[0] = (bench_now() - begin) / (double)entries * 1e9;
}

/* ---- growth, seen by another ---- */

/* Shared by the process that fills the store and the one that watches. */
static struct growth {
    atomic_bool done;
    atomic_size_t length;
    double longest, peak; /* seconds; bytes per entry */
} * growth;

static void grow(size_t count)
{
    char key[KEY_SIZE];

    for (size_t i = 1; i < count; i++) {
        dict_key(i, key);
        store->set(key, (int64_t)i);
        atomic_store_explicit(&growth->length, i, memory_order_relaxed);
    }
    atomic_store(&growth->done, true);
}

/* Alternates between getting and setting an existing key. */
static bool get_or_set(void *key)
{
    static bool gets;

    gets = !gets;
    if (gets)
        store->get(key);
    else
        store->set(key, 1);
    return !atomic_load(&growth->done);
}

static void watch_pauses(void)
{
    char key[KEY_SIZE];

    dict_key(0, key);
    growth->longest = bench_longest_pause(get_or_set, key);
}

/* Keeps the maximum of memory per entry, from one hundredth of all entries on. */
static void watch_memory(size_t count)
{
    while (!atomic_load(&growth->done)) {
        size_t length = atomic_load_explicit(&growth->length, memory_order_relaxed);

        if (length < count / 100)
            continue;
        double each = (double)store->memory() / (double)atomic_load_explicit(&growth->length, memory_order_relaxed);
        growth->peak = each > growth->peak ? each : growth->peak;
    }
}

/* Fills a new store with `count` entries while another process watches. Returns what the watcher has seen. */
static struct growth watched_growth(size_t count, bench_work *work)
{
    struct growth seen;
    char key[KEY_SIZE];

    growth = bench_shared(sizeof *growth);
    store->make(count);
    dict_key(0, key);
    store->set(key, 0);
    together(2, enter_only, work, &count);
    seen = *growth;
    if (store->memory != NULL && (double)store->memory() / (double)count > seen.peak)
        seen.peak = (double)store->memory() / (double)count;
    store->end();
    munmap(growth, sizeof *growth);
    return seen;
}

static void watch_growth_for_pauses(int process, void *arg)
{
    if (process == 0)
        grow(*(size_t *)arg);
    else
        watch_pauses();
    leave();
}

static void watch_growth_for_memory(int process, void *arg)
{
    if (process == 0)
        grow(*(size_t *)arg);
    else
        watch_memory(*(size_t *)arg);
    leave();
}

static void pauses(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = watched_growth(bench_count(GROWTH), watch_growth_for_pauses).longest * 1e3;
}

static void peak(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = 0;
    for (int i = 0; i < 3; i++) { /* a watcher that did not run for a while may have missed the peak */
        double seen = watched_growth(bench_count(FULL_ENTRIES), watch_growth_for_memory).peak;

        figures[0] = seen > figures[0] ? seen : figures[0];
    }
}

/* ---- the table ---- */

/* The system is filled in at run time. */
static const struct bench table[] = {
    {NULL, {{"dict get by 1 process", "ns"}}, get, 1},
    {NULL, {{"dict get by 2 processes", "M/s"}}, get, 2},
    {NULL, {{"dict set by 1 process", "ns"}}, set, 1},
    {NULL, {{"dict set by 2 processes", "M/s"}}, set, 2},
    {NULL, {{"dict 95 % get 5 % set by 2 processes", "M/s"}}, mix, 2},
    {NULL, {{"dict insert of new keys", "ns"}, {"dict memory per entry", "B"}}, insert, 1},
    {NULL, {{"dict add on one key by 1 process", "M/s"}}, add, 1},
    {NULL, {{"dict add on one key by 8 processes", "M/s"}}, add, 8},
    {NULL, {{"dict iterate per entry", "ns"}}, iterate, 1},
};
static const struct bench growth_table[] = {
    {NULL, {{"dict memory per entry while growing: peak", "B"}}, peak, 2},
    {NULL, {{"dict growing to 10 M: longest pause of another", "ms"}}, pauses, 2},
};

static void run(struct bench bench)
{
    bench.system = store->system;
    if (bench.processes > 1 && store->alone)
        return;
    if ((bench.run == peak && store->memory == NULL) || (bench.run == add && store->add == NULL))
        return;
    if (bench.run == insert && store->memory == NULL)
        bench.name[1].work = NULL;
    bench_run(&bench, 1);
}

static void insert_all(void)
{
    inserted = store->fill != NULL && store->part > 1 ? entries / store->part : entries;
    double begin = bench_now();
    for (size_t i = 0; i < inserted; i++)
        store->set(keys[i], (int64_t)i);
    insert_seconds = bench_now() - begin;
    if (inserted < entries)
        store->fill(inserted, entries - inserted);
    bytes_per_entry = store->memory == NULL ? 0 : (double)store->memory() / (double)entries;
}

static void run_table(void)
{
    entries = bench_count(FULL_ENTRIES);
    make_keys();
    store->make(entries);
    insert_all();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        run(table[i]);
    store->end();
    free(keys);
    free(shuffled);
}

/* ---- the sweeps ---- */

/* Inserts the missing keys up to number `to`. If they are inserted one by one, prints the time per entry. */
static void fill_up(size_t from, size_t to)
{
    char key[KEY_SIZE];

    if (store->fill != NULL) {
        store->fill(from, to - from);
        return;
    }
    double begin = bench_now();
    for (size_t i = from; i < to; i++) {
        dict_key(i, key);
        store->set(key, (int64_t)i);
    }
    bench_point(store->system, "dict insert", "entries", (double)to, (bench_now() - begin) / (double)(to - from) * 1e9,
                "ns");
}

static void sweep_entries(void)
{
    size_t most = bench_count(GROWTH) < store->most ? bench_count(GROWTH) : store->most, length = 0;

    store->make(most);
    shuffled = malloc(SAMPLE * sizeof *shuffled);
    for (size_t next = 1000; next <= most; next *= 10) {
        fill_up(length, next);
        length = next;
        entries = length < SAMPLE ? length : SAMPLE;
        for (size_t i = 0; i < entries; i++)
            dict_key(bench_random(i) % length, shuffled[i]);
        bench_point(store->system, "dict get", "entries", (double)length,
                    1e3 / rate(1, get_all, SAMPLE / 4 / store->part), "ns");
    }
    free(shuffled);
    store->end();
}

static void sweep_processes(void)
{
    int most = bench_count(BENCH_MAX_PROCESSES) == BENCH_MAX_PROCESSES ? BENCH_MAX_PROCESSES : 4;

    entries = bench_count(FULL_ENTRIES);
    make_keys();
    store->make(entries);
    insert_all();
    for (int processes = 1; processes <= most; processes *= 2) {
        size_t times = entries / store->part / (size_t)processes + 1;

        bench_point(store->system, "dict get", "processes", processes, rate(processes, get_all, times), "M/s");
        bench_point(store->system, "dict set", "processes", processes, rate(processes, set_all, times), "M/s");
        if (store->add != NULL)
            bench_point(store->system, "dict add on one key", "processes", processes, adds(processes, 1000000), "M/s");
    }
    store->end();
    free(keys);
    free(shuffled);
}

void dict_works(const struct store *the_store)
{
    store = the_store;
    if (bench_sweeps()) {
        if (bench_wanted("dict|entries"))
            sweep_entries();
        if (bench_wanted("dict|processes") && !store->alone)
            sweep_processes();
        return;
    }
    run_table();
    for (size_t i = 0; i < sizeof growth_table / sizeof *growth_table; i++)
        if (store->grows)
            run(growth_table[i]);
}
