/* Each way for a process to end, while it does nothing with named objects, holds locks, or has a thread at work in a
 * dict. Other processes that have the objects open go on at once, and are told about locks that were held. After the
 * last process nothing is left, unless it ended badly: then names are left, which disturb no other process. */
#include <errno.h>
#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "support.h"

LEAKS_OF(LEAKS_OF_CMOCKA)

#define LOCKS 3
#define SOON 10 /* seconds; anything that takes longer will never come */

/* All named objects of a test. */
static struct {
    char text[64], path[120];
} names[1 + LOCKS];
static mp_manager *manager;
static mp_dict *root;
static mp_lock *lock[LOCKS];
static int told[2];

static void name_objects(void)
{
    static int number;

    number++;
    for (int i = 0; i <= LOCKS; i++) {
        snprintf(names[i].text, sizeof names[i].text, "test-ends-%d-%d-%d", number, i, (int)getpid());
        snprintf(names[i].path, sizeof names[i].path, "/dev/shm/libmp-%lu-%.63s", (unsigned long)geteuid(),
                 names[i].text);
    }
}

static bool make_all(void)
{
    bool made;

    if (mp_manager_open_or_create(&manager, names[0].text, &made, NULL) != 0 || mp_manager_root(manager, &root) != 0)
        return false;
    for (int i = 0; i < LOCKS; i++) {
        if (mp_lock_open(&lock[i], names[1 + i].text, NULL) != 0)
            return false;
    }
    return true;
}

/* ---- what the process is doing ---- */

static atomic_int steps;
static atomic_bool stop;

static void *change_for_ever(void *arg)
{
    char key[32];
    (void)arg;

    for (int i = 0; !atomic_load(&stop); i++) {
        snprintf(key, sizeof key, "key %d", i % 500);
        if (i % 1000 < 500)
            mp_dict_set_str(root, key, "a value that needs a block of its own");
        else
            mp_dict_remove_key(root, key);
        atomic_fetch_add(&steps, 1);
    }
    return NULL;
}

static void *hold_for_ever(void *arg)
{
    mp_lock_acquire(lock[0], MP_FOREVER);
    atomic_fetch_add(&steps, 1000);
    while (!atomic_load(&stop))
        pause_us(1000);
    return arg;
}

static void start(void *(*function)(void *))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, function, NULL) != 0 || !reaches(&steps, 1000, 60))
        abort();
}

static void idle(void)
{
}

static void hold_one(void)
{
    if (mp_lock_acquire(lock[0], 5) != 0)
        _exit(99);
}

static void hold_all(void)
{
    for (int i = 0; i < LOCKS; i++) {
        if (mp_lock_acquire(lock[i], 5) != 0)
            _exit(99);
    }
}

static void change_beside(void)
{
    start(change_for_ever);
}

static void hold_and_change_beside(void)
{
    hold_all();
    start(change_for_ever);
}

static void hold_beside(void)
{
    start(hold_for_ever);
}

static const struct {
    const char *name;
    void (*enter)(void);
    int held;
    bool by_another; /* held by another thread than the one that ends the process */
} states[] = {
    {"idle", idle, 0, false},
    {"holding a lock", hold_one, 1, false},
    {"holding several", hold_all, LOCKS, false},
    {"another thread inside a dict", change_beside, 0, false},
    {"both", hold_and_change_beside, LOCKS, false},
    {"another thread holding a lock", hold_beside, 1, true},
};

/* ---- how the process ends ---- */

static void by_exit(void)
{
    exit(0);
}

static void by_underscore_exit(void)
{
    _exit(0);
}

static void by_kill(void)
{
    raise(SIGKILL);
}

static void by_abort(void)
{
    abort();
}

static void by_term(void)
{
    raise(SIGTERM);
}

static void by_quick_exit(void)
{
    quick_exit(0);
}

static void by_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
    _exit(98);
}

static void *call_exit(void *arg)
{
    (void)arg;
    exit(0);
}

static void by_exit_of_a_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, call_exit, NULL) != 0)
        abort();
    for (;;)
        pause();
}

static void by_thread_exit(void)
{
    atomic_store(&stop, true);
    pthread_exit(NULL);
}

static void exit_now(int number)
{
    (void)number;
    exit(0);
}

static void by_exit_in_a_handler(void)
{
    signal(SIGALRM, exit_now);
    ualarm(2000, 0);
    for (int i = 0;; i++) {
        mp_manager *other;

        if (mp_manager_create(&other, NULL) == 0)
            mp_manager_free(other);
    }
}

/* For a child of the process that has the objects: the function just returns. */
static void by_return(void)
{
}

enum { ITSELF, FORKED, STARTED, WORKER };

