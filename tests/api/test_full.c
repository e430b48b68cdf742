/* What happens in a full heap: each call works, or fails with an error and leaves everything as it was; memory freed by
 * any removing call can be used again. Full means that the manager's limit is reached, or the file system's. */
#include <mp.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

#define LIMIT ((size_t)3 << 20)
#define SKIPPED 77

/* For processes that the test forks: there is no cmocka in them. */
#define OK(call) ok((call), #call, __LINE__)

static void ok(int error, const char *call, int line)
{
    if (error == 0)
        return;
    fprintf(stderr, "line %d: %s: %s\n", line, call, mp_strerror(error));
    _exit(1);
}

static char heap_name[40];
static mp_manager *manager;
static mp_dict *dict;
static mp_list *list, *nothing;

/* ---- contents ---- */

/* How to put item i into a container, and the number of items in it. */
struct content {
    const char *name;
    int (*put)(int64_t i);
    int64_t (*length)(void);
    bool (*is)(int64_t i, int64_t content); /* item i is the one that put(content) made */
    bool is_list;
    /* This percentage of the items may not fit again: the places of containers stay where they are, and the gap between
     * two of them may be too small for a block. */
    int lost_percent;
};

static const char *text_of(int64_t i)
{
    static char text[400];

    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    text[30 + i % 7 * 50] = 0;
    sprintf(text, "%020ld", (long)i);
    text[20] = '.';
    return text;
}

static int put_number(int64_t i)
{
    return mp_dict_set(dict, mp_value_int(i), mp_value_int(i));
}

static int put_text(int64_t i)
{
    return mp_dict_set(dict, mp_value_str(text_of(i)), mp_value_str(text_of(i)));
}

static int append_number(int64_t i)
{
    return mp_list_append_int(list, i);
}

static int append_text(int64_t i)
{
    return mp_list_append_str(list, text_of(i));
}

/* [i, 1, 2, ..., 19] */
static int make_nested_list(mp_list **made, int64_t i)
{
    int error = mp_manager_list(manager, made);

    if (error != 0)
        return error;
    for (int64_t k = 0; k < 20 && error == 0; k++)
        error = mp_list_append_int(*made, k == 0 ? i : k);
    if (error != 0)
        OK(mp_list_free(*made));
    return error;
}

static int put_nested_list(int64_t i)
{
    mp_list *made;
    int error = make_nested_list(&made, i);

    if (error != 0)
        return error;
    error = mp_dict_set(dict, mp_value_int(i), mp_value_list(made));
    OK(mp_list_free(made));
    return error;
}

/* {"i": i} */
static int append_nested_dict(int64_t i)
{
    mp_dict *made;
    int error = mp_manager_dict(manager, &made);

    if (error != 0)
        return error;
    error = mp_dict_set_int(made, "i", i);
    if (error == 0)
        error = mp_list_append_dict(list, made);
    OK(mp_dict_free(made));
    return error;
}

static int64_t dict_length(void)
{
    size_t length;

    OK(mp_dict_length(dict, &length));
    return (int64_t)length;
}

static int64_t list_length(void)
{
    size_t length;

    OK(mp_list_length(list, &length));
    return (int64_t)length;
}

static bool is_value(mp_value value, int64_t content)
{
    int64_t number = -1;
    bool same;

    if (value.type == MP_STR) {
        same = strcmp(value.as.str, text_of(content)) == 0;
    } else {
        if (value.type == MP_INT)
            number = value.as.integer;
        else if (value.type == MP_LIST)
            OK(mp_list_get_int(value.as.list, 0, &number));
        else
            OK(mp_dict_get_int(value.as.dict, "i", &number));
        same = number == content;
    }
    mp_value_free(&value);
    return same;
}

static bool is_number(int64_t i, int64_t content)
{
    mp_value value;

    return i == content && mp_dict_get(dict, mp_value_int(i), &value) == 0 && is_value(value, content);
}

static bool is_text(int64_t i, int64_t content)
{
    mp_value value;

    return i == content && mp_dict_get(dict, mp_value_str(text_of(i)), &value) == 0 && is_value(value, content);
}

static bool is_element(int64_t i, int64_t content)
{
    mp_value value;

    return mp_list_get(list, i, &value) == 0 && is_value(value, content);
}

static const struct content numbers = {"dict of numbers", put_number, dict_length, is_number, false, 0};
static const struct content texts = {"dict of texts", put_text, dict_length, is_text, false, 0};
static const struct content elements = {"list of numbers", append_number, list_length, is_element, true, 0};
static const struct content strings = {"list of texts", append_text, list_length, is_element, true, 0};
static const struct content lists = {"dict of lists", put_nested_list, dict_length, is_number, false, 1};
static const struct content dicts = {"list of dicts", append_nested_dict, list_length, is_element, true, 1};

static int64_t fill(const struct content *content)
{
    int64_t count = content->length();
    int error;

    while ((error = content->put(count)) == 0)
        count++;
    OK(error == MP_ENOMEM ? 0 : error);
    return count;
}

/* ---- ways to remove items: some of them, or all ---- */

static void delete_each(int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        OK(mp_dict_remove_key(dict, text_of(i)));
}

static void remove_each(int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        OK(mp_dict_remove(dict, mp_value_int(i)));
}

static void remove_backwards(int64_t count)
{
    while (count-- > 0)
        OK(mp_dict_remove(dict, mp_value_int(count)));
}

static void remove_scattered(int64_t count)
{
    for (int64_t first = 0; first < 7; first++) {
        for (int64_t i = first; i < count; i += 7)
            OK(mp_dict_remove(dict, mp_value_int(i)));
    }
}

static void pop_each(int64_t count)
{
    mp_value value;

    for (int64_t i = 0; i < count; i++) {
        OK(mp_dict_pop(dict, mp_value_str(text_of(i)), &value));
        mp_value_free(&value);
    }
}

static void pop_default_each(int64_t count)
{
    mp_value value;

    for (int64_t i = 0; i < count; i++)
        OK(mp_dict_pop_default(dict, mp_value_int(i), mp_value_none(), &value));
}

