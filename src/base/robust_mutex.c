#include "base/robust_mutex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int robust_mutex_type(const pthread_mutex_t *mutex)
{
#ifdef __GLIBC__
    return mutex->__data.__kind;
#else
    return mutex->__u.__i[0];
#endif
}

bool robust_mutex_held(const pthread_mutex_t *mutex, pid_t *thread)
{
    uint32_t word = robust_mutex_word(mutex);

    *thread = (pid_t)(word & ROBUST_THREAD);
    return word != 0 && (word & FUTEX_OWNER_DIED) == 0;
}

bool robust_mutex_is_mine(const pthread_mutex_t *mutex)
{
    pid_t thread;

    return robust_mutex_held(mutex, &thread) && thread == (pid_t)syscall(SYS_gettid);
}

/* Asks with a length that is not valid: EINVAL means that the system lets the call through. */
static bool robust_lists_are_taken(void)
{
    errno = ENOSYS;
    return syscall(SYS_set_robust_list, NULL, (size_t)0) != 0 && errno == EINVAL;
}

/* Whether the C library has told the kernel of the calling thread's list of robust mutexes. As musl does so when the
 * thread locks the first one, this locks one. True also when the system does not tell. */
static bool robust_list_is_known(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutex_t mutex;
    size_t length;
    void *head = NULL;

    if (pthread_mutexattr_init(&attributes) != 0)
        return true;
    if (pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) != 0 ||
        pthread_mutex_init(&mutex, &attributes) != 0) {
        pthread_mutexattr_destroy(&attributes);
        return false;
    }
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_lock(&mutex);
    bool known = syscall(SYS_get_robust_list, 0, &head, &length) != 0 || head != NULL;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);
    return known;
}

bool robust_mutexes_work(void)
{
    int number = errno;

    if (!robust_lists_are_taken()) /* errno says why */
        return false;
    bool known = robust_list_is_known();
    errno = known ? number : ENOSYS;
    return known;
}

bool robust_mutex_owner_died(pthread_mutex_t *mutex, uint32_t word)
{
#ifdef __GLIBC__
    int *place = &mutex->__data.__lock;
#else
    volatile int *place = &mutex->__u.__vi[1];
#endif
    int expected = (int)word, died = (int)((word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);

    if (!__atomic_compare_exchange_n(place, &expected, died, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return false;
    if (word & FUTEX_WAITERS)
        syscall(SYS_futex, place, FUTEX_WAKE, 1, NULL, NULL, 0);
    return true;
}
