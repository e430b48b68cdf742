/* Lists in one process. */
#include <mp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "manager_fixture.h"
#include "object/object_lock.h"
#include "support.h"

static void assert_json(mp_list *printed, const char *expected)
{
    char *text;

    assert_int_equal(mp_list_json(printed, &text), 0);
    assert_string_equal(text, expected);
    free(text);
}

static void fill(int count)
{
    for (int i = 0; i < count; i++)
        assert_int_equal(mp_list_append_int(list, i), 0);
}

static void appends_inserts_and_pops(void **state)
{
    mp_value value;
    (void)state;

    fill(3);
    assert_int_equal(mp_list_insert(list, 1, mp_value_str("a text of some length")), 0);
    assert_int_equal(mp_list_insert(list, -100, mp_value_bool(true)), 0);
    assert_int_equal(mp_list_insert(list, 100, mp_value_none()), 0);
    assert_json(list, "[true, 0, \"a text of some length\", 1, 2, null]");
    assert_int_equal(mp_list_pop(list, 2, &value), 0);
    assert_string_equal(value.as.str, "a text of some length");
    mp_value_free(&value);
    assert_int_equal(mp_list_pop(list, -1, NULL), 0);
    assert_int_equal(mp_list_pop(list, 0, &value), 0);
    assert_true(value.as.boolean);
    assert_int_equal(mp_list_delete(list, 1), 0);
    assert_json(list, "[0, 2]");
    assert_int_equal(mp_list_pop(list, 2, NULL), MP_EINDEX);
    assert_int_equal(mp_list_pop(list, -3, NULL), MP_EINDEX);
    assert_int_equal(mp_list_clear(list), 0);
    assert_int_equal(mp_list_pop(list, -1, NULL), MP_EINDEX);
}

static void gets_and_sets(void **state)
{
    int64_t integer, sum;
    char text[32];
    size_t length;
    double real;
    (void)state;

    fill(4);
    assert_int_equal(mp_list_set_int(list, -1, 30), 0);
    assert_int_equal(mp_list_get_int(list, 3, &integer), 0);
    assert_int_equal(integer, 30);
    assert_int_equal(mp_list_set_str(list, 0, "longer than eight"), 0);
    assert_int_equal(mp_list_get_str(list, 0, text, sizeof text, &length), 0);
    assert_string_equal(text, "longer than eight");
    assert_int_equal(mp_list_get_str(list, 0, text, 5, &length), MP_ETOOSMALL);
    assert_int_equal(length, 17);
    assert_int_equal(mp_list_get_int(list, 0, &integer), MP_ETYPE);
    assert_int_equal(mp_list_get_float(list, 1, &real), 0);
    assert_true(real == 1.0);
    assert_int_equal(mp_list_add_int(list, 1, 9, &sum), 0);
    assert_int_equal(sum, 10);
    assert_int_equal(mp_list_compare_and_swap(list, 1, mp_value_int(10), mp_value_str("swapped for this")), 0);
    assert_int_equal(mp_list_compare_and_swap(list, 1, mp_value_int(10), mp_value_int(0)), MP_ECHANGED);
    assert_int_equal(mp_list_set_int(list, 4, 1), MP_EINDEX);
    assert_int_equal(mp_list_get_int(list, INT64_MIN, &integer), MP_EINDEX);
    assert_json(list, "[\"longer than eight\", \"swapped for this\", 2, 30]");
}

static void assert_slice(int64_t start, int64_t stop, int64_t step, const char *expected)
{
    mp_list *slice;

    assert_int_equal(mp_list_slice(list, start, stop, step, &slice), 0);
    assert_json(slice, expected);
    assert_int_equal(mp_list_free(slice), 0);
}

