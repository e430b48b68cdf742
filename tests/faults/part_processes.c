/* Locks and processes. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "scenario.h"
#include "support.h"

#define STARTING (NOMEM | AGAIN)

struct shared {
    mp_lock *lock;
    mp_dict *dict;
};

static mp_manager *manager;
static struct shared shared;

static void begin(void)
{
    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &shared.dict), NOTHING);
    TRY(mp_lock_create(&shared.lock, NULL), NOMEM | AGAIN);
}

static void end(void)
{
    TRY(mp_lock_free(shared.lock), NOTHING);
    TRY(mp_manager_check(manager), NOMEM);
    TRY(mp_manager_free(manager), NOTHING);
}

static int add_one(void *arg)
{
    struct shared *with = arg;

    storm_join();
    for (int i = 0; i < 20; i++) {
        TRY(mp_lock_acquire(with->lock, MP_FOREVER), NOTHING);
        TRY(mp_dict_add_int(with->dict, "count", 1, NULL), NOMEM);
        TRY(mp_lock_release(with->lock), NOTHING);
    }
    return 7;
}

static int die_holding(void *arg)
{
    storm_join();
    TRY(mp_lock_acquire(arg, MP_FOREVER), NOTHING);
    raise(SIGKILL);
    return 0;
}

static int sleep_long(void *arg)
{
    (void)arg;
    storm_join();
    for (;;)
        pause();
    return 0;
}

static void join_with(mp_process *process, int expected)
{
    int code;

    TRY(mp_process_join(process, 60), NOTHING);
    TRY(mp_process_exitcode(process, &code), NOTHING);
    if (code != expected)
        complain("a process ended with %d instead of %d", code, expected);
    TRY(mp_process_free(process), NOTHING);
}

void part_locks(void)
{
    mp_process *process;

    begin();
    TRY(mp_process_start(&process, add_one, &shared, NULL), STARTING);
    add_one(&shared);
    join_with(process, 7);
    TRY(mp_process_start(&process, die_holding, shared.lock, NULL), STARTING);
    join_with(process, -SIGKILL);
    TRY_CODE(MP_EOWNERDEAD, mp_lock_acquire(shared.lock, 10), NOTHING);
    TRY_CODE(MP_EDEADLK, mp_lock_acquire(shared.lock, 0.001), NOTHING);
    TRY_CODE(MP_EBUSY, mp_lock_free(shared.lock), NOTHING);
    TRY(mp_lock_release(shared.lock), NOTHING);
    TRY_CODE(MP_ENOTOWNER, mp_lock_release(shared.lock), NOTHING);
    end();
}

static void *hold(void *arg)
{
    TRY(mp_lock_acquire(shared.lock, MP_FOREVER), NOMEM);
    atomic_store((atomic_int *)arg, 1);
    while (atomic_load((atomic_int *)arg) != 2)
        pause_us(1000);
    TRY(mp_lock_release(shared.lock), NOTHING);
    return NULL;
}

static pthread_t start_thread(void *(*function)(void *), void *arg)
{
    pthread_t thread;

    fault_pause();
    CHECK(pthread_create(&thread, NULL, function, arg) == 0);
    fault_resume();
    return thread;
}

void part_named_locks(void)
{
    const mp_lock_options options = {.name = run_name("lock")};
    mp_lock *again;
    atomic_int stage = 0;
    mp_process *process;

    begin();
    mp_lock *anonymous = shared.lock;
    TRY(mp_lock_create(&shared.lock, &options), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY_CODE(MP_EEXIST, mp_lock_create(&again, &options), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_lock_open(&again, options.name, NULL), NOMEM | AGAIN | SYSTEM | ACCESS);
    pthread_t thread = start_thread(hold, &stage);
    while (atomic_load(&stage) == 0)
        sched_yield();
    TRY_CODE(MP_ETIMEOUT, mp_lock_acquire(again, 0.002), NOTHING);
    TRY_CODE(MP_ETIMEOUT, mp_lock_acquire(again, 0), NOTHING);
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
    TRY(mp_process_start(&process, add_one, &shared, NULL), STARTING);
    add_one(&shared);
    join_with(process, 7);
    TRY(mp_lock_free(again), NOTHING);
    TRY(mp_lock_unlink(options.name), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_lock_open(&again, options.name, NULL), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_lock_free(again), NOTHING);
    TRY(mp_lock_free(shared.lock), NOTHING);
    shared.lock = anonymous;
    end();
    fault_pause();
    TRY(mp_lock_open(&again, options.name, NULL), NOTHING);
    TRY(mp_lock_free(again), NOTHING);
    fault_resume();
}

static int start_another(void *arg)
{
    mp_process *process;

    storm_join();
    TRY(mp_process_start(&process, add_one, arg, NULL), STARTING);
    join_with(process, 7);
    return 3;
}

void part_processes(void)
{
    const mp_process_options daemon = {.name = "a daemon", .daemon = MP_DAEMON_YES};
    mp_process *process[4], *live[4];
    size_t count;
    bool alive;

    begin();
    TRY(mp_process_start(&process[0], add_one, &shared, NULL), STARTING);
    TRY(mp_process_start(&process[1], start_another, &shared, NULL), STARTING);
    TRY(mp_process_start(&process[2], sleep_long, NULL, &daemon), STARTING);
    TRY(mp_process_start(&process[3], sleep_long, NULL, NULL), STARTING);
    TRY_CODE(MP_ETIMEOUT, mp_process_join(process[2], 0.002), NOTHING);
    TRY(mp_process_is_alive(process[3], &alive), NOTHING);
    TRY(mp_process_children(live, 4, &count), NOTHING);
    join_with(process[0], 7);
    join_with(process[1], 3);
    TRY(mp_process_terminate(process[2]), SYSTEM);
    join_with(process[2], -SIGTERM);
    TRY_CODE(MP_EBUSY, mp_process_free(process[3]), NOTHING);
    TRY(mp_process_interrupt(process[3]), SYSTEM);
    join_with(process[3], -SIGINT);
    TRY(mp_process_children(NULL, 0, &count), NOTHING);
    CHECK(count == 0);
    int64_t total;
    TRY(mp_dict_get_int(shared.dict, "count", &total), NOTHING);
    CHECK(total == 40);
    end();
}

static void *start_daemons(void *arg)
{
    const mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process[2];

    (void)arg;
    TRY(mp_process_start(&process[0], sleep_long, NULL, &options), STARTING | SYSTEM);
    TRY(mp_process_start(&process[1], add_one, &shared, &options), STARTING | SYSTEM);
    join_with(process[1], 7);
    TRY(mp_process_kill(process[0]), SYSTEM);
    join_with(process[0], -SIGKILL);
    return NULL;
}

void part_threads(void)
{
    begin();
    pthread_join(start_thread(start_daemons, NULL), NULL);
    end();
}

static int identity(const void *arg, void *result)
{
    *(int *)result = *(const int *)arg;
    return 0;
}

/* Releases nothing: everything is left to the end of the process. */
void part_exit(void)
{
    const mp_manager_options named = {.name = run_name("exit")};
    const mp_process_options daemon = {.daemon = MP_DAEMON_YES};
    mp_process *process[2];
    mp_manager *of_name;
    mp_pool *pool;
    int x = 5, y = 0;

    begin();
    TRY(mp_manager_create(&of_name, &named), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_process_start(&process[0], sleep_long, NULL, &daemon), STARTING);
    TRY(mp_pool_create(&pool, 2, NULL), NOMEM | AGAIN);
    TRY(mp_pool_apply(pool, identity, &x, sizeof x, &y, sizeof y), NOMEM);
    CHECK(y == 5);
    TRY(mp_process_start(&process[1], add_one, &shared, NULL), STARTING);
}
