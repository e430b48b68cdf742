/* Keys of dicts, prepared for lookup: packed into words, hashed, compared. The parts that every lookup needs are inline
 * here. */
#ifndef KEY_H
#define KEY_H

#include <mp.h>
#include <string.h>

#include "value/cell.h"

/* Strings and bytes of up to this length lie in the two words of an entry's key. */
#define KEY_INLINE 16

/* A key as it is stored: head and body are as in a cell, but strings of up to KEY_INLINE bytes lie in body and rest. */
struct stored_key {
    _Atomic uint64_t head;
    _Atomic uint64_t body;
    _Atomic uint64_t rest;
};

/* Equal keys (1, 1.0, true) have equal hashes. Points into the caller's mp_value. */
struct key {
    uint64_t head; /* as it would be stored, without CELL_OWNS */
    uint64_t body;
    uint64_t rest; /* the second word; of a long string its hash, so that its bytes need not be read for that */
    uint64_t hash;
    const void *data; /* the bytes of strings and bytes longer than KEY_INLINE, otherwise NULL */
    size_t size;
};

/* 0, MP_EINVAL (a NULL string, an unknown type) or MP_ETYPE (a container). */
int key_prepare(const struct heap *heap, const mp_value *value, struct key *key);
/* Copies a stored key out, as cell_read() (value.h) does with a value. */
int key_read(const struct heap *heap, const struct stored_key *stored, mp_value *value);
/* Like key_read(), for a number or none, from its words. */
int key_number(uint64_t head, const uint64_t words[2], mp_value *value);

/* For strings and bytes that do not fit in the words. */
int key_prepare_long(const struct heap *heap, mp_type type, const void *data, size_t size, struct key *key);
bool key_equal_long(const struct heap *heap, const struct stored_key *stored, const struct key *key);

/* ---- hashing: a 64-bit multiplication whose two halves are folded together, keyed with the heap's random seed ---- */

__extension__ typedef unsigned __int128 key_wide;

static inline uint64_t key_fold(uint64_t a, uint64_t b)
{
    key_wide product = (key_wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The hash of two words. The type and length of a key take no part in it. So a string and a bytes object, or "a" and
 * "a\0", may have the same hash, although they are not equal; such keys seldom occur together. */
static inline uint64_t key_hash(const struct heap *heap, uint64_t a, uint64_t b)
{
    return key_fold(a ^ heap->seed[0], b ^ heap->seed[1]);
}

/* The hash of a stored key: the same as key_prepare() computes. */
static inline uint64_t key_stored_hash(const struct heap *heap, const struct stored_key *stored)
{
    uint64_t head = atomic_load_explicit(&stored->head, memory_order_relaxed);
    uint64_t body = atomic_load_explicit(&stored->body, memory_order_relaxed);
    uint64_t rest = atomic_load_explicit(&stored->rest, memory_order_relaxed);

    if (head & CELL_OWNS)
        return rest;
    return key_hash(heap, body, rest);
}

/* ---- short strings ---- */

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static inline uint64_t key_load(const unsigned char *byte, size_t size)
{
    uint64_t word = 0;

    memcpy(&word, byte, size);
    return word;
}

/* Packs up to 8 bytes into one word, in memory order, with zeros behind. Two loads of fixed size that overlap: no call,
 * no loop. */
static inline uint64_t key_pack_word(const unsigned char *byte, size_t size)
{
    if (size >= 4)
        return key_load(byte, 4) | key_load(byte + size - 4, 4) << 8 * (size - 4);
    if (size == 0)
        return 0;
    return byte[0] | (uint64_t)byte[size / 2] << 8 * (size / 2) | (uint64_t)byte[size - 1] << 8 * (size - 1);
}

/* Packs up to KEY_INLINE bytes into two words. */
static inline void key_pack(const unsigned char *byte, size_t size, uint64_t *body, uint64_t *rest)
{
    *body = size >= 8 ? key_load(byte, 8) : key_pack_word(byte, size);
    *rest = size > 8 ? key_load(byte + size - 8, 8) >> 8 * (KEY_INLINE - size) : 0;
}
#else
static inline void key_pack(const unsigned char *byte, size_t size, uint64_t *body, uint64_t *rest)
{
    unsigned char bytes[KEY_INLINE] = {0};

    memcpy(bytes, byte, size);
    memcpy(body, bytes, 8);
    memcpy(rest, bytes + 8, 8);
}
#endif

/* Prepares a key that is a string or bytes of at most KEY_INLINE bytes. */
static inline void key_prepare_short(const struct heap *heap, mp_type type, const void *data, size_t size,
                                     struct key *key)
{
    key->head = (uint64_t)type | (uint64_t)size << CELL_LENGTH_SHIFT;
    key->size = size;
    key->data = NULL;
    key_pack(data, size, &key->body, &key->rest);
    key->hash = key_hash(heap, key->body, key->rest);
}

static inline int key_prepare_bytes(const struct heap *heap, mp_type type, const void *data, size_t size,
                                    struct key *key)
{
    if (data == NULL || size > KEY_INLINE)
        return key_prepare_long(heap, type, data, size, key);
    key_prepare_short(heap, type, data, size, key);
    return 0;
}

/* For the short forms' NUL-terminated keys. NULL is MP_EINVAL. */
static inline int key_prepare_str(const struct heap *heap, const char *text, struct key *key)
{
    return text == NULL ? MP_EINVAL : key_prepare_bytes(heap, MP_STR, text, strlen(text), key);
}

/* A view of the key in an entry's words, which is no string longer than KEY_INLINE. Its bytes go to `text`, which has
 * KEY_INLINE + 1 bytes. MP_ECORRUPT as of cell_read(). */
static inline int key_view(uint64_t head, const uint64_t words[2], char *text, mp_value *value)
{
    mp_type type = (mp_type)(head & CELL_TYPE);
    size_t size = head >> CELL_LENGTH_SHIFT;

    if (type != MP_STR && type != MP_BYTES)
        return key_number(head, words, value);
    if (size > KEY_INLINE)
        return MP_ECORRUPT;
    memcpy(text, words, KEY_INLINE);
    text[size] = 0;
    *value = (mp_value){.type = type, .size = size, .as.str = text};
    return 0;
}

/* ---- comparing ---- */

/* Whether both types are numbers. Numbers whose other words are the same are one key, whatever their types. */
static inline bool key_types_agree(uint64_t a, uint64_t b)
{
    a &= CELL_TYPE;
    b &= CELL_TYPE;
    return a >= MP_BOOL && a <= MP_FLOAT && b >= MP_BOOL && b <= MP_FLOAT;
}

/* Whether a stored key is this one, which is no string longer than KEY_INLINE. May be called on a key that is being
 * changed; the result then means nothing. */
static inline bool key_equal_short(const struct stored_key *stored, const struct key *key)
{
    uint64_t head = atomic_load_explicit(&stored->head, memory_order_relaxed);

    if (atomic_load_explicit(&stored->rest, memory_order_relaxed) != key->rest ||
        atomic_load_explicit(&stored->body, memory_order_relaxed) != key->body)
        return false;
    return head == key->head || key_types_agree(head, key->head);
}

/* Like key_equal_short(), for any key. */
static inline bool key_equal(const struct heap *heap, const struct stored_key *stored, const struct key *key)
{
    return key->data != NULL ? key_equal_long(heap, stored, key) : key_equal_short(stored, key);
}

#endif
