/* Delays between the steps of what several processes do at once, for tests: with -DMP_DELAYS a process sometimes spins,
 * yields, sleeps or, in a worker, dies where DELAY_POINT() stands. So meetings that are rare otherwise happen often.
 * Without it, nothing is compiled.
 *
 * The environment says how: MP_DELAY_SEED; MP_DELAY_ONE_IN (of how many points one delays, 0: none), MP_DELAY_MAX_US
 * (the longest sleep), MP_DELAY_KILL_ONE_IN (of how many points one kills a worker, 0: none). */
#ifndef DELAY_H
#define DELAY_H

#ifdef MP_DELAYS
void delay_point(void);
/* Called in a worker: from here on it may die at a point. */
void delay_may_kill(void);
#define DELAY_POINT() delay_point()
#define DELAY_MAY_KILL() delay_may_kill()
#else
#define DELAY_POINT() ((void)0)
#define DELAY_MAY_KILL() ((void)0)
#endif

#endif
