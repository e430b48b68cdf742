/* Signal handlers that fork or exit while a call of the library holds a mutex, and children that the library is not
 * told of.
 *
 * This program replaces pthread_mutex_lock() and pthread_mutex_trylock(): after the n-th mutex that a call takes, they
 * send the thread a signal. Its handler does what programs do in handlers although POSIX leaves it undefined. If the
 * call has signals blocked, the handler runs as soon as it unblocks them. So the tests reach every place in every call
 * at which the handler's thread holds a mutex that a fork handler or an exit handler might wait for. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "support.h"

#define PATIENCE 30.0
enum { ENDED_BY_HANDLER = 3, CHILD_OF_HANDLER = 4, NOT_INTERRUPTED = 5, WRONG = 6 };

/* ---- the signal ---- */

static long countdown; /* the signal is sent when this becomes 0; 0: never */
static int interruptions;

static void count_down(void)
{
    if (countdown > 0 && --countdown == 0)
        raise(SIGUSR1);
}

typedef int mutex_function(pthread_mutex_t *mutex);

static mutex_function *next_of(_Atomic(mutex_function *) *known, const char *name)
{
    mutex_function *function = atomic_load(known);

    if (function == NULL) {
        void *found = dlsym(RTLD_NEXT, name);

        memcpy(&function, &found, sizeof function);
        atomic_store(known, function);
    }
    return function;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static _Atomic(mutex_function *) real;
    int number = next_of(&real, "pthread_mutex_lock")(mutex);

    count_down();
    return number;
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    static _Atomic(mutex_function *) real;
    int number = next_of(&real, "pthread_mutex_trylock")(mutex);

    if (number == 0)
        count_down();
    return number;
}

/* ---- the objects ---- */

static char name[64], lock_name[64], other_name[64];
static mp_manager *manager, *named;
static mp_dict *dict;
static mp_list *list;
static mp_lock *lock, *named_lock;
static mp_pool *pool;
static mp_result *result;
static mp_process *process;
static void *memory;

static int add_one(const void *arg, void *sum)
{
    *(int *)sum = *(const int *)arg + 1;
    return 0;
}

static int live(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return 0;
}

static int one = 1, many[64], sums[64];

static void make_all(void)
{
    const mp_process_options daemon = {.daemon = MP_DAEMON_YES};

    snprintf(name, sizeof name, "interrupted-%d", (int)getpid());
    snprintf(lock_name, sizeof lock_name, "interrupted-lock-%d", (int)getpid());
    snprintf(other_name, sizeof other_name, "interrupted-other-%d", (int)getpid());
    MUST(mp_manager_create(&manager, NULL) == 0);
    MUST(mp_manager_create(&named, &(mp_manager_options){.name = name}) == 0);
    MUST(mp_manager_dict(manager, &dict) == 0 && mp_manager_list(manager, &list) == 0);
    MUST(mp_dict_set_int(dict, "a", 1) == 0 && mp_list_append_int(list, 1) == 0);
    MUST(mp_manager_alloc(manager, 100, &memory) == 0);
    MUST(mp_lock_create(&lock, NULL) == 0);
    MUST(mp_lock_create(&named_lock, &(mp_lock_options){lock_name}) == 0);
    MUST(mp_process_start(&process, live, NULL, &daemon) == 0);
    MUST(mp_pool_create(&pool, 1, NULL) == 0);
    MUST(mp_pool_apply_async(pool, add_one, &one, sizeof one, sizeof one, &result) == 0);
    MUST(mp_result_wait(result, PATIENCE) == 0);
}

/* Checks that everything still works. An object that a call has freed is NULL. */
static void use_all(void)
{
    mp_process *another;
    int sum = 0;
    bool alive;
    int64_t value;

    MUST(mp_dict_set_str(dict, "b", "longer than fits into the entry itself") == 0);
    MUST(mp_dict_add_int(dict, "a", 1, &value) == 0 && mp_list_append_int(list, 2) == 0);
    MUST(manager == NULL || mp_manager_check(manager) == 0);
    MUST(named == NULL || mp_manager_check(named) == 0);
    MUST(lock == NULL || (mp_lock_acquire(lock, PATIENCE) == 0 && mp_lock_release(lock) == 0));
    MUST(named_lock == NULL || (mp_lock_acquire(named_lock, PATIENCE) == 0 && mp_lock_release(named_lock) == 0));
    MUST(mp_process_start(&another, do_nothing, NULL, NULL) == 0 && mp_process_join(another, PATIENCE) == 0);
    MUST(mp_process_free(another) == 0);
    MUST(process == NULL || (mp_process_is_alive(process, &alive) == 0 && alive));
    if (pool == NULL)
        return;
    int error = mp_pool_apply(pool, add_one, &one, sizeof one, &sum, sizeof sum);
    MUST((error == 0 && sum == 2) || error == MP_ECLOSED);
}

