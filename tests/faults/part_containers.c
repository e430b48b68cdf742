/* Managers, dicts, lists. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

#define MIB ((size_t)1 << 20)

void part_managers(void)
{
    mp_manager *manager, *other;
    mp_dict *root, *dict;
    mp_list *list;
    mp_manager_info info;
    const mp_manager_options limited = {.limit = MIB};

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_create(&other, &limited), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &root), NOTHING);
    TRY(mp_dict_set_int(root, "a", 1), NOMEM);
    watch(manager, root);
    TRY(mp_manager_dict(manager, &dict), NOMEM);
    TRY(mp_manager_list(manager, &list), NOMEM);
    TRY(mp_manager_get_info(manager, &info), NOTHING);
    TRY(mp_manager_check(manager), NOMEM);
    TRY(mp_dict_free(dict), NOTHING);
    TRY(mp_list_free(list), NOTHING);
    watch(NULL, NULL);
    TRY(mp_manager_free(manager), NOTHING);
    /* If the system refuses several times, the library does not keep the addresses of closed managers. */
    if (!control->sticky)
        TRY_CODE(MP_EINVAL, mp_dict_set_int(root, "a", 2), NOTHING);
    /* Enough managers that addresses are used again. */
    for (int i = 0; i < 20; i++) {
        TRY(mp_manager_create(&manager, &limited), NOMEM | AGAIN);
        TRY(mp_manager_root(manager, &root), NOTHING);
        TRY(mp_dict_set_int(root, "a", i), NOMEM);
        TRY(mp_manager_free(manager), NOTHING);
    }
    TRY(mp_manager_free(other), NOTHING);
}

/* Leaves a named manager that no process has open. */
static void leave_stale(const char *name)
{
    fault_pause();
    pid_t pid = fork();
    if (pid == 0) {
        mp_manager *manager;
        const mp_manager_options options = {.name = name};

        _exit(mp_manager_create(&manager, &options) == 0 ? 0 : 1);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0)
        ;
    fault_resume();
    CHECK(status == 0);
}

