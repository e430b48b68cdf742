/* Values: between mp_value, which users see, and the words that containers store (struct cell, struct entry). */
#ifndef VALUE_H
#define VALUE_H

#include <mp.h>

#include "object.h"

/* A key made ready for searching. Equal keys (1, 1.0, true) have equal hashes. Points into the caller's mp_value. */
struct key {
    uint64_t head;    /* as it would be stored, without CELL_OWNS */
    uint64_t body;
    uint64_t rest;
    uint64_t hash;
    const void *data; /* strings and bytes longer than 16: the bytes, NULL else */
    size_t size;
};

/* 0, MP_EINVAL (a NULL string, an unknown type) or MP_ETYPE (a container). */
int key_prepare(const struct heap *heap, const mp_value *value, struct key *key);
/* Short form for the NUL-terminated keys: the hot path. key_prepare_str(heap, NULL, ...) is MP_EINVAL. */
int key_prepare_str(const struct heap *heap, const char *text, struct key *key);
/* Whether an entry has this key. Safe to call on an entry that is being changed: may then say anything. */
bool key_equal(const struct heap *heap, const struct entry *entry, const struct key *key);

/* False: no value at all: an unknown type, a NULL string, a length that no string has, a container that is none. */
bool value_is_valid(const mp_value *value);
/* 0 or MP_EINVAL, MP_EFOREIGN (a container of another heap): may `value` be stored in a container of this heap? */
int value_check(const struct heap *heap, const mp_value *value);
/* Makes the two words that store a value. What they own is in *pending (an empty pending ref of `owner`, whose mutex is held):
 * the caller moves it to its place with object_set() of the cell's words and object_set(owner, pending, 0).
 * 0, MP_ENOMEM, MP_EINVAL (a container that is gone). */
int cell_build(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head, uint64_t *body);

/* Copies a stored value out into an mp_value that owns its memory. Safe on words that are being changed: MP_ECORRUPT when
 * they make no sense (a reader without the mutex checks the version and tries again). MP_ENOMEM. For a container the handle
 * is borrowed. */
int cell_read(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value);
/* The same for an entry's key. */
int key_read(const struct heap *heap, const struct entry *entry, mp_value *value);
/* The bytes of a stored string or bytes, copied to `buffer` of `size`; *length is stored in any case. Safe as above.
 * 0, MP_ETOOSMALL, MP_ECORRUPT. */
int cell_read_bytes(const struct heap *heap, uint64_t head, uint64_t body, void *buffer, size_t size, size_t *length);
/* A view of a stored value without copying: strings point into the heap (short ones into `cell` itself). Under the mutex only. */
mp_value cell_view(const struct heap *heap, const struct cell *cell);

/* Equal without looking into containers, which are equal when they are the same one. */
bool value_same(const mp_value *a, const mp_value *b);
/* A private copy of a value, owning its memory. */
int value_copy(const mp_value *from, mp_value *to);

#endif