static void slices_as_python_does(void **state)
{
    mp_list *other;
    (void)state;

    fill(10);
    assert_slice(2, 5, 1, "[2, 3, 4]");
    assert_slice(-3, MP_END, 1, "[7, 8, 9]");
    assert_slice(MP_END, MP_BEGIN, -3, "[9, 6, 3, 0]");
    assert_slice(MP_BEGIN, MP_END, 4, "[0, 4, 8]");
    assert_slice(8, 2, 1, "[]");
    assert_slice(1, 100, 5, "[1, 6]");
    assert_slice(-100, 2, 1, "[0, 1]");
    assert_slice(3, -100, -2, "[3, 1]");
    assert_int_equal(mp_list_slice(list, 0, 1, 0, &other), MP_EVALUE);
    assert_int_equal(mp_list_slice(list, 0, 2, 1, &other), 0);
    assert_int_equal(mp_list_append_str(other, "a third, of some length"), 0);
    assert_int_equal(mp_list_set_slice(list, 4, 6, 1, other), 0);
    assert_json(list, "[0, 1, 2, 3, 0, 1, \"a third, of some length\", 6, 7, 8, 9]");
    assert_int_equal(mp_list_set_slice(list, 0, 5, 2, other), 0);
    assert_json(list, "[0, 1, 1, 3, \"a third, of some length\", 1, \"a third, of some length\", 6, 7, 8, 9]");
    assert_int_equal(mp_list_set_slice(list, 0, 2, 2, other), MP_EVALUE);
    assert_int_equal(mp_list_delete_slice(list, MP_BEGIN, MP_END, 2), 0);
    assert_json(list, "[1, 3, 1, 6, 8]");
    assert_int_equal(mp_list_delete_slice(list, 3, 0, -2), 0);
    assert_json(list, "[1, 1, 8]");
    assert_int_equal(mp_list_free(other), 0);
}

static void searches(void **state)
{
    mp_dict *inner, *same;
    size_t at;
    bool found;
    (void)state;

    assert_int_equal(mp_manager_dict(manager, &inner), 0);
    assert_int_equal(mp_manager_dict(manager, &same), 0);
    assert_int_equal(mp_dict_set_int(inner, "x", 1), 0);
    assert_int_equal(mp_dict_set_float(same, "x", 1.0), 0);
    fill(3);
    assert_int_equal(mp_list_append_dict(list, inner), 0);
    assert_int_equal(mp_list_append_float(list, 1.0), 0);
    assert_int_equal(mp_list_index(list, mp_value_dict(same), &at), 0);
    assert_int_equal(at, 3);
    assert_int_equal(mp_list_count(list, mp_value_bool(true), &at), 0);
    assert_int_equal(at, 2);
    assert_int_equal(mp_list_contains(list, mp_value_str("1"), &found), 0);
    assert_false(found);
    assert_int_equal(mp_list_remove(list, mp_value_dict(same)), 0);
    assert_int_equal(mp_list_remove(list, mp_value_float(1)), 0);
    assert_int_equal(mp_list_remove(list, mp_value_str("1")), MP_EVALUE);
    assert_json(list, "[0, 2, 1.0]");
    assert_int_equal(mp_dict_free(inner), 0);
    assert_int_equal(mp_dict_free(same), 0);
}

static int by_last_digit(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    return (int)(a->as.integer % 10 - b->as.integer % 10);
}

static int touches_the_list(const mp_value *a, const mp_value *b, void *arg)
{
    (void)a;
    (void)b;
    assert_int_equal(mp_list_append_int(list, 1), MP_EDEADLK);
    *(bool *)arg = true;
    return 0;
}

static void sorts_stably(void **state)
{
    const int values[] = {31, 12, 21, 2, 11, 1};
    bool called = false;
    (void)state;

    for (int i = 0; i < 6; i++)
        assert_int_equal(mp_list_append_int(list, values[i]), 0);
    assert_int_equal(mp_list_sort(list, by_last_digit, NULL, false), 0);
    assert_json(list, "[31, 21, 11, 1, 12, 2]");
    assert_int_equal(mp_list_sort(list, by_last_digit, NULL, true), 0);
    assert_json(list, "[12, 2, 31, 21, 11, 1]");
    assert_int_equal(mp_list_append_float(list, 11.5), 0);
    assert_int_equal(mp_list_sort(list, NULL, NULL, false), 0);
    assert_json(list, "[1, 2, 11, 11.5, 12, 21, 31]");
    assert_int_equal(mp_list_sort(list, touches_the_list, &called, false), 0);
    assert_true(called);
    assert_int_equal(mp_list_append_str(list, "x"), 0);
    assert_int_equal(mp_list_sort(list, NULL, NULL, false), MP_ETYPE);
    assert_json(list, "[1, 2, 11, 11.5, 12, 21, 31, \"x\"]");
    assert_int_equal(mp_list_reverse(list), 0);
    assert_json(list, "[\"x\", 31, 21, 12, 11.5, 11, 2, 1]");
}

