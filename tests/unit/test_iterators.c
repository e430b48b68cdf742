/* Iterators over containers that change meanwhile: whatever an iterator hands out is in the container at that moment.
 * Each kind of change needs a line in DICT_CHANGES or LIST_CHANGES. A small model predicts what comes next. An argument
 * sets the number of walks beside random changes. */
#include <mp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager_fixture.h"
#include "object/handle.h"
#include "support.h"

enum { KEYS = 40, MOST = 4096, SECONDS = 60 };

static int walks = 300;

static int make(void **state)
{
    srand(1);
    return make_manager(state);
}

/* ---- values of every kind, identified by a number ---- */

static const char long_text[] = "a string that has a block of its own: ";

/* Keys: integers, short strings, long ones. */
static mp_value key_of(int number, char *text)
{
    if (number % 3 == 0)
        return mp_value_int(number);
    snprintf(text, 64, "%s%d", number % 3 == 1 ? "" : long_text, number);
    return mp_value_str(text);
}

static int number_of_text(const mp_value *value)
{
    const char *text = value->as.str;

    if (value->size != strlen(text)) /* it ends where its size says */
        return -1;
    return atoi(strncmp(text, long_text, strlen(long_text)) == 0 ? text + strlen(long_text) : text);
}

static int number_of_key(const mp_value *key)
{
    return key->type == MP_INT ? (int)key->as.integer : key->type == MP_STR ? number_of_text(key) : -1;
}

/* A value that contains that number. If it is a container, the caller frees it. */
static mp_value value_with(int number, char *text)
{
    mp_dict *inner_dict;
    mp_list *inner_list;

    switch (number % 5) {
    case 0:
        return mp_value_int(number);
    case 1:
    case 2:
        snprintf(text, 64, "%s%d", number % 5 == 1 ? "" : long_text, number);
        return mp_value_str(text);
    case 3:
        assert_int_equal(mp_manager_dict(manager, &inner_dict) | mp_dict_set_int(inner_dict, "n", number), 0);
        return mp_value_dict(inner_dict);
    default:
        assert_int_equal(mp_manager_list(manager, &inner_list) | mp_list_append_int(inner_list, number), 0);
        return mp_value_list(inner_list);
    }
}

static void free_container(const mp_value *value)
{
    if (value->type == MP_DICT)
        assert_int_equal(mp_dict_free(value->as.dict), 0);
    else if (value->type == MP_LIST)
        assert_int_equal(mp_list_free(value->as.list), 0);
}

/* The number that a value contains; -1: none, or the value is a dead container. */
static int number_of(const mp_value *value)
{
    int64_t number = -1;

    switch (value->type) {
    case MP_INT:
        return (int)value->as.integer;
    case MP_STR:
        return number_of_text(value);
    case MP_DICT:
        return mp_dict_get_int(value->as.dict, "n", &number) == 0 ? (int)number : -1;
    case MP_LIST:
        return mp_list_get_int(value->as.list, 0, &number) == 0 ? (int)number : -1;
    default:
        return -1;
    }
}

/* ---- a model of a dict ---- */

/* Entries in order of insertion, with their sequence numbers. */
struct model_entry {
    int key, value;
    int64_t sequence;
};
static struct model_entry model[MOST];
static int model_length;
static int64_t model_sequence;
static int next_value;

static int model_find(int key)
{
    int i = 0;

    while (i < model_length && model[i].key != key)
        i++;
    return i;
}

static void model_remove(int at)
{
    model_length--;
    memmove(&model[at], &model[at + 1], (size_t)(model_length - at) * sizeof model[0]);
}

static void model_add(int key, int value)
{
    assert_true(model_length < MOST);
    model[model_length++] = (struct model_entry){key, value, ++model_sequence};
}

static void change_set(int key)
{
    char key_text[64], text[64];
    mp_value value = value_with(++next_value, text);
    int at = model_find(key);

    assert_int_equal(mp_dict_set(dict, key_of(key, key_text), value), 0);
    free_container(&value);
    if (at < model_length)
        model[at].value = next_value;
    else
        model_add(key, next_value);
}

