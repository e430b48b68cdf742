/* Dicts and values in one process, through the public header. */
#include <mp.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "manager_fixture.h"
#include "support.h"

static void assert_json(mp_dict *printed, const char *expected)
{
    char *text;

    assert_int_equal(mp_dict_json(printed, &text), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void sets_and_gets_every_type(void **state)
{
    bool flag;
    int64_t integer;
    double real;
    char text[64];
    size_t length;
    (void)state;

    assert_int_equal(mp_dict_set_none(dict, "none"), 0);
    assert_int_equal(mp_dict_set_bool(dict, "bool", true), 0);
    assert_int_equal(mp_dict_set_int(dict, "int", INT64_MIN), 0);
    assert_int_equal(mp_dict_set_float(dict, "float", 0.1), 0);
    assert_int_equal(mp_dict_set_str(dict, "str", "a text of more than eight bytes"), 0);
    assert_int_equal(mp_dict_set_bytes(dict, "bytes", "a\0b", 3), 0);
    assert_int_equal(mp_dict_get_bool(dict, "bool", &flag), 0);
    assert_true(flag);
    assert_int_equal(mp_dict_get_int(dict, "int", &integer), 0);
    assert_true(integer == INT64_MIN);
    assert_int_equal(mp_dict_get_float(dict, "float", &real), 0);
    assert_true(real == 0.1);
    assert_int_equal(mp_dict_get_str(dict, "str", text, sizeof text, &length), 0);
    assert_string_equal(text, "a text of more than eight bytes");
    assert_int_equal(length, 31);
    assert_int_equal(mp_dict_get_bytes(dict, "bytes", text, 3, &length), 0);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(mp_dict_get_str(dict, "str", text, 31, &length), MP_ETOOSMALL);
    assert_int_equal(length, 31);
    assert_int_equal(mp_dict_get_int(dict, "str", &integer), MP_ETYPE);
    assert_int_equal(mp_dict_get_int(dict, "missing", &integer), MP_EKEY);
}

static void equal_numbers_are_one_key(void **state)
{
    mp_value value;
    size_t length;
    (void)state;

    assert_int_equal(mp_dict_set(dict, mp_value_int(1), mp_value_str("int")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_float(1.0), mp_value_str("float")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_bool(true), mp_value_str("bool")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_float(1.5), mp_value_str("other")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_str("1"), mp_value_str("text")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_bytes("1", 1), mp_value_str("bytes")), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_none(), mp_value_str("none")), 0);
    assert_int_equal(mp_dict_length(dict, &length), 0);
    assert_int_equal(length, 5);
    assert_int_equal(mp_dict_get(dict, mp_value_int(1), &value), 0);
    assert_string_equal(value.as.str, "bool");
    mp_value_free(&value);
    assert_int_equal(mp_dict_set(dict, mp_value_dict(dict), mp_value_none()), MP_ETYPE);
}

static void keeps_the_order_of_insertion(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_int(i)), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_int(2), mp_value_int(20)), 0);
    assert_int_equal(mp_dict_remove(dict, mp_value_int(1)), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_int(1), mp_value_int(10)), 0);
    assert_json(dict, "{\"0\": 0, \"2\": 20, \"3\": 3, \"4\": 4, \"1\": 10}");
}

static void removes_in_every_way(void **state)
{
    mp_value key, value;
    (void)state;

    assert_int_equal(mp_dict_set_int(dict, "a", 1), 0);
    assert_int_equal(mp_dict_set_str(dict, "b", "long enough for a block"), 0);
    assert_int_equal(mp_dict_set_int(dict, "c", 3), 0);
    assert_int_equal(mp_dict_popitem(dict, &key, &value), 0);
    assert_string_equal(key.as.str, "c");
    assert_int_equal(value.as.integer, 3);
    mp_value_free(&key);
    assert_int_equal(mp_dict_pop(dict, mp_value_str("b"), &value), 0);
    assert_string_equal(value.as.str, "long enough for a block");
    mp_value_free(&value);
    assert_int_equal(mp_dict_pop(dict, mp_value_str("b"), &value), MP_EKEY);
    assert_int_equal(mp_dict_pop_default(dict, mp_value_str("b"), mp_value_int(7), &value), 0);
    assert_int_equal(value.as.integer, 7);
    assert_int_equal(mp_dict_remove_key(dict, "a"), 0);
    assert_int_equal(mp_dict_remove_key(dict, "a"), MP_EKEY);
    assert_int_equal(mp_dict_popitem(dict, NULL, NULL), MP_EKEY);
    assert_json(dict, "{}");
}

