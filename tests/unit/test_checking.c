/* A checker that dies while it holds the mutexes of more containers than the kernel gives away (ROBUST_LIST_LIMIT); and
 * one beside threads of another PID namespace. */
#include <errno.h>
#include <mp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/object_check.h"
#include "support.h"

enum { DICTS = 5000 };

static mp_manager *manager;
static mp_dict *dict[DICTS];

static struct heap *heap(void)
{
    return (struct heap *)manager;
}

static int make(const char *name)
{
    const mp_manager_options options = {.name = name};

    alarm(100);
    if (mp_manager_create(&manager, name != NULL ? &options : NULL) != 0)
        return -1;
    for (int i = 0; i < DICTS; i++) {
        if (mp_manager_dict(manager, &dict[i]) != 0 || mp_dict_set_int(dict[i], "key", i) != 0)
            return -1;
    }
    return 0;
}

static int make_anonymous(void **state)
{
    (void)state;
    return make(NULL);
}

static const char *name_here(void)
{
    static char name[40];

    snprintf(name, sizeof name, "checking-%d", (int)getpid());
    return name;
}

static int make_named(void **state)
{
    (void)state;
    return make(name_here());
}

static int drop(void **state)
{
    (void)state;
    alarm(0);
    return mp_manager_free(manager);
}

static void die(struct heap *checked, object_marker *mark, void *context)
{
    (void)checked;
    (void)mark;
    (void)context;
    kill(getpid(), SIGKILL);
}

/* A process is killed while it holds all mutexes. With `reap` false it remains as a zombie. */
static pid_t kill_a_checker(bool reap)
{
    pid_t pid = fork();
    siginfo_t info;

    if (pid == 0) {
        object_check_heap(heap(), die);
        _exit(0);
    }
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | (reap ? 0 : WNOWAIT)), 0);
    assert_int_equal(info.si_code, CLD_KILLED);
    return pid;
}

static void expect_all_to_work(void)
{
    int64_t value;

    for (int i = 0; i < DICTS; i++) {
        assert_int_equal(mp_dict_set_str(dict[i], "other", "a string"), 0);
        assert_int_equal(mp_dict_get_int(dict[i], "key", &value), 0);
        assert_int_equal(value, i);
    }
    assert_int_equal(mp_manager_check(manager), 0);
}

static void writers_go_on(void **state)
{
    (void)state;
    kill_a_checker(true);
    expect_all_to_work();
}

static void also_beside_a_zombie(void **state)
{
    (void)state;
    pid_t pid = kill_a_checker(false);
    expect_all_to_work();
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_next_checker_goes_on(void **state)
{
    (void)state;
    kill_a_checker(true);
    assert_int_equal(mp_manager_check(manager), 0);
    kill_a_checker(true);
    kill_a_checker(true);
    expect_all_to_work();
}

/* No process locks these containers again before they are freed; their content is released all the same. */
static void all_can_be_given_up(void **state)
{
    mp_dict *made;

    (void)state;
    kill_a_checker(true);
    for (int i = 0; i < DICTS; i++)
        assert_int_equal(mp_dict_free(dict[i]), 0);
    assert_int_equal(mp_manager_dict(manager, &made), 0);
    assert_int_equal(mp_dict_free(made), 0);
    assert_int_equal(heap()->dead, 0);
    assert_int_equal(mp_manager_check(manager), 0);
}

/* Opening a heap checks that its memory adds up. */
static void it_can_be_opened(void **state)
{
    const char *name = name_here();
    int status;

    (void)state;
    kill_a_checker(true);
    pid_t pid = fork();
    if (pid == 0) {
        mp_manager *opened;

        mp_manager_free(manager);
        _exit(mp_manager_open(&opened, name, NULL) != 0 || mp_manager_check(opened) != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    expect_all_to_work();
}

/* ---- beside another PID namespace ---- */

/* A number from 10 on that no process here has. */
static pid_t unused_number(void)
{
    pid_t number = 10;

    while (kill(number, 0) == 0 || errno != ESRCH)
        number++;
    return number;
}

/* Forks until the child has that number in the new namespace. The child takes the dict's mutex again and again. */
static void work_as(pid_t number, mp_dict *root)
{
    for (pid_t pid = 0; pid < number;) {
        pid = fork();
        while (pid == 0 && getpid() == number) {
            MUST(mp_dict_set_int(root, "key", 1) == 0);
            MUST(mp_dict_delete(root, "key") == 0);
        }
        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
    }
}

/* Numbers of threads there mean nothing here. So none of them is a sign that a mutex is damaged. */
static void a_thread_of_another_namespace_is_no_damage(void **state)
{
    mp_manager *shared;
    mp_dict *root;
    int64_t value;
    int status = 0, wrong = 0;

    (void)state;
    assert_int_equal(mp_manager_create(&shared, NULL), 0);
    assert_int_equal(mp_manager_root(shared, &root), 0);
    assert_int_equal(mp_dict_set_int(root, "sees", 0), 0);
    pid_t number = unused_number(), outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) != 0)
            _exit(77);
        pid_t first = fork();
        if (first == 0) { /* when it ends, all of the namespace end */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            mp_dict_set_int(root, "sees", 1);
            work_as(number, root);
        }
        waitpid(first, NULL, 0);
        _exit(0);
    }
    do {
        assert_int_equal(mp_dict_get_int(root, "sees", &value), 0);
        if (waitpid(outer, &status, WNOHANG) == outer)
            skip();
    } while (value == 0);
    for (int i = 0; i < 2000; i++)
        wrong += mp_manager_check(shared) != 0;
    kill(outer, SIGKILL);
    waitpid(outer, NULL, 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(mp_manager_free(shared), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(writers_go_on, make_anonymous, drop),
                                       cmocka_unit_test_setup_teardown(also_beside_a_zombie, make_anonymous, drop),
                                       cmocka_unit_test_setup_teardown(the_next_checker_goes_on, make_anonymous, drop),
                                       cmocka_unit_test_setup_teardown(all_can_be_given_up, make_anonymous, drop),
                                       cmocka_unit_test_setup_teardown(it_can_be_opened, make_named, drop),
                                       cmocka_unit_test(a_thread_of_another_namespace_is_no_damage)};

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
