/* Whose container is it? Tests each call that looks into containers, while other processes keep replacing nested
 * containers and are killed while they do. There are several parents. Everything nested in a parent, two levels deep,
 * contains the number of that parent. So if an answer comes from a container that got the place of a replaced one, the
 * test notices.
 *
 * A new call needs a line in DICT_LOOKS or LIST_LOOKS, a new way to replace a line in `ways`, a new kind of container a
 * line in `kinds`. An argument multiplies the amount of work. */
#include <mp.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "support.h"

enum { PARENTS = 4, WRITERS = 2, FIRST_NUMBER = 1001, LEVELS = 2, OLD = 64, SECONDS = 60 };

static int times = 1;
static mp_manager *manager;
static mp_dict *scratch_dict;
static mp_list *scratch_list;

static struct shared {
    _Atomic int64_t rounds; /* number of replacements so far */
    _Atomic int error;      /* an error that a replacing call must not give; 0: none */
} * shared;

/* ---- containers with a number ---- */

/* The content of a container: its parent's number, a dict, a list. */
enum slot { NUMBER, DICT, LIST, SLOTS };
static const char *const keys[SLOTS] = {"of", "d", "l"};

static int dict_make(void **made)
{
    return mp_manager_dict(manager, (mp_dict **)made);
}

static int list_make(void **made)
{
    return mp_manager_list(manager, (mp_list **)made);
}

static int dict_free(void *dict)
{
    return mp_dict_free(dict);
}

static int list_free(void *list)
{
    return mp_list_free(list);
}

static int dict_add(void *dict, enum slot slot, mp_value value)
{
    return mp_dict_set(dict, mp_value_str(keys[slot]), value);
}

static int list_add(void *list, enum slot slot, mp_value value)
{
    (void)slot; /* called in the order of the slots */
    return mp_list_append(list, value);
}

static int dict_number(void *dict, int64_t *number)
{
    return mp_dict_get_int(dict, keys[NUMBER], number);
}

static int list_number(void *list, int64_t *number)
{
    return mp_list_get_int(list, NUMBER, number);
}

static int dict_get(void *dict, enum slot slot, mp_value *value)
{
    return mp_dict_get(dict, mp_value_str(keys[slot]), value);
}

static int list_get(void *list, enum slot slot, mp_value *value)
{
    return mp_list_get(list, (int64_t)slot, value);
}

static int dict_borrow(void *dict, enum slot slot, void **found)
{
    return slot == DICT ? mp_dict_get_dict(dict, keys[slot], (mp_dict **)found)
                        : mp_dict_get_list(dict, keys[slot], (mp_list **)found);
}

static int list_borrow(void *list, enum slot slot, void **found)
{
    return slot == DICT ? mp_list_get_dict(list, (int64_t)slot, (mp_dict **)found)
                        : mp_list_get_list(list, (int64_t)slot, (mp_list **)found);
}

/* Replaces all entries by those of a complete other container, in one step. */
static int dict_restore(void *dict, void *other)
{
    return mp_dict_update(dict, other);
}

static int list_restore(void *list, void *other)
{
    return mp_list_set_slice(list, MP_BEGIN, MP_END, 1, other);
}

