/* Pools and tasks that do what no task should do; workers, supervisors and callers that die or are stopped at the worst
 * moments. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pool/caller.h"
#include "pool_fixture.h"
#include "sanitizers.h"
#include "support.h"

enum { WORKERS = 3, MANY = 64, OTHERS = 60 };

/* Shared with all children. */
static struct {
    _Atomic int flag, gate, runs;
    _Atomic pid_t pid;
} * shared;

static int make(void **state)
{
    (void)state;
    memset(shared, 0, sizeof *shared);
    return make_pool(WORKERS);
}

static bool flag_is(void *arg)
{
    return shared->flag >= *(int *)arg;
}

static bool wait_flag(int value)
{
    return wait_until(flag_is, &value, 30);
}

/* For waiting inside a task: it fails the task rather than hang for ever. */
static bool gate_opens(void *arg)
{
    (void)arg;
    return shared->gate != 0;
}

static bool is_stopped(void *arg)
{
    return process_state(*(pid_t *)arg) == 'T';
}

/* ---- hostile tasks ---- */

static int forks(const void *arg, void *result)
{
    int status;
    pid_t pid = fork();
    (void)arg;
    (void)result;

    if (pid == 0)
        _exit(7);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 0 : 1;
}

/* The child returns from the task as well. It must not become a second worker. */
static int forks_and_both_return(const void *arg, void *result)
{
    int status;
    pid_t pid = fork();
    (void)arg;
    (void)result;

    if (pid == 0) {
        shared->runs++;
        return 0;
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

/* The child outlives the worker, with all of its descriptors. The test ends it. */
static int leaves_a_child(const void *arg, void *result)
{
    pid_t pid = fork();
    (void)arg;
    (void)result;

    if (pid == 0) {
        for (;;)
            pause();
    }
    shared->pid = pid;
    return 0;
}

static int child_hands_over_a_result(const void *arg, void *result)
{
    int status;
    pid_t pid = fork();
    (void)arg;
    (void)result;

    if (pid == 0)
        _exit(mp_task_return("x", 1) == MP_EFOREIGN ? 0 : 1);
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static int executes(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
    return 1;
}

static int closes_all(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return 0;
}

/* More than the heap has free: it has to grow. */
static int returns_much(const void *arg, void *result)
{
    static char block[3 << 20];
    (void)arg;
    (void)result;

    memset(block, 'm', sizeof block);
    return mp_task_return(block, sizeof block) == 0 ? 0 : 1;
}

static int changes_directory(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    return chdir("/proc") == 0 ? 0 : 1;
}

static void ignore_it(int number)
{
    (void)number;
}

static int installs_handlers(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    for (int number = 1; number < 32; number++)
        signal(number, number % 2 ? ignore_it : SIG_IGN);
    return 0;
}

static int blocks_signals(const void *arg, void *result)
{
    sigset_t all;
    (void)arg;
    (void)result;

    sigfillset(&all);
    return sigprocmask(SIG_SETMASK, &all, NULL);
}

static int exits(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    exit(5);
}

static int overrun(volatile char *above, int depth)
{
    volatile char block[4096];

    block[0] = above != NULL ? above[0] : 0;
    block[4095] = (char)depth;
    return depth < 1000000 ? overrun(block, depth + 1) + block[4095] : 0;
}

static int overruns_its_stack(const void *arg, void *result)
{
    struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
    (void)arg;
    (void)result;

    setrlimit(RLIMIT_STACK, &limit);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGSEGV, SIG_DFL);
    return overrun(NULL, 0);
}

/* It keeps the memory, so later tasks run in a worker without any. */
static int fills_memory(const void *arg, void *result)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    (void)arg;
    (void)result;

    if (file == NULL || fscanf(file, "%lu", &pages) != 1)
        return 1;
    fclose(file);
    rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (32 << 20);
    if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most}) != 0)
        return 2;
    for (size_t size = 1 << 20; size >= 64; size /= 2) {
        void *block;

        while ((block = malloc(size)) != NULL)
            memset(block, 1, size);
    }
    return 3;
}

struct hostility {
    mp_task_function *function;
    int outcome;
};