static void whole_lists(void **state)
{
    mp_list *sum, *product, *copy, *none;
    bool equal;
    (void)state;

    fill(2);
    assert_int_equal(mp_list_append_str(list, "text of some length"), 0);
    assert_int_equal(mp_list_extend(list, list), 0);
    assert_json(list, "[0, 1, \"text of some length\", 0, 1, \"text of some length\"]");
    assert_int_equal(mp_list_copy(list, &copy), 0);
    assert_int_equal(mp_list_equal(list, copy, &equal), 0);
    assert_true(equal);
    assert_int_equal(mp_list_delete_slice(list, 2, MP_END, 1), 0);
    assert_int_equal(mp_list_concat(list, copy, &sum), 0);
    assert_json(sum, "[0, 1, 0, 1, \"text of some length\", 0, 1, \"text of some length\"]");
    assert_int_equal(mp_list_repeat(list, 3, &product), 0);
    assert_json(product, "[0, 1, 0, 1, 0, 1]");
    assert_int_equal(mp_list_free(product), 0);
    assert_int_equal(mp_list_repeat(list, -1, &product), 0);
    assert_json(product, "[]");
    assert_int_equal(mp_list_repeat(list, INT64_MAX, &none), MP_ENOMEM);
    assert_int_equal(mp_list_free(product), 0);
    assert_int_equal(mp_list_free(copy), 0);
    assert_int_equal(mp_list_free(sum), 0);
    assert_int_equal(mp_list_free(sum), MP_EINVAL);
}

static void behaves_like_a_model(void **state)
{
    enum { MOST = 500 };
    int64_t model[MOST + 1], value;
    size_t count = 0, length;
    (void)state;

    srand(3);
    for (int step = 0; step < 20000; step++) {
        int64_t at = rand() % ((int64_t)count + 1);

        if (count < MOST && rand() % 2 == 0) {
            assert_int_equal(mp_list_insert(list, at, mp_value_int(step)), 0);
            memmove(&model[at + 1], &model[at], (count - (size_t)at) * sizeof *model);
            model[at] = step;
            count++;
        } else if (count > 0) {
            at = rand() % (int64_t)count;
            assert_int_equal(mp_list_delete(list, at - (rand() % 2 ? (int64_t)count : 0)), 0);
            count--;
            memmove(&model[at], &model[at + 1], (count - (size_t)at) * sizeof *model);
        }
        assert_int_equal(mp_list_length(list, &length), 0);
        assert_int_equal(length, count);
        if (count > 0) {
            at = rand() % (int64_t)count;
            assert_int_equal(mp_list_get_int(list, at, &value), 0);
            assert_int_equal(value, model[at]);
        }
    }
}

static void iterates(void **state)
{
    mp_list_iter *iter;
    mp_value value;
    int64_t expected = 0;
    (void)state;

    fill(100);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    while (mp_list_next(iter, &value) == 0)
        assert_int_equal(value.as.integer, expected++);
    assert_int_equal(expected, 100);
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP);
    assert_int_equal(mp_list_iter_free(iter), 0);
}

/* An iterator hands out what is in the list at that moment, of every kind. A string's bytes stay until the next
 * step. */
static void iterates_over_what_is_there_then(void **state)
{
    mp_list_iter *iter;
    mp_value value;
    (void)state;

    fill(10);
    assert_int_equal(mp_list_set_str(list, 4, "short"), 0);
    assert_int_equal(mp_list_set_str(list, 5, "longer than what a cell holds"), 0);
    assert_int_equal(mp_list_set_float(list, 7, 0.5), 0);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    for (int64_t i = 0; i < 3; i++) {
        assert_int_equal(mp_list_set_int(list, i, i + 100), 0); /* in place: the version stays as it is */
        assert_int_equal(mp_list_next(iter, &value), 0);
        assert_int_equal(value.type, MP_INT);
        assert_int_equal(value.as.integer, i + 100);
    }
    assert_int_equal(mp_list_insert(list, 0, mp_value_none()), 0); /* the element that was met stands at 3 now */
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(value.as.integer, 102);
    assert_int_equal(mp_list_delete(list, 0), 0);
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(mp_list_set_str(list, 4, "another"), 0);
    assert_string_equal(value.as.str, "short");
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(mp_list_delete_slice(list, 8, MP_END, 1), 0);
    assert_string_equal(value.as.str, "longer than what a cell holds");
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(value.as.integer, 6);
    assert_null(value.owned);
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_true(value.type == MP_FLOAT && value.as.real == 0.5);
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP);
    assert_int_equal(mp_list_append_int(list, 11), 0);
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP); /* as in Python: an iterator that has ended stays so */
    assert_int_equal(mp_list_iter_free(iter), 0);
}

