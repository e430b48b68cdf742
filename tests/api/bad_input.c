#include "bad_input.h"

#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

#define FILLING 0x5a

struct out out;
int failures;
static const char *context = ""; /* describes the bad handle */

static bool out_is_untouched(void)
{
    const unsigned char *byte = (const unsigned char *)&out;

    for (size_t i = 0; i < sizeof out; i++) {
        if (byte[i] != FILLING)
            return false;
    }
    return true;
}

void refuses(int got, int code, const char *call, const char *file, int line)
{
    if (got != code) {
        fprintf(stderr, "%s:%d: %s%s gave \"%s\"", file, line, call, context, mp_strerror(got));
        fprintf(stderr, " and not \"%s\"\n", mp_strerror(code));
        failures++;
    }
    if (!out_is_untouched()) {
        fprintf(stderr, "%s:%d: %s%s touched an out-parameter\n", file, line, call, context);
        memset(&out, FILLING, sizeof out);
        failures++;
    }
}

void holds(bool condition, const char *text, const char *file, int line)
{
    if (condition)
        return;
    fprintf(stderr, "%s:%d: %s%s does not hold\n", file, line, text, context);
    failures++;
}

int begin_refusals(void **state)
{
    (void)state;
    failures = 0;
    memset(&out, FILLING, sizeof out);
    return 0;
}

int end_refusals(void **state)
{
    (void)state;
    return failures;
}

static int count_failures(void *arg)
{
    mp_process_function **function = arg;

    failures = 0;
    (*function)(NULL);
    return failures != 0;
}

void in_child(mp_process_function *function)
{
    mp_process *process;
    int code;

    assert_int_equal(mp_process_start(&process, count_failures, &function, NULL), 0);
    assert_int_equal(mp_process_join(process, 60), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    HOLDS(code == 0);
    assert_int_equal(mp_process_free(process), 0);
}

/* ---- live and dead handles ---- */

struct stock stock;
static void *dead[KINDS];       /* freed */
static mp_dict *dict_of_closed; /* of the closed manager dead[MANAGER] */
static mp_list *list_of_closed;
static mp_result *result_of_freed; /* of the freed pool dead[POOL] */
static pid_t opener;
static mp_pool *older_pool; /* made after `stock` and before `younger` */
static struct stock younger;

static int wait_for_signal(void *arg)
{
    while (arg == NULL)
        pause();
    return 0;
}

static int answer(const void *arg, void *result)
{
    (void)arg;
    memcpy(result, &(int){42}, sizeof(int));
    return 0;
}

static void open_live(void)
{
    const mp_process_options daemon = {.daemon = MP_DAEMON_YES};

    assert_int_equal(mp_manager_create(&stock.manager, NULL), 0);
    assert_int_equal(mp_manager_create(&stock.other, NULL), 0);
    assert_int_equal(mp_manager_dict(stock.manager, &stock.dict), 0);
    assert_int_equal(mp_manager_dict(stock.other, &stock.foreign_dict), 0);
    assert_int_equal(mp_manager_list(stock.manager, &stock.list), 0);
    assert_int_equal(mp_manager_list(stock.other, &stock.foreign_list), 0);
    assert_int_equal(mp_dict_set_int(stock.dict, "a", 1), 0);
    assert_int_equal(mp_dict_set_str(stock.dict, "s", "text"), 0);
    assert_int_equal(mp_list_append_int(stock.list, 1), 0);
    assert_int_equal(mp_list_append_str(stock.list, "text"), 0);
    assert_int_equal(mp_dict_iter_create(&stock.dict_iter, stock.dict), 0);
    assert_int_equal(mp_list_iter_create(&stock.list_iter, stock.list), 0);
    assert_int_equal(mp_lock_create(&stock.lock, NULL), 0);
    assert_int_equal(mp_process_start(&stock.process, wait_for_signal, NULL, &daemon), 0);
    assert_int_equal(mp_pool_create(&stock.pool, 1, NULL), 0);
    assert_int_equal(mp_pool_apply_async(stock.pool, answer, NULL, 0, sizeof(int), &stock.result), 0);
    assert_int_equal(mp_result_wait(stock.result, 60), 0);
}

static void make_dead(void)
{
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
    mp_lock *lock;
    mp_process *process;
    mp_pool *pool;
    mp_result *result;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_dict(manager, &dict_of_closed), 0);
    assert_int_equal(mp_manager_list(manager, &list_of_closed), 0);
    assert_int_equal(mp_manager_free(dead[MANAGER] = manager), 0);
    assert_int_equal(mp_manager_dict(stock.manager, &dict), 0);
    assert_int_equal(mp_manager_list(stock.manager, &list), 0);
    assert_int_equal(mp_dict_iter_create(&dict_iter, dict), 0);
    assert_int_equal(mp_list_iter_create(&list_iter, list), 0);
    assert_int_equal(mp_dict_iter_free(dead[DICT_ITER] = dict_iter), 0);
    assert_int_equal(mp_list_iter_free(dead[LIST_ITER] = list_iter), 0);
    assert_int_equal(mp_dict_free(dead[DICT] = dict), 0);
    assert_int_equal(mp_list_free(dead[LIST] = list), 0);
    assert_int_equal(mp_lock_create(&lock, NULL), 0);
    assert_int_equal(mp_lock_free(dead[LOCK] = lock), 0);
    assert_int_equal(mp_process_start(&process, do_nothing, NULL, NULL), 0);
    assert_int_equal(mp_process_join(process, 60), 0);
    assert_int_equal(mp_process_free(dead[PROCESS] = process), 0);
    assert_int_equal(mp_pool_create(&pool, 1, NULL), 0);
    assert_int_equal(mp_pool_apply_async(pool, answer, NULL, 0, sizeof(int), &result_of_freed), 0);
    assert_int_equal(mp_pool_free(dead[POOL] = pool), 0);
    assert_int_equal(mp_pool_apply_async(stock.pool, answer, NULL, 0, sizeof(int), &result), 0);
    assert_int_equal(mp_result_wait(result, 60), 0);
    assert_int_equal(mp_result_free(dead[RESULT] = result), 0);
}