static void atomic_forms(void **state)
{
    int64_t now_value;
    mp_value value;
    (void)state;

    assert_int_equal(mp_dict_add_int(dict, "n", 5, &now_value), 0);
    assert_int_equal(now_value, 5);
    assert_int_equal(mp_dict_add_int(dict, "n", -7, NULL), 0);
    assert_int_equal(mp_dict_add_int(dict, "n", INT64_MIN, NULL), MP_EOVERFLOW);
    assert_int_equal(mp_dict_compare_and_swap(dict, mp_value_str("n"), mp_value_int(-2), mp_value_int(9)), 0);
    assert_int_equal(mp_dict_compare_and_swap(dict, mp_value_str("n"), mp_value_int(-2), mp_value_int(9)), MP_ECHANGED);
    assert_int_equal(mp_dict_compare_and_swap(dict, mp_value_str("x"), mp_value_int(-2), mp_value_int(9)), MP_EKEY);
    assert_int_equal(mp_dict_transfer_int(dict, "n", "m", 4), 0);
    assert_int_equal(mp_dict_transfer_int(dict, "n", "n", 4), 0);
    assert_int_equal(mp_dict_transfer_int(dict, "m", "n", INT64_MIN), MP_EOVERFLOW);
    assert_int_equal(mp_dict_setdefault(dict, mp_value_str("n"), mp_value_int(1), &value), 0);
    assert_int_equal(value.as.integer, 5);
    assert_int_equal(mp_dict_setdefault(dict, mp_value_str("d"), mp_value_str("a default of some length"), NULL), 0);
    assert_int_equal(mp_dict_move(dict, mp_value_str("d"), mp_value_str("n")), 0);
    assert_json(dict, "{\"n\": \"a default of some length\", \"m\": 4}");
    assert_int_equal(mp_dict_move(dict, mp_value_str("m"), mp_value_str("new")), 0);
    assert_json(dict, "{\"n\": \"a default of some length\", \"new\": 4}");
    assert_int_equal(mp_dict_add_int(dict, "n", 1, NULL), MP_ETYPE);
}

#define LONG_KEY "a key of more than sixteen characters"
/* The initial values: longer than fits into an entry, or shorter. */
#define FIRST "\"in a block of its own\""
#define SECOND "\"second\""
#define THIRD "2.5"

/* Python: d = {"a": FIRST, 1: SECOND, LONG_KEY: THIRD}; d[to] = d.pop(from). Checks the order, and which key stays. */
static void moves_as_python_does(void **state)
{
    const mp_value a = mp_value_str("a"), one = mp_value_int(1), real_one = mp_value_float(1),
                   truth = mp_value_bool(true), text = mp_value_str(LONG_KEY);
    const struct {
        mp_value from, to;
        int error;
        const char *after;
    } cases[] = {
        /* Equal keys: the entry becomes the newest, its key is `to`. */
        {a, a, 0, "{\"1\": " SECOND ", \"" LONG_KEY "\": " THIRD ", \"a\": " FIRST "}"},
        {one, one, 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " THIRD ", \"1\": " SECOND "}"},
        {one, real_one, 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " THIRD ", \"1.0\": " SECOND "}"},
        {real_one, truth, 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " THIRD ", \"true\": " SECOND "}"},
        {truth, one, 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " THIRD ", \"1\": " SECOND "}"},
        {text, text, 0, "{\"a\": " FIRST ", \"1\": " SECOND ", \"" LONG_KEY "\": " THIRD "}"},
        /* An existing other key: its entry keeps its place and its key. */
        {a, real_one, 0, "{\"1\": " FIRST ", \"" LONG_KEY "\": " THIRD "}"},
        {text, a, 0, "{\"a\": " THIRD ", \"1\": " SECOND "}"},
        {truth, text, 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " SECOND "}"},
        /* A new key: the entry becomes the newest. */
        {a, mp_value_str("new"), 0, "{\"1\": " SECOND ", \"" LONG_KEY "\": " THIRD ", \"new\": " FIRST "}"},
        {text, mp_value_str(LONG_KEY "!"), 0, "{\"a\": " FIRST ", \"1\": " SECOND ", \"" LONG_KEY "!\": " THIRD "}"},
        {real_one, mp_value_int(2), 0, "{\"a\": " FIRST ", \"" LONG_KEY "\": " THIRD ", \"2\": " SECOND "}"},
        /* KeyError. */
        {mp_value_none(), mp_value_none(), MP_EKEY,
         "{\"a\": " FIRST ", \"1\": " SECOND ", \"" LONG_KEY "\": " THIRD "}"},
        {mp_value_int(2), a, MP_EKEY, "{\"a\": " FIRST ", \"1\": " SECOND ", \"" LONG_KEY "\": " THIRD "}"},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(mp_dict_clear(dict), 0);
        assert_int_equal(mp_dict_set_str(dict, "a", "in a block of its own"), 0);
        assert_int_equal(mp_dict_set(dict, one, mp_value_str("second")), 0);
        assert_int_equal(mp_dict_set_float(dict, LONG_KEY, 2.5), 0);
        assert_int_equal(mp_dict_move(dict, cases[i].from, cases[i].to), cases[i].error);
        assert_json(dict, cases[i].after);
        assert_int_equal(mp_manager_check(manager), 0);
    }
}

/* The entry takes a new place each time; the old places are reused. */
static void moving_for_ever_takes_no_memory(void **state)
{
    enum { ROUNDS = 100000 };
    mp_value key;
    (void)state;

    for (int i = 0; i < 5; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_str("a value in a block of its own")), 0);
    size_t before = used();
    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(
            mp_dict_move(dict, mp_value_int(i % 5), i % 2 == 0 ? mp_value_int(i % 5) : mp_value_float(i % 5)), 0);
    assert_true(used() <= before + 4096);
    assert_int_equal(mp_dict_popitem(dict, &key, NULL), 0);
    assert_true(key.type == MP_FLOAT && key.as.real == (ROUNDS - 1) % 5);
}

