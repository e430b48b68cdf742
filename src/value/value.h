/* Values: between mp_value, which users see, and the words that containers store (struct cell). */
#ifndef VALUE_H
#define VALUE_H

#include <mp.h>
#include <string.h>

#include "object/object.h"

/* Strings and bytes of up to this length lie in a cell's body. */
#define CELL_INLINE 8
/* No string is longer: keeps all arithmetic on lengths within 64 bits. */
#define VALUE_LONGEST (UINT64_C(1) << 40)

/* Whether a stored value with this head has bytes in a block of their own. */
static inline bool cell_has_block(uint64_t head)
{
    return (head & CELL_OWNS) && ((head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES);
}
/* The handle that a stored container has. */
static inline void *cell_handle(const struct heap *heap, uint64_t head, uint64_t body)
{
    return object_handle_at(heap, body & ~REF_MASK, head >> CELL_LENGTH_SHIFT);
}
/* What a container is. */
static inline uint64_t value_kind(const mp_value *value)
{
    return value->type == MP_DICT ? OBJECT_DICT : OBJECT_LIST;
}
/* False: no value at all: an unknown type, a NULL string, a length that no string has, a container that is none. */
bool value_is_valid(const mp_value *value);
/* 0 or MP_EINVAL, MP_EFOREIGN (a container of another heap): may `value` be stored in a container of this heap? */
int value_check_other(const struct heap *heap, const mp_value *value);
static inline int value_check(const struct heap *heap, const mp_value *value)
{
    return value->type == MP_INT || value->type == MP_FLOAT ? 0 : value_check_other(heap, value);
}
/* The two words that store a value of a kind that needs nothing else (and that value_check() has nothing against);
 * false: another. */
static inline bool cell_plain(const mp_value *value, uint64_t *head, uint64_t *body)
{
    *head = (uint64_t)value->type;
    *body = 0;
    switch (value->type) {
    case MP_NONE:
        return true;
    case MP_BOOL:
        *body = value->as.boolean;
        return true;
    case MP_INT:
        *body = (uint64_t)value->as.integer;
        return true;
    case MP_FLOAT:
        memcpy(body, &value->as.real, sizeof *body);
        return true;
    default:
        return false;
    }
}
/* The same with any value. What they own is in *pending (an empty pending ref of `owner`, whose mutex is held):
 * the caller moves it to its place with object_set() of the cell's words and object_set(owner, pending, 0).
 * 0, MP_ENOMEM, MP_EINVAL (a container that is gone). */
int cell_build(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head, uint64_t *body);

/* Copies a stored value out into an mp_value that owns its memory. Safe on words that are being changed: MP_ECORRUPT
 * when they make no sense (a reader without the mutex checks the version and tries again). MP_ENOMEM. A container
 * is not held yet: value_hold(). */
int cell_read(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value);
/* The same of a number, a bool or none, which needs no heap. */
int cell_number(uint64_t head, uint64_t body, mp_value *value);
/* The same of an integer: the most frequent, written word by word. */
static inline void cell_int(uint64_t body, mp_value *value)
{
    value->type = MP_INT;
    value->size = 0;
    value->as.integer = (int64_t)body;
    value->owned = NULL;
}
/* The bytes of a stored string or bytes on their way to a user's buffer of `size` bytes, which nothing may be written
 * to before it is certain what: until then they lie here. */
#define STAGED_SHORT 512
struct staged_bytes {
    mp_type type;
    size_t size, length;
    size_t room; /* bytes at `owned` */
    char *owned; /* NULL: none, they are few */
    uint64_t words[STAGED_SHORT / 8];
};
static inline void staged_begin(struct staged_bytes *staged, mp_type type, size_t size)
{
    staged->type = type;
    staged->size = size;
    staged->room = 0;
    staged->owned = NULL;
}
/* May be called more than once, as the reader tries again; the last time counts. Safe as above. 0, MP_ETYPE,
 * MP_ETOOSMALL, MP_ENOMEM, MP_ECORRUPT. */
int cell_stage_bytes(const struct heap *heap, uint64_t head, uint64_t body, struct staged_bytes *staged);
/* In the end, with what that has returned, which it returns in turn: the user's buffer is filled if it is 0, a string's
 * end included, and *length stored if it is that or MP_ETOOSMALL. */
int staged_end(struct staged_bytes *staged, int error, void *buffer, size_t *length);
/* A value that is no string longer than CELL_INLINE; its bytes go to `text`, CELL_INLINE + 1 of them. Never
 * allocates. */
int cell_view_short(const struct heap *heap, uint64_t head, uint64_t body, char *text, mp_value *value);
/* A view of a stored value without copying: strings point into the heap (short ones into `cell` itself). Under the
 * mutex only. */
mp_value cell_view(const struct heap *heap, const struct cell *cell);

/* Equal without looking into containers, which are equal when they are the same one. */
bool value_same(const mp_value *a, const mp_value *b);
/* A value read out of a container becomes the user's: if it is a container, this process holds it until
 * mp_value_free(). Else nothing. MP_EINVAL: it has ended meanwhile. MP_ENOMEM. */
int value_hold(mp_value *value);
/* A private copy of a value, owning its memory, and holding the container that it is. */
int value_copy(const mp_value *from, mp_value *to);

#endif
