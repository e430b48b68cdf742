/* Whose container it is: what is sent arrives whole, a value holds what it names, a borrowed handle never leads to another container,
 * and what a process held is given back when it dies. Tables: a way to send, a call that hands out, a thing that is held is one line.
 *
 * That nothing leaks is seen by doing everything many times: all of that takes less memory than one container for each time. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PATIENCE 30.0
#define TIMES 100
#define SLACK ((size_t)TIMES * 256) /* a container alone is more than twice that */

/* In children there is no cmocka. */
#define MUST(call) must((call), #call, __LINE__)

static mp_manager *manager;
static mp_dict *dict;
static mp_list *list;

static void must(int error, const char *call, int line)
{
    if (error == 0)
        return;
    fprintf(stderr, "%d: %s: %s\n", line, call, mp_strerror(error));
    abort();
}

static int make(void **state)
{
    (void)state;
    MUST(mp_manager_create(&manager, NULL));
    MUST(mp_manager_dict(manager, &dict));
    MUST(mp_manager_list(manager, &list));
    return 0;
}

static int drop(void **state)
{
    (void)state;
    MUST(mp_manager_check(manager));
    MUST(mp_manager_free(manager));
    return 0;
}

/* What is in use, when what the dead held has been given back. */
static size_t used(void)
{
    mp_manager_info info;

    MUST(mp_manager_get_info(manager, &info));
    return info.used;
}

/* A container with an integer and a long string in it. */
static mp_value new_container(mp_type type)
{
    static const char text[] = "longer than what fits into a cell";
    mp_dict *inner_dict;
    mp_list *inner_list;

    if (type == MP_DICT) {
        MUST(mp_manager_dict(manager, &inner_dict));
        MUST(mp_dict_set_int(inner_dict, "id", 7));
        MUST(mp_dict_set_str(inner_dict, "text", text));
        return mp_dict_value(inner_dict);
    }
    MUST(mp_manager_list(manager, &inner_list));
    MUST(mp_list_append_int(inner_list, 7));
    MUST(mp_list_append_str(inner_list, text));
    return mp_list_value(inner_list);
}

static int free_container(const mp_value *value)
{
    return value->type == MP_DICT ? mp_dict_free(value->as.dict) : mp_list_free(value->as.list);
}

/* 0: it is whole. */
static int look(const mp_value *value)
{
    int64_t id = 0;
    char text[64];
    int error =
        value->type == MP_DICT ? mp_dict_get_int(value->as.dict, "id", &id) : mp_list_get_int(value->as.list, 0, &id);

    if (error == 0)
        error = value->type == MP_DICT ? mp_dict_get_str(value->as.dict, "text", text, sizeof text, NULL)
                                       : mp_list_get_str(value->as.list, 1, text, sizeof text, NULL);
    return error != 0 || id == 7 ? error : MP_ECORRUPT;
}

/* Runs a function in a child, which must return 0. */
static void in_child(mp_process_function *function, void *arg)
{
    mp_process *process;
    int exitcode;

    assert_int_equal(mp_process_start(&process, function, arg, NULL), 0);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(mp_process_exitcode(process, &exitcode), 0);
    assert_int_equal(mp_process_free(process), 0);
    assert_int_equal(exitcode, 0);
}

/* ---- sending ---- */

static int put_into_list(const mp_value *value)
{
    return mp_list_append(list, *value);
}

static int take_from_list(mp_value *value)
{
    return mp_list_pop(list, 0, value);
}

static int insert_into_list(const mp_value *value)
{
    return mp_list_insert(list, 0, *value);
}

static int take_last_of_list(mp_value *value)
{
    return mp_list_pop(list, -1, value);
}

static int put_many_into_list(const mp_value *value)
{
    return mp_list_extend_values(list, value, 1);
}

static int put_into_dict(const mp_value *value)
{
    return mp_dict_set(dict, mp_str("sent"), *value);
}

static int take_from_dict(mp_value *value)
{
    return mp_dict_pop(dict, mp_str("sent"), value);
}

static int take_newest_of_dict(mp_value *value)
{
    return mp_dict_popitem(dict, NULL, value);
}

