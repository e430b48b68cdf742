/* Lists that several processes contend for, like test_stripes.c for dicts. */
#include <errno.h>
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "list/list_table.h"
#include "manager_fixture.h"
#include "support.h"

#define SECONDS 60.0
/* The elements are integers, followed by a string. */
#define INTEGERS 40

/* Shared with the other processes. */
static struct {
    int about_to_put; /* the pid of the process that is */
    bool enough;      /* the other has to stop */
    int64_t steps;    /* number of steps that the other has done */
} volatile *shared;

static struct object *object(void)
{
    return object_of(list);
}

static bool is_striped(void)
{
    return atomic_load(&object()->striped) == 1;
}

static void stripe(void)
{
    if (!is_striped()) {
        assert_int_equal(object_lock(list, OBJECT_LIST), 0);
        stripes_make(object());
        object_unlock(object());
    }
    assert_true(is_striped());
}

static int make(void **state)
{
    shared = shared_memory(sizeof *shared);
    if (make_manager(state) != 0)
        return 1;
    for (int i = 0; i < INTEGERS; i++) {
        if (mp_list_append_int(list, i) != 0)
            return 1;
    }
    return mp_list_append_str(list, "a string of some length");
}

static int drop(void **state)
{
    return munmap((void *)shared, sizeof *shared) != 0 || drop_manager(state) != 0;
}

static pthread_mutex_t *stripe_for(int64_t index)
{
    struct list_place place = {NULL, 0};

    assert_int_equal(list_find(object(), index, &place), 0);
    return stripe_of(object(), list_stripe(object(), &place));
}

static int64_t integer_at(int64_t index)
{
    int64_t value = -1;

    assert_int_equal(mp_list_get_int(list, index, &value), 0);
    return value;
}

static int code_of(mp_process_function *function)
{
    mp_process *process;

    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    return exit_code(process);
}

/* ---- side by side ---- */

static int put_words(void *arg)
{
    (void)arg;
    return mp_list_set_int(list, 0, 10) != 0 || mp_list_set(list, 1, mp_value_int(11)) != 0 ||
           mp_list_add_int(list, 2, 10, NULL) != 0 ||
           mp_list_compare_and_swap(list, 3, mp_value_float(3.0), mp_value_int(13)) != 0 ||
           mp_list_compare_and_swap(list, 4, mp_value_int(3), mp_value_int(14)) != MP_ECHANGED ||
           mp_list_add_int(list, 5, INT64_MAX, NULL) != MP_EOVERFLOW;
}

static void words_are_put_while_another_holds_the_mutex(void **state)
{
    (void)state;
    stripe();
    assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
    assert_int_equal(code_of(put_words), 0);
    object_unlock(object());
    for (int i = 0; i < 6; i++)
        assert_int_equal(integer_at(i), i < 4 ? 10 + i : i);
}

/* Elements in the same cache line share a stripe; those of the next line have another. */
static void neighbours_share_a_stripe(void **state)
{
    int lines = 0;
    (void)state;

    stripe();
    for (int64_t i = 1; i < INTEGERS; i++) {
        bool same_line = (uintptr_t)list_cell(object(), (uint64_t)i) % 64 != 0;

        assert_true((stripe_for(i) == stripe_for(i - 1)) == same_line);
        lines += !same_line;
    }
    assert_in_range(lines, INTEGERS / 4 - 1, INTEGERS / 4);
}

/* In a long list, too, the elements of a line share a stripe. Neither neighbouring lines nor lines that lie a power of
 * two apart all have the same stripe. */
static void long_lists_use_all_stripes(void **state)
{
    int64_t most = 20000;
    unsigned near = 0, far = 0;
    (void)state;

    for (int64_t i = 0; i < most; i++)
        assert_int_equal(mp_list_append_int(list, i), 0);
    stripe();
    for (int64_t i = 1; i < most; i++) {
        long number = (struct stripe *)(void *)stripe_for(i) - stripes_of(object())->stripe;

        assert_in_range(number, 0, STRIPES - 1);
        if ((uintptr_t)list_cell(object(), (uint64_t)i) % 64 != 0 && i % (int64_t)SEGMENT != 0)
            assert_ptr_equal(stripe_for(i), stripe_for(i - 1));
        near |= i >= 10000 && i < 12048 ? 1U << number : 0;
        far |= i % 1024 == 0 ? 1U << number : 0;
    }
    assert_int_equal(near, (1U << STRIPES) - 1);
    assert_true(__builtin_popcount(far) >= STRIPES / 2);
}