static const struct {
    const char *name;
    void (*end)(void);
    int process; /* which process ends */
    bool normal;
    bool in_another_thread; /* than the thread that holds locks */
    int status;
} ways[] = {
    {"exit", by_exit, ITSELF, true, false, 0},
    {"_exit", by_underscore_exit, ITSELF, false, false, 0},
    {"SIGKILL", by_kill, ITSELF, false, false, SIGKILL},
    {"abort", by_abort, ITSELF, false, false, SIGABRT},
    {"SIGTERM", by_term, ITSELF, false, false, SIGTERM},
    {"quick_exit", by_quick_exit, ITSELF, false, false, 0},
    {"exec", by_exec, ITSELF, false, false, 0},
    {"exit of another thread", by_exit_of_a_thread, ITSELF, true, true, 0},
    {"pthread_exit of main", by_thread_exit, ITSELF, true, false, 0},
    {"exit in a signal handler", by_exit_in_a_handler, ITSELF, true, false, 0},
    {"exit of a forked child", by_exit, FORKED, true, false, 0},
    {"_exit of a forked child", by_underscore_exit, FORKED, true, false, 0},
    {"return of a process's function", by_return, STARTED, true, false, 0},
    {"exit of a process's function", by_exit, STARTED, true, false, 0},
    {"a worker that is replaced", by_return, WORKER, true, false, 0},
    {"exit of a worker", by_exit, WORKER, true, false, 0},
    {"SIGKILL of a worker", by_kill, WORKER, true, false, 0},
};

struct end {
    size_t state, way;
};

static int be_and_end(void *arg)
{
    const struct end *end = arg;

    states[end->state].enter();
    ways[end->way].end();
    return 0;
}

static int be_and_end_in_a_task(const void *arg, void *result)
{
    struct end end = *(const struct end *)arg;

    (void)result;
    return be_and_end(&end);
}

/* Each task is the last of its worker. */
static bool end_as_worker(const struct end *end)
{
    const mp_pool_options options = {.max_tasks_per_child = 1};
    mp_pool *pool;

    if (mp_pool_create(&pool, 1, &options) != 0)
        return false;
    int error = mp_pool_apply(pool, be_and_end_in_a_task, end, sizeof *end, NULL, 0);
    return (error == 0 || mp_died(error, NULL)) && mp_pool_close(pool) == 0 && mp_pool_join(pool) == 0 &&
           mp_pool_free(pool) == 0;
}

static _Noreturn void live(struct end *end)
{
    alarm(60); /* instead of a hang */
    if (!make_all())
        _exit(97);
    if (ways[end->way].process == ITSELF) {
        be_and_end(end);
        _exit(96);
    }
    if (ways[end->way].process == FORKED) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            be_and_end(end);
            _exit(96);
        }
        if (waitpid(pid, &status, 0) != pid || status != 0)
            _exit(95);
    } else if (ways[end->way].process == WORKER) {
        if (!end_as_worker(end))
            _exit(93);
    } else {
        mp_process *process;
        int code;

        if (mp_process_start(&process, be_and_end, end, NULL) != 0 || mp_process_join(process, 50) != 0 ||
            mp_process_exitcode(process, &code) != 0 || code != 0 || mp_process_free(process) != 0)
            _exit(94);
    }
    exit(0);
}

static void run(struct end *end)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        live(end);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) ? WTERMSIG(status) != ways[end->way].status : status != ways[end->way].status)
        fail_msg("%s, %s: status %x", ways[end->way].name, states[end->state].name, (unsigned)status);
}

/* ---- the process that looks afterwards ---- */

/* Frees everything. Returns the first name that is left afterwards, or -1. */
static int free_all(void)
{
    for (int i = 0; i < LOCKS; i++)
        assert_int_equal(mp_lock_free(lock[i]), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    for (int i = 0; i <= LOCKS; i++) {
        if (access(names[i].path, F_OK) == 0)
            return i;
    }
    return -1;
}

static void expect_free(const struct end *end)
{
    int left = free_all();

    if (left >= 0)
        fail_msg("%s, %s: name %d is left by the last one", ways[end->way].name, states[end->state].name, left);
}

static void expect_use(const struct end *end, int held)
{
    double begin = now();

    for (int i = 0; i < LOCKS; i++) {
        int error = mp_lock_acquire(lock[i], SOON);

        if (error != (i < held ? MP_EOWNERDEAD : 0))
            fail_msg("%s, %s: lock %d: %s", ways[end->way].name, states[end->state].name, i, mp_strerror(error));
        assert_int_equal(mp_lock_release(lock[i]), 0);
    }
    assert_int_equal(mp_dict_set_str(root, "mine", "a value that needs a block of its own"), 0);
    assert_int_equal(mp_dict_clear(root), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_true(now() - begin < SOON);
}

static void others_go_on(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof states / sizeof *states; s++) {
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct end end = {s, w};

            /* The process that ends opens the objects itself, under these names. */
            name_objects();
            assert_true(make_all());
            run(&end);
            expect_use(&end, states[s].held);
            expect_free(&end);
        }
    }
}

