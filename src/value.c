/* Values and keys: how they are stored, hashed, compared and copied.
 *
 * Whatever is read here from the heap may be changing at the same time (readers of a dict hold no mutex): every word is loaded
 * with one relaxed atomic load, and every offset and length is bounded by the heap's size before it is used. */
#include "value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_INLINE 16
#define CELL_INLINE 8
/* No string is longer: keeps all arithmetic on lengths within 64 bits. */
#define LONGEST (UINT64_C(1) << 40)

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* ---- constructors ---- */

mp_value mp_none(void)
{
    return (mp_value){.type = MP_NONE};
}

mp_value mp_bool(bool value)
{
    return (mp_value){.type = MP_BOOL, .as.boolean = value};
}

mp_value mp_int(int64_t value)
{
    return (mp_value){.type = MP_INT, .as.integer = value};
}

mp_value mp_float(double value)
{
    return (mp_value){.type = MP_FLOAT, .as.real = value};
}

mp_value mp_str(const char *text)
{
    return mp_strn(text, text != NULL ? strlen(text) : 0);
}

mp_value mp_strn(const char *text, size_t size)
{
    return (mp_value){.type = MP_STR, .size = size, .as.str = text};
}

mp_value mp_bytes(const void *data, size_t size)
{
    return (mp_value){.type = MP_BYTES, .size = size, .as.bytes = size == 0 && data == NULL ? "" : data};
}

mp_value mp_dict_value(mp_dict *dict)
{
    return (mp_value){.type = MP_DICT, .as.dict = dict};
}

mp_value mp_list_value(mp_list *list)
{
    return (mp_value){.type = MP_LIST, .as.list = list};
}

void mp_value_free(mp_value *value)
{
    if (value == NULL)
        return;
    free(value->owned);
    *value = mp_none();
}

int value_copy(const mp_value *from, mp_value *to)
{
    mp_value copy = *from;

    copy.owned = NULL;
    if (from->type == MP_STR || from->type == MP_BYTES) {
        char *text = malloc(from->size + 1);

        if (text == NULL)
            return MP_ENOMEM;
        memcpy(text, from->as.bytes, from->size);
        text[from->size] = 0;
        copy.owned = text;
        copy.as.str = text;
    }
    *to = copy;
    return 0;
}

/* ---- hashing: 64-bit multiplications whose two halves are folded together, keyed with the heap's random seed ---- */

__extension__ typedef unsigned __int128 wide;