static int append_some(void *arg)
{
    (void)arg;
    return mp_list_append_int(list, 1) != 0 || mp_list_append_str(list, "another string of some length") != 0 ||
           mp_list_extend_values(list, &(mp_value){.type = MP_NONE}, 1) != 0;
}

static void appending_needs_no_stripe(void **state)
{
    struct object *o = object();
    (void)state;

    stripe();
    assert_int_equal(object_lock(list, OBJECT_LIST), 0);
    assert_int_equal(list_reserve(o, 8), 0);
    object_unlock(o);
    for (int i = 0; i < STRIPES; i++)
        assert_int_equal(pthread_mutex_lock(&stripes_of(o)->stripe[i].mutex), 0);
    assert_int_equal(code_of(append_some), 0);
    for (int i = 0; i < STRIPES; i++)
        assert_int_equal(pthread_mutex_unlock(&stripes_of(o)->stripe[i].mutex), 0);
}

/* ---- the cell of an index must not change while a process puts a word there ---- */

static int put_first(void *arg)
{
    (void)arg;
    shared->about_to_put = getpid();
    return mp_list_set_int(list, 0, 77);
}

static int add_to_first(void *arg)
{
    (void)arg;
    shared->about_to_put = getpid();
    return mp_list_add_int(list, 0, 1, NULL);
}

static int put_last(void *arg)
{
    (void)arg;
    shared->about_to_put = getpid();
    return mp_list_set_int(list, -1, 77);
}

/* The other process sleeps: it waits for the lock that guards the word, because there is nothing else to wait for. */
static bool the_other_sleeps(void *arg)
{
    (void)arg;
    return shared->about_to_put != 0 && process_state(shared->about_to_put) == 'S';
}

static bool somebody_holds_the_mutex(void *arg)
{
    pid_t thread;

    (void)arg;
    return robust_mutex_held(&object()->mutex, &thread);
}

static mp_process *start_to_put(mp_process_function *function)
{
    mp_process *process;

    shared->about_to_put = 0;
    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    assert_true(wait_until(the_other_sleeps, NULL, SECONDS));
    return process;
}

/* A process has found the first element's cell and waits for its stripe. When it gets the stripe, the element is the
 * second. */
static void nothing_is_put_where_an_index_led(void **state)
{
    struct object *o = object();
    pthread_mutex_t *held;
    (void)state;

    assert_int_equal(mp_list_delete(list, 0), 0);
    stripe();
    held = stripe_for(0);
    assert_int_equal(pthread_mutex_lock(held), 0);
    mp_process *process = start_to_put(put_first);
    assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
    object_begin(o);
    object_set(o, &list_cell(o, 0)[-1].head, MP_INT);
    object_set(o, &o->word[LIST_START], word_get(&o->word[LIST_START]) - 1);
    object_set(o, &o->word[LIST_LENGTH], list_length_of(o) + 1);
    object_commit(o);
    object_unlock(o);
    assert_int_equal(pthread_mutex_unlock(held), 0);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(integer_at(0), 77);
    assert_int_equal(integer_at(1), 1);
}

/* A process waits for the mutex of a list without stripes. When it gets the mutex, the list has stripes, and another
 * process holds the one that it needs then. */
static void who_waited_for_the_mutex_takes_the_stripe(void **state)
{
    struct object *o = object();
    struct cell *cell = list_cell(o, 0);
    (void)state;

    assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
    mp_process *process = start_to_put(add_to_first);
    stripes_make(o);
    pthread_mutex_t *held = stripe_for(0);
    assert_int_equal(pthread_mutex_lock(held), 0);
    object_unlock(o);
    assert_true(wait_until(somebody_holds_the_mutex, NULL, SECONDS));
    assert_int_equal(word_get(&cell->body), 0);
    atomic_store(&cell->body, 99);
    assert_int_equal(pthread_mutex_unlock(held), 0);
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(integer_at(0), 100);
}

