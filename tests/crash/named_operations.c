/* Named objects: made, opened, closed and removed by processes that are killed before and after each of their system
 * calls. (Others see these steps only through the file system.) The next process finds a complete object or none, and
 * never a name that cannot be used. After the last process nothing is left. */
#include <mp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "killer.h"
#include "tracer.h"

#define SECONDS 60
#define CONTENT 42

static char name[64], path[200];
static mp_manager *manager;
static mp_lock *lock;

enum { BROKEN = 1, NOT_OPENED, NOT_REFUSED, NOT_MADE, NOT_CLOSED, LEFT, HUNG };

static const char *const problems[] = {
    [BROKEN] = "what was opened is not whole",
    [NOT_OPENED] = "it is there, and cannot be opened; or it is not there, and that is not what open says",
    [NOT_REFUSED] = "somebody has it open, and another one could be made",
    [NOT_MADE] = "it cannot be made, though nobody has it",
    [NOT_CLOSED] = "it cannot be closed",
    [LEFT] = "the name is left in the file system though nobody has it open",
    [HUNG] = "somebody hangs",
};

static void must(int error)
{
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", name, mp_strerror(error));
        abort();
    }
}

/* ---- steps ---- */

static void make_manager(void)
{
    mp_dict *root;

    must(mp_manager_create(&manager, &(mp_manager_options){.name = name}));
    must(mp_manager_root(manager, &root));
    must(mp_dict_set_int(root, "content", CONTENT));
}

static void create_manager(void)
{
    must(mp_manager_create(&manager, &(mp_manager_options){.name = name}));
}

static void open_manager(void)
{
    must(mp_manager_open(&manager, name, NULL));
}

static void open_no_manager(void)
{
    if (mp_manager_open(&manager, name, NULL) != MP_ENOENT)
        abort();
}

static void close_manager(void)
{
    must(mp_manager_free(manager));
}

static void end(void)
{
    exit(0);
}

static void create_lock(void)
{
    must(mp_lock_create(&lock, &(mp_lock_options){.name = name}));
}

static void open_lock(void)
{
    must(mp_lock_open(&lock, name, NULL));
}

static void close_lock(void)
{
    must(mp_lock_free(lock));
}

static void unlink_lock(void)
{
    must(mp_lock_unlink(name));
}

/* ---- the processes that come after ---- */

static bool is_whole(void)
{
    mp_dict *root;
    int64_t content = 0;

    return mp_manager_root(manager, &root) == 0 && mp_dict_get_int(root, "content", &content) == 0 &&
           content == CONTENT && mp_manager_check(manager) == 0;
}

static int check_manager(bool held)
{
    int error = mp_manager_open(&manager, name, NULL);

    if (error != (held ? 0 : MP_ENOENT))
        return NOT_OPENED;
    if (held && !is_whole())
        return BROKEN;
    if (held && mp_manager_create(&manager, &(mp_manager_options){.name = name}) != MP_EEXIST)
        return NOT_REFUSED;
    if (!held) {
        if (mp_manager_create(&manager, &(mp_manager_options){.name = name}) != 0)
            return NOT_MADE;
        close_manager();
        make_manager();
        if (!is_whole())
            return BROKEN;
    }
    return mp_manager_free(manager) == 0 ? 0 : NOT_CLOSED;
}

static int check_lock(bool held)
{
    mp_lock *another;
    int error = mp_lock_create(&lock, &(mp_lock_options){.name = name});

    if (error != (held ? MP_EEXIST : 0))
        return held ? NOT_REFUSED : NOT_MADE;
    if (mp_lock_open(&another, name, NULL) != 0)
        return NOT_OPENED;
    error = mp_lock_acquire(another, 10);
    if ((error != 0 && error != MP_EOWNERDEAD) || mp_lock_release(another) != 0)
        return BROKEN;
    if (mp_lock_free(another) != 0 || (!held && mp_lock_free(lock) != 0))
        return NOT_CLOSED;
    return 0;
}

/* The name may be gone while a process still has the object open: then it is free for others. */
static int check_unlinked(bool held)
{
    (void)held;
    return check_lock(access(path, F_OK) == 0);
}

/* ---- scenes ---- */

/* What is there before the operation, and which check follows. */
struct scene {
    void (*holder)(void); /* run by a process that lives on meanwhile */
    void (*stale)(void);  /* run by a process that is killed directly after */
    void (*before)(void); /* run by the victim itself */
    int (*check)(bool held);
};

