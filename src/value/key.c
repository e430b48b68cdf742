/* Keys that need more than the inline fast path of key.h. Words in the heap may change while they are read here, as in
 * value.c. */
#include "value/key.h"

#include <math.h>

#include "base/word.h"
#include "value/value.h"

/* A bit in the head of a float key: the key was -0.0. */
#define NEGATIVE_ZERO (UINT64_C(1) << CELL_LENGTH_SHIFT)

/* ---- preparing ---- */

static uint64_t hash_long(const struct heap *heap, const unsigned char *data, size_t size, uint64_t kind)
{
    uint64_t state = heap->seed[0] ^ size;
    uint64_t a = 0, b = 0;

    for (; size > KEY_INLINE; data += KEY_INLINE, size -= KEY_INLINE) {
        memcpy(&a, data, 8);
        memcpy(&b, data + 8, 8);
        state = key_fold(a ^ state, b ^ heap->seed[1]);
    }
    key_pack(data, size, &a, &b);
    return key_fold(key_hash(heap, a ^ state, b), heap->seed[0] ^ kind);
}

int key_prepare_long(const struct heap *heap, mp_type type, const void *data, size_t size, struct key *key)
{
    if (data == NULL || size > VALUE_LONGEST)
        return MP_EINVAL;
    key->head = (uint64_t)type | (uint64_t)size << CELL_LENGTH_SHIFT;
    key->size = size;
    key->data = data;
    key->body = 0;
    key->hash = key->rest = hash_long(heap, data, size, (uint64_t)type);
    return 0;
}

/* Equal numbers are one key, whatever their type: an integral float is stored as an integer, under the type it came
 * as. */
static void prepare_words(const struct heap *heap, mp_type type, uint64_t body, uint64_t rest, struct key *key)
{
    key->head = (uint64_t)type;
    key->body = body;
    key->rest = rest;
    key->data = NULL;
    key->size = 0;
    key->hash = key_hash(heap, key->body, rest);
}

/* A float that is no integer has its bits as the first word and 1 as the second. */
static void prepare_float(const struct heap *heap, double real, struct key *key)
{
    uint64_t bits;

    if (real >= -9223372036854775808.0 && real < 9223372036854775808.0 && trunc(real) == real) {
        prepare_words(heap, MP_FLOAT, (uint64_t)(int64_t)real, 0, key);
        if (real == 0 && signbit(real))
            key->head |= NEGATIVE_ZERO; /* keeps the sign; equal keys may have different heads */
        return;
    }
    memcpy(&bits, &real, sizeof bits);
    prepare_words(heap, MP_FLOAT, bits, 1, key);
}

int key_prepare(const struct heap *heap, const mp_value *value, struct key *key)
{
    switch (value->type) {
    case MP_NONE:
        prepare_words(heap, MP_NONE, 0, 2, key);
        return 0;
    case MP_BOOL:
        prepare_words(heap, MP_BOOL, value->as.boolean, 0, key);
        return 0;
    case MP_INT:
        prepare_words(heap, MP_INT, (uint64_t)value->as.integer, 0, key);
        return 0;
    case MP_FLOAT:
        prepare_float(heap, value->as.real, key);
        return 0;
    case MP_STR:
    case MP_BYTES:
        return key_prepare_bytes(heap, value->type, value->as.bytes, value->size, key);
    default:
        return object_kind_of_type(value->type) != NULL ? MP_ETYPE : MP_EINVAL;
    }
}

/* ---- comparing ---- */

static bool same_bytes(const struct heap *heap, uint64_t offset, const void *data, size_t size)
{
    const _Atomic uint64_t *from = heap_at(heap, offset);
    const unsigned char *byte = data;

    for (; size >= 8; size -= 8, byte += 8) {
        uint64_t word = word_get(from++);
        if (memcmp(byte, &word, 8) != 0)
            return false;
    }
    uint64_t last = size > 0 ? word_get(from) : 0;
    return memcmp(byte, &last, size) == 0;
}

bool key_equal_long(const struct heap *heap, const struct stored_key *stored, const struct key *key)
{
    uint64_t body = word_get(&stored->body);

    return word_get(&stored->rest) == key->rest && word_get(&stored->head) == (key->head | CELL_OWNS) &&
           heap_holds(heap, body, key->size) && same_bytes(heap, body, key->data, key->size);
}

/* ---- reading ---- */

int key_number(uint64_t head, const uint64_t words[2], mp_value *value)
{
    /* A float that is an integer is kept as one. */
    if ((head & CELL_TYPE) != MP_FLOAT || words[1] == 1)
        return cell_number(head, words[0], value);
    *value = mp_value_float(head & NEGATIVE_ZERO ? -0.0 : (double)(int64_t)words[0]);
    return 0;
}

int key_read(const struct heap *heap, const struct stored_key *stored, mp_value *value)
{
    uint64_t head = word_get(&stored->head);
    uint64_t words[2] = {word_get(&stored->body), word_get(&stored->rest)};
    char text[KEY_INLINE + 1];
    mp_value view;

    if (head & CELL_OWNS)
        return cell_read(heap, head, words[0], value);
    int error = key_view(head, words, text, &view);
    return error != 0 ? error : value_copy(&view, value);
}
