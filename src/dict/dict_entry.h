/* One entry of a dict at a time: how it is read without the mutex, and changed under it. What the public functions do,
 * in dict.c and the files beside it, is made of this.
 *
 * Readers take no mutex, and wait for nobody who is stopped: see object.h. Writers of one dict take turns under its
 * mutex; an integer that takes an integer's place (and a float a float's) is one word, stored at once, and readers need
 * not even notice: for that the key's stripe is enough, where the dict has stripes. All other changes go through the
 * undo log, with the version odd meanwhile. */
#ifndef DICT_ENTRY_H
#define DICT_ENTRY_H

#include "dict/dict_table.h"
#include "object/stripes.h"

static inline struct object *dict_object(mp_dict *dict)
{
    return object_of(dict);
}

/* Makes a key ready, if it is a dict's at all. As key_prepare() and key_prepare_str(). */
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

/* Takes out of an entry what is wanted. May be called on an entry that is changing, and more than once; what it returns
 * and stores counts if the version has not changed. */
typedef int dict_reader(const struct heap *heap, const struct entry *entry, void *out);
/* Reads a key's entry. `discard`, when given, undoes a read that turned out not to count. MP_EKEY, MP_EINVAL,
 * MP_EDEADLK, and what `read` says. */
int dict_read(mp_dict *dict, const struct key *key, dict_reader *read, void *out, void (*discard)(void *out));
/* One of the dict's words. MP_EINVAL. */
int dict_read_word(mp_dict *dict, int word, uint64_t *value);
/* Its value, into an mp_value that owns its memory. A container is not held yet. */
int dict_read_value(const struct heap *heap, const struct entry *entry, void *out);
void dict_discard_value(void *out);
/* The value of a key as the user gets it: a container is held. */
int dict_get_value(mp_dict *dict, const struct key *key, mp_value *value);

/* Under the mutex: another value for an entry; a key that is not there; either. 0, MP_ENOMEM, MP_EINVAL (a container
 * that is gone). */
int dict_replace(struct object *dict, struct entry *entry, const mp_value *value);
int dict_insert(struct object *dict, const struct key *key, const mp_value *value);
int dict_store(struct object *dict, const struct key *key, const mp_value *value);

/* What a look without the mutex has found. It counts if the version was even, and for as long as it stays the same. */
struct look {
    uint64_t version;
    bool even;
    struct entry *entry; /* NULL: none */
};

struct look dict_look(const struct object *dict, const struct key *key);

/* The same for a key that is no string longer than KEY_INLINE, in few instructions where it is the usual case. */
static inline __attribute__((always_inline)) struct look dict_look_short(const struct object *dict,
                                                                         const struct key *key)
{
    struct look look = {.even = object_read_begin(dict, &look.version), .entry = NULL};

    if (!look.even || dict_find_at_once(object_heap(dict), dict, key, look.version, &look.entry))
        return look;
    /* A copy, so that the compiler need not keep the other in memory. */
    struct key further = *key;
    return dict_look(dict, &further);
}

/* Takes the mutex alone and finds a key's entry, NULL if there is none; takes its stripe if there is one. Looks again
 * only if what was seen before does not count any more: writers of different keys wait for memory at the same time and
 * not one after the other. */
int dict_lock_and_find(mp_dict *dict, const struct key *key, const struct look *look, struct entry **entry);
/* Takes what guards the entry that was seen, while the body of its value, which is of type `head`, is replaced: the
 * key's stripe, or the mutex of a dict that has none. NULL: what was seen does not count, or the value is of another
 * type, and nothing is held. */
static inline __attribute__((always_inline)) pthread_mutex_t *dict_lock_plain(mp_dict *dict, uint64_t hash,
                                                                              const struct look *look, uint64_t head)
{
    if (look->entry == NULL)
        return NULL;
    return stripes_guard(dict_object(dict), object_magic(dict, OBJECT_DICT), look->version, hash,
                         &look->entry->value.head, head);
}

#endif
