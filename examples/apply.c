/* apply: one task after the other, each waited for. */
#include <mp.h>
#include <unistd.h>

#include "check.h"

static int work(const void *arg, void *result)
{
    int num = *(const int *)arg;

    printf("%d:%d\n", num, (int)getpid());
    *(int *)result = num * num;
    return 0;
}

int main(void)
{
    mp_pool *pool;

    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int num = 0; num < 20; num++) {
        int result;

        CHECK(mp_pool_apply(pool, work, &num, sizeof num, &result, sizeof result));
        printf("result %d\n", result);
        fflush(stdout);
    }
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    printf("finish\n");
    return 0;
}
