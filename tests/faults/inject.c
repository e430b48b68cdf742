/* Makes every call fail once. scenario.h says what must hold then, calls.c lists the calls and errors.
 *
 *     inject [--all] [--storm] [--part NAME] [--call NAME] [--errno NUMBER] [--at N] [--sticky]
 *
 * By default an evenly spread part of all faults is tried, always the same part. --all: every fault. --storm: nothing
 * fails, but a signal arrives every 100 microseconds. The other options narrow the choice; they are printed with each
 * failure, so that it can be repeated. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "run.h"
#include "support.h"

#define SKIPPED 77
#define FIRST_POINTS 3 /* occurrences at the start that are always tried */
#define LATER_POINTS 4 /* and the number of later ones */

static struct {
    bool all, storm, sticky;
    const char *part, *call;
    int number, at;
} asked;

static long runs, failures, bad;

static void report(const struct plan *plan, const struct outcome *outcome)
{
    bad++;
    printf("FAILED: --part %s --call %s --errno %d --at %d%s (%s): %s\n", plan->part->name,
           plan->call != NULL ? plan->call->name : "none", plan->number, plan->at, plan->sticky ? " --sticky" : "",
           plan->number != 0 ? strerror(plan->number) : "nothing fails", outcome->complaint);
    fflush(stdout);
}

static bool run_one(const struct plan *plan, struct outcome *outcome)
{
    run(plan, outcome);
    runs++;
    failures += outcome->failed;
    if (!outcome->good)
        report(plan, outcome);
    return outcome->good;
}

/* The occurrence to try after `at`. */
static int next_point(int at, int count)
{
    int step = asked.all || at < FIRST_POINTS ? 1 : (count - FIRST_POINTS) / LATER_POINTS;

    return at + (step > 1 ? step : 1);
}

/* Makes one call fail with one error, at one occurrence after the other, until there is none left. */
static void fail_everywhere(struct plan plan, int count)
{
    struct outcome outcome;

    if (asked.at > 0) {
        plan.at = asked.at;
        run_one(&plan, &outcome);
        return;
    }
    for (plan.at = 1; plan.at <= count || asked.all; plan.at = next_point(plan.at, count)) {
        run_one(&plan, &outcome);
        if (outcome.failed == 0 && (outcome.good || plan.at > count))
            return;
    }
}

static void fail_call(struct plan plan, int count)
{
    for (const int *number = plan.call->errors; *number != 0; number++) {
        if (asked.number != 0 && asked.number != *number)
            continue;
        plan.number = *number;
        plan.sticky = false;
        if (!asked.sticky)
            fail_everywhere(plan, count);
        /* Signals without end are the storm's task, so EINTR is never sticky. */
        plan.sticky = true;
        if (*number != EINTR && (asked.all || asked.sticky || (asked.at == 0 && number == plan.call->errors)))
            fail_everywhere(plan, count);
    }
}

/* Checks that calls.c knows all system calls that were made. */
static void check_table(const struct part *part)
{
    for (long number = 0; number < LARGEST_CALL; number++) {
        bool known = calls_made[number] == 0 || call_cannot_fail(number);

        for (int i = 0; i < call_count; i++)
            known = known || calls[i].number == number;
        if (number == SYS_close || known) /* close() fails in a wrapper */
            continue;
        bad++;
        printf("FAILED: part %s makes system call %ld, which calls.c does not know\n", part->name, number);
    }
}

static int count_of(const struct plan *clean, const struct call *call)
{
    struct plan plan = *clean;
    struct outcome outcome;

    if (call->number >= 0)
        return call->number < LARGEST_CALL ? calls_made[call->number] : 0;
    plan.call = call;
    run_one(&plan, &outcome);
    return outcome.count;
}

static void fail_part(const struct part *part)
{
    struct plan clean = {.part = part, .allowed_left = {100, 0, 100}};
    struct outcome outcome;
    long runs_before = runs, failures_before = failures;
    double begin = now();

    memset(calls_made, 0, sizeof calls_made);
    if (!run_one(&clean, &outcome))
        return;
    clean.allowed_left = outcome.left;
    check_table(part);
    for (int i = 0; i < call_count; i++) {
        struct plan plan = clean;

        if (asked.call != NULL && strcmp(asked.call, calls[i].name) != 0)
            continue;
        plan.call = &calls[i];
        int count = count_of(&clean, plan.call);
        if (count > 0)
            fail_call(plan, count);
    }
    printf("%-12s %5ld runs, %6ld calls made to fail, %.1f s\n", part->name, runs - runs_before,
           failures - failures_before, now() - begin);
    fflush(stdout);
}

static void blow_part(const struct part *part)
{
    const enum storm storms[] = {STORM_RESTART, STORM_INTERRUPT};

    for (int i = 0; i < (asked.all ? 40 : 10); i++) {
        struct plan plan = {.part = part, .storm = storms[i % 2], .allowed_left = {100, 0, 100}};
        struct outcome outcome;

        run_one(&plan, &outcome);
    }
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--all") == 0)
            asked.all = true;
        else if (strcmp(argv[i], "--storm") == 0)
            asked.storm = true;
        else if (strcmp(argv[i], "--sticky") == 0)
            asked.sticky = true;
        else if (value == NULL)
            return false;
        else if (strcmp(argv[i], "--part") == 0)
            asked.part = argv[++i];
        else if (strcmp(argv[i], "--call") == 0)
            asked.call = argv[++i];
        else if (strcmp(argv[i], "--errno") == 0)
            asked.number = atoi(argv[++i]);
        else if (strcmp(argv[i], "--at") == 0)
            asked.at = atoi(argv[++i]);
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    double begin = now();

    if (!parse(argc, argv)) {
        fprintf(stderr,
                "usage: %s [--all] [--storm] [--part NAME] [--call NAME] [--errno NUMBER] [--at N] [--sticky]\n",
                argv[0]);
        return 2;
    }
    if (!run_prepare())
        return SKIPPED;
    for (int i = 0; i < part_count; i++) {
        if (asked.part != NULL && strcmp(asked.part, parts[i].name) != 0)
            continue;
        if (asked.storm)
            blow_part(&parts[i]);
        else
            fail_part(&parts[i]);
    }
    printf("%ld runs, %ld calls made to fail, %ld bad, %.1f s\n", runs, failures, bad, now() - begin);
    return bad == 0 ? 0 : 1;
}