static void pop_items(int64_t count)
{
    mp_value key, value;

    for (; count > 0; count--) {
        OK(mp_dict_popitem(dict, &key, &value));
        mp_value_free(&key);
        mp_value_free(&value);
    }
}

static void clear_dict(int64_t count)
{
    (void)count;
    OK(mp_dict_clear(dict));
}

static void free_dict(int64_t count)
{
    (void)count;
    OK(mp_dict_free(dict));
    OK(mp_manager_dict(manager, &dict));
}

/* Moves each key over the next one, until a single key is left. */
static void move_over(int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        char from[400];

        strcpy(from, text_of(i - 1));
        OK(mp_dict_move(dict, mp_value_str(from), mp_value_str(text_of(i))));
    }
    OK(mp_dict_remove_key(dict, text_of(count - 1)));
}

static void pop_last(int64_t count)
{
    for (; count > 0; count--)
        OK(mp_list_pop(list, -1, NULL));
}

static void pop_first(int64_t count)
{
    for (; count > 0; count--)
        OK(mp_list_pop(list, 0, NULL));
}

static void pop_middle(int64_t count)
{
    mp_value value;

    for (; count > 0; count--) {
        OK(mp_list_pop(list, count / 2, &value));
        mp_value_free(&value);
    }
}

static void delete_a_third_in(int64_t count)
{
    for (; count > 0; count--)
        OK(mp_list_delete(list, count / 3));
}

/* Deletes here and there: the gap buffer's gap moves back and forth. */
static void delete_scattered(int64_t count)
{
    for (; count > 2000; count -= 100)
        OK(mp_list_delete_slice(list, (count * 7919) % (count - 100), (count * 7919) % (count - 100) + 100, 1));
    for (; count > 0; count--)
        OK(mp_list_delete(list, (count * 7919) % count));
}

/* Removes values from the middle on: each search has to go there. */
static void remove_from_list(int64_t count)
{
    OK(mp_list_delete_slice(list, 50, count, 1));
    for (int64_t i = 0; i < 50; i++)
        OK(mp_list_remove(list, mp_value_int((i + 25) % 50)));
}

static void clear_list(int64_t count)
{
    (void)count;
    OK(mp_list_clear(list));
}

static void free_list(int64_t count)
{
    (void)count;
    OK(mp_list_free(list));
    OK(mp_manager_list(manager, &list));
}

static void delete_all_by_slice(int64_t count)
{
    (void)count;
    OK(mp_list_delete_slice(list, MP_BEGIN, MP_END, 1));
}

static void delete_middle_slice(int64_t count)
{
    OK(mp_list_delete_slice(list, 10, count - 10, 1));
    OK(mp_list_delete_slice(list, MP_BEGIN, MP_END, 1));
}

static void delete_ends_by_slice(int64_t count)
{
    OK(mp_list_delete_slice(list, 0, count / 3, 1));
    OK(mp_list_delete_slice(list, count / 3, MP_END, 1));
    OK(mp_list_delete_slice(list, MP_END, MP_BEGIN, -1));
}

static void delete_every_second(int64_t count)
{
    for (; count > 1; count = count / 2)
        OK(mp_list_delete_slice(list, 0, MP_END, 2));
    OK(mp_list_clear(list));
}

static void delete_every_fifth(int64_t count)
{
    for (int i = 0; i < 9; i++, count = list_length())
        OK(mp_list_delete_slice(list, count - 1 - i, 3, -5));
    OK(mp_list_clear(list));
}

static void set_slices_to_nothing(int64_t count)
{
    OK(mp_list_set_slice(list, 5, count - 5, 1, nothing));
    OK(mp_list_set_slice(list, MP_BEGIN, MP_END, 1, nothing));
}

/* A reversed list can be emptied just as well. */
static void reverse_and_pop(int64_t count)
{
    OK(mp_list_reverse(list));
    for (; count > 0; count--)
        OK(mp_list_pop(list, count / 4, NULL));
}

/* Each popped element is inserted again at another index. */
static void insert_after_pop(int64_t count)
{
    for (int64_t i = 1; i < 300; i++) {
        OK(mp_list_pop(list, i * 31 % count, NULL));
        OK(mp_list_insert(list, i * 97 % count, mp_value_int(i)));
    }
    OK(mp_list_clear(list));
}

static const struct emptier {
    const char *name;
    const struct content *content;
    void (*empty)(int64_t count);
} emptiers[] = {
    {"delete", &texts, delete_each},
    {"remove", &numbers, remove_each},
    {"remove, newest first", &numbers, remove_backwards},
    {"remove, scattered", &numbers, remove_scattered},
    {"pop", &texts, pop_each},
    {"pop_default", &numbers, pop_default_each},
    {"popitem", &numbers, pop_items},
    {"popitem of texts", &texts, pop_items},
    {"clear", &texts, clear_dict},
    {"free", &numbers, free_dict},
    {"move over another", &texts, move_over},
    {"pop the last", &strings, pop_last},
    {"pop the first", &elements, pop_first},
    {"pop from the middle", &strings, pop_middle},
    {"delete, a third in", &elements, delete_a_third_in},
    {"delete, scattered", &elements, delete_scattered},
    {"remove from a list", &elements, remove_from_list},
    {"clear a list", &strings, clear_list},
    {"free a list", &elements, free_list},
    {"delete all by slice", &strings, delete_all_by_slice},
    {"delete a slice in the middle", &elements, delete_middle_slice},
    {"delete slices at the ends", &strings, delete_ends_by_slice},
    {"delete every second", &elements, delete_every_second},
    {"delete every fifth, backwards", &strings, delete_every_fifth},
    {"set slices to nothing", &strings, set_slices_to_nothing},
    {"reverse, pop", &elements, reverse_and_pop},
    {"insert after pop", &elements, insert_after_pop},
    {"remove lists", &lists, remove_each},
    {"remove lists, scattered", &lists, remove_scattered},
    {"pop lists", &lists, pop_items},
    {"clear a dict of lists", &lists, clear_dict},
    {"free a dict of lists", &lists, free_dict},
    {"pop the last dict", &dicts, pop_last},
    {"pop dicts from the middle", &dicts, pop_middle},
    {"free a list of dicts", &dicts, free_list},
    {"delete every fifth dict", &dicts, delete_every_fifth},
};