static const struct hostility hostilities[] = {
    {forks, 0},
    {forks_and_both_return, 0},
    {leaves_a_child, 0},
    {child_hands_over_a_result, 0},
    {executes, MP_EDIED - 100 - 9},
    {closes_all, 0},
    {changes_directory, 0},
    {installs_handlers, 0},
    {blocks_signals, 0},
    {exits, MP_EDIED - 100 - 5},
    {overruns_its_stack, MP_EDIED - SIGSEGV},
    {fills_memory, 3},
};

enum { HOSTILITIES = sizeof hostilities / sizeof *hostilities };

static bool is_possible(const struct hostility *hostility)
{
    /* Sanitizers handle memory and crashes in their own ways. */
    return !(ASAN || TSAN) || (hostility->function != overruns_its_stack && hostility->function != fills_memory);
}

/* Kills the child that a task has left behind. Another process reaps it. */
static void end_child_left(void)
{
    pid_t pid = shared->pid;

    if (pid == 0)
        return;
    assert_int_equal(kill(pid, 0), 0);
    kill(pid, SIGKILL);
    assert_true(wait_until(is_gone, &pid, 30));
    shared->pid = 0;
}

static void submit_others(mp_result **result, int from, int to)
{
    for (int i = from; i < to; i++)
        assert_int_equal(mp_pool_apply_async(pool, square, &i, sizeof i, sizeof i, &result[i]), 0);
}

