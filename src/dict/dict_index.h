/* The index of a dict: where the entry with a given key lies, by the key's hash.
 *
 * root[1] is a table of pages, word[DICT_PAGES] says how many there are, word[DICT_SLOTS] how many slots each of them
 * has. An only page is replaced by a larger one when it fills. Those of INDEX_PAGE slots are split instead, one by one
 * and in turn (linear hashing): so an insertion pays for a page or two at the most, whatever the dict's size, and
 * nobody waits long for it.
 *
 * A page: word 0 is how many of its slots are not empty, word 1 a note of who makes room, which counts for nothing to
 * anybody else; the slots lie from index_slots() on, by groups (index_group.h). A slot holds the upper half of the
 * key's hash, the tag, and below it the entry's offset / 16; 0 is empty, INDEX_TOMBSTONE one whose entry was removed.
 * The tag's low bits say in which of a page's groups the search begins; it goes on through those that have no empty
 * slot, and ends after the first that has one, or after all. The bits above them say which page. Invariant: a group
 * that has an empty slot never was full, so no search has to go on behind it; a slot there is empty again when its
 * entry is removed.
 *
 * Functions that change something are called under the object's mutex. */
#ifndef DICT_INDEX_H
#define DICT_INDEX_H

#include <mp.h>

#include "dict/index_group.h"
#include "value/key.h"

#define INDEX_PAGE_BITS 11
#define INDEX_PAGE (UINT64_C(1) << INDEX_PAGE_BITS)
/* All of a tag's bits are in use then. */
#define INDEX_MOST_PAGES (UINT64_C(1) << (32 - INDEX_PAGE_BITS))

static inline uint64_t dict_get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline uint64_t dict_word(const struct object *dict, int word)
{
    return dict_get(&dict->word[word]);
}

static inline uint64_t index_tag(uint64_t hash)
{
    return hash >> 32;
}

/* Of so many pages: the bits by which they are numbered. */
static inline uint64_t index_page_mask(uint64_t pages)
{
    return pages == 0 ? 0 : (UINT64_C(2) << (63 - __builtin_clzll(pages))) - 1;
}

/* The page that a tag leads to: by those bits, or one less where that page is not yet. */
static inline uint64_t index_page_number(uint64_t tag, uint64_t pages, uint64_t mask)
{
    uint64_t number = tag >> INDEX_PAGE_BITS & mask;

    return number < pages ? number : number & mask >> 1;
}

/* The slots of the page at this offset: where a line of the cache begins. */
static inline _Atomic uint64_t *index_slots(const struct heap *heap, uint64_t page)
{
    return heap_at(heap, (page + 16 + 63) & ~UINT64_C(63));
}
#define INDEX_PAGE_BYTES(slots) (16 + 48 + 8 * (slots))

/* Searches a page. Whatever its slots hold, this ends and looks only at bytes below `end`. */
static inline struct entry *index_search(const struct heap *heap, uint64_t page, uint64_t slots, uint64_t end,
                                         const struct key *key, _Atomic uint64_t **slot)
{
    uint64_t tag = index_tag(key->hash), mask = slots - INDEX_GROUP;
    _Atomic uint64_t *first = index_slots(heap, page);

    for (uint64_t i = 0;; i += INDEX_GROUP) {
        _Atomic uint64_t *group = &first[(tag + i) & mask];

        for (unsigned match = index_group_match(group, (uint32_t)tag); match != 0; match &= match - 1) {
            _Atomic uint64_t *found = &group[__builtin_ctz(match)];
            uint64_t offset = (dict_get(found) & UINT32_MAX) << 4;
            struct entry *entry = heap_at(heap, offset);

            /* An empty slot's offset, 0, is none: it becomes too large. */
            if (offset - 1 < end - sizeof *entry && key_equal(heap, entry, key)) {
                if (slot != NULL)
                    *slot = found;
                return entry;
            }
        }
        if (index_group_empty(group) != 0 || i >= mask)
            return NULL;
    }
}

/* Where the ref to the page lies that a tag leads to; the dict is not empty. */
static inline uint64_t index_page_word(const struct object *dict, uint64_t table, uint64_t tag)
{
    return table - REF_TABLE + 8 + 8 * index_page_number(tag, dict_word(dict, DICT_PAGES), dict_word(dict, DICT_MASK));
}

/* The entry with this key, or NULL. Stores its slot in *slot if that is not NULL. Under the mutex only. */
static inline struct entry *dict_find(const struct heap *heap, const struct object *dict, const struct key *key,
                                      _Atomic uint64_t **slot)
{
    uint64_t table = dict_get(&dict->root[1]);

    if (table == 0)
        return NULL;
    uint64_t page = dict_get(heap_at(heap, index_page_word(dict, table, index_tag(key->hash))));
    return index_search(heap, page, dict_word(dict, DICT_SLOTS), dict_get(&heap->size), key, slot);
}

