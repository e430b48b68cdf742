/* Crash safety: pages are built aside, owned by pending refs 2 and 3. One change under the undo log (object.h) puts
 * them into place, and makes pending ref 3 the owner of what they replace. */
#include "dict/dict_index.h"

#include <string.h>

#include "base/word.h"

#define FIRST_SLOTS UINT64_C(16)

static _Atomic uint64_t *table_of(const struct object *dict)
{
    return ref_block(dict, word_get(&dict->root[1]));
}

static inline uint64_t number_of(const struct object *dict, uint64_t hash)
{
    return index_page_number(index_tag(hash), dict_word(dict, DICT_PAGES), dict_word(dict, DICT_MASK));
}

static inline _Atomic uint64_t *page_of(const struct object *dict, uint64_t hash)
{
    return ref_block(dict, word_get(&table_of(dict)[1 + number_of(dict, hash)]));
}

/* The slots of a page that a ref owns. */
static inline _Atomic uint64_t *slots_of(const struct object *dict, const _Atomic uint64_t *ref)
{
    return index_slots(object_heap(dict), word_get(ref) & ~REF_MASK);
}

/* ---- asking for memory ahead ---- */

/* The entry of the first slot with this tag in the group; NULL: none. It may be another key's: it serves only to
 * prefetch. */
static const void *likely_entry(const struct heap *heap, const _Atomic uint64_t *group, uint64_t tag)
{
    unsigned match = index_group_match(group, (uint32_t)tag);

    return match == 0 ? NULL : heap_at(heap, (word_get(&group[__builtin_ctz(match)]) & UINT32_MAX) << 4);
}

void index_prefetch(const struct object *dict, const struct key *keys, size_t count)
{
    const struct heap *heap = object_heap(dict);
    _Atomic uint64_t *group[INDEX_PREFETCH];
    uint64_t version, end = word_get(&heap->size);

    if (!object_read_begin(dict, &version))
        return;
    for (size_t i = 0; i < count; i++) {
        uint64_t tag = index_tag(keys[i].hash);
        struct index_page page;

        if (!index_page_unlocked(heap, dict, tag, end, version, &page))
            return;
        group[i] = &index_slots(heap, page.offset)[tag & (page.slots - INDEX_GROUP)];
        __builtin_prefetch((void *)group[i]);
    }
    for (size_t i = 0; i < count; i++) {
        const char *entry = likely_entry(heap, group[i], index_tag(keys[i].hash));

        if (entry != NULL) {
            __builtin_prefetch(entry);
            __builtin_prefetch(entry + sizeof(struct entry) - 1);
        }
    }
}

/* ---- reading past a change ---- */

static bool read_entry(const struct reading *reading, uint64_t offset, uint64_t end, struct entry *copy)
{
    uint64_t words[sizeof *copy / 8];

    if (offset - 1 >= end - sizeof *copy)
        return false;
    object_read_words(reading, heap_at(object_heap(reading->object), offset), sizeof words / 8, words);
    memcpy(copy, words, sizeof *copy);
    return true;
}

/* Like index_search(), but reads each group through the reading and searches the copy. */
static bool search_reading(const struct reading *reading, const struct index_page *page, uint64_t end,
                           const struct key *key, struct entry *copy)
{
    const struct heap *heap = object_heap(reading->object);
    uint64_t tag = index_tag(key->hash), mask = page->slots - INDEX_GROUP;
    const _Atomic uint64_t *first = index_slots(heap, page->offset);

    for (uint64_t i = 0; i <= mask; i += INDEX_GROUP) {
        _Alignas(64) _Atomic uint64_t group[INDEX_GROUP];
        uint64_t words[INDEX_GROUP];

        object_read_words(reading, &first[(tag + i) & mask], INDEX_GROUP, words);
        memcpy(group, words, sizeof group);
        for (unsigned match = index_group_match(group, (uint32_t)tag); match != 0; match &= match - 1) {
            uint64_t offset = (words[__builtin_ctz(match)] & UINT32_MAX) << 4;

            if (read_entry(reading, offset, end, copy) && key_equal(heap, &copy->key, key))
                return true;
        }
        if (index_group_empty(group) != 0)
            return false;
    }
    return false;
}