static int take_or_default(mp_value *value)
{
    return mp_dict_pop_default(dict, mp_str("sent"), mp_none(), value);
}

static const struct way {
    const char *name;
    int (*put)(const mp_value *value);
    int (*take)(mp_value *value);
} ways[] = {
    {"append, pop the first", put_into_list, take_from_list},
    {"insert, pop the last", insert_into_list, take_last_of_list},
    {"extend, pop the first", put_many_into_list, take_from_list},
    {"set, pop", put_into_dict, take_from_dict},
    {"set, popitem", put_into_dict, take_newest_of_dict},
    {"set, pop or default", put_into_dict, take_or_default},
};

struct sending {
    const struct way *way;
    mp_type type;
    bool free_first; /* the sender frees before the other side takes */
};

static int send_one(void *arg)
{
    const struct sending *sending = arg;
    mp_value value = new_container(sending->type);

    MUST(sending->way->put(&value));
    if (sending->free_first)
        MUST(free_container(&value));
    return 0;
}

/* The sender is another process, which has ended by the time it is taken; or this one, which frees its own after that. */
static void send_and_take(struct sending *sending)
{
    mp_value own = mp_none(), taken;

    if (sending->free_first) {
        in_child(send_one, sending);
    } else {
        own = new_container(sending->type);
        assert_int_equal(sending->way->put(&own), 0);
    }
    assert_int_equal(sending->way->take(&taken), 0);
    assert_int_equal(taken.type, sending->type);
    assert_int_equal(look(&taken), 0);
    if (!sending->free_first)
        assert_int_equal(free_container(&own), 0);
    assert_int_equal(look(&taken), 0);
    mp_value stale = taken;
    mp_value_free(&taken);
    assert_int_equal(look(&stale), MP_EINVAL);
    assert_int_equal(free_container(&stale), MP_EINVAL);
}

static void what_is_sent_arrives_whole(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(ways) * 4; i++) {
        struct sending sending = {&ways[i / 4], i & 1 ? MP_DICT : MP_LIST, (i & 2) != 0};

        send_and_take(&sending);
        size_t before = used();
        for (int k = 0; k < TIMES; k++)
            send_and_take(&sending);
        if (used() > before + SLACK)
            fail_msg("%s: memory has been lost", sending.way->name);
    }
}

/* ---- values that are handed out ---- */

static int by_dict_get(mp_value *value)
{
    return mp_dict_get(dict, mp_str("x"), value);
}

static int by_dict_get_default(mp_value *value)
{
    return mp_dict_get_default(dict, mp_str("x"), mp_none(), value);
}

static int by_setdefault(mp_value *value)
{
    return mp_dict_setdefault(dict, mp_str("x"), mp_none(), value);
}

static int by_get_many(mp_value *value)
{
    const mp_value key = mp_str("x");

    return mp_dict_get_many(dict, &key, value, 1, NULL);
}

static int by_dict_pop(mp_value *value)
{
    return mp_dict_pop(dict, mp_str("x"), value);
}

static int by_list_get(mp_value *value)
{
    return mp_list_get(list, 0, value);
}

static int by_list_pop(mp_value *value)
{
    return mp_list_pop(list, 0, value);
}

/* The holding counterparts of the borrowing calls: what they give is made a value that is freed as one. */
static int by_dict_hold(mp_value *value)
{
    mp_dict *inner_dict;
    mp_list *inner_list;
    int error = mp_dict_hold_dict(dict, "x", &inner_dict);

    if (error == 0)
        *value = mp_dict_value(inner_dict);
    if (error == MP_ETYPE) {
        error = mp_dict_hold_list(dict, "x", &inner_list);
        *value = mp_list_value(inner_list);
    }
    return error;
}

static int by_list_hold(mp_value *value)
{
    mp_dict *inner_dict;
    mp_list *inner_list;
    int error = mp_list_hold_dict(list, 0, &inner_dict);

    if (error == 0)
        *value = mp_dict_value(inner_dict);
    if (error == MP_ETYPE) {
        error = mp_list_hold_list(list, 0, &inner_list);
        *value = mp_list_value(inner_list);
    }
    return error;
}

