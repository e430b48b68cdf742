/* The step-by-step killer: proves that nothing is lost, corrupted or stuck when processes die.
 *
 * For each operation in its tables:
 *
 * 1. A traced process does the operation. Every point is found at which its death would leave a state that differs from
 *    the state at the point before (tracer.h).
 * 2. For each such point, in a fresh run, the process is killed there with SIGKILL. A sibling then uses the structure,
 *    and everything is checked: the heap's invariants and accounting, those of the container, and that the content is
 *    exactly that of before or of after the operation.
 * 3. The sibling's recovery is killed at its own points in the same way, and a third process has to find everything
 *    well.
 *
 * With --stops, the process is stopped at each such point, others read (stops.c), then the process is killed, and they
 * read once more. --table prints the longest read beside each operation as a table.
 *
 * With --reuse, the process is stopped there, and others use, free and use again all memory that they can get. Some of
 * that memory looks as if it held a mutex of the stopped process, which is then killed. With --dirty, free memory is
 * full of 0x4a: nothing may rely on zeros.
 *
 * By default an evenly spread part of all points is taken, always the same part. --all takes all of them, which takes
 * long. */
#include "killer.h"

#include <fnmatch.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tracer.h"

#define DEFAULT_POINTS 24
#define DEFAULT_RECOVERIES 6
#define SKIPPED 77

static const struct family *const families[] = {&dict_family, &list_family,  &hold_family,   &heap_family,
                                                &lock_family, &named_family, &memory_family, &pool_family};
#define FAMILIES (sizeof families / sizeof *families)

extern char __executable_start[], etext[]; /* set by the linker: the bounds of the program's code */

void failed(struct tally *tally, const struct operation *operation, size_t point, long recovery, uint64_t pc,
            const char *what)
{
    tally->failures++;
    printf("FAILED %s at point %zu", operation->name, point);
    if (recovery >= 0)
        printf(", recovery %ld", recovery);
    if (pc >= (uint64_t)(uintptr_t)__executable_start && pc < (uint64_t)(uintptr_t)etext)
        printf(" (program address 0x%lx)", (unsigned long)(pc - (uint64_t)(uintptr_t)__executable_start));
    else if (pc != 0)
        printf(" (in the C library)");
    printf(": %s\n    again: crash_killer --operation %s --point %zu", what, operation->name, point);
    if (recovery >= 0)
        printf(" --recovery %ld", recovery);
    printf("\n");
    fflush(stdout);
}

static bool table;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void run(const struct family *family, const struct operation *operation, const struct plan *plan,
                struct tally *total)
{
    struct tally tally = {0};
    double start = now();

    family->run(operation, plan, &tally);
    if (plan->stop && table)
        printf("| `%s` | %zu | %.0f | `%s` |\n", operation->name, tally.killed, tally.longest * 1e6, tally.call);
    else if (plan->stop)
        printf("%-32s points %6zu  stopped %6zu  longest read %8.3f ms (%s)  %6.2f s%s\n", operation->name,
               tally.points, tally.killed, tally.longest * 1e3, tally.call, now() - start,
               tally.failures > 0 ? "  FAILED" : "");
    else
        printf("%-32s points %6zu  killed %6zu  with waiters %5zu  in recovery %5zu  %6.2f s%s\n", operation->name,
               tally.points, tally.killed, tally.waiters, tally.recoveries, now() - start,
               tally.failures > 0 ? "  FAILED" : "");
    fflush(stdout);
    total->points += tally.points;
    total->killed += tally.killed;
    total->stepped += tally.stepped;
    total->recoveries += tally.recoveries;
    total->waiters += tally.waiters;
    total->failures += tally.failures;
    if (tally.longest > total->longest)
        total->longest = tally.longest;
}

/* Gives every run the same addresses and the same code paths: no randomised layout and no lazy symbol lookup. Copying
 * uses loops, not a repeated string instruction (`rep movsb`), which would be stepped byte by byte. */
