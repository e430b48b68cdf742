#include "lifecycle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    _Atomic(void (*)(void)) at_end;
    _Atomic(void (*)(void)) after_fork;
} modules[LIFECYCLE_MODULES];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic pid_t current_pid;
static atomic_bool ended;

static void after_fork(void)
{
    atomic_store(&current_pid, getpid());
    atomic_store(&ended, false);
    for (int i = 0; i < LIFECYCLE_MODULES; i++) {
        void (*function)(void) = atomic_load(&modules[i].after_fork);

        if (function != NULL)
            function();
    }
}

static void start(void)
{
    atomic_store(&current_pid, getpid());
    pthread_atfork(NULL, NULL, after_fork);
    atexit(lifecycle_end);
}

void lifecycle_register(enum lifecycle_order order, void (*at_end)(void), void (*after)(void))
{
    pthread_once(&once, start);
    atomic_store(&modules[order].at_end, at_end);
    atomic_store(&modules[order].after_fork, after);
}

void lifecycle_end(void)
{
    if (atomic_exchange(&ended, true))
        return;
    for (int i = LIFECYCLE_MODULES; i-- > 0;) {
        void (*function)(void) = atomic_load(&modules[i].at_end);

        if (function != NULL)
            function();
    }
}

pid_t lifecycle_pid(void)
{
    pid_t pid = atomic_load_explicit(&current_pid, memory_order_relaxed);

    return pid != 0 ? pid : getpid();
}
