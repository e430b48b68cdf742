/* Processes in ordinary life: how they end, raw forks, closed descriptors, privileges, output of threads, signal
 * handlers, refused system calls. There is a table for each of these; a new way, situation or call is one line of it.
 *
 * Each case runs in a program of its own, which is this one again (see main()): a "scene" sets things up and ends. The
 * tests observe. They are a "subreaper", so everything that such a program leaves behind becomes their child. Shared
 * memory, backed by a file, shows what the program did. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "refuse.h"
#include "sanitizers.h"
#include "support.h"

#define PATIENCE 30.0
#define PROGRAM "/proc/self/exe"
#define NOBODY 65534

static struct shared {
    atomic_int go;        /* a child that waits may end */
    atomic_int ready;     /* the scene is set */
    atomic_int main_gone; /* the main thread has ended */
    atomic_int go_on;     /* after that: the rest may end */
    atomic_int child, daemon, finished;
    atomic_int lines;
} * shared;
static int shared_file;

/* LeakSanitizer waits for ever for its own helper if getppid() is refused. */
LEAKS_ONLY_IF(getppid() >= 0)

static bool wait_for(atomic_int *flag)
{
    return wait_until(is_set, flag, PATIENCE);
}

static int finish_later(void *arg)
{
    (void)arg;
    MUST(wait_for(&shared->go));
    atomic_store(&shared->finished, 1);
    return 0;
}

static int live(void *arg)
{
    for (;;)
        pause();
    return arg != NULL;
}

static int execute_sleep(void *arg)
{
    (void)arg;
    execlp("sleep", "sleep", "1000", (char *)NULL);
    return 9;
}

static mp_process *start(mp_process_function *function, mp_daemon daemon, atomic_int *pid)
{
    mp_process_options options = {.daemon = daemon};
    mp_process *process;
    pid_t number;

    MUST(mp_process_start(&process, function, NULL, &options) == 0);
    MUST(mp_process_pid(process, &number) == 0);
    atomic_store(pid, (int)number);
    return process;
}

static void in_thread(void *(*function)(void *), bool wait)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, function, NULL) == 0);
    if (wait)
        MUST(pthread_join(thread, NULL) == 0);
    else
        MUST(pthread_detach(thread) == 0);
}

/* ---- what a process has at its end ---- */

static void has_nothing(void)
{
    MUST(mp_process_current() != NULL);
}

static void has_child(void)
{
    start(finish_later, MP_DAEMON_NO, &shared->child);
}

static void has_daemon(void)
{
    start(live, MP_DAEMON_YES, &shared->daemon);
}

static void *start_daemon(void *arg)
{
    has_daemon();
    return arg;
}

static void has_daemon_of_thread(void)
{
    in_thread(start_daemon, true);
}

static bool daemon_executes(void *arg)
{
    char path[64], name[32] = "";
    (void)arg;

    snprintf(path, sizeof path, "/proc/%d/comm", atomic_load(&shared->daemon));
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        MUST(fgets(name, sizeof name, file) != NULL);
        fclose(file);
    }
    return strcmp(name, "sleep\n") == 0;
}

static void has_daemon_that_executes(void)
{
    start(execute_sleep, MP_DAEMON_YES, &shared->daemon);
    MUST(wait_until(daemon_executes, NULL, PATIENCE));
}

static void *start_again_and_again(void *arg)
{
    for (;;) {
        mp_process *process;
        mp_process_options options = {.daemon = MP_DAEMON_YES};

        if (mp_process_start(&process, do_nothing, NULL, &options) == 0 && mp_process_join(process, MP_FOREVER) == 0)
            mp_process_free(process);
        atomic_store(&shared->lines, 1);
    }
    return arg;
}

static void is_starting(void)
{
    in_thread(start_again_and_again, false);
    MUST(wait_for(&shared->lines));
}

static void *join_daemon(void *arg)
{
    mp_process *process;
    size_t count;

    MUST(mp_process_children(&process, 1, &count) == 0 && count == 1);
    atomic_store(&shared->lines, 1);
    mp_process_join(process, MP_FOREVER);
    pause();
    return arg;
}

static void is_joining(void)
{
    has_daemon();
    in_thread(join_daemon, false);
    MUST(wait_for(&shared->lines));
}

static const struct situation {
    const char *name;
    void (*set)(void);
} situations[] = {
    {"idle", has_nothing},
    {"child", has_child},
    {"daemon", has_daemon},
    {"daemon of a thread", has_daemon_of_thread},
    {"daemon that executes", has_daemon_that_executes},
    {"starting", is_starting},
    {"joining", is_joining},
};

/* ---- how it ends ---- */

