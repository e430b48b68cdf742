/* A pool of processes with tasks that compute for a while, and the sweeps of pools. */
#include <mp.h>
#include <stdlib.h>
#include <string.h>

#include "pool_works.h"

static mp_pool *pool;

static void start(int workers)
{
    BENCH_CHECK(mp_pool_create(&pool, workers, NULL));
}

static void end(void)
{
    BENCH_CHECK(mp_pool_close(pool));
    BENCH_CHECK(mp_pool_join(pool));
    BENCH_CHECK(mp_pool_free(pool));
}

static void each(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count)
{
    mp_result **result = malloc(count * sizeof *result);

    for (size_t i = 0; i < count; i++)
        BENCH_CHECK(
            mp_pool_apply_async(pool, task, (const char *)args + i * arg_size, arg_size, result_size, &result[i]));
    for (size_t i = 0; i < count; i++) {
        BENCH_CHECK(mp_result_get(result[i], (char *)results + i * result_size, result_size, MP_FOREVER));
        BENCH_CHECK(mp_result_free(result[i]));
    }
    free(result);
}

static void map(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count,
                enum crew_share share)
{
    mp_map_options options = {.chunk_size = share == CREW_SINGLY ? 1 : 0};

    BENCH_CHECK(mp_pool_map_with(pool, task, args, arg_size, results, result_size, count, &options));
}

static int take(const void *arg, void *result)
{
    *(char *)result = *(const char *)arg;
    return 0;
}

static void send(const void *data, size_t size)
{
    char result;

    BENCH_CHECK(mp_pool_apply(pool, take, data, size, &result, 1));
}

int main(int argc, char **argv)
{
    static const struct crew crew = {.system = "libmp",
                                     .loads = true,
                                     .part = 1,
                                     .start = start,
                                     .end = end,
                                     .each = each,
                                     .map = map,
                                     .send = send};

    bench_begin(argc, argv);
    pool_works(&crew);
    return 0;
}