static const struct kind {
    enum slot slot; /* the slot for containers of this kind */
    mp_type type;
    int (*make)(void **made);
    int (*free)(void *container);
    int (*add)(void *container, enum slot slot, mp_value value);
    int (*number)(void *container, int64_t *number);
    int (*get)(void *container, enum slot slot, mp_value *value);
    int (*borrow)(void *container, enum slot slot, void **found);
    int (*restore)(void *container, void *other);
} kinds[] = {
    {DICT, MP_DICT, dict_make, dict_free, dict_add, dict_number, dict_get, dict_borrow, dict_restore},
    {LIST, MP_LIST, list_make, list_free, list_add, list_number, list_get, list_borrow, list_restore},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const struct kind *kind_of(mp_type type)
{
    return type == kinds[0].type ? &kinds[0] : &kinds[1];
}

static mp_value value_of(const struct kind *kind, void *container)
{
    return kind->type == MP_DICT ? mp_value_dict(container) : mp_value_list(container);
}

/* Makes a container with that number, and `levels` levels of others nested in it. */
static int build(const struct kind *kind, int64_t number, int levels, void **made)
{
    void *container, *inner;
    int error = kind->make(&container);

    if (error != 0)
        return error;
    error = kind->add(container, NUMBER, mp_value_int(number));
    for (int i = 0; error == 0 && levels > 0 && i < KINDS; i++) {
        error = build(&kinds[i], number, levels - 1, &inner);
        if (error == 0)
            error = kind->add(container, kinds[i].slot, value_of(&kinds[i], inner));
        if (error == 0)
            error = kinds[i].free(inner);
    }
    if (error == 0)
        *made = container;
    return error;
}

static void *parents[PARENTS][KINDS]; /* nested containers are replaced here */
static void *models[PARENTS][KINDS];  /* copies of them, in which nothing is replaced */

static int restore(int parent, int kind)
{
    void *whole;
    int error = build(&kinds[kind], FIRST_NUMBER + parent, LEVELS, &whole);

    if (error == 0)
        error = kinds[kind].restore(parents[parent][kind], whole);
    return error != 0 ? error : kinds[kind].free(whole);
}

/* ---- replacing ---- */

/* Puts a container in place of the one in that slot. Errors that only show the work of other processes do not count. */
typedef int replace(void *container, const struct kind *kind, enum slot slot, mp_value value);

static int set(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    return kind->type == MP_DICT ? mp_dict_set(container, mp_value_str(keys[slot]), value)
                                 : mp_list_set(container, (int64_t)slot, value);
}

static int put_back(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    return kind->type == MP_DICT ? mp_dict_set(container, mp_value_str(keys[slot]), value)
                                 : mp_list_insert(container, (int64_t)slot, value);
}

static int pop_and_store(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    mp_value popped;
    int error = kind->type == MP_DICT ? mp_dict_pop(container, mp_value_str(keys[slot]), &popped)
                                      : mp_list_pop(container, (int64_t)slot, &popped);

    if (error == 0)
        mp_value_free(&popped);
    return error != 0 ? error : put_back(container, kind, slot, value);
}

static int pop_newest_and_store(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    mp_value key = mp_value_none(), popped = mp_value_none();
    int error = kind->type == MP_DICT ? mp_dict_popitem(container, &key, &popped) : mp_list_pop(container, -1, &popped);

    mp_value_free(&key);
    mp_value_free(&popped);
    return error != 0 ? error : put_back(container, kind, slot, value);
}

static int delete_and_insert(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    int error =
        kind->type == MP_DICT ? mp_dict_remove_key(container, keys[slot]) : mp_list_delete(container, (int64_t)slot);

    return error != 0 ? error : put_back(container, kind, slot, value);
}

static int cut_and_insert(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    int error = kind->type == MP_DICT ? mp_dict_remove(container, mp_value_str(keys[slot]))
                                      : mp_list_delete_slice(container, (int64_t)slot, (int64_t)slot + 1, 1);

    return error != 0 ? error : put_back(container, kind, slot, value);
}

/* Clears the container and refills it: only the container in the slot is new. */
static int clear_and_refill(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    mp_value all[SLOTS] = {mp_value_none(), mp_value_none(), mp_value_none()};
    int error = 0;

    for (int i = 0; error == 0 && i < SLOTS; i++)
        error = i == (int)slot ? 0 : kind->get(container, (enum slot)i, &all[i]);
    all[slot] = value;
    if (error == 0)
        error = kind->type == MP_DICT ? mp_dict_clear(container) : mp_list_clear(container);
    for (int i = 0; error == 0 && i < SLOTS; i++)
        error = kind->add(container, (enum slot)i, all[i]);
    all[slot] = mp_value_none(); /* it belongs to the caller */
    for (int i = 0; i < SLOTS; i++)
        mp_value_free(&all[i]);
    return error;
}

static int update(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    void *other;
    int error = kind->make(&other);

    if (error == 0)
        error = kind->add(other, slot, value);
    if (error == 0)
        error = kind->type == MP_DICT ? mp_dict_update(container, other)
                                      : mp_list_set_slice(container, (int64_t)slot, (int64_t)slot + 1, 1, other);
    return error != 0 ? error : kind->free(other);
}

static int swap(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    mp_value before;
    int error = kind->get(container, slot, &before);

    if (error != 0)
        return error;
    error = kind->type == MP_DICT ? mp_dict_compare_and_swap(container, mp_value_str(keys[slot]), before, value)
                                  : mp_list_compare_and_swap(container, (int64_t)slot, before, value);
    mp_value_free(&before);
    return error;
}

static int take_other(mp_value *value, bool present, void *other)
{
    (void)present;
    *value = *(mp_value *)other;
    return 0;
}

static int apply(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    return kind->type == MP_DICT ? mp_dict_apply(container, mp_value_str(keys[slot]), take_other, &value)
                                 : mp_list_set(container, (int64_t)slot, value);
}

static int move(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    if (kind->type == MP_DICT) {
        int error = mp_dict_set(container, mp_value_str("new"), value);

        return error != 0 ? error : mp_dict_move(container, mp_value_str("new"), mp_value_str(keys[slot]));
    }
    int error = mp_list_reverse(container);
    if (error == 0)
        error = mp_list_reverse(container);
    return error != 0 ? error : mp_list_set(container, (int64_t)slot, value);
}

static int many(void *container, const struct kind *kind, enum slot slot, mp_value value)
{
    mp_value key = mp_value_str(keys[slot]);

    if (kind->type == MP_DICT)
        return mp_dict_set_many(container, &key, &value, 1, NULL);
    int error = mp_list_extend_values(container, &value, 1);
    if (error == 0)
        error = mp_list_delete(container, (int64_t)slot);
    return error;
}

static const struct way {
    const char *name;
    replace *replace;
    bool whole; /* a complete container stays complete at every moment */
} ways[] = {
    {"set", set, true},
    {"update", update, true},
    {"compare and swap", swap, true},
    {"apply", apply, true},
    {"pop, set", pop_and_store, false},
    {"pop the newest, set", pop_newest_and_store, false},
    {"delete, insert", delete_and_insert, false},
    {"remove, insert", cut_and_insert, false},
    {"clear, fill", clear_and_refill, false},
    {"move", move, false},
    {"many", many, false},
};

static const struct way *way;

static bool tells_of_others(int error)
{
    return error == MP_EKEY || error == MP_EINDEX || error == MP_ETYPE || error == MP_ECHANGED;
}

static int replace_at(void *container, const struct kind *kind, int64_t number, int levels)
{
    const struct kind *inner = &kinds[rand() % KINDS];
    void *new;
    int error = build(inner, number, levels, &new);

    if (error != 0)
        return error;
    error = way->replace(container, kind, inner->slot, value_of(inner, new));
    inner->free(new);
    return error;
}

/* Replaces in a parent, or in a container nested in it. */
static int replace_once(void)
{
    int parent = rand() % PARENTS, outer = rand() % KINDS, kind = rand() % KINDS;
    int64_t number = FIRST_NUMBER + parent;
    mp_value middle;

    if (rand() % 2 == 0)
        return replace_at(parents[parent][outer], &kinds[outer], number, LEVELS - 1);
    int error = kinds[outer].get(parents[parent][outer], kinds[kind].slot, &middle);
    if (error == 0 && middle.type != kinds[kind].type) {
        mp_value_free(&middle);
        error = MP_ETYPE;
    }
    if (error != 0)
        return error;
    error = replace_at(middle.as.dict, &kinds[kind], number, LEVELS - 2);
    mp_value_free(&middle);
    return error;
}

static int replace_for_ever(void *arg)
{
    (void)arg;
    srand((unsigned)getpid());
    for (;;) {
        int error = replace_once();

        if (tells_of_others(error)) {
            error = 0;
            for (int i = 0; error == 0 && i < PARENTS * KINDS; i++)
                error = restore(i / KINDS, i % KINDS);
        }
        if (error != 0) {
            atomic_store(&shared->error, error);
            return 1;
        }
        atomic_fetch_add(&shared->rounds, 1);
    }
}

/* ---- looking ---- */

struct asked {
    int64_t number;
    mp_dict *dict;
    mp_list *list;
    mp_dict *model_dict, *other_model_dict;
    mp_list *model_list, *other_model_list;
    bool strict; /* nothing is ever missing */
    int levels;  /* levels of nesting below the container that is asked */
};

/* Number of right answers. A slow call, which looks at all nested content, counts for more. */
static int answers;
enum { LARGE = 10 };
static char fault_text[160]; /* the first fault found, or empty */

static void fault_at(int line, const char *text, int64_t number)
{
    if (fault_text[0] == 0)
        snprintf(fault_text, sizeof fault_text, "line %d: %s: %lld", line, text, (long long)number);
}
#define fault(text, number) fault_at(__LINE__, text, number)

/* Whether the call succeeded. Reports a fault if it gave an error that it must not give. */
static bool answered_at(int line, const struct asked *asked, int error, bool held)
{
    if (error == 0)
        return true;
    if (error == MP_EINVAL && !held)
        answers++; /* recognising a stale handle is right as well */
    else if (asked->strict || !tells_of_others(error))
        fault_at(line, error == MP_EINVAL ? "a container that is held has ended" : mp_strerror(error), error);
    return false;
}
#define answered(asked, error, held) answered_at(__LINE__, asked, error, held)

static void look_number(const struct asked *asked, int64_t number)
{
    if (number == asked->number)
        answers++;
    else
        fault("another container's number", number);
}

/* Looks at all content of a container that belongs to that parent, in each way. */
static void look(const struct asked *asked, const struct kind *kind, void *container, int levels, bool held)
{
    int64_t number;
    mp_value value;
    void *borrowed;

    if (answered(asked, kind->number(container, &number), held))
        look_number(asked, number);
    for (int i = 0; levels > 0 && i < KINDS; i++) {
        if (answered(asked, kind->get(container, kinds[i].slot, &value), held)) {
            if (value.type == MP_DICT || value.type == MP_LIST)
                look(asked, kind_of(value.type), value.as.dict, levels - 1, true);
            else if (asked->strict)
                fault("not a container", value.type);
            mp_value_free(&value);
        }
        if (answered(asked, kind->borrow(container, kinds[i].slot, &borrowed), held))
            look(asked, &kinds[i], borrowed, levels - 1, false);
    }
}

/* Looks at a value that a call returned with a hold. */
static void look_value(const struct asked *asked, const mp_value *value)
{
    if (value->type == MP_DICT || value->type == MP_LIST)
        look(asked, kind_of(value->type), value->as.dict, asked->levels, true);
    else if (value->type == MP_INT)
        look_number(asked, value->as.integer);
    else if (value->type != MP_STR)
        fault("a value of no parent's", value->type);
}

static void look_and_free(const struct asked *asked, int error, mp_value *value)
{
    if (!answered(asked, error, true))
        return;
    look_value(asked, value);
    mp_value_free(value);
}

/* Looks at a new list that a call returned. */
static void look_list(const struct asked *asked, int error, mp_list **made)
{
    mp_list *list = *made;
    size_t length = 0;
    mp_value value;

    if (!answered(asked, error, true))
        return;
    error = mp_list_length(list, &length);
    if (error != 0)
        fault("a new list has no length", error);
    for (size_t i = 0; i < length; i++) {
        error = mp_list_get(list, (int64_t)i, &value);
        if (error != 0) {
            fault("a new list lacks an element", error);
            continue;
        }
        look_value(asked, &value);
        mp_value_free(&value);
    }
    answers++;
    if (mp_list_free(list) != 0)
        fault("a new list is not the caller's", 0);
}

static void look_dict(const struct asked *asked, int error, mp_dict **made)
{
    mp_dict *dict = *made;
    mp_list *values = NULL;

    if (!answered(asked, error, true))
        return;
    look_list(asked, mp_dict_values(dict, &values), &values);
    if (mp_dict_free(dict) != 0)
        fault("a new dict is not the caller's", 0);
}

/* Looks at the result of items(): lists of two. */
static void look_items(const struct asked *asked, int error, mp_list **made)
{
    mp_list *items = *made;
    size_t length = 0;
    mp_list *item, *part;

    if (!answered(asked, error, true))
        return;
    mp_list_length(items, &length);
    for (size_t i = 0; i < length; i++) {
        error = mp_list_get_list(items, (int64_t)i, &item);
        if (error == 0)
            error = mp_list_slice(item, 1, 2, 1, &part);
        look_list(asked, error, &part);
    }
    answers++;
    if (mp_list_free(items) != 0)
        fault("a new list is not the caller's", 0);
}

/* Every number in the text must be the parent's. */
static void look_text(const struct asked *asked, int error, char **made)
{
    char *text = *made;
    if (!answered(asked, error, true))
        return;
    for (char *at = text; *at != 0;) {
        if (*at < '0' || *at > '9') {
            at++;
            continue;
        }
        look_number(asked, strtoll(at, &at, 10));
    }
    if (asked->strict && strstr(text, "...") != NULL)
        fault("a container that seems to hold itself", 0);
    answers++;
    free(text);
}

/* A container equals its own copy, and not that of another parent. */
static void look_equal(const struct asked *asked, int error, const bool *answer, bool own)
{
    bool equal = *answer;
    if (!answered(asked, error, true))
        return;
    answers += LARGE;
    if (own ? asked->strict && !equal : equal)
        fault(own ? "does not equal its like" : "equals another's like", equal);
}

/* Handles that were borrowed some time ago. */
static struct old {
    const struct kind *kind;
    void *container;
    int64_t number;
} old[OLD];
static unsigned old_next;

static void look_old(const struct asked *asked)
{
    for (int i = 0; i < 4; i++) {
        const struct old *one = &old[(unsigned)rand() % OLD];
        struct asked other = *asked;

        other.number = one->number;
        if (one->container != NULL)
            look(&other, one->kind, one->container, 1, false);
    }
}

static void look_borrowed(const struct asked *asked, int error, const struct kind *kind, void *container)
{
    if (!answered(asked, error, true))
        return;
    look(asked, kind, container, LEVELS - 1, false);
    old[old_next++ % OLD] = (struct old){kind, container, asked->number};
    look_old(asked);
}

/* ---- uses of a borrowed handle ---- */

static int see_number(mp_value *value, bool present, void *arg)
{
    if (present && value->type == MP_INT)
        look_number(arg, value->as.integer);
    else if (((const struct asked *)arg)->strict)
        fault("apply sees no number", value->type);
    return 1; /* leaves the value as it is */
}

/* The same questions for a container nested in the parent. */
static struct asked inside(const struct asked *asked)
{
    struct asked inner = *asked;

    inner.levels--;
    return inner;
}

/* Uses a dict, which another process may have replaced, in every way: each answer shows the dict as it is, or is an
 * error. */
static void use_dict(const struct asked *outer, mp_dict *dict)
{
    const struct asked inner = inside(outer), *asked = &inner;
    mp_value value = mp_value_none();
    mp_list *list = NULL;
    mp_dict *copy = NULL;
    char *text = NULL;
    int64_t number = 0;
    int error;

    /* If the number may be missing, this call would add another one. */
    if (asked->strict && answered(asked, mp_dict_add_int(dict, "of", 0, &number), false))
        look_number(asked, number);
    error = mp_dict_apply(dict, mp_value_str("of"), see_number, (void *)(uintptr_t)asked);
    if (error != 1)
        answered(asked, error, false);
    error =
        mp_dict_compare_and_swap(dict, mp_value_str("of"), mp_value_int(asked->number), mp_value_int(asked->number));
    answered(asked, error, false);
    if (answered(asked, mp_dict_setdefault(dict, mp_value_str("of"), mp_value_int(asked->number), &value), false))
        look_value(asked, &value);
    if (answered(asked, error = mp_dict_values(dict, &list), false))
        look_list(asked, 0, &list);
    if (answered(asked, error = mp_dict_items(dict, &list), false))
        look_items(asked, 0, &list);
    if (answered(asked, error = mp_dict_copy(dict, &copy), false))
        look_dict(asked, 0, &copy);
    if (answered(asked, error = mp_dict_json(dict, &text), false))
        look_text(asked, 0, &text);
    if (answered(asked, mp_dict_hold(dict), false)) {
        look(asked, &kinds[0], dict, 1, true);
        if (mp_dict_free(dict) != 0)
            fault("a hold is not the caller's", 0);
    }
}

static void use_list(const struct asked *outer, mp_list *list)
{
    const struct asked inner = inside(outer), *asked = &inner;
    mp_list *copy = NULL;
    char *text = NULL;
    int64_t number = 0;

    if (answered(asked, mp_list_add_int(list, 0, 0, &number), false))
        look_number(asked, number);
    answered(asked, mp_list_compare_and_swap(list, 0, mp_value_int(asked->number), mp_value_int(asked->number)), false);
    if (answered(asked, mp_list_copy(list, &copy), false))
        look_list(asked, 0, &copy);
    if (answered(asked, mp_list_concat(list, list, &copy), false))
        look_list(asked, 0, &copy);
    if (answered(asked, mp_list_json(list, &text), false))
        look_text(asked, 0, &text);
    if (answered(asked, mp_list_hold(list), false)) {
        look(asked, &kinds[1], list, 1, true);
        if (mp_list_free(list) != 0)
            fault("a hold is not the caller's", 0);
    }
}

/* Holds a borrowed container by storing it elsewhere. The result is that container, or an error. */
static void look_stored(const struct asked *asked, int error, mp_value *value)
{
    if (answered(asked, error, false))
        look_and_free(asked, 0, value);
}

static int by_nothing(const mp_value *a, const mp_value *b, void *arg)
{
    const struct asked *asked = arg;

    for (int i = 0; i < 2; i++) {
        const mp_value *value = i == 0 ? a : b;

        if (value->type == MP_DICT || value->type == MP_LIST)
            look(asked, kind_of(value->type), value->as.dict, LEVELS - 1, true);
        else
            look_value(asked, value);
    }
    return 0;
}

static void print_dict(const struct asked *asked)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    int error = stream == NULL ? MP_ENOMEM : mp_dict_print(asked->dict, stream);

    fclose(stream);
    look_text(asked, error, &text);
}