static const struct giver {
    const char *name;
    int (*give)(mp_value *value);
    bool by_handle; /* freed by mp_dict_free() or mp_list_free() */
} givers[] = {
    {"mp_dict_get", by_dict_get, false},          {"mp_dict_get_default", by_dict_get_default, false},
    {"mp_dict_setdefault", by_setdefault, false}, {"mp_dict_get_many", by_get_many, false},
    {"mp_dict_pop", by_dict_pop, false},          {"mp_list_get", by_list_get, false},
    {"mp_list_pop", by_list_pop, false},          {"mp_dict_hold_dict", by_dict_hold, true},
    {"mp_list_hold_dict", by_list_hold, true},
};

/* In both, so that it goes away only when both are emptied. */
static void store(mp_type type)
{
    mp_value value = new_container(type);

    assert_int_equal(mp_dict_set(dict, mp_str("x"), value), 0);
    assert_int_equal(mp_list_append(list, value), 0);
    assert_int_equal(free_container(&value), 0);
}

static void empty(void)
{
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_int_equal(mp_list_clear(list), 0);
}

static void get_and_free(const struct giver *giver, mp_type type)
{
    mp_value value;

    store(type);
    assert_int_equal(giver->give(&value), 0);
    empty();
    assert_int_equal(look(&value), 0);
    mp_value stale = value;
    if (giver->by_handle)
        assert_int_equal(free_container(&value), 0);
    else
        mp_value_free(&value);
    assert_int_equal(look(&stale), MP_EINVAL);
}

static void a_value_holds_what_it_names(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(givers) * 2; i++) {
        mp_type type = i & 1 ? MP_DICT : MP_LIST;

        get_and_free(&givers[i / 2], type);
        size_t before = used();
        for (int k = 0; k < TIMES; k++)
            get_and_free(&givers[i / 2], type);
        if (used() > before + SLACK)
            fail_msg("%s: memory has been lost", givers[i / 2].name);
    }
}

static void a_handle_held_twice_is_freed_twice(void **state)
{
    (void)state;

    for (int i = 0; i < 2; i++) {
        mp_value value = new_container(i == 0 ? MP_DICT : MP_LIST);

        assert_int_equal(i == 0 ? mp_dict_hold(value.as.dict) : mp_list_hold(value.as.list), 0);
        assert_int_equal(free_container(&value), 0);
        assert_int_equal(look(&value), 0);
        assert_int_equal(free_container(&value), 0);
        assert_int_equal(free_container(&value), MP_EINVAL);
    }
}

/* What an iterator shows lives until its next step, also when it was removed. */
static void an_iterator_holds_what_it_shows(void **state)
{
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
    mp_value from_dict, from_list;
    (void)state;

    store(MP_DICT);
    assert_int_equal(mp_dict_iter_create(&dict_iter, dict), 0);
    assert_int_equal(mp_list_iter_create(&list_iter, list), 0);
    assert_int_equal(mp_dict_next(dict_iter, NULL, &from_dict), 0);
    assert_int_equal(mp_list_next(list_iter, &from_list), 0);
    empty();
    assert_int_equal(look(&from_dict), 0);
    assert_int_equal(mp_dict_next(dict_iter, NULL, NULL), MP_ESTOP);
    assert_int_equal(look(&from_list), 0);
    assert_int_equal(mp_list_iter_free(list_iter), 0);
    assert_int_equal(look(&from_list), MP_EINVAL);
    assert_int_equal(mp_dict_iter_free(dict_iter), 0);
}

/* ---- borrowed handles ---- */

