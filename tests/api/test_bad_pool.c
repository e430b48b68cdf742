/* Pools and results: bad input. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bad_input.h"
#include "support.h"

static int copy_int(const void *arg, void *result)
{
    memcpy(result, arg, sizeof(int));
    return 0;
}

static int fail_task(const void *arg, void *result)
{
    (void)arg;
    memset(result, 1, sizeof(int));
    return 3;
}

static const int args[4] = {1, 2, 3, 4};

/* ---- handles ---- */

/* Refused both for an invalid handle and for one of another process. */
static void refuses_pool_with(mp_pool *pool, int code)
{
    REFUSES(mp_pool_apply(pool, copy_int, args, 4, out.text, 4), code);
    REFUSES(mp_pool_apply_async(pool, copy_int, args, 4, 4, &out.result), code);
    REFUSES(mp_pool_apply_async(pool, copy_int, args, 4, 4, NULL), code);
    REFUSES(mp_pool_map(pool, copy_int, args, 4, out.text, 4, 4), code);
    REFUSES(mp_pool_map_with(pool, copy_int, args, 4, out.text, 4, 4, &(mp_map_options){.status = &out.code}), code);
    REFUSES(mp_pool_map_async(pool, copy_int, args, 4, 4, 4, &out.result, NULL), code);
    REFUSES(mp_pool_close(pool), code);
    REFUSES(mp_pool_terminate(pool), code);
    REFUSES(mp_pool_join(pool), code);
    REFUSES(mp_pool_size(pool, &out.code), code);
    REFUSES(mp_pool_workers(pool, &out.pid, 1, &out.size), code);
    REFUSES(mp_pool_supervisor(pool, &out.pid), code);
    if (pool != NULL)
        REFUSES(mp_pool_free(pool), code);
}

static void refuses_result_with(mp_result *result, int code)
{
    REFUSES(mp_result_get(result, out.text, sizeof out.text, 0), code);
    REFUSES(mp_result_get(result, out.text, sizeof out.text, MP_FOREVER), code);
    REFUSES(mp_result_wait(result, 0), code);
    REFUSES(mp_result_ready(result, &out.flag), code);
    REFUSES(mp_result_successful(result, &out.flag), code);
    REFUSES(mp_result_size(result, &out.size), code);
    REFUSES(mp_result_status(result, 0, &out.code), code);
    if (result != NULL)
        REFUSES(mp_result_free(result), code);
}

static void refuses_pool(void *handle)
{
    refuses_pool_with(handle, MP_EINVAL);
}

static void refuses_result(void *handle)
{
    refuses_result_with(handle, MP_EINVAL);
}

static void still_works(void)
{
    int value = 0;

    HOLDS(mp_pool_apply(stock.pool, copy_int, &args[3], 4, &value, 4) == 0 && value == 4);
    value = 0;
    HOLDS(mp_result_get(stock.result, &value, sizeof value, 0) == 0 && value == 42);
}

static void handles_that_are_none(void **state)
{
    (void)state;
    HOLDS(mp_pool_free(NULL) == 0 && mp_result_free(NULL) == 0);
    refuses_pool(NULL);
    refuses_result(NULL);
    each_bad_handle(POOL, refuses_pool);
    each_bad_handle(RESULT, refuses_result);
    still_works();
}

/* ---- pointers ---- */

