/* Locks: anonymous and named, between processes and threads, and after their owners' deaths. */
#include <mp.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

/* Shared with the children of a test. */
static volatile struct {
    long counter;
    int ready;
    double woken;
} * shared;

static mp_lock *lock;

static int make(void **state)
{
    (void)state;
    memset((void *)(uintptr_t)shared, 0, sizeof *shared);
    return mp_lock_create(&lock, NULL);
}

static int drop(void **state)
{
    (void)state;
    return mp_lock_free(lock);
}

static bool is_ready(void *arg)
{
    return shared->ready >= *(int *)arg;
}

static bool wait_ready(int count)
{
    return wait_until(is_ready, &count, 20);
}

static int exit_code(mp_process *process)
{
    int code;

    assert_int_equal(mp_process_join(process, 60), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(mp_process_free(process), 0);
    return code;
}

static void takes_and_gives(void **state)
{
    (void)state;
    assert_int_equal(mp_lock_acquire(lock, MP_FOREVER), 0);
    assert_int_equal(mp_lock_acquire(lock, MP_FOREVER), MP_EDEADLK);
    assert_int_equal(mp_lock_free(lock), MP_EBUSY);
    assert_int_equal(mp_lock_release(lock), 0);
    assert_int_equal(mp_lock_release(lock), MP_ENOTOWNER);
    assert_int_equal(mp_lock_acquire(lock, 0), 0);
    assert_int_equal(mp_lock_release(lock), 0);
}

static int add_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 50000; i++) {
        if (mp_lock_acquire(lock, MP_FOREVER) != 0)
            return 1;
        shared->counter++;
        if (mp_lock_release(lock) != 0)
            return 2;
    }
    return 0;
}