static int how_ended;

static void return_from_main(void)
{
    how_ended = 3; /* main() returns it */
}

static void call_exit(void)
{
    exit(3);
}

static void exit_again(void)
{
    exit(3);
}

static void exit_in_exit_handler(void)
{
    atexit(exit_again);
    exit(0);
}

static void call_underscore_exit(void)
{
    _exit(3);
}

static void call_quick_exit(void)
{
    quick_exit(3);
}

static void die_by(int number)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    signal(number, SIG_DFL);
    kill(getpid(), number);
    pause();
}

static void call_abort(void)
{
    die_by(SIGABRT);
}

static void be_killed(void)
{
    die_by(SIGKILL);
}

static void be_terminated(void)
{
    die_by(SIGTERM);
}

static void crash(void)
{
    die_by(SIGSEGV);
}

static void execute(void)
{
    execl(PROGRAM, PROGRAM, "exit", (char *)NULL);
}

static void *exit_in_thread(void *arg)
{
    exit(3);
    return arg;
}

static void exit_from_thread(void)
{
    in_thread(exit_in_thread, false);
    pause();
}

static void exit_in_handler(int number)
{
    (void)number;
    exit(3);
}

static void exit_from_handler(void)
{
    signal(SIGALRM, exit_in_handler);
    raise(SIGALRM);
}

/* The thread that is left after the end of the main thread. */
static void *outlive_main_thread(void *arg)
{
    while (process_state(getpid()) != 'Z')
        pause_us(500);
    atomic_store(&shared->main_gone, 1);
    MUST(wait_for(&shared->go_on));
    if (arg != NULL)
        kill(getpid(), SIGKILL);
    return NULL;
}

static void end_main_thread(bool killed_later)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, outlive_main_thread, killed_later ? &thread : NULL) == 0);
    MUST(pthread_detach(thread) == 0);
    pthread_exit(NULL);
}

static void end_last_thread(void)
{
    end_main_thread(false);
}

static void be_killed_without_main_thread(void)
{
    end_main_thread(true);
}

static const struct way {
    const char *name;
    void (*end)(void);
    int status;
    bool normal;      /* exit handlers run, and wait for the children */
    bool main_thread; /* the main thread ends before the others */
    bool threads_stay;
} ways[] = {
    {"return", return_from_main, 3 << 8, true, false, false},
    {"exit", call_exit, 3 << 8, true, false, false},
    {"exit in an exit handler", exit_in_exit_handler, 3 << 8, true, false, false},
    {"exit in a thread", exit_from_thread, 3 << 8, true, false, false},
    {"exit in a signal handler", exit_from_handler, 3 << 8, true, false, false},
    {"_exit", call_underscore_exit, 3 << 8, false, false, false},
    {"quick_exit", call_quick_exit, 3 << 8, false, false, false},
    {"abort", call_abort, SIGABRT, false, false, false},
    {"SIGKILL", be_killed, SIGKILL, false, false, false},
    {"SIGTERM", be_terminated, SIGTERM, false, false, false},
    {"SIGSEGV", crash, SIGSEGV, false, false, false},
    {"exec", execute, 0, false, false, false},
    {"last thread", end_last_thread, 0, true, true, true},
    {"main thread, then SIGKILL", be_killed_without_main_thread, SIGKILL, false, true, false},
};

static void play_end(const char *way, const char *situation)
{
    situations[atoi(situation)].set();
    atomic_store(&shared->ready, 1);
    ways[atoi(way)].end();
}

/* ---- the observer ---- */

struct ended {
    pid_t pid;
    int status;
};

static bool has_ended(void *arg)
{
    struct ended *ended = arg;

    return waitpid(ended->pid, &ended->status, WNOHANG) == ended->pid;
}

static pid_t play(const char *scene, const char *first, const char *second)
{
    char file[16];
    char *arguments[] = {(char *)(uintptr_t)PROGRAM, (char *)(uintptr_t)scene,  file,
                         (char *)(uintptr_t)first,   (char *)(uintptr_t)second, NULL};
    pid_t pid;

    memset(shared, 0, sizeof *shared);
    snprintf(file, sizeof file, "%d", shared_file);
    assert_int_equal(posix_spawn(&pid, PROGRAM, NULL, NULL, arguments, environ), 0);
    return pid;
}

static bool come_out(pid_t pid, int *status)
{
    struct ended ended = {.pid = pid};
    bool in_time = wait_until(has_ended, &ended, PATIENCE);

    if (!in_time) {
        kill(pid, SIGKILL);
        waitpid(pid, &ended.status, 0);
    }
    *status = ended.status;
    return in_time;
}

