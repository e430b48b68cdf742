/* Process: behaviours 2-15, 17, 19-22 of BEHAVIOURS.md.
 *
 * A child reports its findings by its exit code, or in `shared`, memory that all processes of a test share. A test that
 * needs a process of its own (to end it, to limit it, to change its user) forks one: in_private_process(). The program
 * is also its own helper: see main(). */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "support.h"

#define PATIENCE 30.0

static struct shared {
    atomic_int go;    /* set to let others go on */
    atomic_int runs;  /* how often a function has run */
    atomic_int ready; /* the number of functions that have got to a certain point */
    atomic_int values[8];
} * shared;

static const char *program;
static int descriptors_at_start;

static int make(void **state)
{
    (void)state;
    memset(shared, 0, sizeof *shared);
    return 0;
}

/* ---- tools ---- */

static bool wait_for(atomic_int *flag)
{
    return wait_until(is_set, flag, PATIENCE);
}

static pid_t fork_private(void (*body)(void))
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's handler would go on with the next test */
        body();
        _exit(0);
    }
    return pid;
}

static void in_private_process(void (*body)(void))
{
    pid_t pid = fork_private(body);
    int status;

    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int return_arg(void *arg)
{
    return *(int *)arg;
}

static int wait_for_go(void *arg)
{
    (void)arg;
    return wait_for(&shared->go) ? 5 : 98;
}

static int sleep_for_ever(void *arg)
{
    atomic_fetch_add(&shared->ready, 1);
    while (arg == NULL)
        pause();
    return 0;
}

static mp_process *start(mp_process_function *function, void *arg, const mp_process_options *options)
{
    mp_process *process = NULL;

    assert_int_equal(mp_process_start(&process, function, arg, options), 0);
    assert_non_null(process);
    return process;
}

static int exitcode_of(mp_process *process)
{
    int exitcode = 12345;

    assert_int_equal(mp_process_exitcode(process, &exitcode), 0);
    return exitcode;
}

static bool alive(mp_process *process)
{
    bool answer = false;

    assert_int_equal(mp_process_is_alive(process, &answer), 0);
    return answer;
}

/* Joins and frees the process. Returns its exit code. */
static int finish(mp_process *process)
{
    int exitcode;

    assert_int_equal(mp_process_join(process, MP_FOREVER), 0);
    exitcode = exitcode_of(process);
    assert_int_equal(mp_process_free(process), 0);
    return exitcode;
}

static int run(mp_process_function *function, void *arg)
{
    return finish(start(function, arg, NULL));
}

/* ---- 2, 3, 4: what runs, and how it ends ---- */

static int look_around(void *arg)
{
    int *value = arg;

    MUST(wait_for(&shared->go));
    atomic_fetch_add(&shared->runs, 1);
    atomic_store(&shared->values[0], (int)getpid());
    atomic_store(&shared->values[1], *value);
    *value = 3;
    return 0;
}

static void runs_once_in_another_process_with_memory_as_at_the_start(void **state)
{
    int value = 1;
    mp_process *process = start(look_around, &value, NULL);
    pid_t pid = 0;

    (void)state;
    value = 2;
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_pid(process, &pid), 0);
    assert_int_equal(finish(process), 0);
    assert_int_equal(atomic_load(&shared->runs), 1);
    assert_int_equal(atomic_load(&shared->values[0]), pid);
    assert_true(pid > 0 && pid != getpid());
    assert_int_equal(atomic_load(&shared->values[1]), 1);
    assert_int_equal(value, 2);
}

static int call_underscore_exit(void *arg)
{
    _exit(*(int *)arg);
}

static int call_exit(void *arg)
{
    exit(*(int *)arg);
}

static void exit_code_is_what_the_function_returns(void **state)
{
    int codes[] = {0, 1, 7, 255, 256, 300, -1};
    int expected[] = {0, 1, 7, 255, 0, 44, 255};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        assert_int_equal(run(return_arg, &codes[i]), expected[i]);
        assert_int_equal(run(call_underscore_exit, &codes[i]), expected[i]);
        assert_int_equal(run(call_exit, &codes[i]), expected[i]);
    }
}

static int die_by(void *arg)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(*(int *)arg, SIG_DFL);
    raise(*(int *)arg);
    return 1;
}

static void exit_code_is_minus_the_signal(void **state)
{
    int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGSEGV, SIGABRT, SIGBUS, SIGUSR1};

    (void)state;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        assert_int_equal(run(die_by, &signals[i]), -signals[i]);
}

/* ---- 5, 6, 7: watching ---- */

static void exit_code_is_none_while_it_runs(void **state)
{
    mp_process *process = start(wait_for_go, NULL, NULL);

    (void)state;
    assert_int_equal(exitcode_of(process), MP_EXITCODE_NONE);
    assert_int_equal(mp_process_join(process, 0), MP_ETIMEOUT);
    assert_int_equal(exitcode_of(process), MP_EXITCODE_NONE);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(exitcode_of(process), 5);
    assert_int_equal(mp_process_join(process, 0), 0);
    assert_int_equal(exitcode_of(process), 5);
    assert_int_equal(finish(process), 5);
}

static bool has_ended(void *arg)
{
    return !alive(arg);
}

static bool has_exitcode(void *arg)
{
    return exitcode_of(arg) != MP_EXITCODE_NONE;
}

static void is_alive_tells_and_reaps(void **state)
{
    int before = count_children(), descriptors = count_descriptors();
    mp_process *process = start(wait_for_go, NULL, NULL);

    (void)state;
    assert_true(alive(process));
    assert_int_equal(count_children(), before + 1);
    atomic_store(&shared->go, 1);
    assert_true(wait_until(has_ended, process, PATIENCE));
    assert_int_equal(count_children(), before);
    assert_int_equal(count_descriptors(), descriptors);
    assert_false(alive(process));
    assert_int_equal(exitcode_of(process), 5);
    assert_int_equal(mp_process_free(process), 0);
}

static void exit_code_reaps(void **state)
{
    int before = count_children();
    mp_process *process = start(do_nothing, NULL, NULL);

    (void)state;
    assert_true(wait_until(has_exitcode, process, PATIENCE));
    assert_int_equal(count_children(), before);
    assert_int_equal(finish(process), 0);
}