static void others_are_done(mp_result **result)
{
    for (int i = 0; i < OTHERS; i++) {
        int y;

        assert_int_equal(mp_result_get(result[i], &y, sizeof y, 60), 0);
        assert_int_equal(y, i * i);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
}

static void a_hostile_task_harms_no_other(void **state)
{
    for (int i = 0; i < HOSTILITIES; i++) {
        mp_result *other[OTHERS], *hostile;

        if (!is_possible(&hostilities[i]))
            continue;
        assert_int_equal(make(state), 0);
        submit_others(other, 0, OTHERS / 2);
        assert_int_equal(mp_pool_apply_async(pool, hostilities[i].function, NULL, 0, 0, &hostile), 0);
        submit_others(other, OTHERS / 2, OTHERS);
        assert_int_equal(mp_result_get(hostile, NULL, 0, 60), hostilities[i].outcome);
        assert_int_equal(mp_result_free(hostile), 0);
        others_are_done(other);
        assert_true(wait_until(is_full, pool, 30));
        assert_true(shared->runs <= 1);
        assert_int_equal(mp_pool_close(pool), 0);
        assert_int_equal(mp_pool_join(pool), 0);
        end_child_left();
        assert_int_equal(mp_pool_free(pool), 0);
    }
}

/* Each hostile item ends its worker, or leaves a damaged worker to the items that follow. */
static void hostile_items_harm_no_others(void **state)
{
    int status[30];
    mp_map_options options = {.chunk_size = 4, .status = status};
    (void)state;

    for (int i = 0; i < HOSTILITIES; i++) {
        int error;

        if (!is_possible(&hostilities[i]) || hostilities[i].function == leaves_a_child ||
            hostilities[i].function == child_hands_over_a_result)
            continue;
        shared->runs = 0;
        error = mp_pool_map_with(pool, hostilities[i].function, NULL, 0, NULL, 0, 30, &options);
        assert_int_equal(error, hostilities[i].outcome == 3 ? error : hostilities[i].outcome);
        for (int k = 0; k < 30; k++)
            assert_true(status[k] == hostilities[i].outcome || (hostilities[i].outcome == 3 && status[k] > 0));
        assert_true(shared->runs == 0 || shared->runs == 30);
        assert_true(wait_until(is_full, pool, 30));
    }
}

static void terminating_needs_nobodys_consent(void **state)
{
    mp_task_function *stubborn[] = {installs_handlers, blocks_signals, closes_all};
    (void)state;

    for (int i = 0; i < 9 * WORKERS; i++)
        assert_int_equal(mp_pool_apply(pool, stubborn[i % 3], NULL, 0, NULL, 0), 0);
    assert_int_equal(mp_pool_terminate(pool), 0);
    assert_int_equal(mp_pool_join(pool), 0);
}

static void a_worker_without_descriptors_still_returns_much(void **state)
{
    static char block[3 << 20];
    mp_result *result;
    (void)state;

    for (int i = 0; i < 4 * WORKERS; i++)
        assert_int_equal(mp_pool_apply(pool, closes_all, NULL, 0, NULL, 0), 0);
    for (int i = 0; i < 4 * WORKERS; i++) {
        assert_int_equal(mp_pool_apply_async(pool, returns_much, NULL, 0, 0, &result), 0);
        assert_int_equal(mp_result_get(result, block, sizeof block, 60), 0);
        assert_true(block[0] == 'm' && block[sizeof block - 1] == 'm');
        assert_int_equal(mp_result_free(result), 0);
    }
}

/* Clears the workers' pids in shared memory, as a stray pointer might. */
static int forgets_the_workers(const void *arg, void *result)
{
    struct pool *pool_of = *(struct pool *const *)arg;
    (void)result;

    for (uint32_t i = 0; i < pool_of->workers; i++)
        atomic_store(&pool_of->worker[i].pid, 0);
    return 0;
}

static void the_supervisor_trusts_no_pid_from_outside(void **state)
{
    struct pool *pool_of = &pool->shared;
    pid_t pids[WORKERS];
    size_t live;
    (void)state;

    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
    assert_int_equal(mp_pool_apply(pool, forgets_the_workers, &pool_of, sizeof pool_of, NULL, 0), 0);
    assert_int_equal(mp_pool_terminate(pool), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_true(process_gone(pids[i]));
}

/* ---- deaths of workers ---- */

/* The first attempt returns more than was asked for, and is killed before that is reported. The second attempt returns
 * nothing. */
static int returns_much_then_blocks(const void *arg, void *result)
{
    static char block[1 << 20];
    int ends[2];
    (void)arg;

    *(int *)result = 5;
    if (shared->runs++ > 0)
        return 0;
    if (mp_task_return(block, sizeof block) != 0 || pipe2(ends, O_NONBLOCK) != 0 || dup2(ends[1], STDOUT_FILENO) < 0)
        return 1;
    while (write(ends[1], block, 4096) > 0)
        ;
    fcntl(ends[1], F_SETFL, 0);
    printf("this can not be flushed");
    shared->pid = getpid();
    shared->flag = 1;
    return 0;
}

static void a_result_of_an_earlier_attempt_is_forgotten(void **state)
{
    mp_result *other[OTHERS], *result;
    mp_pool_options options = {.retries = 1};
    pid_t pid;
    int y = 0;

    assert_int_equal(drop(state), 0);
    assert_int_equal(mp_pool_create(&pool, WORKERS, &options), 0);
    assert_int_equal(mp_pool_apply_async(pool, returns_much_then_blocks, NULL, 0, sizeof y, &result), 0);
    submit_others(other, 0, OTHERS);
    assert_true(wait_flag(1));
    pid = shared->pid;
    assert_true(wait_until(is_asleep, &pid, 30));
    kill(pid, SIGKILL);
    assert_int_equal(mp_result_get(result, &y, sizeof y, 60), 0);
    assert_int_equal(y, 5);
    assert_int_equal(mp_result_free(result), 0);
    others_are_done(other);
}

static void stop_all(const pid_t *pids, int signal)
{
    for (int i = 0; i < WORKERS; i++) {
        pid_t pid = pids[i];

        kill(pid, signal);
        if (signal == SIGSTOP)
            assert_true(wait_until(is_stopped, &pid, 30));
    }
}

static int count_run(const void *arg, void *result)
{
    (void)arg;
    shared->runs++;
    *(int *)result = 9;
    return 0;
}

static struct task *task_of(mp_result *result)
{
    return &((struct slot *)(void *)((char *)result - offsetof(struct slot, result)))->task;
}

/* Acts for a stopped worker: claims a task for it, then kills it. */
static void killed_between_claim_and_start(void **state)
{
    for (int retries = 0; retries < 2; retries++) {
        mp_pool_options options = {.retries = retries};
        struct worker *worker;
        mp_result *result;
        pid_t pids[WORKERS];
        size_t live;
        int y = 0;

        assert_int_equal(drop(state), 0);
        shared->runs = 0;
        assert_int_equal(mp_pool_create(&pool, WORKERS, &options), 0);
        assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
        stop_all(pids, SIGSTOP);
        assert_int_equal(mp_pool_apply_async(pool, count_run, NULL, 0, sizeof y, &result), 0);
        worker = &pool->shared.worker[0];
        atomic_store(&worker->task, heap_offset(pool->shared.heap, task_of(result)));
        assert_true(task_claim(&task_of(result)->word, 0));
        kill(atomic_load(&worker->pid), SIGKILL);
        stop_all(pids, SIGCONT);
        assert_int_equal(mp_result_get(result, &y, sizeof y, 60), retries == 0 ? MP_EDIED - SIGKILL : 0);
        assert_int_equal(shared->runs, retries);
        assert_int_equal(mp_result_free(result), 0);
        assert_true(wait_until(is_full, pool, 30));
    }
}

/* Acts for a worker that is killed when its task is done, but before it has woken any waiter. */
static void killed_after_the_result(void **state)
{
    struct worker *worker = &pool->shared.worker[0];
    mp_result *result;
    pid_t pids[WORKERS];
    size_t live;
    int y = 0;
    (void)state;

    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
    stop_all(pids, SIGSTOP);
    assert_int_equal(mp_pool_apply_async(pool, count_run, NULL, 0, sizeof y, &result), 0);
    struct task *task = task_of(result);
    atomic_store(&worker->task, heap_offset(pool->shared.heap, task));
    assert_true(task_claim(&task->word, 0));
    *(int *)task_result(pool->shared.heap, task) = 77;
    atomic_store(&task->word, TASK_DONE);
    kill(atomic_load(&worker->pid), SIGKILL);
    stop_all(pids, SIGCONT);
    assert_true(wait_until(is_full, pool, 30));
    assert_int_equal(mp_result_get(result, &y, sizeof y, 60), 0);
    assert_int_equal(y, 77);
    assert_int_equal(shared->runs, 0);
    assert_int_equal(mp_result_free(result), 0);
}

static int wait_at_gate(void *arg)
{
    (void)arg;
    shared->flag++;
    return wait_until(gate_opens, NULL, 60) ? 0 : 1;
}

static void killed_before_the_first_task(void **state)
{
    mp_pool_options options = {.initializer = wait_at_gate};
    mp_result *other[OTHERS];
    pid_t pids[WORKERS];
    size_t live;

    assert_int_equal(drop(state), 0);
    assert_int_equal(mp_pool_create(&pool, WORKERS, &options), 0);
    submit_others(other, 0, OTHERS);
    assert_true(wait_flag(WORKERS));
    assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
    for (int i = 0; i < WORKERS; i++)
        kill(pids[i], SIGKILL);
    shared->gate = 1;
    others_are_done(other);
    assert_true(wait_until(is_full, pool, 30));
}

/* The number of repetitions: more with MP_TEST_LONG. */
static int times(int few, int many)
{
    return getenv("MP_TEST_LONG") != NULL ? many : few;
}

static void all_workers_killed_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < times(60, 1000); i++) {
        mp_result *result[OTHERS];
        pid_t pids[WORKERS];
        size_t live;
        int lost = 0;

        submit_others(result, 0, OTHERS);
        assert_int_equal(mp_pool_workers(pool, pids, WORKERS, &live), 0);
        for (size_t k = 0; k < live; k++)
            kill(pids[k], SIGKILL);
        for (int k = 0; k < OTHERS; k++) {
            int y, error = mp_result_get(result[k], &y, sizeof y, 60);

            assert_true(error == MP_EDIED - SIGKILL || (error == 0 && y == k * k));
            lost += error != 0;
            assert_int_equal(mp_result_free(result[k]), 0);
        }
        assert_true(lost <= WORKERS);
        assert_true(wait_until(is_full, pool, 30));
    }
}

