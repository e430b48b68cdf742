/* Pools. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "scenario.h"
#include "support.h"

enum { WORKERS = 2, ITEMS = 300 };

static int start_storm(void *arg)
{
    (void)arg;
    storm_join();
    return 0;
}

static int refuse(void *arg)
{
    (void)arg;
    return 1;
}

/* Returns a string whose length only the task knows. */
static int write_out(const void *arg, void *result)
{
    char text[5000];
    int length = *(const int *)arg;

    (void)result;
    memset(text, 'y', sizeof text);
    TRY(mp_task_return(text, (size_t)length), NOMEM);
    printf("."); /* the worker has to flush it */
    return 0;
}

static int sum_up(const void *arg, void *result)
{
    const unsigned char *byte = arg;
    long sum = 0;

    for (int i = 0; i < 100000; i++)
        sum += byte[i];
    memset(result, (int)(sum % 251), 100000);
    return 0;
}

static int fail_with(const void *arg, void *result)
{
    (void)result;
    return *(const int *)arg;
}

static int die(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    raise(SIGKILL);
    return 0;
}

/* Dies in its first run. */
static int die_once(const void *arg, void *result)
{
    mp_dict *dict = *(mp_dict *const *)arg;
    int64_t times;

    (void)result;
    TRY(mp_dict_add_int(dict, "times", 1, &times), NOMEM);
    if (times == 1)
        raise(SIGKILL);
    return 0;
}

static int sleep_long(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    for (;;)
        pause();
    return 0;
}

static const mp_pool_options plain = {.initializer = start_storm};

static void apply_one(mp_pool *pool, int x)
{
    int y = 0;

    TRY(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y), NOMEM);
    CHECK(y == x * x);
}

void part_pool(void)
{
    static unsigned char large[100000], back[100000];
    mp_pool *pool;
    mp_result *result[100], *text;
    char buffer[5000];
    size_t size;
    int y, length = 4000, seven = 7;

    TRY(mp_pool_create(&pool, WORKERS, &plain), NOMEM | AGAIN);
    for (int i = 0; i < 20; i++)
        apply_one(pool, i);
    for (int i = 0; i < 100; i++)
        TRY(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof i, &result[i]), NOMEM);
    for (int i = 0; i < 100; i++) {
        TRY(mp_result_get(result[i], &y, sizeof y, 60), NOTHING);
        CHECK(y == i * i);
        TRY(mp_result_free(result[i]), NOTHING);
    }
    for (int i = 0; i < 200; i++)
        TRY(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof i, NULL), NOMEM);
    TRY(mp_pool_apply_async(pool, write_out, &length, sizeof length, 0, &text), NOMEM);
    TRY(mp_result_wait(text, 60), NOTHING);
    TRY(mp_result_size(text, &size), NOTHING);
    CHECK(size == 4000);
    TRY(mp_result_get(text, buffer, sizeof buffer, 60), NOTHING);
    CHECK(buffer[3999] == 'y');
    TRY(mp_result_free(text), NOTHING);
    memset(large, 1, sizeof large);
    TRY(mp_pool_apply(pool, sum_up, large, sizeof large, back, sizeof back), NOMEM);
    CHECK(back[0] == 100000 % 251 && back[99999] == 100000 % 251);
    TRY_CODE(7, mp_pool_apply(pool, fail_with, &seven, sizeof seven, NULL, 0), NOMEM);
    TRY(mp_pool_close(pool), NOTHING);
    TRY(mp_pool_join(pool), NOTHING);
    TRY(mp_pool_free(pool), NOTHING);
}

void part_map(void)
{
    static int in[ITEMS], out[ITEMS], status[ITEMS];
    const mp_map_options options = {.chunk_size = 3, .status = status};
    const mp_map_options chunks = {.chunk_size = 1};
    mp_pool *pool;
    mp_result *result;

    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    TRY(mp_pool_create(&pool, 0, &plain), NOMEM | AGAIN);
    TRY(mp_pool_map(pool, square, in, sizeof *in, out, sizeof *out, ITEMS), NOMEM);
    for (int i = 0; i < ITEMS; i++)
        CHECK(out[i] == i * i);
    memset(out, 0, sizeof out);
    TRY(mp_pool_map_with(pool, square, in, sizeof *in, out, sizeof *out, ITEMS, &options), NOMEM);
    for (int i = 0; i < ITEMS; i++)
        CHECK(out[i] == i * i && status[i] == 0);
    memset(out, 0, sizeof out);
    TRY(mp_pool_map_async(pool, square, in, sizeof *in, sizeof *out, ITEMS, &result, &chunks), NOMEM);
    TRY(mp_result_get(result, out, sizeof out, 60), NOTHING);
    for (int i = 0; i < ITEMS; i++)
        CHECK(out[i] == i * i);
    TRY(mp_result_free(result), NOTHING);
    TRY(mp_pool_terminate(pool), NOTHING);
    TRY(mp_pool_join(pool), NOTHING);
    TRY(mp_pool_free(pool), NOTHING);
}