static void join_takes_a_timeout(void **state)
{
    mp_process *process = start(wait_for_go, NULL, NULL);
    double begin = now(), took;

    (void)state;
    assert_int_equal(mp_process_join(process, 0), MP_ETIMEOUT);
    assert_int_equal(mp_process_join(process, -1), MP_ETIMEOUT);
    assert_int_equal(mp_process_join(process, -MP_FOREVER), MP_ETIMEOUT);
    begin = now();
    assert_int_equal(mp_process_join(process, 0.05), MP_ETIMEOUT);
    took = now() - begin;
    assert_true(took >= 0.05 && took < PATIENCE);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(mp_process_join(process, MP_FOREVER), 0);
    assert_int_equal(mp_process_join(process, 0), 0);
    assert_int_equal(finish(process), 5);
}

/* ---- 8: what belongs to another process ---- */

static int use_foreign(void *arg)
{
    mp_process *sibling = arg;
    mp_process *strangers[] = {sibling, mp_process_current(), mp_process_parent()};
    bool flag;
    int code;
    pid_t pid;

    for (size_t i = 0; i < 3; i++) {
        MUST(strangers[i] != NULL);
        MUST(mp_process_join(strangers[i], 0) == MP_EFOREIGN);
        MUST(mp_process_join(strangers[i], MP_FOREVER) == MP_EFOREIGN);
        MUST(mp_process_exitcode(strangers[i], &code) == MP_EFOREIGN);
        MUST(mp_process_terminate(strangers[i]) == MP_EFOREIGN);
        MUST(mp_process_kill(strangers[i]) == MP_EFOREIGN);
        MUST(mp_process_interrupt(strangers[i]) == MP_EFOREIGN);
        MUST(mp_process_free(strangers[i]) == MP_EFOREIGN);
        MUST(mp_process_pid(strangers[i], &pid) == 0 && pid > 0);
        MUST(mp_process_is_daemon(strangers[i], &flag) == 0);
        MUST(*mp_process_name(strangers[i]) != '\0');
    }
    MUST(mp_process_is_alive(sibling, &flag) == MP_EFOREIGN);
    return 17;
}

static void what_belongs_to_another_process_is_refused(void **state)
{
    mp_process *sibling = start(wait_for_go, NULL, NULL);
    mp_process *ended = start(do_nothing, NULL, NULL);

    (void)state;
    assert_int_equal(mp_process_join(ended, MP_FOREVER), 0);
    assert_int_equal(run(use_foreign, sibling), 17);
    assert_int_equal(run(use_foreign, ended), 17);
    assert_true(alive(sibling));
    atomic_store(&shared->go, 1);
    assert_int_equal(finish(sibling), 5);
    assert_int_equal(finish(ended), 0);
    assert_int_equal(mp_process_join(mp_process_current(), 0), MP_EFOREIGN);
}

/* ---- 9: signals ---- */

static void signals_are_sent(void **state)
{
    int (*const senders[])(mp_process *) = {mp_process_terminate, mp_process_kill, mp_process_interrupt};
    const int signals[] = {SIGTERM, SIGKILL, SIGINT};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        mp_process *process = start(sleep_for_ever, NULL, NULL);

        assert_int_equal(senders[i](process), 0);
        assert_int_equal(mp_process_join(process, PATIENCE), 0);
        assert_int_equal(exitcode_of(process), -signals[i]);
        for (size_t j = 0; j < 3; j++)
            assert_int_equal(senders[j](process), 0);
        assert_int_equal(finish(process), -signals[i]);
    }
}

