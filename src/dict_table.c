/* Crash safety: whatever is built, is built aside, owned by a pending ref, and put into place by one change under the undo log
 * (object.h). Pending refs: 0 the value's, 1 the key's, 2 a segment or directory, 3 an index; after the change they own what
 * was replaced. */
#include "dict_table.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SEGMENT 8
#define FIRST_INDEX 16
#define FIRST_DIRECTORY 7
/* A dict this large gives memory back when less than a quarter of its positions hold entries. */
#define SHRINK_FROM 4096

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static _Atomic uint64_t *block_at(const struct object *dict, uint64_t ref)
{
    return heap_at(object_heap(dict), ref & ~REF_MASK);
}

/* ---- segments ---- */

static uint64_t capacity(const struct object *dict)
{
    uint64_t directory = get(&dict->root[0]);

    if (directory == 0)
        return 0;
    _Atomic uint64_t *table = block_at(dict, directory);
    uint64_t count = get(&table[0]);
    return count == 1 ? get(block_at(dict, get(&table[1]))) : count * DICT_SEGMENT;
}

static int new_segment(struct object *dict, uint64_t entries, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(dict);
    int error = heap_alloc(heap, 16 + entries * sizeof(struct entry), slot);

    if (error != 0)
        return error;
    _Atomic uint64_t *segment = heap_at(heap, get(slot));
    memset(segment, 0, 16 + entries * sizeof(struct entry));
    put(&segment[0], entries);
    return 0;
}

/* A directory with room for `count` segments, all none. */
static int new_directory(struct object *dict, uint64_t count, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(dict);
    uint64_t room = count < FIRST_DIRECTORY ? FIRST_DIRECTORY : count;
    int error = heap_alloc(heap, (1 + room) * 8, slot);

    if (error == 0)
        memset(heap_at(heap, get(slot)), 0, (1 + room) * 8);
    return error;
}

/* The very first segment, and the directory for it. */
static int add_first_segment(struct object *dict, uint64_t entries)
{
    _Atomic uint64_t *pending = &dict->pending[2];
    int error = new_directory(dict, 1, pending);

    if (error != 0)
        return error;
    _Atomic uint64_t *table = block_at(dict, get(pending));
    put(&table[0], 1);
    undo_order();
    put(pending, get(pending) | REF_SHELL);
    error = new_segment(dict, entries, &table[1]);
    if (error != 0) {
        ref_release(object_heap(dict), pending);
        return error;
    }
    put(&table[1], get(&table[1]) | REF_ENTRIES);
    object_begin(dict);
    object_set(dict, &dict->root[0], (get(pending) & ~REF_MASK) | REF_TABLE);
    object_set(dict, pending, 0);
    object_commit(dict);
    return 0;
}

/* The only segment is still small: a larger one takes its place. */
static int enlarge_segment(struct object *dict, uint64_t entries)
{
    _Atomic uint64_t *table = block_at(dict, get(&dict->root[0])), *pending = &dict->pending[2];
    uint64_t old = get(&table[1]);
    int error = new_segment(dict, entries, pending);

    if (error != 0)
        return error;
    memcpy(block_at(dict, get(pending)) + 2, block_at(dict, old) + 2, get(block_at(dict, old)) * sizeof(struct entry));
    object_begin(dict);
    object_set(dict, &table[1], get(pending) | REF_ENTRIES);
    object_set(dict, pending, (old & ~REF_MASK) | REF_BLOCK);
    object_commit(dict);
    ref_release(object_heap(dict), pending);
    return 0;
}

static int enlarge_directory(struct object *dict)
{
    _Atomic uint64_t *pending = &dict->pending[2];
    uint64_t old = get(&dict->root[0]);
    uint64_t count = get(block_at(dict, old));
    int error = new_directory(dict, count * 2, pending);

    if (error != 0)
        return error;
    memcpy(block_at(dict, get(pending)), block_at(dict, old), (1 + count) * 8);
    object_begin(dict);
    object_set(dict, &dict->root[0], get(pending) | REF_TABLE);
    object_set(dict, pending, (old & ~REF_MASK) | REF_BLOCK);
    object_commit(dict);
    ref_release(object_heap(dict), pending);
    return 0;
}

