/* The list's operations, one function each. */
#include <stdlib.h>
#include <string.h>

#include "differential.h"

struct about {
    int container;
    mp_list *list;
    struct model *model;
    struct model_value value;
    int64_t index; /* as in Python; mostly an existing one */
    size_t at;     /* the position it stands for */
    bool there;
    struct line *asked, *real, *expected;
};

static const struct model_value no_key;

static void append(struct about *a)
{
    put(a->asked, "append ");
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_list_append(a->list, to_library(&a->value)));
    put(a->expected, "0 ");
    model_insert(a->model, a->model->count, no_key, a->value);
}

static void insert(struct about *a)
{
    int64_t length = (int64_t)a->model->count, at = a->index;

    put(a->asked, "insert i%lld ", (long long)a->index);
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_list_insert(a->list, a->index, to_library(&a->value)));
    put(a->expected, "0 ");
    if (at < 0)
        at = at + length < 0 ? 0 : at + length;
    model_insert(a->model, (size_t)(at > length ? length : at), no_key, a->value);
}

static void get(struct about *a)
{
    mp_value value;
    int error = mp_list_get(a->list, a->index, &value);

    put(a->asked, "get i%lld ", (long long)a->index);
    put(a->real, "%d ", error);
    if (error == 0)
        put_value(a->real, &value);
    put(a->expected, "%d ", a->there ? 0 : MP_EINDEX);
    if (a->there)
        put_model(a->expected, &a->model->pair[a->at].value);
}

static void set(struct about *a)
{
    put(a->asked, "set i%lld ", (long long)a->index);
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_list_set(a->list, a->index, to_library(&a->value)));
    put(a->expected, "%d ", a->there ? 0 : MP_EINDEX);
    if (a->there)
        a->model->pair[a->at].value = a->value;
}

static void compare_and_swap(struct about *a)
{
    struct model_value old = a->there && below(2) ? a->model->pair[a->at].value : random_value(a->container);

    put(a->asked, "cas i%lld ", (long long)a->index);
    put_model(a->asked, &old);
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_list_compare_and_swap(a->list, a->index, to_library(&old), to_library(&a->value)));
    bool same = a->there && model_same(&a->model->pair[a->at].value, &old);
    put(a->expected, "%d ", !a->there ? MP_EINDEX : same ? 0 : MP_ECHANGED);
    if (same)
        a->model->pair[a->at].value = a->value;
}

static void add(struct about *a)
{
    int64_t delta = below(8) == 0 ? INT64_MIN : (int64_t)below(100) - 50, now = 0, sum = 0;
    int error = 0;

    put(a->asked, "add i%lld i%lld ", (long long)a->index, (long long)delta);
    put(a->real, "%d ", mp_list_add_int(a->list, a->index, delta, &now));
    put(a->real, "%lld ", (long long)now);
    if (!a->there)
        error = MP_EINDEX;
    else if (a->model->pair[a->at].value.type != M_INT)
        error = MP_ETYPE;
    else if (__builtin_add_overflow(a->model->pair[a->at].value.integer, delta, &sum))
        error = MP_EOVERFLOW;
    else
        a->model->pair[a->at].value.integer = sum;
    put(a->expected, "%d %lld ", error, error == 0 ? (long long)sum : 0LL);
}

static void pop(struct about *a)
{
    mp_value value;
    int error = mp_list_pop(a->list, a->index, &value);

    put(a->asked, "pop i%lld ", (long long)a->index);
    put(a->real, "%d ", error);
    if (error == 0)
        put_value(a->real, &value);
    put(a->expected, "%d ", a->there ? 0 : MP_EINDEX);
    if (a->there) {
        put_model(a->expected, &a->model->pair[a->at].value);
        model_delete(a->model, a->at);
    }
}

static void delete (struct about *a)
{
    put(a->asked, "delete i%lld ", (long long)a->index);
    put(a->real, "%d ", mp_list_delete(a->list, a->index));
    put(a->expected, "%d ", a->there ? 0 : MP_EINDEX);
    if (a->there)
        model_delete(a->model, a->at);
}

