/* The holder of locks ends, in every possible way: the next process gets each lock at once, and is told about the
 * death. This also holds for more locks than the kernel releases at an end (2 048), for a holder that has not been
 * reaped, and for one whose thread id has been reused. */
#include <errno.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/robust_mutex.h"
#include "object/holder.h"
#include "object/object.h"
#include "sanitizers.h"
#include "support.h"

enum { MOST = 5000 };

/* Shared with the children of a test. */
static volatile struct {
    atomic_int held, go, begun;
    int got;
    double ended, told;
} * shared;

static mp_lock *locks[MOST];

/* ---- ways to end ---- */

static void *ends_by_return(void *arg)
{
    return arg;
}

static void *ends_by_exit_of_thread(void *arg)
{
    (void)arg;
    pthread_exit(NULL);
}

static void *ends_by_cancelling(void *arg)
{
    (void)arg;
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return NULL;
}

static void *ends_by__exit(void *arg)
{
    (void)arg;
    _exit(3);
}

static void *ends_by_exit(void *arg)
{
    (void)arg;
    exit(3);
}

static void *ends_by_kill(void *arg)
{
    (void)arg;
    raise(SIGKILL);
    return NULL;
}

static void *ends_by_term(void *arg)
{
    (void)arg;
    raise(SIGTERM);
    return NULL;
}

static void *ends_by_abort(void *arg)
{
    (void)arg;
    abort();
}

static void *ends_by_quick_exit(void *arg)
{
    (void)arg;
    quick_exit(3);
}

static void *ends_by_fault(void *arg)
{
    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return NULL;
}

static void exit_now(int number)
{
    (void)number;
    exit(3);
}

static void *ends_in_a_handler(void *arg)
{
    (void)arg;
    signal(SIGUSR1, exit_now);
    raise(SIGUSR1);
    return NULL;
}

/* Another thread ends the process while the thread that holds the locks is waiting. */
static void *ends_by_exit_elsewhere(void *arg)
{
    pthread_t other;
    (void)arg;

    if (pthread_create(&other, NULL, ends_by_exit, NULL) == 0)
        pthread_join(other, NULL);
    _exit(1);
}

static void *ends_by_exec(void *arg)
{
    (void)arg;
    execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    _exit(1);
}

static void *runs_on(void *arg)
{
    for (;;)
        pause();
    return arg;
}

/* The main thread ends and others go on: it remains as a zombie until all have ended. */
static void *ends_before_other_threads(void *arg)
{
    pthread_t other;

    if (pthread_create(&other, NULL, runs_on, NULL) != 0)
        _exit(1);
    pthread_exit(arg);
}

static const struct end {
    const char *name;
    void *(*function)(void *);
    bool of_thread; /* runs in a second thread of a process that goes on */
} ends[] = {
    {"a thread that returns", ends_by_return, true},
    {"a thread that exits", ends_by_exit_of_thread, true},
    {"a thread that is cancelled", ends_by_cancelling, true},
    {"a main thread before others", ends_before_other_threads, false},
    {"_exit", ends_by__exit, false},
    {"exit", ends_by_exit, false},
    {"SIGKILL", ends_by_kill, false},
    {"SIGTERM", ends_by_term, false},
    {"abort", ends_by_abort, false},
    {"exec", ends_by_exec, false},
    {"quick_exit", ends_by_quick_exit, false},
    {"SIGSEGV", ends_by_fault, false},
    {"exit in a signal handler", ends_in_a_handler, false},
    {"exit of another thread", ends_by_exit_elsewhere, false},
};
#define ENDS (sizeof ends / sizeof *ends)

/* ---- owners and waiters ---- */

