/* Operations on lists whose process is killed. */
#include "containers.h"
#include "object/object_lock.h"
#include "object/segments.h"

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&containers_scene, operation, plan, tally);
}

/* ---- preparations ---- */

static void some(void)
{
    OK(mp_list_append_int(scene.list, 3));
    OK(mp_list_append_str(scene.list, text_of(5)));
    OK(mp_list_append_str(scene.list, text_of(50)));
    OK(mp_list_append_float(scene.list, 0.5));
    OK(mp_list_append_dict(scene.list, scene.other));
    OK(mp_list_append_bytes(scene.list, text_of(40), 40));
    OK(mp_dict_free(scene.other));
}

static void eight(void)
{
    some();
    OK(mp_list_append_none(scene.list));
    OK(mp_list_append_bool(scene.list, true));
}

/* Like eight(), but another block lies behind the list's segment, which therefore cannot grow in place. */
static void eight_beside(void)
{
    eight();
    OK(mp_list_append_str(scene.more, text_of(100)));
}

static void with_more(void)
{
    some();
    OK(mp_list_append_str(scene.more, text_of(60)));
    OK(mp_list_append_list(scene.more, scene.list));
    OK(mp_list_append_int(scene.more, 9));
}

/* A quarter of the positions is in use. With one element less, the list moves to smaller segments. */
static void about_to_shrink(void)
{
    const struct object *list = object_of(scene.list);
    size_t length = 100;

    for (int i = 0; i < 100; i++)
        OK(mp_list_append_int(scene.list, i));
    for (; length > segments_capacity(list) / 4; length--)
        OK(mp_list_delete(scene.list, -1));
}

static void numbers(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        OK(mp_list_append_int(scene.list, (int64_t)i));
}

static void delete_some(int64_t index, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        OK(mp_list_delete(scene.list, index));
}

static void full_segment(void)
{
    numbers(SEGMENT);
}

static void nearly_full_segment(void)
{
    numbers(SEGMENT - 2);
}

/* All positions are in use, and all places in the directory. */
static void full_directory(void)
{
    const struct object *list = object_of(scene.list);
    const struct heap *heap = object_heap(list);

    do {
        numbers(SEGMENT);
    } while (1 + segments_capacity(list) / SEGMENT <
             heap_block_size(heap, atomic_load(&list->root[0]) & ~REF_MASK) / 8);
}

/* Like full_directory(), but the first segments are missing. */
static void full_directory_with_gap(void)
{
    full_directory();
    delete_some(0, 3 * SEGMENT + 5);
}

/* One element less at that end frees a segment. */
static void two_segments_before(void)
{
    numbers(4 * SEGMENT);
    delete_some(0, 2 * SEGMENT - 1);
}

static void two_segments_behind(void)
{
    numbers(2 * SEGMENT + 1);
    delete_some(-1, SEGMENT);
}

static void segments_about_to_shrink(void)
{
    numbers(SEGMENT + 1);
    delete_some(-1, SEGMENT + 1 - SEGMENT / 4);
}

/* The segment before the first element is missing, but the directory has a place for it. */
static void gap_before_first(void)
{
    numbers(4 * SEGMENT);
    delete_some(0, 3 * SEGMENT);
    for (uint64_t i = 0; i < SEGMENT; i++)
        OK(mp_list_insert(scene.list, 0, mp_value_int(0)));
}

static void more_than_a_segment(void)
{
    numbers(SEGMENT + 1);
}

static void words(void)
{
    for (size_t i = 0; i < 40; i++)
        OK(mp_list_append_str(scene.list, text_of(i * 7 % 40)));
}

/* list[4] is a list of lists without any other holder. */
static void nested(void)
{
    some();
    for (int i = 0; i < 3; i++) {
        mp_list *outer;

        OK(mp_manager_list(scene.manager, &outer));
        OK(mp_list_append_str(outer, text_of(30)));
        OK(mp_list_append_list(outer, scene.more));
        OK(mp_list_free(scene.more));
        scene.more = outer;
    }
    OK(mp_list_append_list(scene.list, scene.more));
    OK(mp_list_free(scene.more));
}

/* ---- operations ---- */

#define APPEND(name_, value_) \
    static void append_##name_(void) \
    { \
        OK(mp_list_append(scene.list, value_)); \
    }
