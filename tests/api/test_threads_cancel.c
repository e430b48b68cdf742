/* No call is a cancellation point. A thread that is cancelled before a call, or while it waits inside one, returns from
 * it with the call's result, and ends at the next cancellation point of its own. No lock of the library stays held, and
 * nothing leaks. Each call also works on the smallest stack that a thread can have. A new call needs a line in CALLS or
 * WAITS. (Calls on pools: test_pool_ends.c.) */
#include <fcntl.h>
#include <limits.h>
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "support.h"

static mp_manager *manager;
static mp_dict *dict;
static mp_list *list;
static mp_lock *lock, *held;
static mp_process *child;
static FILE *sink;
static char name[64], other_name[64];
static const char large[300000] = "";
static atomic_int *go; /* shared with children */

/* Makes both calls, in that order. The first error of the two. */
static _Thread_local int first, second;
#define first_error(a, b) (first = (a), second = (b), first != 0 ? first : second)

static int ends_when_told(void *arg)
{
    (void)arg;
    return wait_until(is_set, go, 300) ? 0 : 1;
}

static int ends_at_once(void *arg)
{
    (void)arg;
    return 0;
}

/* A cancellation point in a user's function inside a call does not end the thread either: that would leave the
 * container locked. */
static int calls_a_cancellation_point(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    pthread_testcancel();
    pause_us(1);
    return 0;
}

static int compares_at_a_cancellation_point(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    pthread_testcancel();
    return a < b ? -1 : 1;
}

/* clang-format off */
#define CALLS(CALL) \
    CALL(manager_create_free, mp_manager *x; int e = mp_manager_create(&x, NULL); return first_error(e, mp_manager_free(x));) \
    CALL(manager_create_named, mp_manager *x; const mp_manager_options o = {.name = other_name}; \
         int e = mp_manager_create(&x, &o); return first_error(e, mp_manager_free(x));) \
    CALL(manager_open, mp_manager *x; int e = mp_manager_open(&x, name, NULL); return first_error(e, mp_manager_free(x));) \
    CALL(manager_dict, mp_dict *x; int e = mp_manager_dict(manager, &x); return first_error(e, mp_dict_free(x));) \
    CALL(manager_list, mp_list *x; int e = mp_manager_list(manager, &x); return first_error(e, mp_list_free(x));) \
    CALL(manager_alloc, void *x; int e = mp_manager_alloc(manager, sizeof large, &x); return first_error(e, mp_memory_free(x));) \
    CALL(manager_check, return mp_manager_check(manager);) \
    CALL(dict_grows, return first_error(mp_dict_set_bytes(dict, "large", large, sizeof large), mp_dict_remove_key(dict, "large"));) \
    CALL(dict_fills, for (int i = 0; i < 500; i++) { char k[16]; snprintf(k, sizeof k, "%d", i); \
         if (mp_dict_set_int(dict, k, i) != 0) return -1; } return mp_dict_clear(dict);) \
    CALL(dict_get, mp_value v; int e = mp_dict_set_str(dict, "a", "text"); e = first_error(e, mp_dict_get(dict, mp_value_str("a"), &v)); \
         mp_value_free(&v); return e;) \
    CALL(dict_apply, return mp_dict_apply(dict, mp_value_str("a"), calls_a_cancellation_point, NULL);) \
    CALL(dict_copy, mp_dict *x; int e = mp_dict_copy(dict, &x); return first_error(e, mp_dict_free(x));) \
    CALL(dict_update, return mp_dict_update(dict, dict);) \
    CALL(dict_iterate, mp_dict_iter *x; mp_value k, v; int e = mp_dict_iter_create(&x, dict); \
         while (e == 0 && mp_dict_next(x, &k, &v) == 0) { mp_value_free(&k); mp_value_free(&v); } \
         return first_error(e, mp_dict_iter_free(x));) \
    CALL(dict_json, char *x; int e = mp_dict_json(dict, &x); if (e == 0) free(x); return e;) \
    CALL(dict_print, return mp_dict_print(dict, sink);) \
    CALL(list_fills, for (int i = 0; i < 500; i++) { if (mp_list_append_int(list, i) != 0) return -1; } \
         return mp_list_clear(list);) \
    CALL(list_sort, for (int i = 9; i > 0; i--) { if (mp_list_append_int(list, i) != 0) return -1; } \
         int e = mp_list_sort(list, compares_at_a_cancellation_point, NULL, false); return first_error(e, mp_list_clear(list));) \
    CALL(list_json, char *x; int e = mp_list_json(list, &x); if (e == 0) free(x); return e;) \
    CALL(list_print, return mp_list_print(list, sink);) \
    CALL(lock_create_free, mp_lock *x; int e = mp_lock_create(&x, NULL); return first_error(e, mp_lock_free(x));) \
    CALL(lock_create_named, mp_lock *x; const mp_lock_options o = {other_name}; int e = mp_lock_create(&x, &o); \
         return first_error(e, mp_lock_free(x));) \
    CALL(lock_open, mp_lock *x; int e = mp_lock_open(&x, other_name, NULL); return first_error(e, mp_lock_free(x));) \
    CALL(lock_unlink, mp_lock *x; int e = mp_lock_open(&x, other_name, NULL); e = first_error(e, mp_lock_unlink(other_name)); \
         return first_error(e, mp_lock_free(x));) \
    CALL(lock_acquire, return first_error(mp_lock_acquire(lock, MP_FOREVER), mp_lock_release(lock));) \
    CALL(lock_try_held, return mp_lock_acquire(held, 0) == MP_ETIMEOUT ? 0 : -1;) \
    CALL(lock_wait_held, return mp_lock_acquire(held, 0.05) == MP_ETIMEOUT ? 0 : -1;) \
    CALL(lock_free_held, return mp_lock_free(held) == MP_EBUSY ? 0 : -1;) \
    CALL(process_all, mp_process *x; int e = mp_process_start(&x, ends_at_once, NULL, NULL); \
         e = first_error(e, mp_process_join(x, 60)); \
         return first_error(e, mp_process_free(x));) \
    CALL(process_is_alive, bool alive; return mp_process_is_alive(child, &alive);) \
    CALL(process_join_a_while, return mp_process_join(child, 0.05) == MP_ETIMEOUT ? 0 : -1;) \
    CALL(cpu_count, return mp_cpu_count() > 0 && mp_usable_cpu_count() > 0 ? 0 : -1;)