static void signals_to_one_that_has_ended_are_harmless(void **state)
{
    mp_process *process = start(do_nothing, NULL, NULL);
    siginfo_t info;
    pid_t pid;

    (void)state;
    assert_int_equal(mp_process_pid(process, &pid), 0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(mp_process_kill(process), 0); /* a zombie still */
    assert_int_equal(mp_process_terminate(process), 0);
    assert_int_equal(finish(process), 0);
}

/* ---- 10: freeing ---- */

static void free_of_a_running_one_is_refused(void **state)
{
    mp_process *process = start(wait_for_go, NULL, NULL);
    pid_t pid;

    (void)state;
    assert_int_equal(mp_process_free(process), MP_EBUSY);
    assert_true(alive(process));
    assert_int_equal(mp_process_pid(process, &pid), 0);
    assert_true(pid > 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(exitcode_of(process), 5);
    assert_int_equal(mp_process_free(process), 0);
    assert_int_equal(mp_process_free(NULL), 0);
}

static void freed_handles_are_refused(void **state)
{
    mp_process *process = start(do_nothing, NULL, NULL);
    bool flag;
    int code;
    pid_t pid;

    (void)state;
    finish(process);
    assert_int_equal(mp_process_free(process), MP_EINVAL);
    assert_int_equal(mp_process_join(process, 0), MP_EINVAL);
    assert_int_equal(mp_process_is_alive(process, &flag), MP_EINVAL);
    assert_int_equal(mp_process_exitcode(process, &code), MP_EINVAL);
    assert_int_equal(mp_process_kill(process), MP_EINVAL);
    assert_int_equal(mp_process_pid(process, &pid), MP_EINVAL);
    assert_int_equal(mp_process_is_daemon(process, &flag), MP_EINVAL);
    assert_string_equal(mp_process_name(process), "");
}

/* ---- 11: names ---- */

static void comm_of(pid_t pid, char *comm, int size)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    file = fopen(path, "r");
    MUST(file != NULL && fgets(comm, size, file) != NULL);
    comm[strcspn(comm, "\n")] = '\0';
    fclose(file);
}

static int check_names(void *arg)
{
    const char *expected = arg;
    const char *own = mp_process_name(mp_process_current());
    mp_process_options options = {.name = "given"};
    mp_process *first, *second, *third;
    char name[64];

    MUST(strcmp(own, expected) == 0);
    MUST(mp_process_start(&first, do_nothing, NULL, NULL) == 0);
    snprintf(name, sizeof name, "%s:1", expected);
    MUST(strcmp(mp_process_name(first), name) == 0);
    MUST(mp_process_start(&second, do_nothing, NULL, &options) == 0);
    MUST(strcmp(mp_process_name(second), "given") == 0);
    MUST(mp_process_start(&third, do_nothing, NULL, NULL) == 0); /* the process in between counts, as in Python */
    snprintf(name, sizeof name, "%s:3", expected);
    MUST(strcmp(mp_process_name(third), name) == 0);
    comm_of(getpid(), name, sizeof name);
    MUST(strncmp(name, expected, 15) == 0);
    return 0;
}

static void name_the_children(void)
{
    mp_process *process;
    int code;

    MUST(strcmp(mp_process_name(mp_process_current()), "MainProcess") == 0);
    for (int i = 1; i <= 3; i++) {
        char name[32];

        snprintf(name, sizeof name, "Process-%d", i);
        MUST(mp_process_start(&process, check_names, name, NULL) == 0);
        MUST(strcmp(mp_process_name(process), name) == 0);
        MUST(mp_process_join(process, MP_FOREVER) == 0);
        MUST(mp_process_exitcode(process, &code) == 0 && code == 0);
        MUST(mp_process_free(process) == 0);
    }
}

static int run_self(const char *mode, const char *argument)
{
    char *arguments[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)mode, (char *)(uintptr_t)argument, NULL};
    pid_t pid;
    int status = -1;

    fflush(NULL);
    assert_int_equal(posix_spawn(&pid, program, NULL, NULL, arguments, environ), 0); /* it runs no fork handlers */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void names_count_up(void **state)
{
    (void)state;
    assert_int_equal(run_self("names", NULL), 0); /* a fresh program, because default names count from its start */
}

static int has_long_name(void *arg)
{
    return strcmp(mp_process_name(mp_process_current()), arg) == 0 ? 0 : 1;
}

static void names_can_be_given(void **state)
{
    char name[202];
    mp_process_options options = {.name = name};
    mp_process *process, *none = NULL;

    (void)state;
    memset(name, 'x', sizeof name);
    name[201] = '\0';
    assert_int_equal(mp_process_start(&none, do_nothing, NULL, &options), MP_ENAME);
    name[0] = '\0';
    assert_int_equal(mp_process_start(&none, do_nothing, NULL, &options), MP_ENAME);
    assert_null(none);
    name[0] = 'x';
    name[200] = '\0';
    process = start(has_long_name, name, &options);
    assert_string_equal(mp_process_name(process), name);
    assert_int_equal(finish(process), 0);
    strcpy(name, "mail sender");
    process = start(has_long_name, "mail sender", &options);
    strcpy(name, "changed");
    assert_string_equal(mp_process_name(process), "mail sender");
    assert_int_equal(finish(process), 0);
}

static int descend(void *arg)
{
    int depth = *(int *)arg;
    mp_process *process;
    int code;

    if (depth == 0)
        return 42;
    depth--;
    MUST(mp_process_start(&process, descend, &depth, NULL) == 0);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0);
    return code;
}

static void processes_start_processes_to_any_depth(void **state)
{
    int depth = 100; /* the default name gets longer than a given name may be */

    (void)state;
    assert_int_equal(run(descend, &depth), 42);
}

/* ---- 12, 13: daemons, and the end of the parent ---- */

static int report_daemon(void *arg)
{
    bool daemon;

    (void)arg;
    MUST(mp_process_is_daemon(mp_process_current(), &daemon) == 0);
    return daemon;
}

static int child_is_daemon(void *arg)
{
    mp_process_options options = {.daemon = *(mp_daemon *)arg};
    mp_process *process;
    bool daemon;
    int code;

    MUST(mp_process_start(&process, report_daemon, NULL, &options) == 0);
    MUST(mp_process_is_daemon(process, &daemon) == 0);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0);
    MUST(code == (int)daemon);
    return code;
}

static void daemon_is_inherited(void **state)
{
    mp_daemon inherit = MP_DAEMON_INHERIT, yes = MP_DAEMON_YES, no = MP_DAEMON_NO;
    mp_process_options as_daemon = {.daemon = MP_DAEMON_YES}, not_as_daemon = {.daemon = MP_DAEMON_NO};

    (void)state;
    assert_int_equal(run(child_is_daemon, &inherit), 0);
    assert_int_equal(run(child_is_daemon, &yes), 1);
    assert_int_equal(finish(start(child_is_daemon, &inherit, &as_daemon)), 1);
    assert_int_equal(finish(start(child_is_daemon, &no, &as_daemon)), 0);
    assert_int_equal(finish(start(child_is_daemon, &inherit, &not_as_daemon)), 0);
}

static void store_pid(mp_process *process, atomic_int *place)
{
    pid_t pid;

    MUST(mp_process_pid(process, &pid) == 0);
    atomic_store(place, (int)pid);
}

static void start_sleeper(atomic_int *place)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process;

    MUST(mp_process_start(&process, sleep_for_ever, NULL, &options) == 0);
    store_pid(process, place);
}

static void *start_sleeper_here(void *arg)
{
    start_sleeper(arg);
    return NULL;
}

static void start_sleeper_in_thread(atomic_int *place)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, start_sleeper_here, place) == 0);
    MUST(pthread_join(thread, NULL) == 0);
}

static bool two_ready(void *arg)
{
    (void)arg;
    return atomic_load(&shared->ready) >= 2;
}

/* This process is a "subreaper": it inherits the orphans of its descendants, and sees how they end. */
struct orphan {
    pid_t pid;
    int status;
};

static bool orphan_reaped(void *arg)
{
    struct orphan *orphan = arg;

    return waitpid(orphan->pid, &orphan->status, WNOHANG) == orphan->pid;
}

static void assert_orphan_died_by(int pid, int number)
{
    struct orphan orphan = {.pid = pid};

    assert_true(pid > 0);
    if (!wait_until(orphan_reaped, &orphan, PATIENCE)) {
        kill(pid, SIGTERM);
        waitpid(pid, &orphan.status, 0);
    }
    assert_true(WIFSIGNALED(orphan.status));
    assert_int_equal(WTERMSIG(orphan.status), number);
}