/* Maps whose items lie in a manager's memory: a manager older than the pool, and a younger one. */
void part_map_in_place(void)
{
    mp_manager *manager, *younger;
    mp_pool *pool;
    mp_result *result;
    int *numbers, *others;

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_alloc(manager, 2 * ITEMS * sizeof *numbers, (void **)&numbers), NOMEM);
    TRY(mp_pool_create(&pool, WORKERS, &plain), NOMEM | AGAIN);
    TRY(mp_manager_create(&younger, NULL), NOMEM | AGAIN);
    TRY(mp_manager_alloc(younger, 100000 * sizeof *others, (void **)&others), NOMEM);
    for (int i = 0; i < ITEMS; i++)
        numbers[i] = i;
    TRY(mp_pool_map(pool, square, numbers, sizeof(int), numbers + ITEMS, sizeof(int), ITEMS), NOMEM);
    for (int i = 0; i < ITEMS; i++)
        CHECK(numbers[ITEMS + i] == i * i);
    TRY(mp_pool_map(pool, square, numbers, sizeof(int), others, sizeof(int), ITEMS), NOMEM);
    for (int i = 0; i < ITEMS; i++)
        CHECK(others[i] == i * i);
    const mp_map_options options = {.results = numbers + ITEMS};
    TRY(mp_pool_map_async(pool, square, numbers, sizeof(int), sizeof(int), ITEMS, &result, &options), NOMEM);
    TRY(mp_result_get(result, NULL, 0, 60), NOTHING);
    TRY(mp_result_free(result), NOTHING);
    /* The pool's processes have to map the younger manager as an attachment. If that fails, the map copies. */
    for (int i = 0; i < ITEMS; i++)
        others[i] = i;
    const mp_map_options elsewhere = {.results = others + 2 * ITEMS};
    TRY(mp_pool_map_async(pool, square, others, sizeof(int), sizeof(int), ITEMS, &result, &elsewhere), NOMEM);
    TRY(mp_result_get(result, NULL, 0, 60), NOTHING);
    TRY(mp_result_free(result), NOTHING);
    for (int i = 0; i < ITEMS; i++)
        CHECK(others[2 * ITEMS + i] == i * i);
    TRY(mp_memory_free(others), NOTHING);
    TRY(mp_manager_free(younger), NOTHING);
    TRY(mp_memory_free(numbers), NOTHING);
    TRY(mp_pool_free(pool), NOTHING);
    TRY(mp_manager_free(manager), NOTHING);
}

/* Workers that are replaced, because they reached max_tasks_per_child or died. */
void part_workers(void)
{
    const mp_pool_options short_lived = {.initializer = start_storm, .max_tasks_per_child = 3};
    const mp_pool_options patient = {.initializer = start_storm, .retries = 2};
    mp_manager *manager;
    mp_dict *dict;
    mp_pool *pool;

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &dict), NOTHING);
    TRY(mp_pool_create(&pool, WORKERS, &short_lived), NOMEM | AGAIN);
    for (int i = 0; i < 12; i++)
        apply_one(pool, i);
    TRY(mp_pool_close(pool), NOTHING);
    TRY(mp_pool_join(pool), NOTHING);
    TRY(mp_pool_free(pool), NOTHING);

    TRY(mp_pool_create(&pool, WORKERS, &patient), NOMEM | AGAIN);
    TRY(mp_pool_apply(pool, die_once, &dict, sizeof dict, NULL, 0), NOMEM);
    TRY_CODE(MP_EDIED - SIGKILL, mp_pool_apply(pool, die, NULL, 0, NULL, 0), NOMEM);
    for (int i = 0; i < 6; i++)
        apply_one(pool, i);
    TRY(mp_pool_free(pool), NOTHING);
    TRY(mp_manager_free(manager), NOTHING);
}

void part_pool_ends(void)
{
    const mp_pool_options broken = {.initializer = refuse};
    mp_pool *pool;
    mp_result *result;
    bool ready;
    int x = 3;

    TRY(mp_pool_create(&pool, WORKERS, &plain), NOMEM | AGAIN);
    TRY(mp_pool_apply_async(pool, sleep_long, NULL, 0, 0, &result), NOMEM);
    TRY_CODE(MP_ETIMEOUT, mp_result_wait(result, 0.002), NOTHING);
    TRY_CODE(MP_EBUSY, mp_pool_join(pool), NOTHING);
    TRY(mp_pool_terminate(pool), NOTHING);
    TRY_CODE(MP_ETERMINATED, mp_result_get(result, NULL, 0, 60), NOTHING);
    TRY_CODE(MP_ECLOSED, mp_pool_apply_async(pool, square, &x, sizeof x, sizeof x, NULL), NOTHING);
    TRY(mp_result_ready(result, &ready), NOTHING);
    TRY(mp_result_free(result), NOTHING);
    TRY(mp_pool_join(pool), NOTHING);
    TRY(mp_pool_free(pool), NOTHING);

    TRY(mp_pool_create(&pool, WORKERS, &broken), NOMEM | AGAIN);
    TRY_CODE(MP_EINITIALIZER, mp_pool_apply(pool, square, &x, sizeof x, &x, sizeof x), NOMEM);
    TRY(mp_pool_free(pool), NOTHING);
}