/* The iteration ends even if the iterator expects more elements, and if the content of the list cannot be freed yet
 * because another call is inside. */
static void iteration_ends_with_the_list(void **state)
{
    mp_list_iter *iter;
    mp_value value;
    (void)state;

    for (int inside = 0; inside < 2; inside++) {
        struct object *object = object_of(list);

        fill(10);
        assert_int_equal(mp_list_iter_create(&iter, list), 0);
        assert_int_equal(mp_list_next(iter, &value), 0);
        assert_int_equal(mp_list_next(iter, &value), 0);
        if (inside == 1)
            assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
        assert_int_equal(mp_list_free(list), 0);
        assert_int_equal(mp_list_next(iter, &value), MP_EINVAL);
        if (inside == 1)
            object_unlock(object);
        assert_int_equal(mp_list_next(iter, &value), MP_EINVAL);
        assert_int_equal(mp_list_iter_free(iter), 0);
        assert_int_equal(mp_manager_list(manager, &list), 0);
    }
}

static void running_out_of_memory_changes_nothing(void **state)
{
    mp_manager *small;
    mp_list *full;
    size_t length, after;
    int error = 0;
    (void)state;

    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 18}), 0);
    assert_int_equal(mp_manager_list(small, &full), 0);
    while (error == 0)
        error = mp_list_append_str(full, "a text of some length, for a block of its own");
    assert_int_equal(error, MP_ENOMEM);
    assert_int_equal(mp_list_length(full, &length), 0);
    assert_int_equal(mp_list_extend(full, full), MP_ENOMEM);
    assert_int_equal(mp_list_length(full, &after), 0);
    assert_int_equal(length, after);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
}

static void holds_every_type(void **state)
{
    mp_list *inner, *found_list;
    mp_dict *found_dict;
    int64_t integer;
    double real;
    char text[16];
    size_t length;
    bool flag;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &inner), 0);
    assert_int_equal(mp_list_append_none(list), 0);
    assert_int_equal(mp_list_append_bool(list, true), 0);
    assert_int_equal(mp_list_append_int(list, INT64_MIN), 0);
    assert_int_equal(mp_list_append_float(list, 0.5), 0);
    assert_int_equal(mp_list_append_str(list, ""), 0);
    assert_int_equal(mp_list_append_bytes(list, "a\0b", 3), 0);
    assert_int_equal(mp_list_append_dict(list, dict), 0);
    assert_int_equal(mp_list_append_list(list, inner), 0);
    assert_int_equal(mp_list_get_bool(list, 1, &flag), 0);
    assert_true(flag);
    assert_int_equal(mp_list_get_int(list, 2, &integer), 0);
    assert_true(integer == INT64_MIN);
    assert_int_equal(mp_list_get_float(list, 3, &real), 0);
    assert_true(real == 0.5);
    assert_int_equal(mp_list_get_str(list, 4, text, 1, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(mp_list_get_bytes(list, 5, text, 3, &length), 0);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(mp_list_get_dict(list, 6, &found_dict), 0);
    assert_ptr_equal(found_dict, dict);
    assert_int_equal(mp_list_get_list(list, -1, &found_list), 0);
    assert_ptr_equal(found_list, inner);
    assert_int_equal(mp_list_get_list(list, 6, &found_list), MP_ETYPE);
    assert_int_equal(mp_list_get_int(list, 0, &integer), MP_ETYPE);
    assert_int_equal(mp_list_set_float(list, 2, 2.5), 0);
    assert_json(list, "[null, true, 2.5, 0.5, \"\", \"a\\u0000b\", {}, []]");
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(mp_list_free(inner), 0);
}

static void nested_containers_are_shared(void **state)
{
    mp_list *inner;
    mp_value popped;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &inner), 0);
    assert_int_equal(mp_list_append_list(list, inner), 0);
    assert_int_equal(mp_list_append_dict(list, dict), 0);
    assert_int_equal(mp_list_append_list(list, list), 0);
    assert_int_equal(mp_list_free(inner), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(mp_list_append_int(inner, 1), 0);
    assert_int_equal(mp_dict_set_list(dict, "back", inner), 0);
    assert_json(list, "[[1], {\"back\": [1]}, \"...\"]");
    assert_int_equal(mp_list_delete(list, 2), 0);
    assert_int_equal(mp_list_delete(list, 1), 0);
    assert_int_equal(mp_dict_set_int(dict, "x", 1), MP_EINVAL); /* the dict has no other holder */
    assert_int_equal(mp_list_pop(list, -1, &popped), 0);
    assert_json(popped.as.list, "[1]");
    assert_int_equal(mp_list_free(popped.as.list), 0);
    assert_int_equal(mp_list_append_int(inner, 1), MP_EINVAL);
}

