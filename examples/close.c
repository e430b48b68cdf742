/* close: tasks that were submitted before are finished, later ones are refused. */
#include <mp.h>
#include <unistd.h>

#include "check.h"
#include "stopwatch.h"

#define TASKS 20

static int task(const void *arg, void *result)
{
    int num = *(const int *)arg;
    unsigned seed = (unsigned)num ^ (unsigned)getpid();

    nap(rand_r(&seed) % 50 / 1000.0);
    printf("%d:%d\n", num, (int)getpid());
    *(int *)result = num * num;
    return 0;
}

int main(void)
{
    mp_pool *pool;
    mp_result *result[TASKS];
    int num;

    setvbuf(stdout, NULL, _IOLBF, 0); /* print each line at once, as on a terminal */
    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int i = 0; i < TASKS; i++)
        CHECK(mp_pool_apply_async(pool, task, &i, sizeof i, sizeof num, &result[i]));
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    for (int i = 0; i < TASKS; i++) {
        CHECK(mp_result_get(result[i], &num, sizeof num, MP_FOREVER));
        CHECK(mp_result_free(result[i]));
        printf("%d\n", num);
    }
    printf("finish\n");
    num = TASKS;
    int error = mp_pool_apply_async(pool, task, &num, sizeof num, sizeof num, NULL);
    printf("%s\n", mp_strerror(error));
    CHECK(mp_pool_free(pool));
    return error == MP_ECLOSED ? 0 : 1;
}
