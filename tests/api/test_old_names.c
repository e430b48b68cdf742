/* The names of version 0.1, next to types of other libraries with the same names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

/* As in two well-known libraries for large numbers. */
typedef struct {
    int used;
} mp_int;

#include <mp.h>

static void the_types_of_others_stay(void **state)
{
    mp_int number = {.used = 3}, *pointer = &number;

    (void)state;
    assert_int_equal(pointer->used, 3);
    assert_int_equal(sizeof(mp_int), sizeof number);
}

static void old_names_make_the_same_values(void **state)
{
    const struct {
        mp_value old, new;
    } values[] = {
        {mp_none(), mp_value_none()},
        {mp_bool(true), mp_value_bool(true)},
        {mp_int(-7), mp_value_int(-7)},
        {mp_float(1.5), mp_value_float(1.5)},
        {mp_str("text"), mp_value_str("text")},
        {mp_strn("text", 2), mp_value_strn("text", 2)},
        {mp_bytes("data", 3), mp_value_bytes("data", 3)},
        {mp_bytes((char[]){1, 2, 3}, 3), mp_value_bytes("\1\2\3", 3)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        bool equal = false;

        assert_int_equal(values[i].old.type, values[i].new.type);
        assert_int_equal(mp_value_equal(&values[i].old, &values[i].new, &equal), 0);
        assert_true(equal);
    }
}

static void old_names_lead_to_the_same_functions(void **state)
{
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
    mp_pool *pool;
    bool found = false;
    pid_t old = 0, new = 0;

    (void)state;
    assert_int_equal(mp_manager_create(&manager, NULL), 0);
    assert_int_equal(mp_manager_dict(manager, &dict), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    assert_int_equal(mp_dict_set(dict, mp_str("list"), mp_list_value(list)), 0);
    assert_int_equal(mp_list_append(list, mp_dict_value(dict)), 0);
    assert_int_equal(mp_dict_has(dict, "list", &found), 0);
    assert_true(found);
    assert_int_equal(mp_dict_delete(dict, "list"), 0);
    assert_int_equal(mp_dict_contains_key(dict, "list", &found), 0);
    assert_false(found);
    assert_int_equal(mp_pool_create(&pool, 1, NULL), 0);
    assert_int_equal(mp_pool_keeper(pool, &old), 0);
    assert_int_equal(mp_pool_supervisor(pool, &new), 0);
    assert_int_equal(old, new);
    assert_int_equal(mp_pool_free(pool), 0);
    assert_int_equal(mp_manager_free(manager), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_types_of_others_stay),
        cmocka_unit_test(old_names_make_the_same_values),
        cmocka_unit_test(old_names_lead_to_the_same_functions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
