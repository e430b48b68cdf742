/* Crash safety: pages are built aside, owned by pending ref 3, and put into place by one change under the undo log
 * (object.h). A split is two of them: first the new page is there; then the old one is written anew without the slots that
 * have moved. Between the two nothing is wrong, the old page is only fuller than it need be. */
#include "dict_index.h"

#include <string.h>

#include "ref_table.h"

#define FIRST_SLOTS UINT64_C(16)

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static _Atomic uint64_t *block_at(const struct object *dict, uint64_t ref)
{
    return heap_at(object_heap(dict), ref & ~REF_MASK);
}

static _Atomic uint64_t *table_of(const struct object *dict)
{
    return block_at(dict, dict_get(&dict->root[1]));
}

static _Atomic uint64_t *page_of(const struct object *dict, uint64_t hash)
{
    uint64_t number = index_page_number(index_tag(hash), dict_word(dict, DICT_PAGES));

    return block_at(dict, dict_get(&table_of(dict)[1 + number]));
}

/* ---- asking for memory ahead ---- */

/* The entry of the first slot with this tag, among the next few; NULL: none. It is only a guess where there will be
 * something to read. */
static const void *likely_entry(const struct heap *heap, _Atomic uint64_t *first, uint64_t mask, uint64_t tag)
{
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t value = dict_get(&first[(tag + i) & mask]);

        if (value >> 32 == tag)
            return heap_at(heap, (value & UINT32_MAX) << 4);
        if (value == 0)
            break;
    }
    return NULL;
}

void index_prefetch(const struct object *dict, const struct key *keys, size_t count)
{
    const struct heap *heap = object_heap(dict);
    _Atomic uint64_t *first[INDEX_PREFETCH];
    uint64_t version, end = dict_get(&heap->size), mask;

    if (!object_read_begin(dict, &version))
        return;
    uint64_t table = dict_get(&dict->root[1]);
    mask = dict_word(dict, DICT_SLOTS) - 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t tag = index_tag(keys[i].hash), word = index_page_word(dict, table, tag);

        if (table == 0 || word >= end)
            return;
        uint64_t page = dict_get(heap_at(heap, word));
        /* As in dict_find_unlocked(): only then is it one. A page stays readable when it is one no more. */
        if (!object_read_valid(dict, version))
            return;
        first[i] = (_Atomic uint64_t *)heap_at(heap, page) + 2;
        __builtin_prefetch((void *)&first[i][tag & mask]);
    }
    for (size_t i = 0; i < count; i++) {
        const char *entry = likely_entry(heap, first[i], mask, index_tag(keys[i].hash));

        if (entry != NULL) {
            __builtin_prefetch(entry);
            __builtin_prefetch(entry + sizeof(struct entry) - 1);
        }
    }
}

/* ---- how large ---- */

/* So many of a page's slots may be in use. */
static uint64_t limit(uint64_t slots)
{
    return slots < INDEX_PAGE ? slots - slots / 8 : slots - slots / 16;
}

/* How many pages there are to be, of those there are now and for so many entries. While the number doubles from G, the
 * fullest pages are those not yet split: begun when they are full to 3/5, it is over when they are to 4/5. */
static uint64_t pages_wanted(uint64_t pages, uint64_t entries)
{
    uint64_t level = UINT64_C(1) << (63 - __builtin_clzll(pages));
    uint64_t begin = level * INDEX_PAGE / 5 * 3;

    return entries <= begin ? level : level + (entries - begin) / (INDEX_PAGE / 5);
}

static struct index_shape shape_for(uint64_t entries)
{
    struct index_shape shape = {1, FIRST_SLOTS};

    /* Room for more than half as many again, so that the next growth is not near. */
    while (shape.slots < INDEX_PAGE && limit(shape.slots) < entries + entries / 2 + 1)
        shape.slots *= 2;
    while (shape.pages < pages_wanted(shape.pages, entries))
        shape.pages++;
    return shape;
}

/* ---- pages ---- */

static int new_page(struct object *dict, uint64_t slots, _Atomic uint64_t *slot)
{
    int error = heap_alloc(object_heap(dict), 16 + slots * 8, slot);

    if (error == 0)
        memset(block_at(dict, dict_get(slot)), 0, 16 + slots * 8);
    return error;
}

