/* A lock is freed while other threads and processes are inside each call on it, or wait for it: the losers get
 * MP_EINVAL, and no thread hangs or crashes. Handles into memory that this process has not mapped give errors. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

enum { USERS = 3 };

/* Shared with the children of a test. */
static struct {
    _Atomic int inside, stop;
    mp_lock *volatile handle;
} * shared;

static char name[64];
static mp_lock *lock;

/* ---- calls: each uses the lock once. 0: go on; MP_EINVAL: the lock is gone; else the call has failed ---- */

static int takes_and_gives(mp_lock *used)
{
    int error = mp_lock_acquire(used, MP_FOREVER);

    return error != 0 ? error : mp_lock_release(used);
}

static int takes_in_time(mp_lock *used)
{
    int error = mp_lock_acquire(used, 0.001);

    if (error == MP_ETIMEOUT)
        return 0;
    return error != 0 ? error : mp_lock_release(used);
}

static int tries(mp_lock *used)
{
    int error = mp_lock_acquire(used, 0);

    if (error == MP_ETIMEOUT)
        return 0;
    return error != 0 ? error : mp_lock_release(used);
}

static int gives_what_is_not_its_own(mp_lock *used)
{
    int error = mp_lock_release(used);

    return error == MP_ENOTOWNER ? 0 : error;
}

static int is_in_a_block(mp_lock *used)
{
    int error = MP_OK, entered = 0;

    MP_WITH_LOCK_STATUS(used, &error)
    entered++;
    return error == 0 && entered != 1 ? MP_ESYSTEM : error;
}

static int holds_it_for_long(mp_lock *used)
{
    int error = mp_lock_acquire(used, MP_FOREVER);

    if (error != 0)
        return error;
    pause_us(3000); /* so that the others sleep, with tickets */
    return mp_lock_release(used);
}

static const struct call {
    const char *name;
    int (*function)(mp_lock *used);
    int rounds;
} calls[] = {
    {"acquire, release", takes_and_gives, 60},
    {"acquire for a while", takes_in_time, 60},
    {"acquire without waiting", tries, 60},
    {"release of another's", gives_what_is_not_its_own, 60},
    {"with", is_in_a_block, 60},
    {"a long hold", holds_it_for_long, 10},
};
#define CALLS (sizeof calls / sizeof *calls)

static int use_until_gone(const struct call *call, mp_lock *used)
{
    int error;

    do {
        error = call->function(used);
        shared->inside++;
    } while (error == 0 && shared->stop == 0);
    return error;
}

/* ---- threads ---- */

static void *use_in_thread(void *arg)
{
    return (void *)(intptr_t)use_until_gone(arg, lock);
}

static bool are_inside(void *arg)
{
    return shared->inside >= *(int *)arg;
}

/* Frees the lock as soon as no thread holds it. */
static bool is_freed(void *arg)
{
    int error = mp_lock_free(lock);

    assert_true(error == 0 || error == MP_EBUSY);
    (void)arg;
    return error == 0;
}

static void freed_among_threads(const struct call *call, const mp_lock_options *options)
{
    pthread_t thread[USERS];
    int all = USERS;

    shared->inside = shared->stop = 0;
    assert_int_equal(mp_lock_create(&lock, options), 0);
    for (int i = 0; i < USERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_in_thread, (void *)(uintptr_t)call), 0);
    assert_true(wait_until(are_inside, &all, 60));
    assert_true(wait_until(is_freed, NULL, 60));
    for (int i = 0; i < USERS; i++) {
        void *result;

        assert_int_equal(pthread_join(thread[i], &result), 0);
        if ((intptr_t)result != MP_EINVAL)
            fail_msg("%s: \"%s\"", call->name, mp_strerror((int)(intptr_t)result));
    }
}

static void among_threads(const mp_lock_options *options)
{
    for (size_t i = 0; i < CALLS; i++) {
        for (int round = 0; round < calls[i].rounds; round++)
            freed_among_threads(&calls[i], options);
    }
}

static void an_anonymous_one_among_threads(void **state)
{
    (void)state;
    among_threads(NULL);
}