static void print_list(const struct asked *asked)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    int error = stream == NULL ? MP_ENOMEM : mp_list_print(asked->list, stream);

    fclose(stream);
    look_text(asked, error, &text);
}

static void iterate_dict(const struct asked *asked)
{
    mp_dict_iter *iter;
    mp_value key, value;
    int error = mp_dict_iter_create(&iter, asked->dict), met = 0;

    while (error == 0 && (error = mp_dict_next(iter, &key, &value)) == 0) {
        met++;
        look_value(asked, &value);
        if (strcmp(key.as.str, keys[NUMBER]) == 0 ? value.type != MP_INT : value.type == MP_INT)
            fault("a value under another's key", value.type);
    }
    if (error != MP_ESTOP)
        fault("an iterator ends", error);
    if (asked->strict && met != SLOTS)
        fault("an iterator has met", met);
    answers += met;
    mp_dict_iter_free(iter);
}

static void iterate_list(const struct asked *asked)
{
    mp_list_iter *iter;
    mp_value value;
    int error = mp_list_iter_create(&iter, asked->list), met = 0;

    while (error == 0 && (error = mp_list_next(iter, &value)) == 0) {
        met++;
        look_value(asked, &value);
    }
    if (error != MP_ESTOP)
        fault("an iterator ends", error);
    if (asked->strict && met != SLOTS)
        fault("an iterator has met", met);
    answers += met;
    mp_list_iter_free(iter);
}