/* ---- stopped workers; workers that are wanted and do not come ---- */

static int raise_flag(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    shared->flag++;
    return 0;
}

static int raise_flag_and_wait(const void *arg, void *result)
{
    (void)result;
    shared->flag++;
    MUST(reaches(&shared->gate, *(const int *)arg, 60));
    return 0;
}

/* The caller does not wait for these tasks, so nothing in its process would notice a worker that stays asleep. */
static void a_worker_stopped_while_searching_keeps_nobody_asleep(void **state)
{
    pid_t pid;
    (void)state;

    for (int i = 0; i < WORKERS; i++) {
        int x = i, y;

        assert_int_equal(mp_pool_apply(pool, square, &x, sizeof x, &y, sizeof y), 0);
        pid = atomic_load(&pool->shared.worker[i].pid);
        assert_true(wait_until(is_asleep, &pid, 30));
        set_remove(pool->shared.sleeping, (uint32_t)i);
        set_add(pool->shared.searching, (uint32_t)i);
        kill(pid, SIGSTOP);
        shared->flag = 0;
        assert_int_equal(mp_pool_apply_async(pool, raise_flag, NULL, 0, 0, NULL), 0);
        assert_true(wait_flag(1));
        kill(pid, SIGCONT);
    }
}

static bool one_asleep(void *arg)
{
    return __builtin_popcountll(atomic_load(&((mp_pool *)arg)->shared.sleeping[0])) == 1;
}

