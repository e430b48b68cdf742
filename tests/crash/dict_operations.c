/* Operations on dicts whose process is killed. */
#include "containers.h"
#include "dict/dict_entry.h"

#define LONG_KEY "key of more than sixteen characters"

static void run(const struct operation *operation, const struct plan *plan, struct tally *tally)
{
    heap_killer_run(&containers_scene, operation, plan, tally);
}

/* ---- preparations ---- */

static void numbers(int from, int to)
{
    for (int i = from; i < to; i++)
        OK(mp_dict_set(scene.dict, mp_value_int(i), mp_value_int(i * i)));
}

static void some(void)
{
    OK(mp_dict_set_int(scene.dict, "a", 1));
    OK(mp_dict_set_str(scene.dict, "b", text_of(5)));
    OK(mp_dict_set_str(scene.dict, "c", text_of(50)));
    OK(mp_dict_set_float(scene.dict, LONG_KEY, 0.5));
    OK(mp_dict_set_bytes(scene.dict, "k0", text_of(500), 500));
}

static void seven(void)
{
    some();
    OK(mp_dict_set_int(scene.dict, "k1", 6));
    OK(mp_dict_set_int(scene.dict, "k9", 7));
}

static void eight(void)
{
    seven();
    OK(mp_dict_set_none(scene.dict, "eighth"));
}

static void full_1024(void)
{
    numbers(0, 1024);
}

/* One more entry splits the index's only page. */
static void page_to_split(void)
{
    numbers(0, 1635);
}

/* One more entry splits the seventh page, and the table of pages has to grow as well. */
static void table_to_grow(void)
{
    numbers(0, 6543);
}

static void full_8192(void)
{
    numbers(0, 8 * 1024);
}

static void mostly_removed(void)
{
    numbers(0, 64);
    for (int i = 2; i < 62; i++)
        OK(mp_dict_remove(scene.dict, mp_value_int(i)));
}

static void about_to_shrink(void)
{
    numbers(0, 4096);
    for (int i = 1024; i < 4096; i++)
        OK(mp_dict_remove(scene.dict, mp_value_int(i)));
}

/* The number of slots in the index's first page that are not empty. */
static uint64_t filled(void)
{
    const struct object *dict = object_of(scene.dict);
    _Atomic uint64_t *table = heap_at(object_heap(dict), word_get(&dict->root[1]) & ~REF_MASK);

    return word_get(heap_at(object_heap(dict), word_get(&table[1])));
}

/* Adds `count` integer keys that hash to the given one of two groups of slots, and removes them again if `remove` is
 * set. */
static void fill_group(uint64_t group, int count, bool remove)
{
    const struct object *dict = object_of(scene.dict);
    int met[INDEX_GROUP];

    for (int i = 0, found = 0; found < count; i++) {
        mp_value value = mp_value_int(i);
        struct key key;

        OK(key_prepare(object_heap(dict), &value, &key));
        if ((index_tag(key.hash) & INDEX_GROUP) != group)
            continue;
        met[found++] = i;
        OK(mp_dict_set(scene.dict, value, mp_value_none()));
    }
    while (remove && count > 0)
        OK(mp_dict_remove(scene.dict, mp_value_int(met[--count])));
}

/* An index of 16 slots, 14 of which are not empty: one more entry, and the index is rewritten. A group that was full
 * keeps a tombstone for each entry that was removed. */
static void many_tombstones(void)
{
    fill_group(0, INDEX_GROUP, true);
    fill_group(INDEX_GROUP, 6, false);
    OK(filled() == 14 ? 0 : MP_ECHANGED);
}

static void last_of_many(void)
{
    numbers(0, 2300);
    for (int i = 1; i < 2300; i++)
        OK(mp_dict_remove(scene.dict, mp_value_int(i)));
}

/* dict["c"] is a dict that holds a list and strings. It has no other holder. */
static void nested(void)
{
    mp_list *list;

    some();
    OK(mp_manager_list(scene.manager, &list));
    OK(mp_list_append_str(list, text_of(100)));
    OK(mp_list_append_int(list, 2));
    OK(mp_dict_set_list(scene.other, "list", list));
    OK(mp_dict_set_str(scene.other, "text", text_of(300)));
    OK(mp_dict_set_dict(scene.dict, "c", scene.other));
    OK(mp_list_free(list));
    OK(mp_dict_free(scene.other));
}

/* Five dicts, each in the one before. */
static void deep(void)
{
    mp_dict *inner = scene.other;

    some();
    for (int i = 0; i < 5; i++) {
        mp_dict *outer;

        OK(mp_manager_dict(scene.manager, &outer));
        OK(mp_dict_set_dict(outer, LONG_KEY, inner));
        OK(mp_dict_free(inner));
        inner = outer;
    }
    OK(mp_dict_set_dict(scene.dict, "c", inner));
    OK(mp_dict_free(inner));
}

