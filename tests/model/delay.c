/* DELAY_POINT() for a library that is compiled with -DMP_DELAYS; see src/base/delay.h. */
#include "base/delay.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t seed, one_in, longest_us, kill_one_in;
} options;

static _Thread_local uint64_t random_state;
static _Thread_local pid_t random_pid; /* a forked child starts a sequence of its own */
static int may_kill;

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

__attribute__((constructor)) static void read_options(void)
{
    options.seed = setting("MP_DELAY_SEED", 1);
    options.one_in = setting("MP_DELAY_ONE_IN", 16);
    options.longest_us = setting("MP_DELAY_MAX_US", 100);
    options.kill_one_in = setting("MP_DELAY_KILL_ONE_IN", 0);
}

static uint64_t next_random(void)
{
    if (random_pid != getpid()) {
        random_pid = getpid();
        random_state = (options.seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)random_pid << 20 ^
                       (uint64_t)(uintptr_t)&random_state;
    }
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state >> 8;
}

void delay_may_kill(void)
{
    may_kill = 1;
}

void delay_point(void)
{
    if (may_kill && options.kill_one_in != 0 && next_random() % options.kill_one_in == 0)
        kill(getpid(), SIGKILL);
    if (options.one_in == 0 || next_random() % options.one_in != 0)
        return;
    uint64_t how = next_random(), longest;
    switch (how % 4) {
    case 0:
        sched_yield();
        break;
    case 1: /* one delay in 64 is up to ten times as long */
        longest = options.longest_us * (how % 256 < 4 ? 10000 : 1000);
        nanosleep(&(struct timespec){.tv_nsec = (long)(how / 256 % (longest + 1))}, NULL);
        break;
    default:
        for (volatile uint64_t i = how / 4 % 2000; i > 0; i--)
            ;
    }
}
