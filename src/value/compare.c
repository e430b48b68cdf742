#include "value/compare.h"

#include <stdlib.h>
#include <string.h>

#include "value/key.h"
#include "value/snapshot.h"
#include "value/value.h"

static int equal_at(const mp_value *a, const mp_value *b, bool *equal, int depth);

struct hashed {
    uint64_t hash;
    const struct snapshot_item *item;
};

static int by_hash(const void *a, const void *b)
{
    uint64_t x = ((const struct hashed *)a)->hash, y = ((const struct hashed *)b)->hash;

    return (x > y) - (x < y);
}

static uint64_t hash_of(const struct heap *heap, const mp_value *value)
{
    struct key key = {0};

    key_prepare(heap, value, &key);
    return key.hash;
}

static const struct snapshot_item *find(const struct hashed *table, size_t count, const mp_value *key, uint64_t hash)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (table[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && table[low].hash == hash; low++) {
        if (value_same(&table[low].item->key, key))
            return table[low].item;
    }
    return NULL;
}

static int equal_items(const struct heap *heap, const struct snapshot *a, const struct snapshot *b, bool *equal,
                       int depth)
{
    struct hashed *table = malloc((b->count + 1) * sizeof *table);
    int error = table == NULL ? MP_ENOMEM : 0;

    for (size_t i = 0; error == 0 && i < b->count; i++)
        table[i] = (struct hashed){hash_of(heap, &b->item[i].key), &b->item[i]};
    if (error == 0)
        qsort(table, b->count, sizeof *table, by_hash);
    for (size_t i = 0; error == 0 && *equal && i < a->count; i++) {
        const struct snapshot_item *other = find(table, b->count, &a->item[i].key, hash_of(heap, &a->item[i].key));

        *equal = other != NULL;
        if (other != NULL)
            error = equal_at(&a->item[i].value, &other->value, equal, depth);
    }
    free(table);
    return error;
}

static int equal_containers(const mp_value *a, const mp_value *b, bool *equal, int depth)
{
    struct snapshot first, second;

    if (depth > MP_MAX_DEPTH)
        return MP_EDEPTH;
    int error = snapshot_take(a->as.dict, value_kind(a), &first);
    if (error != 0)
        return error;
    error = snapshot_take(b->as.dict, value_kind(b), &second);
    if (error == 0) {
        bool keyed = object_kind_of_type(a->type)->keyed;

        *equal = first.count == second.count;
        if (*equal && keyed)
            error = equal_items(first.heap, &first, &second, equal, depth);
        for (size_t i = 0; error == 0 && *equal && !keyed && i < first.count; i++)
            error = equal_at(&first.item[i].value, &second.item[i].value, equal, depth);
        snapshot_free(&second);
    }
    snapshot_free(&first);
    return error;
}

static int equal_at(const mp_value *a, const mp_value *b, bool *equal, int depth)
{
    *equal = value_same(a, b);
    if (*equal || a->type != b->type || !value_is_container(a))
        return 0;
    return equal_containers(a, b, equal, depth + 1);
}

int value_equal(const mp_value *a, const mp_value *b, bool *equal)
{
    bool answer = false;
    int error = equal_at(a, b, &answer, 0);

    if (error == 0)
        *equal = answer;
    return error;
}

int mp_value_equal(const mp_value *a, const mp_value *b, bool *equal)
{
    if (a == NULL || b == NULL || equal == NULL || !value_is_valid(a) || !value_is_valid(b))
        return MP_EINVAL;
    return value_equal(a, b, equal);
}

/* ---- order ---- */

static bool is_integer(const mp_value *value)
{
    return value->type == MP_BOOL || value->type == MP_INT;
}

static int64_t integer_of(const mp_value *value)
{
    return value->type == MP_BOOL ? value->as.boolean : value->as.integer;
}

/* Exact: the integer is not rounded to a float. A NaN is neither less nor more. */
static int order_integer_float(int64_t integer, double real)
{
    if (real >= 9223372036854775808.0)
        return -1;
    if (real < -9223372036854775808.0)
        return 1;
    if (real != real)
        return 0;
    int64_t whole = (int64_t)real;
    if (integer != whole)
        return integer < whole ? -1 : 1;
    double rest = real - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

static int order_bytes(const mp_value *a, const mp_value *b)
{
    int order = memcmp(a->as.bytes, b->as.bytes, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

int value_order(const mp_value *a, const mp_value *b, int *order)
{
    if (is_integer(a) && is_integer(b))
        *order = (integer_of(a) > integer_of(b)) - (integer_of(a) < integer_of(b));
    else if (a->type == MP_FLOAT && b->type == MP_FLOAT)
        *order = (a->as.real > b->as.real) - (a->as.real < b->as.real);
    else if (is_integer(a) && b->type == MP_FLOAT)
        *order = order_integer_float(integer_of(a), b->as.real);
    else if (a->type == MP_FLOAT && is_integer(b))
        *order = -order_integer_float(integer_of(b), a->as.real);
    else if (a->type == b->type && (a->type == MP_STR || a->type == MP_BYTES))
        *order = order_bytes(a, b);
    else
        return MP_ETYPE;
    return 0;
}
