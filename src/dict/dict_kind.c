/* What a dict is to the layers below: how its content is checked, read for snapshots, and released. */
#include "dict/dict_kind.h"

#include "base/word.h"
#include "dict/dict_snapshot.h"
#include "dict/dict_table.h"
#include "value/content_check.h"

/* More sequence numbers than a dict ever uses. */
#define SEQUENCES (UINT64_C(1) << 62)

/* Whether a search for this entry's key finds this entry. */
static bool key_is_sound(const struct object *dict, const struct entry *entry)
{
    const struct heap *heap = object_heap(dict);
    uint64_t head = word_get(&entry->key.head), words[2] = {word_get(&entry->key.body), word_get(&entry->key.rest)};
    mp_type type = (mp_type)(head & CELL_TYPE);
    mp_value value;
    struct key key;

    if (type == MP_STR || type == MP_BYTES) {
        if (!string_is_sound(heap, head, words[0], sizeof words))
            return false;
        value = mp_value_bytes(head & CELL_OWNS ? heap_at(heap, words[0]) : (void *)words, head >> CELL_LENGTH_SHIFT);
        value.type = type;
    } else if (head & CELL_OWNS || key_read(heap, &entry->key, &value) != 0) {
        return false;
    }
    return key_prepare(heap, &value, &key) == 0 && dict_find(heap, dict, &key, NULL) == entry;
}

static bool entries_are_sound(const struct object *dict)
{
    const struct heap *heap = object_heap(dict);
    uint64_t live = 0, last = 0, used = dict_word(dict, DICT_USED), capacity = segments_capacity(dict);

    if (used > capacity)
        return false;
    for (uint64_t position = 0; position < capacity; position++) {
        const struct entry *entry = dict_entry(heap, dict, position);
        uint64_t sequence = entry == NULL ? 0 : word_get(&entry->sequence);

        if (sequence == 0)
            continue;
        if (position >= used || sequence <= last || !cell_is_sound(heap, &entry->value) || !key_is_sound(dict, entry))
            return false;
        last = sequence;
        live++;
    }
    return live == dict_word(dict, DICT_LIVE) && last <= dict_word(dict, DICT_SEQUENCE) &&
           dict_word(dict, DICT_SEQUENCE) < SEQUENCES;
}

/* Checks that a page of the index has as many non-empty slots as it says. Counts its entries. */
static bool page_is_sound(const struct object *dict, uint64_t ref, uint64_t number, uint64_t *live)
{
    uint64_t pages = dict_word(dict, DICT_PAGES), mask = dict_word(dict, DICT_MASK);
    uint64_t slots = dict_word(dict, DICT_SLOTS), fill = 0;
    _Atomic uint64_t *page = ref_block(dict, ref);

    if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != REF_BLOCK ||
        heap_block_size(object_heap(dict), ref) < INDEX_PAGE_BYTES(slots))
        return false;
    const _Atomic uint64_t *slot = index_slots(object_heap(dict), ref);
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t value = word_get(&slot[i]);

        fill += value != 0;
        *live += value != 0 && value != INDEX_TOMBSTONE && index_page_number(index_tag(value), pages, mask) == number;
    }
    return fill == word_get(&page[0]);
}

/* Every entry is found by its key, so it is enough that as many slots hold entries as there are entries. */
static bool index_is_sound(const struct object *dict)
{
    uint64_t ref = word_get(&dict->root[1]), pages = dict_word(dict, DICT_PAGES), slots = dict_word(dict, DICT_SLOTS);
    uint64_t live = 0;

    if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != REF_TABLE || pages == 0 || pages > INDEX_MOST_PAGES ||
        dict_word(dict, DICT_MASK) != index_page_mask(pages) || slots < INDEX_GROUP || slots > INDEX_PAGE ||
        (slots & (slots - 1)) != 0 || (pages > 1 && slots < INDEX_PAGE))
        return false;
    _Atomic uint64_t *table = ref_block(dict, ref);
    if (word_get(&table[0]) != pages)
        return false;
    for (uint64_t i = 0; i < pages; i++) {
        if (!page_is_sound(dict, word_get(&table[1 + i]), i, &live))
            return false;
    }
    return live == dict_word(dict, DICT_LIVE);
}

/* Called when all other processes are stopped, and after object_check.c has found that every ref in the dict either
 * owns a real block of its own, with room for what its first word says, or names a real object. */
static bool dict_is_sound(const struct object *dict)
{
    if (word_get(&dict->root[0]) == 0)
        return word_get(&dict->root[1]) == 0 && dict_word(dict, DICT_USED) == 0 && dict_word(dict, DICT_LIVE) == 0 &&
               dict_word(dict, DICT_PAGES) == 0 && dict_word(dict, DICT_SLOTS) == 0 && dict_word(dict, DICT_MASK) == 0;
    return segments_are_sound(dict, REF_ENTRIES, 0) && index_is_sound(dict) && entries_are_sound(dict);
}

static uint64_t count(const struct object *dict)
{
    return dict_word(dict, DICT_LIVE);
}

const struct object_kind dict_kind = {
    .name = "dict",
    .kind = OBJECT_DICT,
    .type = MP_DICT,
    .undo = true,
    .keyed = true,
    .words = DICT_WORDS,
    .roots = 2,
    .is_sound = dict_is_sound,
    .count = count,
    .read = dict_read_all,
    .try_to_read = dict_try_to_read_all,
};

/* An entry that owns something is visited twice: for its key, then for its value. */
static _Atomic uint64_t *next_ref(void *items, uint64_t count, uint64_t *at)
{
    struct entry *entries = items;

    for (uint64_t i = *at / 2; i < count; i++) {
        struct entry *entry = &entries[i];
        uint64_t key = word_get(&entry->key.head), value = word_get(&entry->value.head);

        if (((key | value) & CELL_OWNS) == 0 || word_get(&entry->sequence) == 0)
            continue;
        if (*at <= 2 * i && (key & CELL_OWNS)) {
            *at = 2 * i + 1;
            return &entry->key.body;
        }
        if (*at <= 2 * i + 1 && (value & CELL_OWNS)) {
            *at = 2 * i + 2;
            return &entry->value.body;
        }
    }
    return NULL;
}

const struct block_kind entry_blocks = {.name = "entries", .item = sizeof(struct entry), .next_ref = next_ref};
