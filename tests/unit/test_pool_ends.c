/* Pools in ordinary life: pools freed while in use, cancelled threads, dropped privileges, refused calls, signals to
 * the group, and each way in which a caller can end. A new way, call or signal is one line of a table. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/caller.h"
#include "refuse.h"
#include "sanitizers.h"
#include "support.h"

LEAKS_OF(LEAKS_OF_CMOCKA)

static pid_t first_process;
LEAKS_ONLY_IN(first_process)

enum { WORKERS = 3, NOBODY = 65534 };

/* Shared with all children. */
static struct {
    _Atomic int flag, gate;
    _Atomic pid_t pids[WORKERS + 1]; /* of the workers, and of the supervisor */
} * shared;

static mp_pool *pool;

static bool all_ended(void *arg)
{
    (void)arg;
    for (int i = 0; i <= WORKERS; i++) {
        if (shared->pids[i] != 0 && !process_ended(shared->pids[i]))
            return false;
    }
    return true;
}

static bool is_past(void *arg)
{
    return shared->flag >= *(int *)arg;
}

static bool flag_reaches(int value)
{
    return wait_until(is_past, &value, 30);
}

/* Runs a function in a child with a process group of its own. Returns how the child ended, like waitpid(). Kills what
 * has not ended in time. */
static int in_child(void (*function)(const void *), const void *arg)
{
    int status = -1;

    memset(shared, 0, sizeof *shared);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        alarm(60);
        function(arg);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Waits until the gate opens, or for a long time. */
static int stay(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    shared->flag++;
    wait_until(is_set, &shared->gate, 60);
    return 0;
}

static void make(const mp_pool_options *options)
{
    size_t live = 0;
    pid_t pids[WORKERS], supervisor;

    MUST(mp_pool_create(&pool, WORKERS, options) == 0);
    MUST(mp_pool_workers(pool, pids, WORKERS, &live) == 0 && live == WORKERS);
    MUST(mp_pool_supervisor(pool, &supervisor) == 0);
    for (int i = 0; i < WORKERS; i++)
        shared->pids[i] = pids[i];
    shared->pids[WORKERS] = supervisor;
}

static void works(void)
{
    for (int x = 0; x < 20; x++) {
        int y = 0;

        MUST(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y) == 0 && y == x * x);
    }
}

static void occupy(void)
{
    for (int i = 0; i < WORKERS; i++)
        MUST(mp_pool_apply_async(pool, stay, NULL, 0, 0, NULL) == 0);
    MUST(flag_reaches(WORKERS));
}

/* ---- threads: each call, while another thread frees the pool, or the result ---- */

static int quick(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    return 0;
}

static mp_result *the_result;
static char large[100000];

static int do_apply(void)
{
    return mp_pool_apply(pool, stay, NULL, 0, NULL, 0);
}

static int do_apply_quick(void)
{
    char result[3000];

    return mp_pool_apply(pool, quick, large, sizeof large, result, sizeof result);
}

static int do_submit(void)
{
    return mp_pool_apply_async(pool, quick, NULL, 0, 0, NULL);
}

static int do_submit_and_get(void)
{
    mp_result *result;
    int error = mp_pool_apply_async(pool, quick, NULL, 0, 0, &result);

    return error != 0 ? error : mp_result_get(result, NULL, 0, MP_FOREVER);
}

static int do_map(void)
{
    return mp_pool_map(pool, quick, large, 4, NULL, 0, 1000);
}

static int do_long_map(void)
{
    return mp_pool_map(pool, stay, NULL, 0, NULL, 0, 100);
}

static int do_map_async(void)
{
    mp_result *result;
    int error = mp_pool_map_async(pool, quick, large, 4, 4, 1000, &result, NULL);

    return error != 0 ? error : mp_result_free(result);
}

static int do_get(void)
{
    return mp_result_get(the_result, NULL, 0, MP_FOREVER);
}

static int do_wait(void)
{
    return mp_result_wait(the_result, 10);
}

static int do_ready(void)
{
    bool ready;

    return mp_result_ready(the_result, &ready);
}