void part_named(void)
{
    const char *name = run_name("manager");
    const mp_manager_options options = {.name = name};
    mp_manager *manager, *again, *none;
    mp_dict *root;
    int64_t value;

    TRY(mp_manager_create(&manager, &options), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_manager_root(manager, &root), NOTHING);
    TRY(mp_dict_set_int(root, "a", 1), NOMEM);
    watch(manager, root);
    TRY(mp_manager_open(&again, name, NULL), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY_CODE(MP_EEXIST, mp_manager_create(&none, &options), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_manager_root(again, &root), NOTHING);
    TRY(mp_dict_get_int(root, "a", &value), NOTHING);
    CHECK(value == 1);
    watch(NULL, NULL);
    TRY(mp_manager_free(manager), NOTHING);
    TRY(mp_dict_get_int(root, "a", &value), NOTHING);
    TRY(mp_manager_free(again), NOTHING);

    leave_stale(name);
    TRY(mp_manager_create(&manager, &options), NOMEM | AGAIN | SYSTEM | ACCESS);
    TRY(mp_manager_free(manager), NOTHING);
    leave_stale(name);
    TRY_CODE(MP_ENOENT, mp_manager_open(&none, name, NULL), NOMEM | AGAIN | SYSTEM | ACCESS);
    /* A name that could not be removed is stale; the next create replaces it. */
    fault_pause();
    TRY(mp_manager_create(&manager, &options), NOTHING);
    TRY(mp_manager_free(manager), NOTHING);
    fault_resume();
}

static void fill_dict(mp_manager *manager, mp_dict *root)
{
    mp_dict *dict;
    mp_list *list;
    char text[300];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    TRY(mp_manager_dict(manager, &dict), NOMEM);
    TRY(mp_manager_list(manager, &list), NOMEM);
    TRY(mp_dict_set_none(root, "none"), NOMEM);
    TRY(mp_dict_set_bool(root, "bool", true), NOMEM);
    TRY(mp_dict_set_int(root, "int", 7), NOMEM);
    TRY(mp_dict_set_float(root, "float", 0.5), NOMEM);
    TRY(mp_dict_set_str(root, "str", text), NOMEM);
    TRY(mp_dict_set_bytes(root, "bytes", text, 200), NOMEM);
    TRY(mp_dict_set_dict(root, "dict", dict), NOMEM);
    TRY(mp_dict_set_list(root, "list", list), NOMEM);
    for (int64_t i = 0; i < 40; i++)
        TRY(mp_dict_set(dict, mp_value_int(i), mp_value_str(text)), NOMEM);
    for (int64_t i = 0; i < 40; i++)
        TRY(mp_list_append(list, i % 2 == 0 ? mp_value_int(i) : mp_value_str(text)), NOMEM);
    TRY(mp_dict_free(dict), NOTHING);
    TRY(mp_list_free(list), NOTHING);
}

static void read_dict(mp_dict *root)
{
    char buffer[400];
    mp_value value;
    mp_dict *inner;
    mp_list *list;
    size_t length;
    int64_t integer;
    bool found;

    TRY(mp_dict_get_int(root, "int", &integer), NOTHING);
    CHECK(integer == 7);
    TRY(mp_dict_get_str(root, "str", buffer, sizeof buffer, &length), NOTHING);
    CHECK(length == 299 && strspn(buffer, "x") == 299);
    TRY(mp_dict_get_bytes(root, "bytes", buffer, sizeof buffer, &length), NOTHING);
    TRY(mp_dict_get_dict(root, "dict", &inner), NOTHING);
    TRY(mp_dict_get_list(root, "list", &list), NOTHING);
    TRY(mp_dict_contains_key(root, "str", &found), NOTHING);
    TRY(mp_dict_get(root, mp_value_str("str"), &value), NOMEM);
    CHECK(value.type == MP_STR && value.size == 299);
    mp_value_free(&value);
    TRY(mp_dict_get_default(root, mp_value_str("nothing"), mp_value_str("fallback"), &value), NOMEM);
    mp_value_free(&value);
    TRY(mp_dict_equal(root, root, &found), NOMEM);
    TRY(mp_dict_equal(inner, root, &found), NOMEM);
    CHECK(!found);
}

static int replace(mp_value *value, bool present, void *arg)
{
    (void)present;
    *value = mp_value_str(arg);
    return 0;
}

static void change_dict(mp_dict *root)
{
    mp_value key, value;
    mp_dict *copy;
    int64_t integer;

    TRY(mp_dict_setdefault(root, mp_value_str("new"), mp_value_str("a string of its own memory"), &value), NOMEM);
    mp_value_free(&value);
    TRY(mp_dict_add_int(root, "count", 5, &integer), NOMEM);
    TRY(mp_dict_transfer_int(root, "count", "other", 2), NOMEM);
    TRY(mp_dict_compare_and_swap(root, mp_value_str("int"), mp_value_int(7),
                                 mp_value_str("no longer an integer, but long")),
        NOMEM);
    TRY(mp_dict_move(root, mp_value_str("int"), mp_value_str("moved")), NOMEM);
    TRY(mp_dict_apply(root, mp_value_str("applied"), replace, "the function's own string"), NOMEM);
    TRY(mp_dict_copy(root, &copy), NOMEM);
    TRY(mp_dict_set_int(copy, "only here", 1), NOMEM);
    TRY(mp_dict_update(root, copy), NOMEM);
    TRY(mp_dict_free(copy), NOTHING);
    TRY(mp_dict_pop(root, mp_value_str("str"), &value), NOMEM);
    CHECK(value.type == MP_STR && value.size == 299);
    mp_value_free(&value);
    TRY(mp_dict_pop_default(root, mp_value_str("str"), mp_value_str("gone"), &value), NOMEM);
    mp_value_free(&value);
    TRY(mp_dict_popitem(root, &key, &value), NOMEM);
    mp_value_free(&key);
    mp_value_free(&value);
    TRY(mp_dict_remove_key(root, "none"), NOMEM);
}

static void walk_dict(mp_dict *root)
{
    mp_dict_iter *iter;
    mp_value key, value;
    mp_list *list;
    char *text;
    size_t length, seen = 0;
    int result;

    TRY(mp_dict_length(root, &length), NOTHING);
    TRY(mp_dict_iter_create(&iter, root), NOMEM);
    while ((result = mp_dict_next(iter, &key, &value)) != MP_ESTOP) {
        if (result != 0) {
            refused(__FILE__, __LINE__, "mp_dict_next", result, NOMEM);
            TRY(mp_dict_next(iter, &key, &value), NOTHING);
        }
        seen++;
    }
    CHECK(seen == length);
    TRY(mp_dict_iter_free(iter), NOTHING);
    TRY(mp_dict_keys(root, &list), NOMEM);
    TRY(mp_list_free(list), NOTHING);
    TRY(mp_dict_values(root, &list), NOMEM);
    TRY(mp_list_free(list), NOTHING);
    TRY(mp_dict_items(root, &list), NOMEM);
    TRY(mp_list_free(list), NOTHING);
    TRY(mp_dict_json(root, &text), NOMEM);
    CHECK(text[0] == '{' && text[strlen(text) - 1] == '}');
    free(text);
    FILE *sink = fopen("/dev/null", "we");
    if (sink != NULL) {
        int error = mp_dict_print(root, sink);
        if (error != 0) {
            refused(__FILE__, __LINE__, "mp_dict_print", error, NOMEM | SYSTEM);
            clearerr(sink); /* the error belongs to the stream */
            TRY(mp_dict_print(root, sink), NOTHING);
        }
        fclose(sink);
    }
}

void part_dict(void)
{
    mp_manager *manager;
    mp_dict *root;

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &root), NOTHING);
    watch(manager, root);
    fill_dict(manager, root);
    read_dict(root);
    walk_dict(root);
    change_dict(root);
    TRY(mp_manager_check(manager), NOMEM);
    TRY(mp_dict_clear(root), NOMEM);
    TRY(mp_manager_check(manager), NOMEM);
    watch(NULL, NULL);
    TRY(mp_manager_free(manager), NOTHING);
}