static void with_other(void)
{
    nested();
    OK(mp_manager_dict(scene.manager, &scene.other));
    OK(mp_dict_set_str(scene.other, "a", text_of(60)));
    OK(mp_dict_set_str(scene.other, LONG_KEY " too", text_of(6)));
    OK(mp_dict_set_int(scene.other, "c", 3));
    OK(mp_dict_set_list(scene.other, "d", scene.list));
}

static void with_large_other(void)
{
    some();
    for (int i = 0; i < 40; i++)
        OK(mp_dict_set(scene.other, mp_value_int(i), mp_value_str(text_of((size_t)i))));
}

/* ---- insert ---- */

#define INSERT(name_, value_) \
    static void insert_##name_(void) \
    { \
        OK(mp_dict_set(scene.dict, mp_value_str("new"), value_)); \
    }
#define OVERWRITE(name_, key_, value_) \
    static void overwrite_##name_(void) \
    { \
        OK(mp_dict_set(scene.dict, mp_value_str(key_), value_)); \
    }

INSERT(none, mp_value_none())
INSERT(bool, mp_value_bool(true))
INSERT(int, mp_value_int(7))
INSERT(float, mp_value_float(7.5))
INSERT(str8, mp_value_str(text_of(8)))
INSERT(str9, mp_value_str(text_of(9)))
INSERT(str100, mp_value_str(text_of(100)))
INSERT(str5000, mp_value_str(text_of(5000)))
INSERT(str100000, mp_value_str(text_of(100000)))
INSERT(bytes, mp_value_bytes(text_of(33), 33))
INSERT(dict, mp_value_dict(scene.other))
INSERT(list, mp_value_list(scene.list))
OVERWRITE(int_by_int, "a", mp_value_int(-9))
OVERWRITE(int_by_float, "a", mp_value_float(-9))
OVERWRITE(int_by_str8, "a", mp_value_str(text_of(8)))
OVERWRITE(int_by_str200, "a", mp_value_str(text_of(200)))
OVERWRITE(int_by_dict, "a", mp_value_dict(scene.other))
OVERWRITE(str_by_same_size, "c", mp_value_strn(text_of(51), 50))
OVERWRITE(str_by_larger, "c", mp_value_str(text_of(3000)))
OVERWRITE(str_by_smaller, "c", mp_value_str(text_of(20)))
OVERWRITE(str_by_none, "c", mp_value_none())
OVERWRITE(float_by_float, LONG_KEY, mp_value_float(1e300))
OVERWRITE(bytes_by_list, "k0", mp_value_list(scene.list))
OVERWRITE(dict_by_itself, "c", mp_value_dict(scene.dict))
OVERWRITE(dict_by_int, "c", mp_value_int(3))

static void insert_long_key(void)
{
    OK(mp_dict_set_str(scene.dict, "another key of more than sixteen characters", text_of(77)));
}

static void insert_number(void)
{
    OK(mp_dict_set(scene.dict, mp_value_int(100000), mp_value_str(text_of(30))));
}

/* ---- removing ---- */

static void delete_int(void)
{
    OK(mp_dict_remove_key(scene.dict, "a"));
}

static void delete_long(void)
{
    OK(mp_dict_remove_key(scene.dict, LONG_KEY));
}

static void delete_c(void)
{
    OK(mp_dict_remove_key(scene.dict, "c"));
}

static void delete_1022(void)
{
    OK(mp_dict_remove(scene.dict, mp_value_int(1022)));
}

static void delete_0(void)
{
    OK(mp_dict_remove(scene.dict, mp_value_int(0)));
}

static void pop_c(void)
{
    mp_value value;

    OK(mp_dict_pop(scene.dict, mp_value_str("c"), &value));
}

static void popitem(void)
{
    mp_value key, value;

    OK(mp_dict_popitem(scene.dict, &key, &value));
}

static void clear(void)
{
    OK(mp_dict_clear(scene.dict));
}

static void free_handle(void)
{
    OK(mp_dict_free(scene.dict));
}

/* ---- atomic forms ---- */

static void add_there(void)
{
    OK(mp_dict_add_int(scene.dict, "a", 41, NULL));
}

static void add_missing(void)
{
    OK(mp_dict_add_int(scene.dict, "another key of more than sixteen characters", 41, NULL));
}

static void transfer_there(void)
{
    OK(mp_dict_transfer_int(scene.dict, "k1", "k9", 5));
}

static void transfer_missing(void)
{
    OK(mp_dict_transfer_int(scene.dict, "missing source, a long name", "missing target, a long name", 5));
}

static void setdefault(void)
{
    OK(mp_dict_setdefault(scene.dict, mp_value_str("new"), mp_value_str(text_of(90)), NULL));
}