static int do_ask_result(void)
{
    bool successful;
    size_t size;
    int status, error = mp_result_successful(the_result, &successful);

    if (error == 0)
        error = mp_result_size(the_result, &size);
    return error == 0 ? mp_result_status(the_result, 0, &status) : error == MP_ENOTREADY ? 0 : error;
}

static int do_join(void)
{
    int error = mp_pool_join(pool);

    return error == MP_EBUSY ? 0 : error;
}

static int do_terminate(void)
{
    return mp_pool_terminate(pool);
}

static int do_close(void)
{
    return mp_pool_close(pool);
}

static int do_free(void)
{
    return mp_pool_free(pool);
}

static int do_ask(void)
{
    int workers;
    size_t count;
    pid_t pid;

    (void)mp_pool_size(pool, &workers);
    (void)mp_pool_supervisor(pool, &pid);
    return mp_pool_workers(pool, NULL, 0, &count);
}

static const struct {
    const char *name;
    int (*call)(void);
    bool of_result;
} calls[] = {
    {"mp_pool_apply", do_apply, false},
    {"mp_pool_apply, quick", do_apply_quick, false},
    {"mp_pool_apply_async", do_submit, false},
    {"mp_pool_apply_async and mp_result_get", do_submit_and_get, false},
    {"mp_pool_map", do_map, false},
    {"mp_pool_map, long", do_long_map, false},
    {"mp_pool_map_async", do_map_async, false},
    {"mp_result_get", do_get, true},
    {"mp_result_wait", do_wait, true},
    {"mp_result_ready", do_ready, true},
    {"mp_result_successful", do_ask_result, true},
    {"mp_pool_join", do_join, false},
    {"mp_pool_close", do_close, false},
    {"mp_pool_terminate", do_terminate, false},
    {"mp_pool_free", do_free, false},
    {"mp_pool_size", do_ask, false},
};

enum { CALLS = sizeof calls / sizeof *calls, THREADS = 3 };

static _Atomic int begun;

/* Calls until an error says that the pool or result is gone. A stale handle may be used again: it gives an error each
 * time. */
static void *call_again_and_again(void *arg)
{
    int (*call)(void) = calls[*(const size_t *)arg].call;
    int error;

    begun++;
    do {
        error = call();
    } while (error == 0);
    return (void *)(intptr_t)error;
}

static bool is_end(int error)
{
    return error == MP_ECLOSED || error == MP_ETERMINATED || error == MP_EINVAL;
}

static bool all_begun(void *arg)
{
    (void)arg;
    return begun == THREADS;
}

static void free_under(size_t which, bool result_only, int microseconds)
{
    pthread_t thread[THREADS];
    void *error;

    begun = 0;
    shared->gate = 0;
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
    assert_int_equal(mp_pool_apply_async(pool, stay, NULL, 0, 0, &the_result), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, call_again_and_again, &which), 0);
    assert_true(wait_until(all_begun, NULL, 30));
    pause_us(microseconds);
    int freed = result_only ? mp_result_free(the_result) : mp_pool_free(pool);
    assert_true(freed == 0 || (calls[which].call == do_free && freed == MP_EINVAL));
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], &error), 0);
        if (!is_end((int)(intptr_t)error))
            fail_msg("%s: %s", calls[which].name, mp_strerror((int)(intptr_t)error));
    }
    if (result_only)
        assert_int_equal(mp_pool_free(pool), 0);
}

static int rounds(int few)
{
    return getenv("MP_TEST_LONG") != NULL ? few * 50 : few;
}

static void a_pool_is_freed_under_each_call(void **state)
{
    (void)state;
    for (size_t which = 0; which < CALLS; which++) {
        for (int i = 0; i < rounds(4); i++)
            free_under(which, false, i % 20 * 300);
    }
}

static void a_result_is_freed_under_each_call(void **state)
{
    (void)state;
    for (size_t which = 0; which < CALLS; which++) {
        for (int i = 0; i < rounds(4) && calls[which].of_result; i++)
            free_under(which, true, i % 20 * 300);
    }
}

