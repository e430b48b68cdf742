/* The process-shared, robust, error-checking mutex that all shared structures stand on.
 *
 * Its memory must never be used for anything else while the heap lives: a thread killed right after it unlocked may
 * still have the mutex noted as pending, and the kernel then looks at that word. */
#ifndef MUTEX_H
#define MUTEX_H

#include <pthread.h>
#include <stdint.h>

int mutex_init(pthread_mutex_t *mutex);
/* 0; MP_EOWNERDEAD: taken, and the last owner died holding it (the caller repairs what it guards; a kill while it does
 * leads to MP_EOWNERDEAD again); MP_EDEADLK: this thread holds it. The mutex itself is usable again in every case. */
int mutex_lock(pthread_mutex_t *mutex);
/* The same with a deadline, and MP_ETIMEOUT. A deadline that is past takes a free mutex all the same. */
int mutex_lock_until(pthread_mutex_t *mutex, int64_t deadline);
/* After MP_EOWNERDEAD, once what it guards is whole again. Until then, unlocking makes the mutex unusable. */
void mutex_repaired(pthread_mutex_t *mutex);
/* 0, or MP_ECORRUPT: the memory is no mutex that mutex_init() has made, or one whose holder cannot have taken it, as
 * it does not exist or does not map this memory: waiting for it could last for ever. For memory that comes from elsewhere. */
int mutex_check(const pthread_mutex_t *mutex);
/* 0, or MP_ENOTOWNER. */
int mutex_unlock(pthread_mutex_t *mutex);

#endif
