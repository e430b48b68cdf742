/* The second half of the checker. object_check.c has found that all blocks and refs add up; what follows looks at what they
 * mean: counts, lengths, order and hashes, all that a writer trusts because it holds the mutex. */
#include "content_check.h"

#include <string.h>

#include "dict_table.h"
#include "value.h"

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static _Atomic uint64_t *block_at(const struct object *object, uint64_t ref)
{
    return heap_at(object_heap(object), ref & ~REF_MASK);
}

/* ---- values and keys ---- */

/* A string of `size` bytes: up to `most` lie in the words themselves, more in a block. */
static bool string_is_sound(const struct heap *heap, uint64_t head, uint64_t body, uint64_t most)
{
    uint64_t size = head >> CELL_LENGTH_SHIFT;

    if ((head & CELL_OWNS) == 0)
        return size <= most;
    return size > most && body != 0 && (body & REF_MASK) == REF_BLOCK && size <= heap_block_size(heap, body);
}

static bool container_is_sound(const struct heap *heap, uint64_t head, uint64_t body, uint64_t magic)
{
    if (head >> 9 != 0 || (head & CELL_OWNS) == 0 || body == 0 || (body & REF_MASK) != REF_OBJECT)
        return false;
    return object_is(heap_at(heap, body & ~REF_MASK), magic);
}

static bool cell_is_sound(const struct heap *heap, const struct cell *cell)
{
    uint64_t head = get(&cell->head), body = get(&cell->body);

    switch (head & CELL_TYPE) {
    case MP_NONE:
    case MP_BOOL:
    case MP_INT:
    case MP_FLOAT:
        return head <= MP_FLOAT;
    case MP_STR:
    case MP_BYTES:
        return (head >> 9 & 127) == 0 && string_is_sound(heap, head, body, 8);
    case MP_DICT:
        return container_is_sound(heap, head, body, OBJECT_DICT);
    case MP_LIST:
        return container_is_sound(heap, head, body, OBJECT_LIST);
    default:
        return false;
    }
}

/* Whether this entry is the one that a search for its key finds. */
static bool key_is_sound(const struct object *dict, const struct entry *entry)
{
    const struct heap *heap = object_heap(dict);
    uint64_t head = get(&entry->key_head), words[2] = {get(&entry->key_body), get(&entry->key_rest)};
    mp_type type = (mp_type)(head & CELL_TYPE);
    mp_value value;
    struct key key;

    if (type == MP_STR || type == MP_BYTES) {
        if (!string_is_sound(heap, head, words[0], sizeof words))
            return false;
        value = mp_bytes(head & CELL_OWNS ? heap_at(heap, words[0]) : (void *)words, head >> CELL_LENGTH_SHIFT);
        value.type = type;
    } else if (head & CELL_OWNS || key_read(heap, entry, &value) != 0) {
        return false;
    }
    return key_prepare(heap, &value, &key) == 0 && dict_find(heap, dict, &key, NULL) == entry;
}

/* ---- segments ---- */

/* A directory of segments of that kind: all of SEGMENT items, except that an only one may be smaller. `missing`: so many of the
 * first may be missing. */
static bool segments_are_sound(const struct object *object, enum ref_kind kind, uint64_t missing)
{
    uint64_t directory = get(&object->root[0]);

    if ((directory & REF_MASK) != REF_TABLE)
        return false;
    _Atomic uint64_t *table = block_at(object, directory);
    uint64_t count = get(&table[0]);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t ref = get(&table[1 + i]);

        if (ref == 0 && i < missing && count > 1)
            continue;
        if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != kind)
            return false;
        uint64_t items = get(block_at(object, ref));
        if (count > 1 ? items != SEGMENT : items == 0 || items > SEGMENT)
            return false;
    }
    return count > 0;
}

/* ---- dicts ---- */

static bool entries_are_sound(const struct object *dict)
{
    const struct heap *heap = object_heap(dict);
    uint64_t live = 0, last = 0, used = dict_word(dict, DICT_USED), capacity = segments_capacity(dict);

    if (used > capacity)
        return false;
    for (uint64_t position = 0; position < capacity; position++) {
        const struct entry *entry = dict_entry(heap, dict, position);
        uint64_t sequence = entry == NULL ? 0 : get(&entry->sequence);

        if (sequence == 0)
            continue;
        if (position >= used || sequence <= last || !cell_is_sound(heap, &entry->value) || !key_is_sound(dict, entry))
            return false;
        last = sequence;
        live++;
    }
    return live == dict_word(dict, DICT_LIVE) && last <= dict_word(dict, DICT_SEQUENCE);
}

