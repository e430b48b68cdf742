/* Lists of more than one segment: how they grow and shrink at both ends, and that operations are right at the borders
 * of segments. */
#include <mp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "list/list_table.h"
#include "manager_fixture.h"
#include "support.h"

#define S ((int64_t)SEGMENT)
#define SECONDS 60.0

static struct object *object(void)
{
    return object_of(list);
}

static int64_t length(void)
{
    size_t count;

    assert_int_equal(mp_list_length(list, &count), 0);
    return (int64_t)count;
}

static int64_t at(int64_t index)
{
    int64_t value = -1;

    assert_int_equal(mp_list_get_int(list, index, &value), 0);
    return value;
}

static void append(int64_t from, int64_t to)
{
    for (; from < to; from++)
        assert_int_equal(mp_list_append_int(list, from), 0);
}

/* Puts numbers in front, so that the first is `from` afterwards. */
static void prepend(int64_t from, int64_t to)
{
    while (to-- > from)
        assert_int_equal(mp_list_insert(list, 0, mp_value_int(to)), 0);
}

static void pop(int64_t index, int64_t expected)
{
    mp_value value;

    assert_int_equal(mp_list_pop(list, index, &value), 0);
    assert_int_equal(value.type, MP_INT);
    assert_int_equal(value.as.integer, expected);
}

/* Checks that the list holds from .. to - 1, read in every way, and that the heap is sound. */
static void expect_range(int64_t from, int64_t to)
{
    mp_list_iter *iter;
    mp_value value;

    assert_int_equal(length(), to - from);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    for (int64_t i = from; i < to; i++) {
        assert_int_equal(at(i - from), i);
        assert_int_equal(at(i - to), i);
        assert_int_equal(mp_list_next(iter, &value), 0);
        assert_int_equal(value.as.integer, i);
    }
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP);
    assert_int_equal(mp_list_iter_free(iter), 0);
    assert_int_equal(mp_manager_check(manager), 0);
}

/* ---- growing ---- */

/* No cell is copied, so no call has to wait for that. */
static void growing_moves_no_cell(void **state)
{
    (void)state;
    append(0, S);
    const struct cell *first = list_cell(object(), 0), *last = list_cell(object(), SEGMENT - 1);
    append(S, 100 * S + 1);
    prepend(-50 * S - 1, 0);
    assert_ptr_equal(list_cell(object(), 50 * SEGMENT + 1), first);
    assert_ptr_equal(list_cell(object(), 51 * SEGMENT), last);
    expect_range(-50 * S - 1, 100 * S + 1);
}

static void long_lists_take_little_more_than_their_cells(void **state)
{
    size_t before = used();
    (void)state;

    append(0, 20 * S);
    assert_in_range(used() - before, 20 * S * 16, 20 * S * 18);
    expect_range(0, 20 * S);
}

static void what_is_put_in_front_is_in_front(void **state)
{
    (void)state;
    append(0, 3);
    for (int64_t i = 1; i <= 3 * S; i++) {
        prepend(-i, 1 - i);
        if (i < 40 || i % 512 < 2)
            expect_range(-i, 3);
    }
}

static void both_ends_grow_by_turns(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 3 * S; i++) {
        append(i, i + 1);
        prepend(-i - 1, -i);
        if (i < 40 || i % 512 < 2)
            expect_range(-i - 1, i + 1);
    }
}

static void many_are_put_behind_across_segments(void **state)
{
    mp_value *values = calloc(5000, sizeof *values);
    const size_t counts[] = {0, 1, 7, 1000, 1015, 1024, 1, 1023, 2048, 4999};
    int64_t total = 0;
    (void)state;

    for (size_t i = 0; i < COUNT(counts); i++) {
        for (size_t j = 0; j < counts[i]; j++)
            values[j] = mp_value_int(total + (int64_t)j);
        assert_int_equal(mp_list_extend_values(list, values, counts[i]), 0);
        total += (int64_t)counts[i];
        expect_range(0, total);
    }
    free(values);
}