static void expect(bool what, const char *name, const char *detail, int64_t a, int64_t b)
{
    if (what)
        return;
    fprintf(stderr, "%s: %s (%ld, %ld)\n", name, detail, (long)a, (long)b);
    _exit(1);
}

static size_t limit;
static bool limited; /* by the manager's limit; a part of it is reserved for refilling */

static void fill_empty_fill(const struct emptier *emptier)
{
    const struct content *content = emptier->content;

    OK(mp_manager_dict(manager, &dict));
    OK(mp_manager_list(manager, &list));
    OK(mp_manager_list(manager, &nothing));
    int64_t count = fill(content);
    for (int round = 0; round < 2; round++) {
        emptier->empty(count);
        if (round == 0)
            count -= count * (limited ? 0 : content->lost_percent) / 100;
        expect(content->length() == 0, emptier->name, "it is not empty", content->length(), 0);
        for (int64_t i = 0; i < count; i++)
            expect(content->put(i) == 0, emptier->name, "not all of it fits any more", i, count);
        for (int64_t i = 0; i < count; i += 97)
            expect(content->is(i, i), emptier->name, "another item is there", i, count);
        OK(mp_manager_check(manager));
    }
}

/* ---- heaps to fill ---- */

/* Mounts a tmpfs of that size at /dev/shm, for this process alone. */
static void small_file_system(size_t size)
{
    char options[64];

    sprintf(options, "size=%lu", (unsigned long)size);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, options) != 0)
        _exit(SKIPPED);
}

static void make_limited(void)
{
    limited = true;
    OK(mp_manager_create(&manager, &(mp_manager_options){.limit = limit}));
}

static void make_in_small_file_system(void)
{
    small_file_system(LIMIT);
    OK(mp_manager_create(&manager, &(mp_manager_options){.name = heap_name}));
}

/* Runs a function in a child process. Returns its exit code. */
static int in_a_process(void (*make)(void), void (*function)(const void *), const void *argument)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        alarm(200);
        make();
        function(argument);
        OK(mp_manager_free(manager));
        _exit(0);
    }
    while (waitpid(pid, &status, 0) != pid)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run_emptier(const void *argument)
{
    fill_empty_fill(argument);
}

static void empty_all(void (*make)(void))
{
    for (size_t i = 0; i < COUNT(emptiers); i++) {
        int code = in_a_process(make, run_emptier, &emptiers[i]);

        if (code == SKIPPED)
            skip();
        if (code != 0)
            fail_msg("%s: %d", emptiers[i].name, code);
    }
}

static void what_was_removed_fits_again(void **state)
{
    (void)state;
    limit = LIMIT;
    empty_all(make_limited);
}

/* Each limit leads to another arrangement of blocks. */
static void what_was_removed_fits_again_at_any_limit(void **state)
{
    (void)state;
    for (size_t at = 300 * 1024; at < 4096 * 1024; at += at / 5 + 1000) {
        limit = at;
        empty_all(make_limited);
    }
}

static void the_same_where_the_file_system_is_full(void **state)
{
    (void)state;
    empty_all(make_in_small_file_system);
}

/* ---- removing a part ---- */

static void remove_a_third(int64_t count)
{
    for (int64_t i = 0; i < count; i += 3)
        OK(mp_dict_remove(dict, mp_value_int(i)));
}

/* A third of a dict's entries is removed here and there, and set again: then they are its newest. No other container
 * can take that memory. */
static void third_of_a_dict(const void *argument)
{
    mp_dict_iter *iter;
    mp_value key;
    int64_t last = -1;
    (void)argument;

    OK(mp_manager_dict(manager, &dict));
    int64_t count = fill(&numbers);
    for (int round = 0; round < 3; round++) {
        remove_a_third(count);
        for (int64_t i = 0; i < count; i += 3)
            expect(put_number(i) == 0, "a third", "not all of it fits any more", i, count);
        for (int64_t i = 0; i < count; i++)
            expect(is_number(i, i), "a third", "another item is there", i, count);
        OK(mp_manager_check(manager));
    }
    OK(mp_dict_iter_create(&iter, dict));
    for (int64_t i = 0; mp_dict_next(iter, &key, NULL) == 0; i++) {
        bool kept = i < count - (count + 2) / 3;

        expect((key.as.integer % 3 != 0) == kept, "a third", "the order is another", i, key.as.integer);
        expect(i == count - (count + 2) / 3 || key.as.integer > last, "a third", "the order is another", i, last);
        last = key.as.integer;
    }
    OK(mp_dict_iter_free(iter));
}

/* Memory freed in the middle of a list can be used by other containers. */
static void middle_of_a_list(const void *argument)
{
    (void)argument;
    OK(mp_manager_list(manager, &list));
    OK(mp_manager_dict(manager, &dict));
    int64_t count = fill(&elements), half = count / 2, stored = 0;
    for (int64_t i = 0; i < half; i++)
        OK(mp_list_delete(list, count / 4));
    while (put_text(stored) == 0)
        stored++;
    expect(stored > half * 16 / 900 * 3 / 4, "the middle of a list", "little of it serves others", stored, half);
    for (int64_t i = 0; i < count - half; i++)
        expect(is_element(i, i < count / 4 ? i : i + half), "the middle of a list", "another item is there", i, 0);
    OK(mp_manager_check(manager));
    OK(mp_list_reverse(list));
    for (int64_t i = 0; i < count - half; i++) {
        int64_t at = count - half - 1 - i;

        expect(is_element(i, at < count / 4 ? at : at + half), "the middle of a list", "another item is there", i, 1);
    }
    OK(mp_manager_check(manager));
}

/* Memory of freed containers can be used for texts, except for the containers' places, which new containers reuse. The
 * second content filled a heap that the first had fragmented, so a few of its items may not fit. */