#define SET(name_, index_, value_) \
    static void set_##name_(void) \
    { \
        OK(mp_list_set(scene.list, index_, value_)); \
    }
#define INSERT(name_, index_) \
    static void insert_##name_(void) \
    { \
        OK(mp_list_insert(scene.list, index_, mp_value_str(text_of(90)))); \
    }

APPEND(int, mp_value_int(4))
APPEND(str, mp_value_str(text_of(500)))
APPEND(dict, mp_value_dict(scene.dict))
APPEND(itself, mp_value_list(scene.list))
APPEND(large, mp_value_str(text_of(70000)))
SET(int_by_int, 0, mp_value_int(-1))
SET(int_by_str, 0, mp_value_str(text_of(80)))
SET(str_by_str, 2, mp_value_str(text_of(80)))
SET(dict_by_dict, 4, mp_value_dict(scene.dict))
SET(nested_by_int, -1, mp_value_int(0))
SET(last_float, -3, mp_value_float(1.5))
INSERT(front, 0)
INSERT(middle, 3)

static void delete_front(void)
{
    OK(mp_list_delete(scene.list, 0));
}

static void delete_middle(void)
{
    OK(mp_list_delete(scene.list, 2));
}

static void delete_last(void)
{
    OK(mp_list_delete(scene.list, -1));
}

static void pop_last(void)
{
    mp_value value;

    OK(mp_list_pop(scene.list, -1, &value));
}

static void pop_dict(void)
{
    mp_value value;

    OK(mp_list_pop(scene.list, 4, &value));
}

static void delete_dict(void)
{
    OK(mp_list_delete(scene.list, 4));
}

static void remove_value(void)
{
    OK(mp_list_remove(scene.list, mp_value_str(text_of(50))));
}

static void clear(void)
{
    OK(mp_list_clear(scene.list));
}

static void free_handle(void)
{
    OK(mp_list_free(scene.list));
}

static void extend(void)
{
    OK(mp_list_extend(scene.list, scene.more));
}

static void extend_itself(void)
{
    OK(mp_list_extend(scene.list, scene.list));
}

static void extend_values(void)
{
    const mp_value value[] = {mp_value_int(1), mp_value_str(text_of(99)), mp_value_dict(scene.dict),
                              mp_value_str(text_of(3)), mp_value_none()};

    OK(mp_list_extend_values(scene.list, value, 5));
}

static void extend_many_values(void)
{
    mp_value value[30];

    for (int i = 0; i < 30; i++)
        value[i] = i % 2 != 0 ? mp_value_int(i) : mp_value_str("a string in a block of its own");
    OK(mp_list_extend_values(scene.list, value, 30));
}

static void slice(void)
{
    mp_list *made;

    OK(mp_list_slice(scene.list, 1, MP_END, 2, &made));
}

static void set_slice(void)
{
    OK(mp_list_set_slice(scene.list, 1, 5, 1, scene.more));
}

static void set_slice_step(void)
{
    OK(mp_list_set_slice(scene.list, 0, MP_END, 2, scene.more));
}

static void delete_slice(void)
{
    OK(mp_list_delete_slice(scene.list, 1, 5, 1));
}

static void delete_slice_front(void)
{
    OK(mp_list_delete_slice(scene.list, 0, 300, 1));
}

static void delete_slice_end(void)
{
    OK(mp_list_delete_slice(scene.list, -10, MP_END, 1));
}

static void set_slice_end(void)
{
    OK(mp_list_set_slice(scene.list, MP_END, MP_END, 1, scene.more));
}

static void delete_slice_step(void)
{
    OK(mp_list_delete_slice(scene.list, MP_END, MP_BEGIN, -2));
}

static void reverse(void)
{
    OK(mp_list_reverse(scene.list));
}

static void sort(void)
{
    OK(mp_list_sort(scene.list, NULL, NULL, false));
}

static int by_size(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    return (a->size > b->size) - (a->size < b->size);
}

static void sort_by(void)
{
    OK(mp_list_sort(scene.list, by_size, NULL, true));
}

static void copy(void)
{
    mp_list *made;

    OK(mp_list_copy(scene.list, &made));
}

static void concat(void)
{
    mp_list *made;

    OK(mp_list_concat(scene.list, scene.more, &made));
}

static void repeat(void)
{
    mp_list *made;

    OK(mp_list_repeat(scene.list, 3, &made));
}

static void add(void)
{
    OK(mp_list_add_int(scene.list, 0, 5, NULL));
}