static void compare_and_swap(void)
{
    OK(mp_dict_compare_and_swap(scene.dict, mp_value_str("a"), mp_value_int(1), mp_value_str(text_of(90))));
}

static void move_to_new(void)
{
    OK(mp_dict_move(scene.dict, mp_value_str("c"), mp_value_str("the new place, of a long name")));
}

static void move_over(void)
{
    OK(mp_dict_move(scene.dict, mp_value_str(LONG_KEY), mp_value_str("c")));
}

static void move_to_itself(void)
{
    OK(mp_dict_move(scene.dict, mp_value_str("c"), mp_value_str("c")));
}

static void move_long_to_itself(void)
{
    OK(mp_dict_move(scene.dict, mp_value_str(LONG_KEY), mp_value_str(LONG_KEY)));
}

static void move_number_to_equal(void)
{
    OK(mp_dict_move(scene.dict, mp_value_int(1), mp_value_bool(true)));
}

static int append_to(mp_value *value, bool present, void *arg)
{
    (void)arg;
    *value = present ? mp_value_str(text_of(70)) : mp_value_int(1);
    return 0;
}

static void apply(void)
{
    OK(mp_dict_apply(scene.dict, mp_value_str("c"), append_to, NULL));
}

static void apply_missing(void)
{
    OK(mp_dict_apply(scene.dict, mp_value_str("new"), append_to, NULL));
}

/* ---- dicts with stripes ---- */

static void stripe(void)
{
    struct object *dict = object_of(scene.dict);

    OK(object_lock(scene.dict, OBJECT_DICT));
    stripes_make(dict);
    object_unlock(dict);
}

static void some_striped(void)
{
    some();
    stripe();
}

static void deep_striped(void)
{
    deep();
    stripe();
}

static void removed_striped(void)
{
    mostly_removed();
    stripe();
}

static void with_other_striped(void)
{
    with_other();
    stripe();
}

/* ---- many keys ---- */

static void set_two(void)
{
    mp_value keys[2] = {mp_value_str("b"), mp_value_str(LONG_KEY "2")},
             values[2] = {mp_value_str(text_of(90)), mp_value_str(text_of(30))};

    OK(mp_dict_set_many(scene.dict, keys, values, 2, NULL));
}

static void set_first(void)
{
    OK(mp_dict_set_str(scene.dict, "b", text_of(90)));
}

/* ---- whole dicts ---- */

static void update(void)
{
    OK(mp_dict_update(scene.dict, scene.other));
}

static void copy(void)
{
    mp_dict *made;

    OK(mp_dict_copy(scene.dict, &made));
}

static void keys(void)
{
    mp_list *made;

    OK(mp_dict_keys(scene.dict, &made));
}

static void values(void)
{
    mp_list *made;

    OK(mp_dict_values(scene.dict, &made));
}

static void items(void)
{
    mp_list *made;

    OK(mp_dict_items(scene.dict, &made));
}

static void make(void)
{
    mp_dict *made;

    OK(mp_manager_dict(scene.manager, &made));
}