static void a_named_one_among_threads(void **state)
{
    const mp_lock_options options = {name};
    (void)state;

    among_threads(&options);
    assert_int_equal(mp_lock_unlink(name), MP_ENOENT);
}

/* ---- processes ---- */

static pid_t start(const struct call *call, bool opens)
{
    mp_lock *used = lock;
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (opens && mp_lock_open(&used, name, NULL) != 0)
        _exit(1);
    int error = use_until_gone(call, used);
    /* Others may still hold the lock. The inherited handle has a share in the name as well. */
    while (error == 0 && mp_lock_free(used) == MP_EBUSY)
        pause_us(100);
    while (opens && mp_lock_free(lock) == MP_EBUSY)
        pause_us(100);
    _exit(error == 0 ? 0 : -error);
}

static void freed_among_processes(const struct call *call, const mp_lock_options *options)
{
    bool named = options != NULL;
    pid_t user[USERS];
    int all = USERS;

    shared->inside = shared->stop = 0;
    assert_int_equal(mp_lock_create(&lock, options), 0);
    for (int i = 0; i < USERS; i++)
        user[i] = start(call, named);
    assert_true(wait_until(are_inside, &all, 60));
    assert_true(wait_until(is_freed, NULL, 60));
    if (named) /* the others keep their own handles */
        shared->stop = 1;
    for (int i = 0; i < USERS; i++) {
        int code = end_of(user[i]);

        if (code != (named ? 0 : -MP_EINVAL))
            fail_msg("%s: ended with %d", call->name, code);
    }
}

static void among_processes(const mp_lock_options *options)
{
    for (size_t i = 0; i < CALLS; i++) {
        for (int round = 0; round < calls[i].rounds / 10; round++)
            freed_among_processes(&calls[i], options);
    }
}

static void an_anonymous_one_among_processes(void **state)
{
    (void)state;
    among_processes(NULL);
}

static void a_named_one_among_processes(void **state)
{
    const mp_lock_options options = {name};
    (void)state;

    among_processes(&options);
    assert_int_equal(mp_lock_unlink(name), MP_ENOENT);
}

/* ---- waiters ---- */

static atomic_int waiting[USERS]; /* the ids of the threads that wait */

static void *waits(void *arg)
{
    static atomic_int waiters;

    atomic_store(&waiting[atomic_fetch_add(&waiters, 1) % USERS], (int)syscall(SYS_gettid));
    return (void *)(intptr_t)mp_lock_acquire(arg, 60);
}

static bool all_wait(void *arg)
{
    (void)arg;
    for (int i = 0; i < USERS; i++) {
        if (waiting[i] == 0 || process_state(waiting[i]) != 'S')
            return false;
    }
    return true;
}

static bool is_refused_for_good(void *arg)
{
    (void)arg;
    return mp_lock_free(lock) == MP_EBUSY;
}

/* A lock that is held cannot be freed. If it is released and freed at once, its waiters get the lock or an error. */
static void while_threads_wait(const mp_lock_options *options)
{
    pthread_t thread[USERS];
    int holders = 0;

    memset(waiting, 0, sizeof waiting);
    assert_int_equal(mp_lock_create(&lock, options), 0);
    assert_int_equal(mp_lock_acquire(lock, 0), 0);
    for (int i = 0; i < USERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, waits, lock), 0);
    assert_true(wait_until(all_wait, NULL, 60));
    for (int i = 0; i < 20; i++)
        assert_true(is_refused_for_good(NULL));
    assert_int_equal(mp_lock_release(lock), 0);
    int error = mp_lock_free(lock);
    for (int i = 0; i < USERS; i++) {
        void *result;

        assert_int_equal(pthread_join(thread[i], &result), 0);
        int code = (int)(intptr_t)result;
        assert_true(code == 0 || code == MP_EOWNERDEAD || code == MP_EINVAL); /* some ended while holding it */
        holders += code != MP_EINVAL;
    }
    if (error != 0) {
        assert_int_equal(error, MP_EBUSY);
        assert_int_equal(holders, USERS);
        assert_int_equal(mp_lock_free(lock), 0);
    }
}