static void null_pointers(void **state)
{
    mp_pool *pool = stock.pool;
    const mp_map_options status = {.status = &out.code};
    (void)state;

    REFUSES(mp_pool_create(NULL, 1, NULL), MP_EINVAL);
    REFUSES(mp_pool_apply(pool, NULL, args, 4, out.text, 4), MP_EINVAL);
    REFUSES(mp_pool_apply(pool, copy_int, NULL, 4, out.text, 4), MP_EINVAL);
    REFUSES(mp_pool_apply(pool, copy_int, args, 4, NULL, 4), MP_EINVAL);
    REFUSES(mp_pool_apply_async(pool, NULL, args, 4, 4, &out.result), MP_EINVAL);
    REFUSES(mp_pool_apply_async(pool, NULL, args, 4, 4, NULL), MP_EINVAL);
    REFUSES(mp_pool_apply_async(pool, copy_int, NULL, 4, 4, &out.result), MP_EINVAL);
    REFUSES(mp_pool_map(pool, NULL, args, 4, out.text, 4, 4), MP_EINVAL);
    REFUSES(mp_pool_map(pool, NULL, args, 4, out.text, 4, 0), MP_EINVAL);
    REFUSES(mp_pool_map(pool, copy_int, NULL, 4, out.text, 4, 4), MP_EINVAL);
    REFUSES(mp_pool_map(pool, copy_int, args, 4, NULL, 4, 4), MP_EINVAL);
    REFUSES(mp_pool_map_with(pool, NULL, args, 4, out.text, 4, 4, &status), MP_EINVAL);
    REFUSES(mp_pool_map_with(pool, copy_int, NULL, 4, out.text, 4, 4, &status), MP_EINVAL);
    REFUSES(mp_pool_map_with(pool, copy_int, args, 4, NULL, 4, 4, &status), MP_EINVAL);
    REFUSES(mp_pool_map_async(pool, NULL, args, 4, 4, 4, &out.result, NULL), MP_EINVAL);
    REFUSES(mp_pool_map_async(pool, copy_int, NULL, 4, 4, 4, &out.result, NULL), MP_EINVAL);
    REFUSES(mp_pool_map_async(pool, copy_int, args, 4, 4, 4, NULL, NULL), MP_EINVAL);
    REFUSES(mp_pool_map_async(pool, copy_int, args, 4, 4, 4, &out.result, &status), MP_EINVAL);
    /* Results in memory that cannot be used in place, or results given twice. */
    const mp_map_options own = {.results = out.text};
    REFUSES(mp_pool_map_async(pool, copy_int, args, 4, 4, 4, &out.result, &own), MP_EINVAL);
    REFUSES(mp_pool_map_with(pool, copy_int, args, 4, out.text, 4, 4, &own), MP_EINVAL);
    REFUSES(mp_pool_size(pool, NULL), MP_EINVAL);
    REFUSES(mp_pool_workers(pool, NULL, 1, &out.size), MP_EINVAL);
    REFUSES(mp_pool_workers(pool, &out.pid, 1, NULL), MP_EINVAL);
    REFUSES(mp_pool_supervisor(pool, NULL), MP_EINVAL);
    REFUSES(mp_result_get(stock.result, NULL, 4, 0), MP_EINVAL);
    REFUSES(mp_result_ready(stock.result, NULL), MP_EINVAL);
    REFUSES(mp_result_successful(stock.result, NULL), MP_EINVAL);
    REFUSES(mp_result_size(stock.result, NULL), MP_EINVAL);
    REFUSES(mp_result_status(stock.result, 0, NULL), MP_EINVAL);
    still_works();
}

/* ---- numbers ---- */

static void refuses_to_make(int workers, mp_pool_options options)
{
    REFUSES(mp_pool_create(&out.pool, workers, &options), MP_EINVAL);
}

static void counts_that_are_none(void **state)
{
    const mp_pool_options none = {.retries = 0};
    int children = count_children();
    (void)state;

    refuses_to_make(-1, none);
    refuses_to_make(INT_MIN, none);
    refuses_to_make(MP_POOL_MAX_WORKERS + 1, none);
    refuses_to_make(INT_MAX, none);
    refuses_to_make(1, (mp_pool_options){.retries = -1});
    refuses_to_make(1, (mp_pool_options){.retries = INT_MIN});
    refuses_to_make(1, (mp_pool_options){.max_tasks_per_child = -1});
    refuses_to_make(1, (mp_pool_options){.max_tasks_per_child = INT_MIN});
    HOLDS(count_children() == children);
}