static void excludes_processes(void **state)
{
    mp_process *process[4];
    (void)state;

    for (int i = 0; i < 4; i++)
        assert_int_equal(mp_process_start(&process[i], add_many, NULL, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(exit_code(process[i]), 0);
    assert_int_equal(shared->counter, 200000);
}

/* What a process gets that does not own the lock, as bits. */
static int try_it(void *arg)
{
    double start = now();
    (void)arg;

    if (mp_lock_release(lock) != MP_ENOTOWNER)
        return 1;
    if (mp_lock_acquire(lock, 0) != MP_ETIMEOUT || mp_lock_acquire(lock, -1) != MP_ETIMEOUT)
        return 2;
    if (mp_lock_acquire(lock, 0.05) != MP_ETIMEOUT || now() - start < 0.05)
        return 3;
    return mp_lock_free(lock) == MP_EBUSY ? 0 : 4;
}

static void *try_it_in_thread(void *arg)
{
    return (void *)(intptr_t)try_it(arg);
}

static void others_time_out(void **state)
{
    mp_process *process;
    pthread_t thread;
    void *result;
    (void)state;

    assert_int_equal(mp_lock_acquire(lock, MP_FOREVER), 0);
    assert_int_equal(mp_process_start(&process, try_it, NULL, NULL), 0);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(pthread_create(&thread, NULL, try_it_in_thread, NULL), 0);
    pthread_join(thread, &result);
    assert_null(result);
    assert_int_equal(mp_lock_release(lock), 0);
}

static int hold_until_killed(void *arg)
{
    (void)arg;
    if (mp_lock_acquire(lock, MP_FOREVER) != 0)
        return 1;
    shared->ready++;
    for (;;)
        pause();
}

static int wait_for_dead(void *arg)
{
    (void)arg;
    shared->ready++;
    int error = mp_lock_acquire(lock, MP_FOREVER);
    shared->woken = now();
    return error == MP_EOWNERDEAD && mp_lock_release(lock) == 0 ? 0 : 1;
}

static bool sleeps(void *arg)
{
    char path[64], text[512] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/wchan", *(int *)arg);
    file = fopen(path, "r");
    if (file == NULL)
        return true;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text[0] == '0' || strstr(text, "futex") != NULL;
}

static void a_dead_owner_is_told(void **state)
{
    mp_process *owner, *waiter;
    pid_t pid;
    (void)state;

    assert_int_equal(mp_process_start(&owner, hold_until_killed, NULL, NULL), 0);
    assert_true(wait_ready(1));
    assert_int_equal(mp_process_start(&waiter, wait_for_dead, NULL, NULL), 0);
    assert_true(wait_ready(2));
    assert_int_equal(mp_process_pid(waiter, &pid), 0);
    assert_true(wait_until(sleeps, &pid, 10));
    double killed = now();
    assert_int_equal(mp_process_kill(owner), 0);
    assert_int_equal(exit_code(waiter), 0);
    assert_true(shared->woken - killed < 1); /* takes milliseconds, except on a busy machine */
    assert_int_equal(exit_code(owner), -SIGKILL);
    assert_int_equal(mp_lock_acquire(lock, 0), 0);
    assert_int_equal(mp_lock_release(lock), 0);
}

static int wait_for_it(void *arg)
{
    (void)arg;
    shared->ready++;
    if (mp_lock_acquire(lock, MP_FOREVER) != 0)
        return 1;
    /* The holder sets the counter just before it releases the lock. */
    int error = shared->counter == 1 ? 0 : 2;
    return mp_lock_release(lock) == 0 ? error : 3;
}

static void a_waiter_gets_it_when_it_is_released(void **state)
{
    mp_process *process;
    pid_t pid;
    (void)state;

    assert_int_equal(mp_lock_acquire(lock, MP_FOREVER), 0);
    assert_int_equal(mp_process_start(&process, wait_for_it, NULL, NULL), 0);
    assert_true(wait_ready(1));
    assert_int_equal(mp_process_pid(process, &pid), 0);
    assert_true(wait_until(sleeps, &pid, 10));
    shared->counter = 1;
    assert_int_equal(mp_lock_release(lock), 0);
    assert_int_equal(exit_code(process), 0);
}

static void *take_and_end(void *arg)
{
    return mp_lock_acquire(arg, MP_FOREVER) == 0 ? arg : NULL;
}

static void a_thread_that_ends_is_a_dead_owner(void **state)
{
    pthread_t thread;
    void *result;
    (void)state;

    assert_int_equal(pthread_create(&thread, NULL, take_and_end, lock), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, lock);
    assert_int_equal(mp_lock_release(lock), MP_ENOTOWNER);
    assert_int_equal(mp_lock_acquire(lock, 10), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_acquire(lock, 0), MP_EDEADLK);
    assert_int_equal(mp_lock_release(lock), 0);
    assert_int_equal(mp_lock_acquire(lock, 0), 0); /* reported only once */
    assert_int_equal(mp_lock_release(lock), 0);
}

static void a_dead_strangers_named_lock_is_told(void **state)
{
    mp_lock *mine;
    char name[32];
    int status;
    (void)state;

    snprintf(name, sizeof name, "test-dead-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&mine, &(mp_lock_options){name}), 0);
    pid_t pid = fork();
    if (pid == 0) {
        mp_lock *other;

        if (mp_lock_open(&other, name, NULL) == 0 && mp_lock_acquire(other, MP_FOREVER) == 0)
            raise(SIGKILL);
        _exit(1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, SIGKILL);
    assert_int_equal(mp_lock_acquire(mine, 10), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(mine), 0);
    assert_int_equal(mp_lock_free(mine), 0);
}

static void an_unlinked_name_leads_to_another(void **state)
{
    mp_lock *old, *new;
    char name[32];
    (void)state;

    snprintf(name, sizeof name, "test-another-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&old, &(mp_lock_options){name}), 0);
    assert_int_equal(mp_lock_acquire(old, 0), 0);
    assert_int_equal(mp_lock_unlink(name), 0);
    assert_int_equal(mp_lock_unlink(name), MP_ENOENT);
    assert_int_equal(mp_lock_create(&new, &(mp_lock_options){name}), 0);
    assert_int_equal(mp_lock_acquire(new, 0), 0);
    assert_int_equal(mp_lock_release(old), 0);
    assert_int_equal(mp_lock_free(old), 0); /* removes nothing: the name belongs to the new lock */
    assert_int_equal(count_shared_files(), 1);
    assert_int_equal(mp_lock_release(new), 0);
    assert_int_equal(mp_lock_free(new), 0);
}

static int leave_by_return(void)
{
    MP_WITH_LOCK (lock) {
        return 7;
    }
    return 0;
}

static void with_lock_is_left_in_every_way(void **state)
{
    int runs = 0;
    (void)state;

    MP_WITH_LOCK (lock) {
        runs++;
        assert_int_equal(mp_lock_acquire(lock, 0), MP_EDEADLK);
    }
    MP_WITH_LOCK (lock) {
        runs++;
        break;
    }
    MP_WITH_LOCK (lock) {
        runs++;
        continue;
    }
    assert_int_equal(leave_by_return(), 7);
    assert_int_equal(runs, 3);
    assert_int_equal(mp_lock_release(lock), MP_ENOTOWNER);
    MP_WITH_LOCK (NULL) {
        runs++;
    }
    assert_int_equal(runs, 3);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void signals_do_not_shorten_waits(void **state)
{
    const struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = on_alarm}, old;
    mp_process *owner;
    (void)state;

    assert_int_equal(mp_process_start(&owner, hold_until_killed, NULL, NULL), 0);
    assert_true(wait_ready(1));
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    double start = now();
    assert_int_equal(mp_lock_acquire(lock, 0.2), MP_ETIMEOUT);
    assert_true(now() - start >= 0.2);
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(mp_process_kill(owner), 0);
    assert_int_equal(exit_code(owner), -SIGKILL);
    assert_int_equal(mp_lock_acquire(lock, 1), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(lock), 0);
}

/* Other programs may have named objects, too. */
static bool name_exists(const char *name)
{
    char path[100];

    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), name);
    return access(path, F_OK) == 0;
}

static void named_locks_exclude_strangers(void **state)
{
    mp_lock *mine, *same;
    mp_manager *manager;
    char name[32];
    int status;
    (void)state;

    snprintf(name, sizeof name, "test-lock-%d", (int)getpid());
    assert_int_equal(mp_lock_open(&mine, name, NULL), 0);
    assert_int_equal(mp_lock_create(&same, &(mp_lock_options){name}), MP_EEXIST);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), MP_EKIND);
    assert_int_equal(mp_manager_open(&manager, name, NULL), MP_EKIND);
    assert_int_equal(mp_lock_acquire(mine, MP_FOREVER), 0);
    pid_t pid = fork();
    if (pid == 0) {
        mp_lock *other;
        int ok = mp_lock_open(&other, name, NULL) == 0 && mp_lock_acquire(other, 0) == MP_ETIMEOUT &&
                 mp_lock_free(other) == MP_EBUSY;
        _exit(ok ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(mp_lock_release(mine), 0);
    assert_int_equal(mp_lock_open(&same, name, NULL), 0);
    assert_int_equal(mp_lock_free(mine), 0);
    assert_true(name_exists(name));
    assert_int_equal(mp_lock_free(same), 0);
    assert_false(name_exists(name));
}

static void names_are_checked_and_removed(void **state)
{
    mp_lock *mine;
    char name[32], longest[300];
    (void)state;

    memset(longest, 'x', sizeof longest);
    longest[201] = 0;
    assert_int_equal(mp_lock_open(&mine, "", NULL), MP_ENAME);
    assert_int_equal(mp_lock_open(&mine, "a/b", NULL), MP_ENAME);
    assert_int_equal(mp_lock_open(&mine, "..", NULL), MP_ENAME);
    assert_int_equal(mp_lock_open(&mine, longest, NULL), MP_ENAME);
    assert_int_equal(mp_lock_unlink("no such lock"), MP_ENOENT);
    snprintf(name, sizeof name, "test-unlink-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&mine, &(mp_lock_options){name}), 0);
    assert_int_equal(mp_lock_unlink(name), 0);
    assert_false(name_exists(name));
    assert_int_equal(mp_lock_acquire(mine, 1), 0);
    assert_int_equal(mp_lock_release(mine), 0);
    assert_int_equal(mp_lock_free(mine), 0);
}

static void refuses_bad_input(void **state)
{
    mp_lock *freed;
    (void)state;

    assert_int_equal(mp_lock_create(NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_lock_open(&freed, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_lock_open(&freed, "x", &(mp_lock_options){NULL}), MP_EINVAL);
    assert_int_equal(mp_lock_acquire(NULL, 1), MP_EINVAL);
    assert_int_equal(mp_lock_acquire(lock, (double)NAN), MP_EINVAL);
    assert_int_equal(mp_lock_release(NULL), MP_EINVAL);
    assert_int_equal(mp_lock_unlink(NULL), MP_EINVAL);
    assert_int_equal(mp_lock_create(&freed, NULL), 0);
    assert_int_equal(mp_lock_free(freed), 0);
    assert_int_equal(mp_lock_acquire(freed, 1), MP_EINVAL);
    assert_int_equal(mp_lock_free(freed), MP_EINVAL);
    assert_int_equal(mp_lock_free(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(takes_and_gives),
        TEST(excludes_processes),
        TEST(others_time_out),
        TEST(a_dead_owner_is_told),
        TEST(a_waiter_gets_it_when_it_is_released),
        TEST(a_thread_that_ends_is_a_dead_owner),
        TEST(a_dead_strangers_named_lock_is_told),
        TEST(an_unlinked_name_leads_to_another),
        TEST(with_lock_is_left_in_every_way),
        TEST(signals_do_not_shorten_waits),
        TEST(named_locks_exclude_strangers),
        TEST(names_are_checked_and_removed),
        TEST(refuses_bad_input),
    };
    mp_lock *first;

    shared = shared_memory(sizeof *shared);
    /* The heap of this process's locks stays open, with its descriptor. */
    if (mp_lock_create(&first, NULL) != 0)
        return 1;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
