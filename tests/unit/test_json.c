/* JSON: how floats are written, and that nothing depends on the locale or on the rounding mode. */
#include <mp.h>
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sanitizers.h"
#include "support.h"
#include "value/json_float.h"

/* newlocale() of glibc 2.36 does not free the list of folders that it makes from LOCPATH. */
LEAKS_OF("leak:argz_add_sep\n")

/* ---- floats ---- */

/* Python: json.dumps(real), except for infinities and NaN. */
static void floats_are_written_as_python_does(void **state)
{
    static const struct {
        double real;
        const char *text;
    } cases[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-2.5, "-2.5"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {100, "100.0"},
        {123456.789, "123456.789"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {1.5e-10, "1.5e-10"},
        {1e15, "1000000000000000.0"},
        {9007199254740991, "9007199254740991.0"},
        {9007199254740992, "9007199254740992.0"},
        {9999999999999998, "9999999999999998.0"},
        {1e16, "1e+16"},
        {12345678901234567890.0, "1.2345678901234567e+19"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {9.5367431640625e-07, "9.5367431640625e-07"},
        {0x1p-44, "5.684341886080802e-14"}, /* the nearest decimal with that many digits reads back as another number */
        {0x1p-1074, "5e-324"},
        {0x1p-1022, "2.2250738585072014e-308"},
        {0x0.fffffffffffffp-1022, "2.225073858507201e-308"},
        {0x1.fffffffffffffp+1023, "1.7976931348623157e+308"},
        {INFINITY, "1e999"},
        {-INFINITY, "-1e999"},
        {NAN, "null"},
        {-NAN, "null"},
    };
    char text[JSON_FLOAT_SIZE];
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_float(cases[i].real, text);
        assert_string_equal(text, cases[i].text);
    }
}

static uint64_t random_bits(void)
{
    return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
}

/* Random bits; numbers with a few digits; neighbours of powers of 2. */
static double random_float(int i)
{
    uint64_t bits = random_bits();
    double real;

    if (i % 3 == 1)
        return (double)(bits % 1000000000) / pow(10, (double)(bits >> 40 & 15));
    if (i % 3 == 2)
        bits = (bits & 0x7ff) << 52 | (bits >> 60 & 3);
    memcpy(&real, &bits, sizeof real);
    return real;
}

static int count_digits(const char *text)
{
    int count = 0, zeros = 0;

    for (; *text != 0 && *text != 'e'; text++) {
        if (*text >= '1' && *text <= '9') {
            count += zeros + 1;
            zeros = 0;
        } else if (*text == '0') {
            zeros += count > 0;
        }
    }
    return count;
}

static void floats_read_back_equal_and_none_is_shorter(void **state)
{
    char text[JSON_FLOAT_SIZE], shorter[40];
    (void)state;

    srand(11);
    for (int i = 0; i < 100000; i++) {
        double real = random_float(i), back;

        if (!isfinite(real))
            continue;
        json_float(real, text);
        back = strtod(text, NULL);
        assert_memory_equal(&back, &real, sizeof real);
        int digits = count_digits(text);
        if (digits <= 1)
            continue;
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, real);
        if (strtod(shorter, NULL) == real)
            fail_msg("%s: %s is shorter", text, shorter);
    }
}

static void the_rounding_mode_does_not_count(void **state)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    char expected[JSON_FLOAT_SIZE], text[JSON_FLOAT_SIZE];
    (void)state;

    srand(12);
    for (int i = 0; i < 3000; i++) {
        double real = random_float(i);

        json_float(real, expected);
        for (int mode = 0; mode < 3; mode++) {
            assert_int_equal(fesetround(modes[mode]), 0);
            json_float(real, text);
            fesetround(FE_TONEAREST);
            assert_string_equal(text, expected);
        }
    }
}

/* ---- locales ---- */

/* Locales made for the test, in a folder of its own: decimal points of one, two and three bytes, and every way of
 * grouping digits. */
static const struct {
    const char *name, *point, *separator, *grouping, *printed;
} locales[] = {
    {"comma", ",", ".", "3", "0,5"},
    {"apostrophe", "'", ",", "3;3", "0'5"},
    {"two_bytes", "<U066B>", "<U066C>", "3;2",
     "0\xd9\xab"
     "5"},
    {"three_bytes", "<U2396>", "<U202F>", "4",
     "0\xe2\x8e\x96"
     "5"},
};
#define LOCALES (sizeof locales / sizeof *locales)

static char folder[] = "/tmp/libmp-locales-XXXXXX";

static FILE *file_in(const char *name)
{
    char path[100];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "w");
}

/* Only the characters that the locales need: a small system has no complete UTF-8 table. */
static bool write_charmap(void)
{
    FILE *file = file_in("charmap");

    if (file == NULL)
        return false;
    fputs("<code_set_name> UTF-8\n<comment_char> %\n<escape_char> /\n<mb_cur_min> 1\n<mb_cur_max> 4\nCHARMAP\n", file);
    for (unsigned i = 0; i < 0x80; i++)
        fprintf(file, "<U%04X> /x%02x -\n", i, i);
    fputs("<U066B> /xd9/xab -\n<U066C> /xd9/xac -\n<U202F> /xe2/x80/xaf -\n<U2396> /xe2/x8e/x96 -\nEND CHARMAP\n",
          file);
    return fclose(file) == 0;
}