/* ---- the calls ---- */

static int drop(int error, void *handle)
{
    *(void **)handle = NULL;
    return error;
}

static int set_many_keys(void)
{
    char key[16];
    int error = 0;

    for (int i = 0; i < 40 && error == 0; i++) {
        snprintf(key, sizeof key, "key%d", i);
        error = mp_dict_set_str(dict, key, "longer than fits into the entry itself");
    }
    return error;
}

static int change_value(mp_value *value, bool present, void *arg)
{
    (void)present;
    (void)arg;
    *value = mp_value_int(7);
    return mp_list_append_int(list, 3);
}

static int iterate(void)
{
    mp_dict_iter *iter;
    mp_value key, value;
    int error = mp_dict_iter_create(&iter, dict);

    while (error == 0 && (error = mp_dict_next(iter, &key, &value)) == 0) {
        mp_value_free(&key);
        mp_value_free(&value);
    }
    return error == MP_ESTOP ? mp_dict_iter_free(iter) : error;
}

static int make_json(void)
{
    char *text;
    int error = mp_dict_json(dict, &text);

    if (error == 0)
        free(text);
    return error;
}

static int make_manager(const char *its_name)
{
    mp_manager *made;
    int error = mp_manager_create(&made, &(mp_manager_options){.name = its_name});

    return error == 0 ? mp_manager_free(made) : error;
}

static int open_manager(void)
{
    mp_manager *opened;
    int error = mp_manager_open(&opened, name, NULL);

    return error == 0 ? mp_manager_free(opened) : error;
}

static int make_lock(const char *its_name)
{
    mp_lock *made;
    int error = mp_lock_create(&made, &(mp_lock_options){its_name});

    return error == 0 ? mp_lock_free(made) : error;
}

static int make_process(void)
{
    mp_process *made;
    int error = mp_process_start(&made, do_nothing, NULL, NULL);

    if (error == 0)
        error = mp_process_join(made, MP_FOREVER);
    return error == 0 ? mp_process_free(made) : error;
}

static int make_pool(void)
{
    mp_pool *made;
    int error = mp_pool_create(&made, 1, NULL);

    return error == 0 ? mp_pool_free(made) : error;
}

static int make_result(void)
{
    mp_result *made;
    int error = mp_pool_apply_async(pool, add_one, &one, sizeof one, sizeof one, &made);

    if (error == 0)
        error = mp_result_get(made, &sums[0], sizeof sums[0], MP_FOREVER);
    return error == 0 ? mp_result_free(made) : error;
}

static int make_dict(void)
{
    mp_dict *made;
    int error = mp_manager_dict(manager, &made);

    return error == 0 ? mp_dict_free(made) : error;
}

#define CALL(what, expression) \
    static int what(void) \
    { \
        return expression; \
    }
static size_t length;
static int64_t number;
static pid_t pids[8];
static mp_process *processes[8];
static mp_manager_info info;
static int exitcode;
CALL(manager_create, make_manager(NULL))
CALL(manager_create_named, make_manager(other_name))
CALL(manager_free, drop(mp_manager_free(named), &named))
CALL(manager_alloc, mp_memory_free(memory))
CALL(manager_info, mp_manager_get_info(manager, &info))
CALL(manager_check, mp_manager_check(manager))
CALL(manager_unlink, mp_manager_unlink(name))
CALL(dict_set, mp_dict_set_int(dict, "a", 2))
CALL(dict_get, mp_dict_get_int(dict, "a", &number))
CALL(dict_delete, mp_dict_remove_key(dict, "a"))
CALL(dict_apply, mp_dict_apply(dict, mp_value_str("a"), change_value, NULL))
CALL(dict_clear, mp_dict_clear(dict))
CALL(dict_hold, mp_dict_hold(dict))
CALL(list_append, mp_list_append_str(list, "longer than fits into the element itself"))
CALL(list_pop, mp_list_delete(list, -1))
CALL(list_sort, mp_list_sort(list, NULL, NULL, false))
CALL(list_extend, mp_list_extend(list, list))
CALL(lock_create, make_lock(NULL))
CALL(lock_create_named, make_lock(other_name))
CALL(lock_use, mp_lock_acquire(lock, MP_FOREVER) == 0 ? mp_lock_release(lock) : WRONG)
CALL(lock_use_named, mp_lock_acquire(named_lock, MP_FOREVER) == 0 ? mp_lock_release(named_lock) : WRONG)
CALL(lock_free, drop(mp_lock_free(lock), &lock))
CALL(lock_free_named, drop(mp_lock_free(named_lock), &named_lock))
CALL(process_exitcode, mp_process_exitcode(process, &exitcode))
CALL(process_children, mp_process_children(processes, 8, &length))
CALL(process_join, mp_process_join(process, 0.001) == MP_ETIMEOUT ? 0 : WRONG)
CALL(pool_apply, mp_pool_apply(pool, add_one, &one, sizeof one, &sums[0], sizeof sums[0]))
CALL(pool_map, mp_pool_map(pool, add_one, many, sizeof many[0], sums, sizeof sums[0], COUNT(many)))
CALL(pool_close, mp_pool_close(pool))
CALL(pool_terminate, mp_pool_terminate(pool))
CALL(pool_free, drop(mp_pool_free(pool), &pool))
CALL(pool_workers, mp_pool_workers(pool, pids, 8, &length))
CALL(result_get, mp_result_get(result, &sums[0], sizeof sums[0], 0))
CALL(result_free, mp_result_free(result))