static int twice(mp_value *value, bool present, void *arg)
{
    (void)arg;
    if (!present)
        return 42;
    value->as.integer *= 2;
    return 0;
}

static int reenter(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    return mp_dict_set_int(arg, "x", 1);
}

static void applies_a_function(void **state)
{
    int64_t value;
    (void)state;

    assert_int_equal(mp_dict_apply(dict, mp_value_str("n"), twice, NULL), 42);
    assert_int_equal(mp_dict_set_int(dict, "n", 21), 0);
    assert_int_equal(mp_dict_apply(dict, mp_value_str("n"), twice, NULL), 0);
    assert_int_equal(mp_dict_get_int(dict, "n", &value), 0);
    assert_int_equal(value, 42);
    assert_int_equal(mp_dict_apply(dict, mp_value_str("n"), reenter, dict), MP_EDEADLK);
}

/* More than one group of keys, existing and missing ones, of every kind. */
static void many_keys_at_once(void **state)
{
    enum { COUNT = 150 };
    static char text[COUNT][64];
    mp_value keys[COUNT], values[COUNT], found[COUNT];
    size_t done = 0, present = 0;
    (void)state;

    for (int i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof text[i], i % 2 == 0 ? "%d" : "the key of number %d that is long", i);
        keys[i] = i % 5 == 0 ? mp_value_int(i) : mp_value_str(text[i]);
        values[i] = i % 3 == 0 ? mp_value_int(i) : i % 3 == 1 ? mp_value_str(text[i]) : mp_value_none();
    }
    assert_int_equal(mp_dict_set_many(dict, keys, values, COUNT, &done), 0);
    assert_int_equal(done, COUNT);
    assert_int_equal(mp_dict_length(dict, &done), 0);
    assert_int_equal(done, COUNT);
    assert_int_equal(mp_dict_remove(dict, keys[77]), 0);
    assert_int_equal(mp_dict_get_many(dict, keys, found, COUNT, &present), 0);
    assert_int_equal(present, COUNT - 1);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(found[i].type, i == 77 ? MP_NONE : values[i].type);
        if (found[i].type == MP_STR)
            assert_string_equal(found[i].as.str, text[i]);
        if (found[i].type == MP_INT)
            assert_int_equal(found[i].as.integer, i);
        mp_value_free(&found[i]);
    }
    /* Keys are set in order: if a key comes twice, its last value counts. */
    assert_int_equal(mp_dict_set_many(dict, (mp_value[]){mp_value_int(0), mp_value_int(0)},
                                      (mp_value[]){mp_value_int(1), mp_value_int(2)}, 2, NULL),
                     0);
    assert_int_equal(mp_dict_get_many(dict, (mp_value[]){mp_value_int(0)}, found, 1, NULL), 0);
    assert_int_equal(found[0].as.integer, 2);
    assert_int_equal(mp_dict_get_many(dict, NULL, NULL, 0, &present), 0);
    assert_int_equal(present, 0);
    assert_int_equal(mp_dict_set_many(dict, NULL, NULL, 0, NULL), 0);
}

