/* Starting a process and waiting for its end, and beside it what the system needs for that at the least. */
#include <mp.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define TIMES 500

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void start_and_join(const struct bench *bench, double *figures)
{
    size_t times = bench_count(TIMES);
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < times; i++) {
        mp_process *process;

        BENCH_CHECK(mp_process_start(&process, nothing, NULL, NULL));
        BENCH_CHECK(mp_process_join(process, MP_FOREVER));
        BENCH_CHECK(mp_process_free(process));
    }
    figures[0] = (bench_now() - begin) / (double)times * 1e6;
}

static void fork_and_wait(const struct bench *bench, double *figures)
{
    size_t times = bench_count(TIMES);
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < times; i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
            _exit(0);
        BENCH_CHECK(pid < 0 ? MP_EAGAIN : 0);
        waitpid(pid, &status, 0);
    }
    figures[0] = (bench_now() - begin) / (double)times * 1e6;
}

#define START_AND_JOIN \
    { \
        { \
            "process start + join", "µs" \
        } \
    }

static const struct bench table[] = {
    {"libmp", START_AND_JOIN, start_and_join, 1},
    {"fork + waitpid", START_AND_JOIN, fork_and_wait, 1},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    bench_run(table, sizeof table / sizeof *table);
    return 0;
}