bool dict_find_reading(const struct reading *reading, const struct key *key, struct entry *copy)
{
    const struct object *dict = reading->object;
    const struct heap *heap = object_heap(dict);
    uint64_t tag = index_tag(key->hash), end = word_get(&heap->size);
    uint64_t table = object_read_word(reading, &dict->root[1]), words[DICT_MASK - DICT_PAGES + 1];

    object_read_words(reading, &dict->word[DICT_PAGES], DICT_MASK - DICT_PAGES + 1, words);
    uint64_t pages = words[0], mask = words[DICT_MASK - DICT_PAGES];
    struct index_page page = {.slots = words[DICT_SLOTS - DICT_PAGES]};
    if (table == 0)
        return false;
    uint64_t word = table - REF_TABLE + 8 + 8 * index_page_number(tag, pages, mask);
    if (word >= end)
        return false;
    page.offset = object_read_word(reading, heap_at(heap, word));
    /* Only words that belong together lead to a page. */
    return object_reading_valid(reading) && search_reading(reading, &page, end, key, copy);
}

/* ---- how large ---- */

/* The number of a page's slots that may be in use. */
static uint64_t limit(uint64_t slots)
{
    return slots < INDEX_PAGE ? slots - slots / 8 : slots - slots / 16;
}

/* While the number of pages doubles, the pages not yet split are the fullest. Splitting begins when these are 3/5 full,
 * and ends, at twice the number of pages, when the last of them are 4/5 full. So there is one split for each FIFTH
 * entries. */
#define FIFTH (INDEX_PAGE / 5)

/* The number of pages at which the present doubling began. */
static inline uint64_t level_of(uint64_t mask)
{
    return (mask + 1) / 2;
}

/* The number of entries from which on there has to be one page more. */
static inline uint64_t split_at(uint64_t pages, uint64_t mask)
{
    return FIFTH * (2 * level_of(mask) + pages + 1);
}

static struct index_shape shape_for(uint64_t entries)
{
    struct index_shape shape = {.pages = 1, .mask = 1, .slots = FIRST_SLOTS};

    /* Leave room for half as many entries again, so that the next growth is not near. */
    while (shape.slots < INDEX_PAGE && limit(shape.slots) < entries + entries / 2 + 1)
        shape.slots *= 2;
    while (entries >= split_at(shape.pages, shape.mask))
        shape.mask = index_page_mask(++shape.pages);
    return shape;
}

/* ---- pages ---- */

static int new_page(struct object *dict, uint64_t slots, _Atomic uint64_t *ref)
{
    int error = heap_alloc(object_heap(dict), INDEX_PAGE_BYTES(slots), ref);

    if (error == 0)
        memset(ref_block(dict, word_get(ref)), 0, INDEX_PAGE_BYTES(slots));
    return error;
}

static uint64_t count_entries(const _Atomic uint64_t *slots, uint64_t count)
{
    uint64_t entries = 0;

    for (uint64_t i = 0; i < count; i++)
        entries += index_is_entry(word_get(&slots[i]));
    return entries;
}

/* Copies those of `count` slots at `from` that hold entries to new pages of `slots` slots. A slot goes to the page that
 * *to[1] owns if this bit of its tag is set, and otherwise to the page that *to[0] owns. The loop has no branch on
 * whether a slot is kept, as the processor could not predict it: a slot that is not kept is stored as 0, and the next
 * one overwrites it. */
