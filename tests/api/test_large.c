/* Many items in one container, and large values. Takes some seconds, and about two gigabytes. */
#include <mp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "manager_fixture.h"
#include "support.h"

enum { ENTRIES = 10000000, LARGE = 100 << 20 };

static int64_t mix(int64_t i)
{
    return (int64_t)((uint64_t)i * UINT64_C(0x9e3779b97f4a7c15));
}

/* Reads every 1000th item from 1 on, in another process. */
static int look_at_some(void *arg)
{
    mp_value value;
    size_t length;

    (void)arg;
    if (mp_dict_length(dict, &length) != 0 || length != ENTRIES)
        return 1;
    for (int64_t i = 1; i < ENTRIES; i += 1000) {
        if (mp_dict_get(dict, mp_value_int(mix(i)), &value) != 0 || value.type != MP_INT || value.as.integer != i)
            return 2;
    }
    return 0;
}

static void ten_million_entries(void **state)
{
    mp_dict_iter *iter;
    mp_process *process;
    mp_value key, value;
    int64_t count = 0;
    (void)state;

    for (int64_t i = 0; i < ENTRIES; i++)
        assert_int_equal(mp_dict_set(dict, mp_value_int(mix(i)), mp_value_int(i)), 0);
    assert_int_equal(mp_process_start(&process, look_at_some, NULL, NULL), 0);
    for (int64_t i = 0; i < ENTRIES; i++) {
        assert_int_equal(mp_dict_get(dict, mp_value_int(mix(i)), &value), 0);
        assert_int_equal(value.as.integer, i);
    }
    assert_int_equal(mp_dict_get(dict, mp_value_int(mix(ENTRIES)), &value), MP_EKEY);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    for (; mp_dict_next(iter, &key, &value) == 0; count++) {
        assert_int_equal(value.as.integer, count);
        assert_int_equal(key.as.integer, mix(count));
    }
    assert_int_equal(count, ENTRIES);
    assert_int_equal(mp_dict_iter_free(iter), 0);
    size_t before = used();
    assert_int_equal(mp_dict_free(dict), 0);
    assert_true(used() < before / 100);
}

static void ten_million_elements(void **state)
{
    size_t length;
    int64_t element;
    (void)state;

    for (int64_t i = 0; i < ENTRIES; i++)
        assert_int_equal(mp_list_append_int(list, mix(i)), 0);
    assert_int_equal(mp_list_length(list, &length), 0);
    assert_int_equal(length, ENTRIES);
    for (int64_t i = 0; i < ENTRIES; i++) {
        assert_int_equal(mp_list_get_int(list, i, &element), 0);
        assert_int_equal(element, mix(i));
    }
    assert_int_equal(mp_list_free(list), 0);
}

/* Another process finds the value, changes its last byte, and stores it back. */
static int change_the_last(void *arg)
{
    char *data = malloc(LARGE);
    size_t length;

    (void)arg;
    if (data == NULL || mp_dict_get_bytes(dict, "large", data, LARGE, &length) != 0 || length != LARGE)
        return 1;
    data[LARGE - 1]++;
    int error = mp_dict_set_bytes(dict, "large", data, LARGE);
    free(data);
    return error == 0 ? 0 : 2;
}

static void values_of_a_hundred_mebibytes(void **state)
{
    char *data = malloc(LARGE + 1), *back = malloc(LARGE + 1);
    mp_process *process;
    size_t length;
    (void)state;

    for (int i = 0; i < LARGE; i++)
        data[i] = (char)(((i >> 3) ^ i) | 1);
    data[LARGE] = 0;
    assert_int_equal(mp_dict_set_bytes(dict, "large", data, LARGE), 0);
    assert_int_equal(mp_dict_get_bytes(dict, "large", back, LARGE, &length), 0);
    assert_int_equal(length, LARGE);
    assert_true(memcmp(back, data, LARGE) == 0);
    assert_int_equal(mp_process_start(&process, change_the_last, NULL, NULL), 0);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(mp_dict_get_bytes(dict, "large", back, LARGE, &length), 0);
    assert_true(memcmp(back, data, LARGE - 1) == 0);
    assert_int_equal(back[LARGE - 1], (char)(data[LARGE - 1] + 1));
    /* As a key, and as text in a list. */
    assert_int_equal(mp_dict_set(dict, mp_value_bytes(data, LARGE), mp_value_int(1)), 0);
    assert_int_equal(mp_dict_remove(dict, mp_value_bytes(data, LARGE)), 0);
    assert_int_equal(mp_list_append_str(list, data), 0);
    assert_int_equal(mp_list_get_str(list, 0, back, LARGE + 1, &length), 0);
    assert_int_equal(length, LARGE);
    assert_true(memcmp(back, data, LARGE + 1) == 0);
    assert_int_equal(mp_list_free(list), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    free(data);
    free(back);
}

static void what_does_not_fit_is_refused(void **state)
{
    char *data = mmap(NULL, LARGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *json, *again;
    mp_manager *small;
    mp_dict *root;
    mp_list *short_list;
    (void)state;

    assert_true(data != MAP_FAILED);
    assert_int_equal(mp_manager_create(&small, &(mp_manager_options){.limit = LARGE}), 0);
    assert_int_equal(mp_manager_root(small, &root), 0);
    assert_int_equal(mp_manager_list(small, &short_list), 0);
    assert_int_equal(mp_dict_set_list(root, "list", short_list), 0);
    assert_int_equal(mp_list_append_int(short_list, 1), 0);
    assert_int_equal(mp_dict_set_str(root, "x", "a text of some length"), 0);
    assert_int_equal(mp_dict_json(root, &json), 0);
    assert_int_equal(mp_dict_set_bytes(root, "x", data, LARGE), MP_ENOMEM);
    assert_int_equal(mp_dict_set_bytes(root, "y", data, LARGE), MP_ENOMEM);
    assert_int_equal(mp_list_append_bytes(short_list, data, LARGE), MP_ENOMEM);
    assert_int_equal(mp_list_set(short_list, 0, mp_value_bytes(data, LARGE)), MP_ENOMEM);
    assert_int_equal(mp_dict_json(root, &again), 0);
    assert_string_equal(again, json);
    assert_int_equal(mp_manager_check(small), 0);
    assert_int_equal(mp_manager_free(small), 0);
    munmap(data, LARGE);
    free(json);
    free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MANAGED(ten_million_entries),
        MANAGED(ten_million_elements),
        MANAGED(values_of_a_hundred_mebibytes),
        MANAGED(what_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