static void a_stale_handle_never_leads_elsewhere(void **state)
{
    const int times = 100000; /* each is a container in the place of the one before */
    mp_dict *borrowed, *fresh;
    int64_t id;
    (void)state;

    store(MP_DICT);
    assert_int_equal(mp_dict_get_dict(dict, "x", &borrowed), 0);
    empty();
    for (int i = 0; i < times; i++) {
        assert_int_equal(mp_manager_dict(manager, &fresh), 0);
        assert_int_equal(mp_dict_set_int(fresh, "id", i), 0);
        assert_int_equal(mp_dict_get_int(borrowed, "id", &id), MP_EINVAL);
        assert_int_equal(mp_dict_set_int(borrowed, "id", 1), MP_EINVAL);
        assert_int_equal(mp_dict_free(borrowed), MP_EINVAL);
        assert_int_equal(mp_dict_free(fresh), 0);
    }
}

/* Replaces the dict under "x", and makes others in between, all of which are none of it. */
static int replace_all_the_time(void *arg)
{
    _Atomic int *stop = arg;

    for (int i = 1; atomic_load(stop) == 0; i++) {
        mp_dict *unrelated, *next;

        MUST(mp_manager_dict(manager, &unrelated));
        MUST(mp_dict_set_int(unrelated, "id", -1));
        MUST(mp_manager_dict(manager, &next));
        MUST(mp_dict_set_int(next, "id", i));
        MUST(mp_dict_set_dict(dict, "x", next));
        MUST(mp_dict_free(next));
        MUST(mp_dict_free(unrelated));
    }
    return 0;
}

static int read_borrowed(int64_t *id)
{
    mp_dict *inner;

    MUST(mp_dict_get_dict(dict, "x", &inner));
    return mp_dict_get_int(inner, "id", id);
}

static int read_held(int64_t *id)
{
    mp_dict *inner;

    MUST(mp_dict_hold_dict(dict, "x", &inner));
    MUST(mp_dict_get_int(inner, "id", id));
    MUST(mp_dict_free(inner));
    return 0;
}

static int read_value(int64_t *id)
{
    mp_value value;

    MUST(mp_dict_get(dict, mp_str("x"), &value));
    MUST(mp_dict_get_int(value.as.dict, "id", id));
    mp_value_free(&value);
    return 0;
}

static const struct reading {
    const char *name;
    int (*read)(int64_t *id);
    bool may_be_gone;
} readings[] = {
    {"borrowed", read_borrowed, true},
    {"held", read_held, false},
    {"a value", read_value, false},
};