static void distribute(const struct object *dict, const _Atomic uint64_t *from, uint64_t count,
                       _Atomic uint64_t *const to[2], uint64_t slots, uint64_t bit)
{
    unsigned char filled[2][INDEX_PAGE / INDEX_GROUP] = {{0}, {0}};
    _Atomic uint64_t *first[2] = {slots_of(dict, to[0]), slots_of(dict, to[bit != 0])};
    uint64_t kept[2] = {0, 0};

    for (uint64_t i = 0; i < count; i++) {
        uint64_t slot = word_get(&from[i]), group = (index_tag(slot) & (slots - 1)) / INDEX_GROUP;
        bool keep = index_is_entry(slot), other = (index_tag(slot) & bit) != 0;

        while (filled[other][group] == INDEX_GROUP)
            group = (group + 1) & (slots / INDEX_GROUP - 1);
        word_put(&first[other][group * INDEX_GROUP + filled[other][group]], keep ? slot : 0);
        filled[other][group] += keep;
        kept[other] += keep;
    }
    word_put(&ref_block(dict, word_get(to[0]))[0], kept[0]);
    if (bit != 0)
        word_put(&ref_block(dict, word_get(to[1]))[0], kept[1]);
}

/* Replaces a page by a new one with the same entries and `slots` slots. If there are other pages, `slots` is what they
 * have. */
static int rewrite_page(struct object *dict, uint64_t number, uint64_t slots)
{
    _Atomic uint64_t *pending = &dict->pending[3], *ref = &table_of(dict)[1 + number];
    uint64_t old = word_get(ref);
    int error = new_page(dict, slots, pending);

    if (error != 0)
        return error;
    distribute(dict, slots_of(dict, ref), dict_word(dict, DICT_SLOTS), (_Atomic uint64_t *const[2]){pending, NULL},
               slots, 0);
    object_begin(dict);
    object_set(dict, ref, word_get(pending));
    object_set(dict, pending, old);
    object_set(dict, &dict->word[DICT_SLOTS], slots);
    object_commit(dict);
    ref_release(object_heap(dict), pending);
    return 0;
}

/* Commits a split. The pages in pending refs 2 and 3 become page `number` and a new last page. */
static void put_split(struct object *dict, uint64_t number)
{
    _Atomic uint64_t *table = table_of(dict), *low = &dict->pending[2], *high = &dict->pending[3];
    uint64_t pages = dict_word(dict, DICT_PAGES), old = word_get(&table[1 + number]);

    object_begin(dict);
    object_set(dict, &table[1 + number], word_get(low));
    object_set(dict, &table[1 + pages], word_get(high));
    object_set(dict, &table[0], pages + 1);
    object_set(dict, &dict->word[DICT_PAGES], pages + 1);
    object_set(dict, &dict->word[DICT_MASK], index_page_mask(pages + 1));
    object_set(dict, low, 0);
    object_set(dict, high, old);
    object_commit(dict);
    ref_release(object_heap(dict), high);
}

/* Linear-hashing step: splits page (pages - level) into itself and a new last page. */
static int split_next(struct object *dict)
{
    _Atomic uint64_t *low = &dict->pending[2], *high = &dict->pending[3];
    uint64_t pages = dict_word(dict, DICT_PAGES), level = level_of(dict_word(dict, DICT_MASK));

    if (pages == INDEX_MOST_PAGES)
        return MP_ENOMEM;
    int error = ref_table_reserve(dict, &dict->root[1], high);
    if (error == 0)
        error = new_page(dict, INDEX_PAGE, low);
    if (error == 0)
        error = new_page(dict, INDEX_PAGE, high);
    if (error != 0) {
        ref_release(object_heap(dict), low);
        return error;
    }
    distribute(dict, slots_of(dict, &table_of(dict)[1 + pages - level]), INDEX_PAGE,
               (_Atomic uint64_t *const[2]){low, high}, INDEX_PAGE, level << INDEX_PAGE_BITS);
    put_split(dict, pages - level);
    return 0;
}

/* ---- room ---- */