static void many_keys_one_of_them_bad(void **state)
{
    mp_value keys[3] = {mp_value_str("a"), mp_value_str("b"), mp_value_dict(dict)},
             values[3] = {mp_value_int(1), mp_value_str("x"), mp_value_int(3)};
    mp_value bad = {.type = MP_STR}, found[3] = {mp_value_int(9), mp_value_int(9), mp_value_int(9)};
    size_t done = 9;
    (void)state;

    assert_int_equal(mp_dict_set_many(dict, keys, values, 3, &done), MP_ETYPE);
    assert_int_equal(done, 2);
    assert_json(dict, "{\"a\": 1, \"b\": \"x\"}");
    assert_int_equal(mp_dict_get_many(dict, keys, found, 3, &done), MP_ETYPE);
    assert_int_equal(done, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(found[i].type, MP_NONE);
    values[1] = bad;
    assert_int_equal(mp_dict_set_many(dict, (mp_value[]){mp_value_str("c"), mp_value_str("d")}, values, 2, &done),
                     MP_EINVAL);
    assert_int_equal(done, 1);
    assert_json(dict, "{\"a\": 1, \"b\": \"x\", \"c\": 1}");
    assert_int_equal(mp_dict_get_many(dict, NULL, found, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_get_many(dict, keys, NULL, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_set_many(dict, NULL, values, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_set_many(dict, keys, NULL, 1, NULL), MP_EINVAL);
}

static void whole_dicts(void **state)
{
    mp_dict *other, *copy;
    mp_list *items;
    char *text;
    bool equal;
    (void)state;

    assert_int_equal(mp_manager_dict(manager, &other), 0);
    assert_int_equal(mp_dict_set_int(dict, "a", 1), 0);
    assert_int_equal(mp_dict_set_str(dict, "a key of more than sixteen bytes", "a value of some length"), 0);
    assert_int_equal(mp_dict_set_str(other, "a", "replaced by a longer value"), 0);
    assert_int_equal(mp_dict_update(other, dict), 0);
    assert_int_equal(mp_dict_equal(dict, other, &equal), 0);
    assert_true(equal);
    assert_int_equal(mp_dict_copy(dict, &copy), 0);
    assert_int_equal(mp_dict_set_int(copy, "a", 2), 0);
    assert_int_equal(mp_dict_equal(dict, copy, &equal), 0);
    assert_false(equal);
    assert_int_equal(mp_dict_items(dict, &items), 0);
    assert_int_equal(mp_list_json(items, &text), 0);
    assert_string_equal(text, "[[\"a\", 1], [\"a key of more than sixteen bytes\", \"a value of some length\"]]");
    free(text);
    assert_int_equal(mp_list_free(items), 0);
    assert_int_equal(mp_dict_free(copy), 0);
    assert_int_equal(mp_dict_free(copy), MP_EINVAL);
    assert_int_equal(mp_dict_free(other), 0);
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_json(dict, "{}");
}

static void nested_containers_are_shared(void **state)
{
    mp_dict *inner, *found;
    mp_value popped;
    (void)state;

    assert_int_equal(mp_manager_dict(manager, &inner), 0);
    assert_int_equal(mp_dict_set_dict(dict, "inner", inner), 0);
    assert_int_equal(mp_dict_free(inner), 0);
    assert_int_equal(mp_dict_get_dict(dict, "inner", &found), 0);
    assert_int_equal(mp_dict_set_int(found, "x", 1), 0);
    assert_int_equal(mp_dict_set_dict(found, "self", found), 0);
    assert_json(dict, "{\"inner\": {\"x\": 1, \"self\": \"...\"}}");
    assert_int_equal(mp_dict_remove_key(found, "self"), 0);
    assert_int_equal(mp_dict_pop(dict, mp_value_str("inner"), &popped), 0);
    assert_json(popped.as.dict, "{\"x\": 1}");
    assert_int_equal(mp_dict_free(popped.as.dict), 0);
    assert_int_equal(mp_dict_set_int(found, "x", 1), MP_EINVAL);
}

static void prints_valid_json(void **state)
{
    (void)state;
    assert_int_equal(mp_dict_set(dict, mp_value_str("quote\"\\\n\x01"), mp_value_float(1)), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_str("h\xc3\xa9"), mp_value_float(0.1)), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_str("bad\xff"), mp_value_float(1e300 * 1e10)), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_float(2.5), mp_value_bytes("\xff", 1)), 0);
    assert_json(dict, "{\"quote\\\"\\\\\\n\\u0001\": 1.0, \"h\xc3\xa9\": 0.1, \"bad\\ufffd\": 1e999, "
                      "\"2.5\": \"\\u00ff\"}");
}

/* A model: for each key, its value, or -1. */
static void behaves_like_a_model(void **state)
{
    enum { KEYS = 300 };
    int64_t model[KEYS];
    size_t expected = 0, length;
    char key[40];
    (void)state;

    for (int i = 0; i < KEYS; i++)
        model[i] = -1;
    srand(7);
    for (int step = 0; step < 60000; step++) {
        int i = rand() % KEYS, value = rand();
        int64_t found;

        snprintf(key, sizeof key, i % 2 ? "%d" : "a key of more than sixteen bytes %d", i);
        if (rand() % 3 == 0) {
            assert_int_equal(mp_dict_remove_key(dict, key), model[i] < 0 ? MP_EKEY : 0);
            model[i] = -1;
        } else {
            assert_int_equal(mp_dict_set_int(dict, key, value), 0);
            model[i] = value;
        }
        i = rand() % KEYS;
        snprintf(key, sizeof key, i % 2 ? "%d" : "a key of more than sixteen bytes %d", i);
        assert_int_equal(mp_dict_get_int(dict, key, &found), model[i] < 0 ? MP_EKEY : 0);
        if (model[i] >= 0)
            assert_int_equal(found, model[i]);
    }
    for (int i = 0; i < KEYS; i++)
        expected += model[i] >= 0;
    assert_int_equal(mp_dict_length(dict, &length), 0);
    assert_int_equal(length, expected);
}

static void many_entries_and_back(void **state)
{
    mp_manager_info before_info, after;
    int64_t value;
    char key[32];
    (void)state;

    assert_int_equal(mp_manager_get_info(manager, &before_info), 0);
    for (int i = 0; i < 200000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(mp_dict_set_int(dict, key, i), 0);
    }
    assert_int_equal(mp_manager_check(manager), 0);
    for (int i = 0; i < 200000; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_int_equal(mp_dict_get_int(dict, key, &value), 0);
        assert_int_equal(value, i);
        assert_int_equal(mp_dict_remove_key(dict, key), 0);
    }
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_int_equal(mp_manager_get_info(manager, &after), 0);
    assert_int_equal(after.used, before_info.used);
}

static void iterates_while_it_changes(void **state)
{
    mp_dict_iter *iter;
    mp_value key, value;
    int64_t sum = 0, count = 0;
    int error;
    (void)state;

    for (int i = 0; i < 3000; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_int(i)), 0);
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    while ((error = mp_dict_next(iter, &key, &value)) == 0) {
        assert_int_equal(key.as.integer, value.as.integer);
        sum += value.as.integer;
        /* Odd entries behind the iterator are removed, and others are added. Positions move, but no entry is met that
         * was not there at the start. */
        if (++count % 2 == 0)
            mp_dict_remove(dict, mp_value_int(count - 1));
        mp_dict_set(dict, mp_value_int(100000 + count), mp_value_int(-1));
    }
    assert_int_equal(error, MP_ESTOP);
    assert_int_equal(count, 3000);
    assert_int_equal(sum, 3000 * 2999 / 2);
    assert_int_equal(mp_dict_iter_free(iter), 0);
}