/* Worker 0 was woken twice: at the second time it had already found a task. */
static void a_worker_woken_twice_keeps_nobody_asleep(void **state)
{
    mp_pool *pair;
    (void)state;

    assert_int_equal(mp_pool_create(&pair, 2, NULL), 0);
    /* Repeats until worker 0 is the busy one. */
    for (int gate = 1;; gate++) {
        shared->flag = 0;
        assert_int_equal(mp_pool_apply_async(pair, raise_flag_and_wait, &gate, sizeof gate, 0, NULL), 0);
        assert_true(wait_flag(1));
        assert_true(wait_until(one_asleep, pair, 30));
        if (atomic_load(&pair->shared.sleeping[0]) == 2)
            break;
        shared->gate = gate;
    }
    set_add(pair->shared.sleeping, 0);
    assert_int_equal(mp_pool_apply_async(pair, raise_flag, NULL, 0, 0, NULL), 0);
    assert_int_equal(mp_pool_apply_async(pair, raise_flag, NULL, 0, 0, NULL), 0);
    assert_true(wait_flag(3));
    shared->gate = INT32_MAX;
    assert_int_equal(mp_pool_free(pair), 0);
}

/* ---- supervisors and callers ---- */

static pid_t doomed_supervisor;

/* Kills the supervisor when the caller is sure to be waiting. */
static void at_alarm(int number)
{
    static int alarms;
    (void)number;

    if (++alarms == 40)
        kill(doomed_supervisor, SIGKILL);
}

static void set_timer(suseconds_t microseconds)
{
    struct sigaction action = {.sa_handler = at_alarm};
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};

    if (microseconds == 0)
        action.sa_handler = SIG_IGN;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void *get_waiting(void *arg)
{
    return (void *)(intptr_t)mp_result_get(arg, NULL, 0, 60);
}

static int wait_for_gate(const void *arg, void *result)
{
    (void)arg;
    (void)result;
    return wait_until(gate_opens, NULL, 120) ? 0 : 1;
}

static void all_threads_hear_of_the_supervisors_death(void **state)
{
    mp_result *result[8];
    pthread_t thread[8];
    pid_t supervisor;
    void *error;
    (void)state;

    for (int i = 0; i < 8; i++) {
        if (i % 2 == 0)
            assert_int_equal(mp_pool_apply_async(pool, wait_for_gate, NULL, 0, 0, &result[i]), 0);
        else
            assert_int_equal(mp_pool_map_async(pool, wait_for_gate, NULL, 0, 0, 10, &result[i], NULL), 0);
        assert_int_equal(pthread_create(&thread[i], NULL, get_waiting, result[i]), 0);
    }
    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    kill(supervisor, SIGKILL);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(thread[i], &error), 0);
        assert_int_equal((intptr_t)error, MP_EBROKEN);
        assert_int_equal(mp_result_free(result[i]), 0);
    }
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_join(pool), MP_EBROKEN);
}

