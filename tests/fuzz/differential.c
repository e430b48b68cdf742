/* Random sequences of dict and list operations, each done twice: by the library, and by the plain arrays of model.c.
 * Both write the outcome as a line of text, and the lines are compared. The whole contents are compared now and then. A
 * seed always gives the same sequence.
 *
 *     differential [--seeds N] [--from SEED] [--operations N]   one process, all operations
 *     differential --processes P ...                            P processes share a dict and a list. Each owns a share
 *                                                               of the keys, so it knows what it must find there
 *     differential --trace ...                                  writes operations and outcomes as JSON, for
 *                                                               differential.py */
#include <mp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "differential.h"
#include "random.h"

enum { TEXTS = 40, LONGEST_TEXT = 3000, MOST = 2500 };

static struct {
    unsigned long seed, operations, done;
    int processes, me; /* me: number of this process, which uses its own keys only if there are others */
    bool trace;
    uint64_t random;
    int64_t range; /* of the numbers that keys and values are made from */
} run = {.operations = 400};

static mp_manager *manager;
void *handle[CONTAINERS];
struct model model[CONTAINERS];
static char text[TEXTS][LONGEST_TEXT + 1];
static size_t text_size[TEXTS];

/* ---- lines of text ---- */

void put(struct line *line, const char *format, ...)
{
    va_list list;

    if (line->capacity - line->size < 400) {
        line->capacity = line->capacity * 2 + 4096;
        line->text = realloc(line->text, line->capacity);
        if (line->text == NULL)
            abort();
    }
    va_start(list, format);
    line->size += (size_t)vsnprintf(line->text + line->size, line->capacity - line->size, format, list);
    va_end(list);
}

static void put_hex(struct line *line, char kind, const char *bytes, size_t size)
{
    put(line, "%c", kind);
    for (size_t i = 0; i < size; i++)
        put(line, "%02x", (unsigned char)bytes[i]);
}

void put_model(struct line *line, const struct model_value *value)
{
    uint64_t bits;

    switch (value->type) {
    case M_NONE:
        put(line, "n ");
        return;
    case M_BOOL:
        put(line, value->integer ? "T " : "F ");
        return;
    case M_INT:
        put(line, "i%lld ", (long long)value->integer);
        return;
    case M_FLOAT:
        memcpy(&bits, &value->real, sizeof bits);
        put(line, "f%016llx ", (unsigned long long)bits);
        return;
    case M_STR:
    case M_BYTES:
        put_hex(line, value->type == M_STR ? 's' : 'y', value->text, value->size);
        put(line, " ");
        return;
    case M_CONTAINER:
        put(line, "c%lld ", (long long)value->integer);
        return;
    }
}

static struct model_value from_library(const mp_value *value)
{
    struct model_value result = {.type = (enum model_type)value->type, .text = value->as.str, .size = value->size};

    switch (value->type) {
    case MP_BOOL:
        result.integer = value->as.boolean;
        break;
    case MP_INT:
        result.integer = value->as.integer;
        break;
    case MP_FLOAT:
        result.real = value->as.real;
        break;
    case MP_DICT:
    case MP_LIST:
        result.type = M_CONTAINER;
        for (result.integer = 0; result.integer < CONTAINERS; result.integer++) {
            if (handle[result.integer] == (value->type == MP_DICT ? (void *)value->as.dict : (void *)value->as.list))
                break;
        }
        break;
    default:
        break;
    }
    return result;
}

mp_value to_library(const struct model_value *value)
{
    switch (value->type) {
    case M_NONE:
        return mp_value_none();
    case M_BOOL:
        return mp_value_bool(value->integer);
    case M_INT:
        return mp_value_int(value->integer);
    case M_FLOAT:
        return mp_value_float(value->real);
    case M_STR:
        return mp_value_strn(value->text, value->size);
    case M_BYTES:
        return mp_value_bytes(value->text, value->size);
    case M_CONTAINER:
        break;
    }
    return value->integer < DICTS ? mp_value_dict(handle[value->integer]) : mp_value_list(handle[value->integer]);
}

