/* Which process holds a container, and until when: holds of processes that have ended in any way, inherited holds,
 * handles whose place was reused, holds given up once too often, by others, and in any order.
 *
 * A new call that gives a hold needs a line in HOLDS; a new way for a process to end a line in `ends`. Calls that take
 * a dict or list need no line: every_call.sh reads them from mp.h. With sanitizers, the generations of a place are used
 * up only if an argument says "long". */
#include <fcntl.h>
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "heap/heap_check.h"
#include "object/object.h"
#include "sanitizers.h"
#include "support.h"

enum { SECONDS = 60 };

static mp_manager *manager;
static mp_dict *outer_dict; /* {"d": {"n": 1}, "l": [1]}; the newest entry is "d" or "l" */
static mp_list *outer_list; /* [{"n": 1}, [1]] */
static bool long_run;

static struct shared {
    _Atomic int ready, go, done;
    _Atomic int code;
    _Atomic(void *) handle;
} * shared;

static bool reached(_Atomic int *word, int number)
{
    return reaches(word, number, SECONDS);
}

static int make_dict(mp_dict **dict)
{
    int error = mp_manager_dict(manager, dict);

    return error != 0 ? error : mp_dict_set_int(*dict, "n", 1);
}

static int make_list(mp_list **list)
{
    int error = mp_manager_list(manager, list);

    return error != 0 ? error : mp_list_append_int(*list, 1);
}

/* Fills the outer containers. The nested ones have no other holder. */
static int fill(void)
{
    mp_dict *dict;
    mp_list *list;
    int error = make_dict(&dict);

    if (error == 0)
        error = make_list(&list);
    if (error == 0)
        error = mp_dict_set_dict(outer_dict, "d", dict);
    if (error == 0)
        error = mp_dict_set_list(outer_dict, "l", list);
    if (error == 0)
        error = mp_list_append_dict(outer_list, dict);
    if (error == 0)
        error = mp_list_append_list(outer_list, list);
    return error != 0 ? error : mp_dict_free(dict) | mp_list_free(list);
}

static int empty(void)
{
    return mp_dict_clear(outer_dict) | mp_list_clear(outer_list);
}

static struct heap *heap(void)
{
    return object_heap(object_of(outer_dict));
}

/* The number of live dicts and lists of the manager, after the holds of dead processes were given back. */
static int count_objects(void)
{
    mp_manager_info info;
    int count = 0;

    assert_int_equal(mp_manager_get_info(manager, &info), 0);
    for (uint64_t at = atomic_load(&heap()->objects); at != 0;) {
        const struct object *object = heap_at(heap(), at);

        count += object_kind(object) == OBJECT_DICT || object_kind(object) == OBJECT_LIST;
        at = atomic_load(&object->next_all);
    }
    return count;
}

/* The number of blocks of the heap that are in use. */
static uint64_t count_blocks(void)
{
    mp_manager_info info;
    uint64_t count = 0;

    assert_int_equal(mp_manager_get_info(manager, &info), 0);
    assert_int_equal(heap_lock(heap()), 0);
    assert_int_equal(heap_check(heap(), NULL, &count), 0);
    heap_unlock(heap());
    return count;
}

static int make(void **state)
{
    (void)state;
    shared = shared_memory(sizeof *shared);
    return mp_manager_create(&manager, NULL) != 0 || mp_manager_dict(manager, &outer_dict) != 0 ||
           mp_manager_list(manager, &outer_list) != 0;
}

static int drop(void **state)
{
    (void)state;
    munmap(shared, sizeof *shared);
    return mp_manager_check(manager) != 0 || mp_manager_free(manager) != 0;
}

static void begin_shared(void)
{
    shared->ready = shared->go = shared->done = shared->code = 0;
    shared->handle = NULL;
}

/* ---- calls that give a hold ---- */

struct held {
    mp_dict *dict;
    mp_list *list;
    mp_value value, key, many[2];
    mp_dict_iter *dict_iter;
    mp_list_iter *list_iter;
};