static void end_with_sleepers(void)
{
    start_sleeper(&shared->values[0]);
    start_sleeper_in_thread(&shared->values[1]);
    MUST(wait_until(two_ready, NULL, PATIENCE));
    exit(0);
}

static void daemons_are_terminated_at_a_normal_end(void **state)
{
    (void)state;
    in_private_process(end_with_sleepers);
    /* They were reaped as well, so this process has inherited none. */
    assert_true(atomic_load(&shared->values[0]) > 0 && atomic_load(&shared->values[1]) > 0);
    assert_int_equal(kill(atomic_load(&shared->values[0]), 0), -1);
    assert_int_equal(kill(atomic_load(&shared->values[1]), 0), -1);
    assert_int_equal(count_children(), 0);
}

static void note_termination(int number)
{
    atomic_store(&shared->values[0], number);
    _exit(0);
}

static int take_termination(void *arg)
{
    signal(SIGTERM, note_termination);
    return sleep_for_ever(arg);
}

static void end_with_well_behaved_daemon(void)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process;

    MUST(mp_process_start(&process, take_termination, NULL, &options) == 0);
    MUST(wait_for(&shared->ready));
    exit(0);
}

static void daemons_are_asked_first(void **state)
{
    (void)state;
    in_private_process(end_with_well_behaved_daemon);
    assert_int_equal(atomic_load(&shared->values[0]), SIGTERM);
}

static int ignore_termination(void *arg)
{
    signal(SIGTERM, SIG_IGN);
    return sleep_for_ever(arg);
}

static void end_with_stubborn_daemon(void)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process;

    MUST(mp_process_start(&process, ignore_termination, NULL, &options) == 0);
    MUST(wait_for(&shared->ready));
    exit(0);
}

static void stubborn_daemons_are_killed_at_the_end(void **state)
{
    double begin = now();

    (void)state;
    in_private_process(end_with_stubborn_daemon);
    assert_true(now() - begin >= 0.9);
    assert_int_equal(count_children(), 0);
}

static void be_killed_with_sleepers(void)
{
    start_sleeper(&shared->values[0]);
    start_sleeper_in_thread(&shared->values[1]);
    MUST(wait_until(two_ready, NULL, PATIENCE));
    raise(SIGKILL);
}

static void daemons_are_killed_when_the_parent_is(void **state)
{
    int status;
    pid_t pid = fork_private(be_killed_with_sleepers);

    (void)state;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_orphan_died_by(atomic_load(&shared->values[0]), SIGKILL);
    assert_orphan_died_by(atomic_load(&shared->values[1]), SIGKILL);
}

static void many_threads_daemons_and_a_sibling(void)
{
    mp_process_options options = {.daemon = MP_DAEMON_NO};
    mp_process *sibling;

    for (int i = 0; i < 4; i++)
        start_sleeper_in_thread(&shared->values[i]);
    MUST(mp_process_start(&sibling, wait_for_go, NULL, &options) == 0); /* must not inherit their lifelines */
    store_pid(sibling, &shared->values[4]);
    raise(SIGKILL);
}

static void each_daemon_has_its_own_lifeline(void **state)
{
    int status;
    pid_t pid = fork_private(many_threads_daemons_and_a_sibling);

    (void)state;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (int i = 0; i < 4; i++)
        assert_orphan_died_by(atomic_load(&shared->values[i]), SIGKILL);
    assert_int_equal(waitpid(atomic_load(&shared->values[4]), &status, WNOHANG), 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(waitpid(atomic_load(&shared->values[4]), &status, 0), atomic_load(&shared->values[4]));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static void *start_waiting_daemon(void *arg)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};

    MUST(mp_process_start(arg, wait_for_go, NULL, &options) == 0);
    return NULL;
}

static void daemon_outlives_the_thread_that_started_it(void **state)
{
    mp_process *process;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, start_waiting_daemon, &process), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(mp_process_join(process, 0.1), MP_ETIMEOUT);
    atomic_store(&shared->go, 1);
    assert_int_equal(finish(process), 5);
}

static int finish_later(void *arg)
{
    (void)arg;
    MUST(wait_for(&shared->go));
    atomic_store(&shared->values[0], 1);
    return 0;
}

static void end_before_child(void)
{
    mp_process_options options = {.daemon = MP_DAEMON_NO};
    mp_process *process;

    for (int i = 0; i < 3; i++)
        MUST(mp_process_start(&process, finish_later, NULL, &options) == 0);
    atomic_store(&shared->ready, 1);
    exit(0);
}

static void others_are_waited_for_at_a_normal_end(void **state)
{
    pid_t pid = fork_private(end_before_child);
    int status;

    (void)state;
    assert_true(wait_for(&shared->ready));
    assert_true(wait_until(is_asleep, &pid, PATIENCE)); /* a process that does not wait has ended */
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(atomic_load(&shared->values[0]), 1);
    assert_int_equal(count_children(), 0);
}

static int leave_children_behind(void *arg)
{
    mp_process *process;
    mp_process_options options = {.daemon = MP_DAEMON_NO};

    start_sleeper(&shared->values[1]);
    MUST(mp_process_start(&process, finish_later, NULL, &options) == 0);
    atomic_store(&shared->go, 1);
    if (arg != NULL)
        exit(6);
    return 6;
}

static void the_same_holds_for_a_child(void **state)
{
    int by_exit = 1;

    (void)state;
    assert_int_equal(run(leave_children_behind, NULL), 6);
    assert_int_equal(atomic_load(&shared->values[0]), 1);
    assert_int_equal(kill(atomic_load(&shared->values[1]), 0), -1);
    make(NULL);
    assert_int_equal(run(leave_children_behind, &by_exit), 6);
    assert_int_equal(atomic_load(&shared->values[0]), 1);
    assert_int_equal(kill(atomic_load(&shared->values[1]), 0), -1);
    assert_int_equal(count_children(), 0);
}

/* ---- 14: children ---- */

static bool one_child_left(void *arg)
{
    (void)arg;
    return count_children() == 1;
}

static int count_own_children(void *arg)
{
    size_t count = 9;

    (void)arg;
    MUST(mp_process_children(NULL, 0, &count) == 0);
    return (int)count;
}

