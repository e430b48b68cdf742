/* How a dict's entries lie in memory: segments of entries in order of insertion, and an index over them by hash.
 *
 * Position p is entry p % DICT_SEGMENT of segment p / DICT_SEGMENT. Segments never move, except the first, which starts small
 * and is replaced by larger ones until it has DICT_SEGMENT entries. The directory (root[0]) lists them.
 *
 * The index (root[1]): word 0 its number of slots, a power of two, slots from word 2 on, linear probing. A slot holds the
 * hash's upper half and the position + 1 below it; 0 is empty, a position of all ones a tombstone. So growing the index looks
 * at the old one only, and a lookup at one line of it and, mostly, one entry.
 *
 * Functions that change something are called under the object's mutex. Those that look may also be called without it; then
 * what they find is worth something only if the version is still the same afterwards. */
#ifndef DICT_TABLE_H
#define DICT_TABLE_H

#include <mp.h>

#include "key.h"
#include "value.h"

#define DICT_SEGMENT 1024
#define DICT_TOMBSTONE UINT32_MAX

static inline uint64_t dict_word(const struct object *dict, int word)
{
    return atomic_load_explicit(&dict->word[word], memory_order_relaxed);
}

static inline uint64_t dict_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

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

/* The entry with this key, or NULL. Stores its slot in *slot if that is not NULL. */
static inline struct entry *dict_find(const struct heap *heap, const struct object *dict, const struct key *key,
                                      _Atomic uint64_t **slot)
{
    uint64_t end = dict_get(&heap->size);
    uint64_t offset = dict_get(&dict->root[1]);
    uint64_t tag = key->hash >> 32;

    if (offset == 0 || offset >= end - 16)
        return NULL;
    _Atomic uint64_t *index = heap_at(heap, offset);
    uint64_t slots = dict_get(&index[0]);
    if (slots > (end - offset - 16) / 8)
        return NULL;
    for (uint64_t i = 0, at = tag; i < slots; i++, at++) {
        _Atomic uint64_t *candidate = &index[2 + (at & (slots - 1))];
        uint64_t value = dict_get(candidate);

        if (value == 0)
            return NULL;
        if (value >> 32 != tag || (uint32_t)value == DICT_TOMBSTONE)
            continue;
        struct entry *entry = dict_entry(heap, dict, (uint32_t)value - 1);
        if (entry != NULL && dict_get(&entry->sequence) != 0 && key_equal(heap, entry, key)) {
            if (slot != NULL)
                *slot = candidate;
            return entry;
        }
    }
    return NULL;
}

/* Makes room for `count` more entries. May move entries. MP_ENOMEM: all is as it was. */
int dict_make_room(struct object *dict, uint64_t count);
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
