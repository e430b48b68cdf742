/* gcc's OpenMP: a team of as many threads as there are workers, the caller among them. Tasks submitted one by one are
 * `task`s; a map is a loop, in place: shared out evenly (schedule(static)), or for tasks of different lengths and
 * chunks of one by schedule(dynamic, 1). */
#include <omp.h>

#include "../pool_works.h"

static void start(int workers)
{
    omp_set_dynamic(0);
    omp_set_num_threads(workers);
}

static void end(void)
{
}

static void each(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count)
{
#pragma omp parallel
#pragma omp single
    for (size_t i = 0; i < count; i++) {
#pragma omp task firstprivate(i)
        task((const char *)args + i * arg_size, (char *)results + i * result_size);
    }
}

static void map(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count,
                enum crew_share share)
{
    if (share == CREW_EVEN) {
#pragma omp parallel for schedule(static)
        for (size_t i = 0; i < count; i++)
            task((const char *)args + i * arg_size, (char *)results + i * result_size);
    } else {
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t i = 0; i < count; i++)
            task((const char *)args + i * arg_size, (char *)results + i * result_size);
    }
}

int main(int argc, char **argv)
{
    static const struct crew crew = {
        .system = "OpenMP", .part = 1, .start = start, .end = end, .each = each, .map = map};

    bench_begin(argc, argv);
    pool_works(&crew);
    return 0;
}