/* A page of the index: as many slots not empty as it says. Counts its entries. */
static bool page_is_sound(const struct object *dict, uint64_t ref, uint64_t number, uint64_t *live)
{
    uint64_t pages = dict_word(dict, DICT_PAGES), mask = dict_word(dict, DICT_MASK);
    uint64_t slots = dict_word(dict, DICT_SLOTS), fill = 0;
    _Atomic uint64_t *page = block_at(dict, ref);

    if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != REF_BLOCK ||
        heap_block_size(object_heap(dict), ref) < INDEX_PAGE_BYTES(slots))
        return false;
    const _Atomic uint64_t *slot = index_slots(object_heap(dict), ref);
    for (uint64_t i = 0; i < slots; i++) {
        uint64_t value = get(&slot[i]);

        fill += value != 0;
        *live += value != 0 && value != INDEX_TOMBSTONE && index_page_number(index_tag(value), pages, mask) == number;
    }
    return fill == get(&page[0]);
}

/* As every entry is found by its key, it is enough that there are as many slots in use as entries. */
static bool index_is_sound(const struct object *dict)
{
    uint64_t ref = get(&dict->root[1]), pages = dict_word(dict, DICT_PAGES), slots = dict_word(dict, DICT_SLOTS);
    uint64_t live = 0;

    if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != REF_TABLE || pages == 0 || pages > INDEX_MOST_PAGES ||
        dict_word(dict, DICT_MASK) != index_page_mask(pages) || slots < INDEX_GROUP || slots > INDEX_PAGE ||
        (slots & (slots - 1)) != 0 || (pages > 1 && slots < INDEX_PAGE))
        return false;
    _Atomic uint64_t *table = block_at(dict, ref);
    if (get(&table[0]) != pages)
        return false;
    for (uint64_t i = 0; i < pages; i++) {
        if (!page_is_sound(dict, get(&table[1 + i]), i, &live))
            return false;
    }
    return live == dict_word(dict, DICT_LIVE);
}

static bool dict_is_sound(const struct object *dict)
{
    if (get(&dict->root[0]) == 0)
        return get(&dict->root[1]) == 0 && dict_word(dict, DICT_USED) == 0 && dict_word(dict, DICT_LIVE) == 0 &&
               dict_word(dict, DICT_PAGES) == 0 && dict_word(dict, DICT_SLOTS) == 0 && dict_word(dict, DICT_MASK) == 0;
    return segments_are_sound(dict, REF_ENTRIES, 0) && index_is_sound(dict) && entries_are_sound(dict);
}

/* ---- lists ---- */

/* Those from `from` to `to` are values; the others own nothing. */
static bool cells_are_sound(const struct heap *heap, const _Atomic uint64_t *segment, uint64_t from, uint64_t to)
{
    const struct cell *cells = (const struct cell *)(segment + 2);

    for (uint64_t i = 0; i < get(&segment[0]); i++) {
        if (i >= from && i < to ? !cell_is_sound(heap, &cells[i]) : (get(&cells[i].head) & CELL_OWNS) != 0)
            return false;
    }
    return true;
}

static bool list_is_sound(const struct object *list)
{
    uint64_t start = get(&list->word[LIST_START]), length = get(&list->word[LIST_LENGTH]);

    if (get(&list->root[1]) != 0)
        return false;
    if (get(&list->root[0]) == 0)
        return start == 0 && length == 0;
    if (!segments_are_sound(list, REF_CELLS, start / SEGMENT))
        return false;
    uint64_t capacity = segments_capacity(list);
    if (start > capacity || length > capacity - start)
        return false;
    const _Atomic uint64_t *table = block_at(list, get(&list->root[0]));
    for (uint64_t i = 0, first = 0; i < get(&table[0]); i++, first += SEGMENT) {
        uint64_t from = start > first ? start - first : 0, to = start + length > first ? start + length - first : 0;

        if (get(&table[1 + i]) != 0 &&
            !cells_are_sound(object_heap(list), block_at(list, get(&table[1 + i])), from, to))
            return false;
    }
    return true;
}

/* What its owner writes in it is his own, but for the header before it. */
static bool memory_is_sound(const struct object *memory)
{
    uint64_t ref = get(&memory->root[0]), size = get(&memory->word[MEMORY_SIZE]);
    const struct heap *heap = object_heap(memory);

    if ((ref & REF_MASK) != REF_BLOCK || get(&memory->root[1]) != 0)
        return false;
    if (size == 0)
        return true;
    if (ref == 0)
        return false;
    uint64_t place = memory_place(ref), room = ref + heap_block_size(heap, ref);
    const _Atomic uint64_t *header = heap_at(heap, place - MEMORY_HEADER);
    return place <= room && size - 1 <= room - place && get(header) == memory->self;
}

bool content_is_sound(const struct object *object)
{
    switch (get(&object->magic)) {
    case OBJECT_DICT:
        return dict_is_sound(object);
    case OBJECT_LIST:
        return list_is_sound(object);
    case OBJECT_MEMORY:
        return memory_is_sound(object);
    default:
        return true;
    }
}