/* Where a page lies, and how many slots it has. */
struct index_page {
    uint64_t offset, slots;
};

/* The page that a tag leads to, without the mutex, since `version` was read, which was even. Words that do not belong
 * together may lead anywhere: so it is believed to be a page only if the version is still the same. False: it is not,
 * or there is none. What lies in it may be other data's by the time it is read, but it stays readable. */
static inline __attribute__((always_inline)) bool index_page_unlocked(const struct heap *heap,
                                                                      const struct object *dict, uint64_t tag,
                                                                      uint64_t end, uint64_t version,
                                                                      struct index_page *page)
{
    uint64_t table = dict_get(&dict->root[1]), word = index_page_word(dict, table, tag);

    page->slots = dict_word(dict, DICT_SLOTS);
    if (table == 0 || word >= end)
        return false;
    page->offset = dict_get(heap_at(heap, word)); /* a REF_BLOCK: the offset */
    return object_read_valid(dict, version);
}

/* The same as dict_find() without the mutex. What it says is worth nothing if the version has changed meanwhile; what
 * is found in the page leads not out of the heap in any case. */
static inline struct entry *dict_find_unlocked(const struct heap *heap, const struct object *dict,
                                               const struct key *key, uint64_t version)
{
    uint64_t end = dict_get(&heap->size);
    struct index_page page;

    return index_page_unlocked(heap, dict, index_tag(key->hash), end, version, &page)
               ? index_search(heap, page.offset, page.slots, end, key, NULL)
               : NULL;
}

/* The same as a reading that may go through the undo log, and copies the entry's words: they count as long as the
 * reading does. False: none has the key. */
bool dict_find_reading(const struct reading *reading, const struct key *key, struct entry *copy);

/* The same in the usual case and in few instructions: the key is no string longer than KEY_INLINE, and is in the first
 * group where it may be, or nowhere. False: this is another case. */
static inline __attribute__((always_inline)) bool dict_find_at_once(const struct heap *heap, const struct object *dict,
                                                                    const struct key *key, uint64_t version,
                                                                    struct entry **entry)
{
    uint64_t end = dict_get(&heap->size), tag = index_tag(key->hash);
    struct index_page page;

    if (!index_page_unlocked(heap, dict, tag, end, version, &page))
        return false;
    const _Atomic uint64_t *group = &index_slots(heap, page.offset)[tag & (page.slots - INDEX_GROUP)];
    unsigned match = index_group_match(group, (uint32_t)tag);
    if (match == 0) {
        *entry = NULL;
        return index_group_empty(group) != 0;
    }
    uint64_t offset = (dict_get(&group[__builtin_ctz(match)]) & UINT32_MAX) << 4;
    *entry = heap_at(heap, offset);
    return offset - 1 < end - sizeof **entry && key_equal_short(*entry, key);
}

/* Asks for the memory in which these keys' entries will be searched. Only makes it faster. Without the mutex. At most
 * INDEX_PREFETCH keys. */
#define INDEX_PREFETCH 32
void index_prefetch(const struct object *dict, const struct key *keys, size_t count);

/* Makes room for `count` more keys with these hashes. A change of its own. MP_ENOMEM: the dict is as it was. */
int index_make_room(struct object *dict, const uint64_t *hashes, uint64_t count);
/* After MP_ENOMEM: whether they have a place all the same, in slots whose entries were removed. */
bool index_has_place(struct object *dict, const uint64_t *hashes, uint64_t count);
/* Where a key with this hash, that is not there and for which room has been made, gets its slot: part of a change in
 * which *slot becomes `value` and *filled becomes `fill`. */
struct index_place {
    _Atomic uint64_t *slot, *filled;
    uint64_t value, fill;
};
struct index_place index_place(const struct object *dict, uint64_t hash, const struct entry *entry);
/* Part of a change, at most INDEX_REMOVE_WORDS: of a key that dict_find() has found. */
#define INDEX_REMOVE_WORDS 2
void index_remove(struct object *dict, _Atomic uint64_t *slot);
/* Part of a change, one word: the entry with this hash, which is there, moves. */
void index_move(struct object *dict, uint64_t hash, const struct entry *from, const struct entry *to);

/* A new index, aside: index_build() makes it with room for `entries` keys, empty, in pending ref 3 (which may own a
 * part of it after MP_ENOMEM), index_build_add() fills it (MP_ENOMEM: too many of the keys have hashes that lead to one
 * page). To be put into place by a change of root[1] and the three words. */
struct index_shape {
    uint64_t pages, mask, slots;
};
int index_build(struct object *dict, uint64_t entries, struct index_shape *shape);
int index_build_add(struct object *dict, const struct index_shape *shape, uint64_t hash, const struct entry *entry);

#endif
