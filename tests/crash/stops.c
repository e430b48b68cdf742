/* What readers find while a writer is stopped: every reading call of dicts and lists, in a process of its own. Each has
 * to answer within a deadline. All answers about one container have to show its state before the writer's operation, or
 * all the state after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "containers.h"

#define DEADLINE 2 /* seconds: a call that waits for the writer ends the process by SIGALRM */

static FILE *answers;
static double begun;

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- one call ---- */

static void begin(void)
{
    alarm(DEADLINE);
    begun = now();
}

static void end(const char *call, int error)
{
    report_duration(call, now() - begun);
    fprintf(answers, "%s %d ", call, error);
}

/* A nested container is printed as its kind only: a line of the table of its own looks into it. */
static void say(const mp_value *value)
{
    switch (value->type) {
    case MP_INT:
        fprintf(answers, "%ld\n", (long)value->as.integer);
        break;
    case MP_FLOAT:
        fprintf(answers, "%g\n", value->as.real);
        break;
    case MP_BOOL:
        fprintf(answers, "%d\n", value->as.boolean);
        break;
    case MP_STR:
    case MP_BYTES:
        fprintf(answers, "%zu", value->size);
        for (size_t i = 0; i < value->size; i += value->size / 64 + 1)
            fputc(((const char *)value->as.bytes)[i], answers);
        fputc('\n', answers);
        break;
    default:
        fprintf(answers, "type %d\n", (int)value->type);
    }
}

static void say_and_free(int error, mp_value *value)
{
    if (error == 0) {
        say(value);
        mp_value_free(value);
    } else {
        fputc('\n', answers);
    }
}

