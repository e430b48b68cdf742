/* The process-shared, robust, error-checking mutex that all shared structures stand on.
 *
 * Its memory must never be used for anything else while the heap lives: a thread killed right after it unlocked may
 * still have the mutex noted as pending, and the kernel then looks at that word. */
#ifndef MUTEX_H
#define MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/platform.h"

/* How many functions of the user's this thread is inside of, each of which keeps a mutex (callback.c): only then can a
 * mutex that bears this thread's number be its own. */
extern _Thread_local int mutex_kept;

/* 0, or MP_ESYSTEM: the system does not give away what a thread holds when it ends, and all that stands on these
 * mutexes would wait for the dead. It may have been told so lately: so each heap that is made or opened asks anew. */
int mutex_supported(void);
/* 0, or MP_ESYSTEM (as above, as far as was known last), MP_ENOMEM. */
int mutex_init(pthread_mutex_t *mutex);
/* What the numbers mean that the C library's functions return; that the mutex is held by another is MP_ETIMEOUT. */
int mutex_error(int number);
/* The rest of mutex_lock_until(), after pthread_mutex_trylock() has failed: `number` is what it returned. */
int mutex_lock_slow(pthread_mutex_t *mutex, int64_t deadline, int number);
/* 0; MP_EOWNERDEAD: taken, and the last owner died holding it (the caller repairs what it guards; a kill while it does
 * leads to MP_EOWNERDEAD again); MP_EDEADLK: this thread holds it; MP_ETIMEOUT; MP_ECORRUPT: it is no mutex, or was
 * given up for good. A deadline that is past takes a free mutex all the same. */
static inline int mutex_lock_until(pthread_mutex_t *mutex, int64_t deadline)
{
    int number = pthread_mutex_trylock(mutex);

    return number == 0 ? 0 : mutex_lock_slow(mutex, deadline, number);
}
static inline int mutex_lock(pthread_mutex_t *mutex)
{
    return mutex_lock_until(mutex, DEADLINE_NEVER);
}
/* After MP_EOWNERDEAD, once what it guards is whole again. Until then, unlocking makes the mutex unusable. */
void mutex_repaired(pthread_mutex_t *mutex);
/* 0, or MP_ECORRUPT: the memory is no mutex that mutex_init() has made, or one whose holder cannot have taken it, as
 * it does not exist or does not map this memory: waiting for it could last for ever. For memory that comes from
 * elsewhere. `numbers_tell` is false where the holder may be in another PID namespace: then it is not looked for. */
int mutex_check(const pthread_mutex_t *mutex, bool numbers_tell);
/* 0, or MP_ENOTOWNER, MP_ECORRUPT. */
static inline int mutex_unlock(pthread_mutex_t *mutex)
{
    int number = pthread_mutex_unlock(mutex);

    return number == 0 ? 0 : mutex_error(number);
}

#endif
