/* What the benchmarks share. Each bench_<topic>.c is one program with a table of struct bench. It runs every one of
 * them once and prints a line `system,work,figure,unit` for each figure; run.sh calls all programs by turns, several
 * rounds, so that what disturbs the machine for a while disturbs all alike, and table.awk makes the table of medians. A
 * program in any other language that prints such lines takes part as well: bench.py is Python's.
 *
 * Systems that do the same work name it the same: that is how they are compared. Units that end in "/s" and "share" are
 * better when high, all others when low. No commas in names. A work of a sweep is named `work|what is varied|how much
 * of it`.
 *
 * peers/ has the programs of the systems that libmp is compared with. dict_works.h, pool_works.h and lock_works.h have
 * the works that several systems do, so that all do the very same. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_FIGURES 2
#define BENCH_MAX_PROCESSES 64

struct bench {
    const char *system;
    struct bench_name {
        const char *work, *unit; /* work NULL: no such figure */
    } name[BENCH_FIGURES];
    void (*run)(const struct bench *bench, double *figures); /* does the work once; stores a figure for each name */
    int processes; /* for `run` to use: of those that do the work, or of workers */
};

/* Reads the arguments: [--quick] [--sweep] [WORD]; with a word, only works whose name has it in it are run. */
void bench_begin(int argc, char **argv);
void bench_run(const struct bench *table, size_t count);
/* Whether a program is asked for its sweeps, and not for its table. */
bool bench_sweeps(void);
/* Whether works of this name are to be run. */
bool bench_wanted(const char *work);
/* Prints a figure of a sweep. */
void bench_point(const char *system, const char *work, const char *varied, double x, double figure, const char *unit);

/* How often to do something that is done `full` times in a whole run: much less in a quick one. */
size_t bench_count(size_t full);
/* Seconds on the monotonic clock. */
double bench_now(void);
/* Sleeps so long. */
void bench_rest(double seconds);
/* Ends the program, saying which call failed, unless code is 0. */
#define BENCH_CHECK(call) bench_check((call), #call)
void bench_check(int code, const char *call);
/* A pseudo-random number that depends on `seed` alone (splitmix64). */
uint64_t bench_random(uint64_t seed);
/* Works for so many steps; and how many of them take a second here when nothing else runs. A task of a certain length
 * is made of steps, not of a look at the clock: a worker that does not run would look at the clock for nothing. */
uint64_t bench_burn(uint64_t steps);
double bench_steps_per_second(void);

/* Runs work(process, arg) in so many processes at once and returns the seconds from when the first began until the last
 * ended. Each calls warm_up(process, arg) before, which may be NULL; they begin together when all have. */
typedef void bench_work(int process, void *arg);
double bench_processes(int processes, bench_work *warm_up, bench_work *work, void *arg);
/* The same by threads, for systems that live in one process. */
double bench_threads(int threads, bench_work *warm_up, bench_work *work, void *arg);
/* Calls step(arg) until it returns false; the longest time between the ends of two, in seconds. */
double bench_longest_pause(bool (*step)(void *arg), void *arg);
/* Memory that processes forked later share; zeroed, never given back. */
void *bench_shared(size_t size);
/* A path of that name for files of peers: in a folder in memory that run.sh makes and removes. The caller frees it. */
char *bench_file(const char *name);

#ifdef __cplusplus
}
#endif

#endif