static void a_steady_timer_hides_no_death(void **state)
{
    mp_result *result;
    (void)state;

    assert_int_equal(mp_pool_apply_async(pool, wait_for_gate, NULL, 0, 0, &result), 0);
    assert_int_equal(mp_pool_supervisor(pool, &doomed_supervisor), 0);
    set_timer(5000);
    int error = mp_result_get(result, NULL, 0, 30);
    set_timer(0);
    assert_int_equal(error, MP_EBROKEN);
    assert_int_equal(mp_result_free(result), 0);
}

static void a_stopped_supervisor_is_no_obstacle_to_the_end(void **state)
{
    mp_result *other[OTHERS];
    pid_t supervisor;
    (void)state;

    assert_int_equal(mp_pool_supervisor(pool, &supervisor), 0);
    kill(supervisor, SIGSTOP);
    submit_others(other, 0, OTHERS);
    others_are_done(other);
    assert_int_equal(mp_pool_terminate(pool), 0);
    assert_true(wait_until(is_gone, &supervisor, 30));
}

static void a_program_that_ignores_its_children_is_told_the_truth(void **state)
{
    mp_result *other[OTHERS];

    assert_int_equal(drop(state), 0);
    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(mp_pool_create(&pool, WORKERS, NULL), 0);
    submit_others(other, 0, OTHERS);
    assert_int_equal(mp_pool_close(pool), 0);
    int error = mp_pool_join(pool);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(error, 0);
    others_are_done(other);
}

/* Acts like a program that becomes a service: none of the library's descriptors leads to its old file. */
static _Noreturn void be_without_descriptors(bool terminate)
{
    pid_t pids[WORKERS];
    mp_result *other[OTHERS];
    size_t live;
    int code = 5;

    if (mp_pool_create(&pool, WORKERS, NULL) != 0)
        _exit(1);
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    for (int i = 0; i < 30; i++) {
        if (open("/dev/null", O_RDONLY) < 0)
            _exit(2);
    }
    mp_pool_workers(pool, pids, WORKERS, &live);
    kill(pids[0], SIGKILL);
    if (!wait_until(is_full, pool, 30))
        _exit(3);
    submit_others(other, 0, OTHERS);
    others_are_done(other);
    if (terminate)
        code = mp_pool_terminate(pool);
    else if (mp_pool_close(pool) == 0 && mp_pool_join(pool) == 0)
        code = mp_pool_free(pool);
    exit(code);
}