static void extends(void **state)
{
    const mp_value values[] = {mp_value_int(2), mp_value_str("a text of some length"), mp_value_none()};
    mp_list *other;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &other), 0);
    assert_int_equal(mp_list_extend(list, other), 0);
    assert_json(list, "[]");
    fill(2);
    assert_int_equal(mp_list_extend_values(list, values, 3), 0);
    assert_int_equal(mp_list_extend_values(list, values, 0), 0);
    assert_int_equal(mp_list_append_str(other, "another text of some length"), 0);
    assert_int_equal(mp_list_append_int(other, 9), 0);
    assert_int_equal(mp_list_extend(list, other), 0);
    assert_json(list, "[0, 1, 2, \"a text of some length\", null, \"another text of some length\", 9]");
    assert_json(other, "[\"another text of some length\", 9]");
    assert_int_equal(mp_list_free(other), 0);
}

static void finds_the_first(void **state)
{
    size_t at = 77;
    bool found;
    (void)state;

    fill(5);
    assert_int_equal(mp_list_append_int(list, 2), 0);
    assert_int_equal(mp_list_index(list, mp_value_int(2), &at), 0);
    assert_int_equal(at, 2);
    assert_int_equal(mp_list_count(list, mp_value_int(2), &at), 0);
    assert_int_equal(at, 2);
    assert_int_equal(mp_list_contains(list, mp_value_float(4), &found), 0);
    assert_true(found);
    assert_int_equal(mp_list_index(list, mp_value_int(5), &at), MP_EVALUE);
    assert_int_equal(mp_list_count(list, mp_value_int(5), &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(mp_list_remove(list, mp_value_int(2)), 0);
    assert_json(list, "[0, 1, 3, 4, 2]");
    assert_int_equal(mp_list_remove(list, mp_value_int(7)), MP_EVALUE);
    assert_json(list, "[0, 1, 3, 4, 2]");
}

static void equality_is_of_the_content(void **state)
{
    mp_list *other;
    bool equal;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &other), 0);
    fill(3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mp_list_equal(list, other, &equal), 0);
        assert_false(equal);
        assert_int_equal(mp_list_append_float(other, i), 0);
    }
    assert_int_equal(mp_list_equal(list, other, &equal), 0);
    assert_true(equal);
    assert_int_equal(mp_list_reverse(other), 0);
    assert_int_equal(mp_list_equal(list, other, &equal), 0);
    assert_false(equal);
    assert_int_equal(mp_list_free(other), 0);
}

static void sorts_many_by_value(void **state)
{
    enum { COUNT = 5000 };
    int64_t value, last = -1;
    (void)state;

    for (int i = 0; i < COUNT; i++)
        assert_int_equal(mp_list_append_int(list, (int64_t)i * 7919 % COUNT), 0);
    assert_int_equal(mp_list_sort(list, NULL, NULL, false), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(mp_list_get_int(list, i, &value), 0);
        assert_int_equal(value, last + 1);
        last = value;
    }
    /* Then by the last digit. The sort is stable: elements with the same digit stay in order. */
    assert_int_equal(mp_list_sort(list, by_last_digit, NULL, false), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(mp_list_get_int(list, i, &value), 0);
        assert_int_equal(value, i % (COUNT / 10) * 10 + i / (COUNT / 10));
    }
    assert_int_equal(mp_list_clear(list), 0);
    assert_int_equal(mp_list_append_str(list, "b, and of some length"), 0);
    assert_int_equal(mp_list_append_str(list, "b"), 0);
    assert_int_equal(mp_list_append_str(list, ""), 0);
    assert_int_equal(mp_list_append_str(list, "a"), 0);
    assert_int_equal(mp_list_sort(list, NULL, NULL, true), 0);
    assert_json(list, "[\"b, and of some length\", \"b\", \"a\", \"\"]");
}

