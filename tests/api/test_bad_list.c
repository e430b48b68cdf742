/* Every function of lists refuses bad input, and leaves the list and the out-parameters as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bad_input.h"

/* ---- handles ---- */

static void refuses_to_read(mp_list *list)
{
    REFUSES(mp_list_get_bool(list, 0, &out.flag), MP_EINVAL);
    REFUSES(mp_list_get_int(list, 0, &out.integer), MP_EINVAL);
    REFUSES(mp_list_get_float(list, 0, &out.real), MP_EINVAL);
    REFUSES(mp_list_get_str(list, 1, out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_list_get_bytes(list, 1, out.text, sizeof out.text, &out.size), MP_EINVAL);
    REFUSES(mp_list_get_dict(list, 0, &out.dict), MP_EINVAL);
    REFUSES(mp_list_hold_dict(list, 0, &out.dict), MP_EINVAL);
    REFUSES(mp_list_hold_list(list, 0, &out.list), MP_EINVAL);
    REFUSES(mp_list_hold(list), MP_EINVAL);
    REFUSES(mp_list_get_list(list, 0, &out.list), MP_EINVAL);
    REFUSES(mp_list_get(list, 0, &out.value), MP_EINVAL);
    REFUSES(mp_list_index(list, mp_value_int(1), &out.size), MP_EINVAL);
    REFUSES(mp_list_count(list, mp_value_int(1), &out.size), MP_EINVAL);
    REFUSES(mp_list_contains(list, mp_value_int(1), &out.flag), MP_EINVAL);
    REFUSES(mp_list_length(list, &out.size), MP_EINVAL);
    REFUSES(mp_list_slice(list, 0, 1, 1, &out.list), MP_EINVAL);
    REFUSES(mp_list_copy(list, &out.list), MP_EINVAL);
    REFUSES(mp_list_concat(list, stock.list, &out.list), MP_EINVAL);
    REFUSES(mp_list_concat(stock.list, list, &out.list), MP_EINVAL);
    REFUSES(mp_list_repeat(list, 2, &out.list), MP_EINVAL);
    REFUSES(mp_list_equal(list, stock.list, &out.flag), MP_EINVAL);
    REFUSES(mp_list_equal(stock.list, list, &out.flag), MP_EINVAL);
    REFUSES(mp_list_print(list, stderr), MP_EINVAL);
    REFUSES(mp_list_json(list, (char **)&out.value.owned), MP_EINVAL);
    REFUSES(mp_list_iter_create(&out.list_iter, list), MP_EINVAL);
}

static void refuses_to_store(mp_list *list)
{
    const mp_value values[] = {mp_value_int(1), mp_value_int(2)};

    REFUSES(mp_list_append_none(list), MP_EINVAL);
    REFUSES(mp_list_append_bool(list, true), MP_EINVAL);
    REFUSES(mp_list_append_int(list, 1), MP_EINVAL);
    REFUSES(mp_list_append_float(list, 0.5), MP_EINVAL);
    REFUSES(mp_list_append_str(list, "x"), MP_EINVAL);
    REFUSES(mp_list_append_bytes(list, "x", 1), MP_EINVAL);
    REFUSES(mp_list_append_dict(list, stock.dict), MP_EINVAL);
    REFUSES(mp_list_append_list(list, stock.list), MP_EINVAL);
    REFUSES(mp_list_append_list(stock.list, list), MP_EINVAL);
    REFUSES(mp_list_set_int(list, 0, 2), MP_EINVAL);
    REFUSES(mp_list_set_float(list, 0, 0.5), MP_EINVAL);
    REFUSES(mp_list_set_str(list, 0, "x"), MP_EINVAL);
    REFUSES(mp_list_add_int(list, 0, 1, &out.integer), MP_EINVAL);
    REFUSES(mp_list_append(list, mp_value_int(1)), MP_EINVAL);
    REFUSES(mp_list_insert(list, 0, mp_value_int(1)), MP_EINVAL);
    REFUSES(mp_list_set(list, 0, mp_value_int(2)), MP_EINVAL);
    REFUSES(mp_list_compare_and_swap(list, 0, mp_value_int(1), mp_value_int(2)), MP_EINVAL);
    REFUSES(mp_list_extend(list, stock.list), MP_EINVAL);
    REFUSES(mp_list_extend(stock.list, list), MP_EINVAL);
    REFUSES(mp_list_extend_values(list, values, 2), MP_EINVAL);
    REFUSES(mp_list_extend_values(list, values, 0), MP_EINVAL);
    REFUSES(mp_list_set_slice(list, 0, 1, 1, stock.list), MP_EINVAL);
    REFUSES(mp_list_set_slice(stock.list, 0, 1, 1, list), MP_EINVAL);
}

static void refuses_to_remove(mp_list *list)
{
    REFUSES(mp_list_delete(list, 0), MP_EINVAL);
    REFUSES(mp_list_pop(list, 0, &out.value), MP_EINVAL);
    REFUSES(mp_list_remove(list, mp_value_int(1)), MP_EINVAL);
    REFUSES(mp_list_clear(list), MP_EINVAL);
    REFUSES(mp_list_delete_slice(list, 0, 1, 1), MP_EINVAL);
    REFUSES(mp_list_reverse(list), MP_EINVAL);
    REFUSES(mp_list_sort(list, NULL, NULL, false), MP_EINVAL);
}

static void refuses_list(void *handle)
{
    refuses_to_read(handle);
    refuses_to_store(handle);
    refuses_to_remove(handle);
    if (handle != NULL)
        REFUSES(mp_list_free(handle), MP_EINVAL);
}

static void refuses_iter(void *handle)
{
    REFUSES(mp_list_next(handle, &out.value), MP_EINVAL);
    if (handle != NULL)
        REFUSES(mp_list_iter_free(handle), MP_EINVAL);
}

static void refuses_dict_to_store(void *handle)
{
    REFUSES(mp_list_append_dict(stock.list, handle), MP_EINVAL);
    REFUSES(mp_list_append(stock.list, mp_value_dict(handle)), MP_EINVAL);
}

static void is_unchanged(void)
{
    char *text = NULL;

    HOLDS(mp_list_json(stock.list, &text) == 0 && strcmp(text, "[1, \"text\"]") == 0);
    free(text);
    HOLDS(mp_manager_check(stock.manager) == 0);
}

static void handles_that_are_none(void **state)
{
    (void)state;
    HOLDS(mp_list_free(NULL) == 0 && mp_list_iter_free(NULL) == 0);
    refuses_list(NULL);
    refuses_iter(NULL);
    refuses_dict_to_store(NULL);
    each_bad_handle(LIST, refuses_list);
    each_bad_handle(LIST_ITER, refuses_iter);
    each_bad_handle(DICT, refuses_dict_to_store);
    is_unchanged();
}

/* ---- pointers ---- */

static void null_pointers(void **state)
{
    mp_list *list = stock.list;
    (void)state;

    REFUSES(mp_list_get_bool(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_get_int(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_get_float(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_get_str(list, 1, NULL, 10, &out.size), MP_EINVAL);
    REFUSES(mp_list_get_bytes(list, 1, NULL, 10, &out.size), MP_EINVAL);
    REFUSES(mp_list_get_dict(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_hold_dict(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_hold_list(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_get_list(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_get(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_index(list, mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_list_count(list, mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_list_contains(list, mp_value_int(1), NULL), MP_EINVAL);
    REFUSES(mp_list_length(list, NULL), MP_EINVAL);
    REFUSES(mp_list_slice(list, 0, 1, 1, NULL), MP_EINVAL);
    REFUSES(mp_list_copy(list, NULL), MP_EINVAL);
    REFUSES(mp_list_concat(list, list, NULL), MP_EINVAL);
    REFUSES(mp_list_repeat(list, 2, NULL), MP_EINVAL);
    REFUSES(mp_list_equal(list, list, NULL), MP_EINVAL);
    REFUSES(mp_list_print(list, NULL), MP_EINVAL);
    REFUSES(mp_list_json(list, NULL), MP_EINVAL);
    REFUSES(mp_list_iter_create(NULL, list), MP_EINVAL);
    REFUSES(mp_list_next(stock.list_iter, NULL), MP_EINVAL);
    REFUSES(mp_list_append_str(list, NULL), MP_EINVAL);
    REFUSES(mp_list_append_bytes(list, NULL, 1), MP_EINVAL);
    REFUSES(mp_list_set_str(list, 0, NULL), MP_EINVAL);
    REFUSES(mp_list_extend_values(list, NULL, 1), MP_EINVAL);
    HOLDS(mp_list_extend_values(list, NULL, 0) == 0);
    is_unchanged();
}

/* ---- values ---- */

static void refuses_value(mp_value value, int code)
{
    const mp_value values[] = {mp_value_int(1), mp_value_str("a string that needs a block of its own"), value};
    mp_list *list = stock.list;

    REFUSES(mp_list_append(list, value), code);
    REFUSES(mp_list_insert(list, 0, value), code);
    REFUSES(mp_list_insert(list, 1, value), code);
    REFUSES(mp_list_insert(list, 2, value), code);
    REFUSES(mp_list_set(list, 0, value), code);
    REFUSES(mp_list_compare_and_swap(list, 0, value, mp_value_int(2)), code);
    REFUSES(mp_list_compare_and_swap(list, 0, mp_value_int(1), value), code);
    REFUSES(mp_list_extend_values(list, values, 3), code);
}

static void refuses_to_search(mp_value value)
{
    mp_list *list = stock.list;

    REFUSES(mp_list_index(list, value, &out.size), MP_EINVAL);
    REFUSES(mp_list_count(list, value, &out.size), MP_EINVAL);
    REFUSES(mp_list_contains(list, value, &out.flag), MP_EINVAL);
    REFUSES(mp_list_remove(list, value), MP_EINVAL);
}

static void values_that_are_none(void **state)
{
    const mp_value bad[] = {
        mp_value_str(NULL),
        mp_value_strn(NULL, 5),
        mp_value_bytes(NULL, 5),
        mp_value_strn("x", SIZE_MAX),
        mp_value_strn("x", SIZE_MAX / 2),
        mp_value_bytes("x", SIZE_MAX - 7),
        {.type = MP_STR},
        {.type = (mp_type)(MP_LIST + 1), .as.integer = 1},
        {.type = (mp_type)-1, .as.integer = 1},
        mp_value_dict(NULL),
        mp_value_list(NULL),
        mp_value_dict((mp_dict *)stock.list),
        mp_value_list((mp_list *)stock.dict),
    };
    (void)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuses_value(bad[i], MP_EINVAL);
        refuses_to_search(bad[i]);
    }
    is_unchanged();
}

static void containers_of_another_manager(void **state)
{
    mp_list *mixed;
    (void)state;

    refuses_value(mp_value_dict(stock.foreign_dict), MP_EFOREIGN);
    refuses_value(mp_value_list(stock.foreign_list), MP_EFOREIGN);
    REFUSES(mp_list_append_dict(stock.list, stock.foreign_dict), MP_EFOREIGN);
    REFUSES(mp_list_append_list(stock.list, stock.foreign_list), MP_EFOREIGN);
    assert_int_equal(mp_manager_list(stock.other, &mixed), 0);
    assert_int_equal(mp_list_append_int(mixed, 5), 0);
    assert_int_equal(mp_list_append_dict(mixed, stock.foreign_dict), 0);
    REFUSES(mp_list_extend(stock.list, mixed), MP_EFOREIGN);
    REFUSES(mp_list_set_slice(stock.list, 0, 1, 1, mixed), MP_EFOREIGN);
    REFUSES(mp_list_set_slice(stock.list, 0, 2, -1, mixed), MP_EVALUE);
    REFUSES(mp_list_concat(stock.list, mixed, &out.list), MP_EFOREIGN);
    assert_int_equal(mp_list_free(mixed), 0);
    is_unchanged();
}

/* ---- counts and indices ---- */

static void counts_that_overflow(void **state)
{
    const mp_value values[2] = {{.type = MP_NONE}, {.type = MP_NONE}};
    mp_list *list;
    size_t length;
    (void)state;

    assert_int_equal(mp_manager_list(stock.manager, &list), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mp_list_append_int(list, i), 0);
    REFUSES(mp_list_extend_values(list, values, SIZE_MAX), MP_EOVERFLOW);
    REFUSES(mp_list_extend_values(list, values, SIZE_MAX - 19), MP_EOVERFLOW);
    REFUSES(mp_list_extend_values(list, values, SIZE_MAX / 2), MP_EOVERFLOW);
    REFUSES(mp_list_extend_values(list, values, SIZE_MAX / 3 * 2 - 18), MP_EOVERFLOW);
    REFUSES(mp_list_extend_values(list, values, SIZE_MAX / sizeof(mp_value)), MP_ENOMEM);
    REFUSES(mp_list_repeat(list, INT64_MAX, &out.list), MP_EOVERFLOW);
    REFUSES(mp_list_repeat(list, INT64_MAX / 20, &out.list), MP_ENOMEM);
    REFUSES(mp_list_repeat(list, INT64_C(1) << 33, &out.list), MP_ENOMEM);
    HOLDS(mp_list_length(list, &length) == 0 && length == 20);
    for (int64_t i = 0, value = -1; i < 20; i++)
        HOLDS(mp_list_get_int(list, i, &value) == 0 && value == i);
    assert_int_equal(mp_list_free(list), 0);
    is_unchanged();
}

/* The manager's limit shows what can be held before anything is gathered. */
static void more_than_the_limit(void **state)
{
    mp_manager *small;
    mp_list *list;
    (void)state;

    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 20}), 0);
    assert_int_equal(mp_manager_list(small, &list), 0);
    assert_int_equal(mp_list_append_int(list, 1), 0);
    REFUSES(mp_list_repeat(list, INT64_C(1) << 31, &out.list), MP_ENOMEM);
    REFUSES(mp_list_repeat(list, INT64_C(1) << 16, &out.list), MP_ENOMEM);
    REFUSES(mp_list_append_bytes(list, "x", SIZE_MAX), MP_EINVAL);
    REFUSES(mp_list_append_bytes(list, "x", (size_t)1 << 39), MP_ENOMEM);
    HOLDS(mp_manager_check(small) == 0);
    assert_int_equal(mp_manager_free(small), 0);
}

static void refuses_index(int64_t index)
{
    mp_list *list = stock.list;

    REFUSES(mp_list_get_bool(list, index, &out.flag), MP_EINDEX);
    REFUSES(mp_list_get_int(list, index, &out.integer), MP_EINDEX);
    REFUSES(mp_list_get_float(list, index, &out.real), MP_EINDEX);
    REFUSES(mp_list_get_str(list, index, out.text, sizeof out.text, &out.size), MP_EINDEX);
    REFUSES(mp_list_get_bytes(list, index, out.text, sizeof out.text, &out.size), MP_EINDEX);
    REFUSES(mp_list_get_dict(list, index, &out.dict), MP_EINDEX);
    REFUSES(mp_list_hold_dict(list, index, &out.dict), MP_EINDEX);
    REFUSES(mp_list_hold_list(list, index, &out.list), MP_EINDEX);
    REFUSES(mp_list_get_list(list, index, &out.list), MP_EINDEX);
    REFUSES(mp_list_get(list, index, &out.value), MP_EINDEX);
    REFUSES(mp_list_set_int(list, index, 2), MP_EINDEX);
    REFUSES(mp_list_set_float(list, index, 0.5), MP_EINDEX);
    REFUSES(mp_list_set_str(list, index, "x"), MP_EINDEX);
    REFUSES(mp_list_set(list, index, mp_value_int(2)), MP_EINDEX);
    REFUSES(mp_list_add_int(list, index, 1, &out.integer), MP_EINDEX);
    REFUSES(mp_list_compare_and_swap(list, index, mp_value_int(1), mp_value_int(2)), MP_EINDEX);
    REFUSES(mp_list_delete(list, index), MP_EINDEX);
    REFUSES(mp_list_pop(list, index, &out.value), MP_EINDEX);
}

static void indices_beyond_the_ends(void **state)
{
    (void)state;
    refuses_index(2);
    refuses_index(-3);
    refuses_index(INT64_MAX);
    refuses_index(INT64_MIN);
    is_unchanged();
}

static void answers_that_are_errors(void **state)
{
    mp_list *list = stock.list;
    (void)state;

    REFUSES(mp_list_get_bool(list, 0, &out.flag), MP_ETYPE);
    REFUSES(mp_list_get_int(list, 1, &out.integer), MP_ETYPE);
    REFUSES(mp_list_get_float(list, 1, &out.real), MP_ETYPE);
    REFUSES(mp_list_get_str(list, 0, out.text, sizeof out.text, &out.size), MP_ETYPE);
    REFUSES(mp_list_get_bytes(list, 1, out.text, sizeof out.text, &out.size), MP_ETYPE);
    REFUSES(mp_list_get_dict(list, 0, &out.dict), MP_ETYPE);
    REFUSES(mp_list_hold_dict(list, 0, &out.dict), MP_ETYPE);
    REFUSES(mp_list_get_list(list, 0, &out.list), MP_ETYPE);
    REFUSES(mp_list_get_str(list, 1, out.text, 4, NULL), MP_ETOOSMALL);
    REFUSES(mp_list_get_str(list, 1, NULL, 0, NULL), MP_ETOOSMALL);
    REFUSES(mp_list_add_int(list, 1, 1, &out.integer), MP_ETYPE);
    REFUSES(mp_list_add_int(list, 0, INT64_MAX, &out.integer), MP_EOVERFLOW);
    REFUSES(mp_list_compare_and_swap(list, 0, mp_value_int(7), mp_value_int(2)), MP_ECHANGED);
    REFUSES(mp_list_remove(list, mp_value_int(7)), MP_EVALUE);
    REFUSES(mp_list_index(list, mp_value_int(7), &out.size), MP_EVALUE);
    REFUSES(mp_list_slice(list, 0, 1, 0, &out.list), MP_EVALUE);
    REFUSES(mp_list_delete_slice(list, 0, 1, 0), MP_EVALUE);
    REFUSES(mp_list_set_slice(list, 0, 1, 0, list), MP_EVALUE);
    REFUSES(mp_list_set_slice(list, 0, 1, 2, list), MP_EVALUE);
    REFUSES(mp_list_sort(list, NULL, NULL, false), MP_ETYPE);
    is_unchanged();
}

static void slices_of_any_bounds(void **state)
{
    const int64_t bounds[] = {INT64_MIN, INT64_MIN + 1, -3, 0, 3, INT64_MAX - 1, INT64_MAX};
    const int64_t steps[] = {INT64_MIN, INT64_MIN + 1, -1, 1, INT64_MAX};
    mp_list *slice;
    size_t length;
    (void)state;

    for (size_t i = 0; i < 7 * 7 * 5; i++) {
        HOLDS(mp_list_slice(stock.list, bounds[i % 7], bounds[i / 7 % 7], steps[i / 49], &slice) == 0);
        HOLDS(mp_list_length(slice, &length) == 0 && length <= 2);
        HOLDS(mp_list_delete_slice(slice, bounds[i % 7], bounds[i / 7 % 7], steps[i / 49]) == 0);
        HOLDS(mp_list_insert(slice, bounds[i % 7], mp_value_int(1)) == 0);
        assert_int_equal(mp_list_free(slice), 0);
    }
    is_unchanged();
}

static void nothing_into_no_buffer(void **state)
{
    mp_list *list;
    size_t length = 1;
    (void)state;

    assert_int_equal(mp_manager_list(stock.manager, &list), 0);
    HOLDS(mp_list_append_bytes(list, NULL, 0) == 0);
    HOLDS(mp_list_get_bytes(list, 0, NULL, 0, &length) == 0 && length == 0);
    assert_int_equal(mp_list_free(list), 0);
    REFUSES(mp_list_free(list), MP_EINVAL);
}

static void iterators_end_with_their_list(void **state)
{
    mp_list *list;
    mp_list_iter *iter, *other;
    mp_value value;
    (void)state;

    assert_int_equal(mp_list_copy(stock.list, &list), 0);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(mp_list_free(list), 0);
    REFUSES(mp_list_next(iter, &out.value), MP_EINVAL);
    assert_int_equal(mp_list_iter_create(&other, stock.list), 0);
    HOLDS(other != iter);
    assert_int_equal(mp_list_iter_free(iter), 0);
    REFUSES(mp_list_iter_free(iter), MP_EINVAL);
    assert_int_equal(mp_list_iter_free(other), 0);
    REFUSES(mp_list_iter_free(other), MP_EINVAL);
    REFUSES(mp_list_next(other, &out.value), MP_EINVAL);
}

/* ---- from inside mp_list_sort() ---- */

static void refuses_inside(mp_list *list)
{
    REFUSES(mp_list_append(list, mp_value_int(1)), MP_EDEADLK);
    REFUSES(mp_list_append_int(list, 1), MP_EDEADLK);
    REFUSES(mp_list_set_int(list, 0, 1), MP_EDEADLK);
    REFUSES(mp_list_add_int(list, 0, 1, &out.integer), MP_EDEADLK);
    REFUSES(mp_list_insert(list, 0, mp_value_int(1)), MP_EDEADLK);
    REFUSES(mp_list_compare_and_swap(list, 0, mp_value_int(1), mp_value_int(2)), MP_EDEADLK);
    REFUSES(mp_list_delete(list, 0), MP_EDEADLK);
    REFUSES(mp_list_pop(list, 0, &out.value), MP_EDEADLK);
    REFUSES(mp_list_remove(list, mp_value_int(1)), MP_EDEADLK);
    REFUSES(mp_list_index(list, mp_value_int(1), &out.size), MP_EDEADLK);
    REFUSES(mp_list_count(list, mp_value_int(1), &out.size), MP_EDEADLK);
    REFUSES(mp_list_contains(list, mp_value_int(1), &out.flag), MP_EDEADLK);
    REFUSES(mp_list_clear(list), MP_EDEADLK);
    REFUSES(mp_list_extend(list, stock.foreign_list), MP_EDEADLK);
    REFUSES(mp_list_extend(stock.foreign_list, list), MP_EDEADLK);
    REFUSES(mp_list_extend_values(list, &(mp_value){.type = MP_NONE}, 1), MP_EDEADLK);
    REFUSES(mp_list_slice(list, 0, 1, 1, &out.list), MP_EDEADLK);
    REFUSES(mp_list_set_slice(list, 0, 1, 1, stock.foreign_list), MP_EDEADLK);
    REFUSES(mp_list_delete_slice(list, 0, 1, 1), MP_EDEADLK);
    REFUSES(mp_list_reverse(list), MP_EDEADLK);
    REFUSES(mp_list_sort(list, NULL, NULL, false), MP_EDEADLK);
    REFUSES(mp_list_copy(list, &out.list), MP_EDEADLK);
    REFUSES(mp_list_concat(list, list, &out.list), MP_EDEADLK);
    REFUSES(mp_list_repeat(list, 2, &out.list), MP_EDEADLK);
    REFUSES(mp_list_equal(list, stock.foreign_list, &out.flag), MP_EDEADLK);
    REFUSES(mp_list_print(list, stderr), MP_EDEADLK);
    REFUSES(mp_list_json(list, (char **)&out.value.owned), MP_EDEADLK);
    REFUSES(mp_manager_check(stock.manager), MP_EDEADLK);
    REFUSES(mp_manager_free(stock.manager), MP_EBUSY);
}

static int compare_using(const mp_value *a, const mp_value *b, void *arg)
{
    int64_t integer = 0;
    (void)a;
    (void)b;

    refuses_inside(arg);
    HOLDS(mp_list_get_int(arg, 0, &integer) == 0 && integer == 1); /* a read without a lock sees the list as it was */
    return 1;
}

static void use_from_inside_sort(void **state)
{
    (void)state;
    HOLDS(mp_list_sort(stock.list, compare_using, stock.list, false) == 0);
    is_unchanged();
}

static int compare_freeing(const mp_value *a, const mp_value *b, void *arg)
{
    mp_list **list = arg;
    (void)a;
    (void)b;

    if (*list != NULL)
        HOLDS(mp_list_free(*list) == 0);
    *list = NULL;
    return -1;
}

static void free_from_inside_sort(void **state)
{
    mp_list *list, *freed;
    (void)state;

    assert_int_equal(mp_list_repeat(stock.list, 8, &list), 0);
    freed = list;
    mp_list_sort(list, compare_freeing, &freed, false);
    REFUSES(mp_list_append_int(list, 1), MP_EINVAL);
    is_unchanged();
}

/* The comparisons fit no order: the list must keep its elements all the same. */
static int compare_wildly(const mp_value *a, const mp_value *b, void *arg)
{
    unsigned *state = arg;
    (void)a;
    (void)b;

    *state = *state * 1103515245 + 12345;
    return (int)(*state >> 16 & 3) - 1;
}

static void compare_that_is_no_order(void **state)
{
    mp_list *list;
    size_t count;
    unsigned random = 1;
    (void)state;

    assert_int_equal(mp_list_repeat(stock.list, 100, &list), 0);
    HOLDS(mp_list_sort(list, compare_wildly, &random, true) == 0);
    HOLDS(mp_list_count(list, mp_value_int(1), &count) == 0 && count == 100);
    HOLDS(mp_list_count(list, mp_value_str("text"), &count) == 0 && count == 100);
    assert_int_equal(mp_list_free(list), 0);
    is_unchanged();
}

static int child_refuses(void *arg)
{
    (void)arg;
    each_bad_handle(LIST, refuses_list);
    each_bad_handle(LIST_ITER, refuses_iter);
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
        REFUSAL(values_that_are_none),
        REFUSAL(containers_of_another_manager),
        REFUSAL(indices_beyond_the_ends),
        REFUSAL(answers_that_are_errors),
        REFUSAL(use_from_inside_sort),
        REFUSAL(refused_in_children_too),
        /* These tests make handles again, which may bring freed ones back to life. */
        REFUSAL(counts_that_overflow),
        REFUSAL(more_than_the_limit),
        REFUSAL(slices_of_any_bounds),
        REFUSAL(nothing_into_no_buffer),
        REFUSAL(iterators_end_with_their_list),
        REFUSAL(free_from_inside_sort),
        REFUSAL(compare_that_is_no_order),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