static void refuses_sizes(size_t arg_size, size_t result_size, int code)
{
    REFUSES(mp_pool_apply(stock.pool, copy_int, args, arg_size, out.text, result_size), code);
    REFUSES(mp_pool_apply_async(stock.pool, copy_int, args, arg_size, result_size, &out.result), code);
    REFUSES(mp_pool_apply_async(stock.pool, copy_int, args, arg_size, result_size, NULL), code);
}

static void refuses_map(size_t arg_size, size_t result_size, size_t count, size_t chunk_size, int code)
{
    const mp_map_options options = {.chunk_size = chunk_size, .status = &out.code};
    const mp_map_options no_status = {.chunk_size = chunk_size};

    if (chunk_size == 0)
        REFUSES(mp_pool_map(stock.pool, copy_int, args, arg_size, out.text, result_size, count), code);
    REFUSES(mp_pool_map_with(stock.pool, copy_int, args, arg_size, out.text, result_size, count, &options), code);
    REFUSES(mp_pool_map_async(stock.pool, copy_int, args, arg_size, result_size, count, &out.result, &no_status), code);
}

static void sizes_that_overflow(void **state)
{
    const size_t large = (size_t)1 << 39;
    (void)state;

    refuses_sizes(SIZE_MAX, 4, MP_ENOMEM);
    refuses_sizes(SIZE_MAX - 14, 4, MP_ENOMEM);
    refuses_sizes(SIZE_MAX / 2, 4, MP_ENOMEM);
    refuses_sizes(large, 4, MP_ENOMEM);
    refuses_sizes(4, SIZE_MAX, MP_ENOMEM);
    refuses_sizes(4, SIZE_MAX - 14, MP_ENOMEM);
    refuses_sizes(4, large, MP_ENOMEM);
    refuses_sizes(SIZE_MAX, SIZE_MAX, MP_ENOMEM);
    refuses_map(4, 4, SIZE_MAX, 0, MP_EOVERFLOW);
    refuses_map(4, 4, SIZE_MAX / 4 + 2, 0, MP_EOVERFLOW);
    refuses_map(SIZE_MAX, 4, 4, 0, MP_EOVERFLOW);
    refuses_map(4, SIZE_MAX, 4, 0, MP_EOVERFLOW);
    refuses_map(SIZE_MAX / 2, 4, 4, 0, MP_EOVERFLOW);
    refuses_map(4, SIZE_MAX / 2 + 2, 2, 0, MP_EOVERFLOW);
    refuses_map((size_t)1 << 32, 4, (size_t)1 << 32, 0, MP_EOVERFLOW);
    refuses_map(4, (size_t)1 << 32, (size_t)1 << 32, 0, MP_EOVERFLOW);
    refuses_map(0, 0, SIZE_MAX, 0, MP_EOVERFLOW);
    refuses_map(large, 4, 1, 0, MP_ENOMEM);
    refuses_map(4, large, 1, 0, MP_ENOMEM);
    refuses_map(4, 4, large, 1, MP_ENOMEM);
    refuses_map(4, 4, large, 0, MP_ENOMEM);
    still_works();
}

/* A chunk size above the number of items means all of them. */
static void chunks_of_any_size(void **state)
{
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)UINT32_MAX + 1, 5, 1};
    int results[4], status[4];
    (void)state;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const mp_map_options options = {.chunk_size = sizes[i], .status = status};

        memset(results, 0, sizeof results);
        HOLDS(mp_pool_map_with(stock.pool, copy_int, args, 4, results, 4, 4, &options) == 0);
        HOLDS(memcmp(results, args, sizeof args) == 0);
    }
}

static void times_that_are_none(void **state)
{
    (void)state;
    REFUSES(mp_result_get(stock.result, out.text, sizeof out.text, (double)NAN), MP_EINVAL);
    REFUSES(mp_result_wait(stock.result, (double)NAN), MP_EINVAL);
    REFUSES(mp_result_wait(stock.result, -(double)NAN), MP_EINVAL);
    HOLDS(mp_result_wait(stock.result, -(double)INFINITY) == 0);
}

/* ---- results ---- */