static void compare_and_swap(void)
{
    OK(mp_list_compare_and_swap(scene.list, 0, mp_value_int(3), mp_value_str(text_of(70))));
}

static void swap_word(void)
{
    OK(mp_list_compare_and_swap(scene.list, 0, mp_value_int(3), mp_value_int(4)));
}

/* ---- lists with stripes ---- */

static void stripe(void)
{
    struct object *list = object_of(scene.list);

    OK(object_lock(scene.list, OBJECT_LIST));
    stripes_make(list);
    object_unlock(list);
}

static void some_striped(void)
{
    some();
    stripe();
}

static void eight_striped(void)
{
    eight();
    stripe();
}

static void nested_striped(void)
{
    nested();
    stripe();
}

static void with_more_striped(void)
{
    with_more();
    stripe();
}

static void about_to_shrink_striped(void)
{
    about_to_shrink();
    stripe();
}

static void words_striped(void)
{
    words();
    stripe();
}

/* The list has room before its first element. */
static void without_first_striped(void)
{
    some();
    OK(mp_list_delete(scene.list, 0));
    stripe();
}

static void full_segment_striped(void)
{
    full_segment();
    stripe();
}

static void full_directory_with_gap_striped(void)
{
    full_directory_with_gap();
    stripe();
}

static void two_segments_before_striped(void)
{
    two_segments_before();
    stripe();
}

static void make(void)
{
    mp_list *made;

    OK(mp_manager_list(scene.manager, &made));
}