static void *be_cancelled(void *arg)
{
    size_t which = *(const size_t *)arg;
    int old;

    pthread_cancel(pthread_self());
    calls[which].call();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    begun = 1;
    return NULL;
}

static void *make_cancelled(void *arg)
{
    int old;

    pthread_cancel(pthread_self());
    int error = mp_pool_create(&pool, 2, NULL);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    begun = 1;
    (void)arg;
    return (void *)(intptr_t)error;
}

static void no_call_is_a_cancellation_point(void **state)
{
    pthread_t thread;
    void *error;
    (void)state;

    for (size_t which = 0; which < CALLS; which++) {
        begun = 0;
        shared->gate = 1;
        assert_int_equal(create_cancellable(&thread, make_cancelled, NULL), 0);
        assert_int_equal(pthread_join(thread, &error), 0);
        assert_ptr_equal(error, NULL);
        assert_int_equal(mp_pool_apply_async(pool, stay, NULL, 0, 0, &the_result), 0);
        begun = 0;
        assert_int_equal(create_cancellable(&thread, be_cancelled, &which), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (begun == 0)
            fail_msg("%s was cancelled", calls[which].name);
        if (calls[which].call != do_free)
            assert_int_equal(mp_pool_free(pool), 0);
    }
}

static void *make_and_use(void *arg)
{
    (void)arg;
    make(NULL);
    works();
    MUST(mp_pool_map(pool, quick, large, 4, NULL, 0, 1000) == 0);
    MUST(mp_pool_free(pool) == 0);
    return NULL;
}

static void on_a_small_stack(const void *arg)
{
    pthread_attr_t attributes;
    pthread_t thread;
    (void)arg;

    pause_us(1100000); /* so that quotas read by an earlier test are outdated, and are read again */
    MUST(pthread_attr_init(&attributes) == 0);
    MUST(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN) == 0);
    MUST(pthread_create(&thread, &attributes, make_and_use, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
}

static void the_smallest_stack_is_enough(void **state)
{
    (void)state;
    assert_int_equal(in_child(on_a_small_stack, NULL), 0);
}

/* ---- the ends of a caller ---- */

static void end_by_exit(void)
{
    exit(0);
}

static void end_at_once(void)
{
    _exit(0);
}

static void end_by_kill(void)
{
    raise(SIGKILL);
}

static void end_by_abort(void)
{
    abort();
}

static void end_by_term(void)
{
    raise(SIGTERM);
}

static void end_by_quick_exit(void)
{
    quick_exit(0);
}

static void *call_exit(void *arg)
{
    (void)arg;
    exit(0);
}

static void end_by_exit_of_a_thread(void)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, call_exit, NULL) == 0);
    pthread_join(thread, NULL);
}

static void end_by_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

static void end_by_thread(void)
{
    pthread_exit(NULL);
}

static void exit_at(int number)
{
    (void)number;
    exit(0);
}

/* A timer's signal interrupts the pool at any place. */
static void end_in_the_middle(void)
{
    struct itimerval timer = {{0, 0}, {0, 3000}};
    mp_result *result;

    signal(SIGPROF, exit_at);
    setitimer(ITIMER_PROF, &timer, NULL);
    for (int y, x = 7;;) {
        MUST(mp_pool_apply_async(pool, square, &x, sizeof x, sizeof y, &result) == 0);
        if (shared->flag == 0) /* the workers are free */
            MUST(mp_result_get(result, &y, sizeof y, MP_FOREVER) == 0);
        MUST(mp_result_free(result) == 0);
    }
}

static bool worker_is_dead(void *arg)
{
    (void)arg;
    return process_ended(shared->pids[0]);
}

static bool supervisor_sleeps(void *arg)
{
    (void)arg;
    return process_state(shared->pids[WORKERS]) == 'S';
}

/* The state that a handler finds which interrupts a submission, while the supervisor waits for the heap because of a
 * worker's end. */
