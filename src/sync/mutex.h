/* The process-shared, robust, error-checking mutex that all shared structures stand on.
 *
 * Its memory must never be used for anything else while the heap lives. A thread that is killed right after it unlocked
 * may still have the mutex noted as pending, and the kernel then looks at that word. */
#ifndef MUTEX_H
#define MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

/* The number of functions of the program's that the calling thread is inside of, each of which keeps an object's mutex
 * (callback.c). While it is 0, a mutex that a thread asks for and that names the thread itself is another thread's,
 * except in a signal handler: see mutex_lock_slow(). */
extern _Thread_local int mutex_kept;

/* 0; or MP_ESYSTEM: the system does not release what a thread holds when it ends, so threads that wait for one of these
 * mutexes could wait for a dead thread. The answer can change while the process runs. So each heap that is made or
 * opened asks anew. */
int mutex_supported(void);
/* 0; MP_ESYSTEM, as mutex_supported(), which this asks only if its last answer was not 0; MP_ENOMEM. */
int mutex_init(pthread_mutex_t *mutex);
/* Translates what a pthread_mutex_ function returned. For a mutex that another thread holds it is MP_ETIMEOUT. */
int mutex_error(int number);
/* The slow path of mutex_lock_until(). `number` is what pthread_mutex_trylock() returned when it failed. */
int mutex_lock_slow(pthread_mutex_t *mutex, int64_t deadline, int number);
/* Takes the mutex. A deadline that is past still takes a free mutex. Returns:
 *   - 0;
 *   - MP_EOWNERDEAD: taken, and the last owner died while it held the mutex. The caller repairs what the mutex guards.
 *     If the caller is killed meanwhile, the next owner gets MP_EOWNERDEAD again;
 *   - MP_EDEADLK: this thread holds it;
 *   - MP_ETIMEOUT;
 *   - MP_ECORRUPT: the memory is no mutex, or the mutex was made unusable. */
static inline int mutex_lock_until(pthread_mutex_t *mutex, int64_t deadline)
{
    int number = pthread_mutex_trylock(mutex);

    return number == 0 ? 0 : mutex_lock_slow(mutex, deadline, number);
}
static inline int mutex_lock(pthread_mutex_t *mutex)
{
    return mutex_lock_until(mutex, DEADLINE_NEVER);
}
/* After MP_EOWNERDEAD, once what the mutex guards is whole again. Unlocking the mutex without this makes it
 * unusable. */
void mutex_repaired(pthread_mutex_t *mutex);
/* For memory that another program may have written. 0; or MP_ECORRUPT: the memory is no mutex that mutex_init() has
 * made, or the mutex names a holder that cannot have taken it, as the holder does not exist or does not map this
 * memory. Waiting for such a mutex could last for ever. `numbers_tell` is false where the holder may be in another PID
 * namespace; then the holder is not looked for. */
int mutex_check(const pthread_mutex_t *mutex, bool numbers_tell);
/* 0, or MP_ENOTOWNER, MP_ECORRUPT. */
static inline int mutex_unlock(pthread_mutex_t *mutex)
{
    int number = pthread_mutex_unlock(mutex);

    return number == 0 ? 0 : mutex_error(number);
}

#endif