static pid_t start(void (*function)(void), bool dies)
{
    int ready[2], status;
    sigset_t set;
    char byte;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    if (pipe(ready) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_BLOCK, &set, NULL);
        function();
        if (dies)
            raise(SIGKILL);
        close(ready[0]);
        close(ready[1]); /* the end of file tells the parent that the function is done */
        sigwaitinfo(&set, NULL);
        exit(0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 0)
        abort();
    close(ready[0]);
    if (dies)
        waitpid(pid, &status, 0);
    return pid;
}

static void end_holder(pid_t holder)
{
    int status;

    kill(holder, SIGUSR1);
    waitpid(holder, &status, 0);
}

static int look(const struct scene *scene, bool held)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(SECONDS);
        _exit(scene->check(held));
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGALRM ? HUNG : BROKEN;
}

/* ---- the run ---- */

/* One run, up to a point. Returns what is wrong then, or 0. */
static int run_once(const struct scene *scene, void (*operate)(void), struct trace *trace, size_t point)
{
    pid_t holder = scene->holder != NULL ? start(scene->holder, false) : 0;

    time_limit(SECONDS);
    if (scene->stale != NULL)
        start(scene->stale, true);
    trace_begin(trace, traced_child(scene->before, operate), NULL);
    trace_run(trace, point);
    trace_kill(trace);
    int problem = look(scene, holder != 0);
    if (holder != 0)
        end_holder(holder);
    /* A dead process may leave the name. It is removed when the next process looks, and that was look(). */
    if (problem == 0 && access(path, F_OK) == 0)
        problem = LEFT;
    unlink(path);
    return problem;
}

static void run_scene(const struct scene *scene, const struct operation *operation, const struct plan *plan,
                      struct tally *tally)
{
    struct trace found = {.record = true};
    int problem = run_once(scene, operation->operate, &found, SIZE_MAX);

    tally->points = found.count;
    if (problem != 0)
        failed(tally, operation, found.count, -1, 0, problems[problem]);
    for (size_t i = 0; i < found.count && i < plan->points && tally->failures < 5; i++) {
        struct trace trace = {0};
        size_t point = plan->point >= 0 ? (size_t)plan->point : chosen(i, plan->points, found.count);

        if (point >= found.count)
            break;
        problem = run_once(scene, operation->operate, &trace, point);
        trace_free(&trace);
        tally->killed++;
        if (problem != 0)
            failed(tally, operation, point, -1, found.point[point].pc, problems[problem]);
        if (plan->point >= 0)
            break;
    }
    trace_free(&found);
    time_limit(0);
}

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    snprintf(name, sizeof name, "crash-killer-%d", (int)getpid());
    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), name);
    run_scene(operation->scene, operation, plan, tally);
}

#define SCENE(...) (&(const struct scene){__VA_ARGS__})

/* SCENE: who holds the object meanwhile, who has died with it before, what the victim has done before, which check
 * follows. */
static const struct operation operations[] = {
    {"named.manager_create", NULL, create_manager, NULL, SCENE(NULL, NULL, NULL, check_manager)},
    {"named.manager_create_over_stale", NULL, create_manager, NULL, SCENE(NULL, make_manager, NULL, check_manager)},
    {"named.manager_open", NULL, open_manager, NULL, SCENE(make_manager, NULL, NULL, check_manager)},
    {"named.manager_open_stale", NULL, open_no_manager, NULL, SCENE(NULL, make_manager, NULL, check_manager)},
    {"named.manager_close_last", NULL, close_manager, NULL, SCENE(NULL, NULL, make_manager, check_manager)},
    {"named.manager_close_other", NULL, close_manager, NULL, SCENE(make_manager, NULL, open_manager, check_manager)},
    {"named.manager_end_of_last", NULL, end, NULL, SCENE(NULL, NULL, make_manager, check_manager)},
    {"named.lock_create", NULL, create_lock, NULL, SCENE(NULL, NULL, NULL, check_lock)},
    {"named.lock_open_new", NULL, open_lock, NULL, SCENE(NULL, NULL, NULL, check_lock)},
    {"named.lock_open_stale", NULL, open_lock, NULL, SCENE(NULL, create_lock, NULL, check_lock)},
    {"named.lock_open", NULL, open_lock, NULL, SCENE(create_lock, NULL, NULL, check_lock)},
    {"named.lock_close_last", NULL, close_lock, NULL, SCENE(NULL, NULL, create_lock, check_lock)},
    {"named.lock_close_other", NULL, close_lock, NULL, SCENE(create_lock, NULL, open_lock, check_lock)},
    {"named.lock_unlink", NULL, unlink_lock, NULL, SCENE(create_lock, NULL, NULL, check_unlinked)},
};

const struct family named_family = {operations, sizeof operations / sizeof *operations, run};
