#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t state;

static _Noreturn void usage(const char *program)
{
    fprintf(stderr, "usage: %s STORM [--long] [--kills N] [--seed S]\n", program);
    exit(2);
}

struct storm_options storm_parse(int argc, char **argv)
{
    struct storm_options options = {.seed = 1};

    if (argc < 2)
        usage(argv[0]);
    options.storm = argv[1];
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--long") == 0)
            options.kills = LONG_FORM;
        else if (strcmp(argv[i], "--kills") == 0 && i + 1 < argc)
            options.kills = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            options.seed = strtoull(argv[++i], NULL, 10);
        else
            usage(argv[0]);
    }
    printf("%s: seed %llu\n", options.storm, (unsigned long long)options.seed);
    fflush(stdout);
    storm_seed(options.seed);
    return options;
}

void storm_seed(uint64_t seed)
{
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* splitmix64 */
uint64_t storm_random(uint64_t below)
{
    uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % below;
}

_Noreturn void storm_fail(const char *file, int line, const char *what, long long is)
{
    fprintf(stderr, "%s:%d: not so in process %d: %s = %lld\n", file, line, (int)getpid(), what, is);
    _exit(STORM_FAILED);
}