static void ended_containers(const void *argument)
{
    (void)argument;
    OK(mp_manager_list(manager, &list));
    OK(mp_manager_dict(manager, &dict));
    int64_t fresh = fill(&strings);
    OK(mp_list_clear(list));
    int64_t count = fill(&lists);
    OK(mp_dict_clear(dict));
    int64_t stored = fill(&strings);
    expect(stored > fresh * 7 / 10, "ended containers", "little of them serves others", stored, fresh);
    OK(mp_list_clear(list));
    for (int64_t i = 0; i < count - count / 500; i++)
        expect(put_nested_list(i) == 0, "ended containers", "not all of them fit any more", i, count);
    OK(mp_manager_check(manager));
}

static void what_a_part_has_freed_can_be_used(void **state)
{
    (void)state;
    limit = LIMIT;
    assert_int_equal(in_a_process(make_limited, ended_containers, NULL), 0);
    assert_int_equal(in_a_process(make_limited, third_of_a_dict, NULL), 0);
    assert_int_equal(in_a_process(make_limited, middle_of_a_list, NULL), 0);
}

/* ---- each call ---- */

static mp_dict *other_dict;
static mp_list *other_list, *mixed; /* mixed: one element of each type */
static void *memory;

/* A value of each type: in the dict under the name of the type, in the mixed list in this order. */
enum { AT_BOOL, AT_INT, AT_FLOAT, AT_BYTES, AT_DICT, AT_LIST };

static void fill_with_each_type(void)
{
    mp_dict *inner;
    mp_list *inner_list;

    OK(mp_manager_list(manager, &mixed));
    OK(mp_manager_dict(manager, &inner));
    OK(mp_manager_list(manager, &inner_list));
    OK(mp_dict_set_bool(dict, "bool", true));
    OK(mp_dict_set_float(dict, "float", 0.5));
    OK(mp_dict_set_bytes(dict, "bytes", "some bytes, more than eight", 27));
    OK(mp_dict_set_dict(dict, "dict", inner));
    OK(mp_dict_set_list(dict, "list", inner_list));
    OK(mp_list_append_bool(mixed, true));
    OK(mp_list_append_int(mixed, 7));
    OK(mp_list_append_float(mixed, 0.5));
    OK(mp_list_append_bytes(mixed, "some bytes, more than eight", 27));
    OK(mp_list_append_dict(mixed, inner));
    OK(mp_list_append_list(mixed, inner_list));
    OK(mp_dict_free(inner));
    OK(mp_list_free(inner_list));
}

/* A heap with a value of each kind, in which not even a short string has room. */
static void fill_with_all(void)
{
    mp_dict *filler;

    OK(mp_manager_dict(manager, &dict));
    OK(mp_manager_list(manager, &list));
    OK(mp_manager_dict(manager, &other_dict));
    OK(mp_manager_list(manager, &other_list));
    OK(mp_manager_dict(manager, &filler));
    OK(mp_manager_alloc(manager, 1000, &memory));
    for (int64_t i = 0; i < 2000; i++) {
        OK(put_number(i));
        OK(append_text(i));
    }
    for (int64_t i = 0; i < 40; i++) {
        OK(mp_list_append_int(other_list, -i));
        OK(mp_dict_set(other_dict, mp_value_int(i + 1990), mp_value_str(text_of(i))));
    }
    OK(mp_dict_set_str(dict, "text", text_of(1)));
    OK(mp_dict_set_int(dict, "one", 1));
    OK(mp_dict_set_int(dict, "two", 1));
    fill_with_each_type();
    for (size_t size = 100000; size > 8; size = size * 3 / 4) {
        char *bytes = calloc(1, size);

        for (int64_t i = 0;
             mp_dict_set(filler, mp_value_int((int64_t)size << 32 | i), mp_value_bytes(bytes, size)) == 0; i++)
            ;
        free(bytes);
    }
}

static mp_value a_text(void)
{
    return mp_value_str("a text that needs a block of its own, of a hundred bytes or so, in which it lies wholly");
}

static int nothing_to_apply(mp_value *value, bool found, void *arg)
{
    (void)found;
    (void)arg;
    *value = a_text();
    return 0;
}

#define CALL(name_, ...) \
    static int name_(void) \
    { \
        __VA_ARGS__ \
    }
#define RETURN(call_) return call_;

CALL(set_new, RETURN(mp_dict_set(dict, mp_value_int(-1), a_text())))
CALL(set_replace, RETURN(mp_dict_set(dict, mp_value_int(1), a_text())))
CALL(set_plain, RETURN(mp_dict_set(dict, mp_value_int(1), mp_value_int(7))))
CALL(set_dict, RETURN(mp_dict_set(dict, mp_value_int(1), mp_value_dict(other_dict))))
CALL(setdefault, mp_value value; int error = mp_dict_setdefault(dict, mp_value_int(-1), a_text(), &value);
     if (error == 0) mp_value_free(&value); return error;)
CALL(add, RETURN(mp_dict_add(dict, mp_value_int(1), 7, NULL)))
CALL(add_new, RETURN(mp_dict_add(dict, mp_value_int(-1), 7, NULL)))
CALL(swap, RETURN(mp_dict_compare_and_swap(dict, mp_value_int(1), mp_value_int(1), a_text())))
CALL(apply, RETURN(mp_dict_apply(dict, mp_value_int(1), nothing_to_apply, NULL)))
CALL(dict_remove, RETURN(mp_dict_remove(dict, mp_value_int(1000))))
CALL(dict_delete, RETURN(mp_dict_remove_key(dict, "text")))
CALL(dict_pop, mp_value value; RETURN(mp_dict_pop(dict, mp_value_int(3), &value)))
CALL(
    dict_popitem, mp_value key, value; int error = mp_dict_popitem(dict, &key, &value); if (error == 0) {
        mp_value_free(&key);
        mp_value_free(&value);
    } return error;)