/* Makes room for `count` keys in the page that this hash leads to. */
static int make_room_in_page(struct object *dict, uint64_t hash, uint64_t count)
{
    for (;;) {
        uint64_t slots = dict_word(dict, DICT_SLOTS);
        uint64_t number = number_of(dict, hash);
        _Atomic uint64_t *ref = &table_of(dict)[1 + number];
        int error;

        if (word_get(&ref_block(dict, word_get(ref))[0]) + count <= limit(slots))
            return 0;
        if (count_entries(slots_of(dict, ref), slots) + count <= limit(slots) - slots / 16)
            error = rewrite_page(dict, number, slots); /* full of tombstones */
        else if (slots < INDEX_PAGE)
            error = rewrite_page(dict, number, slots * 2);
        else
            error = split_next(dict);
        if (error != 0)
            return error;
    }
}

/* Counts in word 1 of each page how many of the keys lead to it. Returns the first hash whose page has no room for all
 * keys counted there so far. NULL: all pages have room. */
static const uint64_t *first_without_room(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    uint64_t most = limit(dict_word(dict, DICT_SLOTS));

    for (uint64_t i = 0; i < count; i++)
        word_put(&page_of(dict, hashes[i])[1], 0);
    for (uint64_t i = 0; i < count; i++) {
        _Atomic uint64_t *page = page_of(dict, hashes[i]);

        word_put(&page[1], word_get(&page[1]) + 1);
        if (word_get(&page[0]) + word_get(&page[1]) > most)
            return &hashes[i];
    }
    return NULL;
}

/* Whether `entries` entries need more pages. */
static inline bool is_to_split(const struct object *dict, uint64_t entries)
{
    return dict_word(dict, DICT_SLOTS) == INDEX_PAGE &&
           entries >= split_at(dict_word(dict, DICT_PAGES), dict_word(dict, DICT_MASK));
}

/* Fast path for one key: its page has room, and no page is to be split. */
static bool has_room(const struct object *dict, uint64_t hash)
{
    return word_get(&page_of(dict, hash)[0]) < limit(dict_word(dict, DICT_SLOTS)) &&
           !is_to_split(dict, dict_word(dict, DICT_LIVE) + 1);
}

int index_reserve(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    if (count == 1 && has_room(dict, hashes[0]))
        return 0;
    uint64_t entries = dict_word(dict, DICT_LIVE) + count;
    int error = 0;

    while (error == 0 && dict_word(dict, DICT_SLOTS) < INDEX_PAGE && limit(dict_word(dict, DICT_SLOTS)) < entries)
        error = rewrite_page(dict, 0, dict_word(dict, DICT_SLOTS) * 2);
    while (error == 0 && is_to_split(dict, entries))
        error = split_next(dict);
    if (count == 1)
        return error != 0 ? error : make_room_in_page(dict, hashes[0], 1);
    for (const uint64_t *hash; error == 0 && (hash = first_without_room(dict, hashes, count)) != NULL;)
        error = make_room_in_page(dict, *hash, word_get(&page_of(dict, *hash)[1]));
    return error;
}

bool index_has_place(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    const uint64_t slots = dict_word(dict, DICT_SLOTS), unknown = UINT64_MAX;

    for (uint64_t i = 0; i < count; i++)
        word_put(&page_of(dict, hashes[i])[1], unknown);
    for (uint64_t i = 0; i < count; i++) {
        _Atomic uint64_t *ref = &table_of(dict)[1 + number_of(dict, hashes[i])];
        _Atomic uint64_t *entries = &ref_block(dict, word_get(ref))[1];

        if (word_get(entries) == unknown)
            word_put(entries, count_entries(slots_of(dict, ref), slots));
        word_put(entries, word_get(entries) + 1);
        if (word_get(entries) > limit(slots))
            return false;
    }
    return true;
}

/* ---- slots ---- */

static uint64_t slot_value(const struct object *dict, uint64_t hash, const struct entry *entry)
{
    return index_tag(hash) << 32 | heap_offset(object_heap(dict), entry) >> 4;
}