/* These calls wait until `let` is done; then they return what is stated here. */
#define WAITS(CALL) \
    CALL(waits_for_lock, return first_error(mp_lock_acquire(held, MP_FOREVER), mp_lock_release(held));) \
    CALL(waits_for_lock_in_time, return first_error(mp_lock_acquire(held, 60), mp_lock_release(held));) \
    CALL(waits_for_process, return mp_process_join(child, MP_FOREVER);) \
    CALL(waits_for_process_in_time, return mp_process_join(child, 60);) \
    CALL(waits_to_print, return mp_list_print(list, sink);)
/* clang-format on */

#define DEFINE(id, ...) \
    static int id(void) \
    { \
        __VA_ARGS__ \
    }
CALLS(DEFINE)
WAITS(DEFINE)

struct call {
    const char *name;
    int (*function)(void);
};
#define ENTER(id, ...) {#id, id},
static const struct call calls[] = {CALLS(ENTER)};
static const struct call waits[] = {WAITS(ENTER)};

/* ---- a thread that is cancelled ---- */

static struct {
    const struct call *call;
    _Atomic int returned, error, state, tid;
    bool before;
} run;

static void *be_cancelled(void *arg)
{
    if (run.before)
        pthread_cancel(pthread_self());
    run.tid = (int)syscall(SYS_gettid);
    run.error = run.call->function();
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    run.state = state;
    run.returned = 1;
    pthread_setcancelstate(state, NULL);
    for (;;)
        pause_us(1000);
    return arg;
}

static void begin_run(const struct call *call, bool before, pthread_t *thread)
{
    memset(&run, 0, sizeof run);
    run.call = call;
    run.before = before;
    assert_int_equal(create_cancellable(thread, be_cancelled, NULL), 0);
}

static void end_run(pthread_t thread)
{
    void *result;

    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    if (run.returned == 0 || run.error != 0 || run.state != PTHREAD_CANCEL_ENABLE)
        fail_msg("%s: %s, error %d", run.call->name, run.returned != 0 ? "came back" : "was cancelled", run.error);
}

