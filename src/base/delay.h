/* Injection points for tests of races. With -DMP_DELAYS, a process sometimes spins, yields, sleeps or, in a worker,
 * dies where DELAY_POINT() stands, so that rare interleavings happen often. Without it, nothing is compiled.
 *
 * The environment says how: MP_DELAY_SEED; MP_DELAY_ONE_IN (n: a point delays with a chance of 1 in n; 0: never),
 * MP_DELAY_MAX_US (the longest sleep), MP_DELAY_KILL_ONE_IN (n: a point kills a worker with a chance of 1 in n; 0:
 * never). */
#ifndef DELAY_H
#define DELAY_H

#ifdef MP_DELAYS
void delay_point(void);
/* Called in a worker, which may die at a point from here on. */
void delay_may_kill(void);
#define DELAY_POINT() delay_point()
#define DELAY_MAY_KILL() delay_may_kill()
#else
#define DELAY_POINT() ((void)0)
#define DELAY_MAY_KILL() ((void)0)
#endif

#endif
