/* The dict's operations, one function each. */
#include <stdlib.h>
#include <string.h>

#include "differential.h"

/* What an operation works on: chosen beforehand, and used by most operations. */
struct about {
    int container;
    mp_dict *dict;
    struct model *model;
    struct model_value key, value;
    size_t at; /* where the key is in the model */
    bool there;
    struct line *asked, *real, *expected;
};

static void set(struct about *a)
{
    put(a->asked, "set ");
    put_model(a->asked, &a->key);
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_dict_set(a->dict, to_library(&a->key), to_library(&a->value)));
    put(a->expected, "0 ");
    model_set(a->model, a->key, a->value);
}

/* The functions that read one key and take a fallback. */
typedef int getter(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value);

static int plain_get(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    (void)fallback;
    return mp_dict_get(dict, key, value);
}

static int plain_pop(mp_dict *dict, mp_value key, mp_value fallback, mp_value *value)
{
    (void)fallback;
    return mp_dict_pop(dict, key, value);
}

static void look_up(struct about *a, const char *name, getter *get, bool fallback)
{
    mp_value found;
    int error = get(a->dict, to_library(&a->key), to_library(&a->value), &found);

    put(a->asked, "%s ", name);
    put_model(a->asked, &a->key);
    if (fallback)
        put_model(a->asked, &a->value);
    put(a->real, "%d ", error);
    if (error == 0)
        put_value(a->real, &found);
    put(a->expected, "%d ", a->there || fallback ? 0 : MP_EKEY);
    if (a->there || fallback)
        put_model(a->expected, a->there ? &a->model->pair[a->at].value : &a->value);
}

static void get(struct about *a)
{
    look_up(a, "get", plain_get, false);
}

static void get_default(struct about *a)
{
    look_up(a, "getdefault", mp_dict_get_default, true);
}

static void setdefault(struct about *a)
{
    look_up(a, "setdefault", mp_dict_setdefault, true);
    if (!a->there)
        model_set(a->model, a->key, a->value);
}

static void pop(struct about *a)
{
    look_up(a, "pop", plain_pop, false);
    if (a->there)
        model_delete(a->model, a->at);
}

static void pop_default(struct about *a)
{
    look_up(a, "popdefault", mp_dict_pop_default, true);
    if (a->there)
        model_delete(a->model, a->at);
}

static void remove_key(struct about *a)
{
    put(a->asked, "remove ");
    put_model(a->asked, &a->key);
    put(a->real, "%d ", mp_dict_remove(a->dict, to_library(&a->key)));
    put(a->expected, "%d ", a->there ? 0 : MP_EKEY);
    if (a->there)
        model_delete(a->model, a->at);
}

static void contains(struct about *a)
{
    bool found = false;

    put(a->asked, "contains ");
    put_model(a->asked, &a->key);
    put(a->real, "%d ", mp_dict_contains(a->dict, to_library(&a->key), &found));
    put(a->real, "%d ", found);
    put(a->expected, "0 %d ", a->there);
}

static void add(struct about *a)
{
    int64_t delta = below(8) == 0 ? INT64_MAX : (int64_t)below(100) - 50, now = 0, sum = delta;
    int error = 0;

    put(a->asked, "add ");
    put_model(a->asked, &a->key);
    put(a->asked, "i%lld ", (long long)delta);
    put(a->real, "%d ", mp_dict_add(a->dict, to_library(&a->key), delta, &now));
    put(a->real, "%lld ", (long long)now);
    if (a->there && a->model->pair[a->at].value.type != M_INT)
        error = MP_ETYPE;
    else if (a->there && __builtin_add_overflow(a->model->pair[a->at].value.integer, delta, &sum))
        error = MP_EOVERFLOW;
    if (error == 0)
        model_set(a->model, a->key, (struct model_value){.type = M_INT, .integer = sum});
    put(a->expected, "%d %lld ", error, error == 0 ? (long long)sum : 0LL);
}

