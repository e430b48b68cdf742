/* close: what was submitted is finished, what comes later is refused. */
#include <mp.h>

#include "check.h"
#include "stopwatch.h"

#define TASKS 20

static int slow_square(const void *arg, void *result)
{
    int x = *(const int *)arg;

    nap(0.02);
    *(int *)result = x * x;
    return 0;
}

int main(void)
{
    mp_pool *pool;
    mp_result *result[TASKS];
    int value;

    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int i = 0; i < TASKS; i++)
        CHECK(mp_pool_apply_async(pool, slow_square, &i, sizeof i, sizeof value, &result[i]));
    CHECK(mp_pool_close(pool));
    for (int i = 0; i < TASKS; i++) {
        CHECK(mp_result_get(result[i], &value, sizeof value, MP_FOREVER));
        printf("%d\n", value);
        CHECK(mp_result_free(result[i]));
    }
    int error = mp_pool_apply_async(pool, slow_square, &value, sizeof value, sizeof value, NULL);
    printf("apply_async after close: %s\n", error == MP_ECLOSED ? mp_strerror(error) : "was not refused?");
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    return error == MP_ECLOSED ? 0 : 1;
}
