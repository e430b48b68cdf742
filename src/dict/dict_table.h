/* How a dict's entries lie in memory: in segments (segments.h), in order of insertion. dict_index.h finds them by their
 * keys.
 *
 * Positions are used one after the other; who removes an entry leaves its position empty, until the dict is built anew.
 *
 * Functions that change something are called under the object's mutex. Those that look may also be called without it;
 * then what they find is worth something only if the version is still the same afterwards. */
#ifndef DICT_TABLE_H
#define DICT_TABLE_H

#include <mp.h>

#include "dict/dict_index.h"
#include "object/segments.h"
#include "value/value.h"

/* The entry at a position; NULL: what the words say makes no sense. */
static inline struct entry *dict_entry(const struct heap *heap, const struct object *dict, uint64_t position)
{
    uint64_t place = segments_place(heap, dict, position, sizeof(struct entry));

    return place == 0 ? NULL : heap_at(heap, place);
}

/* The same for a reading, which copies its words. False: what the words say makes no sense. */
bool dict_read_entry(const struct reading *reading, uint64_t position, struct entry *copy);

/* Makes room for `count` more entries, whose keys have these hashes. May move entries. MP_ENOMEM: all is as it was. */
int dict_make_room(struct object *dict, const uint64_t *hashes, uint64_t count);
/* Adds an entry for a key that is not there: the caller has made room, and owns the key's bytes, if they are long, in
 * *key_pending, and the value's in *value_pending. Part of a change: between object_begin() and object_commit(), at
 * most DICT_ADD_WORDS words. */
#define DICT_ADD_WORDS 8
void dict_add(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, uint64_t head, uint64_t body,
              _Atomic uint64_t *value_pending);
/* Takes an entry out, whose refs move to the two pending refs, which are empty. Part of a change, at most
 * DICT_REMOVE_WORDS. */
#define DICT_REMOVE_WORDS 16
void dict_take_out(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, _Atomic uint64_t *key_pending,
                   _Atomic uint64_t *value_pending);
/* Moves everything to pending refs 2 and 3 and releases it. A change of its own. */
void dict_empty(struct object *dict);
/* Gives memory back if little of it is in use. */
void dict_shrink(struct object *dict);
/* The bytes of a long key, in a block that *pending owns; nothing for a short one. */
int dict_store_key(struct object *dict, const struct key *key, _Atomic uint64_t *pending);

#endif