static void answers_that_are_errors(void **state)
{
    mp_result *result;
    int value = 7;
    (void)state;

    REFUSES(mp_result_get(stock.result, out.text, 3, 0), MP_ETOOSMALL);
    REFUSES(mp_result_get(stock.result, NULL, 0, 0), MP_ETOOSMALL);
    REFUSES(mp_result_status(stock.result, 1, &out.code), MP_EINDEX);
    REFUSES(mp_result_status(stock.result, SIZE_MAX, &out.code), MP_EINDEX);
    HOLDS(mp_pool_apply(stock.pool, fail_task, NULL, 0, &value, 4) == 3 && value == 7);
    assert_int_equal(mp_pool_map_async(stock.pool, copy_int, args, 4, 4, 4, &result, NULL), 0);
    assert_int_equal(mp_result_wait(result, 60), 0);
    REFUSES(mp_result_status(result, 4, &out.code), MP_EINDEX);
    REFUSES(mp_result_status(result, SIZE_MAX, &out.code), MP_EINDEX);
    REFUSES(mp_result_get(result, out.text, 15, 0), MP_ETOOSMALL);
    assert_int_equal(mp_result_free(result), 0);
    refuses_result(result);
}

/* Ends when the other end of the pipe is closed. */
static int wait_for_pipe(const void *arg, void *result)
{
    int fd;
    (void)result;

    memcpy(&fd, arg, sizeof fd);
    return read(fd, &fd, 1) == 1 ? 0 : 1;
}

static void results_that_are_not_there(void **state)
{
    mp_pool *pool;
    mp_result *result;
    int fds[2];
    (void)state;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(mp_pool_create(&pool, 1, NULL), 0);
    assert_int_equal(mp_pool_apply_async(pool, wait_for_pipe, fds, sizeof fds[0], 0, &result), 0);
    REFUSES(mp_result_successful(result, &out.flag), MP_ENOTREADY);
    REFUSES(mp_result_size(result, &out.size), MP_ENOTREADY);
    REFUSES(mp_result_status(result, 0, &out.code), MP_ENOTREADY);
    REFUSES(mp_result_get(result, out.text, sizeof out.text, 0), MP_ETIMEOUT);
    REFUSES(mp_result_wait(result, -1), MP_ETIMEOUT);
    REFUSES(mp_pool_join(pool), MP_EBUSY);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(mp_result_wait(result, 60), 0);
    assert_int_equal(mp_pool_close(pool), 0);
    REFUSES(mp_pool_apply(pool, copy_int, args, 4, out.text, 4), MP_ECLOSED);
    REFUSES(mp_pool_apply_async(pool, copy_int, args, 4, 4, &out.result), MP_ECLOSED);
    REFUSES(mp_pool_map(pool, copy_int, args, 4, out.text, 4, 4), MP_ECLOSED);
    REFUSES(mp_pool_map_with(pool, copy_int, args, 4, out.text, 4, 4, NULL), MP_ECLOSED);
    REFUSES(mp_pool_map_async(pool, copy_int, args, 4, 4, 4, &out.result, NULL), MP_ECLOSED);
    assert_int_equal(mp_pool_free(pool), 0);
    refuses_pool(pool);
    refuses_result(result);
    close(fds[0]);
    close(fds[1]);
}

/* ---- in other processes ---- */

static int child_refuses(void *arg)
{
    (void)arg;
    refuses_pool_with(stock.pool, MP_EFOREIGN);
    refuses_result_with(stock.result, MP_EFOREIGN);
    each_bad_handle(POOL, refuses_pool);
    return 0;
}

static int worker_refuses(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    failures = 0;
    refuses_pool_with(stock.pool, MP_EFOREIGN);
    refuses_result_with(stock.result, MP_EFOREIGN);
    return failures != 0;
}