static void children_lists_the_live_ones(void **state)
{
    mp_process *list[4], *processes[3];
    size_t count = 9;

    (void)state;
    assert_int_equal(mp_process_children(NULL, 0, &count), 0);
    assert_int_equal(count, 0);
    for (int i = 0; i < 3; i++)
        processes[i] = start(sleep_for_ever, NULL, NULL);
    assert_int_equal(mp_process_children(list, 4, &count), 0);
    assert_int_equal(count, 3);
    assert_memory_equal(list, processes, sizeof processes);
    assert_int_equal(run(count_own_children, NULL), 0);
    list[1] = NULL;
    assert_int_equal(mp_process_children(list, 1, &count), 0);
    assert_int_equal(count, 3);
    assert_null(list[1]);
    assert_int_equal(mp_process_kill(processes[1]), 0);
    assert_int_equal(mp_process_join(processes[1], PATIENCE), 0);
    assert_int_equal(mp_process_children(list, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_ptr_equal(list[0], processes[0]);
    assert_ptr_equal(list[1], processes[2]);
    assert_int_equal(mp_process_kill(processes[0]), 0);
    do /* reaps the child as soon as it has ended */
        assert_int_equal(mp_process_children(list, 4, &count), 0);
    while (count == 2);
    assert_ptr_equal(list[0], processes[2]);
    assert_true(one_child_left(NULL));
    assert_int_equal(mp_process_kill(processes[2]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(finish(processes[i]), -SIGKILL);
}

/* ---- 15: the own identity, and the parent ---- */

static int know_the_family(void *arg)
{
    pid_t *creator = arg;
    mp_process *own = mp_process_current(), *parent = mp_process_parent();
    pid_t pid;
    bool is_alive = false;

    MUST(own != NULL && parent != NULL);
    MUST(mp_process_pid(own, &pid) == 0 && pid == getpid());
    MUST(mp_process_pid(parent, &pid) == 0 && pid == *creator);
    MUST(mp_process_is_alive(own, &is_alive) == 0 && is_alive);
    MUST(mp_process_is_alive(parent, &is_alive) == 0 && is_alive);
    return 0;
}

static int have_a_child_that_knows(void *arg)
{
    mp_process *process;
    pid_t pid = getpid();
    int code;

    MUST(know_the_family(arg) == 0);
    MUST(mp_process_start(&process, know_the_family, &pid, NULL) == 0);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0);
    return code;
}

static void know_oneself_after_a_fork(void)
{
    pid_t pid;

    MUST(mp_process_pid(mp_process_current(), &pid) == 0 && pid == getpid());
    MUST(mp_process_parent() == NULL);
}

static int fork_by_hand(void *arg)
{
    pid_t pid = fork_private(know_oneself_after_a_fork);
    int status;

    (void)arg;
    MUST(waitpid(pid, &status, 0) == pid);
    return status == 0 ? 0 : 1;
}

static void current_and_parent(void **state)
{
    pid_t pid = 0;
    bool is_alive = false;

    (void)state;
    assert_null(mp_process_parent());
    assert_string_equal(mp_process_name(mp_process_current()), "MainProcess");
    assert_int_equal(mp_process_is_alive(mp_process_current(), &is_alive), 0);
    assert_true(is_alive);
    assert_int_equal(mp_process_pid(mp_process_current(), &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(run(have_a_child_that_knows, &pid), 0);
    in_private_process(know_oneself_after_a_fork);
    assert_int_equal(run(fork_by_hand, NULL), 0);
}

static bool parent_is_dead(void *arg)
{
    bool is_alive = true;

    (void)arg;
    MUST(mp_process_is_alive(mp_process_parent(), &is_alive) == 0);
    return !is_alive;
}

static int outlive_the_parent(void *arg)
{
    (void)arg;
    MUST(!parent_is_dead(NULL));
    atomic_store(&shared->ready, 1);
    return wait_until(parent_is_dead, NULL, PATIENCE) ? 8 : 1;
}

static void die_before_the_child(void)
{
    mp_process_options options = {.daemon = MP_DAEMON_NO};
    mp_process *process;

    MUST(mp_process_start(&process, outlive_the_parent, NULL, &options) == 0);
    store_pid(process, &shared->values[0]);
    MUST(wait_for(&shared->ready));
    raise(SIGKILL);
}

static void a_child_can_tell_that_its_parent_died(void **state)
{
    int status;
    pid_t pid = fork_private(die_before_the_child);

    (void)state;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(waitpid(atomic_load(&shared->values[0]), &status, 0), atomic_load(&shared->values[0]));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 8);
}

/* ---- 17: buffered output ---- */

static int print_in_child(void *arg)
{
    printf("child %d\n", *(int *)arg);
    fprintf(stderr, "child error\n");
    return 0;
}

/* For "print FILE" of main(). */
static int print_program(const char *path)
{
    static char buffer[4096];
    mp_process *process;

    if (freopen(path, "a", stdout) == NULL || freopen(path, "a", stderr) == NULL)
        return 1;
    setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
    printf("before\n");
    fprintf(stderr, "error before\n");
    for (int i = 1; i <= 2; i++) {
        if (mp_process_start(&process, print_in_child, &i, NULL) != 0 || mp_process_join(process, MP_FOREVER) != 0)
            return 2;
        mp_process_free(process);
    }
    printf("after\n");
    return 0;
}

static void buffered_output_appears_once(void **state)
{
    char path[] = "/tmp/libmp-test-XXXXXX", text[512];
    int fd = mkstemp(path);
    ssize_t size;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(run_self("print", path), 0);
    size = read(fd, text, sizeof text - 1);
    close(fd);
    unlink(path);
    assert_true(size >= 0);
    text[size] = '\0';
    assert_string_equal(text, "before\nerror before\nchild 1\nchild error\nchild 2\nchild error\nafter\n");
}

/* ---- 19: many ---- */

static void a_thousand_children_leave_nothing(void **state)
{
    static mp_process *processes[1000];
    int descriptors = count_descriptors(), children = count_children();
    int codes[1000];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        codes[i] = i % 200;
        processes[i] = start(return_arg, &codes[i], NULL);
    }
    for (int i = 999; i >= 0; i--)
        assert_int_equal(finish(processes[i]), codes[i]);
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(count_children(), children);
}

/* ---- 20: descriptors ---- */

static int execute_self(void *arg)
{
    (void)arg;
    execl(program, program, "descriptors", (char *)NULL);
    return 127;
}

static int count_in_child(void *arg)
{
    (void)arg;
    return count_descriptors();
}

static void no_descriptors_leak_into_executed_programs(void **state)
{
    mp_process *sibling = start(sleep_for_ever, NULL, NULL);
    int descriptors = count_descriptors();

    (void)state;
    start_sleeper_in_thread(&shared->values[0]); /* it uses a lifeline */
    assert_true(count_descriptors() > descriptors);
    assert_int_equal(WEXITSTATUS(run_self("descriptors", NULL)), descriptors_at_start);
    assert_int_equal(run(execute_self, NULL), descriptors_at_start);
    assert_int_equal(run(count_in_child, NULL), descriptors_at_start); /* a child keeps none of its siblings' */
    mp_process *list[2];
    size_t count;
    assert_int_equal(mp_process_children(list, 2, &count), 0);
    assert_int_equal(count, 2);
    assert_ptr_equal(list[0], sibling);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(mp_process_kill(list[i]), 0);
        assert_int_equal(finish(list[i]), -SIGKILL);
    }
    assert_int_equal(count_descriptors(), descriptors_at_start);
}

/* ---- 21: signals while waiting ---- */

static volatile sig_atomic_t alarms;

static void count_alarm(int number)
{
    (void)number;
    alarms++;
}

static void signals_do_not_shorten_a_wait(void **state)
{
    struct itimerval storm = {{0, 1000}, {0, 1000}}, calm = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = count_alarm}, before;
    mp_process *process = start(wait_for_go, NULL, NULL);
    double begin;

    (void)state;
    sigaction(SIGALRM, &action, &before);
    setitimer(ITIMER_REAL, &storm, NULL);
    begin = now();
    assert_int_equal(mp_process_join(process, 0.2), MP_ETIMEOUT);
    assert_true(now() - begin >= 0.2);
    assert_true(alarms > 2);
    for (int i = 0; i < 20; i++)
        assert_int_equal(run(do_nothing, NULL), 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, MP_FOREVER), 0);
    setitimer(ITIMER_REAL, &calm, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(finish(process), 5);
}

/* ---- 22: limits ---- */

static void *start_under_a_limit(void *arg)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES}; /* in a thread: needs descriptors before the fork */
    mp_process *process = NULL;
    int descriptors = count_descriptors(), code;
    size_t count;
    struct rlimit limit, one;

    MUST(getrlimit(RLIMIT_NPROC, &limit) == 0);
    one = (struct rlimit){1, limit.rlim_max};
    MUST(setrlimit(RLIMIT_NPROC, &one) == 0);
    for (int i = 0; i < 10; i++)
        MUST(mp_process_start(&process, do_nothing, NULL, &options) == MP_EAGAIN);
    MUST(process == NULL);
    MUST(count_descriptors() == descriptors);
    MUST(count_children() == 0);
    MUST(mp_process_children(NULL, 0, &count) == 0 && count == 0);
    MUST(setrlimit(RLIMIT_NPROC, &limit) == 0);
    MUST(mp_process_start(&process, do_nothing, NULL, &options) == 0);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0 && code == 0);
    MUST(mp_process_free(process) == 0);
    MUST(count_descriptors() == descriptors);
    return arg;
}