/* Forks a child that does not outlive a failed test. */
static pid_t fork_bound(void)
{
    pid_t pid = fork();

    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static bool wait_for(volatile atomic_int *flag)
{
    return wait_until(is_set, (void *)(uintptr_t)flag, 60);
}

struct owner {
    const struct end *end;
    int count;
};

static void *own(void *arg)
{
    const struct owner *owner = arg;

    for (int i = 0; i < owner->count; i++) {
        if (mp_lock_acquire(locks[i], MP_FOREVER) != 0)
            _exit(1);
    }
    shared->held = 1;
    wait_for(&shared->go);
    shared->ended = now();
    return owner->end->function(NULL);
}

/* Starts a process that takes the first `count` locks, and ends with them when it is told to. */
static pid_t start_owner(const struct end *end, int count)
{
    struct owner owner = {end, count};
    pthread_t thread;
    pid_t pid = fork_bound();

    if (pid != 0) {
        assert_true(wait_for(&shared->held));
        return pid;
    }
    if (!end->of_thread) {
        own(&owner);
    } else if (create_cancellable(&thread, own, &owner) == 0) {
        pthread_join(thread, NULL);
        for (;;)
            pause();
    }
    _exit(1);
}

/* Starts a process that waits for the first lock. */
static pid_t start_waiter(void)
{
    pid_t pid = fork_bound();

    if (pid != 0) {
        assert_true(wait_for(&shared->begun));
        return pid;
    }
    shared->begun = 1;
    shared->got = mp_lock_acquire(locks[0], 60);
    shared->told = now();
    _exit(mp_lock_release(locks[0]) == 0 ? 0 : 1);
}

static void reap(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void begin(void)
{
    memset((void *)(uintptr_t)shared, 0, sizeof *shared);
}

/* ---- each way to end ---- */

static void is_told(const struct end *end, double since)
{
    if (shared->got != MP_EOWNERDEAD || shared->told - since > 2)
        fail_msg("%s: the next got \"%s\" after %.3f s", end->name, mp_strerror(shared->got), shared->told - since);
}

static void to_one_who_sleeps(const struct end *end)
{
    int status;

    begin();
    pid_t owner = start_owner(end, 1);
    pid_t waiter = start_waiter();
    assert_true(wait_until(is_asleep, &waiter, 60));
    shared->go = 1;
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_int_equal(status, 0);
    is_told(end, shared->ended);
    reap(owner);
}

static bool is_free(void *arg)
{
    shared->got = mp_lock_acquire(*(mp_lock **)arg, 0);
    return shared->got != MP_ETIMEOUT;
}

/* A caller that only tries may come before the end is complete. */
static void to_one_who_comes_later(const struct end *end, bool tries)
{
    begin();
    pid_t owner = start_owner(end, 1);
    shared->go = 1;
    assert_true(wait_until(is_set, (void *)(uintptr_t)&shared->ended, 60));
    if (tries)
        assert_true(wait_until(is_free, &locks[0], 60));
    else
        shared->got = mp_lock_acquire(locks[0], MP_FOREVER);
    shared->told = now();
    is_told(end, shared->ended);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    assert_int_equal(mp_lock_acquire(locks[0], 0), 0); /* reported only once */
    assert_int_equal(mp_lock_release(locks[0]), 0);
    reap(owner);
}

static void each_end(const char *name)
{
    for (size_t i = 0; i < ENDS; i++) {
        const mp_lock_options options = {name};

        assert_int_equal(mp_lock_create(&locks[0], &options), 0);
        to_one_who_sleeps(&ends[i]);
        to_one_who_comes_later(&ends[i], false);
        to_one_who_comes_later(&ends[i], true);
        assert_int_equal(mp_lock_free(locks[0]), 0);
    }
}

static void of_an_anonymous_lock(void **state)
{
    (void)state;
    each_end(NULL);
}

static void of_a_named_lock(void **state)
{
    char name[64];
    (void)state;

    snprintf(name, sizeof name, "test-ends-%d", (int)getpid());
    each_end(name);
}

/* ---- many locks ---- */

static bool has_ended(void *arg)
{
    siginfo_t info = {.si_pid = 0};

    return waitid(P_PID, (id_t) * (pid_t *)arg, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

static void wait_for_end(const struct end *end, pid_t owner)
{
    if (!end->of_thread && end->function != ends_by_exec)
        assert_true(wait_until(has_ended, &owner, 60));
    else
        assert_true(wait_until(is_set, (void *)(uintptr_t)&shared->ended, 60));
}

static void many(const struct end *end, int count, bool tries)
{
    begin();
    for (int i = 0; i < count; i++)
        assert_int_equal(mp_lock_create(&locks[i], NULL), 0);
    pid_t owner = start_owner(end, count);
    shared->go = 1;
    wait_for_end(end, owner);
    double start = now();
    for (int i = 0; i < count; i++) {
        if (tries)
            assert_true(wait_until(is_free, &locks[i], 20));
        else
            shared->got = mp_lock_acquire(locks[i], 20);
        if (shared->got != MP_EOWNERDEAD)
            fail_msg("%s: lock %d of %d: \"%s\"", end->name, i, count, mp_strerror(shared->got));
        assert_int_equal(mp_lock_release(locks[i]), 0);
    }
    assert_true(now() - start < 10); /* takes a second, except on a busy machine */
    for (int i = 0; i < count; i++)
        assert_int_equal(mp_lock_free(locks[i]), 0);
    reap(owner);
}

/* The locks are held by a thread whose process goes on; by a process that has not been reaped, so that its id is still
 * its own; by a process that goes on as another program. */
static void of_many_locks(void **state)
{
    static const int counts[] = {1, 2000, 2049, MOST};
    (void)state;

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        many(&ends[0], counts[i], i % 2 == 0);
        many(&ends[6], counts[i], i % 2 != 0);
        many(&ends[9], counts[i], i % 2 == 0);
    }
    many(&ends[0], MOST, true);
    many(&ends[6], MOST, true);
    many(&ends[9], MOST, true);
}

/* Locks that the kernel did not release can be freed. */
static void forgotten_ones_are_freed(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < 3000; i++)
        assert_int_equal(mp_lock_create(&locks[i], NULL), 0);
    pid_t owner = start_owner(&ends[6], 3000);
    shared->go = 1;
    wait_for_end(&ends[6], owner);
    reap(owner);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(mp_lock_free(locks[i]), 0);
}

/* A waiter that has slept since long before the end gets a lock that the kernel did not release. */
static void a_sleeper_gets_a_forgotten_one(void **state)
{
    int status;
    (void)state;

    begin();
    for (int i = 0; i < 3000; i++)
        assert_int_equal(mp_lock_create(&locks[i], NULL), 0);
    pid_t owner = start_owner(&ends[6], 3000); /* the first lock is the last in the kernel's list */
    pid_t waiter = start_waiter();
    assert_true(wait_until(is_asleep, &waiter, 60));
    shared->go = 1;
    assert_int_equal(waitpid(waiter, &status, 0), waiter);
    assert_int_equal(status, 0);
    is_told(&ends[6], shared->ended);
    reap(owner);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(mp_lock_free(locks[i]), 0);
}

/* ---- identifying the holder ---- */

static uint32_t word_of(mp_lock *lock)
{
    return robust_mutex_word(&object_of(lock)->mutex);
}

/* Puts the lock into the state of one that the kernel did not release. */
static void forget(mp_lock *lock, uint32_t word, uint64_t mark)
{
#ifdef __GLIBC__
    object_of(lock)->mutex.__data.__lock = (int)word;
#else
    object_of(lock)->mutex.__u.__i[1] = (int)word;
#endif
    atomic_store(&object_of(lock)->holder, mark);
}

static void *note_holder(void *arg)
{
    uint64_t *note = arg;

    if (mp_lock_acquire(locks[0], MP_FOREVER) == 0) {
        note[0] = word_of(locks[0]);
        note[1] = atomic_load(&object_of(locks[0])->holder);
        mp_lock_release(locks[0]);
    }
    return NULL;
}

/* The id of the dead holder now belongs to a thread that began later, in this process or in another. */
static void a_number_that_serves_another(void **state)
{
    uint64_t note[2] = {0, 0};
    pthread_t thread;
    (void)state;

    assert_int_equal(mp_lock_create(&locks[0], NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, note_holder, note), 0);
    pthread_join(thread, NULL);
    assert_int_not_equal(note[0], 0);
    pause_us(50000); /* so that the child begins some clock ticks later */
    pid_t child = fork_bound();
    if (child == 0)
        runs_on(NULL);
    uint64_t low = UINT64_C(0x7ff) << 52; /* see holder.c */
    forget(locks[0], (uint32_t)child, (note[1] & ~low) | ((uint64_t)child << 52 & low));
    assert_int_equal(mp_lock_acquire(locks[0], 20), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    reap(child);
    assert_int_equal(mp_lock_free(locks[0]), 0);
}

/* A holder keeps its lock if it is alive, or if nothing is known about it. */
static void nobody_is_taken_for_dead(void **state)
{
    uint64_t note[2] = {0, 0};
    pthread_t thread;
    (void)state;

    assert_int_equal(mp_lock_create(&locks[0], NULL), 0);
    begin();
    pid_t owner = start_owner(&ends[6], 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mp_lock_acquire(locks[0], i % 2 == 0 ? 0.01 : 0), MP_ETIMEOUT);
    assert_int_equal(mp_lock_free(locks[0]), MP_EBUSY);
    kill(owner, SIGSTOP);
    assert_int_equal(mp_lock_acquire(locks[0], 0.1), MP_ETIMEOUT);
    reap(owner);
    assert_int_equal(mp_lock_acquire(locks[0], 20), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    assert_int_equal(pthread_create(&thread, NULL, note_holder, note), 0);
    pthread_join(thread, NULL);
    uint64_t space = UINT64_C(0x3ffff) << 34;
    const uint64_t marks[] = {0,
                              HOLDER_SUSPECT,
                              HOLDER_UNKNOWN,
                              note[1] & ~space,
                              note[1] ^ (UINT64_C(1) << 40),
                              note[1] ^ (UINT64_C(1) << 52)};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        forget(locks[0], (uint32_t)note[0], marks[i]);
        assert_int_equal(mp_lock_acquire(locks[0], 0), MP_ETIMEOUT);
        assert_int_equal(mp_lock_acquire(locks[0], 0.02), MP_ETIMEOUT);
    }
    forget(locks[0], (uint32_t)note[0], note[1]);
    assert_int_equal(mp_lock_acquire(locks[0], 0), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    assert_int_equal(mp_lock_free(locks[0]), 0);
}

/* ---- two PID namespaces ---- */

static const int cannot = 77;

/* Starts the first process of a new PID namespace: each namespace has a process with that id. */
static pid_t start_first(int (*role)(void))
{
    pid_t outer = fork_bound();

    if (outer != 0)
        return outer;
    if (unshare(CLONE_NEWPID) != 0)
        _exit(cannot);
    pid_t inner = fork_bound();
    if (inner == 0)
        _exit(getpid() == 1 ? role() : 99);
    int status = 0;
    waitpid(inner, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

static int holds(void)
{
    if (mp_lock_acquire(locks[0], 10) != 0)
        return 1;
    shared->held = 1;
    if (!wait_for(&shared->go))
        return 2;
    int error = mp_lock_release(locks[0]);
    return error == 0 ? 0 : 3;
}

static int is_a_stranger(void)
{
    if (mp_lock_release(locks[0]) != MP_ENOTOWNER)
        return 1;
    if (mp_lock_acquire(locks[0], 0) != MP_ETIMEOUT || mp_lock_acquire(locks[0], 0.05) != MP_ETIMEOUT)
        return 2;
    if (mp_lock_free(locks[0]) != MP_EBUSY)
        return 3;
    shared->begun = 1;
    if (mp_lock_acquire(locks[0], 20) != 0)
        return 4;
    if (mp_lock_acquire(locks[0], 0) != MP_EDEADLK)
        return 5;
    return mp_lock_release(locks[0]) == 0 ? 0 : 6;
}

static bool has_begun(void *arg)
{
    return shared->held != 0 || has_ended(arg);
}

static void strangers_of_the_same_number(const mp_lock_options *options)
{
    begin();
    assert_int_equal(mp_lock_create(&locks[0], options), 0);
    pid_t first = start_first(holds);
    assert_true(wait_until(has_begun, &first, 60));
    if (shared->held == 0) {
        int code = end_of(first);

        assert_int_equal(mp_lock_free(locks[0]), 0);
        if (code == cannot)
            skip();
        fail_msg("the first ended with %d", code);
    }
    /* In this namespace the holder's id belongs to another, unrelated live process. */
    assert_int_equal(mp_lock_acquire(locks[0], 0.05), MP_ETIMEOUT);
    pid_t second = start_first(is_a_stranger);
    bool begun = wait_for(&shared->begun);
    shared->go = 1;
    assert_int_equal(end_of(first), 0);
    assert_int_equal(end_of(second), 0);
    assert_true(begun);
    assert_int_equal(mp_lock_free(locks[0]), 0);
}

static void strangers_share_an_anonymous_lock(void **state)
{
    (void)state;
    strangers_of_the_same_number(NULL);
}

static void strangers_share_a_named_lock(void **state)
{
    char name[64];
    const mp_lock_options options = {name};
    (void)state;

    snprintf(name, sizeof name, "test-space-%d", (int)getpid());
    strangers_of_the_same_number(&options);
}

static bool has_begun_to_wait(void *arg)
{
    return shared->begun != 0 || has_ended(arg);
}

static char shared_name[64];

/* The holder's number belongs to no process of this namespace. */
static int opens_what_is_held_outside(void)
{
    mp_lock *opened;

    if (mp_lock_open(&opened, shared_name, NULL) != 0)
        return 1;
    if (mp_lock_acquire(opened, 0) != MP_ETIMEOUT || mp_lock_acquire(opened, 0.02) != MP_ETIMEOUT)
        return 2;
    shared->begun = 1;
    if (mp_lock_acquire(opened, 20) != 0)
        return 3;
    return mp_lock_release(opened) == 0 ? 0 : 4;
}

static void a_lock_held_in_another_namespace_can_be_opened(void **state)
{
    const mp_lock_options options = {shared_name};
    (void)state;

    begin();
    snprintf(shared_name, sizeof shared_name, "test-open-%d", (int)getpid());
    assert_int_equal(mp_lock_create(&locks[0], &options), 0);
    assert_int_equal(mp_lock_acquire(locks[0], 0), 0);
    pid_t opener = start_first(opens_what_is_held_outside);
    wait_until(has_begun_to_wait, &opener, 60);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    int code = end_of(opener);
    assert_int_equal(mp_lock_free(locks[0]), 0);
    if (code == cannot)
        skip();
    assert_int_equal(code, 0);
}

/* ---- how the death of an owner is reported ---- */

static void die_with_it(void)
{
    begin();
    pid_t owner = start_owner(&ends[6], 1);
    shared->go = 1;
    end_of(owner);
}

static void with_does_not_swallow_the_news(void **state)
{
    int status = 1, runs = 0;
    (void)state;

    assert_int_equal(mp_lock_create(&locks[0], NULL), 0);
    die_with_it();
    for (int i = 0; i < 3; i++) {
        MP_WITH_LOCK (locks[0])
            runs++;
    }
    assert_int_equal(runs, 3);
    assert_int_equal(mp_lock_acquire(locks[0], 0), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    assert_int_equal(mp_lock_acquire(locks[0], 0), 0);
    assert_int_equal(mp_lock_release(locks[0]), 0);

    die_with_it();
    MP_WITH_LOCK (locks[0])
        runs++;
    MP_WITH_LOCK_STATUS(locks[0], &status)
    {
        runs++;
        assert_int_equal(status, MP_EOWNERDEAD);
        assert_int_equal(mp_lock_acquire(locks[0], 0), MP_EDEADLK);
    }
    assert_int_equal(runs, 5);
    MP_WITH_LOCK_STATUS(locks[0], &status)
    {
        runs++;
        break;
    }
    assert_int_equal(status, 0);
    assert_int_equal(runs, 6);
    MP_WITH_LOCK_STATUS(NULL, &status)
    runs++;
    assert_int_equal(status, MP_EINVAL);
    assert_int_equal(runs, 6);

    die_with_it();
    MP_WITH_LOCK (locks[0])
        runs++;
    assert_int_equal(mp_lock_free(locks[0]), 0);
    assert_int_equal(mp_lock_create(&locks[0], NULL), 0); /* same place, but the death is not reported */
    assert_int_equal(mp_lock_acquire(locks[0], 0), 0);
    assert_int_equal(mp_lock_release(locks[0]), 0);
    assert_int_equal(mp_lock_free(locks[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_an_anonymous_lock),
        cmocka_unit_test(of_a_named_lock),
        cmocka_unit_test(of_many_locks),
        cmocka_unit_test(forgotten_ones_are_freed),
        cmocka_unit_test(a_sleeper_gets_a_forgotten_one),
        cmocka_unit_test(a_number_that_serves_another),
        cmocka_unit_test(nobody_is_taken_for_dead),
        cmocka_unit_test(strangers_share_an_anonymous_lock),
        cmocka_unit_test(strangers_share_a_named_lock),
        cmocka_unit_test(a_lock_held_in_another_namespace_can_be_opened),
        cmocka_unit_test(with_does_not_swallow_the_news),
    };
    const struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core); /* for the children that abort */
    shared = shared_memory(sizeof *shared);
    /* The heap of this process's locks stays open, with its descriptor. */
    if (mp_lock_create(&locks[0], NULL) != 0 || mp_lock_free(locks[0]) != 0)
        return 1;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