static void get_many(const struct asked *asked)
{
    const mp_value wanted[SLOTS] = {mp_value_str("of"), mp_value_str("d"), mp_value_str("l")};
    mp_value values[SLOTS];
    size_t found;

    if (!answered(asked, mp_dict_get_many(asked->dict, wanted, values, SLOTS, &found), true))
        return;
    if (asked->strict && found != SLOTS)
        fault("of many there were", (int64_t)found);
    for (int i = 0; i < SLOTS; i++) {
        if (values[i].type != MP_NONE)
            look_and_free(asked, 0, &values[i]);
    }
}

static mp_value first_borrowed(const struct asked *asked)
{
    mp_dict *dict;

    return mp_dict_get_dict(asked->dict, "d", &dict) == 0 ? mp_value_dict(dict) : mp_value_none();
}

/* clang-format off */
/* Calls without and with a change of the parent. */
#define DICT_LOOKS(LOOK, CHANGE) \
    LOOK(get, look_and_free(a, mp_dict_get(a->dict, mp_value_str(i++ % 2 ? "d" : "l"), &v), &v)) \
    LOOK(get_int, look(a, &kinds[0], a->dict, 0, true)) \
    LOOK(get_default, look_and_free(a, mp_dict_get_default(a->dict, mp_value_str("d"), mp_value_int(a->number), &v), &v)) \
    LOOK(get_default_fallback, v = first_borrowed(a); if (v.type != MP_NONE) \
         look_stored(a, mp_dict_get_default(a->dict, mp_value_str("none"), v, &w), &w)) \
    LOOK(get_many, get_many(a)) \
    LOOK(hold_dict, e = mp_dict_hold_dict(a->dict, "d", &d); if (answered(a, e, true)) { \
         look(a, &kinds[0], d, 1, true); if (mp_dict_free(d) != 0) fault("not held", 0); }) \
    LOOK(hold_list, e = mp_dict_hold_list(a->dict, "l", &l); if (answered(a, e, true)) { \
         look(a, &kinds[1], l, 1, true); if (mp_list_free(l) != 0) fault("not held", 0); }) \
    LOOK(get_dict, e = mp_dict_get_dict(a->dict, "d", &d); look_borrowed(a, e, &kinds[0], d)) \
    LOOK(get_list, e = mp_dict_get_list(a->dict, "l", &l); look_borrowed(a, e, &kinds[1], l)) \
    LOOK(use_dict, if (answered(a, mp_dict_get_dict(a->dict, "d", &d), true)) use_dict(a, d)) \
    LOOK(use_list, if (answered(a, mp_dict_get_list(a->dict, "l", &l), true)) use_list(a, l)) \
    LOOK(setdefault, look_and_free(a, mp_dict_setdefault(a->dict, mp_value_str("of"), mp_value_int(a->number), &v), &v)) \
    LOOK(has, if (answered(a, mp_dict_contains_key(a->dict, "d", &b), true) && a->strict && !b) fault("has", 0); else \
         answers++) \
    LOOK(contains, if (answered(a, mp_dict_contains(a->dict, mp_value_str("l"), &b), true) && a->strict && !b) fault("in", \
         0); \
         else answers++) \
    LOOK(length, if (answered(a, mp_dict_length(a->dict, &n), true) && a->strict && n != SLOTS) \
         fault("length", (int64_t)n); else answers++) \
    LOOK(keys, look_list(a, mp_dict_keys(a->dict, &l), &l)) \
    LOOK(values, look_list(a, mp_dict_values(a->dict, &l), &l)) \
    LOOK(items, look_items(a, mp_dict_items(a->dict, &l), &l)) \
    LOOK(copy, look_dict(a, mp_dict_copy(a->dict, &d), &d)) \
    LOOK(update, e = mp_manager_dict(manager, &d); if (e == 0) e = mp_dict_update(d, a->dict); look_dict(a, e, &d)) \
    LOOK(set_elsewhere, v = first_borrowed(a); if (v.type != MP_NONE && \
         answered(a, mp_dict_set(scratch_dict, mp_value_str("d"), v), false)) \
         look_and_free(a, mp_dict_pop(scratch_dict, mp_value_str("d"), &v), &v)) \
    LOOK(set_many_elsewhere, v = first_borrowed(a); w = mp_value_str("d"); if (v.type != MP_NONE && \
         answered(a, mp_dict_set_many(scratch_dict, &w, &v, 1, NULL), false)) \
         look_and_free(a, mp_dict_pop(scratch_dict, mp_value_str("d"), &v), &v)) \
    LOOK(setdefault_elsewhere, v = first_borrowed(a); if (v.type != MP_NONE) \
         look_stored(a, mp_dict_setdefault(scratch_dict, mp_value_str("d"), v, &w), &w); \
         mp_dict_pop(scratch_dict, mp_value_str("d"), NULL)) \
    LOOK(apply, e = mp_dict_apply(a->dict, mp_value_str("of"), see_number, (void *)(uintptr_t)a); if (e != 1) answered(a, \
         e, true)) \
    LOOK(equal, look_equal(a, mp_dict_equal(a->dict, a->model_dict, &b), &b, true)) \
    LOOK(equal_reversed, look_equal(a, mp_dict_equal(a->model_dict, a->dict, &b), &b, true)) \
    LOOK(equal_other, look_equal(a, mp_dict_equal(a->dict, a->other_model_dict, &b), &b, false)) \
    LOOK(equal_values, v = mp_value_dict(a->dict); w = mp_value_dict(a->model_dict); \
         look_equal(a, mp_value_equal(&v, &w, &b), &b, true)) \
    LOOK(json, look_text(a, mp_dict_json(a->dict, &text), &text)) \
    LOOK(value_json, v = mp_value_dict(a->dict); look_text(a, mp_value_json(&v, &text), &text)) \
    LOOK(print, print_dict(a)) \
    LOOK(iterate, iterate_dict(a)) \
    CHANGE(pop, look_and_free(a, mp_dict_pop(a->dict, mp_value_str("d"), &v), &v)) \
    CHANGE(pop_default, look_and_free(a, mp_dict_pop_default(a->dict, mp_value_str("l"), mp_value_int(a->number), &v), &v)) \
    CHANGE(popitem, look_and_free(a, mp_dict_popitem(a->dict, NULL, &v), &v)) \
    CHANGE(move, answered(a, mp_dict_move(a->dict, mp_value_str("d"), mp_value_str("x")), true); \
         look_and_free(a, mp_dict_pop(a->dict, mp_value_str("x"), &v), &v)) \
    CHANGE(clear, if (i++ % 64 == 0) answered(a, mp_dict_clear(a->dict), true); look_dict(a, mp_dict_copy(a->dict, \
         &d), &d))

