/* How a dict's entries lie in memory: in segments, in order of insertion. dict_index.h finds them by their keys.
 *
 * Position p is entry p % DICT_SEGMENT of segment p / DICT_SEGMENT. Segments never move, except the first, which starts small
 * and is replaced by larger ones until it has DICT_SEGMENT entries. The directory (root[0]) lists them.
 *
 * Functions that change something are called under the object's mutex. Those that look may also be called without it; then
 * what they find is worth something only if the version is still the same afterwards. */
#ifndef DICT_TABLE_H
#define DICT_TABLE_H

#include <mp.h>

#include "dict_index.h"
#include "value.h"

#define DICT_SEGMENT 1024

/* The entry at a position; NULL: what the words say makes no sense. */
static inline struct entry *dict_entry(const struct heap *heap, const struct object *dict, uint64_t position)
{
    uint64_t end = dict_get(&heap->size);
    uint64_t directory = dict_get(&dict->root[0]) & ~REF_MASK;
    uint64_t word = directory + 8 * (1 + position / DICT_SEGMENT);

    if (directory == 0 || word >= end)
        return NULL;
    uint64_t segment = dict_get(heap_at(heap, word)) & ~REF_MASK;
    uint64_t offset = segment + 16 + position % DICT_SEGMENT * sizeof(struct entry);
    return segment == 0 || segment >= end || offset > end - sizeof(struct entry) ? NULL : heap_at(heap, offset);
}

/* Makes room for `count` more entries, whose keys have these hashes. May move entries. MP_ENOMEM: all is as it was. */
int dict_make_room(struct object *dict, const uint64_t *hashes, uint64_t count);
/* Adds an entry for a key that is not there: the caller has made room, and owns the key's bytes, if they are long, in
 * *key_pending, and the value's in *value_pending. Part of a change: between object_begin() and object_commit(), at most
 * DICT_ADD_WORDS words. */
#define DICT_ADD_WORDS 8
void dict_add(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, uint64_t head, uint64_t body,
              _Atomic uint64_t *value_pending);
/* Takes an entry out, whose refs move to the two pending refs, which are empty. Part of a change, at most DICT_REMOVE_WORDS. */
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