static void change_remove(int key)
{
    char text[64];
    int at = model_find(key);

    assert_int_equal(mp_dict_remove(dict, key_of(key, text)), at < model_length ? 0 : MP_EKEY);
    if (at < model_length)
        model_remove(at);
}

static void change_pop(int key)
{
    char text[64];
    int at = model_find(key);
    mp_value value;

    if (at == model_length)
        return;
    assert_int_equal(mp_dict_pop(dict, key_of(key, text), &value), 0);
    assert_int_equal(number_of(&value), model[at].value);
    mp_value_free(&value);
    model_remove(at);
}

static void change_popitem(int key)
{
    (void)key;
    assert_int_equal(mp_dict_popitem(dict, NULL, NULL), model_length > 0 ? 0 : MP_EKEY);
    if (model_length > 0)
        model_length--;
}

static void change_clear(int key)
{
    if (key % 8 != 0)
        return;
    assert_int_equal(mp_dict_clear(dict), 0);
    model_length = 0;
}

/* Removed and set again: this is a new entry, the newest. */
static void change_renew(int key)
{
    change_remove(key);
    change_set(key);
}

static void change_move(int key)
{
    int to = (key * 7 + 3) % KEYS, from_at = model_find(key), to_at = model_find(to);
    char from_text[64], to_text[64];

    assert_int_equal(mp_dict_move(dict, key_of(key, from_text), key_of(to, to_text)),
                     from_at < model_length ? 0 : MP_EKEY);
    if (from_at == model_length)
        return;
    int value = model[from_at].value;
    if (to_at < model_length && to_at != from_at) {
        model[to_at].value = value;
        model_remove(from_at);
    } else {
        model_remove(from_at);
        model_add(to, value);
    }
}

static void change_update(int key)
{
    char key_text[64], text[64];
    mp_dict *other;

    assert_int_equal(mp_manager_dict(manager, &other), 0);
    for (int i = 0; i < 3; i++) {
        int changed = (key + i * 11) % KEYS, at = model_find(changed);
        mp_value value = value_with(++next_value, text);

        assert_int_equal(mp_dict_set(other, key_of(changed, key_text), value), 0);
        free_container(&value);
        if (at < model_length)
            model[at].value = next_value;
        else
            model_add(changed, next_value);
    }
    assert_int_equal(mp_dict_update(dict, other), 0);
    assert_int_equal(mp_dict_free(other), 0);
}

static int put_other(mp_value *value, bool present, void *arg)
{
    if (!present)
        return 1;
    *value = *(mp_value *)arg;
    return 0;
}

static void change_apply(int key)
{
    char key_text[64], text[64];
    mp_value value = value_with(++next_value, text);
    int at = model_find(key);

    assert_int_equal(mp_dict_apply(dict, key_of(key, key_text), put_other, &value), at < model_length ? 0 : 1);
    free_container(&value);
    if (at < model_length)
        model[at].value = next_value;
}

