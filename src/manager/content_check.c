/* The second half of the checker. object_check.c has found that all blocks and refs add up; what follows looks at what
 * they mean: counts, lengths, order and hashes, all that a writer trusts because it holds the mutex. */
#include "manager/content_check.h"

#include <string.h>

#include "dict/dict_table.h"
#include "list/list_table.h"
#include "value/value.h"

/* More than a dict ever gives. */
#define SEQUENCES (UINT64_C(1) << 62)

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

static bool container_is_sound(const struct heap *heap, uint64_t head, uint64_t body, uint64_t kind)
{
    if ((head >> 9 & 127) != 0 || head >> CELL_LENGTH_SHIFT >= OBJECT_GENERATIONS || (head & CELL_OWNS) == 0 ||
        body == 0 || (body & REF_MASK) != REF_OBJECT)
        return false;
    return object_is(cell_handle(heap, head, body), kind);
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

/* A directory of segments of that kind: all of SEGMENT items, except that an only one may be smaller. `missing`: so
 * many of the first may be missing. */
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
    return live == dict_word(dict, DICT_LIVE) && last <= dict_word(dict, DICT_SEQUENCE) &&
           dict_word(dict, DICT_SEQUENCE) < SEQUENCES;
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

/* A change that a death has left half done, see list_table.h. */
static bool step_is_sound(const struct list_shape *shape, uint64_t behind)
{
    if (shape->step == LIST_TURN)
        return shape->gap == 1 && shape->gap_size == 0 && shape->phase == 0 && shape->left <= shape->length / 2;
    if (shape->step == 0)
        return shape->left == 0 && shape->phase == 0;
    if (shape->phase >= shape->step || shape->phase > behind)
        return false;
    return shape->left < 2 || shape->step == 1 || shape->left - 1 <= (behind - shape->phase) / (shape->step - 1);
}

static bool shape_is_sound(const struct list_shape *shape, uint64_t capacity)
{
    uint64_t room = capacity, removed = shape->step == LIST_TURN ? 0 : shape->left;
    const uint64_t parts[] = {shape->start, shape->gap_size, shape->length, removed};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] > room)
            return false;
        room -= parts[i];
    }
    if (shape->gap == 0)
        return shape->gap_size == 0 && shape->step == 0 && shape->left == 0 && shape->phase == 0;
    return shape->gap - 1 <= shape->length && step_is_sound(shape, shape->length - (shape->gap - 1));
}

/* Those in use are values; of a list that is settled the others own nothing. `first`: the position of the segment's
 * first. */
static bool cells_are_sound(const struct heap *heap, const _Atomic uint64_t *segment, uint64_t first,
                            const struct list_shape *shape)
{
    const struct cell *cells = (const struct cell *)(segment + 2);
    uint64_t gap = shape->gap == 0 ? shape->length : shape->gap - 1, all = shape->length + shape->gap_size;

    for (uint64_t i = 0; i < get(&segment[0]); i++) {
        uint64_t at = first + i - shape->start;
        bool in_use = first + i >= shape->start && (at < gap || (at >= gap + shape->gap_size && at < all));

        if (in_use ? !cell_is_sound(heap, &cells[i]) : (get(&cells[i].head) & CELL_OWNS) != 0)
            return false;
    }
    return true;
}

/* Of a list with a change half done, only what indices lead to is looked at. */
static bool elements_are_sound(const struct object *list, const struct list_shape *shape)
{
    for (uint64_t i = 0; i < shape->length; i++) {
        if (!cell_is_sound(object_heap(list), list_cell(list, i)))
            return false;
    }
    return true;
}

static bool list_is_sound(const struct object *list)
{
    struct list_shape shape;
    uint64_t *words = &shape.start;

    for (int i = 0; i < LIST_WORDS; i++)
        words[i] = get(&list->word[i]);
    if (get(&list->root[1]) != 0)
        return false;
    if (get(&list->root[0]) == 0)
        return shape_is_sound(&shape, 0) && shape.gap == 0;
    if (!segments_are_sound(list, REF_CELLS, shape.start / SEGMENT) || !shape_is_sound(&shape, segments_capacity(list)))
        return false;
    if (shape.step != 0)
        return elements_are_sound(list, &shape);
    const _Atomic uint64_t *table = block_at(list, get(&list->root[0]));
    for (uint64_t i = 0; i < get(&table[0]); i++) {
        uint64_t ref = get(&table[1 + i]);

        if (ref != 0 && !cells_are_sound(object_heap(list), block_at(list, ref), i * SEGMENT, &shape))
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
    switch (object_kind(object)) {
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