/* clang-format off */
#define HOLDS(HOLD) \
    HOLD(manager_dict, make_dict(&h->dict)) \
    HOLD(manager_list, make_list(&h->list)) \
    HOLD(dict_hold, (mp_dict_get_dict(outer_dict, "d", &h->dict), mp_dict_hold(h->dict))) \
    HOLD(list_hold, (mp_dict_get_list(outer_dict, "l", &h->list), mp_list_hold(h->list))) \
    HOLD(dict_hold_dict, mp_dict_hold_dict(outer_dict, "d", &h->dict)) \
    HOLD(dict_hold_list, mp_dict_hold_list(outer_dict, "l", &h->list)) \
    HOLD(list_hold_dict, mp_list_hold_dict(outer_list, 0, &h->dict)) \
    HOLD(list_hold_list, mp_list_hold_list(outer_list, 1, &h->list)) \
    HOLD(get_dict, mp_dict_get(outer_dict, mp_value_str("d"), &h->value)) \
    HOLD(get_list, mp_dict_get(outer_dict, mp_value_str("l"), &h->value)) \
    HOLD(get_default, mp_dict_get_default(outer_dict, mp_value_str("d"), mp_value_none(), &h->value)) \
    HOLD(get_default_fallback, (mp_dict_get_dict(outer_dict, "d", &h->dict), \
         mp_dict_get_default(outer_dict, mp_value_str("x"), mp_value_dict(h->dict), &h->value))) \
    HOLD(setdefault, mp_dict_setdefault(outer_dict, mp_value_str("d"), mp_value_none(), &h->value)) \
    HOLD(setdefault_fallback, (mp_dict_get_list(outer_dict, "l", &h->list), \
         mp_dict_setdefault(outer_dict, mp_value_str("x"), mp_value_list(h->list), &h->value))) \
    HOLD(get_many, mp_dict_get_many(outer_dict, (const mp_value[]){mp_value_str("d"), mp_value_str("l")}, h->many, 2, NULL)) \
    HOLD(pop, mp_dict_pop(outer_dict, mp_value_str("d"), &h->value)) \
    HOLD(pop_default, mp_dict_pop_default(outer_dict, mp_value_str("l"), mp_value_none(), &h->value)) \
    HOLD(popitem, mp_dict_popitem(outer_dict, &h->key, &h->value)) \
    HOLD(list_get, mp_list_get(outer_list, 0, &h->value)) \
    HOLD(list_pop, mp_list_pop(outer_list, 0, &h->value)) \
    HOLD(list_pop_last, mp_list_pop(outer_list, -1, &h->value)) \
    HOLD(copy, mp_dict_copy(outer_dict, &h->dict)) \
    HOLD(keys, mp_dict_keys(outer_dict, &h->list)) \
    HOLD(values, mp_dict_values(outer_dict, &h->list)) \
    HOLD(items, mp_dict_items(outer_dict, &h->list)) \
    HOLD(list_copy, mp_list_copy(outer_list, &h->list)) \
    HOLD(slice, mp_list_slice(outer_list, 0, 1, 1, &h->list)) \
    HOLD(concat, mp_list_concat(outer_list, outer_list, &h->list)) \
    HOLD(repeat, mp_list_repeat(outer_list, 3, &h->list)) \
    HOLD(dict_iter, (mp_dict_iter_create(&h->dict_iter, outer_dict), mp_dict_next(h->dict_iter, NULL, &h->value))) \
    HOLD(list_iter, (mp_list_iter_create(&h->list_iter, outer_list), mp_list_next(h->list_iter, &h->value))) \
    HOLD(many_times, hold_often(h))
/* clang-format on */

static int hold_often(struct held *h)
{
    int error = 0;

    for (int i = 0; error == 0 && i < 500; i++)
        error = mp_dict_get(outer_dict, mp_value_str(i % 2 ? "d" : "l"), &h->value);
    return error;
}

#define DEFINE_HOLD(name, expression) \
    static int hold_##name(struct held *h) \
    { \
        return expression; \
    }
HOLDS(DEFINE_HOLD)
#define NAME_HOLD(name, expression) {#name, hold_##name},
static const struct holding {
    const char *name;
    int (*hold)(struct held *held);
} holdings[] = {HOLDS(NAME_HOLD)};
enum { HOLDINGS = sizeof holdings / sizeof holdings[0] };

/* ---- holds of processes that have ended ---- */

static void return_zero(void)
{
}

static void call_exit(void)
{
    exit(0);
}

static void call_exit_at_once(void)
{
    _exit(0);
}

static void kill_oneself(void)
{
    raise(SIGKILL);
}

static void crash(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

static void execute(void)
{
    execlp("true", "true", NULL);
    _exit(1);
}

static void close_manager(void)
{
    if (mp_manager_free(manager) != 0)
        _exit(1);
}

static void close_descriptors_first(void)
{
    for (int fd = 3; fd < 256; fd++)
        close(fd);
}

static void *end_thread(void *arg)
{
    (void)arg;
    pthread_exit(NULL);
}

static void end_main_thread(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, end_thread, NULL) == 0)
        pthread_exit(NULL);
}

static const struct end {
    const char *name;
    void (*end)(void);
} ends[] = {
    {"killed", kill_oneself},
    {"return", return_zero},
    {"exit()", call_exit},
    {"_exit()", call_exit_at_once},
    {"abort()", crash},
    {"exec", execute},
    {"closes the manager", close_manager},
    {"closes all descriptors", close_descriptors_first},
    {"ends its threads", end_main_thread},
};
enum { ENDS = sizeof ends / sizeof ends[0] };

static const struct holding *holding;
static const struct end *end;

static int hold_and_end(void *arg)
{
    struct held held = {.dict = NULL};
    int error = holding->hold(&held);

    (void)arg;
    atomic_store(&shared->code, error == 0 ? 1 : error);
    end->end();
    return 0;
}

static void run_to_end(mp_process_function *function)
{
    mp_process *process;

    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_free(process), 0);
}

static void what_the_dead_held_is_given_back(void **state)
{
    int objects = count_objects();
    uint64_t before = 0;
    (void)state;

    for (int i = 0; i < HOLDINGS * ENDS * 2; i++) {
        holding = &holdings[i / 2 / ENDS];
        end = &ends[i / 2 % ENDS];
        begin_shared();
        assert_int_equal(fill(), 0);
        run_to_end(hold_and_end);
        if (shared->code != 1)
            fail_msg("%s: %s", holding->name, mp_strerror(shared->code));
        assert_int_equal(empty(), 0);
        int left = count_objects() - objects;
        if (left != 0)
            fail_msg("%s, %s: %d objects are left", holding->name, end->name, left);
        if (i % 2 == 0)
            before = count_blocks(); /* the second round reuses what the first one made */
        else if (count_blocks() != before)
            fail_msg("%s, %s: %d blocks are left", holding->name, end->name, (int)(count_blocks() - before));
    }
    assert_int_equal(mp_manager_check(manager), 0);
}

/* The process is killed anywhere, also in the middle of taking or giving up a hold. */
static int hold_for_ever(void *arg)
{
    (void)arg;
    for (int i = 0;; i++) {
        struct held held = {.dict = NULL};
        bool equal;
        char *text;

        if (fill() != 0 || holdings[i % HOLDINGS].hold(&held) != 0)
            _exit(1);
        if (mp_dict_json(outer_dict, &text) == 0)
            free(text);
        mp_dict_equal(outer_dict, outer_dict, &equal);
        mp_list_contains(outer_list, mp_value_dict(outer_dict), &equal);
        if (empty() != 0)
            _exit(1);
        atomic_fetch_add(&shared->ready, 1);
    }
}