/* The dict grows, and shrinks again: all entries move. */
static void change_grow(int key)
{
    char text[64];

    if (key % 8 != 0)
        return;
    for (int i = 0; i < 300; i++)
        assert_int_equal(mp_dict_set(dict, key_of(1000 + i, text), mp_value_int(0)), 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(mp_dict_remove(dict, key_of(1000 + i, text)), 0);
    model_sequence += 300;
}

static void change_swap(int key)
{
    char text[64];
    int at = model_find(key);

    if (at == model_length || model[at].value % 5 != 0)
        return;
    next_value += 5 - next_value % 5;
    assert_int_equal(
        mp_dict_compare_and_swap(dict, key_of(key, text), mp_value_int(model[at].value), mp_value_int(next_value)), 0);
    model[at].value = next_value;
}

static void change_nothing(int key)
{
    (void)key;
}

#define DICT_CHANGES(CHANGE) \
    CHANGE(nothing) \
    CHANGE(set) \
    CHANGE(remove) \
    CHANGE(pop) \
    CHANGE(popitem) \
    CHANGE(clear) \
    CHANGE(renew) \
    CHANGE(move) \
    CHANGE(update) \
    CHANGE(apply) \
    CHANGE(grow) \
    CHANGE(swap)
#define ROW(name) {#name, change_##name},
static const struct change {
    const char *name;
    void (*change)(int key);
} dict_changes[] = {DICT_CHANGES(ROW)};
enum { DICT_CHANGE_COUNT = sizeof dict_changes / sizeof dict_changes[0] };

static void begin_dict(int entries)
{
    assert_int_equal(mp_dict_clear(dict), 0);
    model_length = 0;
    for (int i = 0; i < entries; i++)
        change_set(i * 13 % KEYS);
}

/* An iterator, and what it has returned so far. */
struct walk {
    mp_dict_iter *iter;
    int64_t last, limit;
    bool ended;
    mp_value key, value; /* borrowed until the next step */
    int key_number, value_number;
};

static void begin_walk(struct walk *walk)
{
    *walk = (struct walk){.limit = model_sequence, .key_number = -1};
    assert_int_equal(mp_dict_iter_create(&walk->iter, dict), 0);
}

/* A key or value that was handed out lives until the next step, whatever has become of its entry. */
static void look_at_borrowed(const struct walk *walk, const char *change)
{
    if (walk->key_number >= 0 &&
        (number_of_key(&walk->key) != walk->key_number || number_of(&walk->value) != walk->value_number))
        fail_msg("after %s: the entry of key %d is not what was handed out", change, walk->key_number);
}

static void step(struct walk *walk, const char *change)
{
    int at = 0;

    while (at < model_length && model[at].sequence <= walk->last)
        at++;
    bool ends = at == model_length || model[at].sequence > walk->limit;
    int error = mp_dict_next(walk->iter, &walk->key, &walk->value);
    walk->key_number = -1;
    if (error != (ends ? MP_ESTOP : 0))
        fail_msg("after %s: next said %d where key %d comes", change, error, ends ? -1 : model[at].key);
    walk->ended = ends;
    if (ends)
        return;
    walk->last = model[at].sequence;
    walk->key_number = model[at].key;
    walk->value_number = model[at].value;
    look_at_borrowed(walk, change);
}

/* One change, at each step of the walk, for each key. */
static void one_change_anywhere(void **state)
{
    (void)state;
    for (int change = 0; change < DICT_CHANGE_COUNT; change++) {
        for (int at = 0; at <= 12; at += 3) {
            for (int key = 0; key < KEYS; key += change == 0 ? KEYS : 3) {
                struct walk walk;

                begin_dict(12);
                begin_walk(&walk);
                for (int i = 0; !walk.ended; i++) {
                    if (i == at) {
                        dict_changes[change].change(key);
                        look_at_borrowed(&walk, dict_changes[change].name);
                    }
                    step(&walk, dict_changes[change].name);
                }
                assert_int_equal(mp_dict_iter_free(walk.iter), 0);
            }
        }
    }
}

/* Several iterators beside random changes. */
static void many_changes_beside_several_walks(void **state)
{
    enum { WALKS = 3 };
    (void)state;

    for (int round = 0; round < walks; round++) {
        struct walk walk[WALKS];

        begin_dict(rand() % KEYS);
        for (int i = 0; i < WALKS; i++)
            begin_walk(&walk[i]);
        for (int steps = 0; steps < 200; steps++) {
            const struct change *change = &dict_changes[rand() % DICT_CHANGE_COUNT];

            change->change(rand() % KEYS);
            for (int i = 0; i < WALKS; i++) {
                look_at_borrowed(&walk[i], change->name);
                if (rand() % 2 == 0)
                    step(&walk[i], change->name);
            }
        }
        for (int i = 0; i < WALKS; i++)
            assert_int_equal(mp_dict_iter_free(walk[i].iter), 0);
    }
}

/* An iterator that has ended stays so, whatever is added: all of that is newer. */
static void an_ended_dict_iterator_stays_ended(void **state)
{
    (void)state;
    for (int change = 0; change < DICT_CHANGE_COUNT; change++) {
        struct walk walk;

        begin_dict(5);
        begin_walk(&walk);
        while (!walk.ended)
            step(&walk, "nothing");
        for (int key = 0; key < KEYS; key++) {
            dict_changes[change].change(key);
            step(&walk, dict_changes[change].name);
            assert_true(walk.ended);
        }
        assert_int_equal(mp_dict_iter_free(walk.iter), 0);
    }
}

/* ---- a model of a list ---- */

static int elements[MOST], length;

static void insert_model(int at, int value)
{
    assert_true(length < MOST);
    memmove(&elements[at + 1], &elements[at], (size_t)(length - at) * sizeof elements[0]);
    elements[at] = value;
    length++;
}

static void delete_model(int at)
{
    length--;
    memmove(&elements[at], &elements[at + 1], (size_t)(length - at) * sizeof elements[0]);
}

static void list_append(int at)
{
    char text[64];
    mp_value value = value_with(++next_value, text);

    (void)at;
    assert_int_equal(mp_list_append(list, value), 0);
    free_container(&value);
    insert_model(length, next_value);
}

static void list_insert(int at)
{
    char text[64];
    mp_value value = value_with(++next_value, text);

    assert_int_equal(mp_list_insert(list, at, value), 0);
    free_container(&value);
    insert_model(at < length ? at : length, next_value);
}

static void list_set(int at)
{
    char text[64];
    mp_value value = value_with(++next_value, text);

    assert_int_equal(mp_list_set(list, at, value), at < length ? 0 : MP_EINDEX);
    free_container(&value);
    if (at < length)
        elements[at] = next_value;
}

static void list_delete(int at)
{
    assert_int_equal(mp_list_delete(list, at), at < length ? 0 : MP_EINDEX);
    if (at < length)
        delete_model(at);
}

static void list_pop(int at)
{
    mp_value value;

    (void)at;
    if (length == 0)
        return;
    assert_int_equal(mp_list_pop(list, 0, &value), 0);
    assert_int_equal(number_of(&value), elements[0]);
    mp_value_free(&value);
    delete_model(0);
}

static void list_pop_last(int at)
{
    (void)at;
    assert_int_equal(mp_list_pop(list, -1, NULL), length > 0 ? 0 : MP_EINDEX);
    if (length > 0)
        length--;
}

static void list_clear(int at)
{
    if (at % 4 != 0)
        return;
    assert_int_equal(mp_list_clear(list), 0);
    length = 0;
}

static void list_reverse(int at)
{
    (void)at;
    assert_int_equal(mp_list_reverse(list), 0);
    for (int i = 0; i < length / 2; i++) {
        int other = elements[i];

        elements[i] = elements[length - 1 - i];
        elements[length - 1 - i] = other;
    }
}

static void list_delete_slice(int at)
{
    assert_int_equal(mp_list_delete_slice(list, at, at + 3, 1), 0);
    for (int i = 0; i < 3 && at < length; i++)
        delete_model(at);
}

static void list_extend_itself(int at)
{
    if (at % 4 != 0 || length > 100)
        return;
    assert_int_equal(mp_list_extend(list, list), 0);
    for (int i = 0, end = length; i < end; i++)
        insert_model(length, elements[i]);
}

static void list_nothing(int at)
{
    (void)at;
}

#define LIST_CHANGES(CHANGE) \
    CHANGE(nothing) \
    CHANGE(append) \
    CHANGE(insert) \
    CHANGE(set) \
    CHANGE(delete) \
    CHANGE(pop) \
    CHANGE(pop_last) \
    CHANGE(clear) \
    CHANGE(reverse) \
    CHANGE(delete_slice) \
    CHANGE(extend_itself)
#define LIST_ROW(name) {#name, list_##name},
static const struct change list_changes[] = {LIST_CHANGES(LIST_ROW)};
enum { LIST_CHANGE_COUNT = sizeof list_changes / sizeof list_changes[0] };

static void begin_list(int count)
{
    assert_int_equal(mp_list_clear(list), 0);
    length = 0;
    for (int i = 0; i < count; i++)
        list_append(0);
}

/* Like Python's: just an index, until it is past the end; then the iterator has ended for good. */
struct list_walk {
    mp_list_iter *iter;
    int index;
    bool ended;
    mp_value value;
    int number; /* the number in `value`; -1: there is none */
};

static void begin_list_walk(struct list_walk *walk)
{
    *walk = (struct list_walk){.number = -1};
    assert_int_equal(mp_list_iter_create(&walk->iter, list), 0);
}

static void look_at_element(const struct list_walk *walk, const char *change)
{
    if (walk->number >= 0 && number_of(&walk->value) != walk->number)
        fail_msg("after %s: the element is not what was handed out", change);
}

static void list_step(struct list_walk *walk, const char *change)
{
    int error = mp_list_next(walk->iter, &walk->value);

    walk->ended = walk->ended || walk->index >= length;
    walk->number = -1;
    if (error != (walk->ended ? MP_ESTOP : 0))
        fail_msg("after %s: next at %d of %d said %d", change, walk->index, length, error);
    if (walk->ended)
        return;
    walk->number = elements[walk->index++];
    look_at_element(walk, change);
}

static void one_change_anywhere_in_a_list(void **state)
{
    (void)state;
    for (int change = 0; change < LIST_CHANGE_COUNT; change++) {
        for (int at = 0; at <= 8; at++) {
            for (int index = 0; index <= 8; index++) {
                struct list_walk walk;

                begin_list(8);
                begin_list_walk(&walk);
                for (int i = 0; !walk.ended; i++) {
                    if (i == at) {
                        list_changes[change].change(index);
                        look_at_element(&walk, list_changes[change].name);
                    }
                    list_step(&walk, list_changes[change].name);
                }
                for (int i = 0; i < 3; i++) { /* it must stay ended */
                    list_append(0);
                    list_step(&walk, "append at the end");
                }
                assert_int_equal(mp_list_iter_free(walk.iter), 0);
            }
        }
    }
}

static void many_changes_beside_several_walks_of_a_list(void **state)
{
    enum { WALKS = 3 };
    (void)state;

    for (int round = 0; round < walks; round++) {
        struct list_walk walk[WALKS];

        begin_list(rand() % 60);
        for (int i = 0; i < WALKS; i++)
            begin_list_walk(&walk[i]);
        for (int steps = 0; steps < 200; steps++) {
            const struct change *change = &list_changes[rand() % LIST_CHANGE_COUNT];

            change->change(rand() % 60);
            for (int i = 0; i < WALKS; i++) {
                look_at_element(&walk[i], change->name);
                if (rand() % 2 == 0)
                    list_step(&walk[i], change->name);
            }
        }
        for (int i = 0; i < WALKS; i++)
            assert_int_equal(mp_list_iter_free(walk[i].iter), 0);
    }
}

/* ---- the end of the container ---- */

static void a_dead_container_has_no_entries(void **state)
{
    (void)state;
    for (int steps = 0; steps < 4; steps++) {
        mp_dict_iter *dict_iter;
        mp_list_iter *list_iter;
        mp_value key, value, element;
        mp_dict *own, *younger;
        mp_list *own_list, *younger_list;

        assert_int_equal(mp_manager_dict(manager, &own) | mp_manager_list(manager, &own_list), 0);
        for (int i = 0; i < 3; i++) {
            char text[64];

            value = value_with(3 + i, text);
            assert_int_equal(mp_dict_set(own, mp_value_int(i), value) | mp_list_append(own_list, value), 0);
            free_container(&value);
        }
        assert_int_equal(mp_dict_iter_create(&dict_iter, own) | mp_list_iter_create(&list_iter, own_list), 0);
        for (int i = 0; i < steps && i < 3; i++)
            assert_int_equal(mp_dict_next(dict_iter, &key, &value) | mp_list_next(list_iter, &element), 0);
        assert_int_equal(mp_dict_free(own) | mp_list_free(own_list), 0);
        /* The values that were handed out last are held. */
        if (steps > 0) {
            assert_int_equal(number_of(&value), 2 + (steps < 3 ? steps : 3));
            assert_int_equal(number_of(&element), number_of(&value));
        }
        /* New containers in the same places, of either kind. */
        assert_int_equal(mp_manager_dict(manager, &younger) | mp_manager_list(manager, &younger_list), 0);
        assert_int_equal(mp_dict_set_int(younger, "younger", 9) | mp_list_append_int(younger_list, 9), 0);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(mp_dict_next(dict_iter, &key, &value), MP_EINVAL);
            assert_int_equal(mp_list_next(list_iter, &element), MP_EINVAL);
        }
        assert_int_equal(mp_dict_iter_free(dict_iter) | mp_list_iter_free(list_iter), 0);
        assert_int_equal(mp_dict_iter_free(dict_iter), MP_EINVAL);
        assert_int_equal(mp_list_iter_free(list_iter), MP_EINVAL);
        assert_int_equal(mp_dict_next(dict_iter, &key, &value), MP_EINVAL);
        assert_int_equal(mp_list_next(list_iter, &element), MP_EINVAL);
        assert_int_equal(mp_dict_free(younger) | mp_list_free(younger_list), 0);
    }
}