static void freed_while_threads_wait(void **state)
{
    const mp_lock_options options = {name};
    (void)state;

    for (int i = 0; i < 30; i++) {
        while_threads_wait(NULL);
        while_threads_wait(&options);
    }
}

/* ---- memory that this process has not mapped ---- */

static bool has_handle(void *arg)
{
    (void)arg;
    return shared->handle != NULL;
}

static int refuses_foreign_handles(void)
{
    if (!wait_until(has_handle, NULL, 60))
        return 1;
    mp_lock *foreign = shared->handle;
    int entered = 0;
    if (mp_lock_acquire(foreign, MP_FOREVER) != MP_EINVAL || mp_lock_acquire(foreign, 0) != MP_EINVAL)
        return 2;
    if (mp_lock_release(foreign) != MP_EINVAL || mp_lock_free(foreign) != MP_EINVAL)
        return 3;
    MP_WITH_LOCK (foreign)
        entered++;
    return entered == 0 ? 0 : 4;
}

static pid_t start_younger(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(refuses_foreign_handles());
    return pid;
}

/* The lock is made after the child. */
static void a_named_lock_that_is_younger(void **state)
{
    const mp_lock_options options = {name};
    (void)state;

    shared->handle = NULL;
    pid_t child = start_younger();
    assert_int_equal(mp_lock_create(&lock, &options), 0);
    shared->handle = lock;
    assert_int_equal(end_of(child), 0);
    assert_int_equal(mp_lock_free(lock), 0);
}

/* The lock lies in a heap of a child of this process. */
static void an_anonymous_lock_of_a_child(void **state)
{
    mp_lock *own;
    (void)state;

    shared->handle = NULL;
    shared->stop = 0;
    pid_t child = fork();
    if (child == 0) {
        if (mp_lock_create(&own, NULL) != 0)
            _exit(1);
        shared->handle = own;
        _exit(wait_until(is_set, &shared->stop, 60) && mp_lock_acquire(own, 0) == 0 && mp_lock_release(own) == 0 ? 0
                                                                                                                 : 2);
    }
    assert_int_equal(refuses_foreign_handles(), 0);
    shared->stop = 1;
    assert_int_equal(end_of(child), 0);
}

/* A chain of processes: each makes a lock, and uses the locks of all before it. */
static int lengthen_chain(mp_lock **chain, int length)
{
    enum { LONGEST = 24 };

    if (length == LONGEST)
        return 0;
    if (mp_lock_create(&chain[length], NULL) != 0)
        return 1;
    for (int i = 0; i <= length; i++) {
        if (mp_lock_acquire(chain[i], 0) != 0 || mp_lock_acquire(chain[i], 0) != MP_EDEADLK ||
            mp_lock_release(chain[i]) != 0 || mp_lock_release(chain[i]) != MP_ENOTOWNER)
            return 2;
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(lengthen_chain(chain, length + 1));
    int code = end_of(pid);
    return code != 0 ? code : mp_lock_free(chain[length]) == 0 ? 0 : 3;
}

static void locks_of_all_forefathers(void **state)
{
    mp_lock *chain[32];
    (void)state;

    pid_t pid = fork();
    if (pid == 0)
        _exit(lengthen_chain(chain, 0));
    assert_int_equal(end_of(pid), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_anonymous_one_among_threads),   cmocka_unit_test(a_named_one_among_threads),
        cmocka_unit_test(an_anonymous_one_among_processes), cmocka_unit_test(a_named_one_among_processes),
        cmocka_unit_test(freed_while_threads_wait),         cmocka_unit_test(a_named_lock_that_is_younger),
        cmocka_unit_test(an_anonymous_lock_of_a_child),     cmocka_unit_test(locks_of_all_forefathers),
    };

    snprintf(name, sizeof name, "test-free-%d", (int)getpid());
    shared = shared_memory(sizeof *shared);
    /* The heap of this process's locks stays open, with its descriptor. */
    if (mp_lock_create(&lock, NULL) != 0 || mp_lock_free(lock) != 0)
        return 1;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