/* New managers at the addresses of closed ones, with containers at the addresses of the old containers. */
static void handles_of_closed_managers_are_stale(void **state)
{
    enum { MANAGERS = 200 };
    static mp_dict *dicts[MANAGERS];
    static mp_list *lists[MANAGERS];
    int same = 0;
    (void)state;

    for (int i = 0; i < MANAGERS; i++) {
        mp_manager *next;
        size_t length;

        assert_int_equal(mp_manager_create(&next, NULL), 0);
        assert_int_equal(mp_manager_root(next, &dicts[i]), 0);
        assert_int_equal(mp_manager_list(next, &lists[i]), 0);
        for (int k = 0; k < i; k++) {
            same += object_of(dicts[k]) == object_of(dicts[i]);
            assert_int_equal(mp_dict_length(dicts[k], &length), MP_EINVAL);
            assert_int_equal(mp_list_append_int(lists[k], 1), MP_EINVAL);
            assert_int_equal(mp_list_free(lists[k]), MP_EINVAL);
        }
        assert_int_equal(mp_manager_free(next), 0);
    }
    assert_true(same > 0);
}

static void killed_anywhere(void **state)
{
    enum { ROUNDS = 60 };
    int objects = count_objects();
    (void)state;

    for (int round = 0; round < ROUNDS; round++) {
        mp_process *process;

        begin_shared();
        assert_int_equal(mp_process_start(&process, hold_for_ever, NULL, NULL), 0);
        assert_true(reached(&shared->ready, 1 + round));
        assert_int_equal(mp_process_kill(process), 0);
        assert_int_equal(mp_process_join(process, SECONDS), 0);
        assert_int_equal(mp_process_free(process), 0);
        assert_int_equal(empty(), 0);
        assert_int_equal(mp_manager_check(manager), 0);
        assert_int_equal(count_objects(), objects);
    }
}

/* ---- processes that go on ---- */

static int64_t number_in(const struct held *held)
{
    int64_t number = -1;
    mp_value value = held->value;

    if (value.type == MP_DICT || (value.type == MP_NONE && held->dict != NULL))
        mp_dict_get_int(value.type == MP_DICT ? value.as.dict : held->dict, "n", &number);
    else
        mp_list_get_int(value.type == MP_LIST ? value.as.list : held->list, 0, &number);
    return number;
}

static struct held inherited;

/* Runs in a descendant of the killed process, which has inherited the holds of that process. */
static void outlive(void)
{
    atomic_fetch_add(&shared->ready, 1);
    if (!reached(&shared->go, 1) || number_in(&inherited) != 1)
        _exit(1);
    atomic_store(&shared->done, 1);
    _exit(reached(&shared->go, 2) && number_in(&inherited) == 1 ? 0 : 1);
}

static int hold_and_leave_heir(void *arg)
{
    (void)arg;
    if (mp_dict_pop(outer_dict, mp_value_str("d"), &inherited.value) != 0)
        return 1;
    if (fork() == 0) {
        if (fork() == 0) /* a grandchild: its parent ends at once */
            outlive();
        _exit(0);
    }
    for (;;)
        pause();
}

static void a_child_keeps_what_its_dead_parent_held(void **state)
{
    int objects = count_objects();
    mp_process *process;
    (void)state;

    begin_shared();
    assert_int_equal(fill(), 0);
    assert_int_equal(mp_process_start(&process, hold_and_leave_heir, NULL, NULL), 0);
    assert_true(reached(&shared->ready, 1));
    assert_int_equal(mp_process_kill(process), 0);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(empty(), 0);
    assert_int_equal(count_objects(), objects + 1);
    assert_int_equal(mp_manager_check(manager), 0);
    atomic_store(&shared->go, 1);
    assert_true(reached(&shared->done, 1));
    assert_int_equal(count_objects(), objects + 1);
    atomic_store(&shared->go, 2);
    double limit = now() + SECONDS; /* it cannot be waited for, because its parents are gone */
    while (count_objects() != objects && now() < limit)
        sched_yield();
    assert_int_equal(count_objects(), objects);
    assert_int_equal(mp_process_free(process), 0);
}

static int close_all_and_go_on(void *arg)
{
    (void)arg;
    if (mp_dict_pop(outer_dict, mp_value_str("d"), &inherited.value) != 0)
        return 1;
    for (int fd = 0; fd < 256; fd++)
        close(fd);
    atomic_fetch_add(&shared->ready, 1);
    if (!reached(&shared->go, 1))
        return 2;
    return number_in(&inherited) == 1 ? 0 : 3;
}

static void who_closes_all_descriptors_keeps_what_it_holds(void **state)
{
    int objects = count_objects(), code;
    mp_process *process;
    (void)state;

    begin_shared();
    assert_int_equal(fill(), 0);
    assert_int_equal(mp_process_start(&process, close_all_and_go_on, NULL, NULL), 0);
    assert_true(reached(&shared->ready, 1));
    assert_int_equal(empty(), 0);
    for (int i = 0; i < 20; i++) { /* others search for dead processes, and use free memory */
        assert_int_equal(count_objects(), objects + 1);
        assert_int_equal(mp_manager_check(manager), 0);
        assert_int_equal(fill() | empty(), 0);
    }
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(code, 0);
    assert_int_equal(count_objects(), objects);
    assert_int_equal(mp_process_free(process), 0);
}

