/* What the C libraries and the kernel know of a robust mutex: all that depends on how glibc and musl lay it out. */
#ifndef ROBUST_MUTEX_H
#define ROBUST_MUTEX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the memory of a robust mutex contains, as the C library lays it out:
 * - robust_mutex_word(): the word that the kernel reads when a thread ends. The bits of ROBUST_THREAD are the number of
 *   the thread that holds the mutex.
 * - robust_mutex_type(): its type with all attributes.
 * - robust_mutex_held(): whether a thread holds it whose death has not been noted, and which one (0: the word is
 *   garbage). */
#define ROBUST_THREAD UINT32_C(0x3fffffff)
static inline uint32_t robust_mutex_word(const pthread_mutex_t *mutex)
{
#ifdef __GLIBC__
    return (uint32_t)__atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED);
#else
    return (uint32_t)__atomic_load_n(&mutex->__u.__i[1], __ATOMIC_RELAXED);
#endif
}
int robust_mutex_type(const pthread_mutex_t *mutex);
bool robust_mutex_held(const pthread_mutex_t *mutex, pid_t *thread);
/* For assertions: whether a thread holds it, that of the caller or another, without a system call. */
static inline bool mutex_is_held(const pthread_mutex_t *mutex)
{
    return (robust_mutex_word(mutex) & ROBUST_THREAD) != 0;
}
/* Whether the word names the calling thread. It may also do so if a thread with the same number, in another PID
 * namespace, holds the mutex. */
bool robust_mutex_is_mine(const pthread_mutex_t *mutex);
/* Whether the system marks a thread's robust mutexes when it ends, so that others get them. A sandbox can forbid it,
 * and emulators do not do it. False: errno says why. */
bool robust_mutexes_work(void);
/* Marks a mutex as the kernel does when the holder ends: the next thread to lock it gets EOWNERDEAD. False: the word is
 * no longer `word`. */
bool robust_mutex_owner_died(pthread_mutex_t *mutex, uint32_t word);

#endif
