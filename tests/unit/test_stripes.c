/* Dicts that several processes contend for: writers of single words work in parallel, and other calls see no
 * difference. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dict/dict_entry.h"
#include "manager_fixture.h"
#include "support.h"

#define SECONDS 60.0

static struct object *object(void)
{
    return object_of(dict);
}

static bool is_striped(void)
{
    return dict_word(object(), DICT_LIVE) > 0 && atomic_load(&object()->striped) == 1;
}

static void stripe(void)
{
    assert_int_equal(object_lock(dict, OBJECT_DICT), 0);
    stripes_make(object());
    object_unlock(object());
    assert_true(is_striped());
}

static int make(void **state)
{
    return make_manager(state) != 0 || mp_dict_set_int(dict, "a", 1) != 0 || mp_dict_set_int(dict, "b", 2) != 0 ||
           mp_dict_set_str(dict, "s", "a string of some length") != 0;
}

static int drop(void **state)
{
    return drop_manager(state);
}

static pthread_mutex_t *stripe_for(const char *text)
{
    struct key key;

    assert_int_equal(key_prepare_str(object_heap(object()), text, &key), 0);
    return stripe_of(object(), key.hash);
}

static bool somebody_holds_the_mutex(void *arg)
{
    pid_t thread;

    (void)arg;
    return robust_mutex_held(&object()->mutex, &thread);
}

/* ---- side by side ---- */

static int put_words(void *arg)
{
    (void)arg;
    return mp_dict_set_int(dict, "a", 10) != 0 || mp_dict_add_int(dict, "b", 5, NULL) != 0;
}

static void words_are_put_while_another_holds_the_mutex(void **state)
{
    mp_process *process;
    int64_t a, b;
    (void)state;

    stripe();
    assert_int_equal(object_lock_alone(dict, OBJECT_DICT), 0);
    assert_int_equal(mp_process_start(&process, put_words, NULL, NULL), 0);
    assert_int_equal(exit_code(process), 0);
    object_unlock(object());
    assert_int_equal(mp_dict_get_int(dict, "a", &a), 0);
    assert_int_equal(mp_dict_get_int(dict, "b", &b), 0);
    assert_int_equal(a, 10);
    assert_int_equal(b, 7);
}

static volatile int *about_to_put; /* shared: the pid of the process that is */

static int put_a(void *arg)
{
    (void)arg;
    *about_to_put = getpid();
    return mp_dict_set_int(dict, "a", 77);
}

/* Whether the other process sleeps: it waits for the stripe, because there is nothing else to wait for. */
static bool the_other_sleeps(void *arg)
{
    (void)arg;
    return *about_to_put != 0 && process_state(*about_to_put) == 'S';
}

/* A process has found an entry and waits for its stripe, and the entry is removed. */
static void nothing_is_put_where_an_entry_was(void **state)
{
    struct object *o = object();
    _Atomic uint64_t *slot = NULL;
    mp_process *process;
    struct key key;
    int64_t a;
    (void)state;

    stripe();
    about_to_put = shared_memory(sizeof *about_to_put);
    assert_int_equal(pthread_mutex_lock(stripe_for("a")), 0);
    assert_int_equal(mp_process_start(&process, put_a, NULL, NULL), 0);
    assert_true(wait_until(the_other_sleeps, NULL, SECONDS));
    assert_int_equal(object_lock_alone(dict, OBJECT_DICT), 0);
    assert_int_equal(key_prepare_str(object_heap(o), "a", &key), 0);
    struct entry *entry = dict_find(object_heap(o), o, &key, &slot);
    object_begin(o);
    dict_take_out(o, entry, slot, &o->pending[1], &o->pending[0]);
    object_commit(o);
    object_unlock(o);
    assert_int_equal(pthread_mutex_unlock(stripe_for("a")), 0);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(mp_dict_get_int(dict, "a", &a), 0);
    assert_int_equal(a, 77);
    munmap((void *)about_to_put, sizeof *about_to_put);
}

/* ---- calls that remove, move, or want a consistent view wait for one that puts a word ---- */

static int copy_and_look(void *arg)
{
    mp_dict *copy;
    int64_t a = 0;

    (void)arg;
    if (mp_dict_copy(dict, &copy) != 0 || mp_dict_get_int(copy, "a", &a) != 0 || mp_dict_free(copy) != 0)
        return 1;
    return a == 99 ? 0 : 2;
}

static int pop_and_look(void *arg)
{
    mp_value value = mp_value_none();

    (void)arg;
    if (mp_dict_pop(dict, mp_value_str("a"), &value) != 0)
        return 1;
    return value.as.integer == 99 ? 0 : 2;
}