static void change_list(mp_list *list)
{
    mp_value values[3] = {mp_value_int(1), mp_value_str("two, and a little more of it"), mp_value_float(3)};
    mp_value value;
    mp_list *other, *sum;
    int64_t integer;
    size_t index;
    bool equal;

    TRY(mp_list_extend_values(list, values, 3), NOMEM);
    TRY(mp_list_insert(list, 1, mp_value_str("inserted in the second place")), NOMEM);
    TRY(mp_list_append(list, mp_value_none()), NOMEM);
    TRY(mp_list_set(list, -1, mp_value_int(5)), NOMEM);
    TRY(mp_list_add_int(list, -1, 2, &integer), NOMEM);
    TRY(mp_list_compare_and_swap(list, -1, mp_value_int(7), mp_value_str("a string in the place of a number")), NOMEM);
    TRY(mp_list_get(list, 1, &value), NOMEM);
    mp_value_free(&value);
    TRY(mp_list_copy(list, &other), NOMEM);
    TRY(mp_list_extend(list, other), NOMEM);
    TRY(mp_list_extend(list, list), NOMEM);
    TRY(mp_list_concat(list, other, &sum), NOMEM);
    TRY(mp_list_equal(list, sum, &equal), NOMEM);
    TRY(mp_list_free(sum), NOTHING);
    TRY(mp_list_slice(list, 0, 8, 2, &sum), NOMEM);
    TRY(mp_list_set_slice(list, 3, 5, 1, sum), NOMEM);
    TRY(mp_list_delete_slice(list, 1, MP_END, 3), NOMEM);
    TRY(mp_list_free(sum), NOTHING);
    TRY(mp_list_repeat(other, 20, &sum), NOMEM);
    TRY(mp_list_free(sum), NOTHING);
    TRY(mp_list_reverse(list), NOMEM);
    TRY(mp_list_index(list, mp_value_int(1), &index), NOMEM);
    TRY(mp_list_count(list, mp_value_int(1), &index), NOMEM);
    TRY(mp_list_contains(list, mp_value_str("two, and a little more of it"), &equal), NOMEM);
    TRY(mp_list_remove(list, mp_value_int(1)), NOMEM);
    TRY(mp_list_pop(list, 0, &value), NOMEM);
    mp_value_free(&value);
    TRY(mp_list_delete(list, 0), NOMEM);
    TRY(mp_list_free(other), NOTHING);
}

