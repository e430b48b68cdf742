/* Named managers: opened by others, refused when something is wrong, removed by the last user. */
#include <mp.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/object.h"
#include "support.h"

static char name[40], path[100];

static int make(void **state)
{
    static int number;
    (void)state;

    snprintf(name, sizeof name, "test-manager-%d-%d", (int)getpid(), number++);
    snprintf(path, sizeof path, "/dev/shm/libmp-%lu-%s", (unsigned long)geteuid(), name);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    return unlink(path) == 0; /* nothing may be left */
}

static mp_manager *create(void)
{
    mp_manager *manager;

    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), 0);
    return manager;
}

/* Runs a function in a child that was forked before the manager was made, as an unrelated process would. 0: success. */
static int in_child(int (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(function());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int add_to_it(void)
{
    mp_manager *manager;
    mp_dict *root, *inner;
    int64_t value;

    if (mp_manager_open(&manager, name, NULL) != 0 || mp_manager_root(manager, &root) != 0)
        return 1;
    if (mp_dict_get_int(root, "x", &value) != 0 || value != 42 || mp_manager_dict(manager, &inner) != 0)
        return 2;
    if (mp_dict_set_str(inner, "from", "the second program") != 0 || mp_dict_set_dict(root, "inner", inner) != 0)
        return 3;
    /* Growth in one process is growth in all. */
    for (int i = 0; i < 20000; i++) {
        if (mp_dict_set(inner, mp_value_int(i), mp_value_int(i)) != 0)
            return 4;
    }
    return mp_dict_free(inner) == 0 && mp_manager_free(manager) == 0 ? 0 : 5;
}

static void a_second_program_sees_the_contents(void **state)
{
    mp_manager *manager = create(), *again;
    mp_dict *root, *inner;
    int64_t value;
    (void)state;

    assert_int_equal(mp_manager_root(manager, &root), 0);
    assert_int_equal(mp_dict_set_int(root, "x", 42), 0);
    assert_int_equal(in_child(add_to_it), 0);
    assert_int_equal(mp_dict_get_dict(root, "inner", &inner), 0);
    mp_value found;
    assert_int_equal(mp_dict_get(inner, mp_value_int(19999), &found), 0);
    assert_int_equal(found.as.integer, 19999);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_dict_free(root), MP_EINVAL);
    assert_int_equal(mp_manager_create(&again, &(mp_manager_options){.name = name}), MP_EEXIST);
    assert_int_equal(mp_manager_open(&again, name, NULL), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(mp_manager_root(again, &root), 0);
    assert_int_equal(mp_dict_get_int(root, "x", &value), 0);
    assert_int_equal(mp_manager_free(again), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(mp_manager_open(&again, name, NULL), MP_ENOENT);
}

static int create_and_die(void)
{
    create();
    raise(SIGKILL);
    return 0;
}

static int create_and_exit(void)
{
    create();
    exit(0);
}

static void what_nobody_holds_is_replaced(void **state)
{
    mp_manager *manager;
    (void)state;

    assert_int_equal(in_child(create_and_die), SIGKILL);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(mp_manager_open(&manager, name, NULL), MP_ENOENT);
    assert_int_equal(in_child(create_and_die), SIGKILL);
    manager = create();
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(in_child(create_and_exit), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_forked_child_is_a_user_too(void **state)
{
    mp_manager *manager = create();
    int ends[2], status;
    char byte;
    (void)state;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        if (read(ends[0], &byte, 1) != 0) /* waits until the parent has closed its handle */
            _exit(1);
        _exit(access(path, F_OK) == 0 && mp_manager_check(manager) == 0 && mp_manager_free(manager) == 0 &&
                      access(path, F_OK) != 0
                  ? 0
                  : 2);
    }
    close(ends[0]);
    assert_int_equal(mp_manager_free(manager), 0);
    close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Opens a file that the test has changed. It has a live user: this process, by its lock. */
static void expect_open(int expected)
{
    mp_manager *manager;

    assert_int_equal(mp_manager_open(&manager, name, NULL), expected);
}

static void change(off_t at, uint64_t value)
{
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &value, sizeof value, at), sizeof value);
    close(fd);
}

static void wrong_files_are_refused(void **state)
{
    mp_manager *manager = create();
    mp_lock *lock;
    struct heap *heap = (struct heap *)manager;
    const struct heap before = *heap;
    (void)state;

    assert_int_equal(mp_lock_open(&lock, name, NULL), MP_EKIND);
    assert_int_equal(chmod(path, 0644), 0);
    expect_open(MP_EACCESS);
    assert_int_equal(chmod(path, 0600), 0);
    if (geteuid() == 0) { /* nobody else may open another user's file at all */
        assert_int_equal(chown(path, 65534, (gid_t)-1), 0);
        expect_open(MP_EACCESS);
        assert_int_equal(chown(path, 0, (gid_t)-1), 0);
    }
    change(offsetof(struct heap, magic), 1);
    expect_open(MP_EKIND);
    change(offsetof(struct heap, magic), before.magic);
    change(offsetof(struct heap, layout), before.layout + 1);
    expect_open(MP_EVERSION);
    change(offsetof(struct heap, layout), before.layout);
    change(offsetof(struct heap, seed), before.seed[0] + 1);
    expect_open(MP_ECORRUPT);
    change(offsetof(struct heap, seed), before.seed[0]);
    change(offsetof(struct heap, size), UINT64_C(1) << 50);
    expect_open(MP_ECORRUPT);
    change(offsetof(struct heap, size), before.size);
    change(offsetof(struct heap, root), before.root + 64);
    expect_open(MP_ECORRUPT);
    change(offsetof(struct heap, root), before.root);
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

/* The next object made in this place relies on its words being blank. */
static void a_freed_object_that_is_not_blank_is_found(void **state)
{
    mp_manager *manager = create();
    mp_list *list;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &list), 0);
    struct object *object = object_of(list);
    assert_int_equal(mp_list_free(list), 0);
    assert_int_equal(mp_manager_check(manager), 0);
    for (size_t i = 0; i < sizeof object->word / sizeof object->word[0]; i++) {
        atomic_store(&object->word[i], 1);
        assert_int_equal(mp_manager_check(manager), MP_ECORRUPT);
        atomic_store(&object->word[i], 0);
    }
    assert_int_equal(mp_manager_check(manager), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

static void other_things_of_that_name(void **state)
{
    mp_manager *manager;
    (void)state;

    assert_int_equal(symlink("/etc/passwd", path), 0);
    expect_open(MP_EACCESS);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), MP_EACCESS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_open(MP_EKIND);
    assert_int_equal(rmdir(path), 0);
}

static int told[2]; /* a pipe: a child writes a byte when it has got to a certain point */

static int use_and_be_killed(void)
{
    mp_manager *manager;
    mp_dict *root;

    if (mp_manager_open(&manager, name, NULL) != 0 || mp_manager_root(manager, &root) != 0 ||
        mp_dict_set_int(root, "left", 1) != 0 || write(told[1], "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static int create_and_be_killed(void)
{
    mp_manager *manager;

    if (mp_manager_create(&manager, &(mp_manager_options){.name = name}) != 0 || write(told[1], "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static pid_t start_user(int (*function)(void))
{
    pid_t pid = fork();
    char byte;

    if (pid == 0)
        _exit(function());
    assert_int_equal(read(told[0], &byte, 1), 1);
    return pid;
}

static void after_a_kill_of_all_users_it_starts_clean(void **state)
{
    mp_manager *manager;
    mp_dict *root;
    pid_t users[3];
    size_t length;
    int status;
    (void)state;

    assert_int_equal(pipe(told), 0);
    for (int i = 0; i < 3; i++)
        users[i] = start_user(i == 0 ? create_and_be_killed : use_and_be_killed);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = name}), MP_EEXIST);
        kill(users[i], SIGKILL);
        assert_int_equal(waitpid(users[i], &status, 0), users[i]);
        assert_int_equal(status, SIGKILL);
    }
    close(told[0]);
    close(told[1]);
    manager = create(); /* the name is stale, or gone already: making any named object removes stale ones */
    assert_int_equal(mp_manager_root(manager, &root), 0);
    assert_int_equal(mp_dict_length(root, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

static int open_as_nobody(void)
{
    mp_manager *manager;
    char other[100];

    /* Another user's names differ from ours, so it is that user's name that has to lead to our file. */
    snprintf(other, sizeof other, "/dev/shm/libmp-65534-%s", name);
    if (link(path, other) != 0 || setuid(65534) != 0)
        return 1;
    int opened = mp_manager_open(&manager, name, NULL);
    int created = mp_manager_create(&manager, &(mp_manager_options){.name = name});
    return opened == MP_EACCESS && created == MP_EACCESS ? 0 : 2;
}

static void another_users_is_refused(void **state)
{
    mp_manager *manager;
    char other[100];
    (void)state;

    if (geteuid() != 0)
        skip(); /* only root can become another user */
    manager = create();
    assert_int_equal(in_child(open_as_nobody), 0);
    snprintf(other, sizeof other, "/dev/shm/libmp-65534-%s", name);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

/* Every handle into a closed manager, and every handle of a freed container, gives an error. */
static void assert_dict_is_gone(mp_dict *dict)
{
    mp_value value;
    mp_dict *copy;
    mp_list *list;
    mp_dict_iter *iter;
    size_t length;
    bool flag;
    char *text;

    assert_int_equal(mp_dict_set_int(dict, "x", 1), MP_EINVAL);
    assert_int_equal(mp_dict_get(dict, mp_value_int(1), &value), MP_EINVAL);
    assert_int_equal(mp_dict_pop(dict, mp_value_int(1), &value), MP_EINVAL);
    assert_int_equal(mp_dict_popitem(dict, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_add_int(dict, "x", 1, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_transfer_int(dict, "x", "y", 1), MP_EINVAL);
    assert_int_equal(mp_dict_move(dict, mp_value_int(1), mp_value_int(2)), MP_EINVAL);
    assert_int_equal(mp_dict_contains_key(dict, "x", &flag), MP_EINVAL);
    assert_int_equal(mp_dict_length(dict, &length), MP_EINVAL);
    assert_int_equal(mp_dict_clear(dict), MP_EINVAL);
    assert_int_equal(mp_dict_copy(dict, &copy), MP_EINVAL);
    assert_int_equal(mp_dict_update(dict, dict), MP_EINVAL);
    assert_int_equal(mp_dict_items(dict, &list), MP_EINVAL);
    assert_int_equal(mp_dict_equal(dict, dict, &flag), MP_EINVAL);
    assert_int_equal(mp_dict_json(dict, &text), MP_EINVAL);
    assert_int_equal(mp_dict_iter_create(&iter, dict), MP_EINVAL);
    assert_int_equal(mp_dict_free(dict), MP_EINVAL);
}

static void assert_list_is_gone(mp_list *list)
{
    mp_value value;
    mp_list *copy;
    mp_list_iter *iter;
    size_t length;
    bool flag;
    char *text;

    assert_int_equal(mp_list_append_int(list, 1), MP_EINVAL);
    assert_int_equal(mp_list_get(list, 0, &value), MP_EINVAL);
    assert_int_equal(mp_list_set(list, 0, mp_value_int(1)), MP_EINVAL);
    assert_int_equal(mp_list_pop(list, 0, NULL), MP_EINVAL);
    assert_int_equal(mp_list_insert(list, 0, mp_value_int(1)), MP_EINVAL);
    assert_int_equal(mp_list_index(list, mp_value_int(1), &length), MP_EINVAL);
    assert_int_equal(mp_list_length(list, &length), MP_EINVAL);
    assert_int_equal(mp_list_sort(list, NULL, NULL, false), MP_EINVAL);
    assert_int_equal(mp_list_reverse(list), MP_EINVAL);
    assert_int_equal(mp_list_extend(list, list), MP_EINVAL);
    assert_int_equal(mp_list_slice(list, 0, 1, 1, &copy), MP_EINVAL);
    assert_int_equal(mp_list_concat(list, list, &copy), MP_EINVAL);
    assert_int_equal(mp_list_equal(list, list, &flag), MP_EINVAL);
    assert_int_equal(mp_list_json(list, &text), MP_EINVAL);
    assert_int_equal(mp_list_iter_create(&iter, list), MP_EINVAL);
    assert_int_equal(mp_list_free(list), MP_EINVAL);
}

static void handles_do_not_outlive_what_they_lead_to(void **state)
{
    mp_manager *manager;
    mp_dict *root, *dict[2];
    mp_list *list[2];
    mp_dict_iter *dict_iter[2];
    mp_list_iter *list_iter[2];
    mp_value value;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_root(manager, &root), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_manager_dict(manager, &dict[i]), 0);
        assert_int_equal(mp_manager_list(manager, &list[i]), 0);
        assert_int_equal(mp_dict_set_int(dict[i], "x", 1), 0);
        assert_int_equal(mp_list_append_int(list[i], 1), 0);
        assert_int_equal(mp_dict_iter_create(&dict_iter[i], dict[i]), 0);
        assert_int_equal(mp_list_iter_create(&list_iter[i], list[i]), 0);
    }
    assert_int_equal(mp_dict_free(dict[0]), 0);
    assert_int_equal(mp_list_free(list[0]), 0);
    assert_dict_is_gone(dict[0]);
    assert_list_is_gone(list[0]);
    assert_int_equal(mp_manager_free(manager), 0);
    for (int i = 0; i < 2; i++) {
        assert_dict_is_gone(dict[i]);
        assert_list_is_gone(list[i]);
        assert_int_equal(mp_dict_next(dict_iter[i], &value, NULL), MP_EINVAL);
        assert_int_equal(mp_list_next(list_iter[i], &value), MP_EINVAL);
        assert_int_equal(mp_dict_iter_free(dict_iter[i]), 0);
        assert_int_equal(mp_list_iter_free(list_iter[i]), 0);
    }
    assert_dict_is_gone(root);
    assert_int_equal(mp_manager_dict(manager, &root), MP_EINVAL);
    assert_int_equal(mp_manager_check(manager), MP_EINVAL);
    assert_int_equal(mp_manager_free(manager), MP_EINVAL);
}

static void refuses_bad_input(void **state)
{
    mp_manager *manager;
    mp_manager_info info;
    char longest[300];
    (void)state;

    memset(longest, 'x', sizeof longest);
    longest[201] = 0;
    assert_int_equal(mp_manager_open(NULL, name, NULL), MP_EINVAL);
    assert_int_equal(mp_manager_open(&manager, NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_manager_open(&manager, name, &(mp_manager_options){0}), MP_EINVAL);
    assert_int_equal(mp_manager_open(&manager, "", NULL), MP_ENAME);
    assert_int_equal(mp_manager_open(&manager, "a/b", NULL), MP_ENAME);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = ".."}), MP_ENAME);
    assert_int_equal(mp_manager_create(&manager, &(mp_manager_options){.name = longest}), MP_ENAME);
    assert_int_equal(mp_manager_get_info(NULL, &info), MP_EINVAL);
    assert_int_equal(mp_manager_check(NULL), MP_EINVAL);
    assert_int_equal(mp_manager_root(NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_manager_free(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_program_sees_the_contents),
        TEST(what_nobody_holds_is_replaced),
        TEST(a_forked_child_is_a_user_too),
        TEST(wrong_files_are_refused),
        TEST(a_freed_object_that_is_not_blank_is_found),
        TEST(other_things_of_that_name),
        TEST(after_a_kill_of_all_users_it_starts_clean),
        TEST(another_users_is_refused),
        TEST(handles_do_not_outlive_what_they_lead_to),
        TEST(refuses_bad_input),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