static void exit_with_the_heap_locked(void)
{
    MUST(pthread_mutex_lock(&pool->mutex) == 0 && heap_lock(pool->shared.heap) == 0);
    kill(shared->pids[0], SIGKILL);
    MUST(wait_until(worker_is_dead, NULL, 30) && wait_until(supervisor_sleeps, NULL, 30));
    alarm(3); /* far less than exit() would wait for a supervisor that does not end */
    exit(0);
}

static void free_it(void)
{
    MUST(mp_pool_free(pool) == 0);
}

static void terminate_it(void)
{
    MUST(mp_pool_terminate(pool) == 0);
}

static void close_and_join(void)
{
    shared->gate = 1;
    MUST(mp_pool_close(pool) == 0 && mp_pool_join(pool) == 0 && mp_pool_free(pool) == 0);
}

static void kill_supervisor(void)
{
    int y, error;

    kill(shared->pids[WORKERS], SIGKILL);
    while ((error = mp_pool_apply(pool, square, &(int){3}, sizeof(int), &y, sizeof y)) == 0)
        ;
    MUST(error == MP_EBROKEN);
    MUST(mp_pool_free(pool) == 0);
}

static void stop_supervisor(void)
{
    kill(shared->pids[WORKERS], SIGSTOP);
    MUST(mp_pool_free(pool) == 0);
}

static const struct end {
    const char *name;
    void (*end)(void);
    bool needs_privilege;
} ends[] = {
    {"exit", end_by_exit, false},
    {"exit in a signal handler", end_in_the_middle, false},
    {"exit with the heap locked", exit_with_the_heap_locked, true},
    {"_exit", end_at_once, false},
    {"SIGKILL", end_by_kill, false},
    {"abort", end_by_abort, false},
    {"SIGTERM", end_by_term, false},
    {"quick_exit", end_by_quick_exit, false},
    {"exit of another thread", end_by_exit_of_a_thread, false},
    {"exec", end_by_exec, false},
    {"pthread_exit", end_by_thread, false},
    {"free", free_it, false},
    {"terminate", terminate_it, false},
    {"close and join", close_and_join, false},
    {"the supervisor killed", kill_supervisor, true},
    {"the supervisor stopped", stop_supervisor, true},
};

enum { ENDS = sizeof ends / sizeof *ends };

static bool to_another_group(void)
{
    return setgid(NOBODY) == 0;
}

