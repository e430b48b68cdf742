/* Workers as people: how long one, two and four people take for four jobs, and for a hundred. */
#include <mp.h>

#include "check.h"
#include "stopwatch.h"

static int job(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    nap(0.01);
    return 0;
}

static double run(int people, int jobs)
{
    mp_pool *pool;
    double start = seconds();

    CHECK(mp_pool_create(&pool, people, NULL));
    for (int i = 0; i < jobs; i++)
        CHECK(mp_pool_apply_async(pool, job, NULL, 0, 0, NULL));
    CHECK(mp_pool_close(pool));
    CHECK(mp_pool_join(pool));
    CHECK(mp_pool_free(pool));
    return seconds() - start;
}

int main(void)
{
    static const int jobs[] = {4, 100}, people[] = {1, 2, 4};

    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 3; j++)
            printf("%d people, %d jobs: %.3f s\n", people[j], jobs[i], run(people[j], jobs[i]));
    }
    return 0;
}