static void a_failure_to_grow_changes_nothing(void **state)
{
    mp_manager_options options = {.limit = (size_t)4 << 20};
    mp_value value;
    (void)state;

    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_create(&manager, &options), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    append(0, 2 * S);
    size_t before = used();
    mp_value *values = calloc(1000000, sizeof *values);
    assert_int_equal(mp_list_extend_values(list, values, 200000), MP_ENOMEM);
    assert_int_equal(mp_list_extend_values(list, values, 1000000), MP_ENOMEM);
    free(values);
    /* The directory may have grown, and a segment is kept for the next time. */
    assert_in_range(used(), before, before + SEGMENT * 18 + 8192);
    expect_range(0, 2 * S);
    int64_t count = 2 * S;
    while (mp_list_append_int(list, count) == 0)
        count++;
    assert_true(count > 100 * S);
    expect_range(0, count);
    assert_int_equal(mp_list_pop(list, 0, &value), 0);
    for (int64_t i = 1; i < 2 * S; i++)
        pop(0, i);
    append(count, count + S / 2); /* in memory freed by the first elements */
    expect_range(2 * S, count + S / 2);
}

static void failing_in_front_changes_nothing(void **state)
{
    mp_manager_options options = {.limit = (size_t)2 << 20};
    int64_t count = 0;
    (void)state;

    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_create(&manager, &options), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    while (mp_list_insert(list, 0, mp_value_int(-count - 1)) == 0)
        count++;
    assert_true(count > 50 * S);
    expect_range(-count, 0);
}

/* The memory limit leaves room for the copy itself, and for about as much again. */
static void a_copy_needs_no_room_for_an_undo_log(void **state)
{
    mp_manager_options options = {.limit = (size_t)6 << 20};
    mp_list *copy;
    (void)state;

    assert_int_equal(mp_manager_free(manager), 0);
    assert_int_equal(mp_manager_create(&manager, &options), 0);
    assert_int_equal(mp_manager_list(manager, &list), 0);
    append(0, 80 * S);
    size_t before = used();
    assert_int_equal(mp_list_copy(list, &copy), 0);
    assert_in_range(used() - before, 80 * S * 16, 80 * S * 18);
    assert_int_equal(mp_list_free(list), 0);
    list = copy;
    expect_range(0, 80 * S);
}

/* ---- shrinking ---- */

static void popping_gives_segments_back(void **state)
{
    size_t before = used();
    (void)state;

    for (int end = 0; end >= -1; end--) {
        append(0, 50 * S);
        for (int64_t i = 0; i < 48 * S; i++)
            pop(end, end == 0 ? i : 50 * S - 1 - i);
        assert_true(used() - before < 5 * SEGMENT * 18); /* two segments, and one at either end */
        if (end == 0)
            expect_range(48 * S, 50 * S);
        else
            expect_range(0, 2 * S);
        for (int64_t i = 0; i < 2 * S; i++)
            pop(end, end == 0 ? 48 * S + i : 2 * S - 1 - i);
        assert_true(used() - before < 2000);
        expect_range(0, 0);
    }
}

/* A queue takes memory for its length only, however many elements have gone through it. */
static void a_queue_stays_small(void **state)
{
    const int64_t lengths[] = {1, 9, 100, S - 1, S, S + 1, 3 * S};
    size_t before = used();
    (void)state;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        append(0, lengths[i]);
        for (int64_t j = 0; j < 40 * S; j++) {
            append(lengths[i] + j, lengths[i] + j + 1);
            pop(0, j);
            assert_true(used() - before < (size_t)(lengths[i] + 5 * S) * 18);
        }
        expect_range(40 * S, 40 * S + lengths[i]);
        assert_int_equal(mp_list_clear(list), 0);
        assert_int_equal(used(), before);
    }
}

/* Like a_queue_stays_small(), in the other direction. */
static void a_queue_backwards_stays_small(void **state)
{
    const int64_t lengths[] = {1, 9, 100, S - 1, S, S + 1, 3 * S};
    size_t before = used();
    (void)state;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        append(0, lengths[i]);
        for (int64_t j = 1; j <= 40 * S; j++) {
            prepend(-j, 1 - j);
            pop(-1, lengths[i] - j);
            assert_true(used() - before < (size_t)(lengths[i] + 5 * S) * 18);
        }
        expect_range(-40 * S, lengths[i] - 40 * S);
        assert_int_equal(mp_list_clear(list), 0);
        assert_int_equal(used(), before);
    }
}