CALL(dict_clear, RETURN(mp_dict_clear(dict)))
CALL(dict_free, RETURN(mp_dict_free(dict)))
CALL(move, RETURN(mp_dict_move(dict, mp_value_int(3), mp_value_int(-4))))
CALL(move_over_another, RETURN(mp_dict_move(dict, mp_value_int(3), mp_value_int(4))))
CALL(update, RETURN(mp_dict_update(dict, other_dict)))
CALL(dict_copy, mp_dict *made; RETURN(mp_dict_copy(dict, &made)))
CALL(keys, mp_list *made; RETURN(mp_dict_keys(dict, &made)))
CALL(values, mp_list *made; RETURN(mp_dict_values(dict, &made)))
CALL(items, mp_list *made; RETURN(mp_dict_items(dict, &made)))
CALL(transfer, RETURN(mp_dict_transfer_int(dict, "one", "two", 1)))
CALL(append, RETURN(mp_list_append(list, a_text())))
CALL(insert_front, RETURN(mp_list_insert(list, 0, a_text())))
CALL(insert_middle, RETURN(mp_list_insert(list, 700, a_text())))
CALL(insert_number, RETURN(mp_list_insert(list, 700, mp_value_int(1))))
CALL(list_set, RETURN(mp_list_set(list, 700, a_text())))
CALL(list_set_plain, RETURN(mp_list_set(list, 700, mp_value_int(1))))
CALL(extend, RETURN(mp_list_extend(list, other_list)))
CALL(extend_values, mp_value value = a_text(); RETURN(mp_list_extend_values(list, &value, 1)))
CALL(slice, mp_list *made; RETURN(mp_list_slice(list, 1, MP_END, 2, &made)))
CALL(set_slice, RETURN(mp_list_set_slice(list, 100, 105, 1, other_list)))
CALL(set_slice_smaller, RETURN(mp_list_set_slice(list, 100, 1200, 1, other_list)))
CALL(set_slice_step, RETURN(mp_list_set_slice(list, 100, 180, 2, other_list)))
CALL(set_slice_end, RETURN(mp_list_set_slice(list, 1995, MP_END, 1, other_list)))
CALL(set_slice_front, RETURN(mp_list_set_slice(list, 0, 0, 1, other_list)))
CALL(delete_front, RETURN(mp_list_delete(list, 0)))
CALL(delete_middle, RETURN(mp_list_delete(list, 999)))
CALL(list_pop, mp_value value; int error = mp_list_pop(list, 500, &value); if (error == 0) mp_value_free(&value);
     return error;)
CALL(list_remove, RETURN(mp_list_remove(list, mp_value_str(text_of(600)))))
CALL(delete_slice, RETURN(mp_list_delete_slice(list, 3, 1700, 1)))
CALL(delete_slice_step, RETURN(mp_list_delete_slice(list, 1, MP_END, 3)))
CALL(list_clear, RETURN(mp_list_clear(list)))
CALL(list_free, RETURN(mp_list_free(list)))
CALL(reverse, RETURN(mp_list_reverse(list)))
CALL(sort, RETURN(mp_list_sort(list, NULL, NULL, true)))
CALL(list_copy, mp_list *made; RETURN(mp_list_copy(list, &made)))
CALL(concat, mp_list *made; RETURN(mp_list_concat(list, other_list, &made)))
CALL(repeat, mp_list *made; RETURN(mp_list_repeat(list, 2, &made)))
CALL(make_dict, mp_dict *made; RETURN(mp_manager_dict(manager, &made)))
CALL(make_list, mp_list *made; RETURN(mp_manager_list(manager, &made)))
CALL(alloc, void *made; RETURN(mp_manager_alloc(manager, 100, &made)))
CALL(free_memory, RETURN(mp_memory_free(memory)))

#define WRONG (-100)

static int printed(int (*print)(FILE *))
{
    FILE *stream = fopen("/dev/null", "w");
    int error = stream == NULL ? WRONG : print(stream);

    if (stream != NULL)
        fclose(stream);
    return error;
}

static int print_dict(FILE *stream)
{
    return mp_dict_print(dict, stream);
}

static int print_list(FILE *stream)
{
    return mp_list_print(list, stream);
}

static int print_value(FILE *stream)
{
    mp_value value = mp_value_dict(dict);

    return mp_value_print(&value, stream);
}

/* Iterates over everything but containers: holding those needs memory. */
static int iterate_dict(void)
{
    mp_dict_iter *iter;
    mp_value key, value;
    int error = mp_dict_iter_create(&iter, dict);

    for (int i = 0; error == 0 && i < 2000; i++) {
        error = mp_dict_next(iter, &key, &value);
        if (error == 0 && (key.as.integer != i || value.as.integer != i))
            error = WRONG;
    }
    return error == 0 ? mp_dict_iter_free(iter) : error;
}

static int iterate_list(void)
{
    mp_list_iter *iter;
    mp_value value;
    int error = mp_list_iter_create(&iter, list);

    for (int i = 0; error == 0 && i < 2000; i++) {
        error = mp_list_next(iter, &value);
        if (error == 0 && strcmp(value.as.str, text_of(i)) != 0)
            error = WRONG;
    }
    return error == 0 ? mp_list_iter_free(iter) : error;
}

/* Appends until there is no more room. */
static int append_until_full(int (*append_one)(void))
{
    int error = 0;

    for (int i = 0; error == 0 && i < 5000; i++)
        error = append_one();
    return error == MP_ENOMEM ? 0 : error;
}

static int append_a_none(void)
{
    return mp_list_append_none(list);
}

static int append_a_bool(void)
{
    return mp_list_append_bool(list, true);
}

static int append_a_float(void)
{
    return mp_list_append_float(list, 0.5);
}

static int append_a_dict(void)
{
    return mp_list_append_dict(list, other_dict);
}

static int append_a_list(void)
{
    return mp_list_append_list(list, other_list);
}

static int backwards(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    return a->type != b->type  ? (a->type < b->type) - (a->type > b->type)
           : a->type == MP_STR ? strcmp(b->as.str, a->as.str)
                               : 0;
}

CALL(has, bool found; int error = mp_dict_contains_key(dict, "text", &found);
     return error == 0 && !found ? WRONG : error;)