static void assert_plays(const char *scene, const char *first, const char *second)
{
    int status;
    bool in_time = come_out(play(scene, first, second), &status);

    if (!in_time || status != 0)
        fprintf(stderr, "%s %s %s: %s, status %#x\n", scene, first, second, in_time ? "ended" : "hangs",
                (unsigned)status);
    assert_true(in_time);
    assert_int_equal(status, 0);
    assert_true(wait_until(nobody_left, NULL, PATIENCE));
}

static bool lives(atomic_int *pid)
{
    return atomic_load(pid) == 0 || !process_ended(atomic_load(pid));
}

/* Returns whether everything went as expected. */
static bool observe(const struct way *way, const struct situation *situation, pid_t pid)
{
    bool child = situation->set == has_child;
    int status = -1;

    if (!wait_for(&shared->ready))
        return false;
    if (way->main_thread) {
        if (!wait_for(&shared->main_gone))
            return false;
        pause_us(30000); /* time for a death signal to arrive */
        bool living = lives(&shared->daemon) && lives(&shared->child);
        atomic_store(&shared->go_on, 1);
        if (!living)
            return false;
    }
    if (child && way->normal) {
        pause_us(30000);
        if (waitpid(pid, &status, WNOHANG) != 0)
            return false; /* it did not wait */
        atomic_store(&shared->go, 1);
    }
    bool right = come_out(pid, &status) && status == way->status;
    if (child && way->normal)
        right = right && atomic_load(&shared->finished) == 1;
    atomic_store(&shared->go, 1);
    return wait_until(nobody_left, NULL, PATIENCE) && right;
}

static void nobody_is_left_whatever_the_end(void **state)
{
    int wrong = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(ways); i++) {
        for (size_t j = 0; j < COUNT(situations); j++) {
            char way[8], situation[8];

            if (TSAN && ways[i].threads_stay)
                continue; /* TSan's own thread outlives all others */
            /* With threads that run for ever the process does not end. */
            if (ways[i].threads_stay && (situations[j].set == is_starting || situations[j].set == is_joining))
                continue;
            snprintf(way, sizeof way, "%zu", i);
            snprintf(situation, sizeof situation, "%zu", j);
            pid_t pid = play("end", way, situation);
            if (observe(&ways[i], &situations[j], pid))
                continue;
            fprintf(stderr, "wrong: %s, %s\n", ways[i].name, situations[j].name);
            wrong++;
            kill(pid, SIGKILL);
            wait_until(nobody_left, NULL, PATIENCE);
        }
    }
    assert_int_equal(wrong, 0);
}

/* ---- signal handlers that fork or exit at any place ---- */

static void every(long microseconds)
{
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

static void play_exit_in_handler(const char *microseconds, const char *daemons)
{
    mp_process_options options = {.daemon = *daemons == 'y' ? MP_DAEMON_YES : MP_DAEMON_NO};

    has_daemon();
    signal(SIGALRM, exit_in_handler);
    every(atol(microseconds));
    for (;;) {
        mp_process *process;

        MUST(mp_process_start(&process, do_nothing, NULL, &options) == 0);
        MUST(mp_process_join(process, MP_FOREVER) == 0);
        MUST(mp_process_free(process) == 0);
    }
}

static void exit_in_a_handler_ends(void **state)
{
    (void)state;
    if (TSAN)
        skip(); /* TSan runs a handler late, at the end of a call, even if all signals are blocked by then */
    for (int i = 0; i < 60; i++) {
        char microseconds[16];
        int status;

        snprintf(microseconds, sizeof microseconds, "%d", 2000 + i * 37);
        assert_true(come_out(play("exit_in_handler", microseconds, i % 2 == 0 ? "y" : "n"), &status));
        assert_int_equal(status, 3 << 8);
        assert_true(wait_until(nobody_left, NULL, PATIENCE));
    }
}

static atomic_int forks;

static void fork_in_handler(int number)
{
    (void)number;
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    atomic_fetch_add(&forks, pid > 0);
}

static void play_fork_in_handler(void)
{
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART},
                     child = {.sa_flags = SA_NOCLDWAIT};

    child.sa_handler = SIG_DFL; /* the system reaps the handler's children; our own children then have no exit code */
    sigaction(SIGCHLD, &child, NULL);
    sigaction(SIGALRM, &action, NULL);
    every(1500);
    for (double end = now() + 0.5; now() < end;) {
        mp_process *process;

        MUST(mp_process_start(&process, do_nothing, NULL, NULL) == 0);
        MUST(mp_process_join(process, MP_FOREVER) == 0);
        MUST(mp_process_free(process) == 0);
    }
    every(0);
    MUST(atomic_load(&forks) > 0);
}