/* Adding and removing at the border of a segment does not allocate and free a segment each time. */
static void no_segment_comes_and_goes(void **state)
{
    (void)state;
    append(0, 4 * S);
    for (int64_t i = 0; i < 2 * S; i++)
        pop(0, i);
    for (int end = 0; end < 2; end++) {
        append(4 * S, 4 * S + 1);
        prepend(2 * S - 1, 2 * S);
        size_t before = used();
        for (int i = 0; i < 100; i++) {
            pop(-1, 4 * S);
            pop(0, 2 * S - 1);
            append(4 * S, 4 * S + 1);
            prepend(2 * S - 1, 2 * S);
            assert_int_equal(used(), before);
        }
        pop(-1, 4 * S);
        pop(0, 2 * S - 1);
    }
    expect_range(2 * S, 4 * S);
}

/* ---- back and forth ---- */

static int64_t moved; /* cells moved by all steps */

/* One step at an end. Counts the cells that it moves, by looking at the cell of the middle element. (Its index changes
 * if an element is put in front.) */
static void step(bool front, bool add)
{
    uint64_t in = (uint64_t)length() / 2, shift = front ? (add ? 1 : UINT64_MAX) : 0;
    const struct cell *cell = list_cell(object(), in);

    if (add)
        assert_int_equal(mp_list_insert(list, front ? 0 : length(), mp_value_int(0)), 0);
    else
        assert_int_equal(mp_list_delete(list, front ? 0 : -1), 0);
    if (list_cell(object(), in + shift) != cell)
        moved += length();
}

/* Makes a list of that length in one of three ways, which leave different room around it. */
static void reach(int64_t count, int way)
{
    assert_int_equal(mp_list_clear(list), 0);
    if (way == 0)
        append(0, count);
    else if (way == 1)
        prepend(0, count);
    else
        append(0, 4 * count);
    while (length() > count)
        assert_int_equal(mp_list_delete(list, -1), 0);
}

/* Whatever the length of a list, and however it got it, a step moves only a few cells. */
static void steps_move_few_cells(void **state)
{
    const int64_t steps = 256;
    (void)state;

    for (int64_t count = 3; count < 2 * S + 20; count += count < S + 20 || count > 2 * S - 20 ? 1 : 37) {
        for (int way = 0; way < 3; way++) {
            for (int ends = 0; ends < 4; ends++) {
                bool from_front = ends & 1, to_front = ends & 2;

                reach(count, way);
                moved = 0;
                for (int64_t i = 0; i < steps; i++) {
                    step(to_front, true);
                    step(from_front, false);
                }
                if (from_front == to_front && moved > 2 * count)
                    fail_msg("%lld elements, to and fro at one end: %lld cells moved", (long long)count,
                             (long long)moved);
                if (moved > 2 * count + 4 * steps)
                    fail_msg("%lld elements, passing through: %lld cells moved", (long long)count, (long long)moved);
            }
        }
    }
}

/* ---- slices at the ends ---- */

