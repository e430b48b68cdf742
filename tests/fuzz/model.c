#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_number(const struct model_value *value)
{
    return value->type == M_BOOL || value->type == M_INT || value->type == M_FLOAT;
}

static bool same_number(const struct model_value *a, const struct model_value *b)
{
    if (a->type == M_FLOAT && b->type == M_FLOAT)
        return a->real == b->real;
    if (a->type == M_FLOAT)
        return same_number(b, a);
    if (b->type != M_FLOAT)
        return a->integer == b->integer;
    return floor(b->real) == b->real && fabs(b->real) < 0x1p63 ? (int64_t)b->real == a->integer
                                                               : b->real == -0x1p63 && a->integer == INT64_MIN;
}

bool model_same(const struct model_value *a, const struct model_value *b)
{
    if (is_number(a) && is_number(b))
        return same_number(a, b);
    if (a->type != b->type)
        return false;
    if (a->type == M_STR || a->type == M_BYTES)
        return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
    return a->type == M_NONE || a->integer == b->integer;
}

size_t model_find_key(const struct model *dict, const struct model_value *key)
{
    size_t at = 0;

    while (at < dict->count && !model_same(&dict->pair[at].key, key))
        at++;
    return at;
}

size_t model_find_value(const struct model *list, const struct model_value *value, size_t from)
{
    while (from < list->count && !model_same(&list->pair[from].value, value))
        from++;
    return from;
}

void model_insert(struct model *model, size_t at, struct model_value key, struct model_value value)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity * 2 + 16;
        model->pair = realloc(model->pair, model->capacity * sizeof *model->pair);
        if (model->pair == NULL)
            abort();
    }
    memmove(&model->pair[at + 1], &model->pair[at], (model->count - at) * sizeof *model->pair);
    model->pair[at] = (struct model_pair){key, value};
    model->count++;
}

void model_delete(struct model *model, size_t at)
{
    model->count--;
    memmove(&model->pair[at], &model->pair[at + 1], (model->count - at) * sizeof *model->pair);
}

void model_set(struct model *dict, struct model_value key, struct model_value value)
{
    size_t at = model_find_key(dict, &key);

    if (at == dict->count)
        model_insert(dict, at, key, value);
    else
        dict->pair[at].value = value;
}