static void fork_in_a_handler_goes_on(void **state)
{
    (void)state;
    if (TSAN)
        skip(); /* TSan does not support it */
    assert_plays("fork_in_handler", NULL, NULL);
}

/* ---- forks without the C library's handlers ---- */

static pid_t fork_by_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

#ifdef SYS_fork
static pid_t fork_by_number(void)
{
    return (pid_t)syscall(SYS_fork);
}
#endif

static const struct {
    const char *name;
    pid_t (*fork)(void);
} raw_forks[] = {
    {"clone", fork_by_clone},
#ifdef SYS_fork
    {"SYS_fork", fork_by_number},
#endif
#if defined __GLIBC__ && __GLIBC_PREREQ(2, 34)
    {"_Fork", _Fork},
#endif
};

static void call_as_stranger(void)
{
    mp_process *list[2], *own;
    size_t count;
    pid_t pid;
    int code;

    MUST(mp_process_pid(mp_process_current(), &pid) == 0 && pid == (pid_t)syscall(SYS_getpid));
    MUST(mp_process_parent() == NULL);
    MUST(mp_process_children(list, 2, &count) == 0 && count == 0);
    MUST(mp_process_start(&own, do_nothing, NULL, NULL) == 0 && mp_process_join(own, PATIENCE) == 0);
    MUST(mp_process_exitcode(own, &code) == 0 && code == 0);
    has_daemon(); /* the daemon ends with this process */
    exit(0);
}

static const struct {
    const char *name;
    void (*act)(void);
    int status;
} strangers[] = {
    {"exit", call_exit, 3 << 8},
    {"_exit", call_underscore_exit, 3 << 8},
    {"calls", call_as_stranger, 0},
};

static mp_process *parents;

static void be_refused(void)
{
    int code;

    MUST(mp_process_join(parents, 0) == MP_EFOREIGN);
    MUST(mp_process_exitcode(parents, &code) == MP_EFOREIGN);
    MUST(mp_process_kill(parents) == MP_EFOREIGN);
    MUST(mp_process_free(parents) == MP_EFOREIGN);
    exit(3);
}

static void fork_raw(pid_t (*raw)(void), void (*act)(void), int expected)
{
    int status;
    pid_t pid = raw();

    if (pid == 0) {
        act();
        _exit(98);
    }
    MUST(pid > 0);
    MUST(come_out(pid, &status));
    MUST(status == expected);
}

static void play_raw_fork(const char *raw, const char *act)
{
    mp_process *child;
    atomic_int pid;
    bool alive;
    int code;

    child = start(finish_later, MP_DAEMON_NO, &pid);
    parents = start(live, MP_DAEMON_YES, &pid);
    fork_raw(raw_forks[atoi(raw)].fork, strangers[atoi(act)].act, strangers[atoi(act)].status);
    fork_raw(raw_forks[atoi(raw)].fork, be_refused, 3 << 8);
    MUST(mp_process_join(parents, 0.02) == MP_ETIMEOUT);
    MUST(mp_process_is_alive(parents, &alive) == 0 && alive);
    MUST(mp_process_is_alive(child, &alive) == 0 && alive);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(child, PATIENCE) == 0);
    MUST(mp_process_exitcode(child, &code) == 0 && code == 0);
}

static void raw_forks_touch_nothing_of_the_parents(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(raw_forks); i++) {
        for (size_t j = 0; j < COUNT(strangers); j++) {
            char raw[8], act[8];

            snprintf(raw, sizeof raw, "%zu", i);
            snprintf(act, sizeof act, "%zu", j);
            assert_plays("raw_fork", raw, act);
        }
    }
}

static int exit_as_child(void *arg)
{
    exit(arg == NULL ? 3 : 4);
}

/* The child shares its parent's memory, like a child of vfork(). So what the C library records about the child's exit
 * is recorded for the parent, too. */