static void the_last_one_leaves_nothing_in_the_way(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof states / sizeof *states; s++) {
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct end end = {s, w};

            name_objects();
            run(&end);
            /* A forked child ends first, and then the process itself, which holds nothing. */
            bool others_hold =
                states[s].held > 0 && ways[w].process == ITSELF && (states[s].by_another || ways[w].in_another_thread);
            for (int i = 0; i <= LOCKS; i++) {
                if (ways[w].normal && (i == 0 || !others_hold) && access(names[i].path, F_OK) == 0)
                    fail_msg("%s, %s: name %d is left", ways[w].name, states[s].name, i);
            }
            assert_true(make_all());
            expect_use(&end, 0);
            expect_free(&end);
        }
    }
}

/* Does what every process does that finds a name: tries the exclusive lock, and removes the name if it gets it. This
 * one waits in between. */
static _Noreturn void remove_slow(const char *path)
{
    char ready = 1;
    int fd;

    alarm(60);
    do {
        fd = open(path, O_RDONLY);
    } while (fd < 0);
    if (write(told[1], &ready, 1) != 1)
        _exit(1);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0)
        ;
    pause_us(3000);
    _exit(unlink(path) == 0 || errno == ENOENT ? 0 : 1);
}

/* The last user waits for a process that has just found the name stale: when its call returns, the name is gone. */
static void a_name_is_gone_when_the_last_one_is(void **state)
{
    (void)state;
    assert_int_equal(pipe(told), 0);
    for (int i = 0; i < 30; i++) {
        char ready;
        int status;

        name_objects();
        pid_t pid = fork(); /* forked before the objects are made, so that it has no share in them */
        if (pid == 0)
            remove_slow(names[0].path);
        assert_true(make_all());
        assert_int_equal(read(told[0], &ready, 1), 1);
        assert_int_equal(free_all(), -1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    close(told[0]);
    close(told[1]);
}

/* ---- freed here, while processes that were forked later still have it ---- */

static int wait_for_word(void *arg)
{
    char byte;

    (void)arg;
    return read(told[0], &byte, 1) == 1 ? 0 : 1;
}

static void tell_word(void)
{
    assert_int_equal(write(told[1], "", 1), 1);
}

static mp_pool *pool;
static mp_process *child;
static pid_t forked;

static void make_pool(void)
{
    assert_int_equal(mp_pool_create(&pool, 2, NULL), 0);
}

static void free_pool(void)
{
    assert_int_equal(mp_pool_free(pool), 0);
}

static void join_pool(void)
{
    assert_int_equal(mp_pool_close(pool), 0);
    assert_int_equal(mp_pool_join(pool), 0);
    free_pool();
}

static void start_process(void)
{
    assert_int_equal(mp_process_start(&child, wait_for_word, NULL, NULL), 0);
}

static void end_process(void)
{
    tell_word();
    assert_int_equal(mp_process_join(child, MP_FOREVER), 0);
    assert_int_equal(mp_process_free(child), 0);
}

static void fork_one(void)
{
    forked = fork();
    if (forked == 0)
        exit(wait_for_word(NULL));
}

static void end_forked(void)
{
    int status;

    tell_word();
    assert_int_equal(waitpid(forked, &status, 0), forked);
    assert_int_equal(status, 0);
}

static const struct {
    const char *name;
    void (*begin)(void), (*end)(void);
} others[] = {
    {"a pool that is freed", make_pool, free_pool},
    {"a pool that is closed and joined", make_pool, join_pool},
    {"a process that returns", start_process, end_process},
    {"a forked child that exits", fork_one, end_forked},
};

static void the_last_one_of_all_processes_removes_the_name(void **state)
{
    (void)state;
    assert_int_equal(pipe(told), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        name_objects();
        assert_true(make_all());
        others[i].begin();
        free_all(); /* its result does not count: all names are left, as others have the objects */
        others[i].end();
        for (int n = 0; n <= LOCKS; n++) {
            if (access(names[n].path, F_OK) == 0)
                fail_msg("%s: name %d is left", others[i].name, n);
        }
    }
    close(told[0]);
    close(told[1]);
}

/* A lock that a thread of an ending process still holds stays held until the end is complete, however long that
 * takes. */
static void slow_end(void)
{
    char byte;

    if (read(told[0], &byte, 1) != 1)
        abort();
}

static void a_lock_is_held_until_its_holder_is_gone(void **state)
{
    int status;
    (void)state;

    name_objects();
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        atexit(slow_end); /* the library registers its handler later, so that runs first */
        if (!make_all())
            _exit(97);
        hold_beside();
        exit(0);
    }
    /* When the manager's name is gone, the library has done its work at the end. */
    double end = now() + SOON;
    while (access(names[1].path, F_OK) != 0 && now() < end)
        pause_us(1000);
    while (access(names[0].path, F_OK) == 0 && now() < end)
        pause_us(1000);
    assert_int_equal(mp_lock_open(&lock[0], names[1].text, NULL), 0);
    assert_int_equal(mp_lock_acquire(lock[0], 0.05), MP_ETIMEOUT);
    assert_int_equal(write(told[1], "x", 1), 1);
    assert_int_equal(mp_lock_acquire(lock[0], SOON), MP_EOWNERDEAD);
    assert_int_equal(mp_lock_release(lock[0]), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(mp_lock_free(lock[0]), 0);
    assert_int_not_equal(access(names[1].path, F_OK), 0);
    close(told[0]);
    close(told[1]);
}

/* ---- coming back, and races for a name ---- */

static void a_server_comes_back(void **state)
{
    mp_manager *old, *new;
    mp_dict *old_root;
    int64_t value;
    bool made = false;
    (void)state;

    name_objects();
    assert_int_equal(mp_manager_create(&old, &(mp_manager_options){.name = names[0].text}), 0);
    assert_int_equal(mp_manager_root(old, &old_root), 0);
    assert_int_equal(mp_dict_set_int(old_root, "x", 1), 0);
    assert_int_equal(mp_manager_create(&new, &(mp_manager_options){.name = names[0].text}), MP_EEXIST);
    assert_int_equal(mp_manager_unlink(names[0].text), 0);
    assert_int_equal(mp_manager_unlink(names[0].text), MP_ENOENT);
    assert_int_equal(mp_manager_open_or_create(&new, names[0].text, &made, &(mp_manager_options){.limit = 1 << 20}), 0);
    assert_true(made);
    mp_manager_info info;
    assert_int_equal(mp_manager_get_info(new, &info), 0);
    assert_int_equal(info.limit, 1 << 20);
    assert_int_equal(mp_dict_get_int(old_root, "x", &value), 0);
    assert_int_equal(mp_manager_free(old), 0);
    assert_int_equal(access(names[0].path, F_OK), 0); /* it belongs to the new one */
    assert_int_equal(mp_manager_open_or_create(&old, names[0].text, &made, NULL), 0);
    assert_false(made);
    assert_int_equal(mp_manager_free(old), 0);
    assert_int_equal(mp_manager_free(new), 0);
    assert_int_not_equal(access(names[0].path, F_OK), 0);
}

static int open_many_times(void *arg)
{
    int begun = *(const int *)arg, kept = 0;
    char byte;

    while (read(begun, &byte, 1) < 0 && errno == EINTR)
        ;
    for (int i = 0; i < 300; i++) {
        mp_manager *mine;
        mp_dict *dict;
        int64_t sum;
        bool made;

        if (mp_manager_open_or_create(&mine, names[0].text, &made, NULL) != 0 || mp_manager_root(mine, &dict) != 0 ||
            mp_dict_add_int(dict, "users", 1, &sum) != 0)
            return 1;
        kept += made && sum < 1;
        if (mp_dict_add_int(dict, "users", -1, NULL) != 0 || mp_manager_free(mine) != 0)
            return 2;
    }
    return kept == 0 ? 0 : 3;
}

static void opening_or_making_is_no_race(void **state)
{
    mp_process *process[4];
    int begun[2], code;
    (void)state;

    name_objects();
    assert_int_equal(pipe(begun), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(mp_process_start(&process[i], open_many_times, &begun[0], NULL), 0);
    assert_int_equal(write(begun[1], "xxxx", 4), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mp_process_join(process[i], 60), 0);
        assert_int_equal(mp_process_exitcode(process[i], &code), 0);
        assert_int_equal(code, 0);
        assert_int_equal(mp_process_free(process[i]), 0);
    }
    close(begun[0]);
    close(begun[1]);
    assert_int_not_equal(access(names[0].path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_go_on),
        cmocka_unit_test(the_last_one_leaves_nothing_in_the_way),
        cmocka_unit_test(a_name_is_gone_when_the_last_one_is),
        cmocka_unit_test(the_last_one_of_all_processes_removes_the_name),
        cmocka_unit_test(a_lock_is_held_until_its_holder_is_gone),
        cmocka_unit_test(a_server_comes_back),
        cmocka_unit_test(opening_or_making_is_no_race),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