static void compare_and_swap(struct about *a)
{
    struct model_value old = a->there && below(2) ? a->model->pair[a->at].value : random_value(a->container);

    put(a->asked, "cas ");
    put_model(a->asked, &a->key);
    put_model(a->asked, &old);
    put_model(a->asked, &a->value);
    put(a->real, "%d ",
        mp_dict_compare_and_swap(a->dict, to_library(&a->key), to_library(&old), to_library(&a->value)));
    bool same = a->there && model_same(&a->model->pair[a->at].value, &old);
    put(a->expected, "%d ", !a->there ? MP_EKEY : same ? 0 : MP_ECHANGED);
    if (same)
        a->model->pair[a->at].value = a->value;
}

/* An equal key, for a number perhaps of another type. Several processes tell their own keys by the type, so there the
 * key stays as it is. */
static struct model_value equal_key(const struct model_value *key)
{
    if (is_shared())
        return *key;
    if (key->type == M_INT && key->integer >= 0 && key->integer <= 1 && below(2) == 0)
        return (struct model_value){.type = M_BOOL, .integer = key->integer};
    if (key->type == M_INT && key->integer < INT64_C(1) << 53 && key->integer > -(INT64_C(1) << 53) && below(2) == 0)
        return (struct model_value){.type = M_FLOAT, .real = (double)key->integer};
    return *key;
}

static void move(struct about *a)
{
    struct model_value to = below(4) == 0 ? equal_key(&a->key) : random_key();

    put(a->asked, "move ");
    put_model(a->asked, &a->key);
    put_model(a->asked, &to);
    put(a->real, "%d ", mp_dict_move(a->dict, to_library(&a->key), to_library(&to)));
    put(a->expected, "%d ", a->there ? 0 : MP_EKEY);
    if (a->there) {
        struct model_value value = a->model->pair[a->at].value;

        model_delete(a->model, a->at);
        model_set(a->model, to, value);
    }
}

static int swap_in(mp_value *value, bool present, void *arg)
{
    struct about *a = arg;

    if (present != a->there)
        return 99;
    if (a->value.type == M_NONE)
        return 7;
    *value = to_library(&a->value);
    return 0;
}

static void apply(struct about *a)
{
    put(a->asked, "apply ");
    put_model(a->asked, &a->key);
    put_model(a->asked, &a->value);
    put(a->real, "%d ", mp_dict_apply(a->dict, to_library(&a->key), swap_in, a));
    put(a->expected, "%d ", a->value.type == M_NONE ? 7 : 0);
    if (a->value.type != M_NONE)
        model_set(a->model, a->key, a->value);
}

/* The typed short forms of reading. They take texts without a NUL inside only. */
static void short_forms(struct about *a)
{
    const char *key = a->key.text;

    if (a->key.type != M_STR || strlen(key) != a->key.size) {
        contains(a);
        return;
    }
    const struct model_value *now = a->there ? &a->model->pair[a->at].value : NULL;
    int64_t integer = 0;
    double real = 0;
    char buffer[20];
    size_t length = 0;
    put(a->asked, "short ");
    put_model(a->asked, &a->key);
    put(a->real, "%d ", mp_dict_get_int(a->dict, key, &integer));
    put(a->real, "%lld ", (long long)integer);
    put(a->real, "%d ", mp_dict_get_float(a->dict, key, &real));
    put_model(a->real, &(struct model_value){.type = M_FLOAT, .real = real});
    put(a->real, "%d ", mp_dict_get_str(a->dict, key, buffer, sizeof buffer, &length));
    put(a->real, "%zu ", length);
    bool is_int = now != NULL && now->type == M_INT, is_float = now != NULL && now->type == M_FLOAT;
    int other = now != NULL ? MP_ETYPE : MP_EKEY;
    put(a->expected, "%d %lld ", is_int ? 0 : other, is_int ? (long long)now->integer : 0LL);
    put(a->expected, "%d ", is_int || is_float ? 0 : other);
    put_model(a->expected, &(struct model_value){.type = M_FLOAT,
                                                 .real = is_int     ? (double)now->integer
                                                         : is_float ? now->real
                                                                    : 0});
    if (now != NULL && now->type == M_STR)
        put(a->expected, "%d %zu ", now->size < sizeof buffer ? 0 : MP_ETOOSMALL, now->size);
    else
        put(a->expected, "%d 0 ", other);
}