CALL(contains, bool found; int error = mp_dict_contains(dict, mp_value_int(7), &found);
     return error == 0 && !found ? WRONG : error;)
CALL(get_bool, bool value; int error = mp_dict_get_bool(dict, "bool", &value);
     return error == 0 && !value ? WRONG : error;)
CALL(get_int, int64_t value; int error = mp_dict_get_int(dict, "one", &value);
     return error == 0 && value != 1 ? WRONG : error;)
CALL(get_float, double value; int error = mp_dict_get_float(dict, "float", &value);
     return error == 0 && value != 0.5 ? WRONG : error;)
CALL(get_str, char text[400]; int error = mp_dict_get_str(dict, "text", text, sizeof text, NULL);
     return error == 0 && strcmp(text, text_of(1)) != 0 ? WRONG : error;)
CALL(get_bytes, char bytes[40]; size_t size; int error = mp_dict_get_bytes(dict, "bytes", bytes, sizeof bytes, &size);
     return error == 0 && size != 27 ? WRONG : error;)
CALL(get_dict, mp_dict *value; size_t length; int error = mp_dict_get_dict(dict, "dict", &value);
     return error != 0 ? error : mp_dict_length(value, &length);)
CALL(get_list, mp_list *value; size_t length; int error = mp_dict_get_list(dict, "list", &value);
     return error != 0 ? error : mp_list_length(value, &length);)
CALL(dict_get, mp_value value; int error = mp_dict_get(dict, mp_value_int(7), &value);
     return error == 0 && !is_value(value, 7) ? WRONG : error;)
CALL(get_default, mp_value value; int error = mp_dict_get_default(dict, mp_value_int(-7), mp_value_int(8), &value);
     return error == 0 && !is_value(value, 8) ? WRONG : error;)
CALL(get_container, mp_value value; int error = mp_dict_get(dict, mp_value_str("dict"), &value);
     if (error == 0) mp_value_free(&value); return error;)
CALL(get_many, mp_value key[2] = {mp_value_int(7), mp_value_int(-7)}, value[2]; size_t found;
     int error = mp_dict_get_many(dict, key, value, 2, &found);
     return error == 0 && (found != 1 || !is_value(value[0], 7)) ? WRONG : error;)
CALL(dict_len, size_t length; return mp_dict_length(dict, &length);)
CALL(dict_equal, bool equal; int error = mp_dict_equal(dict, dict, &equal);
     return error == 0 && !equal ? WRONG : error;)
CALL(dict_print, RETURN(printed(print_dict)))
CALL(dict_iterate, RETURN(iterate_dict()))
CALL(dict_hold, int error = mp_dict_hold(dict); return error == 0 ? mp_dict_free(dict) : error;)
CALL(hold_dict, mp_dict *value; int error = mp_dict_hold_dict(dict, "dict", &value);
     return error == 0 ? mp_dict_free(value) : error;)
CALL(hold_list, mp_list *value; int error = mp_dict_hold_list(dict, "list", &value);
     return error == 0 ? mp_list_free(value) : error;)
CALL(set_none, RETURN(mp_dict_set_none(dict, "one")))
CALL(set_bool, RETURN(mp_dict_set_bool(dict, "one", true)))
CALL(set_float, RETURN(mp_dict_set_float(dict, "one", 0.25)))
CALL(set_short_bytes, RETURN(mp_dict_set_bytes(dict, "one", "few", 3)))
CALL(set_bytes, char bytes[300] = ""; return mp_dict_set_bytes(dict, "one", bytes, sizeof bytes);)
CALL(set_dict_short, RETURN(mp_dict_set_dict(dict, "one", other_dict)))
CALL(set_list_short, RETURN(mp_dict_set_list(dict, "one", list)))
CALL(set_many, mp_value key[2] = {mp_value_int(7), mp_value_int(8)}, value[2] = {mp_value_int(1), mp_value_int(2)};
     return mp_dict_set_many(dict, key, value, 2, NULL);)
CALL(set_many_new, mp_value key[2] = {mp_value_int(-7), mp_value_int(-8)}, value[2] = {a_text(), a_text()};
     size_t done = 7; int error = mp_dict_set_many(dict, key, value, 2, &done);
     return error == MP_ENOMEM && done != 0 ? WRONG : error;)
CALL(add_int, RETURN(mp_dict_add_int(dict, "one", 5, NULL)))
CALL(pop_default, mp_value value; int error = mp_dict_pop_default(dict, mp_value_int(9), mp_value_none(), &value);
     return error == 0 && !is_value(value, 9) ? WRONG : error;)
CALL(transfer_new, RETURN(mp_dict_transfer_int(dict, "one", "a key that nobody has used before, and so long", 1)))
CALL(swap_plain, RETURN(mp_dict_compare_and_swap(dict, mp_value_int(1), mp_value_int(1), mp_value_int(2))))
CALL(move_same, RETURN(mp_dict_move(dict, mp_value_int(3), mp_value_int(3))))
CALL(list_at, mp_value value; int error = mp_list_get(list, 7, &value);
     return error == 0 && !is_value(value, 7) ? WRONG : error;)
CALL(list_get_container, mp_value value; int error = mp_list_get(mixed, AT_DICT, &value);
     if (error == 0) mp_value_free(&value); return error;)
CALL(list_get_bool, bool value; int error = mp_list_get_bool(mixed, AT_BOOL, &value);
     return error == 0 && !value ? WRONG : error;)
CALL(list_get_int, int64_t value; int error = mp_list_get_int(mixed, AT_INT, &value);
     return error == 0 && value != 7 ? WRONG : error;)
CALL(list_get_float, double value; int error = mp_list_get_float(mixed, AT_FLOAT, &value);
     return error == 0 && value != 0.5 ? WRONG : error;)
CALL(list_get_str, char text[400]; int error = mp_list_get_str(list, 9, text, sizeof text, NULL);
     return error == 0 && strcmp(text, text_of(9)) != 0 ? WRONG : error;)