static uint64_t fold(uint64_t a, uint64_t b)
{
    wide product = (wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_words(const struct heap *heap, uint64_t a, uint64_t b, uint64_t kind)
{
    uint64_t mixed = fold(a ^ heap->seed[0], b ^ heap->seed[1] ^ kind << 56);

    return fold(mixed ^ heap->seed[1], UINT64_C(0x9e3779b97f4a7c15) ^ kind);
}

static uint64_t hash_long(const struct heap *heap, const unsigned char *data, size_t size, uint64_t kind)
{
    uint64_t state = heap->seed[0] ^ size;
    uint64_t a = 0, b = 0;

    for (; size > KEY_INLINE; data += KEY_INLINE, size -= KEY_INLINE) {
        memcpy(&a, data, 8);
        memcpy(&b, data + 8, 8);
        state = fold(a ^ state, b ^ heap->seed[1]);
    }
    a = b = 0;
    memcpy(&a, data, size < 8 ? size : 8);
    if (size > 8)
        memcpy(&b, data + 8, size - 8);
    return hash_words(heap, a ^ state, b, kind);
}

/* ---- keys ---- */

/* Up to 16 bytes as two words, zeros behind. */
static inline void pack(const void *data, size_t size, uint64_t *body, uint64_t *rest)
{
    const unsigned char *byte = data;

    *body = *rest = 0;
    if (size == KEY_INLINE) {
        memcpy(body, byte, 8);
        memcpy(rest, byte + 8, 8);
    } else if (size > 8) {
        memcpy(body, byte, 8);
        memcpy(rest, byte + 8, size - 8);
    } else {
        memcpy(body, byte, size);
    }
}

static int prepare_bytes(const struct heap *heap, mp_type type, const void *data, size_t size, struct key *key)
{
    if (data == NULL || size > LONGEST)
        return MP_EINVAL;
    key->head = (uint64_t)type | (uint64_t)size << CELL_LENGTH_SHIFT;
    key->size = size;
    if (size <= KEY_INLINE) {
        key->data = NULL;
        pack(data, size, &key->body, &key->rest);
        key->hash = hash_words(heap, key->body, key->rest, (uint64_t)type ^ size << 3);
    } else {
        key->data = data;
        key->body = key->rest = 0;
        key->hash = hash_long(heap, data, size, (uint64_t)type);
    }
    return 0;
}

/* In the head of a float key that is zero. */
#define NEGATIVE_ZERO (UINT64_C(1) << CELL_LENGTH_SHIFT)

/* Numbers that are equal are one key, whatever their type: integral ones are kept as integers, with the type they came as. */
static void prepare_number(const struct heap *heap, mp_type type, int64_t integer, struct key *key)
{
    key->head = (uint64_t)type;
    key->body = (uint64_t)integer;
    key->rest = 0;
    key->data = NULL;
    key->size = 0;
    key->hash = hash_words(heap, key->body, 0, MP_INT);
}

/* `rest` 1: a float that is no integer, its bits in body. */
static void prepare_float(const struct heap *heap, double real, struct key *key)
{
    if (real >= -9223372036854775808.0 && real < 9223372036854775808.0 && trunc(real) == real) {
        prepare_number(heap, MP_FLOAT, (int64_t)real, key);
        if (real == 0 && signbit(real))
            key->head |= NEGATIVE_ZERO; /* as it came: equal keys may have different heads */
        return;
    }
    prepare_number(heap, MP_FLOAT, 0, key);
    memcpy(&key->body, &real, sizeof real);
    key->rest = 1;
    key->hash = hash_words(heap, key->body, 1, MP_FLOAT);
}

int key_prepare(const struct heap *heap, const mp_value *value, struct key *key)
{
    switch (value->type) {
    case MP_NONE:
        prepare_number(heap, MP_NONE, 0, key);
        key->rest = 2;
        return 0;
    case MP_BOOL:
        prepare_number(heap, MP_BOOL, value->as.boolean, key);
        return 0;
    case MP_INT:
        prepare_number(heap, MP_INT, value->as.integer, key);
        return 0;
    case MP_FLOAT:
        prepare_float(heap, value->as.real, key);
        return 0;
    case MP_STR:
    case MP_BYTES:
        return prepare_bytes(heap, value->type, value->as.bytes, value->size, key);
    case MP_DICT:
    case MP_LIST:
        return MP_ETYPE;
    }
    return MP_EINVAL;
}

int key_prepare_str(const struct heap *heap, const char *text, struct key *key)
{
    return text == NULL ? MP_EINVAL : prepare_bytes(heap, MP_STR, text, strlen(text), key);
}

/* ---- bytes in the heap ---- */

/* Whether a block's bytes may be looked at. */
static bool in_heap(const struct heap *heap, uint64_t offset, uint64_t size)
{
    uint64_t end = get(&heap->size);

    return offset >= sizeof(struct heap) && offset % 16 == 0 && offset < end && size <= end - offset;
}

/* Copies bytes that may be changing, a word at a time. `from` is aligned to 8, and so much may be read that whole words do. */
static void copy_out(const struct heap *heap, uint64_t offset, void *to, size_t size)
{
    const _Atomic uint64_t *from = heap_at(heap, offset);
    unsigned char *byte = to;

    for (; size >= 8; size -= 8, byte += 8) {
        uint64_t word = get(from++);
        memcpy(byte, &word, 8);
    }
    if (size > 0) {
        uint64_t word = get(from);
        memcpy(byte, &word, size);
    }
}

static bool same_bytes(const struct heap *heap, uint64_t offset, const void *data, size_t size)
{
    const _Atomic uint64_t *from = heap_at(heap, offset);
    const unsigned char *byte = data;

    for (; size >= 8; size -= 8, byte += 8) {
        uint64_t word = get(from++);
        if (memcmp(byte, &word, 8) != 0)
            return false;
    }
    uint64_t last = size > 0 ? get(from) : 0;
    return memcmp(byte, &last, size) == 0;
}

bool key_equal(const struct heap *heap, const struct entry *entry, const struct key *key)
{
    uint64_t head = get(&entry->key_head) & ~CELL_OWNS;
    uint64_t body = get(&entry->key_body);

    if (key->data != NULL)
        return head == key->head && in_heap(heap, body, key->size) && same_bytes(heap, body, key->data, key->size);
    if (body != key->body || get(&entry->key_rest) != key->rest)
        return false;
    if (head == key->head)
        return true;
    /* Numbers of different types. */
    uint64_t a = head & CELL_TYPE, b = key->head & CELL_TYPE;
    return a >= MP_BOOL && a <= MP_FLOAT && b >= MP_BOOL && b <= MP_FLOAT;
}

/* ---- cells ---- */

static struct object *container_of(const mp_value *value)
{
    return value->type == MP_DICT ? (struct object *)value->as.dict : (struct object *)value->as.list;
}

int value_check(const struct heap *heap, const mp_value *value)
{
    switch (value->type) {
    case MP_NONE:
    case MP_BOOL:
    case MP_INT:
    case MP_FLOAT:
        return 0;
    case MP_STR:
    case MP_BYTES:
        return value->as.bytes != NULL && value->size <= LONGEST ? 0 : MP_EINVAL;
    case MP_DICT:
    case MP_LIST:
        if (!object_is(container_of(value), value->type == MP_DICT ? OBJECT_DICT : OBJECT_LIST))
            return MP_EINVAL;
        return object_heap(container_of(value)) == heap ? 0 : MP_EFOREIGN;
    }
    return MP_EINVAL;
}

static int build_bytes(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head,
                       uint64_t *body)
{
    *head = (uint64_t)value->type | (uint64_t)value->size << CELL_LENGTH_SHIFT;
    *body = 0;
    if (value->size <= CELL_INLINE) {
        memcpy(body, value->as.bytes, value->size);
        return 0;
    }
    struct heap *heap = object_heap(owner);
    int error = heap_alloc(heap, value->size, pending);
    if (error != 0)
        return error;
    *head |= CELL_OWNS;
    *body = get(pending);
    memcpy(heap_at(heap, *body), value->as.bytes, value->size);
    return 0;
}

int cell_build(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head, uint64_t *body)
{
    *head = (uint64_t)value->type;
    *body = 0;
    switch (value->type) {
    case MP_NONE:
        return 0;
    case MP_BOOL:
        *body = value->as.boolean;
        return 0;
    case MP_INT:
        *body = (uint64_t)value->as.integer;
        return 0;
    case MP_FLOAT:
        memcpy(body, &value->as.real, sizeof *body);
        return 0;
    case MP_STR:
    case MP_BYTES:
        return build_bytes(owner, value, pending, head, body);
    case MP_DICT:
    case MP_LIST:
        break;
    }
    int error = object_retain(container_of(value), pending);
    *head |= CELL_OWNS;
    *body = get(pending);
    return error;
}

int cell_read_bytes(const struct heap *heap, uint64_t head, uint64_t body, void *buffer, size_t size, size_t *length)
{
    uint64_t count = head >> CELL_LENGTH_SHIFT;
    bool inside = (head & CELL_OWNS) == 0;

    if (inside ? count > CELL_INLINE : !in_heap(heap, body, count))
        return MP_ECORRUPT;
    if (length != NULL)
        *length = count;
    if (count > size)
        return MP_ETOOSMALL;
    if (inside)
        memcpy(buffer, &body, count);
    else
        copy_out(heap, body, buffer, count);
    return 0;
}

static int new_text(size_t size, mp_type type, mp_value *value, char **text)
{
    *value = mp_none();
    *text = malloc(size + 1);
    if (*text == NULL)
        return MP_ENOMEM;
    (*text)[size] = 0;
    *value = (mp_value){.type = type, .size = size, .as.str = *text, .owned = *text};
    return 0;
}

static int read_bytes(const struct heap *heap, mp_type type, uint64_t head, uint64_t body, mp_value *value)
{
    size_t size = head >> CELL_LENGTH_SHIFT;
    char *text;

    if (head & CELL_OWNS ? !in_heap(heap, body, size) : size > CELL_INLINE)
        return MP_ECORRUPT;
    int error = new_text(size, type, value, &text);
    if (error == 0)
        error = cell_read_bytes(heap, head, body, text, size, NULL);
    if (error != 0)
        mp_value_free(value);
    return error;
}

static int read_container(const struct heap *heap, uint64_t type, uint64_t body, mp_value *value)
{
    uint64_t offset = body & ~REF_MASK;

    if ((body & REF_MASK) != REF_OBJECT || !in_heap(heap, offset, sizeof(struct object)))
        return MP_ECORRUPT;
    *value = type == MP_DICT ? mp_dict_value(heap_at(heap, offset)) : mp_list_value(heap_at(heap, offset));
    return 0;
}

int cell_read(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value)
{
    double real;

    switch (head & CELL_TYPE) {
    case MP_NONE:
        *value = mp_none();
        return 0;
    case MP_BOOL:
        *value = mp_bool(body != 0);
        return 0;
    case MP_INT:
        *value = mp_int((int64_t)body);
        return 0;
    case MP_FLOAT:
        memcpy(&real, &body, sizeof real);
        *value = mp_float(real);
        return 0;
    case MP_STR:
    case MP_BYTES:
        return read_bytes(heap, (mp_type)(head & CELL_TYPE), head, body, value);
    case MP_DICT:
    case MP_LIST:
        return read_container(heap, head & CELL_TYPE, body, value);
    default:
        return MP_ECORRUPT;
    }
}

/* A stored key that is not a string: its words mean something else than a cell's. */
static int read_number_key(uint64_t head, uint64_t body, uint64_t rest, mp_value *value)
{
    double real;

    switch (head & CELL_TYPE) {
    case MP_NONE:
        *value = mp_none();
        return 0;
    case MP_BOOL:
        *value = mp_bool(body != 0);
        return 0;
    case MP_INT:
        *value = mp_int((int64_t)body);
        return 0;
    case MP_FLOAT:
        memcpy(&real, &body, sizeof real);
        *value = mp_float(rest == 1 ? real : head & NEGATIVE_ZERO ? -0.0 : (double)(int64_t)body);
        return 0;
    default:
        return MP_ECORRUPT;
    }
}

int key_read(const struct heap *heap, const struct entry *entry, mp_value *value)
{
    uint64_t head = get(&entry->key_head);
    uint64_t words[2] = {get(&entry->key_body), get(&entry->key_rest)};
    size_t size = head >> CELL_LENGTH_SHIFT;
    mp_type type = (mp_type)(head & CELL_TYPE);
    char *text;

    if (type != MP_STR && type != MP_BYTES)
        return read_number_key(head, words[0], words[1], value);
    if (head & CELL_OWNS)
        return read_bytes(heap, type, head, words[0], value);
    if (size > KEY_INLINE)
        return MP_ECORRUPT;
    int error = new_text(size, type, value, &text);
    if (error == 0)
        memcpy(text, words, size);
    return error;
}

mp_value cell_view(const struct heap *heap, const struct cell *cell)
{
    uint64_t head = get(&cell->head), body = get(&cell->body);
    mp_value value = mp_none();

    if ((head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES) {
        value.type = (mp_type)(head & CELL_TYPE);
        value.size = head >> CELL_LENGTH_SHIFT;
        value.as.bytes = head & CELL_OWNS ? heap_at(heap, body) : (const void *)&cell->body;
        return value;
    }
    cell_read(heap, head, body, &value);
    return value;
}

/* ---- comparing ---- */

static bool is_number(const mp_value *value)
{
    return value->type == MP_BOOL || value->type == MP_INT || value->type == MP_FLOAT;
}

static int64_t integer_of(const mp_value *value)
{
    return value->type == MP_BOOL ? value->as.boolean : value->as.integer;
}

/* Exact, as Python's: a float equals an integer only when it is that very integer. */
static bool same_number(const mp_value *a, const mp_value *b)
{
    if (a->type == MP_FLOAT && b->type == MP_FLOAT)
        return a->as.real == b->as.real;
    if (b->type == MP_FLOAT)
        return same_number(b, a);
    if (a->type != MP_FLOAT)
        return integer_of(a) == integer_of(b);
    return a->as.real >= -9223372036854775808.0 && a->as.real < 9223372036854775808.0 &&
           trunc(a->as.real) == a->as.real && (int64_t)a->as.real == integer_of(b);
}

bool value_same(const mp_value *a, const mp_value *b)
{
    if (is_number(a) && is_number(b))
        return same_number(a, b);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case MP_NONE:
        return true;
    case MP_STR:
    case MP_BYTES:
        return a->size == b->size && memcmp(a->as.bytes, b->as.bytes, a->size) == 0;
    default:
        return container_of(a) == container_of(b);
    }
}