/* A value to search for. It is never a container, because those are compared by content. */
static struct model_value wanted(struct about *a)
{
    struct model_value value = a->there && below(2) ? a->model->pair[a->at].value : a->value;

    return value.type == M_CONTAINER ? (struct model_value){.type = M_NONE} : value;
}

static void remove_value(struct about *a)
{
    struct model_value value = wanted(a);
    size_t at = model_find_value(a->model, &value, 0);

    put(a->asked, "remove ");
    put_model(a->asked, &value);
    put(a->real, "%d ", mp_list_remove(a->list, to_library(&value)));
    put(a->expected, "%d ", at < a->model->count ? 0 : MP_EVALUE);
    if (at < a->model->count)
        model_delete(a->model, at);
}

static void search(struct about *a)
{
    struct model_value value = wanted(a);
    size_t index = 0, count = 0, at = model_find_value(a->model, &value, 0), times = 0;
    bool found = false;

    put(a->asked, "search ");
    put_model(a->asked, &value);
    put(a->real, "%d ", mp_list_index(a->list, to_library(&value), &index));
    put(a->real, "%zu ", index);
    put(a->real, "%d ", mp_list_count(a->list, to_library(&value), &count));
    put(a->real, "%zu ", count);
    put(a->real, "%d ", mp_list_contains(a->list, to_library(&value), &found));
    put(a->real, "%d ", found);
    bool there = at < a->model->count;
    for (size_t i = at; i < a->model->count; i = model_find_value(a->model, &value, i + 1))
        times++;
    put(a->expected, "%d %zu 0 %zu 0 %d ", there ? 0 : MP_EVALUE, there ? at : 0, times, there);
}

static void length(struct about *a)
{
    size_t count = 0;

    put(a->asked, "len ");
    put(a->real, "%d ", mp_list_length(a->list, &count));
    put(a->real, "%zu ", count);
    put(a->expected, "0 %zu ", a->model->count);
}

static void clear(struct about *a)
{
    if (below(4) != 0) {
        length(a);
        return;
    }
    put(a->asked, "clear ");
    put(a->real, "%d ", mp_list_clear(a->list));
    put(a->expected, "0 ");
    a->model->count = 0;
}

static void append_all(struct model *to, const struct model *from)
{
    size_t count = from->count; /* `from` and `to` may be the same list */

    for (size_t i = 0; i < count; i++)
        model_insert(to, to->count, no_key, from->pair[i].value);
}

/* Another list, or the same list. Its number is not lower, so that no cycle of containers arises. */
static int other_list(struct about *a)
{
    return a->container + (int)below((uint64_t)(CONTAINERS - a->container));
}

static void extend(struct about *a)
{
    int other = other_list(a);

    if (a->model->count + model[other].count > 3000) {
        length(a);
        return;
    }
    put(a->asked, "extend %d ", other);
    put(a->real, "%d ", mp_list_extend(a->list, handle[other]));
    put(a->expected, "0 ");
    append_all(a->model, &model[other]);
}

static void extend_values(struct about *a)
{
    struct model_value values[5];
    mp_value given[5];
    size_t count = below(6);

    put(a->asked, "extendvalues ");
    for (size_t i = 0; i < count; i++) {
        values[i] = random_value(a->container);
        given[i] = to_library(&values[i]);
        put_model(a->asked, &values[i]);
    }
    put(a->real, "%d ", mp_list_extend_values(a->list, given, count));
    put(a->expected, "0 ");
    for (size_t i = 0; i < count; i++)
        model_insert(a->model, a->model->count, no_key, values[i]);
}

static void reverse(struct about *a)
{
    put(a->asked, "reverse ");
    put(a->real, "%d ", mp_list_reverse(a->list));
    put(a->expected, "0 ");
    for (size_t i = 0, j = a->model->count; i + 1 < j; i++) {
        struct model_pair swap = a->model->pair[i];

        a->model->pair[i] = a->model->pair[--j];
        a->model->pair[j] = swap;
    }
}

/* ---- slices ---- */