static void sort_list(mp_manager *manager, mp_dict *root)
{
    mp_list *list;
    mp_list_iter *iter;
    mp_value value;
    int64_t before = -1;
    char *text;
    int result;

    TRY(mp_manager_list(manager, &list), NOMEM);
    TRY(mp_dict_set_list(root, "sorted", list), NOMEM);
    for (int64_t i = 0; i < 100; i++)
        TRY(mp_list_append_int(list, i * 37 % 101), NOMEM);
    TRY(mp_list_sort(list, NULL, NULL, false), NOMEM);
    TRY(mp_list_iter_create(&iter, list), NOMEM);
    while ((result = mp_list_next(iter, &value)) != MP_ESTOP) {
        if (result != 0) {
            refused(__FILE__, __LINE__, "mp_list_next", result, NOMEM);
            TRY(mp_list_next(iter, &value), NOTHING);
        }
        CHECK(value.as.integer > before);
        before = value.as.integer;
    }
    TRY(mp_list_iter_free(iter), NOTHING);
    TRY(mp_list_json(list, &text), NOMEM);
    free(text);
    TRY(mp_list_free(list), NOTHING);
}

void part_list(void)
{
    mp_manager *manager;
    mp_dict *root;
    mp_list *list;

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &root), NOTHING);
    watch(manager, root);
    TRY(mp_manager_list(manager, &list), NOMEM);
    TRY(mp_dict_set_list(root, "list", list), NOMEM);
    TRY(mp_list_free(list), NOTHING);
    change_list(list);
    sort_list(manager, root);
    TRY(mp_list_clear(list), NOMEM);
    TRY(mp_dict_clear(root), NOMEM);
    TRY(mp_manager_check(manager), NOMEM);
    watch(NULL, NULL);
    TRY(mp_manager_free(manager), NOTHING);
}

static void check_big(mp_dict *dict, const char *key, int byte, size_t size)
{
    static unsigned char buffer[40 * MIB];
    size_t length;

    TRY(mp_dict_get_bytes(dict, key, buffer, sizeof buffer, &length), NOMEM);
    CHECK(length == size);
    for (size_t i = 0; i < size; i += 4099)
        CHECK(buffer[i] == byte);
}

/* Values so large that the heap grows for each, and that holes are punched where they were. */
void part_growth(void)
{
    static unsigned char data[40 * MIB];
    mp_manager *manager;
    mp_dict *root, *big;

    TRY(mp_manager_create(&manager, NULL), NOMEM | AGAIN);
    TRY(mp_manager_root(manager, &root), NOTHING);
    TRY(mp_manager_dict(manager, &big), NOMEM);
    TRY(mp_dict_set_str(root, "small", "what else is in the manager"), NOMEM);
    watch(manager, root);
    memset(data, 3, sizeof data);
    TRY(mp_dict_set_bytes(big, "third", data, 300000), NOMEM);
    TRY(mp_dict_set_bytes(big, "third", data, 400000), NOMEM);
    memset(data, 1, sizeof data);
    TRY(mp_dict_set_bytes(big, "first", data, 40 * MIB), NOMEM);
    TRY(mp_dict_set_bytes(big, "second", data, 4 * MIB), NOMEM);
    TRY(mp_dict_remove_key(big, "first"), NOMEM); /* leaves a hole */
    TRY(mp_dict_set_bytes(big, "first", data, 12 * MIB), NOMEM);
    check_big(big, "third", 3, 400000);
    check_big(big, "first", 1, 12 * MIB);
    check_big(big, "second", 1, 4 * MIB);
    TRY(mp_dict_clear(big), NOMEM);
    TRY(mp_manager_check(manager), NOMEM);
    TRY(mp_dict_free(big), NOTHING);
    watch(NULL, NULL);
    TRY(mp_manager_free(manager), NOTHING);
}