CALL(list_get_bytes, char bytes[40]; size_t size;
     int error = mp_list_get_bytes(mixed, AT_BYTES, bytes, sizeof bytes, &size);
     return error == 0 && size != 27 ? WRONG : error;)
CALL(list_get_dict, mp_dict *value; size_t length; int error = mp_list_get_dict(mixed, AT_DICT, &value);
     return error != 0 ? error : mp_dict_length(value, &length);)
CALL(list_get_list, mp_list *value; size_t length; int error = mp_list_get_list(mixed, AT_LIST, &value);
     return error != 0 ? error : mp_list_length(value, &length);)
CALL(list_hold, int error = mp_list_hold(list); return error == 0 ? mp_list_free(list) : error;)
CALL(list_hold_dict, mp_dict *value; int error = mp_list_hold_dict(mixed, AT_DICT, &value);
     return error == 0 ? mp_dict_free(value) : error;)
CALL(list_hold_list, mp_list *value; int error = mp_list_hold_list(mixed, AT_LIST, &value);
     return error == 0 ? mp_list_free(value) : error;)
CALL(list_index, size_t index; int error = mp_list_index(list, mp_value_str(text_of(1000)), &index);
     return error == 0 && index != 1000 ? WRONG : error;)
CALL(list_count, size_t count; int error = mp_list_count(mixed, mp_value_int(7), &count);
     return error == 0 && count != 1 ? WRONG : error;)
CALL(list_contains, bool found; int error = mp_list_contains(mixed, mp_value_float(7.0), &found);
     return error == 0 && !found ? WRONG : error;)
CALL(list_len, size_t length; return mp_list_length(list, &length);)
CALL(list_equal, bool equal; int error = mp_list_equal(list, list, &equal);
     return error == 0 && !equal ? WRONG : error;)
CALL(list_print, RETURN(printed(print_list)))
CALL(list_iterate, RETURN(iterate_list()))
CALL(list_add_int, RETURN(mp_list_add_int(mixed, AT_INT, 5, NULL)))
CALL(list_swap, RETURN(mp_list_compare_and_swap(mixed, AT_INT, mp_value_int(7), a_text())))
CALL(list_swap_plain, RETURN(mp_list_compare_and_swap(mixed, AT_INT, mp_value_int(7), mp_value_int(8))))
CALL(list_set_int, RETURN(mp_list_set_int(list, 5, 1)))
CALL(list_set_float, RETURN(mp_list_set_float(list, 5, 0.5)))
CALL(list_set_str, RETURN(mp_list_set_str(list, 5, a_text().as.str)))
CALL(append_none, RETURN(append_until_full(append_a_none)))
CALL(append_bool, RETURN(append_until_full(append_a_bool)))
CALL(append_float, RETURN(append_until_full(append_a_float)))
CALL(append_bytes, char bytes[300] = ""; return mp_list_append_bytes(list, bytes, sizeof bytes);)
CALL(append_dict, RETURN(append_until_full(append_a_dict)))
CALL(append_list, RETURN(append_until_full(append_a_list)))
CALL(extend_self, RETURN(mp_list_extend(list, list)))
CALL(sort_compare, RETURN(mp_list_sort(list, backwards, NULL, false)))
CALL(root, mp_dict *root; return mp_manager_root(manager, &root);)
CALL(sizes, mp_manager_info info; return mp_manager_get_info(manager, &info);)
CALL(memory_size, size_t size; int error = mp_memory_size(memory, &size);
     return error == 0 && size != 1000 ? WRONG : error;)
CALL(memory_ref, int64_t ref; void *found; int error = mp_memory_ref(memory, &ref);
     if (error == 0) error = mp_manager_memory(manager, ref, &found);
     return error == 0 && found != memory ? WRONG : error;)
CALL(value_equal, mp_value a = mp_value_dict(dict), b = mp_value_dict(dict); bool equal;
     int error = mp_value_equal(&a, &b, &equal); return error == 0 && !equal ? WRONG : error;)
CALL(value_json, mp_value value = mp_value_list(list); char *text; int error = mp_value_json(&value, &text);
     if (error == 0) free(text); return error;)
CALL(value_print, RETURN(printed(print_value)))

/* MP_ENOENT is right if this heap has no name. */
static int unless_there_is_none(int error)
{
    return error == MP_ENOENT ? 0 : error;
}

static int open_again(void)
{
    mp_manager *other;
    mp_dict *root;
    int error = mp_manager_open(&other, heap_name, NULL);

    if (error != 0)
        return unless_there_is_none(error);
    error = mp_manager_root(other, &root);
    return error == 0 ? mp_manager_free(other) : error;
}

static int open_or_make(void)
{
    mp_manager *other;
    int error = mp_manager_open_or_create(&other, heap_name, NULL, NULL);

    return error == 0 ? mp_manager_free(other) : error;
}

CALL(unlink_name, RETURN(unless_there_is_none(mp_manager_unlink(heap_name))))