void put_value(struct line *line, mp_value *value)
{
    struct model_value seen = from_library(value);

    put_model(line, &seen);
    mp_value_free(value);
}

/* ---- the stock of texts, and random values ---- */

static void make_texts(void)
{
    static const size_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 255, 1000, LONGEST_TEXT};
    static const char *odd[] = {
        "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8d", "\"\\\b\f\n\r\t\x01\x7f", "null", "true", "1", "..."};

    for (size_t i = 0; i < TEXTS; i++) {
        text_size[i] = sizes[i % 16];
        for (size_t k = 0; k < text_size[i]; k++)
            text[i][k] = (char)('a' + (i + k) % 26);
        if (i >= 16 && i < 32 && text_size[i] > 1)
            text[i][text_size[i] / 2] = 0; /* a NUL inside */
        if (i >= 32 && i < 38) {
            text_size[i] = strlen(odd[i - 32]);
            memcpy(text[i], odd[i - 32], text_size[i]);
        }
        text[i][text_size[i]] = 0;
    }
}

uint64_t below(uint64_t limit)
{
    return random_next(&run.random) % limit;
}

static struct model_value number(int64_t n)
{
    static const int64_t edges[] = {INT64_MIN, INT64_MAX, INT64_MIN + 1, INT64_C(1) << 53, (INT64_C(1) << 53) + 1, -1};
    static const double reals[] = {-0.0,   0x1p63, -0x1p63, 0x1p53, 1e300,
                                   5e-324, -1e-7,  0.1,     1e22,   123456789012345680.0};

    switch (below(12)) {
    case 0:
        return (struct model_value){.type = M_FLOAT, .real = (double)n};
    case 1:
        return (struct model_value){.type = M_FLOAT, .real = (double)n + 0.5};
    case 2:
        return (struct model_value){.type = M_BOOL, .integer = (int64_t)below(2)};
    case 3:
        return (struct model_value){.type = M_INT, .integer = edges[below(6)]};
    case 4:
        return (struct model_value){
            .type = M_FLOAT, .real = below(8) == 0 ? (below(2) ? 1e300 * 1e300 : -1e300 * 1e300) : reals[below(10)]};
    default:
        return (struct model_value){.type = M_INT, .integer = n};
    }
}

static struct model_value some_text(enum model_type type, size_t n)
{
    return (struct model_value){.type = type, .text = text[n % TEXTS], .size = text_size[n % TEXTS]};
}

bool is_shared(void)
{
    return run.processes > 1;
}

/* A random key. With several processes: an int or a text that belongs to this process. */
struct model_value random_key(void)
{
    int64_t n = (int64_t)below((uint64_t)run.range);

    if (run.processes > 1) {
        n = n / run.processes * run.processes + run.me;
        if (below(3) == 0 && n < TEXTS && n >= 16)
            return some_text(below(2) ? M_STR : M_BYTES, (size_t)n);
        return (struct model_value){.type = M_INT, .integer = n};
    }
    switch (below(8)) {
    case 0:
    case 1:
        return some_text(M_STR, (size_t)n);
    case 2:
        return some_text(M_BYTES, (size_t)n);
    case 3:
        return below(4) == 0 ? (struct model_value){.type = M_NONE} : number(n);
    case 4:
        return number(n);
    default:
        return (struct model_value){.type = M_INT, .integer = n};
    }
}

struct model_value random_value(int container)
{
    int64_t n = (int64_t)below((uint64_t)run.range);

    switch (below(8)) {
    case 0:
        return (struct model_value){.type = M_NONE};
    case 1:
        return some_text(M_STR, (size_t)n);
    case 2:
        return some_text(M_BYTES, (size_t)n);
    case 3:
        if (run.processes <= 1 && container + 1 < CONTAINERS)
            return (struct model_value){
                .type = M_CONTAINER, .integer = container + 1 + (int64_t)below((uint64_t)(CONTAINERS - container - 1))};
        return number(n);
    default:
        return number(n);
    }
}