#define LIST_LOOKS(LOOK, CHANGE) \
    LOOK(get, look_and_free(a, mp_list_get(a->list, i++ % 2 + 1, &v), &v)) \
    LOOK(get_int, look(a, &kinds[1], a->list, 0, true)) \
    LOOK(hold_dict, e = mp_list_hold_dict(a->list, DICT, &d); if (answered(a, e, true)) { \
         look(a, &kinds[0], d, 1, true); if (mp_dict_free(d) != 0) fault("not held", 0); }) \
    LOOK(hold_list, e = mp_list_hold_list(a->list, LIST, &l); if (answered(a, e, true)) { \
         look(a, &kinds[1], l, 1, true); if (mp_list_free(l) != 0) fault("not held", 0); }) \
    LOOK(get_dict, e = mp_list_get_dict(a->list, DICT, &d); look_borrowed(a, e, &kinds[0], d)) \
    LOOK(get_list, e = mp_list_get_list(a->list, LIST, &l); look_borrowed(a, e, &kinds[1], l)) \
    LOOK(use_dict, if (answered(a, mp_list_get_dict(a->list, DICT, &d), true)) use_dict(a, d)) \
    LOOK(use_list, if (answered(a, mp_list_get_list(a->list, LIST, &l), true)) use_list(a, l)) \
    LOOK(length, if (answered(a, mp_list_length(a->list, &n), true) && a->strict && n != SLOTS) \
         fault("length", (int64_t)n); else answers++) \
    LOOK(copy, look_list(a, mp_list_copy(a->list, &l), &l)) \
    LOOK(slice, look_list(a, mp_list_slice(a->list, MP_END, MP_BEGIN, -1, &l), &l)) \
    LOOK(concat, look_list(a, mp_list_concat(a->list, a->list, &l), &l)) \
    LOOK(concat_behind, look_list(a, mp_list_concat(scratch_list, a->list, &l), &l)) \
    LOOK(repeat, look_list(a, mp_list_repeat(a->list, 2, &l), &l)) \
    LOOK(extend, e = mp_manager_list(manager, &l); if (e == 0) e = mp_list_extend(l, a->list); look_list(a, e, &l)) \
    LOOK(set_slice, e = mp_manager_list(manager, &l); if (e == 0) e = mp_list_set_slice(l, 0, 0, 1, a->list); \
         look_list(a, e, &l)) \
    LOOK(append_elsewhere, v = first_borrowed(a); if (v.type != MP_NONE && \
         answered(a, mp_list_append(scratch_list, v), false)) look_and_free(a, mp_list_pop(scratch_list, -1, &v), &v)) \
    LOOK(insert_elsewhere, v = first_borrowed(a); if (v.type != MP_NONE && \
         answered(a, mp_list_insert(scratch_list, 0, v), false)) look_and_free(a, mp_list_pop(scratch_list, 0, &v), \
         &v)) \
    LOOK(extend_values_elsewhere, v = first_borrowed(a); if (v.type != MP_NONE && \
         answered(a, mp_list_extend_values(scratch_list, &v, 1), false)) \
         look_and_free(a, mp_list_pop(scratch_list, -1, &v), &v)) \
    LOOK(index_other, if (answered(a, mp_list_get_dict(a->other_model_list, DICT, &d), true)) { \
         e = mp_list_index(a->list, mp_value_dict(d), &n); if (e != MP_EVALUE) fault("index of another's", e); else \
         answers += LARGE; }) \
    LOOK(count_other, if (answered(a, mp_list_get_list(a->other_model_list, LIST, &l), true) && \
         answered(a, mp_list_count(a->list, mp_value_list(l), &n), true)) \
         { if (n != 0) fault("counts another's", (int64_t)n); else answers += LARGE; }) \
    LOOK(contains_own, if (answered(a, mp_list_get_dict(a->model_list, DICT, &d), true)) \
         { e = mp_list_contains(a->list, mp_value_dict(d), &b); look_equal(a, e, &b, true); }) \
    LOOK(contains_other, if (answered(a, mp_list_get_dict(a->other_model_list, DICT, &d), true)) \
         { e = mp_list_contains(a->list, mp_value_dict(d), &b); look_equal(a, e, &b, false); }) \
    LOOK(contains_borrowed, if (answered(a, mp_list_get_dict(a->list, DICT, &d), true)) \
         { e = mp_list_contains(a->other_model_list, mp_value_dict(d), &b); \
         if (answered(a, e, false)) look_equal(a, 0, &b, false); }) \
    LOOK(remove_other, if (answered(a, mp_list_get_dict(a->other_model_list, DICT, &d), true)) { \
         e = mp_list_remove(a->list, mp_value_dict(d)); if (e != MP_EVALUE) fault("removes another's", e); else \
         answers += LARGE; }) \
    LOOK(equal, look_equal(a, mp_list_equal(a->list, a->model_list, &b), &b, true)) \
    LOOK(equal_reversed, look_equal(a, mp_list_equal(a->model_list, a->list, &b), &b, true)) \
    LOOK(equal_other, look_equal(a, mp_list_equal(a->list, a->other_model_list, &b), &b, false)) \
    LOOK(json, look_text(a, mp_list_json(a->list, &text), &text)) \
    LOOK(print, print_list(a)) \
    LOOK(iterate, iterate_list(a)) \
    LOOK(sort, answered(a, mp_list_sort(a->list, by_nothing, (void *)(uintptr_t)a, false), true)) \
    CHANGE(pop, look_and_free(a, mp_list_pop(a->list, i++ % 2, &v), &v)) \
    CHANGE(pop_last, look_and_free(a, mp_list_pop(a->list, -1, &v), &v)) \
    CHANGE(delete, answered(a, mp_list_delete(a->list, 1), true); look_list(a, mp_list_copy(a->list, &l), &l)) \
    CHANGE(delete_slice, answered(a, mp_list_delete_slice(a->list, 1, 2, 1), true); look_list(a, \
         mp_list_copy(a->list, &l), &l)) \
    CHANGE(remove, if (answered(a, mp_list_get_dict(a->model_list, DICT, &d), true)) { \
         e = mp_list_remove(a->list, mp_value_dict(d)); if (e != MP_EVALUE) answered(a, e, true); } answers++) \
    CHANGE(reverse, answered(a, mp_list_reverse(a->list), true); look_list(a, mp_list_copy(a->list, &l), &l)) \
    CHANGE(clear, if (i++ % 64 == 0) answered(a, mp_list_clear(a->list), true); look_list(a, mp_list_copy(a->list, \
         &l), &l))