static void play_shared_memory(void)
{
    static _Alignas(64) char stack[256 * 1024];
    bool alive;
    int status;

    has_daemon_of_thread();
    parents = start(live, MP_DAEMON_YES, &shared->child);
    pid_t pid = clone(exit_as_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    MUST(pid > 0 && come_out(pid, &status) && status == 3 << 8);
    MUST(mp_process_join(parents, 0.02) == MP_ETIMEOUT);
    MUST(mp_process_is_alive(parents, &alive) == 0 && alive);
    MUST(kill(atomic_load(&shared->daemon), 0) == 0);
}

static void a_child_that_shares_memory_may_exit(void **state)
{
    (void)state;
    assert_plays("shared_memory", NULL, NULL);
}

/* ---- privileges ---- */

static bool change_group(void)
{
    return setgid(NOBODY) == 0;
}

static bool change_user(void)
{
    return setgid(NOBODY) == 0 && setuid(NOBODY) == 0;
}

static bool change_for_a_while(void)
{
    return setegid(NOBODY) == 0 && seteuid(NOBODY) == 0;
}

static bool change_nothing(void)
{
    return true;
}

static bool (*const changes[])(void) = {change_nothing, change_group, change_user, change_for_a_while};
static const char *change;

static int live_as_another(void *arg)
{
    MUST(changes[atoi(change)]());
    atomic_store(&shared->lines, 1);
    return live(arg);
}

static int execute_as_another(void *arg)
{
    MUST(changes[atoi(change)]());
    atomic_store(&shared->lines, 1);
    return execute_sleep(arg);
}

static mp_process_function *daemons_function;

static void *start_another(void *arg)
{
    start(daemons_function, MP_DAEMON_YES, &shared->daemon);
    return arg;
}

/* `how` has three letters: who starts the daemon (main thread, thread), what the daemon does then (lives, executes),
 * and how the parent ends (killed, by exit, by exit as another user). */
static void play_privileges(const char *which, const char *how)
{
    change = which;
    daemons_function = how[1] == 'e' ? execute_as_another : live_as_another;
    if (how[0] == 'm')
        start_another(NULL);
    else
        in_thread(start_another, true);
    MUST(wait_for(&shared->lines));
    if (how[1] == 'e')
        MUST(wait_until(daemon_executes, NULL, PATIENCE));
    atomic_store(&shared->ready, 1);
    if (how[2] == 'k')
        kill(getpid(), SIGKILL);
    if (how[2] == 'o')
        MUST(change_user());
    exit(0);
}

static void daemons_of_other_users_end_with_their_parent(void **state)
{
    const char *hows[] = {"mlk", "mle", "mlo", "mek", "mee", "meo", "tlk", "tle", "tlo", "tek", "tee", "teo"};
    (void)state;

    if (geteuid() != 0)
        skip();
    for (size_t i = 0; i < COUNT(changes); i++) {
        for (size_t j = 0; j < COUNT(hows); j++) {
            char which[8];
            int status;

            snprintf(which, sizeof which, "%zu", i);
            assert_true(come_out(play("privileges", which, hows[j]), &status));
            assert_int_equal(status, hows[j][2] == 'k' ? SIGKILL : 0);
            assert_true(atomic_load(&shared->ready) == 1);
            if (!wait_until(nobody_left, NULL, 10)) {
                fprintf(stderr, "left: change %zu, %s\n", i, hows[j]);
                kill(atomic_load(&shared->daemon), SIGKILL);
                wait_until(nobody_left, NULL, PATIENCE);
                fail();
            }
        }
    }
}

/* ---- descriptors ---- */

/* A standard descriptor that the program has closed stays closed: printing to it has to fail. */
static void print_into_closed(int subset)
{
    for (int fd = 0; fd < 3; fd++) {
        if (subset & (1 << fd))
            MUST(write(fd, "x", 1) < 0 && errno == EBADF);
    }
}

static void play_closed(const char *subset, const char *how)
{
    mp_process *child, *daemon = NULL;
    size_t count;
    int code;
    bool alive;

    for (int fd = 0; fd < 3; fd++) {
        if (atoi(subset) & (1 << fd))
            close(fd);
    }
    if (how[0] == 'm')
        has_daemon();
    else
        has_daemon_of_thread();
    MUST(mp_process_children(&daemon, 1, &count) == 0 && count == 1);
    child = start(finish_later, MP_DAEMON_NO, &shared->child);
    MUST(mp_process_join(child, 0.01) == MP_ETIMEOUT);
    print_into_closed(atoi(subset));
    MUST(mp_process_is_alive(daemon, &alive) == 0 && alive);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(child, PATIENCE) == 0 && mp_process_exitcode(child, &code) == 0 && code == 0);
    MUST(mp_process_join(daemon, 0.02) == MP_ETIMEOUT);
    print_into_closed(atoi(subset));
}

static void standard_descriptors_may_be_closed(void **state)
{
    (void)state;
    for (int subset = 0; subset < 8; subset++) {
        char which[8];

        snprintf(which, sizeof which, "%d", subset);
        assert_plays("closed", which, "main");
        assert_plays("closed", which, "thread");
    }
}