static void running_out_of_memory_changes_nothing(void **state)
{
    mp_manager *small;
    mp_dict *root;
    char *large = calloc(1, 1 << 20);
    int64_t value;
    int error = 0, stored = 0;
    (void)state;

    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 18}), 0);
    assert_int_equal(mp_manager_root(small, &root), 0);
    assert_int_equal(mp_dict_set_int(root, "kept", 1), 0);
    assert_int_equal(mp_dict_set_bytes(root, "kept", large, 1 << 20), MP_ENOMEM);
    for (; error == 0; stored += error == 0)
        error = mp_dict_set(root, mp_value_int(stored), mp_value_int(stored));
    assert_int_equal(error, MP_ENOMEM);
    assert_true(stored > 1000);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_dict_get_int(root, "kept", &value), 0);
    assert_int_equal(mp_dict_clear(root), 0);
    assert_int_equal(mp_dict_set_int(root, "again", 1), 0);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
    free(large);
}

static void tells_what_is_there(void **state)
{
    mp_value value;
    size_t length;
    bool found;
    (void)state;

    assert_int_equal(mp_dict_set_none(dict, "none"), 0);
    assert_int_equal(mp_dict_set(dict, mp_value_int(7), mp_value_str("a text of more than eight bytes")), 0);
    assert_int_equal(mp_dict_contains_key(dict, "none", &found), 0);
    assert_true(found);
    assert_int_equal(mp_dict_contains_key(dict, "other", &found), 0);
    assert_false(found);
    assert_int_equal(mp_dict_contains(dict, mp_value_float(7), &found), 0);
    assert_true(found);
    assert_int_equal(mp_dict_contains(dict, mp_value_str("7"), &found), 0);
    assert_false(found);
    assert_int_equal(mp_dict_get_default(dict, mp_value_int(7), mp_value_int(1), &value), 0);
    assert_string_equal(value.as.str, "a text of more than eight bytes");
    mp_value_free(&value);
    assert_int_equal(mp_dict_get_default(dict, mp_value_int(8), mp_value_str("fallback"), &value), 0);
    assert_string_equal(value.as.str, "fallback");
    mp_value_free(&value);
    assert_int_equal(mp_dict_get(dict, mp_value_int(8), &value), MP_EKEY);
    assert_int_equal(mp_dict_length(dict, &length), 0);
    assert_int_equal(length, 2); /* reading has added nothing */
    assert_int_equal(mp_dict_clear(dict), 0);
    assert_int_equal(mp_dict_length(dict, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(mp_dict_contains_key(dict, "none", &found), 0);
    assert_false(found);
}

/* Stores another number under each of the keys, and checks that each key has its own number. */
static void assert_different_keys(const mp_value *keys, int count)
{
    size_t length;
    mp_value value, key;
    bool equal;

    for (int i = 0; i < count; i++)
        assert_int_equal(mp_dict_set(dict, keys[i], mp_value_int(i)), 0);
    assert_int_equal(mp_dict_length(dict, &length), 0);
    assert_int_equal(length, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(mp_dict_get(dict, keys[i], &value), 0);
        assert_int_equal(value.as.integer, i);
    }
    for (int i = count; i-- > 0;) {
        assert_int_equal(mp_dict_popitem(dict, &key, &value), 0);
        assert_int_equal(value.as.integer, i);
        assert_int_equal(mp_value_equal(&key, &keys[i], &equal), 0);
        assert_true(equal);
        assert_int_equal(key.type, keys[i].type);
        mp_value_free(&key);
    }
}

static void keys_are_told_apart(void **state)
{
    enum { LONG = 2 << 20 };
    char *texts = malloc(2 * LONG);
    const mp_value keys[] = {
        mp_value_none(),
        mp_value_bool(false),
        mp_value_int(1),
        mp_value_int(-1),
        mp_value_int(INT64_MIN),
        mp_value_int(INT64_MAX),
        mp_value_float(0.5),
        mp_value_float(1e300),
        mp_value_float(-1e300),
        mp_value_int(INT64_C(9007199254740993)),
        mp_value_float(9007199254740992.0),
        mp_value_str(""),
        mp_value_bytes("", 0),
        mp_value_bytes("\0", 1),
        mp_value_bytes("\0\0", 2),
        mp_value_bytes("a\0b", 3),
        mp_value_bytes("a\0c", 3),
        mp_value_strn("a\0b", 3),
        mp_value_str("a"),
        mp_value_str("\xe6\xb0\xb4"),
        mp_value_str("\xf0\x9f\x92\xa7 water"),
        mp_value_strn(texts, LONG),
        mp_value_strn(texts + LONG, LONG),
        mp_value_strn(texts, LONG - 1),
        mp_value_bytes(texts, LONG),
    };
    (void)state;

    memset(texts, 'x', 2 * LONG);
    texts[2 * LONG - 1] = 'y';
    assert_different_keys(keys, sizeof keys / sizeof *keys);
    free(texts);
}

static void keys_of_every_length(void **state)
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    mp_value keys[64];
    (void)state;

    for (size_t i = 0; i < 32; i++) {
        keys[i] = mp_value_strn(text, i);
        keys[32 + i] = mp_value_bytes(text, i);
    }
    assert_different_keys(keys, 64);
}

static void nothing_else_is_a_key(void **state)
{
    mp_value value;
    bool found;
    (void)state;

    const mp_value keys[] = {mp_value_dict(dict), mp_value_list(list)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_dict_set(dict, keys[i], mp_value_int(1)), MP_ETYPE);
        assert_int_equal(mp_dict_get(dict, keys[i], &value), MP_ETYPE);
        assert_int_equal(mp_dict_get_default(dict, keys[i], mp_value_int(1), &value), MP_ETYPE);
        assert_int_equal(mp_dict_setdefault(dict, keys[i], mp_value_int(1), NULL), MP_ETYPE);
        assert_int_equal(mp_dict_contains(dict, keys[i], &found), MP_ETYPE);
        assert_int_equal(mp_dict_remove(dict, keys[i]), MP_ETYPE);
        assert_int_equal(mp_dict_pop_default(dict, keys[i], mp_value_int(1), &value), MP_ETYPE);
        assert_int_equal(mp_dict_add(dict, keys[i], 1, NULL), MP_ETYPE);
    }
    /* 0.0, -0.0, 0 and false are the same key, and the dict keeps the first of them. */
    assert_int_equal(mp_dict_set(dict, mp_value_float(0.0), mp_value_int(1)), 0);
    assert_int_equal(mp_dict_add(dict, mp_value_int(0), 1, NULL), 0);
    assert_int_equal(mp_dict_add(dict, mp_value_float(-0.0), 1, NULL), 0);
    assert_int_equal(mp_dict_add(dict, mp_value_bool(false), 1, NULL), 0);
    assert_json(dict, "{\"0.0\": 4}");
    assert_int_equal(mp_list_free(list), 0);
}

