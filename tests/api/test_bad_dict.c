/* Every function of dicts refuses bad input, and leaves the dict and the out-parameters as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bad_input.h"

static int keep(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    return 0;
}

/* ---- handles ---- */

static void refuses_to_read(mp_dict *dict)
{
    const mp_value one_key = mp_value_str("a");

    REFUSES(mp_dict_get_bool(dict, "a", &out.flag), MP_EINVAL);
    REFUSES(mp_dict_get_int(dict, "a", &out.integer), MP_EINVAL);
    REFUSES(mp_dict_get_float(dict, "a", &out.real), MP_EINVAL);
    REFUSES(mp_dict_get_str(dict, "s", out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_bytes(dict, "s", out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_dict(dict, "a", &out.dict), MP_EINVAL);
    REFUSES(mp_dict_hold_dict(dict, "a", &out.dict), MP_EINVAL);
    REFUSES(mp_dict_hold_list(dict, "a", &out.list), MP_EINVAL);
    REFUSES(mp_dict_hold(dict), MP_EINVAL);
    REFUSES(mp_dict_get_list(dict, "a", &out.list), MP_EINVAL);
    REFUSES(mp_dict_get(dict, mp_value_str("a"), &out.value), MP_EINVAL);
    REFUSES(mp_dict_get_default(dict, mp_value_str("b"), mp_value_int(1), &out.value), MP_EINVAL);
    REFUSES(mp_dict_get_many(dict, &one_key, &out.value, 1, &out.size), MP_EINVAL);
    REFUSES(mp_dict_contains_key(dict, "a", &out.flag), MP_EINVAL);
    REFUSES(mp_dict_contains(dict, mp_value_str("a"), &out.flag), MP_EINVAL);
    REFUSES(mp_dict_length(dict, &out.size), MP_EINVAL);
    REFUSES(mp_dict_copy(dict, &out.dict), MP_EINVAL);
    REFUSES(mp_dict_update(stock.dict, dict), MP_EINVAL);
    REFUSES(mp_dict_equal(dict, stock.dict, &out.flag), MP_EINVAL);
    REFUSES(mp_dict_equal(stock.dict, dict, &out.flag), MP_EINVAL);
    REFUSES(mp_dict_keys(dict, &out.list), MP_EINVAL);
    REFUSES(mp_dict_values(dict, &out.list), MP_EINVAL);
    REFUSES(mp_dict_items(dict, &out.list), MP_EINVAL);
    REFUSES(mp_dict_print(dict, stderr), MP_EINVAL);
    REFUSES(mp_dict_json(dict, (char **)&out.value.owned), MP_EINVAL);
    REFUSES(mp_dict_iter_create(&out.dict_iter, dict), MP_EINVAL);
}

static void refuses_to_write(mp_dict *dict)
{
    const mp_value one_key = mp_value_str("a"), one_value = mp_value_int(2);

    REFUSES(mp_dict_set_many(dict, &one_key, &one_value, 1, &out.size), MP_EINVAL);
    REFUSES(mp_dict_set_none(dict, "a"), MP_EINVAL);
    REFUSES(mp_dict_set_bool(dict, "a", true), MP_EINVAL);
    REFUSES(mp_dict_set_int(dict, "a", 2), MP_EINVAL);
    REFUSES(mp_dict_set_float(dict, "a", 0.5), MP_EINVAL);
    REFUSES(mp_dict_set_str(dict, "a", "x"), MP_EINVAL);
    REFUSES(mp_dict_set_bytes(dict, "a", "x", 1), MP_EINVAL);
    REFUSES(mp_dict_set_dict(dict, "a", stock.dict), MP_EINVAL);
    REFUSES(mp_dict_set_list(dict, "a", stock.list), MP_EINVAL);
    REFUSES(mp_dict_set_dict(stock.dict, "a", dict), MP_EINVAL);
    REFUSES(mp_dict_remove_key(dict, "a"), MP_EINVAL);
    REFUSES(mp_dict_add_int(dict, "a", 1, &out.integer), MP_EINVAL);
    REFUSES(mp_dict_transfer_int(dict, "a", "b", 1), MP_EINVAL);
    REFUSES(mp_dict_set(dict, mp_value_str("a"), mp_value_int(2)), MP_EINVAL);
    REFUSES(mp_dict_setdefault(dict, mp_value_str("b"), mp_value_int(2), &out.value), MP_EINVAL);
    REFUSES(mp_dict_remove(dict, mp_value_str("a")), MP_EINVAL);
    REFUSES(mp_dict_pop(dict, mp_value_str("a"), &out.value), MP_EINVAL);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("a"), mp_value_int(2), &out.value), MP_EINVAL);
    REFUSES(mp_dict_popitem(dict, &out.key, &out.value), MP_EINVAL);
    REFUSES(mp_dict_add(dict, mp_value_str("a"), 1, &out.integer), MP_EINVAL);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("a"), mp_value_int(1), mp_value_int(2)), MP_EINVAL);
    REFUSES(mp_dict_move(dict, mp_value_str("a"), mp_value_str("b")), MP_EINVAL);
    REFUSES(mp_dict_apply(dict, mp_value_str("a"), keep, NULL), MP_EINVAL);
    REFUSES(mp_dict_clear(dict), MP_EINVAL);
    REFUSES(mp_dict_update(dict, stock.dict), MP_EINVAL);
}