/* The program closes all descriptors and opens files of its own. */
static void play_reused(void)
{
    enum { MANY = 40 };
    mp_process *daemon, *child, *list[2];
    size_t count;

    has_daemon_of_thread();
    MUST(mp_process_children(&daemon, 1, &count) == 0 && count == 1);
    child = start(finish_later, MP_DAEMON_NO, &shared->child);
    for (int fd = 3; fd < MANY; fd++)
        close(fd);
    for (int i = 3; i < MANY; i++)
        MUST(open("/dev/null", O_RDWR) >= 3);
    MUST(mp_process_join(daemon, PATIENCE) == 0); /* its lifeline was released */
    MUST(mp_process_free(daemon) == 0);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(child, PATIENCE) == 0 && mp_process_free(child) == 0);
    MUST(mp_process_children(list, 2, &count) == 0 && count == 0);
    for (int fd = 3; fd < MANY; fd++)
        MUST(fcntl(fd, F_GETFD) >= 0);
}

static void no_file_of_the_programs_is_closed(void **state)
{
    (void)state;
    assert_plays("reused", NULL, NULL);
}

/* A daemon has no more descriptors than an ordinary child, and neither do programs that it executes. */
static int count_own(void *arg)
{
    (void)arg;
    atomic_store(&shared->lines, count_descriptors());
    atomic_store(&shared->ready, 1);
    return live(NULL);
}

static void play_descriptors(void)
{
    int before = count_descriptors();
    mp_process *process = start(count_own, MP_DAEMON_YES, &shared->daemon);

    MUST(wait_for(&shared->ready));
    MUST(atomic_load(&shared->lines) == before);
    MUST(mp_process_kill(process) == 0 && mp_process_join(process, PATIENCE) == 0);
    MUST(count_descriptors() == before);
}

static void daemons_have_no_descriptor_for_their_lifeline(void **state)
{
    (void)state;
    assert_plays("descriptors", NULL, NULL);
}

/* ---- output ---- */

static atomic_bool enough;
static long printed[2];

static void *print_lines(void *arg)
{
    int who = arg == NULL ? 0 : 1;

    for (; !atomic_load(&enough); printed[who]++) {
        printf("line %d %ld\n", who, printed[who]);
        if (printed[who] % 32 == 0)
            pause_us(1);
    }
    return NULL;
}

static int print_once(void *arg)
{
    printf("child %d\n", *(int *)arg);
    return 0;
}

#define PRINTING_CHILDREN 100

/* Returns the number of correct lines. Each line must appear once. */
static long count_lines(FILE *file)
{
    char *seen[2] = {calloc((size_t)printed[0] + 1, 1), calloc((size_t)printed[1] + 1, 1)};
    char line[100], end;
    long right = 0, number;
    int who;

    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "line %d %ld%c", &who, &number, &end) == 3) {
            MUST(end == '\n' && who >= 0 && who < 2 && number < printed[who] && !seen[who][number]);
            seen[who][number] = 1;
        } else {
            MUST(sscanf(line, "child %ld%c", &number, &end) == 2 && end == '\n');
        }
        right++;
    }
    free(seen[0]);
    free(seen[1]);
    return right;
}

/* With a full buffer, a line of the parent may be written in two parts. So the children print only if it writes whole
 * lines. */