/* Small dicts move when they grow. */
static int insert_until_moved(void *arg)
{
    uint64_t epoch = dict_word(object(), DICT_EPOCH);
    int64_t a = 0;

    (void)arg;
    for (int i = 0; dict_word(object(), DICT_EPOCH) == epoch; i++) {
        if (mp_dict_set(dict, mp_value_int(i), mp_value_int(i)) != 0)
            return 1;
    }
    return mp_dict_get_int(dict, "a", &a) == 0 && a == 99 ? 0 : 2;
}

static int double_it(mp_value *value, bool present, void *arg)
{
    (void)arg;
    *value = mp_value_int(value->as.integer * 2);
    return present ? 0 : 1;
}

static int apply_and_look(void *arg)
{
    int64_t a = 0;

    (void)arg;
    if (mp_dict_apply(dict, mp_value_str("a"), double_it, NULL) != 0 || mp_dict_get_int(dict, "a", &a) != 0)
        return 1;
    return a == 198 ? 0 : 2;
}

static int clear_and_look(void *arg)
{
    size_t length = 9;

    (void)arg;
    return mp_dict_clear(dict) == 0 && mp_dict_length(dict, &length) == 0 && length == 0 ? 0 : 1;
}

/* The test holds the stripe. It waits until the other process has got as far as it can, which the mutex shows, and then
 * puts the word. The other's operation must come after that. */
static void waits_for_the_stripe(int (*function)(void *))
{
    mp_process *process;
    struct key key;

    stripe();
    assert_int_equal(key_prepare_str(object_heap(object()), "a", &key), 0);
    struct entry *entry = dict_find(object_heap(object()), object(), &key, NULL);
    assert_non_null(entry);
    assert_int_equal(pthread_mutex_lock(stripe_for("a")), 0);
    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    assert_true(wait_until(somebody_holds_the_mutex, NULL, SECONDS));
    atomic_store(&entry->value.body, 99);
    assert_int_equal(pthread_mutex_unlock(stripe_for("a")), 0);
    assert_int_equal(exit_code(process), 0);
}

static void a_copy_is_of_one_moment(void **state)
{
    (void)state;
    waits_for_the_stripe(copy_and_look);
}

static void what_is_popped_is_the_last_value(void **state)
{
    (void)state;
    waits_for_the_stripe(pop_and_look);
}

static void what_is_moved_keeps_its_last_value(void **state)
{
    (void)state;
    waits_for_the_stripe(insert_until_moved);
}

static void a_function_sees_the_last_value(void **state)
{
    (void)state;
    waits_for_the_stripe(apply_and_look);
}

static void clearing_comes_after(void **state)
{
    (void)state;
    waits_for_the_stripe(clear_and_look);
}

static int reenter(mp_value *value, bool present, void *arg)
{
    (void)arg;
    (void)value;
    (void)present;
    return mp_dict_set_int(dict, "b", 1) == MP_EDEADLK && mp_dict_add_int(dict, "a", 1, NULL) == MP_EDEADLK ? 42 : 1;
}

static void inside_a_function_it_is_still_a_deadlock(void **state)
{
    (void)state;
    stripe();
    assert_int_equal(mp_dict_apply(dict, mp_value_str("s"), reenter, NULL), 42);
}

/* ---- deaths, and dead dicts ---- */

static int die_holding_a_stripe(void *arg)
{
    (void)arg;
    pthread_mutex_lock(stripe_for("a"));
    raise(SIGKILL);
    return 1;
}

static void the_stripe_of_a_dead_holder_is_taken(void **state)
{
    mp_process *process;
    int64_t a;
    (void)state;

    stripe();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_process_start(&process, die_holding_a_stripe, NULL, NULL), 0);
        assert_int_equal(exit_code(process), -SIGKILL);
        assert_int_equal(i == 0 ? mp_dict_set_int(dict, "a", 5) : mp_dict_remove(dict, mp_value_str("b")), 0);
    }
    assert_int_equal(mp_dict_add_int(dict, "a", 1, &a), 0);
    assert_int_equal(a, 6);
}

static int die_holding_all(void *arg)
{
    (void)arg;
    if (object_lock(dict, OBJECT_DICT) != 0)
        return 1;
    object_begin(object());
    raise(SIGKILL);
    return 1;
}

