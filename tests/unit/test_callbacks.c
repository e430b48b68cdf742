/* User functions inside mp_dict_apply() and mp_list_sort(): processes and threads that would wait for each other in a
 * circle, all ways to leave such a function, how deep calls may nest, and that a process which frees memory never waits
 * for one that is inside.
 *
 * A new call that touches a container needs a line in DICT_TOUCHES or LIST_TOUCHES, a new way to run a function under a
 * container's mutex a line in `places`, a new way to leave a function a line in `ways`. */
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

#include "object/object_lock.h"
#include "sanitizers.h"
#include "support.h"
#ifdef HAVE_CXX
#include "throwing.h"
#endif

LEAKS_OF(LEAKS_OF_CMOCKA)

enum { MOST = 3, LONGEST = 100, SECONDS = 60, DEPTH = 32 };

/* Each container is in a manager of its own, or all are in the first manager. */
static mp_manager *managers[MOST];
static mp_dict *dicts[MOST][MOST]; /* [manager][number] */
static mp_list *lists[MOST][MOST];
static mp_dict *other_dict[MOST]; /* no process is inside these */
static mp_list *other_list[MOST];

static struct shared {
    _Atomic int inside, done, told;
    _Atomic int code[LONGEST];
} * shared;

static bool reached(_Atomic int *word, int number)
{
    return reaches(word, number, SECONDS);
}

static int fill(mp_dict *dict, mp_list *list)
{
    int error = mp_dict_set_int(dict, "n", 1);

    if (error == 0)
        error = mp_dict_set_str(dict, "s", "a string that has a block of its own");
    for (int i = 0; error == 0 && i < 3; i++)
        error = mp_list_append_int(list, 3 - i);
    return error;
}

static int make(void **state)
{
    (void)state;
    shared = shared_memory(sizeof *shared);
    for (int m = 0; m < MOST; m++) {
        if (mp_manager_create(&managers[m], NULL) != 0 || mp_manager_dict(managers[m], &other_dict[m]) != 0 ||
            mp_manager_list(managers[m], &other_list[m]) != 0 || fill(other_dict[m], other_list[m]) != 0)
            return -1;
        for (int i = 0; i < MOST; i++) {
            if (mp_manager_dict(managers[m], &dicts[m][i]) != 0 || mp_manager_list(managers[m], &lists[m][i]) != 0 ||
                fill(dicts[m][i], lists[m][i]) != 0)
                return -1;
        }
    }
    return 0;
}

static int drop(void **state)
{
    int error = 0;
    (void)state;

    for (int m = 0; m < MOST; m++)
        error |= mp_manager_check(managers[m]) | mp_manager_free(managers[m]);
    munmap(shared, sizeof *shared);
    return error;
}

/* ---- calls that touch a container ---- */

struct target {
    mp_dict *dict; /* one of `dict` and `list` is touched */
    mp_list *list;
    mp_dict *other_dict; /* of the same manager */
    mp_list *other_list;
};

static int leave_as_it_is(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    return 0;
}

static int by_number(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    return (a->as.integer > b->as.integer) - (a->as.integer < b->as.integer);
}

static int freed(int error, mp_value *value)
{
    if (error == 0)
        mp_value_free(value);
    return error;
}

static int text_freed(int error, char *text)
{
    if (error == 0)
        free(text);
    return error;
}