static void settle_down(char **arguments)
{
    if (getenv("CRASH_KILLER") == NULL) {
        setenv("CRASH_KILLER", "settled", 1);
        setenv("GLIBC_TUNABLES",
               "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000", 1);
        setenv("LD_BIND_NOW", "1", 1);
        personality(ADDR_NO_RANDOMIZE);
        execv("/proc/self/exe", arguments);
    }
#ifdef __GLIBC__
    /* The allocator gets its private memory now, so that no process has to ask the system for more at some point. */
    mallopt(M_TOP_PAD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    free(malloc(1));
#endif
    pin_to_one_cpu();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* Some sandboxes forbid ptrace. */
static bool can_trace(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        long traced = ptrace(PTRACE_TRACEME, 0, NULL, NULL);

        _exit(traced == 0 ? 0 : 1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void list_all(void)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        for (size_t k = 0; k < families[i]->count; k++)
            printf("%s\n", families[i]->operation[k].name);
    }
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: crash_killer [--all] [--list] [--stops [--table]] [--reuse] [--dirty]\n"
                    "                    [--operation NAME|PATTERN] [--point K [--recovery J]]\n"
                    "                    [--points MOST] [--recoveries MOST]\n");
    exit(2);
}

static void parse(char **argument, struct plan *plan, const char **pattern)
{
    while (*++argument != NULL) {
        const char *option = *argument;

        if (strcmp(option, "--list") == 0) {
            list_all();
            exit(0);
        }
        if (strcmp(option, "--stops") == 0) {
            plan->stop = true;
            continue;
        }
        if (strcmp(option, "--reuse") == 0) {
            plan->reuse = true;
            continue;
        }
        if (strcmp(option, "--dirty") == 0) {
            plan->dirty = true;
            continue;
        }
        if (strcmp(option, "--table") == 0) {
            table = true;
            continue;
        }
        if (strcmp(option, "--all") == 0) {
            plan->points = plan->recoveries = SIZE_MAX;
            continue;
        }
        if (*++argument == NULL)
            usage();
        if (strcmp(option, "--operation") == 0)
            *pattern = *argument;
        else if (strcmp(option, "--point") == 0)
            plan->point = strtol(*argument, NULL, 10);
        else if (strcmp(option, "--recovery") == 0)
            plan->recovery = strtol(*argument, NULL, 10);
        else if (strcmp(option, "--points") == 0)
            plan->points = strtoul(*argument, NULL, 10);
        else if (strcmp(option, "--recoveries") == 0)
            plan->recoveries = strtoul(*argument, NULL, 10);
        else
            usage();
    }
}

/* Whether the family's scene is the one with containers. */
static bool has_containers(const struct family *family)
{
    return family == &dict_family || family == &list_family || family == &hold_family;
}

/* Whether others can reuse what a process of that family leaves. */
static bool reuses(const struct family *family)
{
    return has_containers(family) || family == &memory_family;
}

int main(int argc, char **argv)
{
    struct plan plan = {.points = DEFAULT_POINTS, .recoveries = DEFAULT_RECOVERIES, .point = -1, .recovery = -1};
    struct tally total = {0};
    const char *pattern = "*";
    size_t operations = 0;
    double start = now();

    (void)argc;
    settle_down(argv);
    parse(argv, &plan, &pattern);
    if (!can_trace()) {
        fprintf(stderr, "processes cannot be traced here\n");
        return SKIPPED;
    }
    if (table)
        printf("| writer | stopped at points | longest read, us | which |\n|---|---|---|---|\n");
    for (size_t i = 0; i < FAMILIES; i++) {
        for (size_t k = 0; k < families[i]->count; k++) {
            const struct operation *operation = &families[i]->operation[k];

            if (fnmatch(pattern, operation->name, 0) != 0 || (plan.stop && !has_containers(families[i])) ||
                (plan.reuse && !reuses(families[i])))
                continue;
            run(families[i], operation, &plan, &total);
            operations++;
        }
    }
    printf("total: %zu operations, points %zu; points stopped or killed at %zu (%zu reached by steps), with waiters "
           "%zu, in "
           "recovery %zu; "
           "failures %zu; %.1f s\n",
           operations, total.points, total.killed, total.stepped, total.waiters, total.recoveries, total.failures,
           now() - start);
    if (plan.stop)
        printf("longest read: %.3f ms\n", total.longest * 1e3);
    return operations > 0 && total.failures == 0 ? 0 : 1;
}
