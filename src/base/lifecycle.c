#include "base/lifecycle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/this_process.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static struct {
    _Atomic(void (*)(void)) at_end;
    _Atomic(void (*)(void)) after_fork;
} modules[LIFECYCLE_MODULES];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic pid_t known_pid; /* the process whose state the modules have; 0: start() has not run yet */
static atomic_bool ended;
/* The process's pid, in a page that the kernel zeroes in every child, also in one that was made without the C library's
 * fork handlers (_Fork(), clone()). *own_pid is 0 until this process has called store_own_pid(). NULL: the system has
 * no such pages. */
static _Atomic pid_t *own_pid;
static atomic_bool own_pid_stored; /* whether *own_pid was stored since the last fork handler ran */

static void store_own_pid(pid_t pid)
{
    if (own_pid == NULL)
        return;
    atomic_store_explicit(own_pid, pid, memory_order_relaxed);
    atomic_store_explicit(&own_pid_stored, true, memory_order_relaxed);
}

static void put_modules_right(void)
{
    atomic_store(&ended, false);
    for (int i = 0; i < LIFECYCLE_MODULES; i++) {
        void (*function)(void) = atomic_load(&modules[i].after_fork);

        if (function != NULL)
            function();
    }
}

/* In the child the page is zero, and stays so: a store would copy the page, and many a child has no need of it. */
static void after_fork(void)
{
    atomic_store(&known_pid, getpid());
    atomic_store(&own_pid_stored, false);
    put_modules_right();
}

/* A private page that every child finds zeroed, however the child was made. NULL: the system has none. */
static void *memory_wiped_by_fork(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, size, MADV_WIPEONFORK) == 0)
        return page;
    munmap(page, size);
    return NULL;
}

/* Signals are blocked: a signal handler that interrupts the C library while it holds its lists of handlers could
 * neither fork nor exit. */
static void start(void)
{
    uint64_t signals = signals_set(SIGNALS_ALL);

    own_pid = memory_wiped_by_fork();
    store_own_pid(getpid());
    atomic_store(&known_pid, getpid());
    pthread_atfork(NULL, NULL, after_fork);
    atexit(lifecycle_end);
    signals_set(signals);
}

void lifecycle_register(enum lifecycle_order order, void (*at_end)(void), void (*after)(void))
{
    pthread_once(&once, start);
    atomic_store(&modules[order].at_end, at_end);
    atomic_store(&modules[order].after_fork, after);
}

/* Whether the modules' state is this process's. The pid comes from the kernel. In a child in another PID namespace it
 * may equal the parent's: then the page tells. A child that shares its memory with its parent (vfork()) is told by its
 * pid only. */
static bool is_known_process(void)
{
    if (getpid() != atomic_load(&known_pid))
        return false;
    return own_pid == NULL || !atomic_load(&own_pid_stored) || atomic_load(own_pid) != 0;
}

void lifecycle_end(void)
{
    if (!is_known_process() || atomic_exchange(&ended, true))
        return;
    for (int i = LIFECYCLE_MODULES; i-- > 0;) {
        void (*function)(void) = atomic_load(&modules[i].at_end);

        if (function != NULL)
            function();
    }
}

/* The slow path, for the first call in a process. If no fork handler has run in it, this does what they do. */
static pid_t look_at_pid(void)
{
    pid_t pid = getpid(), known = atomic_load(&known_pid);

    if (known == 0)
        return pid;
    bool same = is_known_process();
    store_own_pid(pid);
    if (!same && atomic_compare_exchange_strong(&known_pid, &known, pid))
        put_modules_right();
    return pid;
}

pid_t lifecycle_pid(void)
{
    pid_t pid = own_pid != NULL ? atomic_load_explicit(own_pid, memory_order_relaxed) : 0;

    return pid != 0 ? pid : look_at_pid();
}
