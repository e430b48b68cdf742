#include "sync/mutex.h"

#include <errno.h>
#include <features.h>
#include <mp.h>
#include <stdatomic.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/platform.h"

#define LOOK_NS INT64_C(50000000)
#define NAMESAKE_NS INT64_C(1000000000)

_Thread_local int mutex_kept;

static atomic_bool supported;

int mutex_supported(void)
{
    bool work = robust_mutexes_work();

    atomic_store_explicit(&supported, work, memory_order_relaxed);
    return work ? 0 : MP_ESYSTEM;
}

int mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;

    if (!atomic_load_explicit(&supported, memory_order_relaxed) && mutex_supported() != 0)
        return MP_ESYSTEM;
    if (pthread_mutexattr_init(&attributes) != 0)
        return MP_ENOMEM;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    int error = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error == 0 ? 0 : MP_ESYSTEM;
}

int mutex_error(int number)
{
    switch (number) {
    case 0:
        return 0;
    case EOWNERDEAD:
        return MP_EOWNERDEAD;
    case EDEADLK:
        return MP_EDEADLK;
    case EBUSY:
    case ETIMEDOUT:
        return MP_ETIMEOUT;
    case EPERM:
        return MP_ENOTOWNER;
    default: /* ENOTRECOVERABLE, EINVAL: the memory is no mutex of ours */
        return MP_ECORRUPT;
    }
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KNOWS_NO_CLOCKLOCK
#endif
#endif
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(KNOWS_NO_CLOCKLOCK)
#define HAS_CLOCKLOCK __GLIBC_PREREQ(2, 30)
#else
#define HAS_CLOCKLOCK 0
#endif

#if HAS_CLOCKLOCK
static int lock_until(pthread_mutex_t *mutex, int64_t deadline)
{
    struct timespec time = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};

    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &time);
}
#else
/* Without pthread_mutex_clocklock(), which ThreadSanitizer does not know, only the real-time clock is offered, which
 * may be set while we wait: so in short steps, each measured on the monotonic clock. */
static int lock_until(pthread_mutex_t *mutex, int64_t deadline)
{
    const int64_t step = 50000000;

    for (;;) {
        int64_t left = deadline - clock_now();
        struct timespec time;
        int error;

        clock_gettime(CLOCK_REALTIME, &time);
        if (left < 0) /* past: nanoseconds below 0 would be no time */
            left = 0;
        int64_t end = time.tv_nsec + (left < step ? left : step);
        time.tv_sec += end / 1000000000;
        time.tv_nsec = end % 1000000000;
        error = pthread_mutex_timedlock(mutex, &time);
        if (error != ETIMEDOUT || clock_now() >= deadline)
            return error;
    }
}
#endif

/* Nobody sleeps for long without looking. An owner may be killed after it has given the mutex up and before it has
 * woken who sleeps; the kernel wakes them in its place, but not if somebody else has taken the mutex meanwhile, who in
 * turn knows of no sleeper to wake. */
static int sleep_until_locked(pthread_mutex_t *mutex, int64_t deadline)
{
    int error;

    do {
        int64_t look = clock_now() + LOOK_NS;

        error = lock_until(mutex, look < deadline ? look : deadline);
    } while (error == ETIMEDOUT && clock_now() < deadline);
    return error;
}

/* Going to sleep and being woken by another CPU takes some twenty microseconds, most holders hold a mutex for a
 * fraction of one. So looks a few times first, ever less often, for about as long: then who waits has lost no more than
 * twice what it could not have avoided, also when the holder is not running, as there are more processes than CPUs. And
 * the holder, whose cache line others seldom ask for, gets on. */
static int spin(pthread_mutex_t *mutex)
{
    static _Atomic int cpus;
    int number = EBUSY;

    if (atomic_load_explicit(&cpus, memory_order_relaxed) == 0)
        atomic_store_explicit(&cpus, cpus_online(), memory_order_relaxed);
    if (atomic_load_explicit(&cpus, memory_order_relaxed) == 1)
        return EBUSY;
    for (int pauses = 30; number == EBUSY && pauses <= 480; pauses *= 2) {
        for (int i = 0; i < pauses; i++)
            cpu_relax();
        number = pthread_mutex_trylock(mutex);
    }
    return number;
}

static void nap(void)
{
    const struct timespec pause = {.tv_nsec = 50000};
    CANCELLING_FORBIDDEN;

    nanosleep(&pause, NULL);
}

/* A thread of a child that was made by a bare clone() has the number of the one that made it, for the C library: what
 * either holds, the other is told it holds itself. A thread comes to ask for what it does hold only inside functions of
 * the user's, or in a signal handler that has interrupted it: the latter is told after a while. */
int mutex_lock_slow(pthread_mutex_t *mutex, int64_t deadline, int number)
{
    int64_t give_up = 0;

    for (;;) {
        if (number == EBUSY)
            number = spin(mutex);
        if (number == EBUSY)
            number = sleep_until_locked(mutex, deadline);
        if (number != EDEADLK || mutex_kept > 0)
            return mutex_error(number);
        int64_t now = clock_now();
        if (give_up == 0)
            give_up = now + NAMESAKE_NS;
        if (now >= give_up || now >= deadline)
            return now >= give_up ? MP_EDEADLK : MP_ETIMEOUT;
        nap();
        number = pthread_mutex_trylock(mutex);
    }
}

void mutex_repaired(pthread_mutex_t *mutex)
{
    pthread_mutex_consistent(mutex);
}

/* The kernel notes a holder's death before its mappings go and its number is free: so who is gone, or has never mapped
 * this, and still stands there, never held it. */
static bool held_by_nobody(const pthread_mutex_t *mutex)
{
    pid_t thread, again;

    if (!robust_mutex_held(mutex, &thread) || (thread != 0 && thread_shares(thread, mutex)))
        return false;
    return robust_mutex_held(mutex, &again) && again == thread;
}

int mutex_check(const pthread_mutex_t *mutex, bool numbers_tell)
{
    pthread_mutex_t model;
    int error = mutex_init(&model);

    if (error != 0)
        return error;
    bool sound = robust_mutex_type(mutex) == robust_mutex_type(&model) && !(numbers_tell && held_by_nobody(mutex));
    pthread_mutex_destroy(&model);
    return sound ? 0 : MP_ECORRUPT;
}