/* One is replaced by the next: so numbers never fall. */
static void what_is_replaced_is_the_old_or_the_new_one(void **state)
{
    _Atomic int *stop = mmap(NULL, sizeof *stop, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mp_process *writer;
    mp_dict *first;
    (void)state;

    assert_ptr_not_equal(stop, MAP_FAILED);
    for (size_t i = 0; i < COUNT(readings); i++) {
        int64_t last = 0, id = 0;

        assert_int_equal(mp_manager_dict(manager, &first), 0);
        assert_int_equal(mp_dict_set_int(first, "id", 0), 0);
        assert_int_equal(mp_dict_set_dict(dict, "x", first), 0);
        assert_int_equal(mp_dict_free(first), 0);
        atomic_store(stop, 0);
        assert_int_equal(mp_process_start(&writer, replace_all_the_time, stop, NULL), 0);
        double end = now() + PATIENCE;
        for (int reads = 0; (reads < 20000 || last < 100) && now() < end; reads++) {
            int error = readings[i].read(&id);

            if (error == MP_EINVAL && readings[i].may_be_gone)
                continue;
            assert_int_equal(error, 0);
            if (id < last)
                fail_msg("%s: %lld after %lld", readings[i].name, (long long)id, (long long)last);
            last = id;
        }
        atomic_store(stop, 1);
        assert_int_equal(mp_process_join(writer, PATIENCE), 0);
        assert_int_equal(mp_process_free(writer), 0);
        assert_true(last >= 100);
    }
    munmap(stop, sizeof *stop);
}

/* ---- processes that die ---- */

static void hold_new(void)
{
    new_container(MP_DICT);
    new_container(MP_LIST);
}

static void hold_values(void)
{
    mp_value value;

    for (size_t i = 0; i < COUNT(givers); i++) {
        store(MP_DICT);
        MUST(givers[i].give(&value));
        empty();
    }
}

static void hold_by_iterators(void)
{
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
    mp_value value;

    store(MP_LIST);
    MUST(mp_dict_iter_create(&dict_iter, dict));
    MUST(mp_list_iter_create(&list_iter, list));
    MUST(mp_dict_next(dict_iter, NULL, &value));
    MUST(mp_list_next(list_iter, &value));
    empty();
}

static void hold_derived(void)
{
    mp_dict *copy;
    mp_list *lists[5];

    store(MP_DICT);
    MUST(mp_dict_copy(dict, &copy));
    MUST(mp_dict_items(dict, &lists[0]));
    MUST(mp_dict_values(dict, &lists[1]));
    MUST(mp_list_copy(list, &lists[2]));
    MUST(mp_list_slice(list, 0, 1, 1, &lists[3]));
    MUST(mp_list_repeat(list, 3, &lists[4]));
    empty();
}

static const struct holding {
    const char *name;
    void (*hold)(void);
} holdings[] = {
    {"made and not stored", hold_new},
    {"values", hold_values},
    {"what iterators show", hold_by_iterators},
    {"copies and slices", hold_derived},
};

static int hold_and_die(void *arg)
{
    ((const struct holding *)arg)->hold();
    kill(getpid(), SIGKILL);
    return 0;
}

static void let_one_die(const struct holding *holding)
{
    mp_process *process;
    int exitcode;

    assert_int_equal(mp_process_start(&process, hold_and_die, (void *)(uintptr_t)holding, NULL), 0);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(mp_process_exitcode(process, &exitcode), 0);
    assert_int_equal(exitcode, -SIGKILL);
    assert_int_equal(mp_process_free(process), 0);
}

static void what_a_killed_process_held_is_given_back(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT(holdings); i++) {
        let_one_die(&holdings[i]);
        size_t before = used();
        for (int k = 0; k < TIMES; k++)
            let_one_die(&holdings[i]);
        if (used() > before + SLACK)
            fail_msg("%s: memory has been lost", holdings[i].name);
    }
}

struct heirs {
    _Atomic int ready, stop;
    mp_dict *_Atomic held;
};

/* Forks a child that goes on with the handle, and dies itself. */
static int die_before_the_child(void *arg)
{
    struct heirs *heirs = arg;
    mp_value value = new_container(MP_DICT);

    pid_t pid = fork();
    if (pid == 0) {
        atomic_store(&heirs->held, value.as.dict);
        atomic_store(&heirs->ready, 1);
        while (atomic_load(&heirs->stop) == 0)
            usleep(1000);
        _exit(look(&value) == 0 ? 0 : 1);
    }
    while (atomic_load(&heirs->ready) == 0)
        usleep(1000);
    kill(getpid(), SIGKILL);
    return 0;
}

static bool is_gone(void *arg)
{
    mp_value value = mp_dict_value(arg);

    used();
    return look(&value) == MP_EINVAL;
}

static void a_hold_lives_with_those_who_inherited_it(void **state)
{
    struct heirs *heirs = mmap(NULL, sizeof *heirs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mp_process *process;
    (void)state;

    assert_ptr_not_equal(heirs, MAP_FAILED);
    assert_int_equal(mp_process_start(&process, die_before_the_child, heirs, NULL), 0);
    assert_int_equal(mp_process_join(process, PATIENCE), 0);
    assert_int_equal(mp_process_free(process), 0);
    used();
    mp_value value = mp_dict_value(atomic_load(&heirs->held));
    assert_int_equal(look(&value), 0);
    atomic_store(&heirs->stop, 1);
    assert_true(wait_until(is_gone, value.as.dict, PATIENCE));
    munmap(heirs, sizeof *heirs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_sent_arrives_whole),
        TEST(a_value_holds_what_it_names),
        TEST(a_handle_held_twice_is_freed_twice),
        TEST(an_iterator_holds_what_it_shows),
        TEST(a_stale_handle_never_leads_elsewhere),
        TEST(what_is_replaced_is_the_old_or_the_new_one),
        TEST(what_a_killed_process_held_is_given_back),
        TEST(a_hold_lives_with_those_who_inherited_it),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