/* In a page that nobody else sees yet. */
static void place(_Atomic uint64_t *page, uint64_t slots, uint64_t value)
{
    uint64_t at = index_tag(value); /* a slot's tag lies where a hash has it */

    while (dict_get(&page[2 + (at & (slots - 1))]) != 0)
        at++;
    put(&page[2 + (at & (slots - 1))], value);
    put(&page[0], dict_get(&page[0]) + 1);
}

/* Whether a slot holds an entry that belongs to page `number` of so many. */
static bool belongs(uint64_t value, uint64_t number, uint64_t pages)
{
    return value != 0 && value != INDEX_TOMBSTONE && index_page_number(index_tag(value), pages) == number;
}

static void copy_page(const struct object *dict, _Atomic uint64_t *from, _Atomic uint64_t *to, uint64_t slots,
                      uint64_t number, uint64_t pages)
{
    for (uint64_t i = 0, count = dict_word(dict, DICT_SLOTS); i < count; i++) {
        uint64_t value = dict_get(&from[2 + i]);

        if (belongs(value, number, pages))
            place(to, slots, value);
    }
}

static uint64_t count_own(const struct object *dict, _Atomic uint64_t *page, uint64_t number)
{
    uint64_t count = 0;

    for (uint64_t i = 0, slots = dict_word(dict, DICT_SLOTS); i < slots; i++)
        count += belongs(dict_get(&page[2 + i]), number, dict_word(dict, DICT_PAGES));
    return count;
}

/* Another page of `slots` slots (as many as the others have, if there are others) with the same entries takes the place of
 * one. */
static int rewrite_page(struct object *dict, uint64_t number, uint64_t slots)
{
    _Atomic uint64_t *pending = &dict->pending[3], *ref = &table_of(dict)[1 + number];
    uint64_t old = dict_get(ref);
    int error = new_page(dict, slots, pending);

    if (error != 0)
        return error;
    copy_page(dict, block_at(dict, old), block_at(dict, dict_get(pending)), slots, number, dict_word(dict, DICT_PAGES));
    object_begin(dict);
    object_set(dict, ref, dict_get(pending));
    object_set(dict, pending, old);
    object_set(dict, &dict->word[DICT_SLOTS], slots);
    object_commit(dict);
    ref_release(object_heap(dict), pending);
    return 0;
}

/* One page more: it takes its part from the one that so far stood for it as well. */
static int split_next(struct object *dict)
{
    _Atomic uint64_t *pending = &dict->pending[3];
    uint64_t pages = dict_word(dict, DICT_PAGES);
    uint64_t number = pages - (UINT64_C(1) << (63 - __builtin_clzll(pages)));

    if (pages == INDEX_MOST_PAGES)
        return MP_ENOMEM;
    int error = ref_table_make_room(dict, &dict->root[1], pending);
    if (error == 0)
        error = new_page(dict, INDEX_PAGE, pending);
    if (error != 0)
        return error;
    _Atomic uint64_t *table = table_of(dict);
    copy_page(dict, block_at(dict, dict_get(&table[1 + number])), block_at(dict, dict_get(pending)), INDEX_PAGE, pages,
              pages + 1);
    object_begin(dict);
    object_set(dict, &table[1 + pages], dict_get(pending));
    object_set(dict, &table[0], pages + 1);
    object_set(dict, &dict->word[DICT_PAGES], pages + 1);
    object_set(dict, pending, 0);
    object_commit(dict);
    return rewrite_page(dict, number, INDEX_PAGE);
}

/* ---- room ---- */

/* Room for `count` keys in the page that this hash leads to. */
static int make_room_in_page(struct object *dict, uint64_t hash, uint64_t count)
{
    for (;;) {
        uint64_t slots = dict_word(dict, DICT_SLOTS);
        uint64_t number = index_page_number(index_tag(hash), dict_word(dict, DICT_PAGES));
        _Atomic uint64_t *page = block_at(dict, dict_get(&table_of(dict)[1 + number]));
        int error;

        if (dict_get(&page[0]) + count <= limit(slots))
            return 0;
        if (count_own(dict, page, number) + count <= limit(slots) - slots / 16)
            error = rewrite_page(dict, number, slots); /* it is full of what was removed or has moved */
        else if (slots < INDEX_PAGE)
            error = rewrite_page(dict, number, slots * 2);
        else
            error = split_next(dict);
        if (error != 0)
            return error;
    }
}

