/* Shared by the benchmarks. Each bench_<topic>.c is one program with a table of struct bench. It runs each of them once
 * and prints a line `system,work,figure,unit` for each figure. run.sh runs all programs in turn, for several rounds, so
 * that a disturbance of the machine hits all of them alike. table.awk makes the table of medians. A program in any
 * other language can take part by printing such lines: bench.py is Python's.
 *
 * Systems that do the same work give it the same name, so that they can be compared. Units that end in "/s" and "share"
 * are better when high, all others when low. Names contain no commas. A work of a sweep is named `work|what is
 * varied|its value`.
 *
 * peers/ has the programs of the systems that libmp is compared with. dict_works.h, pool_works.h and lock_works.h have
 * the works that several systems do, so that all do exactly the same. */
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
        const char *work, *unit; /* work NULL: no further figure */
    } name[BENCH_FIGURES];
    void (*run)(const struct bench *bench, double *figures); /* does the work once; stores a figure for each name */
    int processes; /* for `run` to use: the number of processes that do the work, or of workers */
};

/* Reads the arguments: [--quick] [--sweep] [WORD]. With a word, only works whose name contains it are run. */
void bench_begin(int argc, char **argv);
void bench_run(const struct bench *table, size_t count);
/* Whether the program has to run its sweeps instead of its table. */
bool bench_sweeps(void);
/* Whether works of this name have to be run. */
bool bench_wanted(const char *work);
/* Prints a figure of a sweep. */
void bench_point(const char *system, const char *work, const char *varied, double x, double figure, const char *unit);

/* How often to repeat something that a whole run does `full` times: much less in a quick run. */
size_t bench_count(size_t full);
/* Seconds on the monotonic clock. */
double bench_now(void);
/* Sleeps for that time. */
void bench_rest(double seconds);
/* Ends the program and names the failed call, unless code is 0. */
#define BENCH_CHECK(call) bench_check((call), #call)
void bench_check(int code, const char *call);
/* A pseudo-random number that depends on `seed` alone (splitmix64). */
uint64_t bench_random(uint64_t seed);
/* bench_burn() computes for that many steps; bench_steps_per_second() is the number of steps per second when nothing
 * else runs. The length of a task is given in steps, not by the clock: a worker that is not scheduled would let the
 * clock run without working. */
uint64_t bench_burn(uint64_t steps);
double bench_steps_per_second(void);

/* Runs work(process, arg) in that many processes at once. Returns the seconds from the first begin to the last end.
 * Each process first calls warm_up(process, arg), unless that is NULL; they begin together when all have done so. */
typedef void bench_work(int process, void *arg);
double bench_processes(int processes, bench_work *warm_up, bench_work *work, void *arg);
/* Like bench_processes(), but with threads, for systems that live in one process. */
double bench_threads(int threads, bench_work *warm_up, bench_work *work, void *arg);
/* Calls step(arg) until it returns false. Returns the longest time between the ends of two calls, in seconds. */
double bench_longest_pause(bool (*step)(void *arg), void *arg);
/* Zeroed memory, shared by processes that are forked later, and never freed. */
void *bench_shared(size_t size);
/* A path with that name for the files of peers, in a folder in memory that run.sh makes and removes. The caller frees
 * it. */
char *bench_file(const char *name);

#ifdef __cplusplus
}
#endif

#endif