static bool to_another_user(void)
{
    return setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static bool for_a_while(void)
{
    return setegid(NOBODY) == 0 && seteuid(NOBODY) == 0;
}

static const struct change {
    const char *name;
    bool (*make)(void);
} changes[] = {
    {"user", to_another_user},
    {"group", to_another_group},
    {"effective user", for_a_while},
};

enum { CHANGES = sizeof changes / sizeof *changes };

static const struct change *change;
static bool changed; /* this process has changed its privileges */

static void drop_privileges(void)
{
    MUST(changed || (changed = change->make()));
}

static int drop_in_initializer(void *arg)
{
    (void)arg;
    drop_privileges();
    return 0;
}

/* Waits until all tasks have begun, so that each worker has run one. */
static int drop_and_meet(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    shared->flag++;
    drop_privileges();
    return flag_reaches(WORKERS) ? 0 : 1;
}

enum moment { NEVER, BEFORE, IN_INITIALIZER, IN_TASK, AFTER, MOMENTS };
static const char *const moments[MOMENTS] = {"never", "before", "in the initializer", "in a task", "after"};

struct life {
    enum moment drops;
    const struct change *change;
    bool busy;
    const struct end *end;
};

static void drop_in_tasks(void)
{
    mp_result *result[WORKERS];

    for (int i = 0; i < WORKERS; i++)
        MUST(mp_pool_apply_async(pool, drop_and_meet, NULL, 0, 0, &result[i]) == 0);
    for (int i = 0; i < WORKERS; i++)
        MUST(mp_result_get(result[i], NULL, 0, 60) == 0);
    shared->flag = 0;
}

static void live(const void *arg)
{
    const struct life *life = arg;
    mp_pool_options options = {.initializer = life->drops == IN_INITIALIZER ? drop_in_initializer : NULL};

    change = life->change;
    if (life->drops == BEFORE)
        drop_privileges();
    make(&options);
    works();
    if (life->drops == IN_TASK)
        drop_in_tasks();
    if (life->drops == AFTER)
        drop_privileges();
    if (life->busy)
        occupy();
    life->end->end();
}

static void expect_nothing_outlives(const struct life *life)
{
    if (TSAN && life->end->end == end_by_thread)
        return; /* TSan's own thread outlives all others */
    int status = in_child(live, life);
    bool gone = wait_until(all_ended, NULL, 8);

    for (int i = 0; i <= WORKERS && !gone; i++) {
        if (shared->pids[i] > 0)
            kill(shared->pids[i], SIGKILL);
    }
    if (!gone || (WIFEXITED(status) && WEXITSTATUS(status) != 0) ||
        (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM))
        fail_msg("%s, %s changed %s, %s: status %d, %s", life->end->name, life->change->name, moments[life->drops],
                 life->busy ? "busy" : "idle", status, gone ? "all gone" : "some are left");
}

static void nothing_outlives_its_caller_however_that_ends(void **state)
{
    (void)state;
    for (int busy = 0; busy < 2; busy++) {
        for (int i = 0; i < ENDS; i++)
            expect_nothing_outlives(&(struct life){NEVER, &changes[0], busy != 0, &ends[i]});
    }
}

/* With TSan, which makes forks slow: a part of the cases. */
static void privileges_are_no_obstacle_to_the_end(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    for (int drops = BEFORE; drops < MOMENTS; drops++) {
        for (int i = 0; i < ENDS * CHANGES; i += TSAN ? 5 : 1) {
            const struct end *end = &ends[i % ENDS];

            for (int busy = 0; busy < 2 && !(drops == AFTER && end->needs_privilege); busy++)
                expect_nothing_outlives(&(struct life){(enum moment)drops, &changes[i / ENDS], busy != 0, end});
        }
    }
}

/* ---- signals to the group ---- */

static _Atomic int signals_seen;

static void note_signal(int number)
{
    (void)number;
    signals_seen++;
}

static int tell_signals(const void *arg, void *result)
{
    const int *numbers = arg;
    struct sigaction action;
    sigset_t mask;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int i = 0; numbers[i] != 0; i++) {
        sigaction(numbers[i], NULL, &action);
        ((int *)result)[i] = action.sa_handler == SIG_DFL && !sigismember(&mask, numbers[i]);
    }
    return 0;
}

static const int group_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGALRM, SIGTSTP, 0};

enum { GROUP_SIGNALS = sizeof group_signals / sizeof *group_signals };
enum handling { HANDLED_BEFORE, HANDLED_AFTER, IGNORED, HANDLINGS };

struct group_signal {
    int number;
    enum handling handling;
};

static int work_on(const void *arg, void *result)
{
    shared->flag++;
    wait_until(is_set, &shared->gate, 30);
    return square(arg, result);
}

static void survive_group_signal(const void *arg)
{
    const struct group_signal *of = arg;
    mp_result *result[2 * WORKERS];
    int told[GROUP_SIGNALS], y;

    alarm(0);
    if (of->handling == HANDLED_BEFORE)
        signal(of->number, note_signal);
    if (of->handling == IGNORED)
        signal(of->number, SIG_IGN);
    make(NULL);
    if (of->handling == HANDLED_AFTER)
        signal(of->number, note_signal);
    for (int i = 0; i < 2 * WORKERS; i++)
        MUST(mp_pool_apply_async(pool, work_on, &i, sizeof i, sizeof i, &result[i]) == 0);
    MUST(flag_reaches(WORKERS));
    MUST(kill(0, of->number) == 0);
    MUST(of->handling == IGNORED || signals_seen == 1);
    shared->gate = 1;
    for (int i = 0; i < 2 * WORKERS; i++)
        MUST(mp_result_get(result[i], &y, sizeof y, 30) == 0 && y == i * i);
    MUST(mp_pool_apply(pool, tell_signals, group_signals, sizeof group_signals, told, sizeof told) == 0);
    for (int i = 0; group_signals[i] != 0; i++)
        MUST(told[i] == (group_signals[i] != of->number || of->handling == HANDLED_AFTER));
    close_and_join();
}