static void swap_stocks(void)
{
    struct stock other = stock;

    stock = younger;
    younger = other;
}

/* Makes one object of each kind where the pool's processes have nothing mapped. The lock is named, because an anonymous
 * lock would lie where the others do. Blocks that are freed afterwards keep private memory apart, too. */
static void make_younger(void)
{
    enum { FILLERS = 20000, FILLER = 320 };
    static void *fillers[FILLERS];
    char name[64];

    for (int i = 0; i < FILLERS; i++)
        fillers[i] = malloc(FILLER);
    swap_stocks();
    open_live();
    assert_int_equal(mp_lock_free(stock.lock), 0);
    snprintf(name, sizeof name, "younger-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&stock.lock, &(mp_lock_options){name}), 0);
    swap_stocks();
    for (int i = 0; i < FILLERS; i++)
        free(fillers[i]);
}

int open_stock(void **state)
{
    mp_lock *lock;

    /* The heap of anonymous locks stays until the process ends. */
    assert_int_equal(mp_lock_create(&lock, NULL), 0);
    assert_int_equal(mp_lock_free(lock), 0);
    leak_check_begin(state);
    opener = getpid();
    open_live();
    assert_int_equal(mp_pool_create(&older_pool, 1, NULL), 0);
    make_younger();
    make_dead();
    return 0;
}

static void close_live(void)
{
    assert_int_equal(mp_manager_check(stock.manager), 0);
    assert_int_equal(mp_result_free(stock.result), 0);
    assert_int_equal(mp_pool_free(stock.pool), 0);
    assert_int_equal(mp_process_kill(stock.process), 0);
    assert_int_equal(mp_process_join(stock.process, 60), 0);
    assert_int_equal(mp_process_free(stock.process), 0);
    assert_int_equal(mp_lock_free(stock.lock), 0);
    assert_int_equal(mp_dict_iter_free(stock.dict_iter), 0);
    assert_int_equal(mp_list_iter_free(stock.list_iter), 0);
    assert_int_equal(mp_manager_free(stock.manager), 0);
    assert_int_equal(mp_manager_free(stock.other), 0);
}

int close_stock(void **state)
{
    close_live();
    swap_stocks();
    close_live();
    assert_int_equal(mp_pool_free(older_pool), 0);
    return leak_check_end(state);
}

static const char *const names[] = {"manager", "dict",    "list", "dict iterator", "list iterator",
                                    "lock",    "process", "pool", "result"};

static void visit_named(void (*visit)(void *handle), const void *handle, const char *name, const char *how)
{
    char text[80];

    snprintf(text, sizeof text, " (%s %s)", name, how);
    context = text;
    visit((void *)(uintptr_t)handle);
    context = "";
}

/* ---- handles younger than the pool, given to its worker ---- */

struct visits {
    void (*visit)(void *handle);
    void *younger[KINDS];
};

static int visit_younger(const void *arg, void *result)
{
    const struct visits *visits = arg;

    signal(SIGSEGV, SIG_DFL); /* with cmocka's handler, the next test would run in this process */
    signal(SIGBUS, SIG_DFL);
    begin_refusals(NULL);
    for (int i = 0; i < KINDS; i++)
        visit_named(visits->visit, visits->younger[i], names[i], "that is younger than the worker");
    *(int *)result = failures;
    return 0;
}

static void each_younger_handle(void (*visit)(void *handle))
{
    const struct visits visits = {visit,
                                  {younger.manager, younger.dict, younger.list, younger.dict_iter, younger.list_iter,
                                   younger.lock, younger.process, younger.pool, younger.result}};
    int failed = -1;

    HOLDS(mp_pool_apply(older_pool, visit_younger, &visits, sizeof visits, &failed, sizeof failed) == 0);
    HOLDS(failed == 0);
}

void each_bad_handle(enum kind kind, void (*visit)(void *handle))
{
    static _Alignas(4096) char zeros[16 * 1024];
    const void *const live[KINDS] = {stock.manager, stock.dict,    stock.list, stock.dict_iter, stock.list_iter,
                                     stock.lock,    stock.process, stock.pool, stock.result};

    for (int i = 0; i < KINDS; i++) {
        const char *inside = live[i];

        if (i != (int)kind)
            visit_named(visit, live[i], names[i], "that lives");
        visit_named(visit, dead[i], names[i], "that was freed");
        visit_named(visit, inside + 1, names[i], "and a byte");
        visit_named(visit, inside + 8, names[i], "and 8 bytes");
        visit_named(visit, inside + 16, names[i], "and 16 bytes");
        if (i != DICT_ITER && i != LIST_ITER && i != PROCESS) /* these lie in private memory, which may end there */
            visit_named(visit, inside + 64, names[i], "and 64 bytes");
    }
    visit_named(visit, dict_of_closed, "dict", "of a closed manager");
    visit_named(visit, list_of_closed, "list", "of a closed manager");
    visit_named(visit, result_of_freed, "result", "of a freed pool");
    visit_named(visit, zeros, "zeroed memory", "on a page");
    visit_named(visit, zeros + 64, "zeroed memory", "on a cache line");
    if (getpid() == opener) /* a child cannot use that pool */
        each_younger_handle(visit);
}