/* The rest does not move, however long it is, and unused segments are freed. */
static void slices_at_the_ends_move_no_cell(void **state)
{
    const int64_t counts[] = {1, 2, 14, 15, 1000, 3 * S, 1, 5, 2 * S + 5, S - 6};
    int64_t from = 0, to = 60 * S;
    size_t before = used();
    (void)state;

    append(from, to);
    for (size_t i = 0; i < COUNT(counts); i++) {
        const struct cell *cell = list_cell(object(), (uint64_t)counts[i]);

        assert_int_equal(mp_list_delete_slice(list, MP_BEGIN, counts[i], 1), 0);
        from += counts[i];
        assert_ptr_equal(list_cell(object(), 0), cell);
        assert_int_equal(mp_list_delete_slice(list, MP_END, -counts[i] - 1, -1), 0);
        to -= counts[i];
        assert_ptr_equal(list_cell(object(), 0), cell);
        expect_range(from, to);
        assert_true(used() - before < (size_t)(to - from + 4 * S) * 18);
    }
    const struct cell *cell = list_cell(object(), 0);
    mp_list *more;
    assert_int_equal(mp_list_slice(list, 0, 0, 1, &more), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(mp_list_append_int(more, to + i), 0);
    assert_int_equal(mp_list_set_slice(list, MP_END, MP_END, 1, more), 0);
    assert_int_equal(mp_list_free(more), 0);
    assert_ptr_equal(list_cell(object(), 0), cell);
    expect_range(from, to + 20);
}

static void slices_at_the_ends_give_back_what_they_held(void **state)
{
    mp_list *inner;
    (void)state;

    assert_int_equal(mp_manager_list(manager, &inner), 0);
    size_t before = used();
    append(0, 100);
    for (int end = 0; end < 2; end++) {
        for (int i = 0; i < 20; i++) {
            mp_value value = i % 2 == 0 ? mp_value_list(inner) : mp_value_str("a string in a block of its own");

            assert_int_equal(mp_list_insert(list, end == 0 ? 0 : INT64_MAX, value), 0);
        }
        assert_int_equal(mp_list_delete_slice(list, end == 0 ? 0 : -20, end == 0 ? 20 : MP_END, 1), 0);
        expect_range(0, 100);
    }
    assert_int_equal(mp_list_clear(list), 0);
    assert_int_equal(used(), before);
    assert_int_equal(mp_list_free(inner), 0);
    assert_int_equal(mp_list_length(inner, &(size_t){0}), MP_EINVAL);
}

/* ---- all operations, compared with an array ---- */

struct model {
    int64_t value[8 * SEGMENT];
    int64_t count;
};

static void model_insert(struct model *model, int64_t index, int64_t value)
{
    memmove(&model->value[index + 1], &model->value[index], (size_t)(model->count - index) * sizeof value);
    model->value[index] = value;
    model->count++;
}

static void model_delete(struct model *model, int64_t index, int64_t count)
{
    model->count -= count;
    memmove(&model->value[index], &model->value[index + count], (size_t)(model->count - index) * sizeof(int64_t));
}

static void expect_model(const struct model *model)
{
    mp_list_iter *iter;
    mp_value value;

    assert_int_equal(length(), model->count);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    for (int64_t i = 0; i < model->count; i++) {
        assert_int_equal(at(i), model->value[i]);
        assert_int_equal(mp_list_next(iter, &value), 0);
        assert_int_equal(value.as.integer, model->value[i]);
    }
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP);
    assert_int_equal(mp_list_iter_free(iter), 0);
    assert_int_equal(mp_manager_check(manager), 0);
}

/* Up to `count` times the same operation at one end. */
static void work_at_an_end(struct model *model, int what, int64_t count)
{
    static int64_t next;

    for (; count > 0; count--) {
        if (what % 2 == 0 && model->count < 6 * S) {
            int64_t index = what == 0 ? 0 : model->count;

            assert_int_equal(mp_list_insert(list, index, mp_value_int(++next)), 0);
            model_insert(model, index, next);
        } else if (what % 2 == 1 && model->count > 0) {
            int64_t index = what == 1 ? 0 : model->count - 1;

            pop(index, model->value[index]);
            model_delete(model, index, 1);
        }
    }
}

static void work_inside(struct model *model, int what, int64_t index, int64_t count)
{
    mp_value value = mp_value_int(-index);

    if (index + count > model->count)
        count = model->count - index;
    switch (what) {
    case 0:
        assert_int_equal(mp_list_insert(list, index, value), 0);
        model_insert(model, index, -index);
        break;
    case 1:
        assert_int_equal(mp_list_delete_slice(list, index, index + count, 1), 0);
        model_delete(model, index, count);
        break;
    case 2:
        assert_int_equal(mp_list_reverse(list), 0);
        for (int64_t i = 0; i < model->count / 2; i++) {
            int64_t other = model->value[i];
            model->value[i] = model->value[model->count - 1 - i];
            model->value[model->count - 1 - i] = other;
        }
        break;
    default:
        for (int64_t i = index; i < index + count; i++) {
            assert_int_equal(mp_list_set_int(list, i, i), 0);
            model->value[i] = i;
        }
    }
}