static void be_limited(void)
{
    pthread_t thread;

    if (geteuid() == 0)
        MUST(setuid(65534) == 0);
    prctl(PR_SET_DUMPABLE, 1); /* otherwise its own /proc is closed to it */
    MUST(pthread_create(&thread, NULL, start_under_a_limit, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
}

static void a_failed_start_leaves_nothing(void **state)
{
    (void)state;
    in_private_process(be_limited);
}

static void live_without_descriptors(void)
{
    struct rlimit few = {3, 3};
    mp_process *process, *other;
    bool is_alive;
    int code;

    MUST(setrlimit(RLIMIT_NOFILE, &few) == 0);
    MUST(mp_process_start(&process, wait_for_go, NULL, NULL) == 0);
    MUST(mp_process_join(process, 0.05) == MP_ETIMEOUT);
    MUST(mp_process_is_alive(process, &is_alive) == 0 && is_alive);
    MUST(mp_process_start(&other, sleep_for_ever, NULL, NULL) == 0);
    MUST(mp_process_terminate(other) == 0);
    MUST(mp_process_join(other, PATIENCE) == 0);
    MUST(mp_process_exitcode(other, &code) == 0 && code == -SIGTERM);
    MUST(mp_process_kill(other) == 0);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0 && code == 5);
}

static void *start_daemon_without_descriptors(void *arg)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process = arg;

    MUST(mp_process_start(&process, do_nothing, NULL, &options) == MP_EAGAIN);
    MUST(process == arg);
    return NULL;
}