static void assert_list_json(int (*make_list)(mp_dict *, mp_list **), const char *expected)
{
    mp_list *made;
    char *text;

    assert_int_equal(make_list(dict, &made), 0);
    assert_int_equal(mp_list_json(made, &text), 0);
    assert_string_equal(text, expected);
    free(text);
    assert_int_equal(mp_list_free(made), 0);
}

static void every_view_follows_the_order(void **state)
{
    static const char *const expected[] = {"b", "a", "d", "c"};
    mp_dict_iter *iter;
    mp_value key, value;
    int count = 0;
    (void)state;

    assert_list_json(mp_dict_keys, "[]");
    assert_int_equal(mp_dict_set_int(dict, "c", 1), 0);
    assert_int_equal(mp_dict_set_int(dict, "b", 2), 0);
    assert_int_equal(mp_dict_set_int(dict, "a", 3), 0);
    assert_int_equal(mp_dict_set_int(dict, "d", 4), 0);
    assert_int_equal(mp_dict_set_str(dict, "b", "overwritten by a longer one"), 0);
    assert_int_equal(mp_dict_remove_key(dict, "c"), 0);
    assert_int_equal(mp_dict_set_int(dict, "c", 5), 0);
    assert_list_json(mp_dict_keys, "[\"b\", \"a\", \"d\", \"c\"]");
    assert_list_json(mp_dict_values, "[\"overwritten by a longer one\", 3, 4, 5]");
    assert_list_json(mp_dict_items, "[[\"b\", \"overwritten by a longer one\"], [\"a\", 3], [\"d\", 4], [\"c\", 5]]");
    assert_json(dict, "{\"b\": \"overwritten by a longer one\", \"a\": 3, \"d\": 4, \"c\": 5}");
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    while (mp_dict_next(iter, &key, &value) == 0)
        assert_string_equal(key.as.str, expected[count++]);
    assert_int_equal(count, 4);
    assert_int_equal(mp_dict_iter_free(iter), 0);
}

static void the_newest_entry_is_popped(void **state)
{
    static const char *const expected[] = {"a", "d", "c", "b"};
    mp_value key, value;
    (void)state;

    for (const char *name = "a\0b\0c\0d\0"; *name != 0; name += 2)
        assert_int_equal(mp_dict_set_int(dict, name, *name), 0);
    assert_int_equal(mp_dict_set_int(dict, "b", 'b'), 0); /* this does not make it newer */
    assert_int_equal(mp_dict_remove_key(dict, "a"), 0);
    assert_int_equal(mp_dict_set_int(dict, "a", 'a'), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(mp_dict_popitem(dict, &key, &value), 0);
        assert_string_equal(key.as.str, expected[i]);
        assert_int_equal(value.as.integer, *expected[i]);
        mp_value_free(&key);
    }
    assert_int_equal(mp_dict_popitem(dict, &key, &value), MP_EKEY);
}