static int64_t random_bound(struct about *a)
{
    switch (below(6)) {
    case 0:
        return MP_BEGIN;
    case 1:
        return MP_END;
    case 2:
        return below(2) ? INT64_MAX - 1 : INT64_MIN + 1;
    default:
        return (int64_t)below(2 * a->model->count + 6) - (int64_t)a->model->count - 3;
    }
}

/* The indices of a slice, one by one, as the Python language reference defines it. */
static size_t slice_indices(size_t count, int64_t start, int64_t stop, int64_t step, size_t *indices)
{
    int64_t length = (int64_t)count, low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
    size_t found = 0;

    int64_t *bounds[] = {&start, &stop};
    for (int i = 0; i < 2; i++) {
        int64_t bound = *bounds[i];

        if (bound != MP_BEGIN && bound != MP_END && bound < 0)
            bound = bound < -length ? MP_BEGIN : bound + length;
        *bounds[i] = bound == MP_BEGIN || bound < low ? low : bound > high ? high : bound;
    }
    for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
        indices[found++] = (size_t)at;
        if (__builtin_add_overflow(at, step, &at))
            break;
    }
    return found;
}

static int64_t random_step(void)
{
    static const int64_t steps[] = {1, 1, 1, 2, 3, -1, -2, -3, 7, INT64_MAX, INT64_MIN, 0};

    return steps[below(12)];
}

static void slice(struct about *a)
{
    int64_t start = random_bound(a), stop = random_bound(a), step = random_step();
    size_t *indices = malloc((a->model->count + 1) * sizeof *indices);
    mp_list *made;
    int error = mp_list_slice(a->list, start, stop, step, &made);

    put(a->asked, "slice i%lld i%lld i%lld ", (long long)start, (long long)stop, (long long)step);
    put(a->real, "%d ", error);
    put_new_list(a->real, error, made);
    put(a->expected, "%d ", step == 0 ? MP_EVALUE : 0);
    size_t count = step == 0 ? 0 : slice_indices(a->model->count, start, stop, step, indices);
    for (size_t i = 0; i < count; i++)
        put_model(a->expected, &a->model->pair[indices[i]].value);
    free(indices);
}

static int descending(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;

    return (y > x) - (y < x);
}

static void delete_slice(struct about *a)
{
    int64_t start = random_bound(a), stop = random_bound(a), step = random_step();
    size_t *indices = malloc((a->model->count + 1) * sizeof *indices);

    put(a->asked, "deleteslice i%lld i%lld i%lld ", (long long)start, (long long)stop, (long long)step);
    put(a->real, "%d ", mp_list_delete_slice(a->list, start, stop, step));
    put(a->expected, "%d ", step == 0 ? MP_EVALUE : 0);
    size_t count = step == 0 ? 0 : slice_indices(a->model->count, start, stop, step, indices);
    qsort(indices, count, sizeof *indices, descending);
    for (size_t i = 0; i < count; i++)
        model_delete(a->model, indices[i]);
    free(indices);
}

static void set_slice(struct about *a)
{
    int64_t start = random_bound(a), stop = random_bound(a), step = random_step();
    int other = other_list(a);

    if (a->model->count + model[other].count > 3000) {
        length(a);
        return;
    }
    struct model from = {0};
    append_all(&from, &model[other]);
    size_t *indices = malloc((a->model->count + 1) * sizeof *indices);
    put(a->asked, "setslice i%lld i%lld i%lld %d ", (long long)start, (long long)stop, (long long)step, other);
    put(a->real, "%d ", mp_list_set_slice(a->list, start, stop, step, handle[other]));
    size_t count = step == 0 ? 0 : slice_indices(a->model->count, start, stop, step, indices);
    bool fits = step == 1 || (step != 0 && count == from.count);
    put(a->expected, "%d ", fits ? 0 : MP_EVALUE);
    if (step == 1) {
        size_t first = start == MP_BEGIN ? 0 : start == MP_END ? a->model->count : 0;

        if (count > 0)
            first = indices[0];
        else if (start != MP_BEGIN && start != MP_END) /* the position of an empty slice */
            first = slice_indices(a->model->count, start, MP_END, 1, indices) > 0 ? indices[0] : a->model->count;
        for (size_t i = 0; i < count; i++)
            model_delete(a->model, first);
        for (size_t i = 0; i < from.count; i++)
            model_insert(a->model, first + i, no_key, from.pair[i].value);
    } else if (fits) {
        for (size_t i = 0; i < count; i++)
            a->model->pair[indices[i]].value = from.pair[i].value;
    }
    free(from.pair);
    free(indices);
}