/* clang-format on */

#define DEFINE(prefix, name, ...) \
    static void prefix##_look_##name(const struct asked *a) \
    { \
        static int i; \
        mp_value v = mp_value_none(), w = mp_value_none(); \
        mp_dict *d = NULL; \
        mp_list *l = NULL; \
        char *text = NULL; \
        size_t n = 0; \
        bool b = false; \
        int e = 0; \
        (void)v, (void)w, (void)d, (void)l, (void)text, (void)n, (void)b, (void)e, (void)i; \
        __VA_ARGS__; \
    }
#define DEFINE_DICT(name, ...) DEFINE(dict, name, __VA_ARGS__)
#define DEFINE_LIST(name, ...) DEFINE(list, name, __VA_ARGS__)
DICT_LOOKS(DEFINE_DICT, DEFINE_DICT)
LIST_LOOKS(DEFINE_LIST, DEFINE_LIST)

#define ROW_DICT_LOOK(name, ...) {"dict " #name, dict_look_##name, false},
#define ROW_DICT_CHANGE(name, ...) {"dict " #name, dict_look_##name, true},
#define ROW_LIST_LOOK(name, ...) {"list " #name, list_look_##name, false},
#define ROW_LIST_CHANGE(name, ...) {"list " #name, list_look_##name, true},
static const struct call {
    const char *name;
    void (*look)(const struct asked *asked);
    bool changes;
} calls[] = {DICT_LOOKS(ROW_DICT_LOOK, ROW_DICT_CHANGE) LIST_LOOKS(ROW_LIST_LOOK, ROW_LIST_CHANGE)};
enum { CALLS = sizeof calls / sizeof calls[0] };

