/* What the storms share: options, chance, shared memory, failing. */
#ifndef STORM_H
#define STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LONG_FORM 10000

struct storm_options {
    const char *storm; /* which one */
    uint64_t kills;    /* how many to survive; 0: the short form's own number */
    uint64_t seed;
};

/* storm NAME [--long] [--kills N] [--seed S]. Prints what it takes to repeat the run. Ends the program on nonsense. */
struct storm_options storm_parse(int argc, char **argv);

void storm_seed(uint64_t seed);
/* 0 .. below - 1. Each process its own sequence: call storm_seed() after a fork. */
uint64_t storm_random(uint64_t below);
void storm_pause_us(uint64_t microseconds);

/* Zeroed memory that all processes forked from here on share. */
void *storm_shared(size_t size);

/* Something was promised and is not so: tells it and ends this process. */
_Noreturn void storm_fail(const char *file, int line, const char *what, long long is);
#define MUST(condition, value) \
    ((condition) ? (void)0 : storm_fail(__FILE__, __LINE__, #condition ", with " #value, (long long)(value)))

/* The exit code of a process in which something promised was not so. */
#define STORM_FAILED 99

#endif
