/* Locks: bad input. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bad_input.h"

static void refuses_lock(void *handle)
{
    mp_lock_guard guard = {handle, 0};
    int entered = 0;

    REFUSES(mp_lock_acquire(handle, 0), MP_EINVAL);
    REFUSES(mp_lock_acquire(handle, MP_FOREVER), MP_EINVAL);
    REFUSES(mp_lock_release(handle), MP_EINVAL);
    if (handle != NULL)
        REFUSES(mp_lock_free(handle), MP_EINVAL);
    HOLDS(mp_lock_guard_enter(handle).lock == NULL);
    int status = 0;
    HOLDS(mp_lock_guard_enter_status(handle, &status).lock == NULL && status == MP_EINVAL);
    mp_lock_guard_leave(&guard);
    HOLDS(guard.lock == NULL);
    MP_WITH_LOCK (handle) {
        entered++;
    }
    HOLDS(entered == 0);
}

static void handles_that_are_none(void **state)
{
    (void)state;
    HOLDS(mp_lock_free(NULL) == 0);
    mp_lock_guard_leave(NULL);
    refuses_lock(NULL);
    each_bad_handle(LOCK, refuses_lock);
}

static void null_pointers(void **state)
{
    (void)state;
    REFUSES(mp_lock_create(NULL, NULL), MP_EINVAL);
    REFUSES(mp_lock_open(NULL, "x", NULL), MP_EINVAL);
    REFUSES(mp_lock_open(&out.lock, NULL, NULL), MP_EINVAL);
    REFUSES(mp_lock_open(&out.lock, "x", &(mp_lock_options){NULL}), MP_EINVAL);
    REFUSES(mp_lock_unlink(NULL), MP_EINVAL);
}

static void names_that_are_none(void **state)
{
    char long_name[202];
    const char *const bad[] = {"", ".", "..", "/", "a/b", "/a", "a/", long_name};
    (void)state;

    memset(long_name, 'x', 201);
    long_name[201] = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSES(mp_lock_create(&out.lock, &(mp_lock_options){bad[i]}), MP_ENAME);
        REFUSES(mp_lock_open(&out.lock, bad[i], NULL), MP_ENAME);
        REFUSES(mp_lock_unlink(bad[i]), MP_ENAME);
    }
}

static void times_that_are_none(void **state)
{
    (void)state;
    REFUSES(mp_lock_acquire(stock.lock, (double)NAN), MP_EINVAL);
    REFUSES(mp_lock_release(stock.lock), MP_ENOTOWNER);
    HOLDS(mp_lock_acquire(stock.lock, -(double)INFINITY) == 0);
    REFUSES(mp_lock_acquire(stock.lock, (double)NAN), MP_EINVAL);
    REFUSES(mp_lock_acquire(stock.lock, (double)INFINITY), MP_EDEADLK);
    HOLDS(mp_lock_release(stock.lock) == 0);
}

static void *use_of_a_held_lock(void *arg)
{
    (void)arg;
    REFUSES(mp_lock_release(stock.lock), MP_ENOTOWNER);
    REFUSES(mp_lock_acquire(stock.lock, 0), MP_ETIMEOUT);
    REFUSES(mp_lock_acquire(stock.lock, -1), MP_ETIMEOUT);
    REFUSES(mp_lock_free(stock.lock), MP_EBUSY);
    return NULL;
}

static int child_uses_a_held_lock(void *arg)
{
    use_of_a_held_lock(arg);
    return 0;
}

static void held_by_another(void **state)
{
    pthread_t thread;
    (void)state;

    assert_int_equal(mp_lock_acquire(stock.lock, 0), 0);
    REFUSES(mp_lock_acquire(stock.lock, 0), MP_EDEADLK);
    REFUSES(mp_lock_acquire(stock.lock, MP_FOREVER), MP_EDEADLK);
    REFUSES(mp_lock_free(stock.lock), MP_EBUSY);
    assert_int_equal(pthread_create(&thread, NULL, use_of_a_held_lock, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    in_child(child_uses_a_held_lock);
    assert_int_equal(mp_lock_release(stock.lock), 0);
    REFUSES(mp_lock_release(stock.lock), MP_ENOTOWNER);
}

static void named_ones_freed(void **state)
{
    char name[64];
    mp_lock *lock, *again;
    (void)state;

    snprintf(name, sizeof name, "bad-lock-%ld", (long)getpid());
    REFUSES(mp_lock_unlink(name), MP_ENOENT);
    assert_int_equal(mp_lock_create(&lock, &(mp_lock_options){name}), 0);
    REFUSES(mp_lock_create(&out.lock, &(mp_lock_options){name}), MP_EEXIST);
    assert_int_equal(mp_lock_open(&again, name, NULL), 0);
    assert_int_equal(mp_lock_acquire(lock, 0), 0);
    REFUSES(mp_lock_acquire(again, 0), MP_EDEADLK);
    REFUSES(mp_lock_free(again), MP_EBUSY);
    assert_int_equal(mp_lock_release(again), 0);
    assert_int_equal(mp_lock_free(lock), 0);
    refuses_lock(lock);
    assert_int_equal(mp_lock_free(again), 0);
    refuses_lock(again);
    REFUSES(mp_lock_unlink(name), MP_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(handles_that_are_none), REFUSAL(null_pointers),   REFUSAL(names_that_are_none),
        REFUSAL(times_that_are_none),   REFUSAL(held_by_another), REFUSAL(named_ones_freed),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