static int add_segment(struct object *dict)
{
    _Atomic uint64_t *pending = &dict->pending[2];
    uint64_t count = get(block_at(dict, get(&dict->root[0])));

    if (1 + count >= heap_block_size(object_heap(dict), get(&dict->root[0]) & ~REF_MASK) / 8) {
        int error = enlarge_directory(dict);
        if (error != 0)
            return error;
    }
    int error = new_segment(dict, DICT_SEGMENT, pending);
    if (error != 0)
        return error;
    _Atomic uint64_t *table = block_at(dict, get(&dict->root[0]));
    object_begin(dict);
    object_set(dict, &table[1 + count], get(pending) | REF_ENTRIES);
    object_set(dict, &table[0], count + 1);
    object_set(dict, pending, 0);
    object_commit(dict);
    return 0;
}

static int add_capacity(struct object *dict, uint64_t wanted)
{
    uint64_t now = capacity(dict);

    if (now >= DICT_SEGMENT)
        return add_segment(dict);
    uint64_t entries = now == 0 ? FIRST_SEGMENT : now * 2;
    while (entries < wanted && entries < DICT_SEGMENT)
        entries *= 2;
    return now == 0 ? add_first_segment(dict, entries) : enlarge_segment(dict, entries);
}

/* ---- index ---- */

static uint64_t index_slots(const struct object *dict)
{
    uint64_t index = get(&dict->root[1]);

    return index == 0 ? 0 : get(block_at(dict, index));
}

/* At most four fifths of an index are not empty. */
static bool index_suffices(uint64_t slots, uint64_t fill)
{
    return fill <= slots - slots / 5 && fill < slots;
}

static int new_index(struct object *dict, uint64_t entries, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(dict);
    uint64_t slots = FIRST_INDEX;

    /* Room for more than half as many again, so that the next growth is not near. */
    while (!index_suffices(slots, entries + entries / 2 + 1))
        slots *= 2;
    int error = heap_alloc(heap, 16 + slots * 8, slot);
    if (error != 0)
        return error;
    _Atomic uint64_t *index = heap_at(heap, get(slot));
    memset(index, 0, 16 + slots * 8);
    put(&index[0], slots);
    return 0;
}

static void index_insert(_Atomic uint64_t *index, uint64_t value)
{
    uint64_t mask = get(&index[0]) - 1;
    uint64_t at = value >> 32;

    while (get(&index[2 + (at & mask)]) != 0)
        at++;
    put(&index[2 + (at & mask)], value);
}

/* Fills a new index from the old one; `positions` says where each entry has moved, NULL: they have not. */
static void index_fill(struct object *dict, _Atomic uint64_t *index, const uint32_t *positions)
{
    uint64_t slots = index_slots(dict);
    _Atomic uint64_t *old = block_at(dict, get(&dict->root[1]));

    for (uint64_t i = 0; i < slots; i++) {
        uint64_t value = get(&old[2 + i]);

        if (value == 0 || (uint32_t)value == DICT_TOMBSTONE)
            continue;
        if (positions != NULL)
            value = (value >> 32 << 32) | (positions[(uint32_t)value - 1] + 1);
        index_insert(index, value);
    }
}

static int rebuild_index(struct object *dict, uint64_t entries)
{
    _Atomic uint64_t *pending = &dict->pending[3];
    uint64_t old = get(&dict->root[1]);
    int error = new_index(dict, entries, pending);

    if (error != 0)
        return error;
    index_fill(dict, block_at(dict, get(pending)), NULL);
    object_begin(dict);
    object_set(dict, &dict->root[1], get(pending));
    object_set(dict, pending, old);
    object_set(dict, &dict->word[DICT_FILL], dict_word(dict, DICT_LIVE));
    object_commit(dict);
    ref_release(object_heap(dict), pending);
    return 0;
}

/* ---- compaction ---- */