static bool equals(mp_dict *other)
{
    bool there = true, back = true;

    assert_int_equal(mp_dict_equal(dict, other, &there), 0);
    assert_int_equal(mp_dict_equal(other, dict, &back), 0);
    assert_int_equal(there, back);
    return there;
}

static void equality_is_of_the_content(void **state)
{
    mp_dict *other, *inner[2];
    (void)state;

    assert_int_equal(mp_manager_dict(manager, &other), 0);
    assert_true(equals(other));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_manager_dict(manager, &inner[i]), 0);
        assert_int_equal(mp_dict_set_int(inner[i], "x", 1), 0);
        assert_int_equal(mp_dict_set_dict(i == 0 ? dict : other, "inner", inner[i]), 0);
    }
    assert_int_equal(mp_dict_set_int(dict, "a", 1), 0);
    assert_int_equal(mp_dict_set_int(dict, "b", 0), 0);
    assert_int_equal(mp_dict_set_bool(other, "b", false), 0);
    assert_false(equals(other));
    assert_int_equal(mp_dict_set_float(other, "a", 1.0), 0); /* in another order */
    assert_true(equals(other));
    assert_true(equals(dict));
    assert_int_equal(mp_dict_set_int(inner[1], "x", 2), 0);
    assert_false(equals(other));
    assert_int_equal(mp_dict_set_int(inner[1], "x", 1), 0);
    assert_int_equal(mp_dict_remove_key(other, "a"), 0);
    assert_int_equal(mp_dict_set_int(other, "c", 1), 0); /* the same number of keys, but another one */
    assert_false(equals(other));
    assert_int_equal(mp_dict_free(other), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_dict_free(inner[i]), 0);
}

/* Nearly all entries are removed and the rest is moved together, more than once, while an iterator stands in the
 * middle. */
static void iterates_over_what_moves(void **state)
{
    enum { COUNT = 20000, KEPT = 97 };
    mp_dict_iter *iter;
    mp_value key;
    int64_t seen = 0, last = -1;
    (void)state;

    for (int i = 0; i < COUNT; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(i), mp_value_int(i)), 0);
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    for (int i = 0; i < COUNT / 2; i++, last = key.as.integer)
        assert_int_equal(mp_dict_next(iter, &key, NULL), 0);
    for (int i = 0; i < COUNT; i++) {
        if (i % KEPT != 0)
            assert_int_equal(mp_dict_remove(dict, mp_value_int(i)), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(mp_dict_set(dict, mp_value_str("new"), mp_value_int(i)), 0);
        assert_int_equal(mp_dict_remove_key(dict, "new"), 0);
    }
    while (mp_dict_next(iter, &key, NULL) == 0) {
        assert_int_equal(key.type, MP_INT);
        assert_true(key.as.integer > last);
        last = key.as.integer;
        seen += last % KEPT == 0;
    }
    assert_int_equal(seen, (COUNT - 1) / KEPT - (COUNT / 2 - 1) / KEPT);
    assert_int_equal(mp_dict_iter_free(iter), 0);
}

static void printed_floats_read_back_equal(void **state)
{
    (void)state;
    srand(9);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
        double real, back;
        char *text;

        memcpy(&real, &bits, sizeof real);
        if (!isfinite(real))
            continue;
        mp_value value = mp_value_float(real);
        assert_int_equal(mp_value_json(&value, &text), 0);
        back = strtod(text, NULL);
        assert_memory_equal(&back, &real, sizeof real);
        free(text);
    }
}

static void prints_to_a_stream(void **state)
{
    char *text;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    (void)state;

    assert_non_null(stream);
    assert_int_equal(mp_dict_set_int(dict, "count", 0), 0);
    assert_int_equal(mp_dict_set_none(dict, "nothing"), 0);
    assert_int_equal(mp_dict_set_bool(dict, "yes", true), 0);
    assert_int_equal(mp_dict_print(dict, stream), 0);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, "{\"count\": 0, \"nothing\": null, \"yes\": true}");
    free(text);
}

static void nested_lists_are_shared(void **state)
{
    mp_list *found;
    mp_dict *wrong;
    (void)state;

    assert_int_equal(mp_dict_set_list(dict, "list", list), 0);
    assert_int_equal(mp_list_free(list), 0);
    assert_int_equal(mp_dict_get_dict(dict, "list", &wrong), MP_ETYPE);
    assert_int_equal(mp_dict_get_list(dict, "list", &found), 0);
    assert_int_equal(mp_list_append_int(found, 1), 0);
    assert_int_equal(mp_list_append_dict(found, dict), 0);
    assert_json(dict, "{\"list\": [1, \"...\"]}");
    assert_int_equal(mp_list_clear(found), 0);
    assert_int_equal(mp_dict_remove_key(dict, "list"), 0);
    assert_int_equal(mp_list_append_int(found, 1), MP_EINVAL);
}

