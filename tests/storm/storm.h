/* Shared by the storms: options, random numbers, failing. */
#ifndef STORM_H
#define STORM_H

#include <stdbool.h>
#include <stdint.h>

#define LONG_FORM 10000

struct storm_options {
    const char *storm; /* the name of the storm */
    uint64_t kills;    /* number of kills to survive; 0: the default of the short run */
    uint64_t seed;
};

/* storm NAME [--long] [--kills N] [--seed S]. Prints how to repeat the run. Ends the program on wrong arguments. */
struct storm_options storm_parse(int argc, char **argv);

void storm_seed(uint64_t seed);
/* A number from 0 to below - 1. Each process needs a sequence of its own: call storm_seed() after a fork. */
uint64_t storm_random(uint64_t below);

/* Prints a broken promise and ends this process. */
_Noreturn void storm_fail(const char *file, int line, const char *what, long long is);
#define PROMISE(condition, value) \
    ((condition) ? (void)0 : storm_fail(__FILE__, __LINE__, #condition ", with " #value, (long long)(value)))

/* The exit code of a process that found a broken promise. */
#define STORM_FAILED 99

#endif
