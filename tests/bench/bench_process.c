/* Starting a process and waiting for its end, compared with the least that the system needs for that: alone, and while
 * a thousand other children live. */
#include <mp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define TIMES 500
#define OTHERS 1000

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

static int sleep_for_ever(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return 0;
}

static void start_and_join_beside(const struct bench *bench, double *figures)
{
    mp_process **others = malloc(OTHERS * sizeof *others);

    for (size_t i = 0; i < OTHERS; i++)
        BENCH_CHECK(mp_process_start(&others[i], sleep_for_ever, NULL, NULL));
    start_and_join(bench, figures);
    for (size_t i = 0; i < OTHERS; i++)
        BENCH_CHECK(mp_process_kill(others[i]));
    for (size_t i = 0; i < OTHERS; i++) {
        BENCH_CHECK(mp_process_join(others[i], MP_FOREVER));
        BENCH_CHECK(mp_process_free(others[i]));
    }
    free(others);
}

static void fork_and_wait_beside(const struct bench *bench, double *figures)
{
    pid_t *others = malloc(OTHERS * sizeof *others);

    for (size_t i = 0; i < OTHERS; i++) {
        others[i] = fork();
        if (others[i] == 0)
            sleep_for_ever(NULL);
        BENCH_CHECK(others[i] < 0 ? MP_EAGAIN : 0);
    }
    fork_and_wait(bench, figures);
    for (size_t i = 0; i < OTHERS; i++)
        kill(others[i], SIGKILL);
    for (size_t i = 0; i < OTHERS; i++)
        waitpid(others[i], NULL, 0);
    free(others);
}

#define WORK(name) \
    { \
        { \
            name, "µs" \
        } \
    }
#define ALONE WORK("process start + join")
#define BESIDE WORK("process start + join beside 1000 others")

static const struct bench table[] = {
    {"libmp", ALONE, start_and_join, 1},
    {"fork + waitpid", ALONE, fork_and_wait, 1},
    {"libmp", BESIDE, start_and_join_beside, 1},
    {"fork + waitpid", BESIDE, fork_and_wait_beside, 1},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    bench_run(table, sizeof table / sizeof *table);
    return 0;
}
