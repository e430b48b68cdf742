/* The machine itself, to compare tables of different machines:
 *
 * - the cost of a cache miss that the next step waits for (each get in a dict of a million entries has two);
 * - how far the misses of one search and the next overlap, depending on the number of instructions in a search;
 * - the system's cost of each new page of memory;
 * - how long a process that is ready to run does not run while another computes. */
#include <mp.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench.h"

#define LINE 8 /* words in a cache line */

static size_t lines;
static size_t *memory; /* the first word of each line is the index of the next line; one cycle through all lines */

static void make_ring(void)
{
    size_t *order = malloc(lines * sizeof *order);

    memory = malloc(lines * LINE * sizeof *memory);
    for (size_t i = 0; i < lines; i++)
        order[i] = i;
    for (size_t i = lines - 1; i > 0; i--) {
        size_t other = bench_random(i) % (i + 1), line = order[i];

        order[i] = order[other];
        order[other] = line;
    }
    for (size_t i = 0; i < lines; i++)
        memory[order[i] * LINE] = order[(i + 1) % lines] * LINE;
    free(order);
}

static void chase(const struct bench *bench, double *figures)
{
    size_t steps = bench_count(2000000), at = 0;
    double begin = bench_now();

    (void)bench;
    for (size_t i = 0; i < steps; i++)
        at = ((volatile size_t *)memory)[at];
    figures[0] = (bench_now() - begin) / (double)steps * 1e9;
}

/* An instruction that does not wait for memory, and groups of them. */
#define ADD(x) \
    __asm__ volatile("" : "+r"(x)); \
    (x)++;
#define ADD_10(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x) ADD(x)
#define ADD_50(x) ADD_10(x) ADD_10(x) ADD_10(x) ADD_10(x) ADD_10(x)

/* A search waits for memory twice: for a word, and for the word that it leads to. The searches do not depend on each
 * other. */
#define SEARCHES(name, instructions) \
    static void name(const struct bench *bench, double *figures) \
    { \
        volatile size_t *words = memory; \
        size_t steps = bench_count(2000000), sum = 0; \
        double begin = bench_now(); \
\
        (void)bench; \
        for (size_t i = 0, other = 0; i < steps; i++, other = i) { \
            instructions; \
            sum += words[words[bench_random(i) % lines * LINE]] + other; \
        } \
        figures[0] = (bench_now() - begin) / (double)steps * 1e9 + (sum == 1); \
    }

SEARCHES(search, )
SEARCHES(search_100, ADD_50(other) ADD_50(other))
SEARCHES(search_200, ADD_50(other) ADD_50(other) ADD_50(other) ADD_50(other))
SEARCHES(search_300, ADD_50(other) ADD_50(other) ADD_50(other) ADD_50(other) ADD_50(other) ADD_50(other))

#define PAGE 4096

/* Touches new memory, shared between processes or private. */
static double touch(int sharing)
{
    size_t pages = bench_count(16384);
    char *new = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);

    BENCH_CHECK(new == MAP_FAILED ? MP_ENOMEM : 0);
    double begin = bench_now();
    for (size_t i = 0; i < pages; i++)
        ((volatile char *)new)[i * PAGE] = 1;
    double each = (bench_now() - begin) / (double)pages * 1e9;
    munmap(new, pages * PAGE);
    return each;
}

static void touch_shared(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = touch(MAP_SHARED);
}

static void touch_private(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = touch(MAP_PRIVATE);
}

static bool is_not_over(void *end)
{
    return bench_now() < *(double *)end;
}

/* Runs as long as a dict takes to grow. */
static void compute_or_watch(int process, void *arg)
{
    double end = bench_now() + (double)bench_count(2000) * 1e-3;

    if (process == 1)
        *(double *)arg = bench_longest_pause(is_not_over, &end);
    while (bench_now() < end)
        bench_burn(100);
}

static void pauses(const struct bench *bench, double *figures)
{
    double *longest = bench_shared(sizeof *longest);

    bench_processes(bench->processes, NULL, compute_or_watch, longest);
    figures[0] = *longest * 1e3;
}

static const struct bench table[] = {
    {"no dict at all", {{"dict growing to 10 M: longest pause of another", "ms"}}, pauses, 2},
    {"no list at all", {{"list growing to 10 M: longest pause of another", "ms"}}, pauses, 2},
    {"machine", {{"dependent cache miss in 64 MiB", "ns"}}, chase, 1},
    {"machine", {{"two cache misses in a search of few instructions", "ns"}}, search, 1},
    {"machine", {{"two cache misses in a search of 100 more", "ns"}}, search_100, 1},
    {"machine", {{"two cache misses in a search of 200 more", "ns"}}, search_200, 1},
    {"machine", {{"two cache misses in a search of 300 more", "ns"}}, search_300, 1},
    {"machine", {{"first write to a page of shared memory", "ns"}}, touch_shared, 1},
    {"machine", {{"first write to a page of private memory", "ns"}}, touch_private, 1},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    lines = bench_count((size_t)64 << 20) / 64;
    make_ring();
    bench_run(table, sizeof table / sizeof *table);
    free(memory);
    return 0;
}
