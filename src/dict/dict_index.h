/* The index of a dict: a hash table in shared memory from a key's hash to the place of its entry.
 *
 * root[1] is a table of pages. word[DICT_PAGES] is the number of pages, word[DICT_SLOTS] the number of slots in each of
 * them. While there is only one page, a larger one replaces it when it fills. From INDEX_PAGE slots on, pages are split
 * instead, one by one and in turn (linear hashing). So an insertion pays for a page or two at the most, whatever the
 * dict's size, and no caller waits long for it.
 *
 * A page: word 0 is the number of its slots that are not empty. Word 1 is scratch space of the function that makes
 * room; nothing else reads it. The slots lie from index_slots() on, in groups of one cache line (index_group.h). A slot
 * holds the upper half of the key's hash, the tag, and below it the entry's offset / 16. 0 is an empty slot,
 * INDEX_TOMBSTONE a slot whose entry was removed. The tag's low bits give the group of a page in which the search
 * begins, the bits above them the page. The search goes on through groups that have no empty slot. It ends after the
 * first group that has one, or after all groups.
 *
 * Invariant: a group that has an empty slot never was full, so no search has to go on behind it. Therefore a slot of
 * such a group becomes empty again when its entry is removed, and needs no tombstone.
 *
 * Functions that change something are called under the object's mutex. */
#ifndef DICT_INDEX_H
#define DICT_INDEX_H

#include <mp.h>

#include "base/word.h"
#include "dict/dict_layout.h"
#include "dict/index_group.h"

#define INDEX_PAGE_BITS 11
#define INDEX_PAGE (UINT64_C(1) << INDEX_PAGE_BITS)
/* With this many pages all bits of a tag are in use. */
#define INDEX_MOST_PAGES (UINT64_C(1) << (32 - INDEX_PAGE_BITS))

static inline uint64_t dict_word(const struct object *dict, int word)
{
    return word_get(&dict->word[word]);
}

static inline uint64_t index_tag(uint64_t hash)
{
    return hash >> 32;
}

/* The bits of a tag, from INDEX_PAGE_BITS on, that number `pages` pages. */
static inline uint64_t index_page_mask(uint64_t pages)
{
    return pages == 0 ? 0 : (UINT64_C(2) << (63 - __builtin_clzll(pages))) - 1;
}

/* The page that a tag leads to (linear hashing): the number in these bits, or without the highest of them if that page
 * does not exist yet. */
static inline uint64_t index_page_number(uint64_t tag, uint64_t pages, uint64_t mask)
{
    uint64_t number = tag >> INDEX_PAGE_BITS & mask;

    return number < pages ? number : number & mask >> 1;
}

/* The slots of the page at this offset. They begin at a cache line. */
static inline _Atomic uint64_t *index_slots(const struct heap *heap, uint64_t page)
{
    return heap_at(heap, (page + 16 + 63) & ~UINT64_C(63));
}
#define INDEX_PAGE_BYTES(slots) (16 + 48 + 8 * (slots))

/* Searches a page. The page may be changing, or no page at all: the search ends in any case and reads only below
 * `end`. */
static inline struct entry *index_search(const struct heap *heap, uint64_t page, uint64_t slots, uint64_t end,
                                         const struct key *key, _Atomic uint64_t **slot)
{
    uint64_t tag = index_tag(key->hash), mask = slots - INDEX_GROUP;
    _Atomic uint64_t *first = index_slots(heap, page);

    for (uint64_t i = 0;; i += INDEX_GROUP) {
        _Atomic uint64_t *group = &first[(tag + i) & mask];

        for (unsigned match = index_group_match(group, (uint32_t)tag); match != 0; match &= match - 1) {
            _Atomic uint64_t *found = &group[__builtin_ctz(match)];
            uint64_t offset = (word_get(found) & UINT32_MAX) << 4;
            struct entry *entry = heap_at(heap, offset);

            /* The offset of an empty slot is 0, and 0 - 1 is too large. */
            if (offset - 1 < end - sizeof *entry && key_equal(heap, &entry->key, key)) {
                if (slot != NULL)
                    *slot = found;
                return entry;
            }
        }
        if (index_group_empty(group) != 0 || i >= mask)
            return NULL;
    }
}

/* The offset of the ref to the page that a tag leads to. The dict is not empty. */
static inline uint64_t index_page_word(const struct object *dict, uint64_t table, uint64_t tag)
{
    return table - REF_TABLE + 8 + 8 * index_page_number(tag, dict_word(dict, DICT_PAGES), dict_word(dict, DICT_MASK));
}

/* The entry with this key, or NULL. Stores its slot in *slot if that is not NULL. The caller holds the mutex. */
static inline struct entry *dict_find(const struct heap *heap, const struct object *dict, const struct key *key,
                                      _Atomic uint64_t **slot)
{
    uint64_t table = word_get(&dict->root[1]);

    if (table == 0)
        return NULL;
    uint64_t page = word_get(heap_at(heap, index_page_word(dict, table, index_tag(key->hash))));
    return index_search(heap, page, dict_word(dict, DICT_SLOTS), word_get(&heap->size), key, slot);
}