static void a_signal_to_the_group_is_the_callers(void **state)
{
    (void)state;
    for (int i = 0; group_signals[i] != 0; i++) {
        for (int handling = 0; handling < HANDLINGS; handling++) {
            if (in_child(survive_group_signal, &(struct group_signal){group_signals[i], (enum handling)handling}) != 0)
                fail_msg("signal %d, handling %d", group_signals[i], handling);
            assert_true(wait_until(all_ended, NULL, 8));
        }
    }
}

/* ---- callers that become the parents of the workers ---- */

static void be_a_subreaper(const void *arg)
{
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    make(NULL);
    works();
    (*(void (*const *)(void))arg)();
    MUST(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void no_zombies_are_left_to_a_subreaper(void **state)
{
    void (*const ways[])(void) = {kill_supervisor, stop_supervisor, free_it, close_and_join};
    (void)state;

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        assert_int_equal(in_child(be_a_subreaper, &ways[i]), 0);
}

/* ---- supervisors that are the first process of a PID namespace ---- */

static int stay_as_daemon(void *arg)
{
    (void)arg;
    return stay(NULL, NULL);
}

/* The namespace ends only after the daemon has ended and was reaped. */
static void be_in_a_new_namespace(const void *arg)
{
    const mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *daemon;

    if (unshare(CLONE_NEWPID) != 0)
        return; /* not permitted */
    make(NULL);
    works();
    MUST(mp_process_start(&daemon, stay_as_daemon, NULL, &options) == 0);
    MUST(flag_reaches(1));
    (*(void (*const *)(void))arg)();
}

static void a_namespace_ends_with_its_supervisor(void **state)
{
    void (*const ways[])(void) = {kill_supervisor, stop_supervisor, free_it, close_and_join, terminate_it, end_by_exit};
    (void)state;

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        assert_int_equal(in_child(be_in_a_new_namespace, &ways[i]), 0);
}

/* ---- calls refused for good ---- */

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

static const struct refusal {
    const char *name;
    int number;
    bool needed; /* without it a pool cannot be made, which gives an error */
} refusals[] = {
    {"pidfd_open", SYS_pidfd_open, false},
    {"pidfd_send_signal", SYS_pidfd_send_signal, false},
    {"signalfd4", SYS_signalfd4, false},
    {"eventfd2", SYS_eventfd2, false},
    {"waitid", SYS_waitid, false},
    {"setpgid", SYS_setpgid, false},
    {"membarrier", SYS_membarrier, false},
    {"fcntl", SYS_fcntl, false},
    {"sched_getaffinity", SYS_sched_getaffinity, false},
    {"prctl", SYS_prctl, false},
    {"getppid", SYS_getppid, false},
    {"pipe2", SYS_pipe2, true},
};

struct refused {
    const struct refusal *refusal;
    int error;
};

static void live_without(const void *arg)
{
    const struct refused *refused = arg;
    pid_t pid;

    if (refuse_call(refused->refusal->number, refused->error) != 0)
        _exit(0);
    if (refused->refusal->needed) {
        MUST(mp_pool_create(&pool, WORKERS, NULL) == MP_ESYSTEM);
        return;
    }
    make(NULL);
    works();
    pid = shared->pids[0];
    kill(pid, SIGKILL);
    for (int i = 0; i < 100; i++) {
        int y, error = mp_pool_apply(pool, square, &i, sizeof i, &y, sizeof y);

        MUST(error == 0 || error == MP_EDIED - SIGKILL);
    }
    close_and_join();
    make(NULL);
    kill_supervisor();
    make(NULL);
    occupy();
    MUST(mp_pool_free(pool) == 0);
    make(NULL);
    occupy();
    raise(SIGKILL);
}

static void free_without_kill(const void *arg)
{
    const int *error = arg;

    if (refuse_call(SYS_kill, *error) != 0)
        _exit(0);
    make(NULL);
    works();
    MUST(mp_pool_free(pool) == 0);
    make(NULL);
    occupy();
    MUST(mp_pool_free(pool) == 0);
}

/* Workers that cannot be killed leave when their supervisor ends. */
static void a_pool_ends_without_kill(void **state)
{
    const int errors[] = {ENOSYS, EPERM};
    (void)state;

    for (int k = 0; k < 2; k++) {
        int status = in_child(free_without_kill, &errors[k]);

        if (status != 0 || !wait_until(all_ended, NULL, 8))
            fail_msg("kill refused with %s: status %d", strerror(errors[k]), status);
    }
}

static void what_is_refused_is_done_without(void **state)
{
    const int errors[] = {ENOSYS, EPERM};
    (void)state;

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        for (int k = 0; k < 2; k++) {
            int status = in_child(live_without, &(struct refused){&refusals[i], errors[k]});
            bool gone = wait_until(all_ended, NULL, 8);

            if (!gone || (status != 0 && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)))
                fail_msg("%s refused with %s: status %d, %s", refusals[i].name, strerror(errors[k]), status,
                         gone ? "all gone" : "some are left");
        }
    }
}