/* Notes in each page how many of the keys lead to it. Returns the first hash whose page has not room for all of its own,
 * NULL: all have. */
static const uint64_t *first_without_room(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    uint64_t most = limit(dict_word(dict, DICT_SLOTS));

    for (uint64_t i = 0; i < count; i++)
        put(&page_of(dict, hashes[i])[1], 0);
    for (uint64_t i = 0; i < count; i++) {
        _Atomic uint64_t *page = page_of(dict, hashes[i]);

        put(&page[1], dict_get(&page[1]) + 1);
        if (dict_get(&page[0]) + dict_get(&page[1]) > most)
            return &hashes[i];
    }
    return NULL;
}

/* In the usual case, for one key: nothing is to grow. */
static bool has_room(const struct object *dict, uint64_t hash)
{
    uint64_t slots = dict_word(dict, DICT_SLOTS), pages = dict_word(dict, DICT_PAGES);

    return dict_get(&page_of(dict, hash)[0]) < limit(slots) &&
           (slots < INDEX_PAGE || pages >= pages_wanted(pages, dict_word(dict, DICT_LIVE) + 1));
}

int index_make_room(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    if (count == 1 && has_room(dict, hashes[0]))
        return 0;
    uint64_t entries = dict_word(dict, DICT_LIVE) + count;
    int error = 0;

    while (error == 0 && dict_word(dict, DICT_SLOTS) < INDEX_PAGE && limit(dict_word(dict, DICT_SLOTS)) < entries)
        error = rewrite_page(dict, 0, dict_word(dict, DICT_SLOTS) * 2);
    while (error == 0 && dict_word(dict, DICT_PAGES) < pages_wanted(dict_word(dict, DICT_PAGES), entries))
        error = split_next(dict);
    if (count == 1)
        return error != 0 ? error : make_room_in_page(dict, hashes[0], 1);
    for (const uint64_t *hash; error == 0 && (hash = first_without_room(dict, hashes, count)) != NULL;)
        error = make_room_in_page(dict, *hash, dict_get(&page_of(dict, *hash)[1]));
    return error;
}

/* ---- slots ---- */

static uint64_t slot_value(const struct object *dict, uint64_t hash, const struct entry *entry)
{
    return index_tag(hash) << 32 | heap_offset(object_heap(dict), entry) >> 4;
}

void index_add(struct object *dict, uint64_t hash, const struct entry *entry)
{
    _Atomic uint64_t *page = page_of(dict, hash), *slot;
    uint64_t at = index_tag(hash), mask = dict_word(dict, DICT_SLOTS) - 1;

    for (;; at++) {
        slot = &page[2 + (at & mask)];
        uint64_t value = dict_get(slot);

        if (value == 0)
            object_set(dict, &page[0], dict_get(&page[0]) + 1);
        if (value == 0 || value == INDEX_TOMBSTONE)
            break;
    }
    object_set(dict, slot, slot_value(dict, hash, entry));
}

void index_remove(struct object *dict, _Atomic uint64_t *slot)
{
    object_set(dict, slot, INDEX_TOMBSTONE);
}

/* ---- building aside ---- */

int index_build(struct object *dict, uint64_t entries, struct index_shape *shape)
{
    _Atomic uint64_t *pending = &dict->pending[3];

    *shape = shape_for(entries);
    int error = ref_table_new(dict, shape->pages + shape->pages / 8, pending);
    if (error != 0)
        return error;
    _Atomic uint64_t *table = block_at(dict, dict_get(pending));
    put(&table[0], shape->pages);
    undo_order();
    put(pending, dict_get(pending) | REF_TABLE);
    for (uint64_t i = 1; error == 0 && i <= shape->pages; i++)
        error = new_page(dict, shape->slots, &table[i]);
    return error;
}

int index_build_add(struct object *dict, const struct index_shape *shape, uint64_t hash, const struct entry *entry)
{
    _Atomic uint64_t *table = block_at(dict, dict_get(&dict->pending[3]));
    _Atomic uint64_t *page = block_at(dict, dict_get(&table[1 + index_page_number(index_tag(hash), shape->pages)]));

    if (dict_get(&page[0]) >= limit(shape->slots))
        return MP_ENOMEM;
    place(page, shape->slots, slot_value(dict, hash, entry));
    return 0;
}
