/* A lost wake-up:
 *
 * 1. The owner of a lock releases it, and is killed before it wakes the waiter.
 * 2. At that moment another process takes the lock.
 * 3. The kernel, which cleans up after the dead owner, sees a lock with a live owner, and wakes no waiter.
 * 4. The new owner does not know that there is a waiter.
 *
 * So the waiter must find out by itself. */
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

enum step { OWNED = 1, GIVEN_UP, TAKEN_BY_OTHER, OWNER_IS_DEAD };

static volatile int *step, *waiter_has_it; /* shared */

static mp_lock *lock;
static mp_manager *manager;
static mp_dict *dict;

static bool step_is(void *arg)
{
    return *step >= *(const int *)arg;
}

static bool wait_for(int which)
{
    return wait_until(step_is, &which, 60);
}

/* Runs in place of the system call that wakes the waiter. */
static void die_unless_overtaken(int number)
{
    (void)number;
    *step = GIVEN_UP;
    wait_for(TAKEN_BY_OTHER);
    raise(SIGKILL);
}

/* Turns every wake-up of a waiter in another process into a SIGSYS. */
static bool trap_wakes(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAKE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    struct sigaction action = {.sa_handler = die_unless_overtaken};

    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/* Takes the lock in question, calls meanwhile(), and releases it. */
typedef void hold_function(void (*meanwhile)(void));

static void hold_lock(void (*meanwhile)(void))
{
    mp_lock_acquire(lock, MP_FOREVER);
    meanwhile();
    mp_lock_release(lock);
}

static int in_dict(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (*(void (**)(void))arg)();
    return 1;
}

static void hold_dict(void (*meanwhile)(void))
{
    mp_dict_apply(dict, mp_value_str("key"), in_dict, &meanwhile);
}

static atomic_int *waiter; /* shared */

static void as_owner(void)
{
    *step = OWNED;
    if (!wait_until(is_set, waiter, 60))
        _exit(77);
    pid_t pid = *waiter;
    if (!wait_until(is_asleep, &pid, 60) || !trap_wakes())
        _exit(77);
}

static void as_other(void)
{
    *step = TAKEN_BY_OTHER;
    wait_for(OWNER_IS_DEAD);
}

static void as_waiter(void)
{
    *waiter_has_it = 1;
}

static pid_t start(hold_function *hold, void (*role)(void), int after)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    if (!wait_for(after))
        _exit(1);
    hold(role);
    _exit(0);
}

static bool has_it(void *arg)
{
    (void)arg;
    return *waiter_has_it != 0;
}

static void play(hold_function *hold)
{
    int status;

    *step = *waiter_has_it = 0;
    *waiter = 0;
    pid_t owner = start(hold, as_owner, 0);
    assert_true(wait_for(OWNED));
    pid_t sleeper = start(hold, as_waiter, OWNED);
    *waiter = sleeper;
    pid_t other = start(hold, as_other, GIVEN_UP);
    assert_int_equal(waitpid(owner, &status, 0), owner);
    bool possible = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    *step = OWNER_IS_DEAD;
    assert_int_equal(waitpid(other, &status, 0), other);
    bool found_out = wait_until(has_it, NULL, 20);
    if (!found_out)
        kill(sleeper, SIGKILL);
    assert_int_equal(waitpid(sleeper, &status, 0), sleeper);
    if (!possible)
        skip(); /* the system has no seccomp */
    assert_true(found_out);
}

static void of_a_lock(void **state)
{
    (void)state;
    assert_int_equal(mp_lock_create(&lock, NULL), 0);
    play(hold_lock);
    assert_int_equal(mp_lock_free(lock), 0);
}

static void of_a_dict(void **state)
{
    (void)state;
    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    play(hold_dict);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_a_lock), cmocka_unit_test(of_a_dict)};
    char *page = shared_memory(4096);

    step = (int *)(void *)page;
    waiter_has_it = (int *)(void *)(page + 64);
    waiter = (atomic_int *)(void *)(page + 128);
    /* The heap of anonymous locks stays open. */
    if (mp_lock_create(&lock, NULL) != 0 || mp_lock_free(lock) != 0)
        return 1;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
