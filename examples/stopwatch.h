/* Seconds, for timing, and naps. */
#ifndef STOPWATCH_H
#define STOPWATCH_H

#include <time.h>

static inline double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static inline void nap(double length)
{
    struct timespec time = {.tv_sec = (time_t)length, .tv_nsec = (long)((length - (double)(time_t)length) * 1e9)};

    nanosleep(&time, NULL);
}

#endif