/* The handle of a freed iterator stays invalid, even after its memory has been reused a million times. */
static void a_freed_iterator_is_none_for_good(void **state)
{
    enum { TIMES = 1100000 };
    mp_dict_iter *first, *iter;
    mp_list_iter *first_in_list, *list_iter;
    mp_value value;
    (void)state;

    begin_dict(3);
    begin_list(3);
    assert_int_equal(mp_dict_iter_create(&first, dict) | mp_list_iter_create(&first_in_list, list), 0);
    assert_int_equal(mp_dict_iter_free(first) | mp_list_iter_free(first_in_list), 0);
    for (int i = 0; i < TIMES; i++) {
        assert_int_equal(mp_dict_iter_create(&iter, dict) | mp_list_iter_create(&list_iter, list), 0);
        if (mp_dict_next(first, NULL, &value) != MP_EINVAL || mp_list_next(first_in_list, &value) != MP_EINVAL ||
            mp_dict_iter_free(first) != MP_EINVAL || mp_list_iter_free(first_in_list) != MP_EINVAL)
            fail_msg("after %d others", i);
        assert_int_equal(mp_dict_iter_free(iter) | mp_list_iter_free(list_iter), 0);
    }
}

/* ---- beside other processes ---- */

static _Atomic int64_t *rounds; /* shared */

