#include "sync/mutex.h"

#include <errno.h>
#include <features.h>
#include <mp.h>
#include <stdatomic.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/proc.h"
#include "base/robust_mutex.h"

#define LOOK_NS (50 * MILLISECOND)
#define NAMESAKE_NS SECOND

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
/* ThreadSanitizer does not know pthread_mutex_clocklock(). Without it there is only the real-time clock, which may be
 * set while a thread waits. So the wait is done in short steps, each measured on the monotonic clock. */
static int lock_until(pthread_mutex_t *mutex, int64_t deadline)
{
    const int64_t step = 50000000;

    for (;;) {
        int64_t left = deadline - clock_now();
        struct timespec time;
        int error;

        clock_gettime(CLOCK_REALTIME, &time);
        if (left < 0) /* the deadline is past: tv_nsec must not be negative */
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

/* A sleeping thread looks at the mutex at least every LOOK_NS, as a wake-up can be lost:
 *   1. The owner unlocks the mutex and is killed before it wakes a sleeper.
 *   2. The kernel wakes one in its place, but not if another thread has taken the mutex meanwhile.
 *   3. That thread does not know of the sleeper, and wakes none when it unlocks. */
static int sleep_until_locked(pthread_mutex_t *mutex, int64_t deadline)
{
    int error;

    do {
        int64_t look = clock_now() + LOOK_NS;

        error = lock_until(mutex, look < deadline ? look : deadline);
    } while (error == ETIMEDOUT && clock_now() < deadline);
    return error;
}

/* Going to sleep and being woken by another CPU takes about 20 microseconds. Most holders hold a mutex for a fraction
 * of one. So the waiter first tries a few times, with pauses that double, for about as long as sleeping would cost
 * (competitive spinning). It loses at most twice what it could not have avoided, also when the holder is not running
 * because there are more processes than CPUs. The pauses leave the holder its cache line, so the holder gets on. */
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

/* EDEADLK says that the mutex names the calling thread's number. Another thread may have that number, too: a thread in
 * another PID namespace; and for the C library, a thread of a child that was made by a bare clone() has the number of
 * the thread that made it. The calling thread itself holds a mutex that it asks for only
 *   - inside functions of the program's (mutex_kept > 0). It gets MP_EDEADLK at once;
 *   - in a signal handler that has interrupted the thread while it held the mutex. That cannot be told from another
 *     thread's holding it, so this waits and returns MP_EDEADLK after NAMESAKE_NS. */
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
        clock_sleep(50 * MICROSECOND);
        number = pthread_mutex_trylock(mutex);
    }
}

void mutex_repaired(pthread_mutex_t *mutex)
{
    pthread_mutex_consistent(mutex);
}

/* When a thread dies, the kernel marks its robust mutexes before it unmaps the thread's memory and frees its number. So
 * if the thread that the word names is gone, or its process does not map this file, that thread never held the mutex:
 * the word is damaged. The word is read twice, as the holder may unlock and end in between. */
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
