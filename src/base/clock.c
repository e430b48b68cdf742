#include "base/clock.h"

#include <math.h>
#include <mp.h>
#include <time.h>

#include "base/cancelling.h"

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

int64_t clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_boot(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

bool clock_deadline(double seconds, int64_t *deadline)
{
    if (isnan(seconds))
        return false;
    if (seconds >= MP_FOREVER) { /* does not read the clock, which costs as much as a short wait itself */
        *deadline = DEADLINE_NEVER;
        return true;
    }
    int64_t now = clock_now();
    if (seconds <= 0)
        *deadline = now;
    else if (seconds >= (double)(INT64_MAX - now) / (double)SECOND - 1)
        *deadline = DEADLINE_NEVER;
    else
        *deadline = now + (int64_t)(seconds * (double)SECOND);
    return true;
}

void clock_sleep(int64_t nanoseconds)
{
    const struct timespec pause = {.tv_sec = (time_t)(nanoseconds / SECOND), .tv_nsec = (long)(nanoseconds % SECOND)};
    CANCELLING_FORBIDDEN;

    nanosleep(&pause, NULL);
}
