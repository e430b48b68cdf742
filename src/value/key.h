/* Keys of dicts, made ready for searching: packed into words, hashed, compared. What every lookup does is inline
 * here. */
#ifndef KEY_H
#define KEY_H

#include <mp.h>
#include <string.h>

#include "object/object.h"

/* Strings and bytes of up to this length lie in the two words of an entry's key. */
#define KEY_INLINE 16

/* Equal keys (1, 1.0, true) have equal hashes. Points into the caller's mp_value. */
struct key {
    uint64_t head; /* as it would be stored, without CELL_OWNS */
    uint64_t body;
    uint64_t rest; /* of a string that does not fit: its hash, so that nobody needs its bytes for that */
    uint64_t hash;
    const void *data; /* strings and bytes longer than KEY_INLINE: the bytes, NULL else */
    size_t size;
};

/* 0, MP_EINVAL (a NULL string, an unknown type) or MP_ETYPE (a container). */
int key_prepare(const struct heap *heap, const mp_value *value, struct key *key);
/* Copies an entry's key out, as cell_read() (value.h) does with a value. */
int key_read(const struct heap *heap, const struct entry *entry, mp_value *value);
/* The same of a number or none, from its words. */
int key_number(uint64_t head, const uint64_t words[2], mp_value *value);

/* For strings and bytes that do not fit in the words. */
int key_prepare_long(const struct heap *heap, mp_type type, const void *data, size_t size, struct key *key);
bool key_equal_long(const struct heap *heap, const struct entry *entry, const struct key *key);

/* ---- hashing: a 64-bit multiplication whose two halves are folded together, keyed with the heap's random seed ---- */

__extension__ typedef unsigned __int128 key_wide;

static inline uint64_t key_fold(uint64_t a, uint64_t b)
{
    key_wide product = (key_wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of two words. What tells a string from bytes and a number, or "a" from "a\0", takes no part in it: such keys are not
 * equal, and too seldom met together. */
static inline uint64_t key_hash(const struct heap *heap, uint64_t a, uint64_t b)
{
    return key_fold(a ^ heap->seed[0], b ^ heap->seed[1]);
}

/* The hash of an entry's key, as key_prepare() and the rest have it. */
static inline uint64_t key_stored_hash(const struct heap *heap, const struct entry *entry)
{
    uint64_t head = atomic_load_explicit(&entry->key_head, memory_order_relaxed);
    uint64_t body = atomic_load_explicit(&entry->key_body, memory_order_relaxed);
    uint64_t rest = atomic_load_explicit(&entry->key_rest, memory_order_relaxed);

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

/* Up to 8 bytes as one word, as they would lie in memory, zeros behind. Two loads of fixed size that overlap: no call,
 * no loop. */
static inline uint64_t key_pack_word(const unsigned char *byte, size_t size)
{
    if (size >= 4)
        return key_load(byte, 4) | key_load(byte + size - 4, 4) << 8 * (size - 4);
    if (size == 0)
        return 0;
    return byte[0] | (uint64_t)byte[size / 2] << 8 * (size / 2) | (uint64_t)byte[size - 1] << 8 * (size - 1);
}

/* Up to KEY_INLINE bytes as two. */
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

/* Strings and bytes of at most KEY_INLINE. */
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

/* The key that an entry's words are, if it is no string longer than KEY_INLINE; its bytes go to `text`, KEY_INLINE + 1
 * of them. MP_ECORRUPT as of cell_read(). */
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

/* Numbers are one key whatever their types, when their other words are the same. */
static inline bool key_types_agree(uint64_t a, uint64_t b)
{
    a &= CELL_TYPE;
    b &= CELL_TYPE;
    return a >= MP_BOOL && a <= MP_FLOAT && b >= MP_BOOL && b <= MP_FLOAT;
}

/* Whether an entry has this key, which is no string longer than KEY_INLINE. Safe to call on an entry that is being
 * changed: may then say anything. */
static inline bool key_equal_short(const struct entry *entry, const struct key *key)
{
    uint64_t head = atomic_load_explicit(&entry->key_head, memory_order_relaxed);

    if (atomic_load_explicit(&entry->key_rest, memory_order_relaxed) != key->rest ||
        atomic_load_explicit(&entry->key_body, memory_order_relaxed) != key->body)
        return false;
    return head == key->head || key_types_agree(head, key->head);
}

/* The same of any key. */
static inline bool key_equal(const struct heap *heap, const struct entry *entry, const struct key *key)
{
    return key->data != NULL ? key_equal_long(heap, entry, key) : key_equal_short(entry, key);
}

#endif