static void a_caller_without_descriptors_keeps_its_pool(void **state)
{
    (void)state;
    for (int terminate = 0; terminate < 2; terminate++) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
            be_without_descriptors(terminate != 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
}

/* A caller that waits to be killed, after the test has read the pids of its workers. */
static _Noreturn void be_a_caller(int pipe_end)
{
    pid_t pids[MANY + 1];
    mp_pool *large;
    size_t live;

    if (mp_pool_create(&large, MANY, NULL) != 0)
        _exit(1);
    for (int i = 0; i < MANY; i++)
        mp_pool_apply_async(large, raise_flag_and_wait, &(int){1}, sizeof(int), 0, NULL);
    if (!wait_flag(MANY) || mp_pool_workers(large, pids, MANY, &live) != 0 ||
        mp_pool_supervisor(large, &pids[MANY]) != 0 || write(pipe_end, pids, sizeof pids) != sizeof pids)
        _exit(1);
    for (;;)
        pause();
}

static bool all_gone(void *arg)
{
    const pid_t *pids = arg;

    for (int i = 0; i <= MANY; i++) {
        if (!process_ended(pids[i]))
            return false;
    }
    return true;
}

static void a_killed_caller_takes_64_busy_workers_along(void **state)
{
    int ends[2], status;
    pid_t pids[MANY + 1];
    (void)state;

    assert_int_equal(pipe(ends), 0);
    pid_t caller = fork();
    if (caller == 0)
        be_a_caller(ends[1]);
    assert_int_equal(read(ends[0], pids, sizeof pids), sizeof pids);
    double since = now();
    kill(caller, SIGKILL);
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_true(wait_until(all_gone, pids, 20));
    print_message("64 workers gone after %.3f s\n", now() - since);
    close(ends[0]);
    close(ends[1]);
}

/* ---- a terminal ---- */

static volatile sig_atomic_t interrupts;

static void at_interrupt(int number)
{
    (void)number;
    interrupts++;
}

static bool was_interrupted(void *arg)
{
    (void)arg;
    return interrupts > 0;
}

#define REQUIRE(condition, code) \
    do { \
        if (!(condition)) \
            _exit(code); \
    } while (0)

/* Has its own session, whose terminal is the pseudo-terminal. This process, the supervisor and the workers are in its
 * foreground. */
static _Noreturn void be_on_terminal(void)
{
    struct sigaction action = {.sa_handler = at_interrupt};
    pid_t pids[WORKERS], again[WORKERS], supervisor;
    mp_result *waiting;
    size_t live;
    int y;

    sigaction(SIGINT, &action, NULL);
    REQUIRE(mp_pool_create(&pool, WORKERS, NULL) == 0, 10);
    REQUIRE(mp_pool_apply_async(pool, raise_flag_and_wait, &(int){1}, sizeof(int), 0, &waiting) == 0, 11);
    REQUIRE(wait_flag(1), 12); /* when the flag is raised, the test types ^C */
    REQUIRE(mp_pool_workers(pool, pids, WORKERS, &live) == 0 && mp_pool_supervisor(pool, &supervisor) == 0, 13);
    REQUIRE(mp_result_wait(waiting, 0.2) == MP_ETIMEOUT, 14);
    REQUIRE(wait_until(was_interrupted, NULL, 30), 15);
    shared->gate = 1;
    REQUIRE(mp_result_get(waiting, NULL, 0, 60) == 0, 16);
    for (int i = 0; i < 50; i++)
        REQUIRE(mp_pool_apply(pool, square, &i, sizeof i, &y, sizeof y) == 0 && y == i * i, 17);
    REQUIRE(mp_pool_workers(pool, again, WORKERS, &live) == 0 && memcmp(pids, again, sizeof pids) == 0, 18);
    REQUIRE(kill(supervisor, 0) == 0, 19);
    REQUIRE(mp_pool_close(pool) == 0 && mp_pool_join(pool) == 0 && mp_pool_free(pool) == 0, 20);
    REQUIRE(interrupts == 1, 21);
    _exit(0);
}

static void an_interrupt_from_the_terminal_is_the_callers(void **state)
{
    int master, status;

    if (access("/dev/pts/ptmx", F_OK) != 0)
        skip(); /* no pseudo-terminals: a bare chroot */
    assert_int_equal(drop(state), 0);
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    if (pid == 0)
        be_on_terminal();
    assert_true(pid > 0);
    assert_true(wait_flag(1));
    assert_int_equal(write(master, "\003", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(master);
    assert_int_equal(mp_pool_create(&pool, WORKERS, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hostile_task_harms_no_other),
        TEST(hostile_items_harm_no_others),
        TEST(terminating_needs_nobodys_consent),
        TEST(the_supervisor_trusts_no_pid_from_outside),
        TEST(a_worker_without_descriptors_still_returns_much),
        TEST(a_result_of_an_earlier_attempt_is_forgotten),
        TEST(killed_between_claim_and_start),
        TEST(killed_after_the_result),
        TEST(killed_before_the_first_task),
        TEST(all_workers_killed_at_once),
        TEST(a_worker_stopped_while_searching_keeps_nobody_asleep),
        TEST(a_worker_woken_twice_keeps_nobody_asleep),
        TEST(all_threads_hear_of_the_supervisors_death),
        TEST(a_steady_timer_hides_no_death),
        TEST(a_stopped_supervisor_is_no_obstacle_to_the_end),
        TEST(a_program_that_ignores_its_children_is_told_the_truth),
        TEST(a_caller_without_descriptors_keeps_its_pool),
        TEST(a_killed_caller_takes_64_busy_workers_along),
        TEST(an_interrupt_from_the_terminal_is_the_callers),
    };

    shared = shared_memory(sizeof *shared);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