/* As in Python: by index, over what is there at that moment. */
static void iterates_while_it_changes(void **state)
{
    mp_list_iter *iter;
    mp_value value;
    int count = 0;
    (void)state;

    fill(10);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    while (mp_list_next(iter, &value) == 0) {
        count++;
        if (count == 3)
            assert_int_equal(mp_list_delete_slice(list, 5, MP_END, 1), 0);
        if (count == 4)
            assert_int_equal(mp_list_append_str(list, "come later, and of some length"), 0);
    }
    assert_int_equal(count, 6);
    assert_int_equal(mp_list_clear(list), 0);
    assert_int_equal(mp_list_iter_free(iter), 0);
}

static void what_does_not_fit_changes_nothing(void **state)
{
    mp_manager *small;
    mp_list *full, *none;
    char *json, *again, *large = calloc(1, 1 << 20);
    int error = 0;
    (void)state;

    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = 1 << 18}), 0);
    assert_int_equal(mp_manager_list(small, &full), 0);
    while (error == 0)
        error = mp_list_append_str(full, "a text of some length, for a block of its own");
    const mp_value values[] = {mp_value_int(1), mp_value_bytes(large, 1 << 20)};
    assert_int_equal(mp_list_json(full, &json), 0);
    assert_int_equal(mp_list_insert(full, 0, values[1]), MP_ENOMEM);
    assert_int_equal(mp_list_set(full, 0, values[1]), MP_ENOMEM);
    assert_int_equal(mp_list_extend_values(full, values, 2), MP_ENOMEM);
    assert_int_equal(mp_list_set_slice(full, 1, 2, 1, full), MP_ENOMEM);
    assert_int_equal(mp_list_copy(full, &none), MP_ENOMEM);
    assert_int_equal(mp_list_concat(full, full, &none), MP_ENOMEM);
    assert_int_equal(mp_list_repeat(full, 3, &none), MP_ENOMEM);
    assert_int_equal(mp_list_json(full, &again), 0);
    assert_string_equal(again, json);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
    free(json);
    free(again);
    free(large);
}

static void refuses_bad_input(void **state)
{
    int64_t value;
    mp_list *out;
    size_t count;
    (void)state;

    fill(2);
    assert_int_equal(mp_list_append_int(NULL, 1), MP_EINVAL);
    assert_int_equal(mp_list_append_str(list, NULL), MP_EINVAL);
    assert_int_equal(mp_list_append(list, (mp_value){.type = (mp_type)99}), MP_EINVAL);
    assert_int_equal(mp_list_get_int(list, 0, NULL), MP_EINVAL);
    assert_int_equal(mp_list_get_int((mp_list *)manager, 0, &value), MP_EINVAL);
    assert_int_equal(mp_list_get_str(list, 0, NULL, 4, NULL), MP_EINVAL);
    assert_int_equal(mp_list_extend(list, NULL), MP_EINVAL);
    assert_int_equal(mp_list_extend_values(list, NULL, 1), MP_EINVAL);
    assert_int_equal(mp_list_slice(list, 0, 1, 1, NULL), MP_EINVAL);
    assert_int_equal(mp_list_concat(list, NULL, &out), MP_EINVAL);
    assert_int_equal(mp_list_index(list, mp_value_str(NULL), &count), MP_EINVAL);
    assert_int_equal(mp_list_length(list, NULL), MP_EINVAL);
    assert_int_equal(mp_list_sort(NULL, NULL, NULL, false), MP_EINVAL);
    assert_int_equal(mp_list_print(list, NULL), MP_EINVAL);
    assert_int_equal(mp_list_iter_create(NULL, list), MP_EINVAL);
    assert_int_equal(mp_list_free(NULL), 0);
    assert_json(list, "[0, 1]");
    assert_int_equal(mp_list_free(list), 0);
    assert_int_equal(mp_list_append_int(list, 1), MP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MANAGED(appends_inserts_and_pops),
        MANAGED(gets_and_sets),
        MANAGED(slices_as_python_does),
        MANAGED(searches),
        MANAGED(sorts_stably),
        MANAGED(whole_lists),
        MANAGED(behaves_like_a_model),
        MANAGED(iterates),
        MANAGED(running_out_of_memory_changes_nothing),
        MANAGED(holds_every_type),
        MANAGED(nested_containers_are_shared),
        MANAGED(extends),
        MANAGED(finds_the_first),
        MANAGED(equality_is_of_the_content),
        MANAGED(sorts_many_by_value),
        MANAGED(iterates_while_it_changes),
        MANAGED(iterates_over_what_is_there_then),
        MANAGED(iteration_ends_with_the_list),
        MANAGED(what_does_not_fit_changes_nothing),
        MANAGED(refuses_bad_input),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