/* An append, which needs no stripe, changes which element is the last. */
static void the_last_is_the_last_when_it_is_put(void **state)
{
    mp_value value = mp_value_int(5);
    (void)state;

    assert_int_equal(mp_list_delete(list, -1), 0);
    stripe();
    assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
    mp_process *process = start_to_put(put_last);
    assert_int_equal(list_append_many(object(), &value, sizeof value, 1), 0);
    object_unlock(object());
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(integer_at(INTEGERS - 1), INTEGERS - 1);
    assert_int_equal(integer_at(INTEGERS), 77);
}

static int get_first(void *arg)
{
    int64_t value = -1;

    (void)arg;
    shared->about_to_put = getpid();
    return mp_list_get_int(list, 0, &value) == 0 ? (int)value : -1;
}

/* A reader takes no mutex, does not wait, and does not see a change before it is complete. */
static void a_change_is_seen_when_it_is_whole(void **state)
{
    struct cell *cell = list_cell(object(), 0);
    (void)state;

    assert_int_equal(object_lock(list, OBJECT_LIST), 0);
    assert_int_equal(code_of(get_first), 0);
    object_begin(object());
    object_set(object(), &cell->body, 5);
    assert_int_equal(code_of(get_first), 0);
    object_set(object(), &cell->body, 6);
    assert_int_equal(code_of(get_first), 0);
    object_commit(object());
    assert_int_equal(code_of(get_first), 6);
    object_unlock(object());
}

/* ---- calls that remove, move, or want a consistent view wait for one that puts a word ---- */

/* The test holds the stripe of an element. It waits until the other process has got as far as it can, which the mutex
 * shows, and then puts the word. The other's operation must come after that. */
static void waits_for_the_stripe_of(int64_t index, mp_process_function *function)
{
    mp_process *process;

    stripe();
    assert_int_equal(mp_list_set_int(list, index, 1), 0);
    struct cell *cell = list_cell(object(), index < 0 ? list_length_of(object()) - 1 : (uint64_t)index);
    assert_int_equal(pthread_mutex_lock(stripe_for(index)), 0);
    pthread_mutex_t *held = stripe_for(index);
    assert_int_equal(mp_process_start(&process, function, NULL, NULL), 0);
    assert_true(wait_until(somebody_holds_the_mutex, NULL, SECONDS));
    atomic_store(&cell->body, 99);
    assert_int_equal(pthread_mutex_unlock(held), 0);
    assert_int_equal(exit_code(process), 0);
}

/* 0: the element is 99. Frees the list if it is another one. */
static int is_99(mp_list *of, int64_t index)
{
    int64_t value = 0;

    if (mp_list_get_int(of, index, &value) != 0)
        return 2;
    if (of != list && mp_list_free(of) != 0)
        return 3;
    return value == 99 ? 0 : 4;
}

static int copy_and_look(void *arg)
{
    mp_list *copy;

    (void)arg;
    return mp_list_copy(list, &copy) != 0 ? 1 : is_99(copy, 0);
}

static int concat_and_look(void *arg)
{
    mp_list *none, *sum;

    (void)arg;
    if (mp_manager_list(manager, &none) != 0 || mp_list_concat(list, none, &sum) != 0 || mp_list_free(none) != 0)
        return 1;
    return is_99(sum, 0);
}

static int repeat_and_look(void *arg)
{
    mp_list *product;

    (void)arg;
    return mp_list_repeat(list, 2, &product) != 0 ? 1 : is_99(product, INTEGERS + 1);
}

static int extend_and_look(void *arg)
{
    mp_list *other;

    (void)arg;
    return mp_manager_list(manager, &other) != 0 || mp_list_extend(other, list) != 0 ? 1 : is_99(other, 0);
}

