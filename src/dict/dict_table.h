/* The entries of a dict in memory: in segments (segments.h), in order of insertion. dict_index.h finds them by key.
 *
 * Positions are used one after the other. A removed entry leaves its position empty until the dict is rebuilt or
 * compacted. Only positions at the end are used again without that.
 *
 * Functions that change something are called under the object's mutex. Functions that only look may also be called
 * without it; their result counts only if the version is still the same afterwards. */
#ifndef DICT_TABLE_H
#define DICT_TABLE_H

#include <mp.h>

#include "dict/dict_index.h"
#include "object/segments.h"
#include "value/value.h"

/* The entry at a position. NULL: the words that lead there make no sense. */
static inline struct entry *dict_entry(const struct heap *heap, const struct object *dict, uint64_t position)
{
    uint64_t place = segments_place(heap, dict, position, sizeof(struct entry));

    return place == 0 ? NULL : heap_at(heap, place);
}

/* Like dict_entry(), but as part of a reading, which copies the entry's words. False: the words that lead there make no
 * sense. */
bool dict_read_entry(const struct reading *reading, uint64_t position, struct entry *copy);

/* Makes room for `count` more entries, whose keys have these hashes. May move entries. MP_ENOMEM: the dict holds what
 * it did before. */
int dict_reserve(struct object *dict, const uint64_t *hashes, uint64_t count);
/* Adds an entry for a key that is not in the dict. The caller has made room. *key_pending owns the key's bytes if they
 * are long, *value_pending the value's block if there is one. Part of a change, between object_begin() and
 * object_commit(), of at most DICT_ADD_WORDS words. */
#define DICT_ADD_WORDS 8
void dict_add(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, uint64_t head, uint64_t body,
              _Atomic uint64_t *value_pending);
/* Removes an entry. Its refs move to the two pending refs, which are empty before. Part of a change, of at most
 * DICT_REMOVE_WORDS words. */
#define DICT_REMOVE_WORDS 16
void dict_take_out(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, _Atomic uint64_t *key_pending,
                   _Atomic uint64_t *value_pending);
/* Removes everything, by way of pending refs 2 and 3. Is a change of its own. */
void dict_empty(struct object *dict);
/* Gives memory back if little of it is in use. */
void dict_shrink(struct object *dict);
/* Copies the bytes of a long key into a new block that *pending owns. Does nothing for a short key. */
int dict_store_key(struct object *dict, const struct key *key, _Atomic uint64_t *pending);

#endif