static const struct operation operations[] = {
    {"dict.make", some, make, NULL, NULL},
    {"dict.make_places", use_up_places, make, NULL, NULL},
    {"dict.insert_first", NULL, insert_str100, NULL, NULL},
    {"dict.insert_none", some, insert_none, NULL, NULL},
    {"dict.insert_bool", some, insert_bool, NULL, NULL},
    {"dict.insert_int", some, insert_int, NULL, NULL},
    {"dict.insert_float", some, insert_float, NULL, NULL},
    {"dict.insert_str8", some, insert_str8, NULL, NULL},
    {"dict.insert_str9", some, insert_str9, NULL, NULL},
    {"dict.insert_str100", some, insert_str100, NULL, NULL},
    {"dict.insert_str5000", some, insert_str5000, NULL, NULL},
    {"dict.insert_str100000", some, insert_str100000, NULL, NULL},
    {"dict.insert_bytes", some, insert_bytes, NULL, NULL},
    {"dict.insert_dict", some, insert_dict, NULL, NULL},
    {"dict.insert_list", some, insert_list, NULL, NULL},
    {"dict.insert_long_key", some, insert_long_key, NULL, NULL},
    {"dict.insert_number_key", some, insert_number, NULL, NULL},
    {"dict.insert_grow_segment", eight, insert_long_key, NULL, NULL},
    {"dict.insert_new_segment", full_1024, insert_number, NULL, NULL},
    {"dict.insert_grow_directory", full_8192, insert_number, NULL, NULL},
    {"dict.insert_split_page", page_to_split, insert_number, NULL, NULL},
    {"dict.insert_grow_table", table_to_grow, insert_number, NULL, NULL},
    {"dict.insert_compact", mostly_removed, insert_number, NULL, NULL},
    {"dict.insert_rehash", many_tombstones, insert_number, NULL, NULL},
    {"dict.overwrite_int_by_int", some, overwrite_int_by_int, NULL, NULL},
    {"dict.overwrite_int_by_float", some, overwrite_int_by_float, NULL, NULL},
    {"dict.overwrite_int_by_str8", some, overwrite_int_by_str8, NULL, NULL},
    {"dict.overwrite_int_by_str200", some, overwrite_int_by_str200, NULL, NULL},
    {"dict.overwrite_int_by_dict", some, overwrite_int_by_dict, NULL, NULL},
    {"dict.overwrite_str_by_same_size", some, overwrite_str_by_same_size, NULL, NULL},
    {"dict.overwrite_str_by_larger", some, overwrite_str_by_larger, NULL, NULL},
    {"dict.overwrite_str_by_smaller", some, overwrite_str_by_smaller, NULL, NULL},
    {"dict.overwrite_str_by_none", some, overwrite_str_by_none, NULL, NULL},
    {"dict.overwrite_float_by_float", some, overwrite_float_by_float, NULL, NULL},
    {"dict.overwrite_bytes_by_list", some, overwrite_bytes_by_list, NULL, NULL},
    {"dict.overwrite_dict_by_itself", nested, overwrite_dict_by_itself, NULL, NULL},
    {"dict.overwrite_dict_by_int", nested, overwrite_dict_by_int, NULL, NULL},
    {"dict.delete_int", some, delete_int, NULL, NULL},
    {"dict.delete_long_key", some, delete_long, NULL, NULL},
    {"dict.delete_long_value", some, delete_c, NULL, NULL},
    {"dict.delete_nested", nested, delete_c, NULL, NULL},
    {"dict.delete_deep", deep, delete_c, NULL, NULL},
    {"dict.delete_shrink", about_to_shrink, delete_1022, NULL, NULL},
    {"dict.delete_last_of_many", last_of_many, delete_0, NULL, NULL},
    {"dict.pop_long", some, pop_c, NULL, NULL},
    {"dict.pop_nested", nested, pop_c, delete_c, NULL},
    {"dict.popitem", some, popitem, NULL, NULL},
    {"dict.clear", some, clear, NULL, NULL},
    {"dict.clear_nested", deep, clear, NULL, NULL},
    {"dict.free", deep, free_handle, NULL, NULL},
    {"dict.add_there", some, add_there, NULL, NULL},
    {"dict.add_missing", some, add_missing, NULL, NULL},
    {"dict.transfer_there", seven, transfer_there, NULL, NULL},
    {"dict.transfer_missing", seven, transfer_missing, NULL, NULL},
    {"dict.setdefault", some, setdefault, NULL, NULL},
    {"dict.compare_and_swap", some, compare_and_swap, NULL, NULL},
    {"dict.move_to_new", some, move_to_new, NULL, NULL},
    {"dict.move_over", nested, move_over, NULL, NULL},
    {"dict.move_to_itself", nested, move_to_itself, NULL, NULL},
    {"dict.move_long_to_itself", some, move_long_to_itself, NULL, NULL},
    {"dict.move_number_to_equal", mostly_removed, move_number_to_equal, NULL, NULL},
    {"dict.apply", some, apply, NULL, NULL},
    {"dict.apply_missing", eight, apply_missing, NULL, NULL},
    {"dict.stripe", some, stripe, NULL, NULL},
    {"dict.striped_overwrite_int", some_striped, overwrite_int_by_int, NULL, NULL},
    {"dict.striped_overwrite_str", some_striped, overwrite_str_by_larger, NULL, NULL},
    {"dict.striped_insert", some_striped, insert_long_key, NULL, NULL},
    {"dict.striped_insert_compact", removed_striped, insert_number, NULL, NULL},
    {"dict.striped_delete", some_striped, delete_int, NULL, NULL},
    {"dict.striped_clear", deep_striped, clear, NULL, NULL},
    {"dict.striped_free", deep_striped, free_handle, NULL, NULL},
    {"dict.striped_add", some_striped, add_there, NULL, NULL},
    {"dict.striped_move", some_striped, move_to_new, NULL, NULL},
    {"dict.striped_move_to_itself", some_striped, move_to_itself, NULL, NULL},
    {"dict.striped_update", with_other_striped, update, NULL, NULL},
    {"dict.striped_copy", with_other_striped, copy, NULL, NULL},
    {"dict.set_many", some, set_two, set_first, NULL},
    {"dict.update", with_other, update, NULL, NULL},
    {"dict.update_large", with_large_other, update, NULL, NULL},
    {"dict.copy", with_other, copy, NULL, NULL},
    {"dict.keys", some, keys, NULL, NULL},
    {"dict.values", nested, values, NULL, NULL},
    {"dict.items", nested, items, NULL, NULL},
};

const struct family dict_family = {operations, sizeof operations / sizeof *operations, run};