/* A page's offset, and its number of slots. */
struct index_page {
    uint64_t offset, slots;
};

/* Finds the page that a tag leads to, without the mutex (an optimistic read). The caller read `version` before, and it
 * was even. Words of different versions may lead anywhere, so the result is a page only if the version is still the
 * same, which is checked here. False: it is not the same, or the dict has no page. The page may be freed and reused
 * before it is read, but its memory stays readable. */
static inline __attribute__((always_inline)) bool index_page_unlocked(const struct heap *heap,
                                                                      const struct object *dict, uint64_t tag,
                                                                      uint64_t end, uint64_t version,
                                                                      struct index_page *page)
{
    uint64_t table = word_get(&dict->root[1]), word = index_page_word(dict, table, tag);

    page->slots = dict_word(dict, DICT_SLOTS);
    if (table == 0 || word >= end)
        return false;
    page->offset = word_get(heap_at(heap, word)); /* a REF_BLOCK: the offset */
    return object_read_valid(dict, version);
}

/* Like dict_find(), but without the mutex. The caller discards the result if the version has changed meanwhile. In any
 * case only memory inside the heap is read. */
static inline struct entry *dict_find_unlocked(const struct heap *heap, const struct object *dict,
                                               const struct key *key, uint64_t version)
{
    uint64_t end = word_get(&heap->size);
    struct index_page page;

    return index_page_unlocked(heap, dict, index_tag(key->hash), end, version, &page)
               ? index_search(heap, page.offset, page.slots, end, key, NULL)
               : NULL;
}

/* Like dict_find_unlocked(), but as part of a reading, which may go through the undo log. Copies the entry's words. The
 * result counts if the reading does. False: no entry has the key. */
bool dict_find_reading(const struct reading *reading, const struct key *key, struct entry *copy);

/* Fast path of dict_find_unlocked(). It covers a key that is no string longer than KEY_INLINE, and whose entry is the
 * first match in the first group of its search or is nowhere. Stores the entry or NULL. False: take the slow path. */
static inline __attribute__((always_inline)) bool dict_find_fast(const struct heap *heap, const struct object *dict,
                                                                 const struct key *key, uint64_t version,
                                                                 struct entry **entry)
{
    uint64_t end = word_get(&heap->size), tag = index_tag(key->hash);
    struct index_page page;

    if (!index_page_unlocked(heap, dict, tag, end, version, &page))
        return false;
    const _Atomic uint64_t *group = &index_slots(heap, page.offset)[tag & (page.slots - INDEX_GROUP)];
    unsigned match = index_group_match(group, (uint32_t)tag);
    if (match == 0) {
        *entry = NULL;
        return index_group_empty(group) != 0;
    }
    uint64_t offset = (word_get(&group[__builtin_ctz(match)]) & UINT32_MAX) << 4;
    *entry = heap_at(heap, offset);
    return offset - 1 < end - sizeof **entry && key_equal_short(&(*entry)->key, key);
}

/* Prefetches the memory in which the search for these keys will look. Only makes the search faster. Needs no mutex.
 * Takes at most INDEX_PREFETCH keys. */
#define INDEX_PREFETCH 32
void index_prefetch(const struct object *dict, const struct key *keys, size_t count);

/* Makes room for `count` more keys with these hashes. Is a change of its own. MP_ENOMEM: the dict holds what it did
 * before. */
int index_reserve(struct object *dict, const uint64_t *hashes, uint64_t count);
/* After index_reserve() returned MP_ENOMEM: whether the keys fit all the same, in slots of removed entries. */
bool index_has_place(struct object *dict, const uint64_t *hashes, uint64_t count);
/* Chooses the slot for a key that is not in the dict, for which room has been made. The caller's change then stores
 * `value` in *slot and `fill` in *filled. */
struct index_place {
    _Atomic uint64_t *slot, *filled;
    uint64_t value, fill;
};
struct index_place index_place(const struct object *dict, uint64_t hash, const struct entry *entry);
/* Removes the slot that dict_find() has found. Part of a change, of at most INDEX_REMOVE_WORDS words. */
#define INDEX_REMOVE_WORDS 2
void index_remove(struct object *dict, _Atomic uint64_t *slot);
/* Makes the slot of the entry with this hash, which is in the index, lead to the entry's new place. Part of a change,
 * one word. */
void index_move(struct object *dict, uint64_t hash, const struct entry *from, const struct entry *to);

/* Builds a new index aside. index_build() makes an empty one with room for `entries` keys, owned by pending ref 3
 * (which may own a part of it after MP_ENOMEM). index_build_add() adds an entry; MP_ENOMEM: too many keys have hashes
 * that lead to one page. The caller puts the index into place by a change of root[1] and of the three words in
 * `shape`. */
struct index_shape {
    uint64_t pages, mask, slots;
};
int index_build(struct object *dict, uint64_t entries, struct index_shape *shape);
int index_build_add(struct object *dict, const struct index_shape *shape, uint64_t hash, const struct entry *entry);

#endif
