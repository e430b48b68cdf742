/* Assertions: each mistake that they are for is made by a child, which they abort. */
#include <fcntl.h>
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "object/object_lock.h"
#include "support.h"

static mp_manager *manager;
static mp_dict *dict;
static mp_lock *lock;

static void set_without_begin(void)
{
    (void)object_lock_alone(dict, OBJECT_DICT);
    object_set(object_of(dict), &object_of(dict)->word[0], 1);
}

static void begin_without_mutex(void)
{
    object_begin(object_of(dict));
}

static void commit_without_mutex(void)
{
    (void)object_lock_alone(dict, OBJECT_DICT);
    object_begin(object_of(dict));
    (void)mutex_unlock(&object_of(dict)->mutex);
    object_commit(object_of(dict));
}

static void unlock_before_commit(void)
{
    (void)object_lock_alone(dict, OBJECT_DICT);
    object_begin(object_of(dict));
    object_set(object_of(dict), &object_of(dict)->word[0], 1);
    object_unlock(object_of(dict));
}

static void change_more_than_there_is_room_for(void)
{
    (void)object_lock_alone(dict, OBJECT_DICT);
    object_begin(object_of(dict));
    for (int i = 0; i <= UNDO_RECORDS; i++)
        object_set(object_of(dict), &object_of(dict)->word[0], 1);
}

static void change_the_heaps_header(void)
{
    (void)object_lock_alone(dict, OBJECT_DICT);
    object_begin(object_of(dict));
    object_set(object_of(dict), &object_heap(object_of(dict))->root, 1);
}

/* A lock has no undo log: the records would lie at the heap's very start. */
static void change_what_has_no_log(void)
{
    struct object *object = object_of(lock);

    (void)mutex_lock(&object->mutex);
    object_begin(object);
    object_set(object, &object->word[0], 1);
}

static void change_a_heap_without_its_mutex(void)
{
    heap_set(object_heap(object_of(dict)), &object_heap(object_of(dict))->used, 1);
}

static void (*const mistakes[])(void) = {
    set_without_begin,       begin_without_mutex,
    commit_without_mutex,    unlock_before_commit,
    change_the_heaps_header, change_more_than_there_is_room_for,
    change_what_has_no_log,  change_a_heap_without_its_mutex,
};

static _Noreturn void make(void (*mistake)(void))
{
    const struct rlimit none = {0, 0};
    int null = open("/dev/null", O_WRONLY);

    setrlimit(RLIMIT_CORE, &none);
    dup2(null, STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    mistake();
    _exit(0);
}

static void each_mistake_is_found(void **state)
{
    (void)state;
#ifndef MP_ASSERTIONS
    skip();
#endif
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        int status;

        assert_int_equal(mp_manager_create(&manager, NULL), 0);
        assert_int_equal(mp_manager_dict(manager, &dict), 0);
        assert_int_equal(mp_lock_create(&lock, NULL), 0);
        pid_t child = fork();
        if (child == 0)
            make(mistakes[i]);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("mistake %zu: status %#x", i, (unsigned)status);
        assert_int_equal(mp_lock_free(lock), 0);
        assert_int_equal(mp_manager_free(manager), 0);
    }
}

/* The heap of anonymous locks stays for as long as the process lives. */
static int begin(void **state)
{
    if (mp_lock_create(&lock, NULL) != 0 || mp_lock_free(lock) != 0)
        return -1;
    return leak_check_begin(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_mistake_is_found)};

    return cmocka_run_group_tests(tests, begin, leak_check_end);
}