/* clang-format off */
/* Each call leaves enough in the container for the next. */
#define DICT_TOUCHES(TOUCH) \
    TOUCH(set, mp_dict_set_str(t->dict, "s", "another string, as long as the first")) \
    TOUCH(set_short, mp_dict_set_int(t->dict, "n", 2)) \
    TOUCH(set_new, (mp_dict_remove_key(t->dict, "new"), mp_dict_set_int(t->dict, "new", 1))) \
    TOUCH(delete, (e = mp_dict_remove_key(t->dict, "new"), e == MP_EKEY ? 0 : e)) \
    TOUCH(setdefault, mp_dict_setdefault(t->dict, mp_value_str("n"), mp_value_int(1), NULL)) \
    TOUCH(pop_default, freed(mp_dict_pop_default(t->dict, mp_value_str("new"), mp_value_none(), &v), &v)) \
    TOUCH(popitem, (mp_dict_set_int(t->dict, "new", 1), mp_dict_popitem(t->dict, NULL, NULL))) \
    TOUCH(add, mp_dict_add(t->dict, mp_value_str("n"), 1, NULL)) \
    TOUCH(add_int, mp_dict_add_int(t->dict, "n", 1, NULL)) \
    TOUCH(transfer, mp_dict_transfer_int(t->dict, "n", "m", 1)) \
    TOUCH(swap, (e = mp_dict_compare_and_swap(t->dict, mp_value_str("n"), mp_value_int(-1), mp_value_int(2)), e == MP_ECHANGED ? 0 : e)) \
    TOUCH(move, mp_dict_move(t->dict, mp_value_str("n"), mp_value_str("n"))) \
    TOUCH(apply, mp_dict_apply(t->dict, mp_value_str("n"), leave_as_it_is, NULL)) \
    TOUCH(set_many, mp_dict_set_many(t->dict, &(mp_value){.type = MP_INT}, &(mp_value){.type = MP_INT}, 1, NULL)) \
    TOUCH(update, mp_dict_update(t->dict, t->other_dict)) \
    TOUCH(update_from, mp_dict_update(t->other_dict, t->dict)) \
    TOUCH(copy, (e = mp_dict_copy(t->dict, &d), e == 0 ? mp_dict_free(d) : e)) \
    TOUCH(keys, (e = mp_dict_keys(t->dict, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(values, (e = mp_dict_values(t->dict, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(items, (e = mp_dict_items(t->dict, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(equal, mp_dict_equal(t->dict, t->other_dict, &b)) \
    TOUCH(json, text_freed(mp_dict_json(t->dict, &text), text)) \
    TOUCH(clear, (e = mp_dict_clear(t->dict), e == 0 ? mp_dict_set_int(t->dict, "n", 1) : e))

#define LIST_TOUCHES(TOUCH) \
    TOUCH(append, mp_list_append_int(t->list, 4)) \
    TOUCH(insert, mp_list_insert(t->list, 1, mp_value_int(4))) \
    TOUCH(insert_in_front, mp_list_insert(t->list, 0, mp_value_int(4))) \
    TOUCH(set, mp_list_set_str(t->list, -1, "a string that has a block of its own")) \
    TOUCH(set_short, mp_list_set_int(t->list, 0, 9)) \
    TOUCH(add_int, (e = mp_list_add_int(t->list, 0, 1, NULL), e == MP_ETYPE ? 0 : e)) \
    TOUCH(swap, (e = mp_list_compare_and_swap(t->list, 0, mp_value_int(-1), mp_value_int(2)), e == MP_ECHANGED ? 0 : e)) \
    TOUCH(delete, mp_list_delete(t->list, -1)) \
    TOUCH(pop, freed(mp_list_pop(t->list, 0, &v), &v)) \
    TOUCH(remove, (e = mp_list_remove(t->list, mp_value_int(-1)), e == MP_EVALUE ? 0 : e)) \
    TOUCH(index, (e = mp_list_index(t->list, mp_value_int(-1), &n), e == MP_EVALUE ? 0 : e)) \
    TOUCH(count, mp_list_count(t->list, mp_value_int(1), &n)) \
    TOUCH(contains, mp_list_contains(t->list, mp_value_int(1), &b)) \
    TOUCH(extend, mp_list_extend(t->list, t->other_list)) \
    TOUCH(extend_from, mp_list_extend(t->other_list, t->list)) \
    TOUCH(extend_values, mp_list_extend_values(t->list, &(mp_value){.type = MP_INT}, 1)) \
    TOUCH(slice, (e = mp_list_slice(t->list, 0, 1, 1, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(set_slice, mp_list_set_slice(t->list, 0, 1, 1, t->other_list)) \
    TOUCH(delete_slice, mp_list_delete_slice(t->list, 2, 4, 1)) \
    TOUCH(reverse, mp_list_reverse(t->list)) \
    TOUCH(sort, mp_list_sort(t->list, by_number, NULL, false)) \
    TOUCH(copy, (e = mp_list_copy(t->list, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(concat, (e = mp_list_concat(t->list, t->other_list, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(concat_to, (e = mp_list_concat(t->other_list, t->list, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(repeat, (e = mp_list_repeat(t->list, 2, &l), e == 0 ? mp_list_free(l) : e)) \
    TOUCH(equal, mp_list_equal(t->list, t->other_list, &b)) \
    TOUCH(json, text_freed(mp_list_json(t->list, &text), text)) \
    TOUCH(clear, (e = mp_list_clear(t->list), e == 0 ? mp_list_extend(t->list, t->other_list) : e))
/* clang-format on */

#define TOUCH_VARIABLES \
    int e = 0; \
    mp_value v = mp_value_none(); \
    mp_dict *d = NULL; \
    mp_list *l = NULL; \
    char *text = NULL; \
    size_t n = 0; \
    bool b = false; \
    (void)e, (void)v, (void)d, (void)l, (void)text, (void)n, (void)b;
#define DEFINE_DICT_TOUCH(name, expression) \
    static int dict_##name(const struct target *t) \
    { \
        TOUCH_VARIABLES \
        return expression; \
    }
#define DEFINE_LIST_TOUCH(name, expression) \
    static int list_##name(const struct target *t) \
    { \
        TOUCH_VARIABLES \
        return expression; \
    }
DICT_TOUCHES(DEFINE_DICT_TOUCH)
LIST_TOUCHES(DEFINE_LIST_TOUCH)

struct touch {
    const char *name;
    int (*touch)(const struct target *target);
};
#define NAME_DICT_TOUCH(name, expression) {"dict_" #name, dict_##name},
#define NAME_LIST_TOUCH(name, expression) {"list_" #name, list_##name},
static const struct touch dict_touches[] = {DICT_TOUCHES(NAME_DICT_TOUCH)};
static const struct touch list_touches[] = {LIST_TOUCHES(NAME_LIST_TOUCH)};

static const struct touch *touch_of(bool list, size_t number)
{
    return list ? &list_touches[number % COUNT(list_touches)] : &dict_touches[number % COUNT(dict_touches)];
}

/* ---- running a function under a container's mutex ---- */

/* The function runs once: at the first call of the callback. */
struct run {
    int (*function)(void *arg);
    void *arg;
    bool begun;
    int code;
};

static void run_once(struct run *run)
{
    if (run->begun)
        return;
    run->begun = true;
    run->code = run->function(run->arg);
}

static int in_apply(mp_value *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    run_once(arg);
    return 0;
}

static int in_sort(const mp_value *a, const mp_value *b, void *arg)
{
    run_once(arg);
    return by_number(a, b, NULL);
}

static int apply_inside(const struct target *target, struct run *run)
{
    return mp_dict_apply(target->dict, mp_value_str("n"), in_apply, run);
}

static int sort_inside(const struct target *target, struct run *run)
{
    return mp_list_sort(target->list, in_sort, run, false);
}

static const struct place {
    const char *name;
    int (*enter)(const struct target *target, struct run *run);
    bool list;
} places[] = {{"apply", apply_inside, false}, {"sort", sort_inside, true}};

/* ---- circles ---- */

static struct circle {
    int count;                            /* number of participants */
    const struct place *place[LONGEST];   /* the kind of call that each is inside */
    const struct touch *touch[LONGEST];   /* what each does to the next one's container */
    struct target target[LONGEST];        /* each one's container */
    const struct target *around[LONGEST]; /* a container entered before target[]; NULL: none */
    const struct place *outer[LONGEST];
} circle;

static int touch_next(void *arg)
{
    int who = *(int *)arg, next = (who + 1) % circle.count;

    atomic_fetch_add(&shared->inside, 1);
    if (!reached(&shared->inside, circle.count))
        return -2000;
    return circle.touch[who]->touch(circle.around[next] != NULL ? circle.around[next] : &circle.target[next]);
}

static int enter_inner(void *arg)
{
    int who = *(int *)arg;
    struct run run = {.function = touch_next, .arg = arg};
    int error = circle.place[who]->enter(&circle.target[who], &run);

    return error != 0 ? error : run.code;
}

static int take_part(void *arg)
{
    int who = *(int *)arg;
    struct run run = {.function = enter_inner, .arg = arg};

    if (circle.around[who] == NULL) {
        atomic_store(&shared->code[who], enter_inner(arg));
        return 0;
    }
    int error = circle.outer[who]->enter(circle.around[who], &run);
    atomic_store(&shared->code[who], error != 0 ? error : run.code);
    return 0;
}

static void *take_part_in_thread(void *arg)
{
    take_part(arg);
    return NULL;
}

static const char *describe_circle(void)
{
    static char text[400];
    size_t at = 0;

    for (int i = 0; i < circle.count && i < MOST; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, " %s, then %s: %d;", circle.place[i]->name,
                               circle.touch[i]->name, shared->code[i]);
    return text;
}

static void begin_shared(void)
{
    shared->inside = shared->done = shared->told = 0;
    for (int i = 0; i < LONGEST; i++)
        shared->code[i] = -3000;
}

/* A call that only looks at the container waits for no other process, so it closes no circle. */
static bool only_looks(const struct touch *touch)
{
    static const char *const names[] = {"dict_update_from", "dict_equal",    "dict_json",  "list_index",
                                        "list_count",       "list_contains", "list_equal", "list_json",
                                        "list_extend_from", "list_concat_to"};

    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i], touch->name) == 0)
            return true;
    }
    return false;
}

static void expect_deadlock(void)
{
    int deadlocks = 0;
    bool is_circle = true;

    for (int i = 0; i < circle.count; i++) {
        if (shared->code[i] != 0 && shared->code[i] != MP_EDEADLK)
            fail_msg("%s", describe_circle());
        deadlocks += shared->code[i] == MP_EDEADLK;
        is_circle = is_circle && !only_looks(circle.touch[i]);
    }
    if (deadlocks == 0 && is_circle)
        fail_msg("nobody was told:%s", describe_circle());
}

static int *number(int *numbers, int i)
{
    numbers[i] = i;
    return &numbers[i];
}

static void run_in_processes(void)
{
    static int who[LONGEST];
    mp_process *process[LONGEST];

    begin_shared();
    for (int i = 0; i < circle.count; i++)
        assert_int_equal(mp_process_start(&process[i], take_part, number(who, i), NULL), 0);
    for (int i = 0; i < circle.count; i++) {
        if (mp_process_join(process[i], SECONDS) != 0)
            fail_msg("hangs:%s", describe_circle());
        assert_int_equal(mp_process_free(process[i]), 0);
    }
    expect_deadlock();
}

static void run_in_threads(void)
{
    static int who[LONGEST];
    pthread_t thread[LONGEST];

    begin_shared();
    for (int i = 0; i < circle.count; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, take_part_in_thread, number(who, i)), 0);
    for (int i = 0; i < circle.count; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    expect_deadlock();
}

/* Gives the containers their content again, which the participants have changed. */
static void refill(struct target *target)
{
    assert_int_equal(mp_dict_clear(target->dict), 0);
    assert_int_equal(mp_list_clear(target->list), 0);
    assert_int_equal(fill(target->dict, target->list), 0);
}

static struct target target_of(int manager, int number)
{
    return (struct target){dicts[manager][number], lists[manager][number], other_dict[manager], other_list[manager]};
}

/* `mix`: bit i is set if participant i is inside a sort. */
static void make_circle(int count, unsigned mix, size_t touch, bool own_managers)
{
    circle = (struct circle){.count = count};
    for (int i = 0; i < count; i++) {
        circle.target[i] = target_of(own_managers ? i : 0, i);
        refill(&circle.target[i]);
        circle.place[i] = &places[mix >> i & 1];
    }
    for (int i = 0; i < count; i++)
        circle.touch[i] = touch_of(circle.place[(i + 1) % count]->list, touch);
    for (int m = 0; m < MOST; m++)
        refill(&(struct target){.dict = other_dict[m], .list = other_list[m]});
}

static const size_t touches = COUNT(list_touches) > COUNT(dict_touches) ? COUNT(list_touches) : COUNT(dict_touches);

static void each_circle(void (*run)(void), bool own_managers)
{
    for (int count = 2; count <= MOST; count++) {
        for (unsigned mix = 0; mix < 1U << count; mix++) {
            for (size_t touch = 0; touch < touches; touch++) {
                make_circle(count, mix, touch, own_managers);
                run();
            }
        }
    }
    for (int m = 0; m < MOST; m++)
        assert_int_equal(mp_manager_check(managers[m]), 0);
}

static void no_circle_of_processes_hangs(void **state)
{
    (void)state;
    each_circle(run_in_processes, false);
}

static void no_circle_of_threads_hangs(void **state)
{
    (void)state;
    each_circle(run_in_threads, false);
}

static void stripe(void *handle, uint64_t kind)
{
    assert_int_equal(object_lock_alone(handle, kind), 0);
    stripes_make(object_of(handle));
    object_unlock(object_of(handle));
    assert_int_equal(object_of(handle)->striped, 1);
}

/* The containers are striped, as they become when several processes put words at the same time. */
static void no_circle_of_striped_containers_hangs(void **state)
{
    (void)state;
    for (int i = 0; i < MOST; i++) {
        stripe(dicts[0][i], OBJECT_DICT);
        stripe(lists[0][i], OBJECT_LIST);
    }
    each_circle(run_in_processes, false);
}

static void no_circle_through_several_managers_hangs(void **state)
{
    (void)state;
    each_circle(run_in_processes, true);
}

static void no_circle_of_threads_through_several_managers_hangs(void **state)
{
    (void)state;
    each_circle(run_in_threads, true);
}

static void no_long_circle_hangs(void **state)
{
    (void)state;
    make_circle(2, 0, 0, false);
    circle.count = LONGEST;
    for (int i = 0; i < LONGEST; i++) {
        circle.target[i] = target_of(0, 0);
        circle.place[i] = &places[i % 2];
        assert_int_equal(mp_manager_dict(managers[0], &circle.target[i].dict), 0);
        assert_int_equal(mp_manager_list(managers[0], &circle.target[i].list), 0);
        assert_int_equal(fill(circle.target[i].dict, circle.target[i].list), 0);
        circle.touch[i] = touch_of((i + 1) % LONGEST % 2, 0);
    }
    run_in_processes();
    run_in_threads();
    for (int i = 0; i < LONGEST; i++) {
        assert_int_equal(mp_dict_free(circle.target[i].dict), 0);
        assert_int_equal(mp_list_free(circle.target[i].list), 0);
    }
}

/* One participant is inside two containers, and the other wants the outer one. */
static void what_is_further_out_counts_too(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 8; mix++) {
        make_circle(2, mix & 3, 0, false);
        struct target around = target_of(0, 2);
        refill(&around);
        circle.around[0] = &around;
        circle.outer[0] = &places[mix >> 2];
        circle.touch[1] = touch_of(circle.outer[0]->list, 0);
        run_in_processes();
        run_in_threads();
    }
}

/* ---- no circle ---- */

/* Waits inside until it is told to go on. It may be killed there. */
static int wait_inside(void *arg)
{
    (void)arg;
    atomic_fetch_add(&shared->inside, 1);
    return reached(&shared->told, 1) ? 0 : -2000;
}

static int stay_inside(void *arg)
{
    struct run run = {.function = wait_inside};
    int error = circle.place[1]->enter(&circle.target[1], &run);

    (void)arg;
    return error != 0 || run.code != 0;
}

static int touch_the_second(void *arg)
{
    (void)arg;
    atomic_fetch_add(&shared->inside, 1);
    return circle.touch[0]->touch(&circle.target[1]);
}

static int want_the_second(void *arg)
{
    struct run run = {.function = touch_the_second};
    int error = circle.place[0]->enter(&circle.target[0], &run);

    (void)arg;
    return error != 0 || run.code != 0;
}

static void chain(bool killed)
{
    mp_process *holder, *waiter;
    int code;

    begin_shared();
    assert_int_equal(mp_process_start(&holder, stay_inside, NULL, NULL), 0);
    assert_true(reached(&shared->inside, 1));
    assert_int_equal(mp_process_start(&waiter, want_the_second, NULL, NULL), 0);
    assert_true(reached(&shared->inside, 2));
    if (killed)
        assert_int_equal(mp_process_kill(holder), 0);
    else
        atomic_store(&shared->told, 1);
    assert_int_equal(mp_process_join(holder, SECONDS), 0);
    assert_int_equal(mp_process_join(waiter, SECONDS), 0);
    assert_int_equal(mp_process_exitcode(waiter, &code), 0);
    if (code != 0)
        fail_msg("%s, then %s: refused without a circle", circle.place[0]->name, circle.touch[0]->name);
    assert_int_equal(mp_process_free(holder), 0);
    assert_int_equal(mp_process_free(waiter), 0);
}

static void who_waits_in_no_circle_gets_it(void **state)
{
    (void)state;
    for (unsigned mix = 0; mix < 4; mix++) {
        for (size_t touch = 0; touch < touches; touch++) {
            for (int killed = 0; killed < 2; killed++) {
                make_circle(2, mix, touch, touch % 2 == 0);
                chain(killed);
            }
        }
    }
}

/* ---- calls that are forbidden inside, and calls that are allowed ---- */

static int touch_own(void *arg)
{
    const struct touch *touch = arg;

    return touch->touch(&circle.target[0]);
}

static void changing_what_one_is_inside_is_refused(void **state)
{
    (void)state;
    for (int list = 0; list < 2; list++) {
        for (size_t i = 0; i < (list ? COUNT(list_touches) : COUNT(dict_touches)); i++) {
            const struct touch *touch = touch_of(list, i);
            struct run run = {.function = touch_own, .arg = (void *)(uintptr_t)touch};
            bool refused;

            make_circle(2, list ? 3 : 0, 0, false);
            assert_int_equal(places[list].enter(&circle.target[0], &run), 0);
            refused = run.code == MP_EDEADLK;
            if (!refused)
                fail_msg("%s inside %s of the same: %d", touch->name, places[list].name, run.code);
        }
    }
    assert_int_equal(mp_manager_check(managers[0]), 0);
}

struct nesting {
    mp_dict *dict[DEPTH + 1];
    mp_list *list[DEPTH + 1];
    int mix; /* 0: dicts, 1: lists, 2: alternating */
    int depth, stop;
};

static int nest(void *arg)
{
    struct nesting *nesting = arg;
    int depth = nesting->depth++;
    const struct place *place = &places[nesting->mix == 2 ? depth % 2 : nesting->mix];
    struct run run = {.function = nest, .arg = nesting};

    if (depth == nesting->stop)
        return 0;
    int error = place->enter(&(struct target){.dict = nesting->dict[depth], .list = nesting->list[depth]}, &run);
    return error != 0 ? error : run.code;
}

static void as_deep_as_is_said(void **state)
{
    struct nesting nesting;
    (void)state;

    for (int i = 0; i <= DEPTH; i++) {
        assert_int_equal(mp_manager_dict(managers[0], &nesting.dict[i]), 0);
        assert_int_equal(mp_manager_list(managers[0], &nesting.list[i]), 0);
        assert_int_equal(fill(nesting.dict[i], nesting.list[i]), 0);
    }
    for (int mix = 0; mix < 3; mix++) {
        nesting.mix = mix;
        nesting.depth = 0;
        nesting.stop = DEPTH;
        assert_int_equal(nest(&nesting), 0);
        nesting.depth = 0;
        nesting.stop = DEPTH + 1;
        assert_int_equal(nest(&nesting), MP_EDEPTH);
        assert_int_equal(nesting.depth, DEPTH + 1); /* the last one was not entered */
    }
    for (int i = 0; i <= DEPTH; i++) {
        assert_int_equal(mp_dict_free(nesting.dict[i]), 0);
        assert_int_equal(mp_list_free(nesting.list[i]), 0);
    }
}

/* ---- ways to leave a function ---- */

static int return_zero(mp_value *value)
{
    if (value != NULL)
        *value = mp_value_int(77);
    return 0;
}

static int return_failure(mp_value *value)
{
    if (value != NULL)
        *value = mp_value_int(999);
    return 5;
}

static int end_thread(mp_value *value)
{
    return_failure(value);
    pthread_exit(NULL);
}

static int end_by_exit(mp_value *value)
{
    return_failure(value);
    exit(3);
}

static int end_at_once(mp_value *value)
{
    return_failure(value);
    _exit(3);
}

static int be_killed(mp_value *value)
{
    return_failure(value);
    raise(SIGKILL);
    return 0;
}

static int execute(mp_value *value)
{
    return_failure(value);
    execlp("true", "true", NULL);
    return 0;
}

/* The child returns from the function as well, and ends at the place that the call's return leads to. */
static int fork_inside(mp_value *value)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        return_failure(value);
        return 0;
    }
    while (waitpid(child, &status, 0) < 0)
        ;
    return status != 0 ? -2000 : return_zero(value);
}

static int start_inside(mp_value *value)
{
    mp_process *process;

    atomic_store(&shared->inside, 0);
    circle.count = 1;
    int error = mp_process_start(&process, touch_the_second, NULL, NULL); /* of a container that is not in use here */
    if (error == 0)
        error = mp_process_join(process, SECONDS);
    if (error == 0)
        error = mp_process_free(process);
    return error != 0 ? error : return_zero(value);
}

static int run_program(mp_value *value)
{
    return system("true") == 0 ? return_zero(value) : -2000;
}

/* What a call returns when its function is left in this way, and whether it has then stored the value that the function
 * made. */
enum { NOTHING = -5000 }; /* the call does not return */
static const struct way {
    const char *name;
    int (*leave)(mp_value *value);
    int code;
    bool stores;
} ways[] = {
    {"returns 0", return_zero, 0, true},
    {"returns a failure", return_failure, 5, false},
    {"pthread_exit()", end_thread, NOTHING, false},
    {"exit()", end_by_exit, NOTHING, false},
    {"_exit()", end_at_once, NOTHING, false},
    {"killed", be_killed, NOTHING, false},
    {"exec", execute, NOTHING, false},
    {"fork", fork_inside, 0, true},
    {"starts a process", start_inside, 0, true},
    {"runs a program", run_program, 0, true},
};

/* How the calls are nested, and in which of them the function is left. */
static const struct way *way;
static bool in_list, nested, in_main;

static int apply_left(mp_value *value, bool present, void *arg)
{
    (void)arg;
    return present ? way->leave(value) : -2000;
}

static int sort_left(const mp_value *a, const mp_value *b, void *arg)
{
    bool *begun = arg;

    if (!*begun) {
        *begun = true;
        way->leave(NULL);
    }
    return by_number(a, b, NULL);
}

static int call_left(void)
{
    bool begun = false;

    return in_list ? mp_list_sort(lists[0][0], sort_left, &begun, false)
                   : mp_dict_apply(dicts[0][0], mp_value_str("n"), apply_left, NULL);
}

static int outer_left(void *arg)
{
    (void)arg;
    return call_left();
}

/* A child that was forked inside returns from the call, too. It ends here. */
static void end_of_forked_child(pid_t process, int code)
{
    if (getpid() == process)
        return;
    _exit(code == MP_EFOREIGN ? 0 : 1);
}

static void *run_left(void *arg)
{
    struct run run = {.function = outer_left};
    pid_t process = getpid();
    int code;

    (void)arg;
    if (nested) {
        code = apply_inside(&(struct target){.dict = dicts[0][1]}, &run);
        if (code == 0 || getpid() != process)
            code = run.code;
    } else {
        code = call_left();
    }
    end_of_forked_child(process, code);
    atomic_store(&shared->code[0], code);
    return NULL;
}

static int leave_in_thread(void *arg)
{
    pthread_t thread;

    (void)arg;
    if (in_main) {
        run_left(NULL);
    } else {
        if (pthread_create(&thread, NULL, run_left, NULL) != 0)
            return 9;
        pthread_join(thread, NULL);
    }
    return mp_dict_set_int(dicts[0][0], "after", 1) | mp_list_append_int(lists[0][0], 4) |
           mp_dict_set_int(dicts[0][1], "after", 1);
}

static int touch_all(void *arg)
{
    (void)arg;
    return mp_dict_set_int(dicts[0][0], "other", 1) | mp_list_append_int(lists[0][0], 5) |
           mp_dict_set_int(dicts[0][1], "other", 1);
}

static void run_to_end(mp_process_function *function, bool must_succeed, const char *what)
{
    mp_process *process;
    int code;

    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    if (mp_process_join(process, SECONDS) != 0)
        fail_msg("%s, %s, %snested: %s hangs", way->name, in_list ? "sort" : "apply", nested ? "" : "not ", what);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    if (must_succeed && code != 0)
        fail_msg("%s, %s, %snested: %s: %d", way->name, in_list ? "sort" : "apply", nested ? "" : "not ", what, code);
    assert_int_equal(mp_process_free(process), 0);
}

static void look_afterwards(void)
{
    int64_t n;

    assert_int_equal(mp_dict_get_int(dicts[0][0], "n", &n), 0);
    if (n != (way->stores && !in_list ? 77 : 1))
        fail_msg("%s: %d is stored", way->name, (int)n);
    assert_int_equal(mp_list_get_int(lists[0][0], 0, &n), 0);
    /* The list is sorted if the function has returned: its return value is the order. */
    if (in_list && n != (way->code != NOTHING ? 1 : 3))
        fail_msg("%s: the list begins with %d", way->name, (int)n);
    if (shared->code[0] != (in_list && way->code == 5 ? 0 : way->code == NOTHING ? -3000 : way->code))
        fail_msg("%s, %s: the call said %d", way->name, in_list ? "sort" : "apply", shared->code[0]);
    assert_int_equal(mp_manager_check(managers[0]), 0);
}

static void leave_once(void)
{
    bool comes_back = way->code != NOTHING || (way->leave == end_thread && !in_main);

    make_circle(2, 0, 0, false);
    circle.target[1] = target_of(0, 2);
    begin_shared();
    run_to_end(leave_in_thread, comes_back, "whose function is left");
    run_to_end(touch_all, true, "another process afterwards");
    look_afterwards();
}

static void a_function_may_be_left_in_any_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        for (int variant = 0; variant < 8; variant++) {
            way = &ways[i];
            in_main = variant & 4;
            in_list = variant & 1;
            nested = variant & 2;
            leave_once();
        }
    }
}

#ifdef HAVE_CXX
static void an_exception_leaves_all_as_it_was(void **state)
{
    mp_dict *dict = dicts[0][0];
    mp_list *list = lists[0][0];
    int64_t n;
    (void)state;

    make_circle(2, 0, 0, false);
    for (int i = 0; i < 3; i++) {
        bool arrived = i == 0   ? throw_out_of_apply(dict, "n")
                       : i == 1 ? throw_out_of_sort(list)
                                : throw_out_of_both(dict, "n", list);
        assert_true(arrived);
        assert_int_equal(mp_dict_get_int(dict, "n", &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(mp_list_get_int(list, 0, &n), 0);
        assert_int_equal(n, 3);
        assert_int_equal(mp_dict_set_int(dict, "after", i), 0);
        assert_int_equal(mp_list_append_int(list, i), 0);
        way = &ways[0];
        run_to_end(touch_all, true, "another process after an exception");
        assert_int_equal(mp_manager_check(managers[0]), 0);
    }
}
#endif

/* ---- freeing memory waits for no process ---- */

/* Process A is inside a function for a container that another process removes meanwhile: the container is dead, and its
 * memory has to be freed. A process that works with other containers must not wait for A. */
static mp_dict *parent;
static const struct place *where;
static struct target removed, unrelated;

static int stay_until_told(void *arg)
{
    (void)arg;
    atomic_fetch_add(&shared->inside, 1);
    if (!reached(&shared->told, 1))
        return -2000;
    /* Locks that another process may hold now. It must not wait for this process either. */
    return mp_dict_set_int(unrelated.dict, "from inside", 1) | mp_list_append_int(unrelated.list, 1);
}

static int be_inside(void *arg)
{
    struct run run = {.function = stay_until_told};
    int error = where->enter(&removed, &run);

    (void)arg;
    atomic_store(&shared->code[0], error != 0 ? error : run.code);
    return 0;
}

/* Calls that hold a lock that A will want. A is told to go on from inside them, and they free memory before they
 * release the lock. */
static int tell_and_drop(void *arg)
{
    mp_list *list;

    (void)arg;
    atomic_store(&shared->told, 1);
    int error = mp_manager_list(managers[0], &list);
    if (error == 0)
        error = mp_list_append_int(list, 1);
    if (error == 0)
        error = mp_list_free(list);
    return error | mp_list_append_int(other_list[0], 1) |
           mp_dict_set_str(other_dict[0], "s", "a string in its own block");
}

static int apply_and_drop(const struct target *t)
{
    struct run run = {.function = tell_and_drop};
    int error = apply_inside(t, &run);

    return error != 0 ? error : run.code;
}

static int sort_and_drop(const struct target *t)
{
    struct run run = {.function = tell_and_drop};
    int error = sort_inside(t, &run);

    return error != 0 ? error : run.code;
}

static int make_and_free(const struct target *t)
{
    mp_dict *dict;
    int error = mp_manager_dict(managers[0], &dict);

    (void)t;
    if (error == 0)
        error = mp_dict_set_str(dict, "s", "a string that has a block of its own");
    return error != 0 ? error : mp_dict_free(dict);
}

static int pop_and_free(const struct target *t)
{
    mp_dict *dict;
    mp_value value;
    int error = mp_manager_dict(managers[0], &dict);

    if (error == 0)
        error = mp_list_append_dict(t->list, dict);
    if (error == 0)
        error = mp_dict_free(dict);
    if (error == 0)
        error = mp_list_pop(t->list, -1, &value);
    return error != 0 ? error : freed(0, &value);
}

static int ask_sizes(const struct target *t)
{
    mp_manager_info info;

    (void)t;
    return mp_manager_get_info(managers[0], &info);
}

static const struct touch unrelated_calls[] = {
    {"apply that appends", apply_and_drop},
    {"sort that appends", sort_and_drop},
    {"make and free", make_and_free},
    {"pop and free", pop_and_free},
    {"sizes", ask_sizes},
};

static const struct touch *unrelated_call;

static int do_unrelated(void *arg)
{
    (void)arg;
    return unrelated_call->touch(&unrelated) != 0;
}

static int free_removed(void *arg)
{
    (void)arg;
    return mp_dict_remove_key(parent, where->list ? "l" : "d") != 0;
}

static void make_removed(void)
{
    mp_dict *dict;
    mp_list *list;

    assert_int_equal(mp_manager_dict(managers[0], &dict), 0);
    assert_int_equal(mp_manager_list(managers[0], &list), 0);
    assert_int_equal(fill(dict, list), 0);
    assert_int_equal(mp_dict_set_dict(parent, "d", dict), 0);
    assert_int_equal(mp_dict_set_list(parent, "l", list), 0);
    assert_int_equal(mp_dict_free(dict), 0);
    assert_int_equal(mp_list_free(list), 0);
    removed = (struct target){.dict = dict, .list = list}; /* borrowed handles */
    unrelated = target_of(0, 1);
    refill(&unrelated);
    refill(&(struct target){.dict = other_dict[0], .list = other_list[0]});
}

static void join_zero(mp_process *process, const char *what)
{
    int code;

    if (mp_process_join(process, SECONDS) != 0)
        fail_msg("%s waits for who is in %s of a dead container", what, where->name);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    if (code != 0)
        fail_msg("%s beside %s of a dead container fails", what, where->name);
    assert_int_equal(mp_process_free(process), 0);
}

static void reclaim_once(void)
{
    mp_process *inside, *remover, *other;

    make_removed();
    begin_shared();
    assert_int_equal(mp_process_start(&inside, be_inside, NULL, NULL), 0);
    assert_true(reached(&shared->inside, 1));
    assert_int_equal(mp_process_start(&remover, free_removed, NULL, NULL), 0);
    join_zero(remover, "removing");
    assert_int_equal(mp_process_start(&other, do_unrelated, NULL, NULL), 0);
    join_zero(other, unrelated_call->name);
    atomic_store(&shared->told, 1);
    join_zero(inside, "its own function");
    assert_int_equal(shared->code[0], 0);
    assert_int_equal(mp_manager_check(managers[0]), 0);
}

static size_t used(void)
{
    mp_manager_info info;

    assert_int_equal(mp_manager_get_info(managers[0], &info), 0);
    return info.used;
}

/* How many more bytes may be in use than after the round before, because blocks may be larger than needed. Each of the
 * dozens of blocks that a round frees is larger, so a single leaked block is noticed. */
#define WASTE 256

static void giving_memory_back_waits_for_nobody(void **state)
{
    size_t before = 0;
    (void)state;

    assert_int_equal(mp_manager_dict(managers[0], &parent), 0);
    for (int round = 0; round < 3; round++) { /* later rounds reuse the memory of the first */
        for (size_t i = 0; i < COUNT(places); i++) {
            for (size_t j = 0; j < COUNT(unrelated_calls); j++) {
                where = &places[i];
                unrelated_call = &unrelated_calls[j];
                reclaim_once();
            }
        }
        assert_int_equal(mp_dict_clear(parent), 0);
        refill(&unrelated);
        if (round == 1)
            before = used();
        else if (round == 2)
            assert_true(used() < before + WASTE);
    }
    assert_int_equal(mp_dict_free(parent), 0);
}

/* Runs each touch of a container while another process is inside an unrelated, dead container. */
static int touch_other(void *arg)
{
    (void)arg;
    return circle.touch[0]->touch(&circle.target[0]) != 0;
}

static void touching_what_is_unrelated_waits_for_nobody(void **state)
{
    (void)state;
    assert_int_equal(mp_manager_dict(managers[0], &parent), 0);
    for (size_t place = 0; place < COUNT(places); place++) {
        mp_process *inside, *other;

        where = &places[place];
        make_removed();
        begin_shared();
        assert_int_equal(mp_process_start(&inside, be_inside, NULL, NULL), 0);
        assert_true(reached(&shared->inside, 1));
        assert_int_equal(free_removed(NULL), 0);
        for (int list = 0; list < 2; list++) {
            for (size_t i = 0; i < touches; i++) {
                make_circle(2, list ? 3 : 0, 0, false);
                circle.touch[0] = touch_of(list, i);
                assert_int_equal(mp_process_start(&other, touch_other, NULL, NULL), 0);
                join_zero(other, circle.touch[0]->name);
            }
        }
        atomic_store(&shared->told, 1);
        join_zero(inside, "its own function");
        assert_int_equal(shared->code[0], 0);
        assert_int_equal(mp_dict_clear(parent), 0);
    }
    assert_int_equal(mp_dict_free(parent), 0);
}

/* ---- holders of another PID namespace ---- */

#define LONG 0.3 /* seconds: a waiter looks for the holder several times in this time */

/* Stays inside for a while. The others must not get in before it announces that it leaves. */
static int be_inside_for_long(mp_value *value, bool present, void *arg)
{
    double end = now() + LONG;

    (void)value;
    (void)present;
    atomic_store(&shared->inside, 1);
    while (now() < end)
        sched_yield();
    atomic_store(&shared->done, 1);
    return *(int *)arg;
}

static int be_inside_apply(void)
{
    int result = 0;

    return mp_dict_apply(dicts[0][0], mp_value_str("n"), be_inside_for_long, &result);
}

/* Calls that wait for the mutex, for a stripe (if the dict has stripes), for both, and for all. */
static int put_a_string(void)
{
    return mp_dict_set_str(dicts[0][0], "s", "another string that has a block of its own");
}

static int put_a_word(void)
{
    return mp_dict_set_int(dicts[0][0], "n", 2);
}

static int check(void)
{
    return mp_manager_check(managers[0]);
}

static int remove_and_put(void)
{
    int error = mp_dict_remove_key(dicts[0][0], "s");

    return error == 0 ? put_a_string() : error;
}

static const struct waiting {
    const char *name;
    int (*function)(void);
} waiting[] = {{"a string", put_a_string}, {"a word", put_a_word}, {"removing", remove_and_put}, {"checking", check}};

/* 0: it has waited until the other process was about to leave. */
static int wait_for_it(int (*function)(void))
{
    if (!reached(&shared->inside, 1))
        return 1;
    return function() != 0 || atomic_load(&shared->done) != 1;
}

/* Runs in a process whose children are in a PID namespace of their own. 0; 77: the system does not allow it. */
static int across_namespaces(bool child_is_inside, int (*function)(void))
{
    int status;

    if (unshare(CLONE_NEWPID) != 0)
        return 77;
    pid_t child = fork();
    if (child == 0)
        _exit(child_is_inside ? be_inside_apply() != 0 : wait_for_it(function));
    int own = child_is_inside ? wait_for_it(function) : be_inside_apply() != 0;
    if (waitpid(child, &status, 0) != child)
        return 2;
    return own != 0 || status != 0;
}

static void numbers_of_other_namespaces_say_nothing(void **state)
{
    (void)state;
    for (int striped = 0; striped < 2; striped++) {
        if (striped)
            stripe(dicts[0][0], OBJECT_DICT);
        for (size_t i = 0; i < 2 * COUNT(waiting); i++) {
            int status;

            begin_shared();
            pid_t pid = fork();
            if (pid == 0)
                _exit(across_namespaces(i % 2, waiting[i / 2].function));
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                skip();
            if (status != 0)
                fail_msg("striped %d, %s, the %s inside: status %x", striped, waiting[i / 2].name,
                         i % 2 ? "child" : "parent", (unsigned)status);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_circle_of_processes_hangs),
        TEST(no_circle_of_threads_hangs),
        TEST(no_circle_of_striped_containers_hangs),
        TEST(no_circle_through_several_managers_hangs),
        TEST(no_circle_of_threads_through_several_managers_hangs),
        TEST(no_long_circle_hangs),
        TEST(what_is_further_out_counts_too),
        TEST(who_waits_in_no_circle_gets_it),
        TEST(changing_what_one_is_inside_is_refused),
        TEST(as_deep_as_is_said),
        TEST(a_function_may_be_left_in_any_way),
#ifdef HAVE_CXX
        TEST(an_exception_leaves_all_as_it_was),
#endif
        TEST(giving_memory_back_waits_for_nobody),
        TEST(touching_what_is_unrelated_waits_for_nobody),
        TEST(numbers_of_other_namespaces_say_nothing),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
