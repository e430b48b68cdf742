#include "lock_works.h"

#define CONTENDERS 8
#define CONTEND_SECONDS 0.5

volatile uint64_t *lock_guarded;

/* The count that the lock guards, how often each process got the lock, and how long it waited at most. */
static struct shared {
    uint64_t guarded;
    struct {
        _Alignas(64) uint64_t count;
        double longest; /* seconds */
    } process[BENCH_MAX_PROCESSES];
} * shared;

static void (*lock_once)(void);
static size_t part;
static void (*enter)(void);

void lock_works_begin(void)
{
    shared = bench_shared(sizeof *shared);
    lock_guarded = &shared->guarded;
}

static void alone(const struct bench *bench, double *figures)
{
    size_t times = bench_count(10000000) / part;
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < times; i++)
        lock_once();
    figures[0] = (bench_now() - begin) / (double)times * 1e9;
}

static void warm_up(int process, void *arg)
{
    (void)process;
    (void)arg;
    if (enter != NULL)
        enter();
}

static void contend(int process, void *arg)
{
    double end = bench_now() + *(double *)arg;
    uint64_t count = 0;

    do {
        for (int i = 0; i < 256; i++)
            lock_once();
        count += 256;
    } while (bench_now() < end);
    shared->process[process].count = count;
}

static void contend_timed(int process, void *arg)
{
    double now = bench_now(), end = now + *(double *)arg, longest = 0;

    while (now < end) {
        double begin = now;

        lock_once();
        now = bench_now();
        longest = now - begin > longest ? now - begin : longest;
    }
    shared->process[process].longest = longest;
}

/* `processes` processes want the lock all the time. Figures: how often per second they get it together, in millions;
 * and the count of the process that got it least, divided by that of the process that got it most. */
static void contend_all(int processes, double seconds, double *figures)
{
    uint64_t total = 0, least = UINT64_MAX, most = 0;
    double taken = bench_processes(processes, warm_up, contend, &seconds);

    for (int i = 0; i < processes; i++) {
        uint64_t count = shared->process[i].count;

        total += count;
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    figures[0] = (double)total / taken * 1e-6;
    figures[1] = (double)least / (double)most;
}

static void contended(const struct bench *bench, double *figures)
{
    contend_all(bench->processes, CONTEND_SECONDS, figures);
}

/* How long a process waits for the lock at most, while others want it all the time. Includes the time that it has to
 * wait for a CPU. */
static void longest_wait(const struct bench *bench, double *figures)
{
    double seconds = CONTEND_SECONDS;

    bench_processes(bench->processes, warm_up, contend_timed, &seconds);
    figures[0] = 0;
    for (int i = 0; i < bench->processes; i++) {
        if (shared->process[i].longest * 1e3 > figures[0])
            figures[0] = shared->process[i].longest * 1e3;
    }
}

static void sweep(const char *system)
{
    int most = bench_count(BENCH_MAX_PROCESSES) == BENCH_MAX_PROCESSES ? BENCH_MAX_PROCESSES : 4;

    if (!bench_wanted("lock|processes"))
        return;
    for (int processes = 1; processes <= most; processes *= 2) {
        double figures[2];

        contend_all(processes, CONTEND_SECONDS / 2, figures);
        bench_point(system, "lock + unlock", "processes", processes, figures[0], "M/s");
    }
}

void lock_works(const char *system, void (*once)(void), void (*enter_process)(void), size_t slow)
{
    const struct bench table[] = {
        {system, {{"lock + unlock uncontended", "ns"}}, alone, 1},
        {system,
         {{"lock + unlock by 8 processes", "M/s"}, {"lock by 8 processes: least/most", "share"}},
         contended,
         CONTENDERS},
        {system, {{"lock by 8 processes: longest wait", "ms"}}, longest_wait, CONTENDERS},
    };

    lock_once = once;
    enter = enter_process;
    part = slow;
    if (bench_sweeps())
        sweep(system);
    else
        bench_run(table, sizeof table / sizeof *table);
}
