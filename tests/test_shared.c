/* Dicts and lists used by several processes at once, some of which are killed. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

enum { PROCESSES = 8, ROUNDS = 20000 };

struct shared {
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
};

static struct shared shared;

static int make(void **state)
{
    (void)state;
    return mp_manager_create(&shared.manager, NULL) != 0 || mp_manager_dict(shared.manager, &shared.dict) != 0 ||
           mp_manager_list(shared.manager, &shared.list) != 0;
}

static int drop(void **state)
{
    (void)state;
    return mp_manager_check(shared.manager) != 0 || mp_manager_free(shared.manager) != 0;
}

static void run_everywhere(mp_process_function *function)
{
    mp_process *process[PROCESSES];
    int code;

    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(mp_process_start(&process[i], function, &shared, NULL), 0);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(mp_process_join(process[i], 120), 0);
        assert_int_equal(mp_process_exitcode(process[i], &code), 0);
        assert_int_equal(code, 0);
        assert_int_equal(mp_process_free(process[i]), 0);
    }
}

static int add_and_swap(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t value;

        if (mp_dict_add_int(s->dict, "sum", 1, NULL) != 0)
            return 1;
        do {
            if (mp_dict_get_int(s->dict, "swapped", &value) != 0)
                return 2;
        } while (mp_dict_compare_and_swap(s->dict, mp_str("swapped"), mp_int(value), mp_int(value + 1)) != 0);
    }
    return 0;
}

static void no_update_is_lost(void **state)
{
    int64_t value;
    (void)state;

    assert_int_equal(mp_dict_set_int(shared.dict, "swapped", 0), 0);
    run_everywhere(add_and_swap);
    assert_int_equal(mp_dict_get_int(shared.dict, "sum", &value), 0);
    assert_int_equal(value, PROCESSES * ROUNDS);
    assert_int_equal(mp_dict_get_int(shared.dict, "swapped", &value), 0);
    assert_int_equal(value, PROCESSES * ROUNDS);
}

static int pop_all(void *arg)
{
    struct shared *s = arg;
    mp_value value;
    int error;

    while ((error = mp_list_pop(s->list, rand() % 2 ? -1 : 0, &value)) == 0) {
        if (mp_dict_add(s->dict, mp_int(value.as.integer), 1, NULL) != 0)
            return 1;
    }
    return error == MP_EINDEX ? 0 : 2;
}

static int append_some(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < ROUNDS / 10; i++) {
        if (mp_list_append_int(s->list, (int64_t)getpid() * ROUNDS + i) != 0)
            return 1;
    }
    return 0;
}

static void each_element_is_popped_once(void **state)
{
    mp_dict_iter *iter;
    mp_value key, value;
    size_t length;
    (void)state;

    run_everywhere(append_some);
    run_everywhere(pop_all);
    assert_int_equal(mp_dict_length(shared.dict, &length), 0);
    assert_int_equal(length, PROCESSES * (ROUNDS / 10));
    assert_int_equal(mp_dict_iter_create(&iter, shared.dict), 0);
    while (mp_dict_next(iter, &key, &value) == 0)
        assert_int_equal(value.as.integer, 1);
    mp_dict_iter_free(iter);
}

/* Readers see a value of a writer's, whole, whatever the writers do. */
static int read_or_write(void *arg)
{
    struct shared *s = arg;
    bool writer = getpid() % 2 == 0;
    char text[64], key[16];

    srand((unsigned)getpid());
    for (int i = 0; i < ROUNDS; i++) {
        size_t length;

        snprintf(key, sizeof key, "%d", rand() % 50);
        if (writer) {
            size_t size = (size_t)(rand() % 40);

            memset(text, 'a' + rand() % 26, size);
            text[size] = 0;
            if (rand() % 5 == 0)
                mp_dict_delete(s->dict, key);
            else if (mp_dict_set_str(s->dict, key, text) != 0)
                return 1;
            continue;
        }
        int error = mp_dict_get_str(s->dict, key, text, sizeof text, &length);
        if (error == MP_EKEY)
            continue;
        if (error != 0 || strlen(text) != length || (length > 0 && strspn(text, (char[]){text[0], 0}) != length))
            return 2;
    }
    return 0;
}

static void readers_never_see_halves(void **state)
{
    (void)state;
    run_everywhere(read_or_write);
}

/* Changes everything, all the time, until killed. */
static int work_until_killed(void *arg)
{
    struct shared *s = arg;
    char key[64], text[128];

    srand((unsigned)getpid());
    while (s->dict != NULL) {
        int n = rand() % 100;

        snprintf(key, sizeof key, n % 2 ? "%d" : "a key of more than sixteen bytes %d", n);
        memset(text, 'x', sizeof text);
        text[rand() % 127] = 0;
        switch (rand() % 12) {
        case 0: case 1: case 2:
            mp_dict_set_str(s->dict, key, text);
            break;
        case 3:
            mp_dict_delete(s->dict, key);
            break;
        case 4:
            mp_dict_set_list(s->dict, key, s->list);
            break;
        case 5:
            mp_dict_move(s->dict, mp_str(key), mp_str("a place to move things to"));
            break;
        case 6:
            mp_list_append_str(s->list, text);
            break;
        case 7:
            mp_list_pop(s->list, rand() % 3 - 1, NULL);
            break;
        case 8:
            mp_list_insert(s->list, 2, mp_str(text));
            break;
        case 9:
            mp_dict_transfer_int(s->dict, "from", "to", 1);
            break;
        case 10:
            mp_list_delete_slice(s->list, 50, MP_END, 1);
            break;
        default:
            if (rand() % 50 == 0)
                mp_dict_clear(s->dict);
            mp_list_reverse(s->list);
            break;
        }
    }
    return 0;
}

static void a_killed_writer_leaves_all_whole(void **state)
{
    (void)state;
    srand(11);
    for (int i = 0; i < 300; i++) {
        mp_process *process[2];
        int64_t from = 0, to = 0;

        for (int j = 0; j < 2; j++)
            assert_int_equal(mp_process_start(&process[j], work_until_killed, &shared, NULL), 0);
        usleep((useconds_t)(rand() % 4000));
        for (int j = 0; j < 2; j++) {
            assert_int_equal(mp_process_kill(process[j]), 0);
            assert_int_equal(mp_process_join(process[j], 60), 0);
            assert_int_equal(mp_process_free(process[j]), 0);
        }
        assert_int_equal(mp_manager_check(shared.manager), 0);
        /* Both or neither, since the last clear(). */
        mp_dict_get_int(shared.dict, "from", &from);
        mp_dict_get_int(shared.dict, "to", &to);
        assert_int_equal(from + to, 0);
        assert_int_equal(mp_dict_set_int(shared.dict, "still", i), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_update_is_lost),
        TEST(each_element_is_popped_once),
        TEST(readers_never_see_halves),
        TEST(a_killed_writer_leaves_all_whole),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