static int search(void *arg)
{
    size_t index = 9;

    (void)arg;
    return mp_list_index(list, mp_value_int(99), &index) == 0 && index == 0 ? 0 : 1;
}

static int pop_first(void *arg)
{
    mp_value value = mp_value_none();

    (void)arg;
    return mp_list_pop(list, 0, &value) == 0 && value.as.integer == 99 ? 0 : 1;
}

static int pop_last_integer(void *arg)
{
    mp_value value = mp_value_none();

    (void)arg;
    return mp_list_pop(list, INTEGERS - 1, &value) == 0 && value.as.integer == 99 ? 0 : 1;
}

static int pop_last(void *arg)
{
    mp_value value = mp_value_none();

    (void)arg;
    return mp_list_pop(list, -1, &value) == 0 && value.as.integer == 99 ? 0 : 1;
}

static int insert_first(void *arg)
{
    (void)arg;
    return mp_list_insert(list, 0, mp_value_int(1)) != 0 ? 1 : is_99(list, 1);
}

static int append_until_moved(void *arg)
{
    uint64_t array = word_get(&object()->root[0]);

    (void)arg;
    while (word_get(&object()->root[0]) == array) {
        if (mp_list_append_int(list, 1) != 0)
            return 1;
    }
    return is_99(list, 0);
}

static int extend_until_moved(void *arg)
{
    static const mp_value many[100];

    (void)arg;
    return mp_list_extend_values(list, many, 100) != 0 ? 1 : is_99(list, 0);
}

static int reverse(void *arg)
{
    (void)arg;
    return mp_list_reverse(list) != 0 ? 1 : is_99(list, -1);
}

static int sort(void *arg)
{
    (void)arg;
    return mp_list_sort(list, NULL, NULL, true) != 0 ? 1 : is_99(list, 0);
}

static int delete_slice(void *arg)
{
    (void)arg;
    return mp_list_delete_slice(list, 1, 5, 1) != 0 ? 1 : is_99(list, 0);
}

static int set_slice(void *arg)
{
    mp_list *none;

    (void)arg;
    return mp_manager_list(manager, &none) != 0 || mp_list_set_slice(list, 1, 5, 1, none) != 0 ||
                   mp_list_free(none) != 0
               ? 1
               : is_99(list, 0);
}

static int swap(void *arg)
{
    (void)arg;
    return mp_list_compare_and_swap(list, 0, mp_value_int(99), mp_value_str("another string of some length"));
}

static int put_a_string(void *arg)
{
    (void)arg;
    return mp_list_set_str(list, 0, "another string of some length");
}

static int put_by_negative_index(void *arg)
{
    int64_t value = 0;

    (void)arg;
    return mp_list_add_int(list, -INTEGERS - 1, 1, &value) == 0 && value == 100 ? 0 : 1;
}

static int clear(void *arg)
{
    size_t length = 9;

    (void)arg;
    return mp_list_clear(list) == 0 && mp_list_length(list, &length) == 0 && length == 0 ? 0 : 1;
}

static void copies_are_of_one_moment(void **state)
{
    (void)state;
    waits_for_the_stripe_of(0, copy_and_look);
    waits_for_the_stripe_of(0, concat_and_look);
    waits_for_the_stripe_of(0, repeat_and_look);
}

/* A call that only reads does not wait for one that puts a word, and finds the word before. */
static void readers_do_not_wait_for_who_puts(void **state)
{
    (void)state;
    stripe();
    assert_int_equal(mp_list_set_int(list, 0, 99), 0);
    assert_int_equal(pthread_mutex_lock(stripe_for(0)), 0);
    assert_int_equal(code_of(extend_and_look), 0);
    assert_int_equal(code_of(search), 0);
    assert_int_equal(pthread_mutex_unlock(stripe_for(0)), 0);
}

static void what_is_popped_is_the_last_value(void **state)
{
    (void)state;
    waits_for_the_stripe_of(0, pop_first);
}

static void what_is_popped_from_the_end_is_the_last_value(void **state)
{
    (void)state;
    assert_int_equal(mp_list_delete(list, -1), 0);
    waits_for_the_stripe_of(INTEGERS - 1, pop_last);
}

