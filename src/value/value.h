/* Values: between mp_value, which users see, and the words that containers store (struct cell). */
#ifndef VALUE_H
#define VALUE_H

#include <mp.h>
#include <string.h>

#include "base/units.h"
#include "object/object_kind.h"
#include "value/cell.h"

/* Strings and bytes of up to this length lie in a cell's body. */
#define CELL_INLINE 8
/* No string is longer: keeps all arithmetic on lengths within 64 bits. */
#define VALUE_LONGEST SIZE_MOST

/* Whether a stored value with this head has its bytes in a block of its own. */
static inline bool cell_has_block(uint64_t head)
{
    return (head & CELL_OWNS) && ((head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES);
}
/* The handle of a stored container. */
static inline void *cell_handle(const struct heap *heap, uint64_t head, uint64_t body)
{
    return object_handle_at(heap, body & ~REF_MASK, head >> CELL_LENGTH_SHIFT);
}
/* Whether a value is a container. Invariant: the types of containers, and they alone, come after MP_BYTES. */
static inline bool value_is_container(const mp_value *value)
{
    return value->type > MP_BYTES;
}
/* The object kind of a value that is a container; 0: its type is unknown. */
static inline uint64_t value_kind(const mp_value *value)
{
    const struct object_kind *kind = object_kind_of_type(value->type);

    return kind != NULL ? kind->kind : 0;
}
/* Whether this is a value. False: an unknown type, a NULL string, a length above the limit, a handle of no live
 * container. */
bool value_is_valid(const mp_value *value);
/* Whether `value` may be stored in a container of this heap: 0, MP_EINVAL, MP_EFOREIGN (a container of another
 * heap). */
int value_check_other(const struct heap *heap, const mp_value *value);
static inline int value_check(const struct heap *heap, const mp_value *value)
{
    return value->type == MP_INT || value->type == MP_FLOAT ? 0 : value_check_other(heap, value);
}
/* The two words that store a value that owns nothing, and that value_check() has accepted. False: the value is of
 * another kind. */
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
/* Builds the two words of any value. *pending, an empty pending ref of `owner`, whose mutex is held, owns what they
 * own. The caller moves it to its place with object_set() of the cell's words and object_set(owner, pending, 0). 0,
 * MP_ENOMEM, MP_EINVAL (a container that is gone). */
int cell_build(struct object *owner, const mp_value *value, _Atomic uint64_t *pending, uint64_t *head, uint64_t *body);
/* Builds any value in an empty cell, which lies in a block that a pending ref of `owner` owns: `owner` owns it at each
 * step. 0, and what value_check() and cell_build() return. */
int cell_stage(struct object *owner, const mp_value *value, struct cell *cell);
/* Stores another value in a cell of `owner`'s, whose mutex and the cell's stripe are held. Is a change of its own, by
 * way of the pending refs 0 and 1. 0, MP_ENOMEM, MP_EINVAL (a container that is gone). */
int cell_replace(struct object *owner, struct cell *cell, const mp_value *value);

/* Copies a stored value out into an mp_value that owns its memory. Safe on words that are being changed: MP_ECORRUPT if
 * they make no sense (a reader without the mutex checks the version and tries again). MP_ENOMEM. A container is not
 * held yet: value_hold(). */
int cell_read(const struct heap *heap, uint64_t head, uint64_t body, mp_value *value);
/* Like cell_read(), from a cell. */
int cell_value(const struct heap *heap, const struct cell *cell, mp_value *value);
/* Like cell_read(), for a number, a bool or none. Needs no heap. */
int cell_number(uint64_t head, uint64_t body, mp_value *value);
/* Like cell_number(), for an integer, the most frequent type. */
static inline void cell_int(uint64_t body, mp_value *value)
{
    value->type = MP_INT;
    value->size = 0;
    value->as.integer = (int64_t)body;
    value->owned = NULL;
}
/* The staging area for the bytes of a stored string or bytes object on their way to a user's buffer of `size` bytes.
 * Nothing may be written to the user's buffer before the read is known to count. */
#define STAGED_SHORT 512
struct staged_bytes {
    mp_type type;
    size_t size, length;
    size_t room; /* bytes at `owned` */
    char *owned; /* NULL: none, they fit in `words` */
    uint64_t words[STAGED_SHORT / 8];
};
static inline void staged_begin(struct staged_bytes *staged, mp_type type, size_t size)
{
    staged->type = type;
    staged->size = size;
    staged->room = 0;
    staged->owned = NULL;
}
/* Stages the bytes. May be called more than once, as the reader tries again; the last call counts. Safe on words that
 * are being changed, like cell_read(). 0, MP_ETYPE, MP_ETOOSMALL, MP_ENOMEM, MP_ECORRUPT. */
int cell_stage_bytes(const struct heap *heap, uint64_t head, uint64_t body, struct staged_bytes *staged);
/* Ends the staging. `error` is the result of the read, and is returned. If it is 0, fills the user's buffer, with a
 * string's terminating NUL. If it is 0 or MP_ETOOSMALL, stores *length. */
int staged_end(struct staged_bytes *staged, int error, void *buffer, size_t *length);
/* A view of a value that is no string longer than CELL_INLINE. Its bytes go to `text`, which has CELL_INLINE + 1 bytes.
 * Never allocates. */
int cell_view_short(const struct heap *heap, uint64_t head, uint64_t body, char *text, mp_value *value);
/* A view of a stored value without copying: strings point into the heap (short ones into `cell` itself). The caller
 * holds the mutex. */
mp_value cell_view(const struct heap *heap, const struct cell *cell);

/* Whether two values are equal without looking into containers: a container equals only itself. */
bool value_same(const mp_value *a, const mp_value *b);
/* Makes a value read out of a container the user's. If it is a container, this process holds it until mp_value_free();
 * otherwise does nothing. MP_EINVAL: the container has ended meanwhile. MP_ENOMEM. */
int value_hold(mp_value *value);
/* A private copy of a value: it owns its memory, and holds the container if the value is one. */
int value_copy(const mp_value *from, mp_value *to);

#endif