static bool make_locale(size_t i)
{
    char command[300];
    FILE *file = file_in("source");

    if (file == NULL)
        return false;
    fprintf(file, "LC_NUMERIC\ndecimal_point \"%s\"\nthousands_sep \"%s\"\ngrouping %s\nEND LC_NUMERIC\n",
            locales[i].point, locales[i].separator, locales[i].grouping);
    fclose(file);
    snprintf(command, sizeof command, "cd %s && localedef --no-archive -c -f ./charmap -i ./source ./%s >log 2>&1",
             folder, locales[i].name);
    return system(command) != -1; /* it warns of all that the source leaves out, and so fails */
}

static int make_locales(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL || setenv("LOCPATH", folder, 1) != 0)
        return 1;
    for (size_t i = 0; i < LOCALES; i++) {
        if (!write_charmap() || !make_locale(i))
            return 1;
    }
    return 0;
}

static int drop_locales(void **state)
{
    char command[60];
    (void)state;

    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* The two ways to enter a locale, and to leave it. */
static bool enter_program(const char *name)
{
    return setlocale(LC_ALL, name) != NULL;
}

static void leave_program(void)
{
    setlocale(LC_ALL, "C");
}

static locale_t thread_locale;

static bool enter_thread(const char *name)
{
    thread_locale = newlocale(LC_ALL_MASK, name, (locale_t)0);
    return thread_locale != (locale_t)0 && uselocale(thread_locale) != (locale_t)0;
}

static void leave_thread(void)
{
    uselocale(LC_GLOBAL_LOCALE);
    if (thread_locale != (locale_t)0)
        freelocale(thread_locale);
}

static const struct {
    bool (*enter)(const char *name);
    void (*leave)(void);
} ways[] = {{enter_program, leave_program}, {enter_thread, leave_thread}};

/* Everything that gets printed. */
static struct {
    mp_manager *manager;
    mp_dict *dict;
    mp_list *list;
} shown;

static void make_shown(void)
{
    static const double reals[] = {0.5, -1234567.25, 1e300, 1.5e-300, 1e15, 0.1, INFINITY, NAN};

    assert_int_equal(mp_manager_create(&shown.manager, NULL), 0);
    assert_int_equal(mp_manager_dict(shown.manager, &shown.dict), 0);
    assert_int_equal(mp_manager_list(shown.manager, &shown.list), 0);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        assert_int_equal(mp_list_append_float(shown.list, reals[i]), 0);
        assert_int_equal(mp_dict_set(shown.dict, mp_value_float(reals[i]), mp_value_float(-reals[i])), 0);
    }
    assert_int_equal(mp_list_append_int(shown.list, 1234567890123), 0);
    assert_int_equal(mp_list_append_bool(shown.list, true), 0);
    assert_int_equal(mp_list_append_bytes(shown.list, "\0\xff", 2), 0);
    assert_int_equal(mp_dict_set(shown.dict, mp_value_int(-9876543), mp_value_str("h\xc3\xa9llo \xd9\xab \x01 \xff")),
                     0);
    assert_int_equal(mp_dict_set_list(shown.dict, "list", shown.list), 0);
}

static int dict_json(char **text)
{
    return mp_dict_json(shown.dict, text);
}

static int list_json(char **text)
{
    return mp_list_json(shown.list, text);
}

static int value_json(char **text)
{
    mp_value value = mp_value_dict(shown.dict);

    return mp_value_json(&value, text);
}

static int print_to(FILE *stream, int kind)
{
    mp_value value = mp_value_list(shown.list);

    return kind == 0   ? mp_dict_print(shown.dict, stream)
           : kind == 1 ? mp_list_print(shown.list, stream)
                       : mp_value_print(&value, stream);
}

static int printed(char **text, int kind)
{
    size_t size;
    FILE *stream = open_memstream(text, &size);

    assert_non_null(stream);
    int error = print_to(stream, kind);
    fclose(stream);
    return error;
}

static int dict_print(char **text)
{
    return printed(text, 0);
}

static int list_print(char **text)
{
    return printed(text, 1);
}

static int value_print(char **text)
{
    return printed(text, 2);
}

static int (*const writers[])(char **text) = {dict_json, list_json, value_json, dict_print, list_print, value_print};
#define WRITERS (sizeof writers / sizeof *writers)

/* False: the locale does not exist here. */
static bool compare_in(size_t locale, size_t way, char *const expected[])
{
    char half[10], *text;
    bool there = ways[way].enter(locales[locale].name);

    snprintf(half, sizeof half, "%.1f", 0.5);
    if (there && strcmp(half, locales[locale].printed) == 0) {
        for (size_t i = 0; i < WRITERS; i++) {
            assert_int_equal(writers[i](&text), 0);
            assert_string_equal(text, expected[i]);
            free(text);
        }
    } else {
        there = false;
    }
    ways[way].leave();
    return there;
}

static void json_is_the_same_in_every_locale(void **state)
{
    char *expected[WRITERS];
    size_t seen = 0;
    (void)state;

    make_shown();
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(writers[i](&expected[i]), 0);
    assert_non_null(strstr(expected[0], "\"0.5\": -0.5, \"-1234567.25\": 1234567.25, \"1e+300\": -1e+300"));
    for (size_t locale = 0; locale < LOCALES; locale++) {
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
            seen += compare_in(locale, way, expected);
    }
    for (size_t i = 0; i < WRITERS; i++)
        free(expected[i]);
    assert_int_equal(mp_manager_free(shown.manager), 0);
    if (seen == 0)
        skip(); /* no localedef, or a C library without such locales */
    assert_int_equal(seen, LOCALES * sizeof ways / sizeof *ways);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_are_written_as_python_does),
        cmocka_unit_test(floats_read_back_equal_and_none_is_shorter),
        cmocka_unit_test(the_rounding_mode_does_not_count),
        cmocka_unit_test_setup_teardown(json_is_the_same_in_every_locale, make_locales, drop_locales),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