/* ---- contents ---- */

void put_contents(struct line *line, const struct model *from, bool dict)
{
    for (size_t i = 0; i < from->count; i++) {
        if (dict)
            put_model(line, &from->pair[i].key);
        put_model(line, &from->pair[i].value);
    }
}

/* In a dict shared with others: whether the key belongs to this process. */
static bool is_ours(const struct model_value *key)
{
    if (run.processes <= 1)
        return true;
    if (key->type == M_INT)
        return key->integer % run.processes == run.me;
    for (int i = 16; i < TEXTS; i++) {
        if (key->size == text_size[i] && memcmp(key->text, text[i], key->size) == 0)
            return i % run.processes == run.me;
    }
    return false;
}

void put_dict(struct line *line, mp_dict *dict)
{
    mp_dict_iter *iter;
    mp_value key, value;

    if (mp_dict_iter_create(&iter, dict) != 0)
        return;
    while (mp_dict_next(iter, &key, &value) == 0) {
        struct model_value seen = from_library(&key);

        if (!is_ours(&seen))
            continue;
        put_model(line, &seen);
        seen = from_library(&value);
        put_model(line, &seen);
    }
    mp_dict_iter_free(iter);
}

static void put_list(struct line *line, mp_list *list)
{
    mp_list_iter *iter;
    mp_value value;

    if (mp_list_iter_create(&iter, list) != 0)
        return;
    while (mp_list_next(iter, &value) == 0) {
        struct model_value seen = from_library(&value);
        put_model(line, &seen);
    }
    mp_list_iter_free(iter);
}

void put_new_list(struct line *line, int error, mp_list *list)
{
    if (error == 0) {
        put_list(line, list);
        mp_list_free(list);
    }
}

/* ---- running ---- */

static struct line asked, real, expected;

static _Noreturn void differ(const char *what)
{
    fprintf(stderr, "seed %lu, operation %lu: %s\n  operation %s\n  library   %.2000s\n  expected  %.2000s\n", run.seed,
            run.done, what, asked.text, real.text, expected.text);
    exit(1);
}

static void compare(const char *what)
{
    put(&real, "%s", "");
    put(&expected, "%s", "");
    if (strcmp(real.text, expected.text) != 0)
        differ(what);
}

static void clear_lines(void)
{
    asked.size = real.size = expected.size = 0;
    put(&asked, "%s", "");
}

static void compare_contents(int from, int to)
{
    for (int i = from; i < to; i++) {
        clear_lines();
        put(&asked, "the content of %d", i);
        if (i < DICTS)
            put_dict(&real, handle[i]);
        else
            put_list(&real, handle[i]);
        put_contents(&expected, &model[i], i < DICTS);
        compare("contents differ");
        if (!run.trace)
            continue;
        char *json = NULL;
        mp_value value = i < DICTS ? mp_value_dict(handle[i]) : mp_value_list(handle[i]);
        if (mp_value_json(&value, &json) != 0)
            differ("no JSON");
        printf("{\"op\": \"json\", \"c\": %d, \"json\": %s}\n", i, json);
        printf("{\"op\": \"dump\", \"c\": %d, \"r\": \"%s\"}\n", i, real.text);
        free(json);
    }
}

static void one_operation(int container)
{
    clear_lines();
    if (container < DICTS)
        dict_operation(container, &asked, &real, &expected);
    else
        list_operation(container, &asked, &real, &expected);
    compare("outcomes differ");
    if (run.trace)
        printf("{\"op\": \"%s\", \"c\": %d, \"r\": \"%s\"}\n", asked.text, container, real.text);
    run.done++;
}

static void make_containers(void)
{
    int error = mp_manager_create(&manager, NULL);

    for (int i = 0; error == 0 && i < CONTAINERS; i++) {
        error = i < DICTS ? mp_manager_dict(manager, (mp_dict **)&handle[i])
                          : mp_manager_list(manager, (mp_list **)&handle[i]);
        model[i].count = 0;
    }
    if (error != 0) {
        fprintf(stderr, "%s\n", mp_strerror(error));
        exit(2);
    }
}