static void play_lines(const char *buffer, const char *unused)
{
    static char
        memory[4096]; /* stdio need not allocate: ASan's allocator does not support a fork beside other threads */
    bool full = *buffer == 'f';
    char path[] = "/tmp/libmp-lines-XXXXXX";
    int fd = mkstemp(path), mark;
    pthread_t threads[2];
    (void)unused;

    setvbuf(stdout, memory, full ? _IOFBF : _IOLBF, sizeof memory);
    MUST(fd >= 0 && dup2(fd, 1) == 1);
    MUST(pthread_create(&threads[0], NULL, print_lines, NULL) == 0);
    MUST(pthread_create(&threads[1], NULL, print_lines, &mark) == 0);
    for (int i = 0; i < PRINTING_CHILDREN; i++) {
        mp_process *process;

        MUST(mp_process_start(&process, full ? do_nothing : print_once, &i, NULL) == 0);
        MUST(mp_process_join(process, MP_FOREVER) == 0 && mp_process_free(process) == 0);
    }
    atomic_store(&enough, true);
    MUST(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    fflush(stdout);
    FILE *file = fopen(path, "re");
    unlink(path);
    MUST(file != NULL);
    MUST(count_lines(file) == printed[0] + printed[1] + (full ? 0 : PRINTING_CHILDREN));
    fclose(file);
}

static void lines_of_threads_appear_once(void **state)
{
    (void)state;
    assert_plays("lines", "full", NULL);
    assert_plays("lines", "whole", NULL);
}

static void *hold_stdout(void *arg)
{
    flockfile(stdout);
    printf("held");
    atomic_store(&shared->lines, 1);
    MUST(wait_for(&shared->go_on));
    funlockfile(stdout);
    return arg;
}

/* A thread that holds stdout for a long time does not delay a start. */
static void play_held(void)
{
    pthread_t thread;
    mp_process *process;

    MUST(freopen("/dev/null", "w", stdout) != NULL);
    MUST(pthread_create(&thread, NULL, hold_stdout, NULL) == 0);
    MUST(wait_for(&shared->lines));
    MUST(mp_process_start(&process, do_nothing, NULL, NULL) == 0);
    MUST(mp_process_join(process, PATIENCE / 2) == 0);
    atomic_store(&shared->go_on, 1);
    MUST(pthread_join(thread, NULL) == 0);
    flockfile(stdout); /* held by the starting thread itself */
    printf("held");
    MUST(mp_process_start(&process, print_once, &(int){1}, NULL) == 0);
    MUST(mp_process_join(process, PATIENCE / 2) == 0);
    funlockfile(stdout);
}

static void a_stream_held_holds_up_no_start(void **state)
{
    (void)state;
    assert_plays("held", NULL, NULL);
}

/* ---- refused calls ---- */

static const struct {
    const char *name;
    int number;
} calls[] = {
    {"pidfd_open", SYS_pidfd_open},
    {"waitid", SYS_waitid},
    {"socketpair", SYS_socketpair},
    {"madvise", SYS_madvise},
    {"prctl", SYS_prctl},
    {"ppoll", SYS_ppoll},
    {"kill", SYS_kill},
    {"getppid", SYS_getppid},
};

static void *start_and_stop_daemon(void *arg)
{
    mp_process_options options = {.daemon = MP_DAEMON_YES};
    mp_process *process = NULL;
    int error = mp_process_start(&process, live, NULL, &options), code;

    if (error != 0) {
        MUST(error == MP_ESYSTEM && process == NULL && arg == NULL);
        return NULL;
    }
    MUST(mp_process_join(process, 0.02) == MP_ETIMEOUT);
    MUST(mp_process_kill(process) == 0 && mp_process_join(process, PATIENCE) == 0);
    MUST(mp_process_exitcode(process, &code) == 0 && code == -SIGKILL);
    MUST(mp_process_free(process) == 0);
    return NULL;
}

static void play_refused(const char *call, const char *error)
{
    int before = count_descriptors(), code;
    mp_process *process;

    if (refuse_call(calls[atoi(call)].number, atoi(error)) != 0)
        return;
    process = start(finish_later, MP_DAEMON_NO, &shared->child);
    MUST(mp_process_join(process, 0.02) == MP_ETIMEOUT);
    MUST(mp_process_exitcode(process, &code) == 0 && code == MP_EXITCODE_NONE);
    atomic_store(&shared->go, 1);
    MUST(mp_process_join(process, MP_FOREVER) == 0);
    MUST(mp_process_exitcode(process, &code) == 0 && code == 0);
    MUST(mp_process_free(process) == 0);
    start_and_stop_daemon(&code);
    in_thread(start_and_stop_daemon, true);
    MUST(count_descriptors() == before);
    has_daemon(); /* a daemon, for the end of this process */
}

/* A daemon without a lifeline that cannot be sent a signal: the end of this process does not wait for it. */
static void play_unkillable(const char *unused, const char *error)
{
    (void)unused;
    if (refuse_call(SYS_socketpair, EPERM) == 0 && refuse_call(SYS_kill, atoi(error)) == 0)
        has_daemon();
}

static void refused_calls_are_done_without(void **state)
{
    const int errors[] = {ENOSYS, EPERM};
    (void)state;

    for (size_t i = 0; i < COUNT(calls); i++) {
        for (size_t j = 0; j < COUNT(errors); j++) {
            char call[8], error[8];

            snprintf(call, sizeof call, "%zu", i);
            snprintf(error, sizeof error, "%d", errors[j]);
            assert_plays("refused", call, error);
            if (i == 0)
                assert_plays("unkillable", call, error);
        }
    }
}

/* ---- cancellation ---- */

static mp_process *one; /* a daemon that lives */

static void call_start(void)
{
    mp_process *process;

    MUST(mp_process_start(&process, do_nothing, NULL, NULL) == 0);
}

static void call_join(void)
{
    MUST(mp_process_join(one, 0.01) == MP_ETIMEOUT);
}

static void call_join_for_ever(void)
{
    mp_process *process;

    MUST(mp_process_start(&process, do_nothing, NULL, NULL) == 0);
    MUST(mp_process_join(process, MP_FOREVER) == 0 && mp_process_free(process) == 0);
}

static void call_free(void)
{
    MUST(mp_process_free(one) == MP_EBUSY);
}

static void call_questions(void)
{
    bool flag;
    int code;
    pid_t pid;
    size_t count;

    MUST(mp_process_is_alive(one, &flag) == 0 && mp_process_exitcode(one, &code) == 0);
    MUST(mp_process_pid(one, &pid) == 0 && mp_process_is_daemon(one, &flag) == 0);
    MUST(mp_process_children(NULL, 0, &count) == 0 && *mp_process_name(one) != '\0');
    MUST(mp_process_current() != NULL && mp_process_parent() == NULL);
}

static void call_interrupt(void)
{
    MUST(mp_process_interrupt(one) == 0 && mp_process_terminate(one) == 0 && mp_process_kill(one) == 0);
}

static void (*const cancelled[])(void) = {call_start, call_join,      call_join_for_ever,
                                          call_free,  call_questions, call_interrupt};

static void *call_with_cancellation_pending(void *arg)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pause_us(30000); /* so that cached answers about pids are outdated */
    printf("something to flush");
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    cancelled[*(size_t *)arg]();
    atomic_fetch_add(&shared->lines, 1);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return arg;
}