static void refuses_dict(void *handle)
{
    refuses_to_read(handle);
    refuses_to_write(handle);
    if (handle != NULL)
        REFUSES(mp_dict_free(handle), MP_EINVAL);
}

static void refuses_iter(void *handle)
{
    REFUSES(mp_dict_next(handle, &out.key, &out.value), MP_EINVAL);
    if (handle != NULL)
        REFUSES(mp_dict_iter_free(handle), MP_EINVAL);
}

static void refuses_list_to_store(void *handle)
{
    REFUSES(mp_dict_set_list(stock.dict, "a", handle), MP_EINVAL);
    REFUSES(mp_dict_set(stock.dict, mp_value_str("a"), mp_value_list(handle)), MP_EINVAL);
}

static void is_unchanged(void)
{
    char *text = NULL;

    HOLDS(mp_dict_json(stock.dict, &text) == 0 && strcmp(text, "{\"a\": 1, \"s\": \"text\"}") == 0);
    free(text);
    HOLDS(mp_manager_check(stock.manager) == 0);
}

static void handles_that_are_none(void **state)
{
    (void)state;
    HOLDS(mp_dict_free(NULL) == 0 && mp_dict_iter_free(NULL) == 0);
    refuses_dict(NULL);
    refuses_iter(NULL);
    refuses_list_to_store(NULL);
    each_bad_handle(DICT, refuses_dict);
    each_bad_handle(DICT_ITER, refuses_iter);
    each_bad_handle(LIST, refuses_list_to_store);
    is_unchanged();
}

/* ---- pointers ---- */