/* ---- calls beside replacing processes ---- */

/* The least number of right answers of each call, and of replacements meanwhile. */
enum { ANSWERS = 100, ROUNDS = 60 };

static struct asked ask(int parent, bool strict)
{
    int other = (parent + 1) % PARENTS;

    return (struct asked){.number = FIRST_NUMBER + parent,
                          .dict = parents[parent][0],
                          .list = parents[parent][1],
                          .model_dict = models[parent][0],
                          .model_list = models[parent][1],
                          .other_model_dict = models[other][0],
                          .other_model_list = models[other][1],
                          .strict = strict,
                          .levels = LEVELS - 1};
}

static const char *look_on(const struct call *call)
{
    int64_t begin = atomic_load(&shared->rounds);
    double end = now() + SECONDS * times;

    for (int i = 0; way->whole && i < PARENTS * KINDS; i++)
        assert_int_equal(restore(i / KINDS, i % KINDS), 0);
    fault_text[0] = 0;
    answers = 0;
    for (int i = 0; answers < ANSWERS * times || atomic_load(&shared->rounds) - begin < ROUNDS * times; i++) {
        struct asked asked = ask(i % PARENTS, way->whole && !call->changes);

        call->look(&asked);
        if (fault_text[0] != 0)
            return fault_text;
        if (atomic_load(&shared->error) != 0)
            return mp_strerror(atomic_load(&shared->error));
        if (now() > end)
            return "does not get on";
        sched_yield();
    }
    return NULL;
}