static void popitem(struct about *a)
{
    mp_value key, value;
    int error = mp_dict_popitem(a->dict, &key, &value);

    put(a->asked, "popitem ");
    put(a->real, "%d ", error);
    if (error == 0) {
        put_value(a->real, &key);
        put_value(a->real, &value);
    }
    put(a->expected, "%d ", a->model->count > 0 ? 0 : MP_EKEY);
    if (a->model->count > 0) {
        put_model(a->expected, &a->model->pair[a->model->count - 1].key);
        put_model(a->expected, &a->model->pair[a->model->count - 1].value);
        model_delete(a->model, a->model->count - 1);
    }
}

static void length(struct about *a)
{
    size_t count = 0;

    put(a->asked, "len ");
    put(a->real, "%d ", mp_dict_length(a->dict, &count));
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
    put(a->real, "%d ", mp_dict_clear(a->dict));
    put(a->expected, "0 ");
    a->model->count = 0;
}

static void copy(struct about *a)
{
    mp_dict *made;
    bool equal = false;
    int error = mp_dict_copy(a->dict, &made);

    put(a->asked, "copy ");
    put(a->real, "%d ", error);
    if (error == 0) {
        put_dict(a->real, made);
        put(a->real, "%d ", mp_dict_equal(made, a->dict, &equal));
        put(a->real, "%d ", equal);
        mp_dict_free(made);
    }
    put(a->expected, "0 ");
    put_contents(a->expected, a->model, true);
    put(a->expected, "0 1 ");
}

/* The other dict has a higher number, since containers may come from such a dict only (differential.h). */
static void update(struct about *a)
{
    int other = a->container + (int)below((uint64_t)(DICTS - a->container));

    put(a->asked, "update %d ", other);
    put(a->real, "%d ", mp_dict_update(a->dict, handle[other]));
    put(a->expected, "0 ");
    for (size_t i = 0; i < model[other].count; i++)
        model_set(a->model, model[other].pair[i].key, model[other].pair[i].value);
}

static void keys(struct about *a)
{
    mp_list *made;
    int error = mp_dict_keys(a->dict, &made);

    put(a->asked, "keys ");
    put(a->real, "%d ", error);
    put_new_list(a->real, error, made);
    put(a->expected, "0 ");
    for (size_t i = 0; i < a->model->count; i++)
        put_model(a->expected, &a->model->pair[i].key);
}

static void values(struct about *a)
{
    mp_list *made;
    int error = mp_dict_values(a->dict, &made);

    put(a->asked, "values ");
    put(a->real, "%d ", error);
    put_new_list(a->real, error, made);
    put(a->expected, "0 ");
    for (size_t i = 0; i < a->model->count; i++)
        put_model(a->expected, &a->model->pair[i].value);
}

static void items(struct about *a)
{
    mp_list *made, *pair;
    int error = mp_dict_items(a->dict, &made);

    put(a->asked, "items ");
    put(a->real, "%d ", error);
    for (int64_t i = 0; error == 0 && mp_list_get_list(made, i, &pair) == 0; i++) {
        mp_value key, value;

        if (mp_list_get(pair, 0, &key) != 0 || mp_list_get(pair, 1, &value) != 0)
            break;
        put_value(a->real, &key);
        put_value(a->real, &value);
    }
    if (error == 0)
        mp_list_free(made);
    put(a->expected, "0 ");
    put_contents(a->expected, a->model, true);
}

typedef void operation(struct about *about);

void dict_operation(int container, struct line *asked, struct line *real, struct line *expected)
{
    static operation *const on_one_key[] = {set,        set,   set,         set,        set,      get, get_default,
                                            setdefault, pop,   pop_default, remove_key, contains, add, compare_and_swap,
                                            move,       apply, short_forms};
    static operation *const on_all[] = {popitem, popitem, clear, copy, update, keys, values, items, length};
    struct about about = {
        container, handle[container], &model[container], random_key(), random_value(container), 0, false, asked,
        real,      expected};

    about.at = model_find_key(about.model, &about.key);
    about.there = about.at < about.model->count;
    if (is_shared() || below(6) != 0)
        on_one_key[below(sizeof on_one_key / sizeof *on_one_key)](&about);
    else
        on_all[below(sizeof on_all / sizeof *on_all)](&about);
}