static int from_program[2], to_program[2];

static int hold_and_become_another(void *arg)
{
    (void)arg;
    if (mp_dict_pop(outer_dict, mp_value_str("l"), &inherited.value) != 0)
        return 1;
    dup2(to_program[0], 0);
    dup2(from_program[1], 1);
    for (int i = 0; i < 2; i++) {
        close(to_program[i]);
        close(from_program[i]);
    }
    execlp("cat", "cat", NULL);
    return 1;
}

static void a_program_that_another_takes_the_place_of_holds_nothing(void **state)
{
    int objects = count_objects();
    mp_process *process;
    char byte = 'x';
    (void)state;

    assert_int_equal(fill(), 0);
    assert_int_equal(pipe(from_program) | pipe(to_program), 0);
    assert_int_equal(mp_process_start(&process, hold_and_become_another, NULL, NULL), 0);
    assert_int_equal(write(to_program[1], &byte, 1), 1);
    assert_int_equal(read(from_program[0], &byte, 1), 1); /* the other program answers */
    assert_int_equal(empty(), 0);
    assert_int_equal(count_objects(), objects);
    for (int i = 0; i < 2; i++) {
        close(to_program[i]);
        close(from_program[i]);
    }
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_free(process), 0);
}

static void *hold_in_thread(void *arg)
{
    struct held *held = arg;

    return mp_dict_pop(outer_dict, mp_value_str("d"), &held->value) == 0 ? held : NULL;
}

static void a_thread_that_ends_gives_nothing_up(void **state)
{
    struct held held = {.dict = NULL};
    int objects = count_objects();
    pthread_t thread;
    void *result;
    (void)state;

    assert_int_equal(fill(), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_in_thread, &held), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &held);
    assert_int_equal(empty(), 0);
    assert_int_equal(count_objects(), objects + 1);
    assert_int_equal(number_in(&held), 1);
    mp_value_free(&held.value);
    assert_int_equal(count_objects(), objects);
}

/* ---- handles whose place was reused ---- */

static int unused_function(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    return 0;
}

static mp_dict *live_dict;
static mp_list *live_list;
static mp_value live_key, live_value;
static FILE *sink;
static mp_dict *out_dict;
static mp_list *out_list;
static mp_dict_iter *out_dict_iter;
static mp_list_iter *out_list_iter;
static mp_value out_value;
static char out_bytes[64], *out_text;
static bool out_bool;
static int64_t out_integer;
static double out_real;
static size_t out_size;

enum { OF_DICT, OF_LIST };
enum { AS_HANDLE, AS_VALUE, AS_KEY };
#define DICT OF_DICT
#define LIST OF_LIST
#define HANDLE AS_HANDLE
#define VALUE AS_VALUE
#define KEY AS_KEY
#define STALE stale
struct every {
    const char *name;
    int kind, how;
};

