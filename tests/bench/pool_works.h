/* The works of pools, the same for each system: processes, threads, or just a process at the other end of a pipe. A
 * program describes its system as a struct crew and calls pool_works() with it. */
#ifndef POOL_WORKS_H
#define POOL_WORKS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int crew_task(const void *arg, void *result);

/* How the items of a map are handed out. */
enum crew_share {
    CREW_EVEN,   /* items of equal length: the system's default */
    CREW_SKEWED, /* some take much longer: as the system's manual advises for that */
    CREW_SINGLY  /* one at a time */
};

/* A function that is NULL is not supported, and its works are left out. Functions that fail end the program. */
struct crew {
    const char *system;
    bool copies; /* a map copies its items to the workers and the results back; false: it works in place */
    bool starts; /* start() and end() start and end the workers; that is a work as well */
    bool loads;  /* its table is elsewhere: only works of tasks that compute, and sweeps */
    size_t part; /* slow: does one task where others do that many */

    void (*start)(int workers);
    void (*end)(void);
    /* Runs one task in another thread or process, and waits for it. */
    void (*apply)(crew_task *task, const void *arg, size_t arg_size, void *result, size_t result_size);
    /* Submits all tasks one by one, then waits for them one by one. */
    void (*each)(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count);
    void (*map)(crew_task *task, const void *args, size_t arg_size, void *results, size_t result_size, size_t count,
                enum crew_share share);
    /* send() hands `size` bytes over to another process and waits until it confirms them with one byte; fetch() does
     * the opposite. NULL for threads, which share all memory. */
    void (*send)(const void *data, size_t size);
    void (*fetch)(void *data, size_t size);
};

void pool_works(const struct crew *crew);

/* Sorts the times of round trips. Figures: the median and the 99th percentile, in seconds each. */
void pool_round_trips(double *seconds, size_t count, double *figures);

#ifdef __cplusplus
}
#endif

#endif