static void what_is_popped_from_the_middle_is_the_last_value(void **state)
{
    (void)state;
    waits_for_the_stripe_of(INTEGERS - 1, pop_last_integer);
}

/* Both ways of inserting: cells move, or only the place of the first cell changes. */
static void inserting_before_comes_after(void **state)
{
    (void)state;
    waits_for_the_stripe_of(0, insert_first);
    assert_int_equal(mp_list_delete(list, 0), 0);
    assert_true(word_get(&object()->word[LIST_START]) > 0);
    waits_for_the_stripe_of(0, insert_first);
}

static void popping_before_comes_after(void **state)
{
    (void)state;
    assert_int_equal(mp_list_insert(list, 0, mp_value_int(99)), 0);
    waits_for_the_stripe_of(INTEGERS / 2, pop_first);
}

/* Puts a block behind the list's only segment, so that it cannot grow in place. */
static void put_something_behind(void)
{
    const struct heap *heap = object_heap(object());
    const _Atomic uint64_t *table = heap_at(heap, word_get(&object()->root[0]) & ~REF_MASK);
    uint64_t segment = word_get(&table[1]) & ~REF_MASK;
    const _Atomic uint64_t *header = heap_at(heap, segment + heap_block_size(heap, segment)); /* of the next block */
    mp_list *things;

    assert_int_equal(mp_manager_list(manager, &things), 0);
    while (word_get(header) & 1) /* it is free */
        assert_int_equal(mp_list_append_str(things, "a string that does not lie in its cell"), 0);
}

static void what_is_moved_keeps_its_last_value(void **state)
{
    (void)state;
    put_something_behind();
    waits_for_the_stripe_of(0, append_until_moved);
    put_something_behind();
    waits_for_the_stripe_of(0, extend_until_moved);
    waits_for_the_stripe_of(0, delete_slice);
    waits_for_the_stripe_of(0, set_slice);
    waits_for_the_stripe_of(0, reverse);
}

static void sorting_is_by_the_last_value(void **state)
{
    (void)state;
    assert_int_equal(mp_list_delete(list, -1), 0);
    waits_for_the_stripe_of(0, sort);
}

static void what_takes_a_words_place_comes_after(void **state)
{
    (void)state;
    waits_for_the_stripe_of(0, put_by_negative_index);
    waits_for_the_stripe_of(0, swap);
    assert_int_equal(mp_list_set_int(list, 0, 1), 0);
    waits_for_the_stripe_of(0, put_a_string);
}

static void clearing_comes_after(void **state)
{
    (void)state;
    waits_for_the_stripe_of(0, clear);
}

static int reenter(const mp_value *a, const mp_value *b, void *arg)
{
    int *wrong = arg;

    (void)a;
    (void)b;
    if (mp_list_set_int(list, 0, 1) != MP_EDEADLK || mp_list_add_int(list, 0, 1, NULL) != MP_EDEADLK ||
        mp_list_compare_and_swap(list, 0, mp_value_int(0), mp_value_int(1)) != MP_EDEADLK ||
        mp_list_append_int(list, 1) != MP_EDEADLK)
        ++*wrong;
    return 0;
}

static void inside_a_function_it_is_still_a_deadlock(void **state)
{
    int wrong = 0;
    (void)state;

    stripe();
    assert_int_equal(mp_list_sort(list, reenter, &wrong, false), 0);
    assert_int_equal(wrong, 0);
}

/* ---- deaths, and dead lists ---- */

static int die_holding_a_stripe(void *arg)
{
    (void)arg;
    pthread_mutex_lock(stripe_for(0));
    raise(SIGKILL);
    return 1;
}

static void the_stripe_of_a_dead_holder_is_taken(void **state)
{
    int64_t now;
    (void)state;

    stripe();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(code_of(die_holding_a_stripe), -SIGKILL);
        assert_int_equal(i == 0 ? mp_list_set_int(list, 0, 5) : mp_list_delete(list, 4), 0);
    }
    assert_int_equal(mp_list_add_int(list, 0, 1, &now), 0);
    assert_int_equal(now, 6);
}

