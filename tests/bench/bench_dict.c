/* A shared dict: the works that are common to all stores. */
#include <mp.h>

#include "dict_works.h"

static mp_manager *manager;
static mp_dict *dict;

static void make(size_t entries)
{
    (void)entries;
    BENCH_CHECK(mp_manager_create(&manager, NULL));
    BENCH_CHECK(mp_manager_dict(manager, &dict));
}

static void end(void)
{
    BENCH_CHECK(mp_manager_free(manager));
}

static void set(const char *key, int64_t value)
{
    BENCH_CHECK(mp_dict_set_int(dict, key, value));
}

static int64_t get(const char *key)
{
    int64_t value;

    BENCH_CHECK(mp_dict_get_int(dict, key, &value));
    return value;
}

static void add(const char *key, int64_t delta)
{
    BENCH_CHECK(mp_dict_add_int(dict, key, delta, NULL));
}

static size_t iterate(void)
{
    mp_dict_iter *iter;
    mp_value key, value;
    size_t met = 0;

    BENCH_CHECK(mp_dict_iter_create(&iter, dict));
    while (mp_dict_next(iter, &key, &value) == 0)
        met++;
    BENCH_CHECK(mp_dict_iter_free(iter));
    return met;
}

static size_t memory(void)
{
    mp_manager_info info;

    BENCH_CHECK(mp_manager_get_info(manager, &info));
    return info.used;
}

int main(int argc, char **argv)
{
    static const struct store store = {.system = "libmp",
                                       .part = 1,
                                       .most = 10000000,
                                       .grows = true,
                                       .make = make,
                                       .end = end,
                                       .set = set,
                                       .get = get,
                                       .add = add,
                                       .iterate = iterate,
                                       .memory = memory};

    bench_begin(argc, argv);
    dict_works(&store);
    return 0;
}