/* Includes whole-dict operations that fail half-way. */
static void what_does_not_fit_changes_nothing(void **state)
{
    mp_manager *small;
    mp_dict *root, *copy;
    mp_list *items;
    char *json, *again, *large = calloc(1, 1 << 20);
    int error = 0;
    (void)state;

    for (int i = 0; i < 4000; i++)
        assert_int_equal(
            mp_dict_set(dict, mp_value_int(-i), mp_value_str("a text of some length, in a block of its own")), 0);
    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 18}), 0);
    assert_int_equal(mp_manager_root(small, &root), 0);
    assert_int_equal(mp_dict_set_str(root, "text", "of more than eight bytes"), 0);
    for (int i = 1; error == 0; i++)
        error = mp_dict_set(root, mp_value_int(i), mp_value_str("a text of some length, in a block of its own"));
    assert_int_equal(mp_dict_json(root, &json), 0);
    assert_int_equal(mp_dict_update(root, dict), MP_ENOMEM);
    assert_int_equal(mp_dict_copy(root, &copy), MP_ENOMEM);
    assert_int_equal(mp_dict_items(root, &items), MP_ENOMEM);
    assert_int_equal(mp_dict_set_bytes(root, "text", large, 1 << 20), MP_ENOMEM);
    assert_int_equal(mp_dict_setdefault(root, mp_value_str("new"), mp_value_bytes(large, 1 << 20), NULL), MP_ENOMEM);
    assert_int_equal(mp_dict_set(root, mp_value_bytes(large, 1 << 20), mp_value_int(1)), MP_ENOMEM);
    assert_int_equal(mp_dict_compare_and_swap(root, mp_value_str("text"), mp_value_str("of more than eight bytes"),
                                              mp_value_bytes(large, 1 << 20)),
                     MP_ENOMEM);
    assert_int_equal(mp_dict_json(root, &again), 0);
    assert_string_equal(again, json);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
    free(json);
    free(again);
    free(large);
}

static void refuses_bad_input(void **state)
{
    mp_manager *other;
    mp_dict *foreign;
    int64_t value;
    bool found;
    (void)state;

    assert_int_equal(mp_dict_set_int(NULL, "x", 1), MP_EINVAL);
    assert_int_equal(mp_dict_set_int(dict, NULL, 1), MP_EINVAL);
    assert_int_equal(mp_dict_set_str(dict, "x", NULL), MP_EINVAL);
    assert_int_equal(mp_dict_set_bytes(dict, "x", NULL, 1), MP_EINVAL);
    assert_int_equal(mp_dict_set_dict(dict, "x", NULL), MP_EINVAL);
    assert_int_equal(mp_dict_get_int(dict, "x", NULL), MP_EINVAL);
    assert_int_equal(mp_dict_get_int((mp_dict *)manager, "x", &value), MP_EINVAL);
    assert_int_equal(mp_dict_get_str(dict, "x", NULL, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_contains_key(dict, "x", NULL), MP_EINVAL);
    assert_int_equal(mp_dict_apply(dict, mp_value_int(1), NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_update(dict, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_copy(dict, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_print(dict, NULL), MP_EINVAL);
    assert_int_equal(mp_dict_free(NULL), 0);
    assert_int_equal(mp_manager_create(NULL, NULL), MP_EINVAL);
    assert_int_equal(mp_manager_dict(NULL, &foreign), MP_EINVAL);
    assert_int_equal(mp_manager_free((mp_manager *)dict), MP_EINVAL);
    assert_int_equal(mp_manager_create(&other, NULL), 0);
    assert_int_equal(mp_manager_dict(other, &foreign), 0);
    assert_int_equal(mp_dict_set_dict(dict, "x", foreign), MP_EFOREIGN);
    assert_int_equal(mp_manager_free(other), 0);
    assert_int_equal(mp_dict_set_int(foreign, "x", 1), MP_EINVAL);
    assert_int_equal(mp_dict_contains_key(foreign, "x", &found), MP_EINVAL);
    assert_int_equal(mp_manager_free(other), MP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MANAGED(sets_and_gets_every_type),
        MANAGED(equal_numbers_are_one_key),
        MANAGED(keeps_the_order_of_insertion),
        MANAGED(removes_in_every_way),
        MANAGED(atomic_forms),
        MANAGED(moves_as_python_does),
        MANAGED(moving_for_ever_takes_no_memory),
        MANAGED(applies_a_function),
        MANAGED(many_keys_at_once),
        MANAGED(many_keys_one_of_them_bad),
        MANAGED(whole_dicts),
        MANAGED(nested_containers_are_shared),
        MANAGED(prints_valid_json),
        MANAGED(behaves_like_a_model),
        MANAGED(many_entries_and_back),
        MANAGED(iterates_while_it_changes),
        MANAGED(running_out_of_memory_changes_nothing),
        MANAGED(tells_what_is_there),
        MANAGED(keys_are_told_apart),
        MANAGED(keys_of_every_length),
        MANAGED(nothing_else_is_a_key),
        MANAGED(every_view_follows_the_order),
        MANAGED(the_newest_entry_is_popped),
        MANAGED(equality_is_of_the_content),
        MANAGED(iterates_over_what_moves),
        MANAGED(printed_floats_read_back_equal),
        MANAGED(prints_to_a_stream),
        MANAGED(nested_lists_are_shared),
        MANAGED(what_does_not_fit_changes_nothing),
        MANAGED(refuses_bad_input),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