/* Keys 0 to KEYS - 1 are removed and set again. Keys from 100 on stay, and their values only grow. */
static int change_for_ever(void *arg)
{
    (void)arg;
    srand((unsigned)getpid());
    for (int i = 1;; i++) {
        char key_text[64], text[64];
        int key = rand() % KEYS;
        mp_value value = value_with(5 * i + 3, text); /* a dict with a growing number */

        if (mp_dict_set(dict, key_of(key, key_text), value) != 0 ||
            mp_dict_set(dict, key_of(100 + key, key_text), value) != 0)
            return 1;
        mp_dict_remove(dict, key_of(rand() % KEYS, key_text));
        free_container(&value);
        atomic_fetch_add(rounds, 1);
    }
}

static void walk_once(int64_t *newest)
{
    int met[200] = {0}, error;
    mp_dict_iter *iter;
    mp_value key, value;

    assert_int_equal(mp_dict_iter_create(&iter, dict), 0);
    while ((error = mp_dict_next(iter, &key, &value)) == 0) {
        int number = number_of_key(&key), in = number_of(&value);

        assert_in_range(number, 0, 199);
        assert_int_equal(met[number]++, 0);
        if (in < 0)
            fail_msg("key %d has a dead container", number);
        if (number >= 100 && in < newest[number]) /* no older value than one that was seen before */
            fail_msg("key %d: %d after %d", number, in, (int)newest[number]);
        newest[number] = in;
    }
    assert_int_equal(error, MP_ESTOP);
    for (int i = 100; i < 100 + KEYS; i++)
        assert_int_equal(met[i], 1);
    assert_int_equal(mp_dict_iter_free(iter), 0);
}

