/* Reading containers without their mutex, and typed access to what they store. Dicts and lists differ in how they find
 * a cell, by a key or by an index. The rest is the same for both, and is here. It is inlined, so that functions are
 * called directly where the caller names them. */
#ifndef ACCESS_H
#define ACCESS_H

#include <mp.h>
#include <string.h>

#include "base/word.h"
#include "object/object_lock.h"
#include "value/value.h"

#define ACCESS_INLINE static inline __attribute__((always_inline))

/* The two words of a cell. */
struct words {
    uint64_t head, body;
};

static inline struct words cell_words(const struct cell *cell)
{
    return (struct words){word_get(&cell->head), word_get(&cell->body)};
}

/* The two steps of an attempt to read. An attempt may be made more than once; the last one counts.
 *   1. find() reads the words of the cell that the locator, a key or an index, leads to.
 *   2. take() makes of them what the caller wants. NULL: there is no such step. */
typedef int access_find(const struct reading *reading, const void *locator, struct words *words);
typedef int access_take(const struct heap *heap, const struct words *words, void *out);

/* Makes attempts until one counts (a seqlock, object.h). Returns what that attempt has returned. If others keep
 * writing, an attempt is made under the mutex from time to time. MP_EINVAL: not a live handle of that kind. */
ACCESS_INLINE int access_read(const void *handle, uint64_t kind, access_find *find, const void *locator,
                              access_take *take, void *out)
{
    struct object *object = object_of(handle);
    struct reading reading = {.object = object};
    struct words words;

    if (!object_is(handle, kind)) /* the address may be that of something else, and smaller */
        return MP_EINVAL;
    for (unsigned tries = 0;; tries++) {
        bool patient = object_read_again(&reading, tries);

        if (!object_is_there(handle, kind))
            return MP_EINVAL;
        bool locked = !patient && object_lock_to_read(object, object_magic(handle, kind)) == 0;
        if (locked)
            object_read_again(&reading, 0);
        int error = find(&reading, locator, &words);
        if (error == 0 && take != NULL)
            error = take(object_heap(object), &words, out);
        bool counts = object_reading_valid(&reading);
        if (locked)
            mutex_unlock(&object->mutex);
        if (counts)
            return error;
    }
}

/* Stores one of the object's words, which is a length or the like. Has a fast path, for an object that is not being
 * changed. MP_EINVAL. */
int access_word_slow(const void *handle, uint64_t kind, int word, uint64_t *value);
static inline int access_word(const void *handle, uint64_t kind, int word, uint64_t *value)
{
    const struct object *object = object_of(handle);
    uint64_t found, version;

    if (!object_is(handle, kind))
        return MP_EINVAL;
    if (object_read_begin(object, &version) && object_is_fast(handle, kind)) {
        found = word_get(&object->word[word]);
        if (object_read_valid(object, version)) {
            *value = found;
            return 0;
        }
    }
    return access_word_slow(handle, kind, word, value);
}

/* ---- values ---- */

/* The functions below return what find() returns, MP_EINVAL, and what their comments say. What they store is not
 * changed if they fail. */

ACCESS_INLINE int access_take_words(const struct heap *heap, const struct words *words, void *out)
{
    (void)heap;
    memcpy(out, words, sizeof *words);
    return 0;
}

ACCESS_INLINE int access_words(const void *handle, uint64_t kind, access_find *find, const void *locator,
                               struct words *words)
{
    struct words found;
    int error = access_read(handle, kind, find, locator, access_take_words, &found);

    if (error == 0)
        *words = found;
    return error;
}

#define ACCESS_ANY (-1)
struct access_value {
    int type; /* ACCESS_ANY, or the only one that is wanted */
    mp_value found;
};

ACCESS_INLINE int access_take_value(const struct heap *heap, const struct words *words, void *out)
{
    struct access_value *value = out;

    if (value->found.owned != NULL) /* of an attempt that did not count */
        mp_value_free(&value->found);
    if (value->type != ACCESS_ANY && (words->head & CELL_TYPE) != (uint64_t)value->type)
        return MP_ETYPE;
    return cell_read(heap, words->head, words->body, &value->found);
}

/* Copies the value for the user. A container is held. If `type` is not ACCESS_ANY, a value of another type is MP_ETYPE.
 * MP_ENOMEM. */
ACCESS_INLINE int access_value(const void *handle, uint64_t kind, access_find *find, const void *locator, int type,
                               mp_value *value)
{
    struct access_value read = {.type = type};
    int error, held = 0;

    do {
        error = access_read(handle, kind, find, locator, access_take_value, &read);
        if (error == 0)
            held = value_hold(&read.found);
    } while (error == 0 && held == MP_EINVAL); /* another value has replaced the container before it could be held */
    if (error == 0)
        error = held;
    if (error == 0)
        *value = read.found;
    else
        mp_value_free(&read.found);
    return error;
}

ACCESS_INLINE int access_take_bytes(const struct heap *heap, const struct words *words, void *out)
{
    return cell_stage_bytes(heap, words->head, words->body, out);
}

/* Copies a string or bytes object to a user's buffer. MP_ETYPE, MP_ETOOSMALL (*length is stored), MP_ENOMEM. */
ACCESS_INLINE int access_bytes(const void *handle, uint64_t kind, access_find *find, const void *locator, mp_type type,
                               void *buffer, size_t size, size_t *length)
{
    struct staged_bytes staged;

    staged_begin(&staged, type, size);
    int error = access_read(handle, kind, find, locator, access_take_bytes, &staged);
    return staged_end(&staged, error, buffer, length);
}

/* Converts a value's words to the C type of `type`, which is no string, and stores it in *value. A constant `type`
 * leaves one case. MP_ETYPE. */
ACCESS_INLINE int access_convert(const struct heap *heap, struct words words, mp_type type, void *value)
{
    mp_type stored = (mp_type)(words.head & CELL_TYPE);

    if (type == MP_FLOAT && stored == MP_INT) {
        *(double *)value = (double)(int64_t)words.body;
        return 0;
    }
    if (stored != type)
        return MP_ETYPE;
    if (type == MP_BOOL)
        *(bool *)value = words.body != 0;
    else if (type == MP_DICT || type == MP_LIST)
        *(void **)value = cell_handle(heap, words.head, words.body);
    else
        memcpy(value, &words.body, sizeof words.body);
    return 0;
}

#endif