static int die_holding_all(void *arg)
{
    (void)arg;
    if (object_lock(list, OBJECT_LIST) != 0)
        return 1;
    raise(SIGKILL);
    return 1;
}

/* A dead process has noted the stripes that it held. Its successor must not count them as its own. */
static void the_successor_takes_stripes_of_its_own(void **state)
{
    struct cell *cell = list_cell(object(), 0);
    mp_process *process;
    (void)state;

    stripe();
    pthread_mutex_t *held = stripe_for(0);
    assert_int_equal(code_of(die_holding_all), -SIGKILL);
    assert_int_equal(pthread_mutex_lock(held), EOWNERDEAD);
    assert_int_equal(pthread_mutex_consistent(held), 0);
    assert_int_equal(mp_process_start(&process, copy_and_look, NULL, NULL), 0);
    assert_true(wait_until(somebody_holds_the_mutex, NULL, SECONDS));
    atomic_store(&cell->body, 99);
    assert_int_equal(pthread_mutex_unlock(held), 0);
    assert_int_equal(exit_code(process), 0);
}

/* The memory of a freed list is released only when no process is about to put a word there. */
static void freeing_comes_after(void **state)
{
    (void)state;
    stripe();
    pthread_mutex_t *held = stripe_for(0);
    assert_int_equal(pthread_mutex_lock(held), 0);
    assert_int_equal(mp_list_free(list), 0); /* does not wait */
    assert_int_not_equal(word_get(&object()->root[0]), 0);
    stripes_unguard(object(), held); /* the last process that leaves the dead list reclaims it */
    assert_int_equal(word_get(&object()->root[0]), 0);
}

static int die_while_changing(void *arg)
{
    (void)arg;
    if (object_lock(list, OBJECT_LIST) != 0)
        return 1;
    object_begin(object());
    object_set(object(), &list_cell(object(), 0)->body, 1000);
    raise(SIGKILL);
    return 1;
}

static void a_change_half_done_is_taken_back_first(void **state)
{
    int64_t now;
    (void)state;

    stripe();
    assert_int_equal(code_of(die_while_changing), -SIGKILL);
    assert_int_equal(mp_list_add_int(list, 0, 5, &now), 0);
    assert_int_equal(now, 5);
    assert_int_equal(word_get(&object()->version) % 2, 0);
}