static void null_pointers(void **state)
{
    mp_dict *dict = stock.dict;
    (void)state;

    REFUSES(mp_dict_get_bool(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_get_int(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_get_float(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_get_str(dict, "s", NULL, 10, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_bytes(dict, "s", NULL, 10, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_dict(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_hold_dict(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_hold_list(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_get_list(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_get(dict, mp_value_str("a"), NULL), MP_EINVAL);
    REFUSES(mp_dict_get_default(dict, mp_value_str("a"), mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_dict_get_default(dict, mp_value_str("b"), mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("a"), mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("b"), mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_dict_contains_key(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_contains(dict, mp_value_str("a"), NULL), MP_EINVAL);
    REFUSES(mp_dict_length(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_copy(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_equal(dict, dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_keys(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_values(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_items(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_print(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_json(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_iter_create(NULL, dict), MP_EINVAL);
    REFUSES(mp_dict_apply(dict, mp_value_str("a"), NULL, NULL), MP_EINVAL);
    REFUSES(mp_dict_set_str(dict, "a", NULL), MP_EINVAL);
    REFUSES(mp_dict_set_bytes(dict, "a", NULL, 1), MP_EINVAL);
    is_unchanged();
}

static void null_keys(void **state)
{
    mp_dict *dict = stock.dict;
    (void)state;

    REFUSES(mp_dict_set_none(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_set_bool(dict, NULL, true), MP_EINVAL);
    REFUSES(mp_dict_set_int(dict, NULL, 2), MP_EINVAL);
    REFUSES(mp_dict_set_float(dict, NULL, 0.5), MP_EINVAL);
    REFUSES(mp_dict_set_str(dict, NULL, "x"), MP_EINVAL);
    REFUSES(mp_dict_set_bytes(dict, NULL, "x", 1), MP_EINVAL);
    REFUSES(mp_dict_set_dict(dict, NULL, dict), MP_EINVAL);
    REFUSES(mp_dict_set_list(dict, NULL, stock.list), MP_EINVAL);
    REFUSES(mp_dict_get_bool(dict, NULL, &out.flag), MP_EINVAL);
    REFUSES(mp_dict_get_int(dict, NULL, &out.integer), MP_EINVAL);
    REFUSES(mp_dict_get_float(dict, NULL, &out.real), MP_EINVAL);
    REFUSES(mp_dict_get_str(dict, NULL, out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_bytes(dict, NULL, out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_dict_get_dict(dict, NULL, &out.dict), MP_EINVAL);
    REFUSES(mp_dict_hold_dict(dict, NULL, &out.dict), MP_EINVAL);
    REFUSES(mp_dict_hold_list(dict, NULL, &out.list), MP_EINVAL);
    REFUSES(mp_dict_get_list(dict, NULL, &out.list), MP_EINVAL);
    REFUSES(mp_dict_remove_key(dict, NULL), MP_EINVAL);
    REFUSES(mp_dict_contains_key(dict, NULL, &out.flag), MP_EINVAL);
    REFUSES(mp_dict_add_int(dict, NULL, 1, &out.integer), MP_EINVAL);
    REFUSES(mp_dict_transfer_int(dict, NULL, "a", 1), MP_EINVAL);
    REFUSES(mp_dict_transfer_int(dict, "a", NULL, 1), MP_EINVAL);
    is_unchanged();
}

/* ---- values and keys ---- */

static void refuses_key(mp_value key, int code)
{
    mp_dict *dict = stock.dict;

    REFUSES(mp_dict_set(dict, key, mp_value_int(1)), code);
    REFUSES(mp_dict_get(dict, key, &out.value), code);
    REFUSES(mp_dict_get_default(dict, key, mp_value_int(1), &out.value), code);
    REFUSES(mp_dict_setdefault(dict, key, mp_value_int(1), &out.value), code);
    REFUSES(mp_dict_remove(dict, key), code);
    REFUSES(mp_dict_pop(dict, key, &out.value), code);
    REFUSES(mp_dict_pop_default(dict, key, mp_value_int(1), &out.value), code);
    REFUSES(mp_dict_contains(dict, key, &out.flag), code);
    REFUSES(mp_dict_add(dict, key, 1, &out.integer), code);
    REFUSES(mp_dict_compare_and_swap(dict, key, mp_value_int(1), mp_value_int(2)), code);
    REFUSES(mp_dict_move(dict, key, mp_value_str("b")), code);
    REFUSES(mp_dict_move(dict, mp_value_str("a"), key), code);
    REFUSES(mp_dict_apply(dict, key, keep, NULL), code);
}

static int replace(mp_value *value, bool present, void *arg)
{
    (void)present;
    *value = *(mp_value *)arg;
    return 0;
}

static void refuses_value(mp_value value, int code)
{
    mp_dict *dict = stock.dict;

    REFUSES(mp_dict_set(dict, mp_value_str("a"), value), code);
    REFUSES(mp_dict_set(dict, mp_value_str("new"), value), code);
    REFUSES(mp_dict_setdefault(dict, mp_value_str("a"), value, &out.value), code);
    REFUSES(mp_dict_setdefault(dict, mp_value_str("new"), value, &out.value), code);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("a"), value, mp_value_int(2)), code);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("a"), mp_value_int(1), value), code);
    REFUSES(mp_dict_apply(dict, mp_value_str("a"), replace, &value), code);
    REFUSES(mp_dict_apply(dict, mp_value_str("new"), replace, &value), code);
}

static void refuses_fallback(mp_value value)
{
    mp_dict *dict = stock.dict;

    REFUSES(mp_dict_get_default(dict, mp_value_str("a"), value, &out.value), MP_EINVAL);
    REFUSES(mp_dict_get_default(dict, mp_value_str("new"), value, &out.value), MP_EINVAL);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("a"), value, &out.value), MP_EINVAL);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("new"), value, &out.value), MP_EINVAL);
}

static void values_that_are_none(void **state)
{
    const mp_value bad[] = {
        mp_value_str(NULL),
        mp_value_strn(NULL, 0),
        mp_value_strn(NULL, 5),
        mp_value_bytes(NULL, 5),
        mp_value_strn("x", SIZE_MAX),
        mp_value_strn("x", SIZE_MAX / 2),
        mp_value_bytes("x", SIZE_MAX),
        mp_value_bytes("x", SIZE_MAX - 7),
        {.type = MP_BYTES},
        {.type = (mp_type)(MP_LIST + 1), .as.integer = 1},
        {.type = (mp_type)-1, .as.integer = 1},
        {.type = (mp_type)0x105, .as.integer = 1},
    };
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuses_key(bad[i], MP_EINVAL);
        refuses_value(bad[i], MP_EINVAL);
        refuses_fallback(bad[i]);
    }
    const mp_value none[] = {mp_value_dict(NULL), mp_value_list(NULL), mp_value_dict((mp_dict *)stock.list),
                             mp_value_list((mp_list *)stock.dict)};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        refuses_value(none[i], MP_EINVAL);
        refuses_fallback(none[i]);
    }
    is_unchanged();
}

static void containers_are_no_keys(void **state)
{
    (void)state;
    refuses_key(mp_value_dict(stock.dict), MP_ETYPE);
    refuses_key(mp_value_list(stock.list), MP_ETYPE);
    is_unchanged();
}

/* Sizes that cannot be stored: nothing of the data is read. */
static void sizes_beyond_memory(void **state)
{
    const size_t huge = (size_t)1 << 39;
    (void)state;

    REFUSES(mp_dict_set_bytes(stock.dict, "a", "x", huge), MP_ENOMEM);
    REFUSES(mp_dict_set_bytes(stock.dict, "new", "x", huge), MP_ENOMEM);
    REFUSES(mp_dict_set_bytes(stock.dict, "a", "x", SIZE_MAX), MP_EINVAL);
    REFUSES(mp_dict_set(stock.dict, mp_value_int(1), mp_value_strn("x", huge)), MP_ENOMEM);
    REFUSES(mp_dict_setdefault(stock.dict, mp_value_int(1), mp_value_strn("x", huge), &out.value), MP_ENOMEM);
    is_unchanged();
}

static void containers_of_another_manager(void **state)
{
    mp_dict *mixed;
    (void)state;

    refuses_value(mp_value_dict(stock.foreign_dict), MP_EFOREIGN);
    refuses_value(mp_value_list(stock.foreign_list), MP_EFOREIGN);
    REFUSES(mp_dict_set_dict(stock.dict, "a", stock.foreign_dict), MP_EFOREIGN);
    REFUSES(mp_dict_set_list(stock.dict, "a", stock.foreign_list), MP_EFOREIGN);
    mp_value key = mp_value_str("a"), value = mp_value_list(stock.foreign_list);
    HOLDS(mp_dict_set_many(stock.dict, &key, &value, 1, NULL) == MP_EFOREIGN);
    assert_int_equal(mp_manager_dict(stock.other, &mixed), 0);
    assert_int_equal(mp_dict_set_int(mixed, "new", 1), 0);
    assert_int_equal(mp_dict_set_list(mixed, "list", stock.foreign_list), 0);
    REFUSES(mp_dict_update(stock.dict, mixed), MP_EFOREIGN);
    assert_int_equal(mp_dict_free(mixed), 0);
    is_unchanged();
}

/* ---- wrong types, missing keys, buffers too small, results out of range ---- */

static void answers_that_are_errors(void **state)
{
    mp_dict *dict = stock.dict;
    size_t length = 0;
    (void)state;

    REFUSES(mp_dict_get_bool(dict, "a", &out.flag), MP_ETYPE);
    REFUSES(mp_dict_get_int(dict, "s", &out.integer), MP_ETYPE);
    REFUSES(mp_dict_get_float(dict, "s", &out.real), MP_ETYPE);
    REFUSES(mp_dict_get_str(dict, "a", out.text, sizeof out.text, &out.size), MP_ETYPE);
    REFUSES(mp_dict_get_bytes(dict, "s", out.text, sizeof out.text, &out.size), MP_ETYPE);
    REFUSES(mp_dict_get_dict(dict, "a", &out.dict), MP_ETYPE);
    REFUSES(mp_dict_hold_dict(dict, "a", &out.dict), MP_ETYPE);
    REFUSES(mp_dict_get_list(dict, "a", &out.list), MP_ETYPE);
    REFUSES(mp_dict_get_int(dict, "new", &out.integer), MP_EKEY);
    REFUSES(mp_dict_get(dict, mp_value_str("new"), &out.value), MP_EKEY);
    REFUSES(mp_dict_pop(dict, mp_value_str("new"), &out.value), MP_EKEY);
    REFUSES(mp_dict_remove_key(dict, "new"), MP_EKEY);
    REFUSES(mp_dict_remove(dict, mp_value_str("new")), MP_EKEY);
    REFUSES(mp_dict_move(dict, mp_value_str("new"), mp_value_str("a")), MP_EKEY);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("new"), mp_value_int(1), mp_value_int(2)), MP_EKEY);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("a"), mp_value_int(7), mp_value_int(2)), MP_ECHANGED);
    REFUSES(mp_dict_add_int(dict, "s", 1, &out.integer), MP_ETYPE);
    REFUSES(mp_dict_add_int(dict, "a", INT64_MAX, &out.integer), MP_EOVERFLOW);
    REFUSES(mp_dict_add(dict, mp_value_str("a"), INT64_MAX, &out.integer), MP_EOVERFLOW);
    REFUSES(mp_dict_transfer_int(dict, "a", "s", 1), MP_ETYPE);
    REFUSES(mp_dict_transfer_int(dict, "s", "a", 1), MP_ETYPE);
    REFUSES(mp_dict_transfer_int(dict, "new", "a", INT64_MAX), MP_EOVERFLOW);
    REFUSES(mp_dict_transfer_int(dict, "a", "new", INT64_MIN), MP_EOVERFLOW);
    REFUSES(mp_dict_get_str(dict, "s", out.text, 4, NULL), MP_ETOOSMALL);
    REFUSES(mp_dict_get_str(dict, "s", NULL, 0, &length), MP_ETOOSMALL);
    HOLDS(length == 4);
    is_unchanged();
}

static void nothing_into_no_buffer(void **state)
{
    mp_dict *dict;
    size_t length = 1;
    (void)state;

    assert_int_equal(mp_manager_dict(stock.manager, &dict), 0);
    HOLDS(mp_dict_set_bytes(dict, "empty", NULL, 0) == 0);
    HOLDS(mp_dict_get_bytes(dict, "empty", NULL, 0, &length) == 0 && length == 0);
    REFUSES(mp_dict_set_str(dict, "empty", NULL), MP_EINVAL);
    REFUSES(mp_dict_popitem(stock.foreign_dict, &out.key, &out.value), MP_EKEY);
    assert_int_equal(mp_dict_free(dict), 0);
}

/* ---- freed twice, borrowed, root, used after free ---- */

static void free_of_what_is_not_ours(void **state)
{
    mp_dict *dict, *inner, *root;
    (void)state;

    assert_int_equal(mp_manager_root(stock.manager, &root), 0);
    REFUSES(mp_dict_free(root), MP_EINVAL);
    assert_int_equal(mp_manager_dict(stock.manager, &dict), 0);
    assert_int_equal(mp_manager_dict(stock.manager, &inner), 0);
    assert_int_equal(mp_dict_set_dict(dict, "inner", inner), 0);
    assert_int_equal(mp_dict_free(inner), 0);
    REFUSES(mp_dict_free(inner), MP_EINVAL); /* it lives, but belongs to `dict` alone now */
    assert_int_equal(mp_dict_set_int(inner, "x", 1), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    REFUSES(mp_dict_free(dict), MP_EINVAL);
    refuses_dict(inner);
    HOLDS(mp_manager_check(stock.manager) == 0);
}

static void iterators_end_with_their_dict(void **state)
{
    mp_manager *manager;
    mp_dict *dict;
    mp_dict_iter *iter, *other;
    mp_value key;
    (void)state;

    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_int_equal(mp_dict_set_int(dict, "x", 1), 0);
    assert_int_equal(mp_dict_set_int(dict, "y", 2), 0);
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    assert_int_equal(mp_dict_next(iter, &key, NULL), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    REFUSES(mp_dict_next(iter, &out.key, &out.value), MP_EINVAL);
    assert_int_equal(mp_manager_free(manager), 0);
    REFUSES(mp_dict_next(iter, &out.key, &out.value), MP_EINVAL);
    assert_int_equal(mp_dict_iter_create(&other, stock.dict), 0);
    HOLDS(other != iter);
    assert_int_equal(mp_dict_iter_free(iter), 0);
    REFUSES(mp_dict_iter_free(iter), MP_EINVAL);
    assert_int_equal(mp_dict_iter_free(other), 0);
    REFUSES(mp_dict_iter_free(other), MP_EINVAL);
    REFUSES(mp_dict_next(other, &out.key, &out.value), MP_EINVAL);
}

/* ---- from inside mp_dict_apply() ---- */

static int use_inside(mp_value *value, bool present, void *arg)
{
    mp_dict *dict = stock.dict;
    int64_t integer = 0;
    (void)value;
    (void)present;
    (void)arg;

    REFUSES(mp_dict_set_int(dict, "a", 2), MP_EDEADLK);
    REFUSES(mp_dict_set(dict, mp_value_str("new"), mp_value_int(2)), MP_EDEADLK);
    REFUSES(mp_dict_remove_key(dict, "a"), MP_EDEADLK);
    REFUSES(mp_dict_remove(dict, mp_value_str("a")), MP_EDEADLK);
    REFUSES(mp_dict_pop(dict, mp_value_str("a"), &out.value), MP_EDEADLK);
    REFUSES(mp_dict_pop_default(dict, mp_value_str("a"), mp_value_none(), &out.value), MP_EDEADLK);
    REFUSES(mp_dict_popitem(dict, &out.key, &out.value), MP_EDEADLK);
    REFUSES(mp_dict_add_int(dict, "a", 1, &out.integer), MP_EDEADLK);
    REFUSES(mp_dict_add(dict, mp_value_str("a"), 1, &out.integer), MP_EDEADLK);
    REFUSES(mp_dict_transfer_int(dict, "a", "b", 1), MP_EDEADLK);
    REFUSES(mp_dict_setdefault(dict, mp_value_str("new"), mp_value_none(), &out.value), MP_EDEADLK);
    REFUSES(mp_dict_compare_and_swap(dict, mp_value_str("a"), mp_value_int(1), mp_value_int(2)), MP_EDEADLK);
    REFUSES(mp_dict_move(dict, mp_value_str("a"), mp_value_str("b")), MP_EDEADLK);
    mp_value one_key = mp_value_str("a"), one_value = mp_value_int(2);
    HOLDS(mp_dict_set_many(dict, &one_key, &one_value, 1, NULL) == MP_EDEADLK);
    REFUSES(mp_dict_apply(dict, mp_value_str("a"), keep, NULL), MP_EDEADLK);
    REFUSES(mp_dict_clear(dict), MP_EDEADLK);
    REFUSES(mp_dict_copy(dict, &out.dict), MP_EDEADLK);
    REFUSES(mp_dict_update(dict, stock.foreign_dict), MP_EDEADLK);
    REFUSES(mp_dict_update(stock.foreign_dict, dict), MP_EDEADLK);
    REFUSES(mp_dict_equal(dict, stock.foreign_dict, &out.flag), MP_EDEADLK);
    REFUSES(mp_dict_keys(dict, &out.list), MP_EDEADLK);
    REFUSES(mp_dict_values(dict, &out.list), MP_EDEADLK);
    REFUSES(mp_dict_items(dict, &out.list), MP_EDEADLK);
    REFUSES(mp_dict_print(dict, stderr), MP_EDEADLK);
    REFUSES(mp_dict_json(dict, (char **)&out.value.owned), MP_EDEADLK);
    REFUSES(mp_manager_check(stock.manager), MP_EDEADLK);
    REFUSES(mp_manager_free(stock.manager), MP_EBUSY);
    HOLDS(mp_dict_get_int(dict, "a", &integer) == 0 && integer == 1); /* a read without a lock sees it unchanged */
    return 7;
}

static void use_from_inside_apply(void **state)
{
    (void)state;
    REFUSES(mp_dict_apply(stock.dict, mp_value_str("a"), use_inside, NULL), 7);
    is_unchanged();
}

static int free_inside(mp_value *value, bool present, void *arg)
{
    (void)present;
    HOLDS(mp_dict_free(arg) == 0);
    *value = mp_value_str("a string that needs a block of its own");
    return 0;
}

static void free_from_inside_apply(void **state)
{
    mp_dict *dict;
    (void)state;

    assert_int_equal(mp_manager_dict(stock.manager, &dict), 0);
    mp_dict_apply(dict, mp_value_str("a key that needs a block of its own"), free_inside, dict);
    REFUSES(mp_dict_set_int(dict, "a", 1), MP_EINVAL);
    is_unchanged();
}

/* An iterator is private: a child has its own copy of it. Everything else is shared with the child. */
static int child_refuses(void *arg)
{
    (void)arg;
    each_bad_handle(DICT, refuses_dict);
    each_bad_handle(DICT_ITER, refuses_iter);
    return 0;
}

static void refused_in_children_too(void **state)
{
    (void)state;
    in_child(child_refuses);
    is_unchanged();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(handles_that_are_none),
        REFUSAL(null_pointers),
        REFUSAL(null_keys),
        REFUSAL(values_that_are_none),
        REFUSAL(containers_are_no_keys),
        REFUSAL(sizes_beyond_memory),
        REFUSAL(containers_of_another_manager),
        REFUSAL(answers_that_are_errors),
        REFUSAL(use_from_inside_apply),
        REFUSAL(refused_in_children_too),
        /* These tests make handles again, which may bring freed ones back to life. */
        REFUSAL(nothing_into_no_buffer),
        REFUSAL(free_of_what_is_not_ours),
        REFUSAL(iterators_end_with_their_dict),
        REFUSAL(free_from_inside_apply),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
