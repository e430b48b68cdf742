#include "storm.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static atomic_long signals;
static bool blowing; /* children inherit the handler, not the timer */

static void count(int number)
{
    (void)number;
    atomic_fetch_add_explicit(&signals, 1, memory_order_relaxed);
}

static void start_timer(void)
{
    const struct itimerval timer = {{.tv_usec = 100}, {.tv_usec = 100}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

void storm_begin(bool restart)
{
    const struct sigaction action = {.sa_handler = count, .sa_flags = restart ? SA_RESTART : 0};

    sigaction(SIGALRM, &action, NULL);
    blowing = true;
    start_timer();
}

void storm_join(void)
{
    if (blowing)
        start_timer();
}

long storm_signals(void)
{
    return atomic_load(&signals);
}