/* ---- whole lists ---- */

static void copy(struct about *a)
{
    mp_list *made;
    bool equal = false;
    int error = mp_list_copy(a->list, &made);

    put(a->asked, "copy ");
    put(a->real, "%d ", error);
    if (error == 0)
        put(a->real, "%d ", mp_list_equal(made, a->list, &equal));
    put(a->real, "%d ", equal);
    put_new_list(a->real, error, made);
    put(a->expected, "0 0 1 ");
    put_contents(a->expected, a->model, false);
}

static void concat(struct about *a)
{
    int other = DICTS + (int)below(CONTAINERS - DICTS);
    mp_list *made;
    int error = mp_list_concat(a->list, handle[other], &made);

    put(a->asked, "concat %d ", other);
    put(a->real, "%d ", error);
    put_new_list(a->real, error, made);
    put(a->expected, "0 ");
    put_contents(a->expected, a->model, false);
    put_contents(a->expected, &model[other], false);
}

static void repeat(struct about *a)
{
    int64_t times = (int64_t)below(5) - 1;
    mp_list *made;
    int error = mp_list_repeat(a->list, times, &made);

    put(a->asked, "repeat i%lld ", (long long)times);
    put(a->real, "%d ", error);
    put_new_list(a->real, error, made);
    put(a->expected, "0 ");
    for (; times > 0; times--)
        put_contents(a->expected, a->model, false);
}

/* Compares types only, so that the stability of the sort shows. */
static int by_type(const mp_value *a, const mp_value *b, void *arg)
{
    (void)arg;
    return (int)(a->type == MP_LIST ? MP_DICT : a->type) - (int)(b->type == MP_LIST ? MP_DICT : b->type);
}

static void sort(struct about *a)
{
    bool down = below(2) != 0;

    put(a->asked, down ? "sorttype T " : "sorttype F ");
    put(a->real, "%d ", mp_list_sort(a->list, by_type, NULL, down));
    put(a->expected, "0 ");
    for (size_t i = 1; i < a->model->count; i++) { /* insertion sort: stable */
        struct model_pair pair = a->model->pair[i];
        size_t at = i;

        while (at > 0 && (down ? a->model->pair[at - 1].value.type < pair.value.type
                               : a->model->pair[at - 1].value.type > pair.value.type)) {
            a->model->pair[at] = a->model->pair[at - 1];
            at--;
        }
        a->model->pair[at] = pair;
    }
}

typedef void operation(struct about *about);

void list_operation(int container, struct line *asked, struct line *real, struct line *expected)
{
    static operation *const often[] = {append,           append, append, insert, get,          set,
                                       compare_and_swap, add,    pop,    delete, remove_value, search};
    static operation *const seldom[] = {length,       clear,     extend,    extend_values, reverse, slice,  slice,
                                        delete_slice, set_slice, set_slice, copy,          concat,  repeat, sort};
    struct about about = {container, handle[container], &model[container], random_value(container), 0, 0, false, asked,
                          real,      expected};
    int64_t length_now = (int64_t)about.model->count;

    about.index = below(20) == 0 ? (below(2) ? INT64_MAX : INT64_MIN)
                                 : (int64_t)below((uint64_t)(2 * length_now + 3)) - length_now - 1;
    about.there = about.index >= -length_now && about.index < length_now;
    about.at = (size_t)(about.index < 0 ? about.index + length_now : about.index);
    if (below(4) != 0)
        often[below(sizeof often / sizeof *often)](&about);
    else
        seldom[below(sizeof seldom / sizeof *seldom)](&about);
}