/* Checks that no lock is still held. */
static void all_works(void)
{
    mp_manager *another;

    assert_int_equal(mp_dict_set_int(dict, "works", 1), 0);
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_int_equal(mp_manager_create(&another, NULL), 0);
    assert_int_equal(mp_manager_free(another), 0);
    assert_int_equal(mp_lock_acquire(lock, 5), 0);
    assert_int_equal(mp_lock_release(lock), 0);
}

static void cancelled_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(calls); i++) {
        pthread_t thread;

        begin_run(&calls[i], true, &thread);
        end_run(thread);
        all_works();
    }
    assert_int_equal(mp_manager_check(manager), 0);
}

/* ---- while it waits ---- */

static int pipe_ends[2];

/* A pipe that holds less than what is printed. */
static void fill_pipe(void)
{
    assert_int_equal(pipe(pipe_ends), 0);
    fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(mp_list_append_int(list, 1000000 + i), 0);
    fclose(sink);
    sink = fdopen(pipe_ends[1], "w");
}

static void read_pipe(void)
{
    char buffer[4096];

    while (read(pipe_ends[0], buffer, sizeof buffer) > 0)
        ;
}

static bool is_printed(void *arg)
{
    (void)arg;
    read_pipe();
    return run.returned != 0;
}

static void close_pipe(void)
{
    read_pipe(); /* makes room for what the stream still holds */
    fclose(sink);
    close(pipe_ends[0]);
    sink = fopen("/dev/null", "w");
    assert_non_null(sink);
}

static bool thread_sleeps(void *arg)
{
    (void)arg;
    return run.tid != 0 && process_state((pid_t)run.tid) == 'S';
}

static void cancelled_inside(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(waits); i++) {
        bool prints = waits[i].function == waits_to_print;
        pthread_t thread;

        *go = 0;
        if (prints)
            fill_pipe();
        begin_run(&waits[i], false, &thread);
        assert_true(wait_until(thread_sleeps, NULL, 60));
        pause_us(3000);
        assert_int_equal(run.returned, 0);
        pthread_cancel(thread);
        pause_us(3000);
        assert_int_equal(run.returned, 0);
        *go = 1;
        assert_int_equal(mp_lock_release(held), 0);
        if (prints)
            assert_true(wait_until(is_printed, NULL, 60));
        end_run(thread);
        if (prints)
            close_pipe();
        assert_int_equal(mp_lock_acquire(held, 60), 0);
        all_works();
        assert_int_equal(mp_process_join(child, 60), 0);
        assert_int_equal(mp_process_free(child), 0);
        *go = 0;
        assert_int_equal(mp_process_start(&child, ends_when_told, NULL, NULL), 0);
    }
}

/* ---- stacks ---- */

static void *call_once(void *arg)
{
    const struct call *call = arg;

    run.error = call->function();
    return NULL;
}

static void on_the_smallest_stack(void **state)
{
    pthread_attr_t attributes;
    pthread_t thread;
    (void)state;

    if (ASAN || TSAN)
        skip(); /* sanitizers use more stack than the calls do */
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN), 0);
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct call call = calls[i];

        assert_int_equal(pthread_create(&thread, &attributes, call_once, &call), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (run.error != 0)
            fail_msg("%s: error %d", call.name, run.error);
    }
    pthread_attr_destroy(&attributes);
}

static int open_all(void **state)
{
    mp_manager_options options = {.name = name};

    snprintf(name, sizeof name, "test-cancel-%d", (int)getpid());
    snprintf(other_name, sizeof other_name, "test-cancel-other-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&lock, NULL), 0); /* its heap stays open */
    leak_check_begin(state);
    go = shared_memory(sizeof *go);
    sink = fopen("/dev/null", "w");
    assert_non_null(sink);
    assert_int_equal(mp_manager_create(&manager, &options), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    assert_int_equal(mp_lock_create(&held, NULL), 0);
    assert_int_equal(mp_lock_acquire(held, 0), 0);
    return mp_process_start(&child, ends_when_told, NULL, NULL);
}

static int close_all(void **state)
{
    *go = 1;
    fclose(sink);
    assert_int_equal(mp_process_join(child, 60), 0);
    assert_int_equal(mp_process_free(child), 0);
    assert_int_equal(mp_lock_release(held), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    return leak_check_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cancelled_before), cmocka_unit_test(cancelled_inside),
                                       cmocka_unit_test(on_the_smallest_stack)};

    return cmocka_run_group_tests(tests, open_all, close_all);
}