/* The remaining entries were moved to the beginning of the dict, and then a process stops in the middle of a change. */
static void an_iterator_finds_its_place_past_a_change(void **state)
{
    enum { ALL = 100, GIVEN = 90 };
    mp_dict_iter *iter;
    mp_value key;
    (void)state;

    assert_int_equal(mp_dict_clear(dict), 0);
    for (int i = 0; i < ALL; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_int(i)), 0);
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    for (int i = 0; i < GIVEN; i++)
        assert_int_equal(mp_dict_next(iter, &key, NULL), 0);
    for (int i = 0; i < GIVEN; i++)
        assert_int_equal(mp_dict_remove(dict, mp_value_int(i)), 0);
    uint64_t epoch = dict_word(object(), DICT_EPOCH);
    for (int i = ALL; dict_word(object(), DICT_EPOCH) == epoch; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_int(i)), 0);
    assert_true(dict_word(object(), DICT_USED) < GIVEN);
    assert_int_equal(object_lock(dict, OBJECT_DICT), 0);
    object_begin(object());
    for (int i = GIVEN; i < ALL; i++) {
        assert_int_equal(mp_dict_next(iter, &key, NULL), 0);
        assert_int_equal(key.as.integer, i);
    }
    assert_int_equal(mp_dict_next(iter, &key, NULL), MP_ESTOP);
    object_commit(object());
    object_unlock(object());
    assert_int_equal(mp_dict_iter_free(iter), 0);
}

static void a_change_half_done_is_taken_back_first(void **state)
{
    mp_process *process;
    (void)state;

    stripe();
    assert_int_equal(mp_process_start(&process, die_holding_all, NULL, NULL), 0);
    assert_int_equal(exit_code(process), -SIGKILL);
    assert_int_equal(mp_dict_set_int(dict, "a", 5), 0);
    assert_int_equal(word_get(&object()->version) % 2, 0);
}

static void the_next_dict_in_its_place_has_none(void **state)
{
    mp_dict *old = dict;
    (void)state;

    stripe();
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_ptr_equal(object_of(dict), object_of(old));
    assert_int_equal(atomic_load(&object()->striped), 0);
    assert_int_equal(mp_dict_set_int(dict, "a", 1), 0);
    stripe();
    assert_int_equal(mp_dict_set_int(dict, "a", 2), 0);
}

/* ---- stripes that arise by contention ---- */

#define WRITERS 4
#define ADDITIONS 20000

static int add_here_and_there(void *arg)
{
    int own = *(int *)arg;
    char key[16];

    snprintf(key, sizeof key, "own %d", own);
    for (int i = 0; i < ADDITIONS; i++) {
        if (mp_dict_add_int(dict, key, 1, NULL) != 0 || mp_dict_add_int(dict, "a", 1, NULL) != 0)
            return 1;
        if (i % 64 == 0 &&
            (mp_dict_set(dict, mp_value_int(own), mp_value_str("comes and goes")) != 0 ||
             mp_dict_remove(dict, mp_value_int(own)) != 0 || mp_dict_transfer_int(dict, "a", "b", 1) != 0))
            return 2;
    }
    return 0;
}

/* Repeats rounds until the processes have met often enough. */
static void nothing_is_lost_while_stripes_come(void **state)
{
    mp_process *process[WRITERS];
    int number[WRITERS], rounds = 0;
    int64_t sum[2], own;
    char key[16];
    (void)state;

    for (double end = now() + SECONDS; rounds < 2 || (!is_striped() && now() < end); rounds++) {
        for (int i = 0; i < WRITERS; i++) {
            number[i] = i;
            assert_int_equal(mp_process_start(&process[i], add_here_and_there, &number[i], NULL), 0);
        }
        for (int i = 0; i < WRITERS; i++)
            assert_int_equal(exit_code(process[i]), 0);
    }
    assert_int_equal(mp_dict_get_int(dict, "a", &sum[0]), 0);
    assert_int_equal(mp_dict_get_int(dict, "b", &sum[1]), 0);
    assert_int_equal(sum[0] + sum[1], 3 + (int64_t)rounds * WRITERS * ADDITIONS);
    for (int i = 0; i < WRITERS; i++) {
        snprintf(key, sizeof key, "own %d", i);
        assert_int_equal(mp_dict_get_int(dict, key, &own), 0);
        assert_int_equal(own, (int64_t)rounds * ADDITIONS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_are_put_while_another_holds_the_mutex),
        TEST(nothing_is_put_where_an_entry_was),
        TEST(a_copy_is_of_one_moment),
        TEST(what_is_popped_is_the_last_value),
        TEST(what_is_moved_keeps_its_last_value),
        TEST(a_function_sees_the_last_value),
        TEST(clearing_comes_after),
        TEST(inside_a_function_it_is_still_a_deadlock),
        TEST(the_stripe_of_a_dead_holder_is_taken),
        TEST(an_iterator_finds_its_place_past_a_change),
        TEST(a_change_half_done_is_taken_back_first),
        TEST(the_next_dict_in_its_place_has_none),
        TEST(nothing_is_lost_while_stripes_come),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
