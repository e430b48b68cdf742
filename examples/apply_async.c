/* apply_async: submits twenty tasks at once, gets their results later, and prints which workers ran them. */
#include <mp.h>
#include <unistd.h>

#include "check.h"
#include "stopwatch.h"

#define TASKS 20

static int task(const void *arg, void *result)
{
    nap(0.02);
    printf("%d:%d\n", *(const int *)arg, (int)getpid());
    *(pid_t *)result = getpid();
    return 0;
}

/* Adds a pid to a set of `size` pids. Returns the new size. */
static int add(pid_t *set, int size, pid_t pid)
{
    for (int i = 0; i < size; i++) {
        if (set[i] == pid)
            return size;
    }
    set[size] = pid;
    return size + 1;
}

int main(void)
{
    mp_pool *pool;
    mp_result *result[TASKS];
    pid_t pid, pids[TASKS];
    int size = 0;

    setvbuf(stdout, NULL, _IOLBF, 0); /* print each line at once, as on a terminal */
    CHECK(mp_pool_create(&pool, 0, NULL));
    for (int i = 0; i < TASKS; i++)
        CHECK(mp_pool_apply_async(pool, task, &i, sizeof i, sizeof pid, &result[i]));
    for (int i = 0; i < TASKS; i++) {
        CHECK(mp_result_get(result[i], &pid, sizeof pid, MP_FOREVER));
        CHECK(mp_result_free(result[i]));
        size = add(pids, size, pid);
    }
    for (int i = 0; i < size; i++)
        printf("%s%d", i == 0 ? "{" : ", ", (int)pids[i]);
    printf("} %d\n", size);
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    printf("finish\n");
    return 0;
}
