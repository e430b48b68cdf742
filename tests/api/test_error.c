/* Codes and their texts, and the codes that stand for a worker's death. */
#include <mp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void version_is_the_headers(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", MP_VERSION_MAJOR, MP_VERSION_MINOR, MP_VERSION_PATCH);
    assert_string_equal(mp_version(), text);
}

static void every_code_has_its_own_text(void **state)
{
    (void)state;
    for (int code = 0; code >= MP_EDEPTH; code--) {
        const char *text = mp_strerror(code);

        assert_non_null(text);
        assert_true(strlen(text) > 0);
        assert_null(strchr(text, '\n'));
        assert_true(text[strlen(text) - 1] != '.');
        assert_null(strstr(text, "unknown error"));
        for (int other = 0; other > code; other--)
            assert_string_not_equal(text, mp_strerror(other));
    }
}

static void other_codes_are_described(void **state)
{
    (void)state;
    assert_string_equal(mp_strerror(5), "task failed with code 5");
    assert_string_equal(mp_strerror(INT32_MAX), "task failed with code 2147483647");
    assert_string_equal(mp_strerror(-77), "unknown error -77");
    assert_string_equal(mp_strerror(MP_EDEPTH - 1), "unknown error -32");
    assert_string_equal(mp_strerror(MP_EDIED + 1), "unknown error -999");
    assert_string_equal(mp_strerror(MP_EDIED - 65), "unknown error -1065");
    assert_string_equal(mp_strerror(MP_EDIED - 356), "unknown error -1356");
    assert_string_equal(mp_strerror(INT32_MIN), "unknown error -2147483648");
}

static void a_death_is_described(void **state)
{
    (void)state;
    assert_string_equal(mp_strerror(MP_EDIED - SIGKILL), "worker killed by signal 9 (SIGKILL)");
    assert_string_equal(mp_strerror(MP_EDIED - SIGSEGV), "worker killed by signal 11 (SIGSEGV)");
    assert_string_equal(mp_strerror(MP_EDIED - 40), "worker killed by signal 40");
    assert_string_equal(mp_strerror(MP_EDIED - 100), "worker ended with exit code 0");
    assert_string_equal(mp_strerror(MP_EDIED - 103), "worker ended with exit code 3");
    assert_string_equal(mp_strerror(MP_EDIED - 355), "worker ended with exit code 255");
    assert_string_equal(mp_strerror(MP_EDIED), "worker died, nobody knows how");
}

static void assert_died(int code, int expected)
{
    int exitcode = 1000;

    assert_true(mp_died(code, NULL));
    assert_true(mp_died(code, &exitcode));
    assert_int_equal(exitcode, expected);
}

static void assert_not_died(int code)
{
    int exitcode = 1000;

    assert_false(mp_died(code, NULL));
    assert_false(mp_died(code, &exitcode));
    assert_int_equal(exitcode, 1000);
}

static void a_death_is_told_from_other_errors(void **state)
{
    (void)state;
    assert_died(MP_EDIED, MP_EXITCODE_UNKNOWN);
    assert_died(MP_EDIED - 1, -1);
    assert_died(MP_EDIED - SIGKILL, -SIGKILL);
    assert_died(MP_EDIED - 64, -64);
    assert_died(MP_EDIED - 100, 0);
    assert_died(MP_EDIED - 107, 7);
    assert_died(MP_EDIED - 355, 255);
    assert_not_died(0);
    assert_not_died(3);
    assert_not_died(MP_EBROKEN);
    assert_not_died(MP_EDIED + 1);
    assert_not_died(MP_EDIED - 65);
    assert_not_died(MP_EDIED - 99);
    assert_not_died(MP_EDIED - 356);
    assert_not_died(INT32_MIN);
    assert_not_died(INT32_MAX);
}

static void *describe_another(void *arg)
{
    (void)arg;
    return strcmp(mp_strerror(MP_EDIED - 101), "worker ended with exit code 1") == 0 ? arg : NULL;
}

static void each_thread_has_its_own_text(void **state)
{
    const char *text = mp_strerror(MP_EDIED - 109);
    pthread_t thread;
    void *fine;
    int mark;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, describe_another, &mark), 0);
    assert_int_equal(pthread_join(thread, &fine), 0);
    assert_non_null(fine);
    assert_string_equal(text, "worker ended with exit code 9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_the_headers),
        cmocka_unit_test(every_code_has_its_own_text),
        cmocka_unit_test(other_codes_are_described),
        cmocka_unit_test(a_death_is_described),
        cmocka_unit_test(a_death_is_told_from_other_errors),
        cmocka_unit_test(each_thread_has_its_own_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