/* ---- forks that the library is not told of ---- */

static void fork_behind_the_back(const void *arg)
{
    int status;
    (void)arg;

    make(NULL);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        exit(0);
    MUST(waitpid(pid, &status, 0) == pid && status == 0);
    works();
    MUST(mp_pool_free(pool) == 0);
}

static void a_child_of_clone_harms_no_pool(void **state)
{
    (void)state;
    assert_int_equal(in_child(fork_behind_the_back, NULL), 0);
}

/* ---- descriptors ---- */

/* Whether the process (0: this one) has that descriptor open, to something other than the file of a heap. */
static bool has_descriptor(pid_t pid, int fd)
{
    char path[64], to[64] = "";

    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid != 0 ? pid : getpid(), fd);
    return readlink(path, to, sizeof to - 1) >= 0 && strncmp(to, "/memfd:libmp", 12) != 0;
}

static int standard_are_free(const void *arg, void *result)
{
    const int closed = *(const int *)arg;

    *(int *)result = 0;
    for (int fd = 0; fd <= 2; fd++) {
        if ((closed & 1 << fd) != 0 && has_descriptor(0, fd))
            *(int *)result |= 1 << fd;
    }
    return 0;
}

static void live_without_standard(const void *arg)
{
    const int closed = *(const int *)arg;
    int taken = -1;
    pid_t supervisor;

    for (int fd = 0; fd <= 2; fd++) {
        if ((closed & 1 << fd) != 0)
            close(fd);
    }
    make(NULL);
    for (int fd = 0; fd <= 2; fd++) {
        MUST(mp_pool_supervisor(pool, &supervisor) == 0);
        MUST((closed & 1 << fd) == 0 || (!has_descriptor(0, fd) && !has_descriptor(supervisor, fd)));
    }
    MUST(mp_pool_apply(pool, standard_are_free, &closed, sizeof closed, &taken, sizeof taken) == 0 && taken == 0);
    close_and_join();
}

static void no_descriptor_is_a_standard_one(void **state)
{
    (void)state;
    for (int closed = 0; closed < 8; closed++)
        assert_int_equal(in_child(live_without_standard, &closed), 0);
}

enum { OWN = 40 };

static bool open_own(int own[OWN], int first)
{
    for (int fd = first; fd < 256; fd++)
        close(fd);
    for (int i = 0; i < OWN; i++) {
        own[i] = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        if (own[i] < 0 || write(own[i], "own", 3) != 3)
            return false;
    }
    return true;
}

