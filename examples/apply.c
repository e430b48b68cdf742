/* apply: runs one task after the other, and waits for each. */
#include <mp.h>
#include <unistd.h>

#include "check.h"
#include "stopwatch.h"

#define TASKS 20

static int task(const void *arg, void *result)
{
    int num = *(const int *)arg;

    nap(0.01);
    printf("%d:%d\n", num, (int)getpid());
    *(int *)result = num;
    return 0;
}

int main(void)
{
    mp_pool *pool;
    int num;

    setvbuf(stdout, NULL, _IOLBF, 0); /* print each line at once, as on a terminal: lines of tasks come in between */
    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int i = 0; i < TASKS; i++) {
        CHECK(mp_pool_apply(pool, task, &i, sizeof i, &num, sizeof num));
        printf("--> %d\n", num);
    }
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    printf("finish\n");
    return 0;
}