/* A function may have several lines, so a call is identified by its line number. */
#define EVERY_CALL(name, kind, how, expression) \
    case __LINE__: \
        *call = (struct every){#expression, kind, how}; \
        return run ? (expression) : 0;
static int every_call(int line, bool run, void *stale, struct every *call)
{
    switch (line) {
#include "every_call.inc"
    default:
        return -3000;
    }
}
#undef DICT
#undef LIST

/* Makes each call with the handle of a dead dict or of a dead list. */
static void refuse_all(void *stale_dict, void *stale_list, const char *when)
{
    int calls = 0;

    for (int line = 1; line < 1000; line++) {
        struct every call = {.name = NULL};

        every_call(line, false, NULL, &call);
        if (call.name == NULL)
            continue;
        int code = every_call(line, true, call.kind == OF_DICT ? stale_dict : stale_list, &call);
        if (code != (call.how == AS_KEY ? MP_ETYPE : MP_EINVAL))
            fail_msg("%s, %s: %s", call.name, when, mp_strerror(code));
        calls++;
    }
    assert_true(calls > 150);
}

enum { YOUNGER = 16 };

/* Containers, alternately dicts and lists, that are made until they lie in both places. `places`: how many of the two
 * they got. */
struct younger {
    mp_value value[YOUNGER];
    int places;
};

static void make_younger(struct younger *younger, const void *first, const void *second, bool lists)
{
    younger->places = 0;
    for (int i = 0; i < YOUNGER; i++) {
        mp_dict *dict;
        mp_list *list;

        if ((i + lists) % 2 == 0) {
            assert_int_equal(mp_manager_dict(manager, &dict) | mp_dict_set_int(dict, "a", 1), 0);
            younger->value[i] = mp_value_dict(dict);
        } else {
            assert_int_equal(mp_manager_list(manager, &list) | mp_list_append_int(list, 1), 0);
            younger->value[i] = mp_value_list(list);
        }
        const struct object *object = object_of(younger->value[i].as.dict);
        younger->places += object == object_of(first) || object == object_of(second);
    }
}

static void free_younger(struct younger *younger)
{
    for (int i = 0; i < YOUNGER; i++) {
        const mp_value *value = &younger->value[i];
        char *text;

        assert_int_equal(mp_value_json(value, &text), 0);
        assert_string_equal(text, value->type == MP_DICT ? "{\"a\": 1}" : "[1]");
        free(text);
        assert_int_equal(value->type == MP_DICT ? mp_dict_free(value->as.dict) : mp_list_free(value->as.list), 0);
    }
}

static mp_value make_one(bool list)
{
    mp_dict *dict = NULL;
    mp_list *made = NULL;

    assert_int_equal(list ? mp_manager_list(manager, &made) : mp_manager_dict(manager, &dict), 0);
    return list ? mp_value_list(made) : mp_value_dict(dict);
}

static void free_one(const mp_value *value)
{
    assert_int_equal(value->type == MP_DICT ? mp_dict_free(value->as.dict) : mp_list_free(value->as.list), 0);
}

/* Makes and frees containers in one place, `count` times. False: the place is not used any more. */
static bool use_again(const void *place, int64_t count)
{
    mp_value kept[YOUNGER];
    int others = 0;
    int64_t i = 0;

    for (; others < YOUNGER; others++) { /* the places that are used before this one */
        kept[others] = make_one(false);
        if (object_of(kept[others].as.dict) == object_of(place)) {
            free_one(&kept[others]);
            break;
        }
    }
    for (; others < YOUNGER && i < count; i++) {
        mp_value one = make_one(i % 2);
        bool again = object_of(one.as.dict) == object_of(place);

        free_one(&one);
        if (!again)
            break;
    }
    for (int j = 0; j < others; j++)
        free_one(&kept[j]);
    return others < YOUNGER && i == count;
}

static void stale_handles_are_errors_for_good(void **state)
{
    static const int64_t often[] = {0, 1, 2, 63, 1024, 65536, INT64_C(1) << 20, (INT64_C(1) << 22) + 8};
    size_t last = sizeof often / sizeof often[0] - ((ASAN || TSAN) && !long_run ? 2U : 0U);
    mp_dict *stale_dict;
    mp_list *stale_list;
    (void)state;

    sink = fopen("/dev/null", "w");
    assert_non_null(sink);
    assert_int_equal(mp_manager_dict(manager, &live_dict) | mp_manager_list(manager, &live_list), 0);
    live_key = mp_value_str("a");
    live_value = mp_value_int(1);
    assert_int_equal(mp_manager_dict(manager, &stale_dict) | mp_manager_list(manager, &stale_list), 0);
    assert_int_equal(mp_dict_free(stale_dict) | mp_list_free(stale_list), 0);
    for (size_t i = 0; i < last; i++) {
        bool spent = often[i] > INT64_C(1) << 22;
        struct younger younger;
        char when[64];

        snprintf(when, sizeof when, "after %lld uses of the place", (long long)often[i]);
        assert_int_equal(use_again(stale_dict, often[i]), !spent);
        assert_int_equal(use_again(stale_list, often[i]), !spent);
        for (int lists = 0; lists < 2; lists++) {
            make_younger(&younger, stale_dict, stale_list, lists);
            assert_int_equal(younger.places, spent ? 0 : 2);
            refuse_all(stale_dict, stale_list, when);
            free_younger(&younger);
        }
    }
    assert_int_equal(mp_dict_free(live_dict) | mp_list_free(live_list), 0);
    fclose(sink);
}

/* ---- holds given up once too often, by others, in any order ---- */

static void no_hold_is_given_up_twice(void **state)
{
    struct held held = {.dict = NULL};
    int objects = count_objects();
    mp_value twin;
    (void)state;

    assert_int_equal(fill(), 0);
    /* A container that is stored somewhere lives on, but it has no holder any more. */
    assert_int_equal(mp_dict_hold_dict(outer_dict, "d", &held.dict), 0);
    assert_int_equal(mp_dict_free(held.dict), 0);
    assert_int_equal(mp_dict_free(held.dict), MP_EINVAL);
    assert_int_equal(number_in(&held), 1);
    /* Two holds need two frees. */
    assert_int_equal(mp_dict_hold(held.dict) | mp_dict_hold(held.dict), 0);
    assert_int_equal(empty(), 0);
    assert_int_equal(mp_dict_free(held.dict), 0);
    assert_int_equal(number_in(&held), 1);
    assert_int_equal(mp_dict_free(held.dict), 0);
    assert_int_equal(mp_dict_free(held.dict), MP_EINVAL);
    /* A freed value becomes none, and a copy of it leads to nothing. */
    assert_int_equal(fill(), 0);
    assert_int_equal(mp_list_pop(outer_list, 0, &held.value), 0);
    twin = held.value;
    mp_value_free(&held.value);
    assert_int_equal(held.value.type, MP_NONE);
    mp_value_free(&held.value);
    mp_value_free(&twin);
    assert_int_equal(empty(), 0);
    assert_int_equal(count_objects(), objects);
    /* The copy does not lead to another container in the same place either. */
    assert_int_equal(fill(), 0);
    assert_int_equal(mp_dict_pop(outer_dict, mp_value_str("d"), &held.value), 0);
    twin = held.value;
    assert_int_equal(empty(), 0);
    mp_value_free(&held.value);
    assert_int_equal(make_dict(&held.dict), 0);
    mp_value_free(&twin);
    assert_int_equal(number_in(&(struct held){.dict = held.dict}), 1);
    assert_int_equal(mp_dict_free(held.dict), 0);
    assert_int_equal(count_objects(), objects);
}

static int free_the_value(void *arg)
{
    mp_value value = *(mp_value *)arg;

    mp_value_free(&value);
    return value.type != MP_NONE;
}

static int free_the_handle(void *arg)
{
    const mp_value *value = arg;

    return value->type == MP_DICT ? mp_dict_free(value->as.dict) : mp_list_free(value->as.list);
}

static int code_of(mp_process_function *function, void *arg)
{
    mp_process *process;
    int code;

    assert_int_equal(mp_process_start(&process, function, arg, NULL), 0);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(mp_process_free(process), 0);
    return code;
}

static void a_value_gives_up_ones_own_hold_only(void **state)
{
    int objects = count_objects();
    (void)state;

    for (int list = 0; list < 2; list++) {
        struct held held = {.dict = NULL};

        assert_int_equal(fill(), 0);
        assert_int_equal(mp_dict_pop(outer_dict, mp_value_str(list ? "l" : "d"), &held.value), 0);
        assert_int_equal(empty(), 0);
        assert_int_equal(code_of(free_the_value, &held.value), 0);
        assert_int_equal(number_in(&held), 1);
        assert_int_equal(count_objects(), objects + 1);
        /* A process that was handed a handle may give up the other's hold. */
        assert_int_equal(code_of(free_the_handle, &held.value), 0);
        assert_int_equal(number_in(&held), -1);
        assert_int_equal(count_objects(), objects);
        mp_value_free(&held.value);
    }
}

/* Gives up this process's own hold first, then another's. */
static int hold_and_free(void *arg)
{
    mp_dict *dict = arg;

    if (mp_dict_hold(dict) != 0 || mp_dict_free(dict) != 0)
        return 1;
    atomic_store(&shared->ready, 1);
    return reached(&shared->go, 1) ? 0 : 2;
}

static void ones_own_hold_goes_first(void **state)
{
    mp_process *process;
    mp_dict *dict;
    int64_t number;
    (void)state;

    begin_shared();
    assert_int_equal(make_dict(&dict), 0);
    assert_int_equal(mp_process_start(&process, hold_and_free, dict, NULL), 0);
    assert_true(reached(&shared->ready, 1));
    assert_int_equal(mp_dict_get_int(dict, "n", &number), 0);
    atomic_store(&shared->go, 1);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_free(process), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(mp_dict_free(dict), MP_EINVAL);
}

/* A producer makes, stores and frees; a consumer pops, reads and frees: in every possible order. */
enum step { STORE, PRODUCER_FREE, POP, READ, CONSUMER_FREE, STEPS };

static bool list_inside, into_list, free_by_handle;
static void *produced;
static struct held consumed;

static int do_step(enum step step)
{
    switch (step) {
    case STORE: {
        int error = list_inside ? make_list((mp_list **)&produced) : make_dict((mp_dict **)&produced);
        mp_value value = list_inside ? mp_value_list(produced) : mp_value_dict(produced);

        if (error != 0)
            return error;
        return into_list ? mp_list_append(outer_list, value) : mp_dict_set(outer_dict, mp_value_int(1), value);
    }
    case PRODUCER_FREE:
        return list_inside ? mp_list_free(produced) : mp_dict_free(produced);
    case POP:
        return into_list ? mp_list_pop(outer_list, 0, &consumed.value)
                         : mp_dict_pop(outer_dict, mp_value_int(1), &consumed.value);
    case READ:
        return number_in(&consumed) == 1 ? 0 : -2000;
    case CONSUMER_FREE:
        if (free_by_handle)
            return free_the_handle(&consumed.value);
        mp_value_free(&consumed.value);
        return 0;
    default:
        return -2000;
    }
}

/* Does the producer's steps, each at its turn. */
static int produce(void *arg)
{
    const enum step *order = arg;

    for (int i = 0; i < STEPS; i++) {
        if (!reached(&shared->go, i + 1))
            return 1;
        if (order[i] == STORE || order[i] == PRODUCER_FREE) {
            atomic_store(&shared->code, do_step(order[i]));
            atomic_store(&shared->done, i + 1);
        }
    }
    return 0;
}

static void run_order(const enum step *order, bool two_processes)
{
    mp_process *process;

    begin_shared();
    consumed = (struct held){.dict = NULL};
    if (two_processes)
        assert_int_equal(mp_process_start(&process, produce, (void *)(uintptr_t)order, NULL), 0);
    for (int i = 0; i < STEPS; i++) {
        bool others = two_processes && (order[i] == STORE || order[i] == PRODUCER_FREE);
        int error = 0;

        atomic_store(&shared->go, i + 1);
        if (others)
            assert_true(reached(&shared->done, i + 1));
        else
            error = do_step(order[i]);
        if (others)
            error = shared->code;
        if (error != 0)
            fail_msg("step %d of %d%d%d%d%d: %s", i, order[0], order[1], order[2], order[3], order[4],
                     mp_strerror(error));
    }
    if (two_processes) {
        assert_int_equal(mp_process_join(process, SECONDS), 0);
        assert_int_equal(mp_process_free(process), 0);
    }
}

static void producer_and_consumer_free_in_any_order(void **state)
{
    int objects = count_objects();
    (void)state;

    for (int variant = 0; variant < 16; variant++) {
        list_inside = variant & 1;
        into_list = variant & 2;
        free_by_handle = variant & 4;
        for (int at = 1; at < STEPS; at++) { /* the position of the producer's free among the other steps */
            enum step order[STEPS] = {STORE, POP, READ, CONSUMER_FREE, CONSUMER_FREE};

            memmove(&order[at + 1], &order[at], (size_t)(STEPS - 1 - at) * sizeof order[0]);
            order[at] = PRODUCER_FREE;
            run_order(order, variant & 8);
            assert_int_equal(count_objects(), objects);
        }
    }
    assert_int_equal(mp_manager_check(manager), 0);
}

/* ---- moved from process to process ---- */

enum { MESSAGES = 3000, RELAYS = 2 };
static mp_list *channels[RELAYS + 1];

static int send_all(void *arg)
{
    (void)arg;
    for (int i = 0; i < MESSAGES; i++) {
        mp_list *list;

        if (mp_manager_list(manager, &list) != 0 || mp_list_append_int(list, i) != 0 ||
            mp_list_append_str(list, "a string that has a block of its own") != 0 ||
            mp_list_append_list(channels[0], list) != 0 || mp_list_free(list) != 0)
            return 1;
    }
    return 0;
}

static int receive(int channel, mp_value *value)
{
    double limit = now() + SECONDS;
    int error;

    while ((error = mp_list_pop(channels[channel], 0, value)) == MP_EINDEX && now() < limit)
        sched_yield();
    return error;
}

static int relay(void *arg)
{
    int channel = *(int *)arg;

    for (int i = 0; i < MESSAGES; i++) {
        mp_value value;

        if (receive(channel, &value) != 0 || mp_list_append(channels[channel + 1], value) != 0)
            return 1;
        mp_value_free(&value);
    }
    return 0;
}

static void messages_go_through_lists_whole(void **state)
{
    int objects = count_objects(), numbers[RELAYS] = {0, 1}, code;
    mp_process *process[RELAYS + 1];
    (void)state;

    for (int i = 0; i <= RELAYS; i++)
        assert_int_equal(mp_manager_list(manager, &channels[i]), 0);
    assert_int_equal(mp_process_start(&process[RELAYS], send_all, NULL, NULL), 0);
    for (int i = 0; i < RELAYS; i++)
        assert_int_equal(mp_process_start(&process[i], relay, &numbers[i], NULL), 0);
    for (int i = 0; i < MESSAGES; i++) {
        mp_value value;
        int64_t number;
        char text[64];

        assert_int_equal(receive(RELAYS, &value), 0);
        assert_int_equal(mp_list_get_int(value.as.list, 0, &number), 0);
        assert_int_equal(number, i);
        assert_int_equal(mp_list_get_str(value.as.list, 1, text, sizeof text, NULL), 0);
        assert_string_equal(text, "a string that has a block of its own");
        mp_value_free(&value);
    }
    for (int i = 0; i <= RELAYS; i++) {
        assert_int_equal(mp_process_join(process[i], SECONDS), 0);
        assert_int_equal(mp_process_exitcode(process[i], &code), 0);
        assert_int_equal(code, 0);
        assert_int_equal(mp_process_free(process[i]), 0);
        assert_int_equal(mp_list_free(channels[i]), 0);
    }
    assert_int_equal(count_objects(), objects);
    assert_int_equal(mp_manager_check(manager), 0);
}

/* ---- snapshots ---- */

/* A snapshot keeps holding the content of containers that are emptied, and whose places are reused. */
static void snapshots_hold_what_they_show(void **state)
{
    int objects = count_objects();
    (void)state;

    for (int i = 0; i < HOLDINGS; i++) {
        struct held held = {.dict = NULL};
        mp_dict *younger[20];
        char *before, *after;

        assert_int_equal(fill(), 0);
        assert_int_equal(holdings[i].hold(&held), 0);
        mp_value value = held.value.type == MP_DICT || held.value.type == MP_LIST ? held.value
                         : held.many[0].type == MP_DICT                           ? held.many[0]
                         : held.dict != NULL                                      ? mp_value_dict(held.dict)
                                                                                  : mp_value_list(held.list);
        assert_int_equal(mp_value_json(&value, &before), 0);
        assert_int_equal(empty(), 0);
        for (int j = 0; j < 20; j++) {
            assert_int_equal(mp_manager_dict(manager, &younger[j]), 0);
            assert_int_equal(mp_dict_set_int(younger[j], "younger", 99), 0);
        }
        assert_int_equal(mp_value_json(&value, &after), 0);
        if (strcmp(before, after) != 0)
            fail_msg("%s: %s became %s", holdings[i].name, before, after);
        free(before);
        free(after);
        for (int j = 0; j < 20; j++)
            assert_int_equal(mp_dict_free(younger[j]), 0);
        mp_dict_iter_free(held.dict_iter);
        mp_list_iter_free(held.list_iter);
        if (held.dict_iter == NULL && held.list_iter == NULL)
            mp_value_free(&held.value);
        mp_value_free(&held.many[0]);
        mp_value_free(&held.many[1]);
        mp_value_free(&held.key);
        if (held.dict != NULL)
            mp_dict_free(held.dict);
        if (held.list != NULL)
            mp_list_free(held.list);
        if (strcmp(holdings[i].name, "many_times") != 0 && count_objects() != objects)
            fail_msg("%s: %d objects are left", holdings[i].name, count_objects() - objects);
        objects = count_objects();
    }
}

/* ---- cycles ---- */

static void rings_live_until_they_are_opened(void **state)
{
    int objects = count_objects();
    mp_list *list;
    mp_dict *dict;
    bool equal;
    char *text;
    (void)state;

    for (int opened = 1; opened >= 0; opened--) {
        assert_int_equal(mp_manager_dict(manager, &dict) | mp_manager_list(manager, &list), 0);
        assert_int_equal(mp_dict_set_list(dict, "l", list) | mp_list_append_dict(list, dict), 0);
        assert_int_equal(mp_list_append_list(list, list), 0);
        assert_int_equal(mp_dict_json(dict, &text), 0);
        assert_string_equal(text, "{\"l\": [\"...\", \"...\"]}");
        free(text);
        assert_int_equal(mp_dict_equal(dict, dict, &equal), 0);
        assert_true(equal);
        if (opened)
            assert_int_equal(mp_list_clear(list), 0);
        assert_int_equal(mp_dict_free(dict) | mp_list_free(list), 0);
        assert_int_equal(count_objects(), objects + (opened ? 0 : 2));
        assert_int_equal(mp_manager_check(manager), 0);
    }
}

static void rings_of_the_same_shape_are_too_deep_to_compare(void **state)
{
    mp_list *lists[2];
    bool equal;
    (void)state;

    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_manager_list(manager, &lists[i]) | mp_list_append_list(lists[i], lists[i]), 0);
    assert_int_equal(mp_list_equal(lists[0], lists[1], &equal), MP_EDEPTH); /* Python: RecursionError */
    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_list_clear(lists[i]) | mp_list_free(lists[i]), 0);
}

