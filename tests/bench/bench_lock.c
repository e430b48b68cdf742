/* A lock, and beside it what it stands on: a robust process-shared pthread mutex without anything around it. */
#include <mp.h>
#include <pthread.h>

#include "bench.h"

#define CONTENDERS 8
#define CONTEND_SECONDS 0.5

static mp_lock *lock;
static pthread_mutex_t *mutex;

/* What the lock guards, and how often each process has had it. */
static struct shared {
    uint64_t guarded;
    struct {
        _Alignas(64) uint64_t count;
    } process[CONTENDERS];
} * shared;

static void lock_once(void)
{
    BENCH_CHECK(mp_lock_acquire(lock, MP_FOREVER));
    shared->guarded++;
    BENCH_CHECK(mp_lock_release(lock));
}

static void mutex_once(void)
{
    BENCH_CHECK(pthread_mutex_lock(mutex));
    shared->guarded++;
    BENCH_CHECK(pthread_mutex_unlock(mutex));
}

static double seconds_each(void (*once)(void))
{
    size_t times = bench_count(10000000);
    double begin = bench_now();

    for (size_t i = 0; i < times; i++)
        once();
    return (bench_now() - begin) / (double)times;
}

static void lock_alone(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = seconds_each(lock_once) * 1e9;
}

static void mutex_alone(const struct bench *bench, double *figures)
{
    (void)bench;
    figures[0] = seconds_each(mutex_once) * 1e9;
}

static void contend(int process, void *arg)
{
    void (**once)(void) = arg;
    double end = bench_now() + CONTEND_SECONDS;
    uint64_t count = 0;

    do {
        for (int i = 0; i < 256; i++)
            (*once)();
        count += 256;
    } while (bench_now() < end);
    shared->process[process].count = count;
}

static void contend_all(const struct bench *bench, void (*once)(void), double *figures)
{
    uint64_t total = 0, least = UINT64_MAX, most = 0;
    double seconds = bench_processes(bench->processes, NULL, contend, &once);

    for (int i = 0; i < bench->processes; i++) {
        uint64_t count = shared->process[i].count;

        total += count;
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    figures[0] = (double)total / seconds * 1e-6;
    figures[1] = (double)least / (double)most;
}

static void lock_contended(const struct bench *bench, double *figures)
{
    contend_all(bench, lock_once, figures);
}

static void mutex_contended(const struct bench *bench, double *figures)
{
    contend_all(bench, mutex_once, figures);
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

#define ALONE \
    { \
        { \
            "lock + unlock uncontended", "ns" \
        } \
    }
#define CONTENDED \
    { \
        {"lock + unlock by 8 processes", "M/s"}, \
        { \
            "lock by 8 processes: least/most", "share" \
        } \
    }

static const struct bench table[] = {
    {"libmp", ALONE, lock_alone, 1},
    {"robust mutex", ALONE, mutex_alone, 1},
    {"libmp", CONTENDED, lock_contended, CONTENDERS},
    {"robust mutex", CONTENDED, mutex_contended, CONTENDERS},
};

int main(int argc, char **argv)
{
    bench_begin(argc, argv);
    shared = bench_shared(sizeof *shared);
    make_mutex();
    BENCH_CHECK(mp_lock_create(&lock, NULL));
    bench_run(table, sizeof table / sizeof *table);
    BENCH_CHECK(mp_lock_free(lock));
    return 0;
}