static void walks_beside_a_process_that_changes_all(void **state)
{
    int64_t newest[200] = {0};
    mp_process *process;
    double end = now() + SECONDS;
    (void)state;

    rounds = shared_memory(sizeof *rounds);
    for (int i = 0; i < KEYS; i++) {
        char key_text[64], text[64];
        mp_value value = value_with(3, text);

        assert_int_equal(mp_dict_set(dict, key_of(100 + i, key_text), value), 0);
        free_container(&value);
    }
    assert_int_equal(mp_process_start(&process, change_for_ever, NULL, NULL), 0);
    for (int i = 0; i < walks || *rounds < 10 * walks; i++) {
        walk_once(newest);
        assert_true(now() < end);
        sched_yield();
    }
    assert_int_equal(mp_process_kill(process), 0);
    assert_int_equal(mp_process_join(process, SECONDS), 0);
    assert_int_equal(mp_process_free(process), 0);
    munmap((void *)(uintptr_t)rounds, sizeof *rounds);
}

/* ---- many threads ---- */

enum { THREADS = 8, EACH = 4, ITERATIONS = 3000, ADDRESSES = 4096 };

static _Atomic uintptr_t addresses[ADDRESSES]; /* different addresses of handles */
static _Atomic int address_count;

/* Notes the address of a handle, without its generation. */
static void note(const void *handle)
{
    uintptr_t address = (uintptr_t)handle & ~HANDLE_TAG;

    for (size_t i = address / 64 % ADDRESSES;; i = (i + 1) % ADDRESSES) {
        uintptr_t there = 0;

        if (atomic_compare_exchange_strong(&addresses[i], &there, address)) {
            atomic_fetch_add(&address_count, 1);
            return;
        }
        if (there == address)
            return;
    }
}

