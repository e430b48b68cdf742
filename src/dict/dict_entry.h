/* Reading and changing one entry of a dict. The public functions in dict.c and the files beside it are built on this.
 *
 * Readers take no mutex and never wait for a process that is stopped: see object.h. Writers of one dict exclude each
 * other by its mutex. A change of the version is not needed where an integer replaces an integer, or a float a float:
 * that is one atomic store. For it the key's stripe is enough, if the dict has stripes (lock striping, stripes.h). All
 * other changes go through the undo log, and the version is odd meanwhile. */
#ifndef DICT_ENTRY_H
#define DICT_ENTRY_H

#include "dict/dict_table.h"
#include "object/object_lock.h"
#include "value/access.h"

static inline struct object *dict_object(mp_dict *dict)
{
    return object_of(dict);
}

/* Prepare a key, as key_prepare_str() and key_prepare() do. MP_EINVAL also if `dict` is not a dict. */
static inline int dict_prepare_text(mp_dict *dict, const char *text, struct key *key)
{
    if (!object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    return key_prepare_str(object_heap(dict_object(dict)), text, key);
}

static inline int dict_prepare(mp_dict *dict, const mp_value *value, struct key *key)
{
    if (!object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    return key_prepare(object_heap(dict_object(dict)), value, key);
}

/* Stores the words of a key's value. MP_EKEY, MP_EINVAL. */
int dict_get_words(mp_dict *dict, const struct key *key, struct words *words);
/* Copies a key's value for the user: access_value(). */
int dict_get_value(mp_dict *dict, const struct key *key, int type, mp_value *value);
/* Copies a string or bytes object: access_bytes(). */
int dict_get_bytes(mp_dict *dict, const struct key *key, mp_type type, void *buffer, size_t size, size_t *length);

/* Under the mutex. dict_insert() adds a key that is not there, dict_store() adds or replaces. 0, MP_ENOMEM, MP_EINVAL
 * (a container that is gone). */
int dict_insert(struct object *dict, const struct key *key, const mp_value *value);
int dict_store(struct object *dict, const struct key *key, const mp_value *value);

/* The result of a lookup without the mutex. It counts if the version was even, and only while the version stays the
 * same. */
struct look {
    uint64_t version;
    bool even;
    struct entry *entry; /* NULL: not found */
};

struct look dict_look(const struct object *dict, const struct key *key);

/* Like dict_look(), but for a key that is no string longer than KEY_INLINE. Has a fast path. */
static inline __attribute__((always_inline)) struct look dict_look_short(const struct object *dict,
                                                                         const struct key *key)
{
    struct look look = {.even = object_read_begin(dict, &look.version), .entry = NULL};

    if (!look.even || dict_find_fast(object_heap(dict), dict, key, look.version, &look.entry))
        return look;
    /* A copy, so that the compiler can keep the original in registers. */
    struct key further = *key;
    return dict_look(dict, &further);
}

/* Takes the mutex, without all stripes, and finds a key's entry, NULL if there is none. Takes the key's stripe too if
 * there is an entry. Searches again only if the result of `look` does not count any more. So writers of different keys
 * wait for memory before they hold the mutex, at the same time and not one after the other. */
int dict_lock_and_find(mp_dict *dict, const struct key *key, const struct look *look, struct entry **entry);
/* Takes the lock that lets the caller replace the body of the entry's value, whose type is `head`: the key's stripe, or
 * the mutex if the dict has no stripes. Returns that lock. NULL: the lookup does not count any more, or the value is of
 * another type; nothing is held. */
static inline __attribute__((always_inline)) pthread_mutex_t *dict_lock_plain(mp_dict *dict, uint64_t hash,
                                                                              const struct look *look, uint64_t head)
{
    if (look->entry == NULL)
        return NULL;
    return stripes_guard(dict_object(dict), object_magic(dict, OBJECT_DICT), look->version, hash,
                         &look->entry->value.head, head);
}

#endif