static const struct {
    const char *name;
    int (*function)(void);
} calls[] = {
    {"mp_manager_create", manager_create},
    {"mp_manager_create, named", manager_create_named},
    {"mp_manager_open", open_manager},
    {"mp_manager_free", manager_free},
    {"mp_memory_free", manager_alloc},
    {"mp_manager_get_info", manager_info},
    {"mp_manager_check", manager_check},
    {"mp_manager_unlink", manager_unlink},
    {"mp_manager_dict", make_dict},
    {"mp_dict_set_int", dict_set},
    {"mp_dict_get_int", dict_get},
    {"mp_dict_set_str, growing", set_many_keys},
    {"mp_dict_remove_key", dict_delete},
    {"mp_dict_apply", dict_apply},
    {"mp_dict_clear", dict_clear},
    {"mp_dict_hold", dict_hold},
    {"mp_dict_next", iterate},
    {"mp_dict_json", make_json},
    {"mp_list_append_str", list_append},
    {"mp_list_delete", list_pop},
    {"mp_list_sort", list_sort},
    {"mp_list_extend", list_extend},
    {"mp_lock_create", lock_create},
    {"mp_lock_create, named", lock_create_named},
    {"mp_lock_acquire", lock_use},
    {"mp_lock_acquire, named", lock_use_named},
    {"mp_lock_free", lock_free},
    {"mp_lock_free, named", lock_free_named},
    {"mp_process_start", make_process},
    {"mp_process_exitcode", process_exitcode},
    {"mp_process_children", process_children},
    {"mp_process_join", process_join},
    {"mp_pool_create", make_pool},
    {"mp_pool_apply", pool_apply},
    {"mp_pool_apply_async", make_result},
    {"mp_pool_map", pool_map},
    {"mp_pool_close", pool_close},
    {"mp_pool_terminate", pool_terminate},
    {"mp_pool_free", pool_free},
    {"mp_pool_workers", pool_workers},
    {"mp_result_get", result_get},
    {"mp_result_free", result_free},
};

/* ---- the handlers ---- */

static pid_t child_of_handler;

static void exit_in_handler(int signal_number)
{
    (void)signal_number;
    exit(ENDED_BY_HANDLER);
}

static void fork_with(pid_t (*make)(void))
{
    interruptions++;
    pid_t pid = make();
    if (pid == 0)
        exit(CHILD_OF_HANDLER);
    child_of_handler = pid;
}

static void fork_in_handler(int signal_number)
{
    (void)signal_number;
    fork_with(fork);
}