static mp_process *writers[WRITERS];

static void start_writer(int i)
{
    assert_int_equal(mp_process_start(&writers[i], replace_for_ever, NULL, NULL), 0);
}

static void kill_writer(int i)
{
    assert_int_equal(mp_process_kill(writers[i]), 0);
    assert_int_equal(mp_process_join(writers[i], SECONDS), 0);
    assert_int_equal(mp_process_free(writers[i]), 0);
}

/* Makes each call while processes replace in that way. One of them is killed after each call. */
static void look_beside(void **state)
{
    const char *found = NULL;
    int call = 0;

    way = *state;
    memset(old, 0, sizeof old);
    shared->error = 0;
    for (int i = 0; i < PARENTS * KINDS; i++)
        assert_int_equal(restore(i / KINDS, i % KINDS), 0);
    for (int i = 0; i < WRITERS; i++)
        start_writer(i);
    for (call = 0; found == NULL && call < CALLS; call++) {
        found = look_on(&calls[call]);
        kill_writer(call % WRITERS);
        start_writer(call % WRITERS);
    }
    for (int i = 0; i < WRITERS; i++)
        kill_writer(i);
    if (found != NULL)
        fail_msg("%s beside \"%s\": %s", calls[call - 1].name, way->name, found);
    assert_int_equal(mp_manager_check(manager), 0);
}

static int make(void **state)
{
    int error = mp_manager_create(&manager, NULL);

    (void)state;
    leak_check_begin(NULL);
    shared = shared_memory(sizeof *shared);
    if (error != 0 || mp_manager_dict(manager, &scratch_dict) != 0 || mp_manager_list(manager, &scratch_list) != 0)
        return -1;
    for (int i = 0; error == 0 && i < PARENTS * KINDS; i++) {
        error = build(&kinds[i % KINDS], FIRST_NUMBER + i / KINDS, LEVELS, &parents[i / KINDS][i % KINDS]);
        if (error == 0)
            error = build(&kinds[i % KINDS], FIRST_NUMBER + i / KINDS, LEVELS, &models[i / KINDS][i % KINDS]);
    }
    return error;
}

static int drop(void **state)
{
    munmap(shared, sizeof *shared);
    if (mp_manager_check(manager) != 0 || mp_manager_free(manager) != 0)
        return -1;
    (void)state;
    return 0;
}

int main(int argc, char **argv)
{
    enum { WAYS = sizeof ways / sizeof ways[0] };
    struct CMUnitTest tests[WAYS];

    times = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 1;
    for (size_t i = 0; i < WAYS; i++)
        tests[i] = (struct CMUnitTest){
            .name = ways[i].name, .test_func = look_beside, .initial_state = (void *)(uintptr_t)&ways[i]};
    return cmocka_run_group_tests(tests, make, drop);
}