/* ---- many dead processes, and openings that have ended ---- */

enum { DEAD = 200, OPENINGS = 40, HELD_EACH = 20 };

static int hold_until_killed(void *arg)
{
    mp_dict *dict;

    (void)arg;
    atomic_store(&shared->code, mp_manager_dict(manager, &dict));
    atomic_fetch_add(&shared->ready, 1);
    return reached(&shared->go, 1) ? 0 : 1;
}

static size_t bytes_used(mp_manager *of)
{
    mp_manager_info info;

    assert_int_equal(mp_manager_get_info(of, &info), 0);
    return info.used;
}

static int look_by_info(void)
{
    mp_manager_info info;

    return mp_manager_get_info(manager, &info);
}

static int look_by_check(void)
{
    return mp_manager_check(manager);
}

/* Each call that the header names finds all dead processes, however many. */
static void many_that_died_are_found_at_once(void **state)
{
    int (*const looks[])(void) = {look_by_info, look_by_check};
    static mp_process *process[DEAD];
    (void)state;

    for (size_t l = 0; l < sizeof looks / sizeof *looks; l++) {
        int objects = count_objects();

        memset(shared, 0, sizeof *shared);
        for (int i = 0; i < DEAD; i++)
            assert_int_equal(mp_process_start(&process[i], hold_until_killed, NULL, NULL), 0);
        assert_true(reached(&shared->ready, DEAD));
        assert_int_equal(shared->code, 0);
        assert_int_equal(count_objects(), objects + DEAD);
        for (int i = 0; i < DEAD; i++) {
            assert_int_equal(mp_process_kill(process[i]), 0);
            assert_int_equal(mp_process_join(process[i], SECONDS), 0);
            assert_int_equal(mp_process_free(process[i]), 0);
        }
        assert_int_equal(looks[l](), 0);
        assert_int_equal(count_objects(), objects);
    }
}