static void those_of_another_process(void **state)
{
    mp_pool *pool;
    int status;
    (void)state;

    in_child(child_refuses);
    pid_t pid = fork(); /* a process that the library does not know */
    assert_true(pid >= 0);
    if (pid == 0) {
        failures = 0;
        child_refuses(NULL);
        _exit(failures != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    HOLDS(status == 0);
    assert_int_equal(mp_pool_create(&pool, 1, NULL), 0);
    HOLDS(mp_pool_apply(pool, worker_refuses, NULL, 0, NULL, 0) == 0);
    assert_int_equal(mp_pool_free(pool), 0);
    still_works();
}

/* ---- mp_task_return() ---- */

static int return_in_child(void *arg)
{
    (void)arg;
    return mp_task_return("child", 6) == MP_EFOREIGN ? 0 : 1;
}

/* A refused later call leaves what was handed over before. */
static int return_badly(const void *arg, void *result)
{
    mp_process *process;
    int code = 1;
    (void)arg;
    (void)result;

    failures = 0;
    REFUSES(mp_task_return(NULL, 1), MP_EINVAL);
    HOLDS(mp_task_return("first", 6) == 0);
    HOLDS(mp_task_return("second", 7) == 0);
    REFUSES(mp_task_return(NULL, 1), MP_EINVAL);
    REFUSES(mp_task_return("x", SIZE_MAX), MP_ENOMEM);
    REFUSES(mp_task_return("x", SIZE_MAX / 2), MP_ENOMEM);
    REFUSES(mp_task_return("x", (size_t)1 << 40), MP_ENOMEM);
    HOLDS(mp_process_start(&process, return_in_child, NULL, NULL) == 0);
    HOLDS(mp_process_join(process, 60) == 0 && mp_process_exitcode(process, &code) == 0 && code == 0);
    HOLDS(mp_process_free(process) == 0);
    return failures != 0;
}

static int return_in_map(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    return mp_task_return("x", 1) == MP_EINVAL ? 0 : 1;
}

static int return_in_initializer(void *arg)
{
    (void)arg;
    return mp_task_return("x", 1) == MP_EINVAL ? 0 : 1;
}

/* The worker of an inner pool is not in a task of the outer pool. */
static int return_in_nested_pool(const void *arg, void *result)
{
    const mp_pool_options options = {.initializer = return_in_initializer};
    mp_pool *pool;
    int error = mp_pool_create(&pool, 1, &options);
    (void)arg;
    (void)result;

    if (error != 0)
        return 1;
    error = mp_pool_apply(pool, return_in_map, NULL, 0, NULL, 0);
    mp_pool_free(pool);
    return error == 1 ? 0 : 2; /* return_in_map() was inside a task there */
}

static void what_tasks_return(void **state)
{
    const mp_pool_options options = {.initializer = return_in_initializer};
    mp_pool *pool;
    mp_result *result;
    char text[8] = "";
    size_t size = 0;
    (void)state;

    REFUSES(mp_task_return("x", 1), MP_EINVAL);
    REFUSES(mp_task_return(NULL, 0), MP_EINVAL);
    assert_int_equal(mp_pool_create(&pool, 1, &options), 0);
    assert_int_equal(mp_pool_apply_async(pool, return_badly, NULL, 0, 0, &result), 0);
    HOLDS(mp_result_get(result, text, sizeof text, 60) == 0);
    HOLDS(mp_result_size(result, &size) == 0 && size == 7 && strcmp(text, "second") == 0);
    assert_int_equal(mp_result_free(result), 0);
    REFUSES(mp_pool_apply(pool, return_badly, NULL, 0, out.text, 6), MP_ETOOSMALL);
    HOLDS(mp_pool_map(pool, return_in_map, args, 4, NULL, 0, 4) == 0);
    HOLDS(mp_pool_apply(pool, return_in_nested_pool, NULL, 0, NULL, 0) == 0);
    assert_int_equal(mp_pool_free(pool), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(handles_that_are_none),      REFUSAL(null_pointers),
        REFUSAL(counts_that_are_none),       REFUSAL(sizes_that_overflow),
        REFUSAL(chunks_of_any_size),         REFUSAL(times_that_are_none),
        REFUSAL(answers_that_are_errors),    REFUSAL(those_of_another_process),
        REFUSAL(results_that_are_not_there), REFUSAL(what_tasks_return),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