/* New segments for `entries` entries, in a directory that pending ref 2 owns as a shell. */
static int new_segments(struct object *dict, uint64_t entries)
{
    _Atomic uint64_t *pending = &dict->pending[2];
    uint64_t count = (entries + DICT_SEGMENT - 1) / DICT_SEGMENT;
    int error = new_directory(dict, count + count / 8, pending);

    if (error != 0)
        return error;
    _Atomic uint64_t *table = block_at(dict, get(pending));
    put(&table[0], count);
    undo_order();
    put(pending, get(pending) | REF_SHELL);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t room = FIRST_SEGMENT;

        while (room < entries && room < DICT_SEGMENT)
            room *= 2;
        error = new_segment(dict, count == 1 ? room : DICT_SEGMENT, &table[i]);
        if (error != 0)
            return error;
        put(&table[i], get(&table[i]) | REF_ENTRIES);
    }
    return 0;
}

/* Copies the live entries into the new segments and notes where each went. */
static void copy_entries(struct object *dict, uint32_t *positions)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *table = block_at(dict, get(&dict->pending[2]));
    uint32_t to = 0;

    for (uint64_t from = 0, used = dict_word(dict, DICT_USED); from < used; from++) {
        struct entry *entry = dict_entry(heap, dict, from);

        if (get(&entry->sequence) == 0)
            continue;
        struct entry *segment = (struct entry *)(block_at(dict, get(&table[1 + to / DICT_SEGMENT])) + 2);
        memcpy(&segment[to % DICT_SEGMENT], entry, sizeof *entry);
        positions[from] = to++;
    }
}

/* The pending directory and index become the dict's; what they replace is released. */
static void switch_tables(struct object *dict)
{
    uint64_t directory = get(&dict->root[0]), index = get(&dict->root[1]), live = dict_word(dict, DICT_LIVE);

    object_begin(dict);
    object_set(dict, &dict->root[0], (get(&dict->pending[2]) & ~REF_MASK) | REF_TABLE);
    object_set(dict, &dict->root[1], get(&dict->pending[3]));
    object_set(dict, &dict->pending[2], (directory & ~REF_MASK) | REF_SHELL);
    object_set(dict, &dict->pending[3], index);
    object_set(dict, &dict->word[DICT_USED], live);
    object_set(dict, &dict->word[DICT_FILL], live);
    object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
    object_commit(dict);
    object_release_pending(dict);
}

/* Leaves out the positions of removed entries, with room for `more`. */
static int compact(struct object *dict, uint64_t more)
{
    uint64_t live = dict_word(dict, DICT_LIVE);
    uint32_t *positions = malloc((dict_word(dict, DICT_USED) + 1) * sizeof *positions);

    if (positions == NULL)
        return MP_ENOMEM;
    int error = new_segments(dict, live + more);
    if (error == 0)
        error = new_index(dict, live + more, &dict->pending[3]);
    if (error == 0) {
        copy_entries(dict, positions);
        index_fill(dict, block_at(dict, get(&dict->pending[3])), positions);
        switch_tables(dict);
    } else {
        object_release_pending(dict);
    }
    free(positions);
    return error;
}

void dict_shrink(struct object *dict)
{
    uint64_t used = dict_word(dict, DICT_USED), live = dict_word(dict, DICT_LIVE);

    if (live == 0 && used + dict_word(dict, DICT_FILL) >= SHRINK_FROM)
        dict_empty(dict);
    else if (capacity(dict) >= SHRINK_FROM && live < capacity(dict) / 4)
        compact(dict, live / 4 + 1); /* if there is no memory for it, another time */
}

void dict_empty(struct object *dict)
{
    uint64_t directory = get(&dict->root[0]), index = get(&dict->root[1]);

    object_begin(dict);
    object_set(dict, &dict->root[0], 0);
    object_set(dict, &dict->root[1], 0);
    object_set(dict, &dict->pending[2], directory);
    object_set(dict, &dict->pending[3], index);
    object_set(dict, &dict->word[DICT_USED], 0);
    object_set(dict, &dict->word[DICT_LIVE], 0);
    object_set(dict, &dict->word[DICT_FILL], 0);
    object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
    object_commit(dict);
    object_release_pending(dict);
}