static void fail_for_want_of_a_lifeline(void)
{
    struct rlimit few = {3, 3};
    pthread_t thread;

    MUST(setrlimit(RLIMIT_NOFILE, &few) == 0);
    MUST(pthread_create(&thread, NULL, start_daemon_without_descriptors, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
    MUST(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void descriptors_run_out(void **state)
{
    (void)state;
    in_private_process(live_without_descriptors);
    in_private_process(fail_for_want_of_a_lifeline);
}

static void close_all_descriptors(void)
{
    mp_process *process;
    int code;

    MUST(mp_process_start(&process, wait_for_go, NULL, NULL) == 0);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    MUST(mp_process_join(process, 0.02) == MP_ETIMEOUT);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0 && code == 5);
}

static void the_program_closes_our_descriptors(void **state)
{
    (void)state;
    in_private_process(close_all_descriptors);
}

/* ---- programs that reap children by themselves ---- */

static void the_program_reaps_our_child(void **state)
{
    mp_process *process = start(do_nothing, NULL, NULL);
    size_t count;
    int status;

    (void)state;
    assert_true(waitpid(-1, &status, 0) > 0);
    assert_int_equal(mp_process_kill(process), 0);
    assert_int_equal(mp_process_children(NULL, 0, &count), 0);
    assert_int_equal(count, 0);
    assert_false(alive(process));
    assert_int_equal(finish(process), MP_EXITCODE_UNKNOWN);
}

#define LAST_PID "/proc/sys/kernel/ns_last_pid"

/* Forks a process that gets that pid; 0: another process has it. */
static pid_t fork_again(pid_t pid)
{
    for (int tries = 0; tries < 100; tries++) {
        FILE *last = fopen(LAST_PID, "w");
        MUST(last != NULL && fprintf(last, "%d", (int)pid - 1) > 0 && fclose(last) == 0);
        pid_t got = fork();

        if (got == 0)
            _exit(wait_for_go(NULL));
        if (got == pid)
            return got;
        kill(got, SIGKILL);
        waitpid(got, NULL, 0);
    }
    return 0;
}

static bool has_passed(void *arg)
{
    struct timespec now, *then = arg;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > then->tv_sec || (now.tv_sec == then->tv_sec && now.tv_nsec >= then->tv_nsec);
}

/* Lets enough time pass that a process which begins afterwards is not mistaken for an earlier child. */
static void let_time_pass(void)
{
    struct timespec then;

    clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_nsec += 50000000;
    then.tv_sec += then.tv_nsec / 1000000000;
    then.tv_nsec %= 1000000000;
    MUST(wait_until(has_passed, &then, PATIENCE));
}

static void meet_the_pid_again(void)
{
    mp_process *killed, *asked, *joined;
    pid_t pid;
    int code, status;
    bool lives;

    MUST(mp_process_start(&killed, do_nothing, NULL, NULL) == 0);
    MUST(mp_process_start(&asked, do_nothing, NULL, NULL) == 0);
    MUST(mp_process_start(&joined, do_nothing, NULL, NULL) == 0);
    for (int i = 0; i < 3; i++)
        MUST(waitpid(-1, &status, 0) > 0 && status == 0);
    let_time_pass();
    for (int i = 0; i < 3; i++) {
        mp_process *process = (mp_process *[]){killed, asked, joined}[i];

        atomic_store(&shared->go, 0);
        MUST(mp_process_pid(process, &pid) == 0);
        pid_t stranger = fork_again(pid);
        if (process == killed)
            MUST(mp_process_kill(process) == 0);
        else if (process == joined)
            MUST(mp_process_join(process, MP_FOREVER) == 0);
        MUST(mp_process_is_alive(process, &lives) == 0 && !lives);
        MUST(mp_process_exitcode(process, &code) == 0 && code == MP_EXITCODE_UNKNOWN);
        atomic_store(&shared->go, 1);
        if (stranger != 0)
            MUST(waitpid(stranger, &status, 0) == stranger && WIFEXITED(status) && WEXITSTATUS(status) == 5);
        MUST(mp_process_free(process) == 0);
    }
}

static void a_pid_that_comes_round_is_not_the_childs(void **state)
{
    (void)state;
    if (access(LAST_PID, W_OK) != 0)
        skip();
    in_private_process(meet_the_pid_again);
}

static void the_program_ignores_sigchld(void **state)
{
    mp_process *process;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    process = start(wait_for_go, NULL, NULL);
    assert_true(alive(process));
    assert_int_equal(mp_process_join(process, 0.02), MP_ETIMEOUT);
    atomic_store(&shared->go, 1);
    assert_int_equal(finish(process), MP_EXITCODE_UNKNOWN);
    signal(SIGCHLD, SIG_DFL);
}

static void other_children_are_left_alone(void **state)
{
    pid_t pid = fork_private(know_oneself_after_a_fork);
    int status;
    size_t count;

    (void)state;
    assert_int_equal(run(do_nothing, NULL), 0);
    assert_int_equal(mp_process_children(NULL, 0, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- threads ---- */

static void *join_for_ever(void *arg)
{
    atomic_fetch_add(&shared->ready, 1);
    return mp_process_join(arg, MP_FOREVER) == 0 ? arg : NULL;
}

static bool all_joining(void *arg)
{
    return atomic_load(&shared->ready) == *(int *)arg;
}

static void threads_join_the_same_process(void **state)
{
    mp_process *process = start(wait_for_go, NULL, NULL);
    pthread_t threads[8];
    int all = 8;
    void *fine;

    (void)state;
    for (int i = 0; i < all; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, join_for_ever, process), 0);
    assert_true(wait_until(all_joining, &all, PATIENCE));
    assert_int_equal(run(do_nothing, NULL), 0); /* other starts are not held up */
    assert_true(alive(process));
    assert_int_equal(mp_process_join(process, 0), MP_ETIMEOUT);
    assert_int_equal(mp_process_free(process), MP_EBUSY);
    atomic_store(&shared->go, 1);
    for (int i = 0; i < all; i++) {
        assert_int_equal(pthread_join(threads[i], &fine), 0);
        assert_ptr_equal(fine, process);
    }
    assert_int_equal(finish(process), 5);
}

static void *start_and_join_many(void *arg)
{
    for (int i = 0; i < 50; i++) {
        int expected = i;
        mp_process *process;
        int code;

        if (mp_process_start(&process, return_arg, &expected, NULL) != 0 || mp_process_join(process, MP_FOREVER) != 0 ||
            mp_process_exitcode(process, &code) != 0 || code != expected || mp_process_free(process) != 0)
            return NULL;
    }
    return arg;
}

static void threads_start_processes_at_once(void **state)
{
    int descriptors = count_descriptors(), mark;
    pthread_t threads[4];
    void *fine;

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_and_join_many, &mark), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &fine), 0);
        assert_ptr_equal(fine, &mark);
    }
    assert_int_equal(count_descriptors(), descriptors);
    assert_int_equal(count_children(), 0);
}

static void *join_and_tell(void *arg)
{
    atomic_store(&shared->ready, 1);
    atomic_store(&shared->values[0], mp_process_join(arg, MP_FOREVER) == 0);
    pthread_testcancel();
    return NULL;
}

static void join_is_no_cancellation_point(void **state)
{
    mp_process *process = start(wait_for_go, NULL, NULL);
    pthread_t thread;
    void *result;

    (void)state;
    assert_int_equal(create_cancellable(&thread, join_and_tell, process), 0);
    assert_true(wait_for(&shared->ready));
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(mp_process_join(process, 0.05), MP_ETIMEOUT);
    atomic_store(&shared->go, 1);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_int_equal(atomic_load(&shared->values[0]), 1);
    assert_int_equal(finish(process), 5);
}

/* ---- bad input ---- */

static void bad_starts_are_refused(void **state)
{
    mp_process_options options = {.daemon = (mp_daemon)3};
    mp_process *process = NULL;

    (void)state;
    assert_int_equal(mp_process_start(NULL, do_nothing, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_process_start(&process, NULL, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_process_start(&process, do_nothing, NULL, &options), MP_EINVAL);
    options.daemon = (mp_daemon)-1;
    assert_int_equal(mp_process_start(&process, do_nothing, NULL, &options), MP_EINVAL);
    assert_null(process);
    assert_int_equal(count_children(), 0);
}

static void refuse(mp_process *process)
{
    bool flag = false;
    int code = 7;
    pid_t pid = 7;

    assert_int_equal(mp_process_join(process, 0), MP_EINVAL);
    assert_int_equal(mp_process_is_alive(process, &flag), MP_EINVAL);
    assert_int_equal(mp_process_exitcode(process, &code), MP_EINVAL);
    assert_int_equal(mp_process_terminate(process), MP_EINVAL);
    assert_int_equal(mp_process_kill(process), MP_EINVAL);
    assert_int_equal(mp_process_interrupt(process), MP_EINVAL);
    assert_int_equal(mp_process_pid(process, &pid), MP_EINVAL);
    assert_int_equal(mp_process_is_daemon(process, &flag), MP_EINVAL);
    assert_string_equal(mp_process_name(process), "");
    assert_int_equal(code, 7);
    assert_int_equal(pid, 7);
    assert_false(flag);
}

static void what_is_no_handle_is_refused(void **state)
{
    static uint64_t zeros[64];

    (void)state;
    refuse(NULL);
    refuse((mp_process *)(void *)zeros);
    refuse((mp_process *)(void *)((char *)zeros + 1));
    assert_int_equal(mp_process_free((mp_process *)(void *)zeros), MP_EINVAL);
}

static void missing_places_are_refused(void **state)
{
    mp_process *process = start(do_nothing, NULL, NULL);
    mp_process *list[1];
    size_t count;

    (void)state;
    assert_int_equal(mp_process_is_alive(process, NULL), MP_EINVAL);
    assert_int_equal(mp_process_exitcode(process, NULL), MP_EINVAL);
    assert_int_equal(mp_process_pid(process, NULL), MP_EINVAL);
    assert_int_equal(mp_process_is_daemon(process, NULL), MP_EINVAL);
    assert_int_equal(mp_process_children(list, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_process_children(NULL, 1, &count), MP_EINVAL);
    assert_int_equal(mp_process_join(process, __builtin_nan("")), MP_EINVAL);
    assert_int_equal(mp_process_join(process, __builtin_inf()), 0);
    assert_int_equal(mp_process_join(process, __builtin_nan("")), MP_EINVAL);
    assert_int_equal(finish(process), 0);
}

/* ---- */

static int drop(void **state)
{
    (void)state;
    /* Each test must leave nothing behind. */
    return count_children() == 0 && count_descriptors() == descriptors_at_start ? 0 : -1;
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        TEST(runs_once_in_another_process_with_memory_as_at_the_start),
        TEST(exit_code_is_what_the_function_returns),
        TEST(exit_code_is_minus_the_signal),
        TEST(exit_code_is_none_while_it_runs),
        TEST(is_alive_tells_and_reaps),
        TEST(exit_code_reaps),
        TEST(join_takes_a_timeout),
        TEST(what_belongs_to_another_process_is_refused),
        TEST(signals_are_sent),
        TEST(signals_to_one_that_has_ended_are_harmless),
        TEST(free_of_a_running_one_is_refused),
        TEST(freed_handles_are_refused),
        TEST(names_count_up),
        TEST(names_can_be_given),
        TEST(processes_start_processes_to_any_depth),
        TEST(daemon_is_inherited),
        TEST(daemons_are_terminated_at_a_normal_end),
        TEST(daemons_are_asked_first),
        TEST(stubborn_daemons_are_killed_at_the_end),
        TEST(daemons_are_killed_when_the_parent_is),
        TEST(each_daemon_has_its_own_lifeline),
        TEST(daemon_outlives_the_thread_that_started_it),
        TEST(others_are_waited_for_at_a_normal_end),
        TEST(the_same_holds_for_a_child),
        TEST(children_lists_the_live_ones),
        TEST(current_and_parent),
        TEST(a_child_can_tell_that_its_parent_died),
        TEST(buffered_output_appears_once),
        TEST(a_thousand_children_leave_nothing),
        TEST(no_descriptors_leak_into_executed_programs),
        TEST(signals_do_not_shorten_a_wait),
        TEST(a_failed_start_leaves_nothing),
        TEST(descriptors_run_out),
        TEST(the_program_closes_our_descriptors),
        TEST(the_program_reaps_our_child),
        TEST(a_pid_that_comes_round_is_not_the_childs),
        TEST(the_program_ignores_sigchld),
        TEST(other_children_are_left_alone),
        TEST(threads_join_the_same_process),
        TEST(threads_start_processes_at_once),
        TEST(join_is_no_cancellation_point),
        TEST(bad_starts_are_refused),
        TEST(what_is_no_handle_is_refused),
        TEST(missing_places_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    program = "/proc/self/exe";
    descriptors_at_start = count_descriptors();
    if (argc > 2 && strcmp(argv[1], "print") == 0)
        return print_program(argv[2]);
    if (argc > 1 && strcmp(argv[1], "descriptors") == 0)
        return descriptors_at_start;
    shared = shared_memory(sizeof *shared);
    if (argc > 1 && strcmp(argv[1], "names") == 0) {
        name_the_children();
        return 0;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return run_all();
}