static const struct operation operations[] = {
    {"list.make", some, make, NULL, NULL},
    {"list.append_first", NULL, append_str, NULL, NULL},
    {"list.append_int", some, append_int, NULL, NULL},
    {"list.append_str", some, append_str, NULL, NULL},
    {"list.append_dict", some, append_dict, NULL, NULL},
    {"list.append_itself", some, append_itself, NULL, NULL},
    {"list.append_large", some, append_large, NULL, NULL},
    {"list.append_grow", eight, append_str, NULL, NULL},
    {"list.append_grow_beside", eight_beside, append_str, NULL, NULL},
    {"list.append_segment", full_segment, append_str, NULL, NULL},
    {"list.append_directory", full_directory, append_str, NULL, NULL},
    {"list.append_directory_with_gap", full_directory_with_gap, append_str, NULL, NULL},
    {"list.set_int_by_int", some, set_int_by_int, NULL, NULL},
    {"list.set_int_by_str", some, set_int_by_str, NULL, NULL},
    {"list.set_str_by_str", some, set_str_by_str, NULL, NULL},
    {"list.set_dict_by_dict", some, set_dict_by_dict, NULL, NULL},
    {"list.set_nested_by_int", nested, set_nested_by_int, NULL, NULL},
    {"list.insert_front", some, insert_front, NULL, NULL},
    {"list.insert_front_segment", full_segment, insert_front, NULL, NULL},
    {"list.insert_front_gap", gap_before_first, insert_front, NULL, NULL},
    {"list.insert_middle", some, insert_middle, NULL, NULL},
    {"list.insert_middle_segments", more_than_a_segment, insert_middle, NULL, NULL},
    {"list.insert_grow", eight, insert_middle, NULL, NULL},
    {"list.delete_front", some, delete_front, NULL, NULL},
    {"list.delete_middle", some, delete_middle, NULL, NULL},
    {"list.delete_last", some, delete_last, NULL, NULL},
    {"list.delete_shrink", about_to_shrink, delete_last, NULL, NULL},
    {"list.delete_first_segment", two_segments_before, delete_front, NULL, NULL},
    {"list.delete_last_segment", two_segments_behind, delete_last, NULL, NULL},
    {"list.delete_shrink_segments", segments_about_to_shrink, delete_last, NULL, NULL},
    {"list.delete_nested", nested, delete_last, NULL, NULL},
    {"list.pop_last", some, pop_last, NULL, NULL},
    {"list.pop_dict", some, pop_dict, delete_dict, NULL},
    {"list.remove", some, remove_value, NULL, NULL},
    {"list.clear", some, clear, NULL, NULL},
    {"list.clear_nested", nested, clear, NULL, NULL},
    {"list.free", nested, free_handle, NULL, NULL},
    {"list.extend", with_more, extend, NULL, NULL},
    {"list.extend_itself", some, extend_itself, NULL, NULL},
    {"list.extend_values", some, extend_values, NULL, NULL},
    {"list.extend_many_values", some, extend_many_values, NULL, NULL},
    {"list.extend_over_segment", nearly_full_segment, extend_values, NULL, NULL},
    {"list.slice", some, slice, NULL, NULL},
    {"list.set_slice", with_more, set_slice, NULL, NULL},
    {"list.set_slice_step", with_more, set_slice_step, NULL, NULL},
    {"list.delete_slice", some, delete_slice, NULL, NULL},
    {"list.delete_slice_front", two_segments_before, delete_slice_front, NULL, NULL},
    {"list.delete_slice_end", words, delete_slice_end, NULL, NULL},
    {"list.set_slice_end", with_more, set_slice_end, NULL, NULL},
    {"list.delete_slice_step", nested, delete_slice_step, NULL, NULL},
    {"list.reverse", some, reverse, NULL, NULL},
    {"list.sort", words, sort, NULL, NULL},
    {"list.sort_by_function", words, sort_by, NULL, NULL},
    {"list.copy", some, copy, NULL, NULL},
    {"list.copy_segments", more_than_a_segment, copy, NULL, NULL},
    {"list.concat", with_more, concat, NULL, NULL},
    {"list.repeat", some, repeat, NULL, NULL},
    {"list.add_int", some, add, NULL, NULL},
    {"list.compare_and_swap", some, compare_and_swap, NULL, NULL},
    {"list.compare_and_swap_word", some, swap_word, NULL, NULL},
    {"list.stripe", some, stripe, NULL, NULL},
    {"list.striped_set_int_by_int", some_striped, set_int_by_int, NULL, NULL},
    {"list.striped_set_int_by_str", some_striped, set_int_by_str, NULL, NULL},
    {"list.striped_set_str_by_str", some_striped, set_str_by_str, NULL, NULL},
    {"list.striped_set_last_float", some_striped, set_last_float, NULL, NULL},
    {"list.striped_set_nested_by_int", nested_striped, set_nested_by_int, NULL, NULL},
    {"list.striped_add_int", some_striped, add, NULL, NULL},
    {"list.striped_compare_and_swap", some_striped, compare_and_swap, NULL, NULL},
    {"list.striped_compare_and_swap_word", some_striped, swap_word, NULL, NULL},
    {"list.striped_append", some_striped, append_str, NULL, NULL},
    {"list.striped_append_grow", eight_striped, append_str, NULL, NULL},
    {"list.striped_extend", with_more_striped, extend, NULL, NULL},
    {"list.striped_insert_front", some_striped, insert_front, NULL, NULL},
    {"list.striped_insert_before_first", without_first_striped, insert_front, NULL, NULL},
    {"list.striped_insert_middle", some_striped, insert_middle, NULL, NULL},
    {"list.striped_delete_front", some_striped, delete_front, NULL, NULL},
    {"list.striped_delete_middle", some_striped, delete_middle, NULL, NULL},
    {"list.striped_delete_last", some_striped, delete_last, NULL, NULL},
    {"list.striped_delete_shrink", about_to_shrink_striped, delete_last, NULL, NULL},
    {"list.striped_pop_dict", some_striped, pop_dict, delete_dict, NULL},
    {"list.striped_remove", some_striped, remove_value, NULL, NULL},
    {"list.striped_clear", nested_striped, clear, NULL, NULL},
    {"list.striped_free", nested_striped, free_handle, NULL, NULL},
    {"list.striped_set_slice", with_more_striped, set_slice, NULL, NULL},
    {"list.striped_delete_slice_end", words_striped, delete_slice_end, NULL, NULL},
    {"list.striped_reverse", some_striped, reverse, NULL, NULL},
    {"list.striped_sort", words_striped, sort, NULL, NULL},
    {"list.striped_copy", some_striped, copy, NULL, NULL},
    {"list.striped_append_segment", full_segment_striped, append_str, NULL, NULL},
    {"list.striped_append_directory_with_gap", full_directory_with_gap_striped, append_str, NULL, NULL},
    {"list.striped_insert_front_segment", full_segment_striped, insert_front, NULL, NULL},
    {"list.striped_delete_first_segment", two_segments_before_striped, delete_front, NULL, NULL},
};

const struct family list_family = {operations, sizeof operations / sizeof *operations, run};