static void does_what_an_array_does(void **state)
{
    struct model *model = calloc(1, sizeof *model);
    unsigned long long random = 12345;
    (void)state;

    assert_non_null(model);
    for (int i = 0; i < 600; i++) {
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        int64_t count = (int64_t)(random >> 33) % (i % 3 == 0 ? 2 * S : 20), where = (int64_t)(random >> 20) % 100000;
        int what = (int)(random >> 60) % 16;

        if (what < 12)
            work_at_an_end(model, what % 4, count);
        else if (model->count > 0)
            work_inside(model, what - 12, where % model->count, count);
        if (i % 4 == 0)
            expect_model(model);
    }
    expect_model(model);
    free(model);
}

/* ---- readers and iterators ---- */

static void an_iterator_goes_on_through_all_changes(void **state)
{
    mp_list_iter *iter;
    mp_value value;
    (void)state;

    append(0, 2 * S);
    assert_int_equal(mp_list_iter_create(&iter, list), 0);
    for (int64_t i = 0; i < 10 * S; i++) {
        assert_int_equal(mp_list_next(iter, &value), 0);
        assert_int_equal(value.as.integer, i);
        if (i < 9 * S - 1) /* up to there, the list grows as fast as the iterator goes */
            append(2 * S + i, 2 * S + i + 1);
        if (i == 9 * S)
            append(11 * S - 1, 12 * S);
    }
    pop(0, 0); /* the iterator goes by index, so it skips one element */
    assert_int_equal(mp_list_next(iter, &value), 0);
    assert_int_equal(value.as.integer, 10 * S + 1);
    assert_int_equal(mp_list_clear(list), 0);
    assert_int_equal(mp_list_next(iter, &value), MP_ESTOP);
    assert_int_equal(mp_list_iter_free(iter), 0);
}

static void expect_success(mp_process *process)
{
    int code;

    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_exitcode(process, &code), 0);
    assert_int_equal(code, 0);
    assert_int_equal(mp_process_free(process), 0);
}

/* A queue of consecutive integers: a reader must see them consecutive at any moment. */
static int read_always(void *arg)
{
    (void)arg;
    for (int64_t last = -1; last < 60 * S;) {
        int64_t first = 0;
        int error = mp_list_get_int(list, 0, &first);

        if (error != 0 || first < last)
            return 1;
        last = first;
        for (int64_t i = 1; i < 2 * S; i += 300) {
            int64_t value = 0;

            if (mp_list_get_int(list, i, &value) != 0 || value < first + i)
                return 2;
        }
    }
    return 0;
}

static void readers_see_a_whole_queue(void **state)
{
    mp_process *reader[2];
    (void)state;

    append(0, 2 * S + 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_process_start(&reader[i], read_always, NULL, NULL), 0);
    for (int64_t i = 0; i < 61 * S; i++) {
        append(2 * S + 1 + i, 2 * S + 2 + i);
        pop(0, i);
    }
    for (int i = 0; i < 2; i++) {
        expect_success(reader[i]);
    }
}

static int put_in_one_place(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100000; i++) {
        if (mp_list_add_int(list, 10, 1, NULL) != 0)
            return 1;
    }
    return 0;
}

/* A value that is put into a cell is not lost while the list grows at its end and its directory is exchanged. */
static void what_is_put_meanwhile_is_there(void **state)
{
    mp_process *putter[2];
    (void)state;

    append(0, 20);
    assert_int_equal(object_lock(list, OBJECT_LIST), 0);
    stripes_make(object());
    object_unlock(object());
    for (int i = 0; i < 2; i++)
        assert_int_equal(mp_process_start(&putter[i], put_in_one_place, NULL, NULL), 0);
    append(20, 60 * S);
    for (int i = 0; i < 2; i++) {
        expect_success(putter[i]);
    }
    assert_int_equal(at(10), 10 + 2 * 100000);
    assert_int_equal(mp_list_set_int(list, 10, 10), 0);
    expect_range(0, 60 * S);
}