int dict_make_room(struct object *dict, uint64_t count)
{
    uint64_t used = dict_word(dict, DICT_USED), live = dict_word(dict, DICT_LIVE);
    int error = 0;

    if (count > DICT_TOMBSTONE - 1 - used)
        return MP_ENOMEM;
    if (used + count > capacity(dict) && used > FIRST_SEGMENT && live < used / 2)
        return compact(dict, count);
    while (error == 0 && used + count > capacity(dict))
        error = add_capacity(dict, used + count);
    if (error == 0 && !index_suffices(index_slots(dict), dict_word(dict, DICT_FILL) + count))
        error = rebuild_index(dict, live + count);
    return error;
}

/* ---- entries ---- */

int dict_store_key(struct object *dict, const struct key *key, _Atomic uint64_t *pending)
{
    if (key->data == NULL)
        return 0;
    int error = heap_alloc(object_heap(dict), key->size, pending);
    if (error == 0)
        memcpy(heap_at(object_heap(dict), get(pending)), key->data, key->size);
    return error;
}

/* The slot for a key that is not there. */
static _Atomic uint64_t *free_slot(struct object *dict, const struct key *key)
{
    _Atomic uint64_t *index = block_at(dict, get(&dict->root[1]));
    uint64_t mask = get(&index[0]) - 1;

    for (uint64_t at = key->hash >> 32;; at++) {
        uint64_t value = get(&index[2 + (at & mask)]);

        if (value == 0 || (uint32_t)value == DICT_TOMBSTONE)
            return &index[2 + (at & mask)];
    }
}

void dict_add(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, uint64_t head, uint64_t body,
              _Atomic uint64_t *value_pending)
{
    uint64_t position = dict_word(dict, DICT_USED), sequence = dict_word(dict, DICT_SEQUENCE) + 1;
    struct entry *entry = dict_entry(object_heap(dict), dict, position);
    _Atomic uint64_t *slot = free_slot(dict, key);

    /* With sequence 0 it is no entry yet, so these need no undoing. */
    put(&entry->key_head, key->data != NULL ? key->head | CELL_OWNS : key->head);
    put(&entry->key_body, key->data != NULL ? get(key_pending) : key->body);
    put(&entry->key_rest, key->rest);
    put(&entry->value.head, head);
    put(&entry->value.body, body);
    undo_order();
    object_set(dict, &entry->sequence, sequence);
    if (get(slot) == 0)
        object_set(dict, &dict->word[DICT_FILL], dict_word(dict, DICT_FILL) + 1);
    object_set(dict, slot, (key->hash >> 32 << 32) | (position + 1));
    object_set(dict, &dict->word[DICT_USED], position + 1);
    object_set(dict, &dict->word[DICT_LIVE], dict_word(dict, DICT_LIVE) + 1);
    object_set(dict, &dict->word[DICT_SEQUENCE], sequence);
    if (key->data != NULL)
        object_set(dict, key_pending, 0);
    if (head & CELL_OWNS)
        object_set(dict, value_pending, 0);
}

/* Positions at the end that hold no entry are used again. A few at a time: part of a change. */
static uint64_t used_without_tail(struct object *dict, const struct entry *removed)
{
    uint64_t used = dict_word(dict, DICT_USED);

    for (int i = 0; i < 64 && used > 0; i++, used--) {
        struct entry *last = dict_entry(object_heap(dict), dict, used - 1);

        if (last != removed && get(&last->sequence) != 0)
            break;
    }
    return used;
}

void dict_take_out(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, _Atomic uint64_t *key_pending,
                   _Atomic uint64_t *value_pending)
{
    object_set(dict, &entry->sequence, 0);
    object_set(dict, slot, DICT_TOMBSTONE);
    object_set(dict, &dict->word[DICT_LIVE], dict_word(dict, DICT_LIVE) - 1);
    object_set(dict, &dict->word[DICT_USED], used_without_tail(dict, entry));
    if (get(&entry->key_head) & CELL_OWNS)
        object_set(dict, key_pending, get(&entry->key_body));
    if (get(&entry->value.head) & CELL_OWNS)
        object_set(dict, value_pending, get(&entry->value.body));
}
