/* A shared dict of a million keys, reached in random order, many keys with each call. */
#include <mp.h>
#include <stdlib.h>
#include <string.h>

#include "dict_works.h"

#define AT_ONCE 1000

static size_t entries;
static char (*texts)[KEY_SIZE];
static mp_value *keys, *values;
static mp_manager *manager;
static mp_dict *dict;

static void shuffle(void)
{
    for (size_t i = entries - 1; i > 0; i--) {
        size_t other = bench_random(entries + i) % (i + 1);
        char key[KEY_SIZE];

        memcpy(key, texts[i], sizeof key);
        memcpy(texts[i], texts[other], sizeof key);
        memcpy(texts[other], key, sizeof key);
    }
}

static double per_key(double begin)
{
    return (bench_now() - begin) / (double)entries * 1e9;
}

static void set_all(void)
{
    for (size_t i = 0; i < entries; i += AT_ONCE)
        BENCH_CHECK(mp_dict_set_many(dict, keys + i, values + i, AT_ONCE, NULL));
}

static void insert(const struct bench *bench, double *figures)
{
    (void)bench;
    BENCH_CHECK(mp_dict_clear(dict));
    double begin = bench_now();
    set_all();
    figures[0] = per_key(begin);
}

static void get(const struct bench *bench, double *figures)
{
    static mp_value found[AT_ONCE];
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < entries; i += AT_ONCE)
        BENCH_CHECK(mp_dict_get_many(dict, keys + i, found, AT_ONCE, NULL));
    figures[0] = per_key(begin);
}

static void set(const struct bench *bench, double *figures)
{
    double begin = bench_now();

    (void)bench;
    set_all();
    figures[0] = per_key(begin);
}

static const struct bench table[] = {
    {"libmp", {{"dict insert of 1000 new keys at once", "ns"}}, insert, 1},
    {"libmp", {{"dict get of 1000 keys at once", "ns"}}, get, 1},
    {"libmp", {{"dict set of 1000 keys at once", "ns"}}, set, 1},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    entries = bench_count(1000000) / AT_ONCE * AT_ONCE;
    texts = malloc(entries * sizeof *texts);
    keys = malloc(entries * sizeof *keys);
    values = malloc(entries * sizeof *values);
    for (size_t i = 0; i < entries; i++)
        dict_key(i, texts[i]);
    BENCH_CHECK(mp_manager_create(&manager, NULL));
    BENCH_CHECK(mp_manager_dict(manager, &dict));
    for (size_t i = 0; i < entries; i++)
        BENCH_CHECK(mp_dict_set_int(dict, texts[i], (int64_t)i));
    shuffle();
    for (size_t i = 0; i < entries; i++) {
        keys[i] = mp_value_strn(texts[i], KEY_LENGTH);
        values[i] = mp_value_int((int64_t)i);
    }
    bench_run(table, sizeof table / sizeof *table);
    BENCH_CHECK(mp_manager_free(manager));
    return 0;
}