/* ---- stripes ---- */

static pthread_mutex_t *stripe_for(int64_t index)
{
    struct list_place place = {NULL, 0};

    assert_int_equal(list_find(object(), index, &place), 0);
    return stripe_of(object(), list_stripe(object(), &place));
}

/* A process that only appends takes no stripe. So a process that holds a stripe must be sure that it stays that of its
 * cell. */
static void a_cell_keeps_its_stripe(void **state)
{
    pthread_mutex_t *stripes[20];
    int64_t gone = 3 * S + 5;
    (void)state;

    append(0, 6 * S);
    for (int64_t i = 0; i < gone; i++)
        pop(0, i);
    assert_int_equal(object_lock(list, OBJECT_LIST), 0);
    stripes_make(object());
    object_unlock(object());
    for (int i = 0; i < 20; i++)
        stripes[i] = stripe_for(i * 97);
    uint64_t start = word_get(&object()->word[LIST_START]);
    append(6 * S, 30 * S);
    assert_true(word_get(&object()->word[LIST_START]) < start); /* its index shrank: the directory moved */
    for (int i = 0; i < 20; i++)
        assert_ptr_equal(stripes[i], stripe_for(i * 97));
    expect_range(gone, 30 * S);
}

/* ---- what the checker finds ---- */

static _Atomic uint64_t *directory(void)
{
    return heap_at(object_heap(object()), word_get(&object()->root[0]) & ~REF_MASK);
}

/* Changes a word, checks that the checker finds it, and restores it. */
static void expect_found(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t was = atomic_exchange(word, value);

    assert_int_equal(mp_manager_check(manager), MP_ECORRUPT);
    atomic_store(word, was);
    assert_int_equal(mp_manager_check(manager), 0);
}

static void damage_is_found(void **state)
{
    (void)state;
    append(0, 4 * S + 3);
    for (int64_t i = 0; i < 2 * S + 7; i++)
        pop(0, i);
    _Atomic uint64_t *table = directory(), *start = &object()->word[LIST_START];
    struct heap *heap = object_heap(object());
    assert_int_equal(table[0], 5);
    assert_int_equal(table[1], 0); /* the segment is missing */
    assert_int_equal(*start, 2 * SEGMENT + 7);

    expect_found(start, SEGMENT - 1);     /* lies in the missing segment */
    expect_found(start, 5 * SEGMENT + 1); /* behind the last segment */
    expect_found(start, UINT64_MAX);
    expect_found(&object()->word[LIST_LENGTH], 3 * SEGMENT - 6);
    expect_found(&object()->word[LIST_LENGTH], UINT64_MAX - 2 * SEGMENT);
    expect_found(&table[3], 0);
    expect_found(&table[5], 0);
    expect_found(&table[0], 4);
    expect_found(&table[3], table[3] & ~REF_MASK);
    expect_found(&table[3], table[4]);
    expect_found((_Atomic uint64_t *)heap_at(heap, table[3] & ~REF_MASK), SEGMENT - 1);
    expect_found(&object()->root[0], (object()->root[0] & ~REF_MASK) | REF_TABLE_SHALLOW);
    expect_found(&object()->root[1], object()->root[0]);
    expect_found(&list_cell(object(), 5)->head, 99);
    expect_found(&list_cell_at(heap, object()->root[0], 2 * SEGMENT)->head, CELL_OWNS | MP_STR);
    expect_range(2 * S + 7, 4 * S + 3);
}

/* No operation is in progress. A pending reference would be taken for one that the next operation has put there. */
static void what_nobody_has_pending_is_found(void **state)
{
    mp_list *other;
    (void)state;

    append(0, 3);
    assert_int_equal(mp_manager_list(manager, &other), 0);
    assert_int_equal(mp_list_append_list(list, other), 0);
    struct cell *cell = list_cell(object(), 3);
    uint64_t share = word_get(&cell->body), head = word_get(&cell->head);
    for (int i = 0; i < OBJECT_PENDING; i++) {
        cell->head = MP_INT;
        object()->pending[i] = share;
        assert_int_equal(mp_manager_check(manager), MP_ECORRUPT);
        object()->pending[i] = 0;
        cell->head = head;
        assert_int_equal(mp_manager_check(manager), 0);
    }
    assert_int_equal(mp_list_free(other), 0);
}