static const struct call {
    const char *name;
    int (*call)(void);
    bool works;
} calls[] = {
    {"set a new key", set_new, false},
    {"set", set_replace, false},
    {"set a number", set_plain, true},
    {"set a dict", set_dict, true},
    {"setdefault", setdefault, false},
    {"add", add, true},
    {"add to a new key", add_new, false},
    {"compare and swap", swap, false},
    {"apply", apply, false},
    {"remove", dict_remove, true},
    {"delete", dict_delete, true},
    {"pop", dict_pop, true},
    {"popitem", dict_popitem, true},
    {"clear", dict_clear, true},
    {"free", dict_free, true},
    {"move", move, false},
    {"move over another", move_over_another, true},
    {"update", update, false},
    {"copy", dict_copy, false},
    {"keys", keys, false},
    {"values", values, false},
    {"items", items, false},
    {"transfer", transfer, true},
    {"append", append, false},
    {"insert in front", insert_front, false},
    {"insert", insert_middle, false},
    {"insert a number", insert_number, false},
    {"list set", list_set, false},
    {"list set a number", list_set_plain, true},
    {"extend", extend, false},
    {"extend with values", extend_values, false},
    {"slice", slice, false},
    {"set slice", set_slice, false},
    {"set slice to less", set_slice_smaller, false},
    {"set slice with a step", set_slice_step, false},
    {"set slice at the end", set_slice_end, false},
    {"set slice in front", set_slice_front, false},
    {"list delete in front", delete_front, true},
    {"list delete", delete_middle, true},
    {"list pop", list_pop, true},
    {"list remove", list_remove, true},
    {"delete slice", delete_slice, true},
    {"delete slice with a step", delete_slice_step, true},
    {"list clear", list_clear, true},
    {"list free", list_free, true},
    {"reverse", reverse, true},
    {"sort", sort, false},
    {"list copy", list_copy, false},
    {"concat", concat, false},
    {"repeat", repeat, false},
    {"make a dict", make_dict, false},
    {"make a list", make_list, false},
    {"alloc", alloc, false},
    {"free memory", free_memory, true},
    {"has", has, true},
    {"contains", contains, true},
    {"get a bool", get_bool, true},
    {"get a number", get_int, true},
    {"get a float", get_float, true},
    {"get a text", get_str, true},
    {"get bytes", get_bytes, true},
    {"borrow a dict", get_dict, true},
    {"borrow a list", get_list, true},
    {"get", dict_get, true},
    {"get_default", get_default, true},
    {"get a container", get_container, false},
    {"get many", get_many, true},
    {"length", dict_len, true},
    {"equal", dict_equal, true},
    {"print", dict_print, true},
    {"iterate", dict_iterate, true},
    {"hold", dict_hold, false},
    {"hold a dict", hold_dict, false},
    {"hold a list", hold_list, false},
    {"set none", set_none, true},
    {"set a bool", set_bool, true},
    {"set a float", set_float, true},
    {"set few bytes", set_short_bytes, true},
    {"set bytes", set_bytes, false},
    {"set a dict under a text", set_dict_short, true},
    {"set a list under a text", set_list_short, true},
    {"set many", set_many, true},
    {"set many new ones", set_many_new, false},
    {"add to a text key", add_int, true},
    {"pop_default", pop_default, true},
    {"transfer to a new key", transfer_new, false},
    {"compare and swap a number", swap_plain, true},
    {"move onto itself", move_same, false},
    {"list get", list_at, true},
    {"list get a container", list_get_container, false},
    {"list get a bool", list_get_bool, true},
    {"list get a number", list_get_int, true},
    {"list get a float", list_get_float, true},
    {"list get a text", list_get_str, true},
    {"list get bytes", list_get_bytes, true},
    {"list borrow a dict", list_get_dict, true},
    {"list borrow a list", list_get_list, true},
    {"list hold", list_hold, false},
    {"list hold a dict", list_hold_dict, false},
    {"list hold a list", list_hold_list, false},
    {"list index", list_index, true},
    {"list count", list_count, true},
    {"list contains", list_contains, true},
    {"list length", list_len, true},
    {"list equal", list_equal, true},
    {"list print", list_print, true},
    {"list iterate", list_iterate, true},
    {"list add", list_add_int, true},
    {"list compare and swap", list_swap, false},
    {"list compare and swap a number", list_swap_plain, true},
    {"list set an int", list_set_int, true},
    {"list set a float", list_set_float, true},
    {"list set a text", list_set_str, false},
    {"append none", append_none, true},
    {"append bools", append_bool, true},
    {"append floats", append_float, true},
    {"append bytes", append_bytes, false},
    {"append dicts", append_dict, true},
    {"append lists", append_list, true},
    {"extend with itself", extend_self, false},
    {"sort with a function", sort_compare, false},
    {"root", root, true},
    {"sizes", sizes, true},
    {"memory size", memory_size, true},
    {"memory by number", memory_ref, true},
    {"equal values", value_equal, true},
    {"JSON of a value", value_json, true},
    {"open", open_again, true},
    {"open or make", open_or_make, true},
    {"unlink", unlink_name, true},
    {"print a value", value_print, true},
};

static char *content_of_all(void)
{
    char *text[5], *all;

    OK(mp_dict_json(dict, &text[0]));
    OK(mp_list_json(list, &text[1]));
    OK(mp_dict_json(other_dict, &text[2]));
    OK(mp_list_json(other_list, &text[3]));
    OK(mp_list_json(mixed, &text[4]));
    if (asprintf(&all, "%s\n%s\n%s\n%s\n%s\n", text[0], text[1], text[2], text[3], text[4]) < 0)
        _exit(2);
    for (int i = 0; i < 5; i++)
        free(text[i]);
    return all;
}

static void run_call(const void *argument)
{
    const struct call *call = argument;

    fill_with_all();
    char *before = content_of_all();
    int error = call->call();
    expect(error == 0 || (error == MP_ENOMEM && !call->works), call->name, mp_strerror(error), error, 0);
    if (error == MP_ENOMEM) {
        char *after = content_of_all();

        expect(strcmp(before, after) == 0, call->name, "the content is another after an error", 0, 0);
        free(after);
    }
    free(before);
    OK(mp_manager_check(manager));
}

static void each_call_works_or_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(calls); i++) {
        int code = in_a_process(make_limited, run_call, &calls[i]);

        if (code != 0)
            fail_msg("%s: %d", calls[i].name, code);
    }
}

static void the_same_in_a_full_file_system(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(calls); i++) {
        int code = in_a_process(make_in_small_file_system, run_call, &calls[i]);

        if (code == SKIPPED)
            skip();
        if (code != 0)
            fail_msg("%s: %d", calls[i].name, code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_removed_fits_again),
        cmocka_unit_test(what_was_removed_fits_again_at_any_limit),
        cmocka_unit_test(the_same_where_the_file_system_is_full),
        cmocka_unit_test(what_a_part_has_freed_can_be_used),
        cmocka_unit_test(each_call_works_or_changes_nothing),
        cmocka_unit_test(the_same_in_a_full_file_system),
    };

    snprintf(heap_name, sizeof heap_name, "test-full-%d", (int)getpid());
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