static void begin(unsigned long seed)
{
    run.seed = run.random = seed;
    run.done = 0;
    run.range = seed % 4 == 0 ? MOST : seed % 4 == 1 ? 300 : 30;
    if (run.trace)
        printf("{\"op\": \"new\", \"seed\": %lu}\n", seed);
    make_containers();
}

static void end(void)
{
    int error = mp_manager_check(manager);

    if (error != 0) {
        fprintf(stderr, "seed %lu: the check says %s\n", run.seed, mp_strerror(error));
        exit(1);
    }
    mp_manager_free(manager);
}

static void run_alone(unsigned long seed)
{
    begin(seed);
    /* One seed in four works mostly on a single container, and longer. */
    int only = seed % 4 == 0 ? (int)below(CONTAINERS) : -1;
    while (run.done < run.operations * (only >= 0 ? 4 : 1)) {
        one_operation(only >= 0 && below(8) != 0 ? only : (int)below(CONTAINERS));
        if (run.done % 100 == 0)
            compare_contents(0, CONTAINERS);
    }
    compare_contents(0, CONTAINERS);
    end();
}

static int share_of_the_work(int me)
{
    run.me = me;
    run.random = run.seed * 1000 + (unsigned)me;
    while (run.done < run.operations) {
        one_operation(0);
        if (mp_list_append_int(handle[DICTS], (int64_t)me << 32 | (int64_t)run.done) != 0)
            return 1;
        if (run.done % 100 == 0)
            compare_contents(0, 1);
    }
    compare_contents(0, 1);
    return 0;
}

/* The shared list holds the numbers of each process, all of them and in order. */
static void check_shared_list(void)
{
    int64_t last[64] = {0};
    mp_list_iter *iter;
    mp_value value;
    size_t length = 0;

    if (mp_list_iter_create(&iter, handle[DICTS]) != 0)
        exit(2);
    for (; mp_list_next(iter, &value) == 0; length++) {
        int64_t who = value.as.integer >> 32, count = value.as.integer & INT32_MAX;

        if (who < 0 || who >= run.processes || count != last[who] + 1)
            differ("the shared list is not in order");
        last[who] = count;
    }
    mp_list_iter_free(iter);
    if (length != (size_t)run.processes * run.operations)
        differ("the shared list has lost something");
}

static void run_together(unsigned long seed)
{
    pid_t pid[64];
    int status;

    begin(seed);
    for (int i = 0; i < run.processes; i++) {
        pid[i] = fork();
        if (pid[i] == 0)
            _exit(share_of_the_work(i));
    }
    for (int i = 0; i < run.processes; i++) {
        if (waitpid(pid[i], &status, 0) != pid[i] || status != 0)
            differ("in one of several processes");
    }
    check_shared_list();
    end();
}

int main(int count, char **argument)
{
    unsigned long first = 1, seeds = 100, operations = 0;

    for (int i = 1; i < count; i++) {
        if (strcmp(argument[i], "--trace") == 0)
            run.trace = true;
        else if (i + 1 < count && strcmp(argument[i], "--seeds") == 0)
            seeds = strtoul(argument[++i], NULL, 0);
        else if (i + 1 < count && strcmp(argument[i], "--from") == 0)
            first = strtoul(argument[++i], NULL, 0);
        else if (i + 1 < count && strcmp(argument[i], "--operations") == 0)
            run.operations = strtoul(argument[++i], NULL, 0);
        else if (i + 1 < count && strcmp(argument[i], "--processes") == 0)
            run.processes = (int)(strtoul(argument[++i], NULL, 0) % 64);
    }
    make_texts();
    for (unsigned long seed = first; seed < first + seeds; seed++) {
        if (run.processes > 1)
            run_together(seed);
        else
            run_alone(seed);
        operations += run.processes > 1 ? run.operations * (unsigned long)run.processes : run.done;
    }
    if (!run.trace)
        printf("%lu sequences, %lu operations\n", seeds, operations);
    return 0;
}