/* ---- changes that a dead process has left half done ---- */

static int leave_removal(int64_t first, int64_t step, int64_t count)
{
    int error = list_lock(list, NULL);

    if (error == 0)
        error = list_move_gap(object(), (uint64_t)first);
    if (error != 0)
        return error;
    object_begin(object());
    list_cut_begin(object(), (uint64_t)first, (uint64_t)step, (uint64_t)count);
    object_set(object(), &object()->word[LIST_LENGTH], (uint64_t)(length() - count));
    object_commit(object());
    object_unlock(object());
    return 0;
}

static int leave_reversal(void)
{
    int error = list_lock(list, NULL);

    if (error != 0)
        return error;
    object_begin(object());
    object_set(object(), &object()->word[LIST_GAP], 1);
    object_set(object(), &object()->word[LIST_STEP], LIST_TURN);
    object_commit(object());
    object_unlock(object());
    return 0;
}

/* What is done to a list `l`; `few` and `many` are other lists. */
#define CHANGES \
    CHANGE(append, mp_list_append_int(l, -1)) \
    CHANGE(append_value, mp_list_append(l, mp_value_int(-1))) \
    CHANGE(extend, mp_list_extend(l, few)) \
    CHANGE(extend_by_many, mp_list_extend(l, many)) \
    CHANGE(extend_by_itself, mp_list_extend(l, l)) \
    CHANGE(extend_values, mp_list_extend_values(l, (const mp_value[]){mp_value_int(-1), mp_value_int(-2)}, 2)) \
    CHANGE(insert_first, mp_list_insert(l, 0, mp_value_int(-1))) \
    CHANGE(insert, mp_list_insert(l, 20, mp_value_int(-1))) \
    CHANGE(insert_last, mp_list_insert(l, INT64_MAX, mp_value_int(-1))) \
    CHANGE(set, mp_list_set(l, 15, mp_value_int(-1))) \
    CHANGE(set_int, mp_list_set_int(l, -15, -1)) \
    CHANGE(set_string, mp_list_set_str(l, 40, "longer than what fits into a cell")) \
    CHANGE(add, mp_list_add_int(l, 25, 1000, NULL)) \
    CHANGE(swap, mp_list_compare_and_swap(l, 3, mp_value_int(-9), mp_value_int(1)) == MP_ECHANGED ? 0 : -1) \
    CHANGE(delete, mp_list_delete(l, 12)) \
    CHANGE(delete_first, mp_list_delete(l, 0)) \
    CHANGE(pop, mp_list_pop(l, -1, &popped)) \
    CHANGE(pop_first, mp_list_pop(l, 0, &popped)) \
    CHANGE(remove, mp_list_remove(l, mp_value_int(50))) \
    CHANGE(reverse, mp_list_reverse(l)) \
    CHANGE(sort, mp_list_sort(l, NULL, NULL, true)) \
    CHANGE(clear, mp_list_clear(l)) \
    CHANGE(set_slice, mp_list_set_slice(l, 10, 30, 1, few)) \
    CHANGE(set_all, mp_list_set_slice(l, 0, MP_END, 1, many)) \
    CHANGE(set_end, mp_list_set_slice(l, MP_END, MP_END, 1, few)) \
    CHANGE(delete_slice, mp_list_delete_slice(l, 5, 60, 2)) \
    CHANGE(delete_end, mp_list_delete_slice(l, -20, MP_END, 1)) \
    CHANGE(nothing, 0)

static const char *const change_names[] = {
#define CHANGE(name, expression) #name,
    CHANGES
#undef CHANGE
};