static int hold_in(mp_manager *opened)
{
    for (int i = 0; i < HELD_EACH; i++) {
        mp_dict *dict;
        int error = mp_manager_dict(opened, &dict);

        if (error != 0)
            return error;
    }
    return 0;
}

static const char *openings_name(void)
{
    static char name[64];

    snprintf(name, sizeof name, "test-openings-%d", (int)getpid());
    return name;
}

/* Has the manager open all the time, under alternating openings. */
static int open_again_and_again(void *arg)
{
    mp_manager *opened[2] = {NULL, NULL};
    int error = 0;

    for (int i = 0; i < OPENINGS && error == 0; i++) {
        error = mp_manager_open(&opened[i % 2], arg, NULL);
        if (error == 0)
            error = hold_in(opened[i % 2]);
        if (error == 0 && opened[(i + 1) % 2] != NULL)
            error = mp_manager_free(opened[(i + 1) % 2]);
    }
    atomic_store(&shared->code, error);
    atomic_store(&shared->ready, 1);
    if (!reached(&shared->go, 1))
        return 1;
    return mp_manager_free(opened[(OPENINGS - 1) % 2]);
}

/* The holds of an opening are given up when the opening is freed, even if its process has the manager open a second
 * time. */
static void an_opening_that_was_freed_holds_nothing(void **state)
{
    char *name = strdup(openings_name());
    mp_manager *named;
    mp_process *process;
    (void)state;

    assert_non_null(name);
    assert_int_equal(mp_manager_create(&named, &(mp_manager_options){.name = name}), 0);
    size_t before = bytes_used(named);
    assert_int_equal(hold_in(named), 0);
    size_t one = bytes_used(named) - before;
    for (int i = 0; i < 2; i++) { /* in another process; in this one */
        memset(shared, 0, sizeof *shared);
        if (i == 0) {
            assert_int_equal(mp_process_start(&process, open_again_and_again, name, NULL), 0);
            assert_true(reached(&shared->ready, 1));
            assert_int_equal(shared->code, 0);
            assert_true(bytes_used(named) < before + 4 * one);
        }
        atomic_store(&shared->go, 1);
        if (i == 0) {
            assert_int_equal(mp_process_join(process, SECONDS), 0);
            assert_int_equal(mp_process_free(process), 0);
        } else {
            assert_int_equal(open_again_and_again(name), 0);
            assert_int_equal(shared->code, 0);
        }
        assert_true(bytes_used(named) < before + 3 * one);
    }
    assert_int_equal(mp_manager_check(named), 0);
    assert_int_equal(mp_manager_free(named), 0);
    free(name);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_dead_held_is_given_back),
        TEST(many_that_died_are_found_at_once),
        TEST(an_opening_that_was_freed_holds_nothing),
        TEST(handles_of_closed_managers_are_stale),
        TEST(killed_anywhere),
        TEST(a_child_keeps_what_its_dead_parent_held),
        TEST(who_closes_all_descriptors_keeps_what_it_holds),
        TEST(a_program_that_another_takes_the_place_of_holds_nothing),
        TEST(a_thread_that_ends_gives_nothing_up),
        TEST(stale_handles_are_errors_for_good),
        TEST(no_hold_is_given_up_twice),
        TEST(a_value_gives_up_ones_own_hold_only),
        TEST(ones_own_hold_goes_first),
        TEST(producer_and_consumer_free_in_any_order),
        TEST(messages_go_through_lists_whole),
        TEST(snapshots_hold_what_they_show),
        TEST(rings_live_until_they_are_opened),
        TEST(rings_of_the_same_shape_are_too_deep_to_compare),
    };

    long_run = argc > 1 && strcmp(argv[1], "long") == 0;
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
