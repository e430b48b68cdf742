/* Which size of pool suits which work: a few long tasks that wait, and many short ones that compute. */
#include <mp.h>

#include "check.h"
#include "stopwatch.h"

static int wait_long(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    nap(0.1);
    return 0;
}

static int compute_shortly(const void *arg, void *result)
{
    volatile unsigned sum = 0;

    (void)arg;
    (void)result;
    for (unsigned i = 0; i < 200000; i++)
        sum += i;
    return sum == 1; /* never */
}

static double run(int workers, mp_task_function *function, int tasks)
{
    mp_pool *pool;
    double start = seconds();

    CHECK(mp_pool_create(&pool, workers, NULL));
    for (int i = 0; i < tasks; i++)
        CHECK(mp_pool_apply_async(pool, function, NULL, 0, 0, NULL));
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    return seconds() - start;
}

int main(void)
{
    int cpus = mp_usable_cpu_count();
    int sizes[] = {1, cpus / 2 > 1 ? cpus / 2 : 1, cpus, 2 * cpus};

    printf("workers  8 long tasks that wait  400 short ones that compute\n");
    for (int i = 0; i < 4; i++) {
        if (i > 0 && sizes[i] == sizes[i - 1])
            continue;
        printf("%7d  %20.3f s  %25.3f s\n", sizes[i], run(sizes[i], wait_long, 8), run(sizes[i], compute_shortly, 400));
    }
    printf("Work that waits gains from every worker; work that computes, from one for each CPU and no more.\n");
    return 0;
}