static int change(size_t which, mp_list *l, mp_list *few, mp_list *many)
{
    mp_value popped = mp_value_none();
    int error = -1;

    enum {
#define CHANGE(name, expression) DO_##name,
        CHANGES
#undef CHANGE
    };
    switch (which) {
#define CHANGE(name, expression) \
    case DO_##name: \
        error = (expression); \
        break;
        CHANGES
#undef CHANGE
    }
    mp_value_free(&popped);
    return error;
}

static const struct {
    int64_t first, step, count; /* of a removal; step 0: a reversal */
} half_done[] = {{0, 0, 0}, {10, 1, 30}, {10, 3, 20}, {0, 2, 25}};

/* The list of `most` numbers, as it is once the change is whole. */
static void make_model(mp_list *model, size_t how, int64_t most)
{
    int64_t first = half_done[how].first, step = half_done[how].step, count = half_done[how].count;

    for (int64_t i = 0; i < most; i++) {
        bool removed = step > 0 && i >= first && (i - first) % step == 0 && (i - first) / step < count;

        if (!removed)
            assert_int_equal(mp_list_append_int(model, step > 0 ? i : most - 1 - i), 0);
    }
}

static void change_half_done(size_t how, size_t which, int64_t most)
{
    mp_list *lists[3];
    bool equal = false;

    for (size_t i = 0; i < COUNT(lists); i++)
        assert_int_equal(mp_manager_list(manager, &lists[i]), 0);
    mp_list *model = lists[0], *few = lists[1], *many = lists[2];
    for (int64_t i = 0; i < S + 10; i++)
        assert_int_equal((i < 5 ? mp_list_append_int(few, -100 - i) : 0) | mp_list_append_int(many, -200 - i), 0);
    append(0, most);
    make_model(model, how, most);
    if (half_done[how].step == 0)
        assert_int_equal(leave_reversal(), 0);
    else
        assert_int_equal(leave_removal(half_done[how].first, half_done[how].step, half_done[how].count), 0);
    assert_int_equal(mp_list_equal(list, model, &equal), 0);
    assert_true(equal);
    assert_int_equal(change(which, model, few, many), 0);
    assert_int_equal(change(which, list, few, many), 0);
    assert_int_equal(mp_list_equal(list, model, &equal), 0);
    if (!equal)
        fail_msg("%s after half a change of kind %zu, of %lld elements", change_names[which], how, (long long)most);
    for (size_t i = 0; i < COUNT(lists); i++)
        assert_int_equal(mp_list_free(lists[i]), 0);
}

static void every_change_first_finishes_what_was_begun(void **state)
{
    const int64_t lengths[] = {100, S - 1, 3 * S};

    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (size_t how = 0; how < COUNT(half_done); how++) {
            for (size_t which = 0; which < COUNT(change_names); which++) {
                change_half_done(how, which, lengths[i]);
                assert_int_equal(drop_manager(state), 0);
                assert_int_equal(make_manager(state), 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MANAGED(growing_moves_no_cell),
        MANAGED(long_lists_take_little_more_than_their_cells),
        MANAGED(what_is_put_in_front_is_in_front),
        MANAGED(both_ends_grow_by_turns),
        MANAGED(many_are_put_behind_across_segments),
        MANAGED(a_failure_to_grow_changes_nothing),
        MANAGED(failing_in_front_changes_nothing),
        MANAGED(a_copy_needs_no_room_for_an_undo_log),
        MANAGED(popping_gives_segments_back),
        MANAGED(a_queue_stays_small),
        MANAGED(a_queue_backwards_stays_small),
        MANAGED(no_segment_comes_and_goes),
        MANAGED(steps_move_few_cells),
        MANAGED(slices_at_the_ends_move_no_cell),
        MANAGED(slices_at_the_ends_give_back_what_they_held),
        MANAGED(does_what_an_array_does),
        MANAGED(an_iterator_goes_on_through_all_changes),
        MANAGED(readers_see_a_whole_queue),
        MANAGED(what_is_put_meanwhile_is_there),
        MANAGED(a_cell_keeps_its_stripe),
        MANAGED(every_change_first_finishes_what_was_begun),
        MANAGED(damage_is_found),
        MANAGED(what_nobody_has_pending_is_found),
    };

    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
