#include "bench.h"

#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUICK_PART 50 /* a quick run does only this part of the work */

static bool quick, sweeps;
static const char *wanted;

void bench_begin(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = true;
        else if (strcmp(argv[i], "--sweep") == 0)
            sweeps = true;
        else
            wanted = argv[i];
    }
}

bool bench_sweeps(void)
{
    return sweeps;
}

bool bench_wanted(const char *work)
{
    return wanted == NULL || strstr(work, wanted) != NULL;
}

static bool is_wanted(const struct bench *bench)
{
    for (int i = 0; i < BENCH_FIGURES; i++)
        if (bench->name[i].work != NULL && bench_wanted(bench->name[i].work))
            return true;
    return false;
}

void bench_run(const struct bench *table, size_t count)
{
    for (const struct bench *bench = table; bench < table + count; bench++) {
        double figures[BENCH_FIGURES];

        if (sweeps || !is_wanted(bench))
            continue;
        bench->run(bench, figures);
        for (int i = 0; i < BENCH_FIGURES && bench->name[i].work != NULL; i++)
            printf("%s,%s,%.4g,%s\n", bench->system, bench->name[i].work, figures[i], bench->name[i].unit);
        fflush(stdout);
    }
}

void bench_point(const char *system, const char *work, const char *varied, double x, double figure, const char *unit)
{
    printf("%s,%s|%s|%.12g,%.4g,%s\n", system, work, varied, x, figure, unit);
    fflush(stdout);
}

size_t bench_count(size_t full)
{
    return quick && full > QUICK_PART ? full / QUICK_PART : full;
}

void bench_rest(double seconds)
{
    struct timespec rest = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (nanosleep(&rest, &rest) != 0)
        ;
}

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void bench_check(int code, const char *call)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s\n", call, mp_strerror(code));
    _exit(1);
}

uint64_t bench_random(uint64_t seed)
{
    uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

uint64_t bench_burn(uint64_t steps)
{
    uint64_t x = steps;

    for (uint64_t i = 0; i < steps; i++)
        x = bench_random(x);
    return x;
}

double bench_steps_per_second(void)
{
    const uint64_t steps = 200000;
    double best = 0;

    for (int i = 0; i < 10; i++) {
        double begin = bench_now();
        volatile uint64_t sink = bench_burn(steps);
        double rate = (double)steps / (bench_now() - begin);

        (void)sink;
        best = rate > best ? rate : best;
    }
    return best;
}

char *bench_file(const char *name)
{
    const char *folder = getenv("BENCH_FOLDER");
    char *path;

    bench_check(folder == NULL ? MP_EINVAL : 0, "BENCH_FOLDER");
    bench_check(asprintf(&path, "%s/%s", folder, name) < 0 ? MP_ENOMEM : 0, "asprintf");
    return path;
}

double bench_longest_pause(bool (*step)(void *arg), void *arg)
{
    double last = bench_now(), longest = 0;
    bool more;

    do {
        more = step(arg);
        double now = bench_now();
        longest = now - last > longest ? now - last : longest;
        last = now;
    } while (more);
    return longest;
}

void *bench_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    bench_check(memory == MAP_FAILED ? MP_ENOMEM : 0, "mmap");
    return memory;
}

struct start {
    atomic_int waiting; /* processes that have not arrived at the start yet */
    struct {
        double begin, end;
    } time[BENCH_MAX_PROCESSES];
};

static struct start *new_start(int processes)
{
    struct start *start = bench_shared(sizeof *start);

    atomic_store(&start->waiting, processes);
    return start;
}

/* Seconds from the first begin to the last end. */
static double end_start(struct start *start, int processes)
{
    double begin = start->time[0].begin, end = start->time[0].end;

    for (int i = 1; i < processes; i++) {
        begin = start->time[i].begin < begin ? start->time[i].begin : begin;
        end = start->time[i].end > end ? start->time[i].end : end;
    }
    munmap(start, sizeof *start);
    return end - begin;
}

static void run_process(struct start *start, int process, bench_work *warm_up, bench_work *work, void *arg)
{
    if (warm_up != NULL)
        warm_up(process, arg);
    atomic_fetch_sub(&start->waiting, 1);
    while (atomic_load(&start->waiting) > 0)
        sched_yield();
    start->time[process].begin = bench_now();
    work(process, arg);
    start->time[process].end = bench_now();
}

static void wait_for(pid_t pid)
{
    int status;

    bench_check(waitpid(pid, &status, 0) == pid && status == 0 ? 0 : MP_ESYSTEM, "a process of a benchmark");
}

double bench_processes(int processes, bench_work *warm_up, bench_work *work, void *arg)
{
    struct start *start = new_start(processes);
    pid_t pid[BENCH_MAX_PROCESSES];

    for (int i = 0; i < processes; i++) {
        pid[i] = fork();
        bench_check(pid[i] < 0 ? MP_EAGAIN : 0, "fork");
        if (pid[i] == 0) {
            run_process(start, i, warm_up, work, arg);
            _exit(0);
        }
    }
    for (int i = 0; i < processes; i++)
        wait_for(pid[i]);
    return end_start(start, processes);
}

struct thread {
    pthread_t id;
    struct start *start;
    int number;
    bench_work *warm_up, *work;
    void *arg;
};

static void *run_thread(void *arg)
{
    struct thread *thread = arg;

    run_process(thread->start, thread->number, thread->warm_up, thread->work, thread->arg);
    return NULL;
}

double bench_threads(int threads, bench_work *warm_up, bench_work *work, void *arg)
{
    struct thread thread[BENCH_MAX_PROCESSES];
    struct start *start = new_start(threads);

    for (int i = 0; i < threads; i++) {
        thread[i] = (struct thread){.start = start, .number = i, .warm_up = warm_up, .work = work, .arg = arg};
        bench_check(pthread_create(&thread[i].id, NULL, run_thread, &thread[i]) ? MP_EAGAIN : 0, "pthread_create");
    }
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i].id, NULL);
    return end_start(start, threads);
}