static void play_cancelled(void)
{
    MUST(freopen("/dev/null", "w", stdout) != NULL);
    one = start(live, MP_DAEMON_YES, &shared->daemon);
    for (size_t i = 0; i < COUNT(cancelled); i++) {
        pthread_t thread;
        void *result;
        size_t count;

        MUST(create_cancellable(&thread, call_with_cancellation_pending, &i) == 0);
        MUST(pthread_join(thread, &result) == 0 && result == &i);
        MUST(atomic_load(&shared->lines) == (int)i + 1);
        MUST(mp_process_children(NULL, 0, &count) == 0); /* no lock is still held */
    }
}

static void no_call_is_a_cancellation_point(void **state)
{
    (void)state;
    assert_plays("cancelled", NULL, NULL);
}

/* ---- */

static const struct scene {
    const char *name;
    void (*play)(const char *, const char *);
    void (*play_alone)(void);
} scenes[] = {
    {"end", play_end, NULL},
    {"exit_in_handler", play_exit_in_handler, NULL},
    {"fork_in_handler", NULL, play_fork_in_handler},
    {"raw_fork", play_raw_fork, NULL},
    {"shared_memory", NULL, play_shared_memory},
    {"privileges", play_privileges, NULL},
    {"closed", play_closed, NULL},
    {"reused", NULL, play_reused},
    {"descriptors", NULL, play_descriptors},
    {"lines", play_lines, NULL},
    {"held", NULL, play_held},
    {"refused", play_refused, NULL},
    {"unkillable", play_unkillable, NULL},
    {"cancelled", NULL, play_cancelled},
};

/* The descriptor of the shared file must not be one that a scene closes or counts. */
static bool open_shared(int file)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return shared != MAP_FAILED;
}

static int act(char **arguments)
{
    if (strcmp(arguments[0], "exit") == 0)
        return 0;
    int file = atoi(arguments[1]);
    if (!open_shared(file))
        return 97;
    close(file);
    for (size_t i = 0; i < COUNT(scenes); i++) {
        if (strcmp(arguments[0], scenes[i].name) != 0)
            continue;
        if (scenes[i].play != NULL)
            scenes[i].play(arguments[2], arguments[3]);
        else
            scenes[i].play_alone();
    }
    return how_ended;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_left_whatever_the_end),
        cmocka_unit_test(exit_in_a_handler_ends),
        cmocka_unit_test(fork_in_a_handler_goes_on),
        cmocka_unit_test(raw_forks_touch_nothing_of_the_parents),
        cmocka_unit_test(a_child_that_shares_memory_may_exit),
        cmocka_unit_test(daemons_of_other_users_end_with_their_parent),
        cmocka_unit_test(standard_descriptors_may_be_closed),
        cmocka_unit_test(no_file_of_the_programs_is_closed),
        cmocka_unit_test(daemons_have_no_descriptor_for_their_lifeline),
        cmocka_unit_test(lines_of_threads_appear_once),
        cmocka_unit_test(a_stream_held_holds_up_no_start),
        cmocka_unit_test(refused_calls_are_done_without),
        cmocka_unit_test(no_call_is_a_cancellation_point),
    };

    if (argc > 1)
        return act(argv + 1);
    shared_file = memfd_create("test", 0);
    if (shared_file < 0 || ftruncate(shared_file, sizeof *shared) != 0 || !open_shared(shared_file))
        return 1;
    setenv("TSAN_OPTIONS", "report_signal_unsafe=0", 0); /* the tests fork and exit in handlers on purpose */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