static void the_next_list_in_its_place_has_none(void **state)
{
    mp_list *old = list;
    (void)state;

    stripe();
    assert_int_equal(mp_list_free(list), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    assert_ptr_equal(object_of(list), object_of(old));
    assert_false(is_striped());
    assert_int_equal(mp_list_append_int(list, 1), 0);
    stripe();
    assert_int_equal(mp_list_set_int(list, 0, 2), 0);
}

/* ---- stripes that arise by contention ---- */

#define WRITERS 4
#define ADDITIONS 50000

/* Moves elements around; the sum of all stays the same. */
static int move_about(int64_t own)
{
    mp_value value = mp_value_none();

    if (mp_list_append_int(list, 0) != 0 || mp_list_pop(list, -1, &value) != 0 ||
        mp_list_add_int(list, own, value.as.integer, NULL) != 0 || mp_list_insert(list, 0, mp_value_int(0)) != 0 ||
        mp_list_pop(list, 0, &value) != 0 || mp_list_add_int(list, own, value.as.integer, NULL) != 0 ||
        mp_list_insert(list, 7, mp_value_int(0)) != 0 || mp_list_pop(list, 7, &value) != 0 ||
        mp_list_add_int(list, own, value.as.integer, NULL) != 0)
        return 1;
    /* The element that is removed has this value at that moment. */
    int error = mp_list_get(list, 20, &value);
    if (error == 0)
        error = mp_list_remove(list, value);
    if (error != MP_EVALUE &&
        (error != 0 || mp_list_add_int(list, own, value.as.integer, NULL) != 0 || mp_list_append_int(list, 0) != 0))
        return 1;
    return own % 2 == 0 ? mp_list_reverse(list) : mp_list_sort(list, NULL, NULL, false);
}

/* Adds one, by get and compare-and-swap. */
static int add_one(int64_t index)
{
    int64_t value;
    int error;

    do {
        error = mp_list_get_int(list, index, &value);
        if (error == 0)
            error = mp_list_compare_and_swap(list, index, mp_value_int(value), mp_value_int(value + 1));
    } while (error == MP_ECHANGED);
    return error;
}

static int add_here_and_there(void *arg)
{
    int64_t own = *(int *)arg * 8;

    for (int i = 0; i < ADDITIONS; i++) {
        if (mp_list_add_int(list, own, 1, NULL) != 0 || add_one(5) != 0)
            return 1;
        if (i % 64 == 0 && move_about(own) != 0)
            return 2;
    }
    return 0;
}

/* Repeats rounds until the processes have met often enough. */
static void nothing_is_lost_while_stripes_come(void **state)
{
    mp_process *process[WRITERS];
    int number[WRITERS], rounds = 0;
    int64_t sum = 0;
    size_t length;
    (void)state;

    assert_int_equal(mp_list_delete(list, -1), 0);
    for (double end = now() + SECONDS; rounds < 2 || (!is_striped() && now() < end); rounds++) {
        for (int i = 0; i < WRITERS; i++) {
            number[i] = i;
            assert_int_equal(mp_process_start(&process[i], add_here_and_there, &number[i], NULL), 0);
        }
        for (int i = 0; i < WRITERS; i++)
            assert_int_equal(exit_code(process[i]), 0);
    }
    assert_int_equal(mp_list_length(list, &length), 0);
    assert_int_equal(length, INTEGERS);
    for (int i = 0; i < INTEGERS; i++)
        sum += integer_at(i);
    assert_int_equal(sum, INTEGERS * (INTEGERS - 1) / 2 + (int64_t)rounds * WRITERS * ADDITIONS * 2);
}

static int append_and_pop(void *arg)
{
    (void)arg;
    shared->about_to_put = getpid();
    while (!shared->enough) {
        if (mp_list_append_int(list, 1) != 0 || mp_list_pop(list, 0, NULL) != 0)
            return 1;
        shared->steps++;
    }
    return 0;
}

static int put(void *arg)
{
    (void)arg;
    shared->about_to_put = getpid();
    while (!shared->enough) {
        if (mp_list_set_int(list, 0, 1) != 0)
            return 1;
        shared->steps++;
    }
    return 0;
}

static bool the_other_has_gone_on(void *arg)
{
    return shared->steps != *(int64_t *)arg;
}

/* Makes the other process wait for the mutex often, unless the list gets stripes before. */
static void meet(mp_process_function *function)
{
    assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
    mp_process *process = start_to_put(function);
    for (int i = 0; i < 100 && !is_striped(); i++) {
        int64_t steps = shared->steps;

        object_unlock(object());
        assert_true(wait_until(the_other_has_gone_on, &steps, SECONDS));
        assert_int_equal(object_lock_alone(list, OBJECT_LIST), 0);
        if (!is_striped())
            assert_true(wait_until(the_other_sleeps, NULL, SECONDS));
    }
    object_unlock(object());
    shared->enough = true;
    assert_int_equal(exit_code(process), 0);
}

static void who_puts_and_waits_often_gets_stripes(void **state)
{
    (void)state;
    meet(put);
    assert_true(is_striped());
}

/* Calls that add and remove elements would only have more locks to take. */
static void who_adds_and_takes_away_gets_none(void **state)
{
    (void)state;
    meet(append_and_pop);
    assert_false(is_striped());
}

/* ---- reading ---- */

static int get_and_iterate(void *arg)
{
    mp_list_iter *iter;
    mp_value value;
    int64_t got;

    (void)arg;
    while (!shared->enough) {
        if (mp_list_get_int(list, 1, &got) != 0 || got != 7 || mp_list_iter_create(&iter, list) != 0)
            return 1;
        while (mp_list_next(iter, &value) == 0) {
            if (value.type != MP_INT || value.as.integer != 7)
                return 2;
        }
        if (mp_list_iter_free(iter) != 0)
            return 3;
    }
    return 0;
}

/* Cells move all the time, and cells of other lists take their former places. */
static void nothing_is_read_where_an_element_was(void **state)
{
    mp_process *process;
    mp_list *other;
    (void)state;

    assert_int_equal(mp_list_clear(list), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(mp_list_append_int(list, 7), 0);
    assert_int_equal(mp_manager_list(manager, &other), 0);
    assert_int_equal(mp_process_start(&process, get_and_iterate, NULL, NULL), 0);
    for (double end = now() + 1; now() < end;) {
        assert_int_equal(mp_list_reverse(list), 0);
        for (int i = 0; i < 20; i++)
            assert_int_equal(mp_list_append_int(other, -1), 0);
        assert_int_equal(mp_list_clear(other), 0);
    }
    shared->enough = true;
    assert_int_equal(exit_code(process), 0);
}

/* ---- removing what was found ---- */

#define MANY 2000
#define MARK 100 /* an index */

static int add_to_many(void *arg)
{
    (void)arg;
    for (int64_t i = 0; !shared->enough; i++) {
        if (mp_list_add_int(list, i % 2 == 0 ? MARK : i % MANY, 1, NULL) != 0)
            return 1;
        shared->steps++;
    }
    return 0;
}

/* Each remove takes away a -1, or finds none: even while other processes add to such elements. No addition to elements
 * that move is lost. */
static void what_is_removed_is_what_was_found(void **state)
{
    mp_process *process;
    int64_t sum = 0, marks = 0;
    size_t length;
    (void)state;

    assert_int_equal(mp_list_clear(list), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(mp_list_append_int(list, 0), 0);
    stripe();
    assert_int_equal(mp_process_start(&process, add_to_many, NULL, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(mp_list_insert(list, MARK, mp_value_int(-1)), 0);
        int error = mp_list_remove(list, mp_value_int(-1));
        assert_true(error == 0 || error == MP_EVALUE);
        marks += error != 0;
    }
    shared->enough = true;
    assert_int_equal(exit_code(process), 0);
    assert_int_equal(mp_list_length(list, &length), 0);
    assert_int_equal(length, MANY + marks);
    for (int64_t i = 0; i < (int64_t)length; i++)
        sum += integer_at(i);
    assert_int_equal(sum, shared->steps - marks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_are_put_while_another_holds_the_mutex),
        TEST(neighbours_share_a_stripe),
        TEST(long_lists_use_all_stripes),
        TEST(appending_needs_no_stripe),
        TEST(nothing_is_put_where_an_index_led),
        TEST(who_waited_for_the_mutex_takes_the_stripe),
        TEST(the_last_is_the_last_when_it_is_put),
        TEST(a_change_is_seen_when_it_is_whole),
        TEST(copies_are_of_one_moment),
        TEST(readers_do_not_wait_for_who_puts),
        TEST(what_is_popped_is_the_last_value),
        TEST(what_is_popped_from_the_end_is_the_last_value),
        TEST(what_is_popped_from_the_middle_is_the_last_value),
        TEST(inserting_before_comes_after),
        TEST(popping_before_comes_after),
        TEST(what_is_moved_keeps_its_last_value),
        TEST(sorting_is_by_the_last_value),
        TEST(what_takes_a_words_place_comes_after),
        TEST(clearing_comes_after),
        TEST(inside_a_function_it_is_still_a_deadlock),
        TEST(the_stripe_of_a_dead_holder_is_taken),
        TEST(the_successor_takes_stripes_of_its_own),
        TEST(freeing_comes_after),
        TEST(a_change_half_done_is_taken_back_first),
        TEST(the_next_list_in_its_place_has_none),
        TEST(nothing_is_lost_while_stripes_come),
        TEST(who_puts_and_waits_often_gets_stripes),
        TEST(who_adds_and_takes_away_gets_none),
        TEST(nothing_is_read_where_an_element_was),
        TEST(what_is_removed_is_what_was_found),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