static pid_t clone_raw(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void clone_in_handler(int signal_number)
{
    (void)signal_number;
    fork_with(clone_raw);
}

static const struct {
    const char *name;
    void (*handler)(int signal_number);
    bool ends;
} handlers[] = {
    {"exit()", exit_in_handler, true},
    {"fork()", fork_in_handler, false},
    {"clone()", clone_in_handler, false},
};

static int status_of(pid_t pid)
{
    int status;

    return waitpid(pid, &status, WNOHANG) == pid ? status : -1;
}

struct end {
    pid_t pid;
    int status;
};

static bool has_ended(void *arg)
{
    struct end *end = arg;

    end->status = status_of(end->pid);
    return end->status != -1;
}

/* The exit code, or -1: the process hangs or was killed. */
static int code_of(pid_t pid)
{
    struct end end = {pid, -1};

    if (wait_until(has_ended, &end, PATIENCE))
        return WIFEXITED(end.status) ? WEXITSTATUS(end.status) : -1;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

static _Noreturn void be_interrupted(size_t call, size_t handler, long when)
{
    struct sigaction action = {.sa_handler = handlers[handler].handler, .sa_flags = SA_RESTART};

    make_all();
    sigaction(SIGUSR1, &action, NULL);
    countdown = when;
    int error = calls[call].function();
    bool over = countdown > 0;
    countdown = 0;
    if (error != 0)
        dprintf(2, "%s gave %d\n", calls[call].name, error);
    MUST(error == 0);
    if (over)
        exit(NOT_INTERRUPTED);
    MUST(interruptions == 1 && code_of(child_of_handler) == CHILD_OF_HANDLER);
    use_all();
    exit(0);
}

/* Interrupts a call after each mutex that it takes. With ASan, which makes forks slow: after every fourth one. */
static int wrong_ends(size_t call, size_t handler)
{
    for (long when = 1;; when += ASAN ? 4 : 1) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            be_interrupted(call, handler, when);
        int code = code_of(pid);
        bool left = !wait_until(nobody_left, NULL, PATIENCE);

        if (code == NOT_INTERRUPTED && !left)
            return 0;
        if (code == (handlers[handler].ends ? ENDED_BY_HANDLER : 0) && !left)
            continue;
        fprintf(stderr, "%s interrupted by %s after mutex %ld: %d%s\n", calls[call].name, handlers[handler].name, when,
                code, left ? ", processes are left" : "");
        return 1;
    }
}

static void handlers_wait_for_nothing_that_is_held(void **state)
{
    int wrong = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(calls); i++) {
        for (size_t j = 0; j < COUNT(handlers); j++)
            wrong += wrong_ends(i, j);
    }
    assert_int_equal(wrong, 0);
}

/* ---- children that the library is not told of ---- */

static const struct {
    const char *name;
    pid_t (*fork)(void);
} raw_forks[] = {
    {"clone()", clone_raw},
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 34)
    {"_Fork()", _Fork},
#endif
};

static bool is_among(const char *call, const char *const *names)
{
    while (*names != NULL && strcmp(call, *names) != 0)
        names++;
    return *names != NULL;
}

/* What the call gives in such a child. Calls on things that belong to its parent alone are refused. If the kernel does
 * not tell of the child's end, the child cannot make anything. */
static int for_strangers(size_t call, size_t raw)
{
    static const char *const refused[] = {"mp_process_exitcode",
                                          "mp_pool_apply",
                                          "mp_pool_map",
                                          "mp_pool_close",
                                          "mp_pool_apply_async",
                                          "mp_pool_terminate",
                                          "mp_pool_free",
                                          "mp_pool_workers",
                                          "mp_result_get",
                                          "mp_result_free",
                                          NULL};
    static const char *const making[] = {"mp_manager_create",
                                         "mp_manager_create, named",
                                         "mp_manager_open",
                                         "mp_lock_create",
                                         "mp_lock_create, named",
                                         "mp_pool_create",
                                         NULL};

    if (is_among(calls[call].name, refused))
        return MP_EFOREIGN;
    if (raw_forks[raw].fork == clone_raw && is_among(calls[call].name, making))
        return MP_ESYSTEM;
    return strcmp(calls[call].name, "mp_process_join") == 0 ? WRONG : 0;
}

static _Noreturn void live_beside_a_stranger(size_t call, size_t raw)
{
    make_all();
    pid_t pid = raw_forks[raw].fork();
    if (pid == 0) {
        int error = calls[call].function();

        MUST(error == for_strangers(call, raw));
        exit(CHILD_OF_HANDLER);
    }
    /* The parent works at the same time. */
    for (int i = 0; i < 200; i++) {
        MUST(mp_dict_set_str(dict, "b", "longer than fits into the entry itself") == 0);
        MUST(mp_list_append_int(list, 2) == 0);
    }
    MUST(code_of(pid) == CHILD_OF_HANDLER);
    if (strcmp(calls[call].name, "mp_lock_free") == 0) /* the child has freed it for all processes */
        lock = NULL;
    use_all();
    exit(0);
}

static void strangers_harm_nothing(void **state)
{
    int wrong = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(calls); i++) {
        for (size_t j = 0; j < COUNT(raw_forks); j++) {
            fflush(NULL);
            pid_t pid = fork();
            if (pid == 0)
                live_beside_a_stranger(i, j);
            int ended = code_of(pid);
            bool left = !wait_until(nobody_left, NULL, PATIENCE);
            if (ended == 0 && !left)
                continue;
            fprintf(stderr, "%s in a child of %s: %d%s\n", calls[i].name, raw_forks[j].name, ended,
                    left ? ", processes are left" : "");
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(handlers_wait_for_nothing_that_is_held),
                                       cmocka_unit_test(strangers_harm_nothing)};

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
