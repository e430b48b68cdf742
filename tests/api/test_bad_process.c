/* Processes: bad input. */
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

/* Refused both for an invalid handle and for one of another process. */
static void refuses_to_act(mp_process *process, int code)
{
    REFUSES(mp_process_join(process, 0), code);
    REFUSES(mp_process_join(process, MP_FOREVER), code);
    REFUSES(mp_process_exitcode(process, &out.code), code);
    REFUSES(mp_process_terminate(process), code);
    REFUSES(mp_process_kill(process), code);
    REFUSES(mp_process_interrupt(process), code);
    if (process != NULL)
        REFUSES(mp_process_free(process), code);
}

static void refuses_process(void *handle)
{
    refuses_to_act(handle, MP_EINVAL);
    REFUSES(mp_process_is_alive(handle, &out.flag), MP_EINVAL);
    REFUSES(mp_process_pid(handle, &out.pid), MP_EINVAL);
    REFUSES(mp_process_is_daemon(handle, &out.flag), MP_EINVAL);
    HOLDS(strcmp(mp_process_name(handle), "") == 0);
}

static void handles_that_are_none(void **state)
{
    bool alive = false;
    (void)state;

    HOLDS(mp_process_free(NULL) == 0);
    refuses_process(NULL);
    each_bad_handle(PROCESS, refuses_process);
    HOLDS(mp_process_is_alive(stock.process, &alive) == 0 && alive);
}

static void null_pointers(void **state)
{
    (void)state;
    REFUSES(mp_process_start(NULL, do_nothing, NULL, NULL), MP_EINVAL);
    REFUSES(mp_process_start(&out.process, NULL, NULL, NULL), MP_EINVAL);
    REFUSES(mp_process_is_alive(stock.process, NULL), MP_EINVAL);
    REFUSES(mp_process_exitcode(stock.process, NULL), MP_EINVAL);
    REFUSES(mp_process_pid(stock.process, NULL), MP_EINVAL);
    REFUSES(mp_process_is_daemon(stock.process, NULL), MP_EINVAL);
    REFUSES(mp_process_children(NULL, 1, &out.size), MP_EINVAL);
    REFUSES(mp_process_children(NULL, SIZE_MAX, &out.size), MP_EINVAL);
    REFUSES(mp_process_children(&out.process, 1, NULL), MP_EINVAL);
    REFUSES(mp_process_children(NULL, 0, NULL), MP_EINVAL);
}

static void options_that_are_none(void **state)
{
    char long_name[202];
    const int daemon[] = {3, -1, INT_MAX, INT_MIN};
    int children = count_children();
    (void)state;

    memset(long_name, 'x', 201);
    long_name[201] = 0;
    for (size_t i = 0; i < sizeof daemon / sizeof *daemon; i++) {
        const mp_process_options options = {.daemon = (mp_daemon)daemon[i]};
        REFUSES(mp_process_start(&out.process, do_nothing, NULL, &options), MP_EINVAL);
    }
    REFUSES(mp_process_start(&out.process, do_nothing, NULL, &(mp_process_options){.name = ""}), MP_ENAME);
    REFUSES(mp_process_start(&out.process, do_nothing, NULL, &(mp_process_options){.name = long_name}), MP_ENAME);
    HOLDS(count_children() == children);
}

static void times_that_are_none(void **state)
{
    (void)state;
    REFUSES(mp_process_join(stock.process, (double)NAN), MP_EINVAL);
    REFUSES(mp_process_join(stock.process, -(double)NAN), MP_EINVAL);
    REFUSES(mp_process_join(stock.process, -(double)INFINITY), MP_ETIMEOUT);
    REFUSES(mp_process_join(stock.process, -1), MP_ETIMEOUT);
}

static void running_ones_are_not_freed(void **state)
{
    bool alive = false;
    (void)state;

    REFUSES(mp_process_free(stock.process), MP_EBUSY);
    HOLDS(mp_process_is_alive(stock.process, &alive) == 0 && alive);
}

static void this_process_is_nobodys_child(void **state)
{
    bool flag = false;
    pid_t pid = 0;
    (void)state;

    refuses_to_act(mp_process_current(), MP_EFOREIGN);
    HOLDS(mp_process_is_alive(mp_process_current(), &flag) == 0 && flag);
    HOLDS(mp_process_pid(mp_process_current(), &pid) == 0 && pid == getpid());
}

static mp_process *ended;

static int child_refuses(void *arg)
{
    (void)arg;
    refuses_to_act(stock.process, MP_EFOREIGN);
    refuses_to_act(ended, MP_EFOREIGN);
    refuses_to_act(mp_process_current(), MP_EFOREIGN);
    refuses_to_act(mp_process_parent(), MP_EFOREIGN);
    REFUSES(mp_process_is_alive(stock.process, &out.flag), MP_EFOREIGN);
    REFUSES(mp_process_is_alive(ended, &out.flag), MP_EFOREIGN);
    return 0;
}

static void those_of_another_process(void **state)
{
    bool alive = false;
    int status;
    (void)state;

    assert_int_equal(mp_process_start(&ended, do_nothing, NULL, NULL), 0);
    assert_int_equal(mp_process_join(ended, 60), 0);
    in_child(child_refuses);
    pid_t pid = fork(); /* a process that the library does not know */
    assert_true(pid >= 0);
    if (pid == 0) {
        failures = 0;
        refuses_to_act(stock.process, MP_EFOREIGN);
        refuses_to_act(ended, MP_EFOREIGN);
        _exit(failures != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    HOLDS(status == 0);
    HOLDS(mp_process_is_alive(stock.process, &alive) == 0 && alive);
    assert_int_equal(mp_process_free(ended), 0);
    refuses_process(ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(handles_that_are_none),      REFUSAL(null_pointers),
        REFUSAL(options_that_are_none),      REFUSAL(times_that_are_none),
        REFUSAL(running_ones_are_not_freed), REFUSAL(this_process_is_nobodys_child),
        REFUSAL(those_of_another_process),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
