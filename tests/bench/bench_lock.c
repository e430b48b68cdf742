/* A lock, and for comparison what it is built on: a robust process-shared pthread mutex. */
#include <mp.h>
#include <pthread.h>

#include "lock_works.h"

static mp_lock *lock;
static pthread_mutex_t *mutex;

static void lock_once(void)
{
    BENCH_CHECK(mp_lock_acquire(lock, MP_FOREVER));
    ++*lock_guarded;
    BENCH_CHECK(mp_lock_release(lock));
}

static void mutex_once(void)
{
    BENCH_CHECK(pthread_mutex_lock(mutex));
    ++*lock_guarded;
    BENCH_CHECK(pthread_mutex_unlock(mutex));
}

static void make_mutex(void)
{
    pthread_mutexattr_t attributes;

    mutex = bench_shared(sizeof *mutex);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    lock_works_begin();
    make_mutex();
    BENCH_CHECK(mp_lock_create(&lock, NULL));
    lock_works("libmp", lock_once, NULL, 1);
    lock_works("robust mutex", mutex_once, NULL, 1);
    BENCH_CHECK(mp_lock_free(lock));
    return 0;
}