static void *iterate(void *arg)
{
    intptr_t errors = 0;

    (void)arg;
    for (int i = 0; i < ITERATIONS; i++) {
        mp_dict_iter *iter[EACH];
        mp_list_iter *list_iter[EACH];
        mp_value value;

        for (int j = 0; j < EACH; j++) {
            errors += mp_dict_iter_create(&iter[j], dict) != 0 || mp_list_iter_create(&list_iter[j], list) != 0;
            note(iter[j]);
            note(list_iter[j]);
        }
        for (int j = 0; j < EACH; j++) {
            errors += mp_dict_next(iter[j], NULL, &value) != 0 || number_of(&value) < 0;
            errors += mp_list_next(list_iter[j], &value) != 0 || number_of(&value) < 0;
            errors += mp_dict_iter_free(iter[j]) != 0 || mp_list_iter_free(list_iter[j]) != 0;
        }
    }
    return (void *)errors;
}

/* New threads all the time, each with new iterators: they reuse the memory of threads that ended. */
static void iterators_of_many_threads_leave_no_memory(void **state)
{
    mp_manager_info before, after;
    (void)state;

    begin_dict(5);
    begin_list(5);
    for (int round = 0; round < 4; round++) {
        pthread_t thread[THREADS];
        void *errors;

        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, iterate, NULL), 0);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(thread[i], &errors), 0);
            assert_null(errors);
        }
        assert_int_equal(mp_manager_get_info(manager, round == 0 ? &before : &after), 0);
    }
    assert_in_range(address_count, 1, 2 * THREADS * EACH);
    assert_in_range(after.used, 1, before.used + 1024);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_change_anywhere, make, drop_manager),
        cmocka_unit_test_setup_teardown(many_changes_beside_several_walks, make, drop_manager),
        cmocka_unit_test_setup_teardown(an_ended_dict_iterator_stays_ended, make, drop_manager),
        cmocka_unit_test_setup_teardown(one_change_anywhere_in_a_list, make, drop_manager),
        cmocka_unit_test_setup_teardown(many_changes_beside_several_walks_of_a_list, make, drop_manager),
        cmocka_unit_test_setup_teardown(a_dead_container_has_no_entries, make, drop_manager),
        cmocka_unit_test_setup_teardown(a_freed_iterator_is_none_for_good, make, drop_manager),
        cmocka_unit_test_setup_teardown(walks_beside_a_process_that_changes_all, make, drop_manager),
        cmocka_unit_test_setup_teardown(iterators_of_many_threads_leave_no_memory, make, drop_manager),
    };

    if (argc > 1 && atoi(argv[1]) > 0)
        walks = atoi(argv[1]);
    return cmocka_run_group_tests(tests, leak_check_begin, leak_check_end);
}