#define CALL(error_, call_) \
    begin(); \
    int error_ = call_; \
    end(#call_, error_)

/* A buffer that is too small, or was given for another type, has to stay unchanged. */
static void say_buffer(int error, const char *buffer, size_t size, size_t length)
{
    for (size_t i = 0; error != 0 && i < size; i++) {
        if (buffer[i] != '#')
            report_problem("a buffer was written to, though the call failed");
    }
    mp_value value = mp_value_bytes(buffer, error == 0 ? length : 0);
    say(&value);
}

/* ---- dicts ---- */

static const char *const names[] = {"a",
                                    "b",
                                    "c",
                                    "k0",
                                    "k1",
                                    "k9",
                                    "new",
                                    "key of more than sixteen characters",
                                    "the new place, of a long name",
                                    "another key of more than sixteen characters",
                                    "missing target, a long name"};
static const int64_t numbers[] = {0, 1, 2, 63, 1022, 1023, 100000};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void read_typed(mp_dict *dict, const char *key)
{
    static char buffer[6000];
    int64_t integer = 0;
    double real = 0;
    bool truth = false;
    size_t length = 0;
    mp_dict *inner;
    mp_list *inner_list;

    CALL(get_int, mp_dict_get_int(dict, key, &integer));
    fprintf(answers, "%ld\n", (long)integer);
    CALL(get_float, mp_dict_get_float(dict, key, &real));
    fprintf(answers, "%g\n", real);
    CALL(get_bool, mp_dict_get_bool(dict, key, &truth));
    fprintf(answers, "%d\n", truth);
    CALL(get_dict, mp_dict_get_dict(dict, key, &inner));
    CALL(get_list, mp_dict_get_list(dict, key, &inner_list));
    (void)get_int, (void)get_float, (void)get_bool, (void)get_dict, (void)get_list;
    for (size_t size = 20; size <= sizeof buffer; size *= 300) {
        memset(buffer, '#', sizeof buffer);
        CALL(get_str, mp_dict_get_str(dict, key, buffer, size, &length));
        say_buffer(get_str, buffer, size, length);
        memset(buffer, '#', sizeof buffer);
        CALL(get_bytes, mp_dict_get_bytes(dict, key, buffer, size, &length));
        say_buffer(get_bytes, buffer, size, length);
    }
    CALL(has, mp_dict_contains_key(dict, key, &truth));
    fprintf(answers, "%d\n", has == 0 && truth);
}

static void read_value(mp_dict *dict, mp_value key)
{
    mp_value value = mp_value_none();
    bool found = false;

    CALL(get, mp_dict_get(dict, key, &value));
    say_and_free(get, &value);
    CALL(get_default, mp_dict_get_default(dict, key, mp_value_int(-7), &value));
    say_and_free(get_default, &value);
    CALL(contains, mp_dict_contains(dict, key, &found));
    fprintf(answers, "%d\n", contains == 0 && found);
}

static void read_many(mp_dict *dict)
{
    mp_value keys[COUNT(names)], values[COUNT(names)];
    size_t found = 0;

    for (size_t i = 0; i < COUNT(names); i++)
        keys[i] = mp_value_str(names[i]);
    CALL(get_many, mp_dict_get_many(dict, keys, values, COUNT(names), &found));
    fprintf(answers, "%zu\n", found);
    for (size_t i = 0; i < COUNT(names); i++)
        say_and_free(get_many, &values[i]);
}

static void read_whole_dict(mp_dict *dict)
{
    char *text = NULL;

    CALL(dict_json, mp_dict_json(dict, &text));
    fprintf(answers, "%s\n", dict_json == 0 ? text : "");
    free(text);
}

static void read_dict(mp_dict *dict)
{
    mp_dict_iter *iter = NULL;
    mp_value key, value;
    size_t length = 0;
    int error;

    CALL(dict_length, mp_dict_length(dict, &length));
    fprintf(answers, "%zu\n", dict_length == 0 ? length : 0);
    for (size_t i = 0; i < COUNT(names); i++) {
        read_typed(dict, names[i]);
        read_value(dict, mp_value_str(names[i]));
    }
    for (size_t i = 0; i < COUNT(numbers); i++)
        read_value(dict, mp_value_int(numbers[i]));
    read_many(dict);
    read_whole_dict(dict);
    CALL(create, mp_dict_iter_create(&iter, dict));
    (void)create;
    do {
        CALL(next, mp_dict_next(iter, &key, &value));
        error = next;
        if (error == 0) {
            say(&key);
            say(&value);
        }
    } while (error == 0);
    mp_dict_iter_free(iter);
}

/* ---- lists ---- */

static void read_element(mp_list *list, int64_t index)
{
    static char buffer[6000];
    mp_value value = mp_value_none();
    int64_t integer = 0;
    double real = 0;
    bool truth = false;
    size_t length = 0;
    mp_dict *inner_dict;
    mp_list *inner;

    CALL(get, mp_list_get(list, index, &value));
    say_and_free(get, &value);
    CALL(get_int, mp_list_get_int(list, index, &integer));
    fprintf(answers, "%ld\n", (long)integer);
    CALL(get_float, mp_list_get_float(list, index, &real));
    fprintf(answers, "%g\n", real);
    CALL(get_bool, mp_list_get_bool(list, index, &truth));
    fprintf(answers, "%d\n", truth);
    CALL(get_dict, mp_list_get_dict(list, index, &inner_dict));
    CALL(get_list, mp_list_get_list(list, index, &inner));
    (void)get_int, (void)get_float, (void)get_bool, (void)get_dict, (void)get_list;
    for (size_t size = 20; size <= sizeof buffer; size *= 300) {
        memset(buffer, '#', sizeof buffer);
        CALL(get_str, mp_list_get_str(list, index, buffer, size, &length));
        say_buffer(get_str, buffer, size, length);
        memset(buffer, '#', sizeof buffer);
        CALL(get_bytes, mp_list_get_bytes(list, index, buffer, size, &length));
        say_buffer(get_bytes, buffer, size, length);
    }
}

static void read_whole_list(mp_list *list)
{
    const mp_value wanted[] = {mp_value_int(3), mp_value_str("missing")};
    char *text = NULL;
    bool found = false;
    size_t at = 0, times = 0;

    CALL(list_json, mp_list_json(list, &text));
    fprintf(answers, "%s\n", list_json == 0 ? text : "");
    free(text);
    for (size_t i = 0; i < COUNT(wanted); i++) {
        CALL(list_contains, mp_list_contains(list, wanted[i], &found));
        fprintf(answers, "%d\n", list_contains == 0 && found);
        CALL(list_index, mp_list_index(list, wanted[i], &at));
        fprintf(answers, "%zu\n", list_index == 0 ? at : 0);
        CALL(list_count, mp_list_count(list, wanted[i], &times));
        fprintf(answers, "%zu\n", list_count == 0 ? times : 0);
    }
}

static void read_list(mp_list *list)
{
    mp_list_iter *iter = NULL;
    mp_value value;
    size_t length = 0;
    int error;

    CALL(list_length, mp_list_length(list, &length));
    fprintf(answers, "%zu\n", list_length == 0 ? length : 0);
    for (int64_t index = -4; index < 8; index++)
        read_element(list, index);
    read_whole_list(list);
    CALL(create, mp_list_iter_create(&iter, list));
    (void)create;
    do {
        CALL(next, mp_list_next(iter, &value));
        error = next;
        if (error == 0)
            say(&value);
    } while (error == 0);
    mp_list_iter_free(iter);
}

/* Each of these calls looks into two containers, which change one after the other. So any answer is right, but it has
 * to come in time. */
static void compare(void)
{
    bool answer = false;

    begin();
    int error = mp_dict_equal(scene.dict, scene.other, &answer);
    report_duration("mp_dict_equal", now() - begun);
    if (error == 0 || error == MP_EINVAL) {
        begin();
        error = mp_list_equal(scene.list, scene.more, &answer);
        report_duration("mp_list_equal", now() - begun);
    }
    if (error == 0 || error == MP_EINVAL) {
        begin();
        error = mp_list_contains(scene.list, mp_value_list(scene.more), &answer);
        report_duration("mp_list_contains", now() - begun);
    }
    if (error != 0 && error != MP_EINVAL)
        report_problem("what compares two containers says %s", mp_strerror(error));
}

void read_containers(void)
{
    char *text = NULL;
    size_t size = 0;

    answers = open_memstream(&text, &size);
    /* Each part is a consistent view of one moment. A nested container is released after its outer container has
     * changed. */
    read_dict(scene.dict);
    fputc('\f', answers);
    read_dict(scene.other);
    fputc('\f', answers);
    read_list(scene.list);
    fputc('\f', answers);
    read_list(scene.more);
    compare();
    fclose(answers);
    report_state(text);
    free(text);
}