static bool own_are_whole(const int own[OWN])
{
    char text[4];

    for (int i = 0; i < OWN; i++) {
        struct stat file;

        if (pread(own[i], text, 3, 0) != 3 || memcmp(text, "own", 3) != 0 || fstat(own[i], &file) != 0 ||
            file.st_size != 3)
            return false;
    }
    return true;
}

/* A large result, which needs new memory, is returned after the descriptors were reused. */
static int reuse_in_a_task(const void *arg, void *result)
{
    int own[OWN];

    (void)result;
    if (!open_own(own, *(const int *)arg))
        return 1;
    int error = mp_task_return(large, sizeof large);
    return error == 0 && own_are_whole(own) ? 0 : 2;
}

struct reuse {
    int first; /* the first descriptor to be closed */
    void (*end)(void);
};

static void reuse_descriptors(const void *arg)
{
    const struct reuse *reuse = arg;
    static char result[sizeof large];
    int own[OWN];

    make(NULL);
    for (int i = 0; i < 4 * WORKERS; i++)
        MUST(mp_pool_apply(pool, reuse_in_a_task, &reuse->first, sizeof reuse->first, result, sizeof result) == 0);
    fflush(NULL);
    MUST(open_own(own, reuse->first));
    works();
    reuse->end();
    MUST(own_are_whole(own));
    make(NULL);
    works();
    free_it();
    MUST(own_are_whole(own));
}

static void no_file_of_the_programs_is_closed(void **state)
{
    void (*const ways[])(void) = {kill_supervisor, stop_supervisor, free_it, close_and_join, end_by_exit};
    (void)state;

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_int_equal(in_child(reuse_descriptors, &(struct reuse){3, ways[i]}), 0);
        assert_int_equal(in_child(reuse_descriptors, &(struct reuse){0, ways[i]}), 0);
    }
}

/* ---- exit() while other threads free pools ---- */

enum { MANY_POOLS = 24, FREEING = 3 };

static mp_pool *many[MANY_POOLS];
static atomic_int next_free;

static void *free_many(void *arg)
{
    (void)arg;
    for (int i; (i = atomic_fetch_add(&next_free, 1)) < MANY_POOLS;)
        mp_pool_free(many[i]);
    return NULL;
}

static void exit_among_frees(const void *arg)
{
    pthread_t thread;

    atomic_store(&next_free, 0);
    for (int i = 0; i < MANY_POOLS; i++)
        MUST(mp_pool_create(&many[i], 1, NULL) == 0);
    for (int i = 0; i < FREEING; i++)
        MUST(pthread_create(&thread, NULL, free_many, NULL) == 0 && pthread_detach(thread) == 0);
    while (atomic_load(&next_free) < *(const int *)arg)
        sched_yield();
    exit(0);
}

static void a_process_may_end_while_its_pools_are_freed(void **state)
{
    (void)state;
    for (int freed = 1; freed < MANY_POOLS; freed++)
        assert_int_equal(in_child(exit_among_frees, &freed), 0);
}

int main(void)
{
    first_process = getpid();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_is_freed_under_each_call),
        cmocka_unit_test(a_result_is_freed_under_each_call),
        cmocka_unit_test(no_call_is_a_cancellation_point),
        cmocka_unit_test(the_smallest_stack_is_enough),
        cmocka_unit_test(nothing_outlives_its_caller_however_that_ends),
        cmocka_unit_test(privileges_are_no_obstacle_to_the_end),
        cmocka_unit_test(a_signal_to_the_group_is_the_callers),
        cmocka_unit_test(no_zombies_are_left_to_a_subreaper),
        cmocka_unit_test(a_namespace_ends_with_its_supervisor),
        cmocka_unit_test(what_is_refused_is_done_without),
        cmocka_unit_test(a_pool_ends_without_kill),
        cmocka_unit_test(a_child_of_clone_harms_no_pool),
        cmocka_unit_test(no_descriptor_is_a_standard_one),
        cmocka_unit_test(no_file_of_the_programs_is_closed),
        cmocka_unit_test(a_process_may_end_while_its_pools_are_freed),
    };

    shared = shared_memory(sizeof *shared);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