/* The slot for a new tag: the first one, from its first group on, that is empty or a tombstone. The groups passed on
 * the way have no empty slot, so a search for the tag reaches this one. */
static inline _Atomic uint64_t *free_slot(_Atomic uint64_t *first, uint64_t slots, uint64_t tag)
{
    uint64_t mask = slots - INDEX_GROUP;
    unsigned free;

    while ((free = index_group_free(&first[tag & mask])) == 0)
        tag += INDEX_GROUP;
    return &first[(tag & mask) + (unsigned)__builtin_ctz(free)];
}

struct index_place index_place(const struct object *dict, uint64_t hash, const struct entry *entry)
{
    const _Atomic uint64_t *ref = &table_of(dict)[1 + number_of(dict, hash)];
    _Atomic uint64_t *filled = ref_block(dict, word_get(ref));
    _Atomic uint64_t *slot = free_slot(slots_of(dict, ref), dict_word(dict, DICT_SLOTS), index_tag(hash));

    return (struct index_place){.slot = slot,
                                .filled = filled,
                                .value = slot_value(dict, hash, entry),
                                .fill = word_get(filled) + (word_get(slot) == 0)};
}

/* The group that a slot lies in. */
static const _Atomic uint64_t *group_of(const _Atomic uint64_t *slot)
{
    return (const _Atomic uint64_t *)((uintptr_t)slot & ~(uintptr_t)(INDEX_GROUP * sizeof *slot - 1));
}

void index_remove(struct object *dict, _Atomic uint64_t *slot)
{
    if (index_group_empty(group_of(slot)) == 0) {
        object_set(dict, slot, INDEX_TOMBSTONE);
        return;
    }
    _Atomic uint64_t *filled = page_of(dict, word_get(slot)); /* a slot's upper half is that of the hash */
    object_set(dict, slot, 0);
    object_set(dict, filled, word_get(filled) - 1);
}

void index_move(struct object *dict, uint64_t hash, const struct entry *from, const struct entry *to)
{
    const _Atomic uint64_t *ref = &table_of(dict)[1 + number_of(dict, hash)];
    _Atomic uint64_t *first = slots_of(dict, ref);
    uint64_t mask = dict_word(dict, DICT_SLOTS) - 1, at = index_tag(hash) & mask & ~(INDEX_GROUP - 1);
    uint64_t value = slot_value(dict, hash, from);

    while (word_get(&first[at]) != value)
        at = (at + 1) & mask;
    object_set(dict, &first[at], slot_value(dict, hash, to));
}

/* ---- building aside ---- */

int index_build(struct object *dict, uint64_t entries, struct index_shape *shape)
{
    _Atomic uint64_t *pending = &dict->pending[3];

    *shape = shape_for(entries);
    int error = ref_table_new(dict, shape->pages + shape->pages / 8, pending);
    if (error != 0)
        return error;
    _Atomic uint64_t *table = ref_block(dict, word_get(pending));
    word_put(&table[0], shape->pages);
    undo_order();
    word_put(pending, word_get(pending) | REF_TABLE);
    for (uint64_t i = 1; error == 0 && i <= shape->pages; i++)
        error = new_page(dict, shape->slots, &table[i]);
    return error;
}

int index_build_add(struct object *dict, const struct index_shape *shape, uint64_t hash, const struct entry *entry)
{
    _Atomic uint64_t *table = ref_block(dict, word_get(&dict->pending[3]));
    _Atomic uint64_t *ref = &table[1 + index_page_number(index_tag(hash), shape->pages, shape->mask)];
    _Atomic uint64_t *page = ref_block(dict, word_get(ref));

    if (word_get(&page[0]) >= limit(shape->slots))
        return MP_ENOMEM;
    word_put(free_slot(slots_of(dict, ref), shape->slots, index_tag(hash)), slot_value(dict, hash, entry));
    word_put(&page[0], word_get(&page[0]) + 1);
    return 0;
}
