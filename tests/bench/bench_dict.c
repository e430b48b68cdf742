/* A shared dict of a million keys of 16 bytes with 8-byte integers as values, reached in random order. */
#include <mp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define KEY_SIZE 17

static size_t entries;
static char (*keys)[KEY_SIZE];     /* as they are inserted */
static char (*shuffled)[KEY_SIZE]; /* as they are reached: in another order, but lying one behind the other */
static mp_manager *manager;
static mp_dict *dict;

static void make_keys(void)
{
    keys = malloc(entries * sizeof *keys);
    shuffled = malloc(entries * sizeof *shuffled);
    for (size_t i = 0; i < entries; i++)
        snprintf(keys[i], sizeof keys[i], "%016llx", (unsigned long long)bench_random(i));
    memcpy(shuffled, keys, entries * sizeof *keys);
    for (size_t i = entries - 1; i > 0; i--) {
        size_t other = bench_random(entries + i) % (i + 1);
        char key[KEY_SIZE];

        memcpy(key, shuffled[i], sizeof key);
        memcpy(shuffled[i], shuffled[other], sizeof key);
        memcpy(shuffled[other], key, sizeof key);
    }
}

static void fill(mp_dict *new_dict)
{
    for (size_t i = 0; i < entries; i++)
        BENCH_CHECK(mp_dict_set_int(new_dict, keys[i], (int64_t)i));
}

static void insert(const struct bench *bench, double *figures)
{
    mp_manager *new_manager;
    mp_dict *new_dict;
    mp_manager_info info;

    (void)bench;
    BENCH_CHECK(mp_manager_create(&new_manager, NULL));
    BENCH_CHECK(mp_manager_dict(new_manager, &new_dict));
    double begin = bench_now();
    fill(new_dict);
    figures[0] = (bench_now() - begin) / (double)entries * 1e9;
    BENCH_CHECK(mp_manager_get_info(new_manager, &info));
    figures[1] = (double)info.used / (double)entries;
    BENCH_CHECK(mp_manager_free(new_manager));
}

/* The key that a process reaches at its i-th step: each goes through all of them, and no two are at the same place. */
static const char *key_of(int process, size_t i)
{
    return shuffled[(i + (size_t)process * (entries / BENCH_MAX_PROCESSES)) % entries];
}

static void get_all(int process, void *arg)
{
    int64_t value;

    (void)arg;
    for (size_t i = 0; i < entries; i++)
        BENCH_CHECK(mp_dict_get_int(dict, key_of(process, i), &value));
}

static void set_all(int process, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < entries; i++)
        BENCH_CHECK(mp_dict_set_int(dict, key_of(process, i), (int64_t)i));
}

/* 95 gets on 5 sets. */
static void mix_all(int process, void *arg)
{
    int64_t value;

    (void)arg;
    for (size_t i = 0; i < entries; i++) {
        if (i % 20 == 0)
            BENCH_CHECK(mp_dict_set_int(dict, key_of(process, i), (int64_t)i));
        else
            BENCH_CHECK(mp_dict_get_int(dict, key_of(process, i), &value));
    }
}

static void add_to_one(int process, void *arg)
{
    size_t times = *(size_t *)arg;

    (void)process;
    for (size_t i = 0; i < times; i++)
        BENCH_CHECK(mp_dict_add_int(dict, keys[0], 1, NULL));
}

/* Nanoseconds for each of `times` steps by one process; millions a second together by several. */
static double figure(const struct bench *bench, bench_work *warm_up, bench_work *work, size_t times)
{
    double seconds = bench_processes(bench->processes, warm_up, work, &times);

    return bench->processes == 1 ? seconds / (double)times * 1e9 : (double)times * bench->processes / seconds * 1e-6;
}

static void get(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench, get_all, get_all, entries);
}

static void set(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench, get_all, set_all, entries);
}

static void mix(const struct bench *bench, double *figures)
{
    figures[0] = figure(bench, get_all, mix_all, entries);
}

static void add(const struct bench *bench, double *figures)
{
    size_t times = bench_count(4000000) / (size_t)bench->processes;
    double seconds = bench_processes(bench->processes, NULL, add_to_one, &times);

    figures[0] = (double)times * bench->processes / seconds * 1e-6;
}

static void iterate(const struct bench *bench, double *figures)
{
    mp_dict_iter *iter;
    mp_value key, value;
    size_t met = 0;

    (void)bench;
    double begin = bench_now();
    BENCH_CHECK(mp_dict_iter_create(&iter, dict));
    while (mp_dict_next(iter, &key, &value) == 0)
        met++;
    BENCH_CHECK(mp_dict_iter_free(iter));
    figures[0] = (bench_now() - begin) / (double)entries * 1e9;
    BENCH_CHECK(met == entries ? 0 : MP_ECORRUPT);
}

static const struct bench table[] = {
    {"libmp", {{"dict get by 1 process", "ns"}}, get, 1},
    {"libmp", {{"dict get by 2 processes", "M/s"}}, get, 2},
    {"libmp", {{"dict set by 1 process", "ns"}}, set, 1},
    {"libmp", {{"dict set by 2 processes", "M/s"}}, set, 2},
    {"libmp", {{"dict 95 % get 5 % set by 2 processes", "M/s"}}, mix, 2},
    {"libmp", {{"dict insert of new keys", "ns"}, {"dict memory per entry", "B"}}, insert, 1},
    {"libmp", {{"dict add on one key by 1 process", "M/s"}}, add, 1},
    {"libmp", {{"dict add on one key by 8 processes", "M/s"}}, add, 8},
    {"libmp", {{"dict iterate per entry", "ns"}}, iterate, 1},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    entries = bench_count(1000000);
    make_keys();
    BENCH_CHECK(mp_manager_create(&manager, NULL));
    BENCH_CHECK(mp_manager_dict(manager, &dict));
    fill(dict);
    bench_run(table, sizeof table / sizeof *table);
    BENCH_CHECK(mp_manager_free(manager));
    free(keys);
    free(shuffled);
    return 0;
}
