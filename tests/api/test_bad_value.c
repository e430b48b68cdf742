/* Values, JSON and error codes: bad input. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bad_input.h"

static void refuses_value(const mp_value *value)
{
    const mp_value good = mp_value_int(1);

    REFUSES(mp_value_equal(value, &good, &out.flag), MP_EINVAL);
    REFUSES(mp_value_equal(&good, value, &out.flag), MP_EINVAL);
    REFUSES(mp_value_equal(value, value, &out.flag), MP_EINVAL);
    REFUSES(mp_value_print(value, stderr), MP_EINVAL);
    REFUSES(mp_value_json(value, (char **)&out.value.owned), MP_EINVAL);
}

static void values_that_are_none(void **state)
{
    const mp_value bad[] = {
        mp_value_str(NULL),
        mp_value_strn(NULL, 5),
        mp_value_bytes(NULL, 5),
        mp_value_strn("x", SIZE_MAX),
        mp_value_bytes("x", SIZE_MAX / 2),
        {.type = MP_STR},
        {.type = MP_BYTES},
        {.type = (mp_type)(MP_LIST + 1)},
        {.type = (mp_type)-1},
        {.type = (mp_type)INT_MIN},
        mp_value_dict(NULL),
        mp_value_list(NULL),
    };
    (void)state;

    refuses_value(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses_value(&bad[i]);
}

static void refuses_dict(void *handle)
{
    refuses_value(&(mp_value){.type = MP_DICT, .as.dict = handle});
}

static void refuses_list(void *handle)
{
    refuses_value(&(mp_value){.type = MP_LIST, .as.list = handle});
}

static void containers_that_are_none(void **state)
{
    (void)state;
    each_bad_handle(DICT, refuses_dict);
    each_bad_handle(LIST, refuses_list);
}

static void null_pointers(void **state)
{
    const mp_value good = mp_value_int(1);
    (void)state;

    REFUSES(mp_value_equal(&good, &good, NULL), MP_EINVAL);
    REFUSES(mp_value_print(&good, NULL), MP_EINVAL);
    REFUSES(mp_value_json(&good, NULL), MP_EINVAL);
    mp_value_free(NULL);
}

static void streams_that_take_nothing(void **state)
{
    const mp_value good = mp_value_int(1);
    FILE *stream = fopen("/dev/null", "r");
    (void)state;

    assert_non_null(stream);
    REFUSES(mp_value_print(&good, stream), MP_ESYSTEM);
    fclose(stream);
}

static void values_freed_twice(void **state)
{
    mp_value value, own = mp_value_str("the caller's");
    (void)state;

    assert_int_equal(mp_dict_get(stock.dict, mp_value_str("s"), &value), 0);
    mp_value_free(&value);
    HOLDS(value.type == MP_NONE && value.owned == NULL);
    mp_value_free(&value);
    mp_value_free(&own);
    mp_value_free(&own);
    HOLDS(own.type == MP_NONE);
}

static void nested_too_deep(void **state)
{
    mp_list *list[2], *outer[2];
    mp_value value[2];
    (void)state;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(mp_manager_list(stock.manager, &list[i]), 0);
        for (int depth = 0; depth < MP_MAX_DEPTH + 1; depth++) {
            assert_int_equal(mp_manager_list(stock.manager, &outer[i]), 0);
            assert_int_equal(mp_list_append_list(outer[i], list[i]), 0);
            assert_int_equal(mp_list_free(list[i]), 0);
            list[i] = outer[i];
        }
        value[i] = mp_value_list(list[i]);
    }
    REFUSES(mp_value_equal(&value[0], &value[1], &out.flag), MP_EDEPTH);
    REFUSES(mp_value_json(&value[0], (char **)&out.value.owned), MP_EDEPTH);
    REFUSES(mp_value_print(&value[0], stderr), MP_EDEPTH);
    assert_int_equal(mp_list_free(list[0]), 0);
    assert_int_equal(mp_list_free(list[1]), 0);
}

static void codes_that_are_none(void **state)
{
    const int codes[] = {INT_MIN, INT_MIN + 1, INT_MAX, -32, -999, -1100 - 256, 1, -1065, -1099};
    (void)state;

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        HOLDS(mp_strerror(codes[i]) != NULL && *mp_strerror(codes[i]) != 0);
        HOLDS(!mp_died(codes[i], &out.code));
        HOLDS(!mp_died(codes[i], NULL));
        REFUSES(0, 0);
    }
    HOLDS(mp_died(MP_EDIED - 9, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFUSAL(values_that_are_none),
        REFUSAL(containers_that_are_none),
        REFUSAL(null_pointers),
        REFUSAL(streams_that_take_nothing),
        REFUSAL(values_freed_twice),
        REFUSAL(codes_that_are_none),
        /* This test makes handles again, which may bring freed ones back to life. */
        REFUSAL(nested_too_deep),
    };

    return cmocka_run_group_tests(tests, open_stock, close_stock);
}
