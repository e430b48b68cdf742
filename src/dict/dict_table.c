/* Crash safety: new blocks are built aside, each owned by a pending ref, and put into place by one change under the
 * undo log (object.h). Pending refs: 0 a value, 1 a key, 2 a segment or directory, 3 an index. After the change they
 * own what was replaced. */
#include "dict/dict_table.h"

#include <string.h>

#include "base/word.h"
#include "object/object_lock.h"

/* The most entries that a dict may have. Nothing that is computed from their number overflows. */
#define MOST_ENTRIES (UINT64_C(1) << 40)
/* A dict this large gives memory back when less than a quarter of its positions hold entries; an empty one gives back
 * all. */
#define SHRINK_FROM 4096

static int add_segment(struct object *dict)
{
    int error = ref_table_reserve(dict, &dict->root[0], &dict->pending[2]);

    if (error != 0)
        return error;
    return segments_add(dict, REF_ENTRIES, word_get(ref_block(dict, word_get(&dict->root[0]))), &dict->pending[2]);
}

/* ---- building anew ---- */

/* Copies the live entries into the new segments and index. */
static int copy_entries(struct object *dict, const struct index_shape *shape)
{
    struct heap *heap = object_heap(dict);
    _Atomic uint64_t *table = ref_block(dict, word_get(&dict->pending[2]));
    uint64_t to = 0;
    int error = 0;

    for (uint64_t from = 0, used = dict_word(dict, DICT_USED); error == 0 && from < used; from++) {
        struct entry *entry = dict_entry(heap, dict, from);

        if (word_get(&entry->sequence) == 0)
            continue;
        struct entry *segment = (struct entry *)(ref_block(dict, word_get(&table[1 + to / SEGMENT])) + 2);
        struct entry *copy = &segment[to % SEGMENT];
        memcpy(copy, entry, sizeof *entry);
        error = index_build_add(dict, shape, key_stored_hash(heap, &copy->key), copy);
        to++;
    }
    return error;
}

/* Makes the pending directory and index the dict's, and releases what they replace. */
static void switch_tables(struct object *dict, const struct index_shape *shape)
{
    uint64_t directory = word_get(&dict->root[0]), index = word_get(&dict->root[1]), live = dict_word(dict, DICT_LIVE);

    object_begin(dict);
    object_set(dict, &dict->root[0], (word_get(&dict->pending[2]) & ~REF_MASK) | REF_TABLE);
    object_set(dict, &dict->root[1], word_get(&dict->pending[3]));
    object_set(dict, &dict->pending[2], directory == 0 ? 0 : (directory & ~REF_MASK) | REF_TABLE_SHALLOW);
    object_set(dict, &dict->pending[3], index);
    object_set(dict, &dict->word[DICT_USED], live);
    object_set(dict, &dict->word[DICT_PAGES], shape->pages);
    object_set(dict, &dict->word[DICT_SLOTS], shape->slots);
    object_set(dict, &dict->word[DICT_MASK], shape->mask);
    object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
    object_commit(dict);
    object_release_pending(dict);
}

/* Builds new segments and a new index, without the positions of removed entries and with room for `more` entries. */
static int rebuild(struct object *dict, uint64_t more)
{
    uint64_t live = dict_word(dict, DICT_LIVE);
    struct index_shape shape;
    int error = stripes_hold_all(dict); /* no writer may change an entry once it is copied */

    if (error == 0)
        error = segments_new(dict, REF_ENTRIES, live + more, &dict->pending[2]);
    if (error == 0)
        error = index_build(dict, live + more, &shape);
    if (error == 0)
        error = copy_entries(dict, &shape);
    if (error == 0)
        switch_tables(dict, &shape);
    else
        object_release_pending(dict);
    return error;
}

/* ---- moving entries together ---- */

/* The most entries that move in one change: three words each, and two words for the change as a whole. */
#define MOVED_AT_ONCE ((UNDO_RECORDS - 2) / 3)

/* Moves an entry to a position that holds none. All positions from there up to the entry's own are empty. Part of a
 * change. */
static void move_entry(struct object *dict, struct entry *from, struct entry *to)
{
    uint64_t sequence = word_get(&from->sequence);

    /* With sequence 0 it is no entry yet, so these need no undoing. */
    word_put(&to->key.head, word_get(&from->key.head));
    word_put(&to->key.body, word_get(&from->key.body));
    word_put(&to->key.rest, word_get(&from->key.rest));
    word_put(&to->value.head, word_get(&from->value.head));
    word_put(&to->value.body, word_get(&from->value.body));
    index_move(dict, key_stored_hash(object_heap(dict), &to->key), from, to);
    object_set(dict, &from->sequence, 0);
    object_set(dict, &to->sequence, sequence);
}

/* The first position, from `position` on, that holds an entry (`entry` is true) or holds none (false). */
static uint64_t next_position(const struct object *dict, uint64_t position, bool entry)
{
    uint64_t used = dict_word(dict, DICT_USED);

    while (position < used && (word_get(&dict_entry(object_heap(dict), dict, position)->sequence) != 0) != entry)
        position++;
    return position;
}

/* Removes the segments behind the last position in use, but keeps one of them, so that a caller that removes and adds
 * by turns at the end of a segment does not allocate each time. */
static void remove_unused_segments(struct object *dict)
{
    _Atomic uint64_t *table = ref_block(dict, word_get(&dict->root[0]));
    uint64_t wanted = (dict_word(dict, DICT_USED) + SEGMENT - 1) / SEGMENT + 1, count;

    while ((count = word_get(&table[0])) > wanted) {
        object_begin(dict);
        object_set(dict, &dict->pending[2], word_get(&table[count]));
        object_set(dict, &table[count], 0);
        object_set(dict, &table[0], count - 1);
        object_commit(dict);
        ref_release(object_heap(dict), &dict->pending[2]);
    }
}

/* Moves the entries together at the front. Needs no memory, so it works in a full heap. It takes many small changes,
 * and after each of them the dict holds the same entries. Within one change no entry moves to the former position of
 * another: move_entry() makes no undo record of the key and value words, so a rollback has to find these at the old
 * position. */
static int compact(struct object *dict)
{
    const struct heap *heap = object_heap(dict);
    int error = stripes_hold_all(dict);

    if (error != 0)
        return error;
    uint64_t to = next_position(dict, 0, false), from = next_position(dict, to, true);
    while (from < dict_word(dict, DICT_USED)) {
        uint64_t first = from;

        object_begin(dict);
        for (int i = 0; i < MOVED_AT_ONCE && to < first && from < dict_word(dict, DICT_USED); i++, to++) {
            move_entry(dict, dict_entry(heap, dict, from), dict_entry(heap, dict, to));
            from = next_position(dict, from + 1, true);
        }
        object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
        object_commit(dict);
    }
    object_begin(dict);
    object_set(dict, &dict->word[DICT_USED], dict_word(dict, DICT_LIVE));
    object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
    object_commit(dict);
    remove_unused_segments(dict);
    return 0;
}

/* ---- shrinking ---- */

/* Whether the dict's segments, or its index, are for at least four times as many entries as there are. */
static bool is_too_large(const struct object *dict)
{
    uint64_t live = dict_word(dict, DICT_LIVE);

    return live < segments_capacity(dict) / 4 || live < dict_word(dict, DICT_PAGES) * INDEX_PAGE / 8;
}

void dict_shrink(struct object *dict)
{
    uint64_t live = dict_word(dict, DICT_LIVE);

    if (live == 0 && segments_capacity(dict) > FIRST_SEGMENT) {
        dict_empty(dict);
        return;
    }
    if (segments_capacity(dict) < SHRINK_FROM && dict_word(dict, DICT_PAGES) * INDEX_PAGE < SHRINK_FROM)
        return;
    remove_unused_segments(dict);
    if (!is_too_large(dict) || rebuild(dict, live / 4 + 1) != MP_ENOMEM)
        return;
    /* Compacting frees memory, which may be enough for the rebuild. */
    if (live < dict_word(dict, DICT_USED) && compact(dict) == 0)
        rebuild(dict, live / 4 + 1);
}

void dict_empty(struct object *dict)
{
    uint64_t directory = word_get(&dict->root[0]), index = word_get(&dict->root[1]);

    object_begin(dict);
    object_set(dict, &dict->root[0], 0);
    object_set(dict, &dict->root[1], 0);
    object_set(dict, &dict->pending[2], directory);
    object_set(dict, &dict->pending[3], index);
    object_set(dict, &dict->word[DICT_USED], 0);
    object_set(dict, &dict->word[DICT_LIVE], 0);
    object_set(dict, &dict->word[DICT_PAGES], 0);
    object_set(dict, &dict->word[DICT_SLOTS], 0);
    object_set(dict, &dict->word[DICT_MASK], 0);
    object_set(dict, &dict->word[DICT_EPOCH], dict_word(dict, DICT_EPOCH) + 1);
    object_commit(dict);
    object_release_pending(dict);
}

/* Makes room in the segments. Usually adds segments behind the last. Rebuilds a dict that is small, or that has lost
 * more than half of its entries. */
static int add_room(struct object *dict, uint64_t count)
{
    uint64_t used = dict_word(dict, DICT_USED), live = dict_word(dict, DICT_LIVE), room = segments_capacity(dict);
    int error = 0;

    if (used > FIRST_SEGMENT && live < used / 2)
        return rebuild(dict, count);
    if (room < SEGMENT)
        return rebuild(dict, count + room - live);
    while (error == 0 && used + count > segments_capacity(dict))
        error = add_segment(dict);
    return error;
}

/* Like add_room(), but if there is no memory, uses the positions of removed entries. */
static int make_room_in_segments(struct object *dict, uint64_t count)
{
    if (dict_word(dict, DICT_USED) + count <= segments_capacity(dict))
        return 0;
    int error = add_room(dict, count);
    if (error != MP_ENOMEM || dict_word(dict, DICT_LIVE) == dict_word(dict, DICT_USED))
        return error;
    error = compact(dict);
    if (error == 0 && dict_word(dict, DICT_USED) + count > segments_capacity(dict))
        error = add_room(dict, count);
    return error;
}

int dict_reserve(struct object *dict, const uint64_t *hashes, uint64_t count)
{
    if (count > MOST_ENTRIES - dict_word(dict, DICT_USED))
        return MP_ENOMEM;
    int error = make_room_in_segments(dict, count);
    if (error != 0)
        return error;
    error = index_reserve(dict, hashes, count);
    return error == MP_ENOMEM && index_has_place(dict, hashes, count) ? 0 : error;
}

/* ---- entries ---- */

bool dict_read_entry(const struct reading *reading, uint64_t position, struct entry *copy)
{
    uint64_t place = segments_read_place(reading, position, sizeof *copy), words[sizeof *copy / 8];

    if (place == 0)
        return false;
    object_read_words(reading, heap_at(object_heap(reading->object), place), sizeof words / 8, words);
    memcpy(copy, words, sizeof *copy);
    return true;
}

int dict_store_key(struct object *dict, const struct key *key, _Atomic uint64_t *pending)
{
    if (key->data == NULL)
        return 0;
    int error = heap_alloc(object_heap(dict), key->size, pending);
    if (error == 0)
        memcpy(heap_at(object_heap(dict), word_get(pending)), key->data, key->size);
    return error;
}

void dict_add(struct object *dict, const struct key *key, _Atomic uint64_t *key_pending, uint64_t head, uint64_t body,
              _Atomic uint64_t *value_pending)
{
    uint64_t position = dict_word(dict, DICT_USED), sequence = dict_word(dict, DICT_SEQUENCE) + 1;
    struct entry *entry = dict_entry(object_heap(dict), dict, position);

    /* With sequence 0 it is no entry yet, so these need no undoing. */
    word_put(&entry->key.head, key->data != NULL ? key->head | CELL_OWNS : key->head);
    word_put(&entry->key.body, key->data != NULL ? word_get(key_pending) : key->body);
    word_put(&entry->key.rest, key->rest);
    word_put(&entry->value.head, head);
    word_put(&entry->value.body, body);
    struct index_place place = index_place(dict, key->hash, entry);
    struct undo_notes notes = undo_notes_begin(&dict->undo, (char *)object_heap(dict), DICT_ADD_WORDS);

    undo_note(&notes, &entry->sequence);
    undo_note(&notes, place.slot);
    undo_note(&notes, place.filled);
    undo_note(&notes, &dict->word[DICT_USED]);
    undo_note(&notes, &dict->word[DICT_LIVE]);
    undo_note(&notes, &dict->word[DICT_SEQUENCE]);
    if (key->data != NULL)
        undo_note(&notes, key_pending);
    if (head & CELL_OWNS)
        undo_note(&notes, value_pending);
    undo_notes_end(&notes);
    DELAY_POINT();
    undo_put(&entry->sequence, sequence);
    undo_put(place.slot, place.value);
    undo_put(place.filled, place.fill);
    undo_put(&dict->word[DICT_USED], position + 1);
    undo_put(&dict->word[DICT_LIVE], dict_word(dict, DICT_LIVE) + 1);
    undo_put(&dict->word[DICT_SEQUENCE], sequence);
    if (key->data != NULL)
        undo_put(key_pending, 0);
    if (head & CELL_OWNS)
        undo_put(value_pending, 0);
    DELAY_POINT();
}

/* The new DICT_USED after the removal: empty positions at the end are given up for reuse. At most 64 at a time, as this
 * is part of a change. */
static uint64_t used_without_tail(struct object *dict, const struct entry *removed)
{
    uint64_t used = dict_word(dict, DICT_USED);

    for (int i = 0; i < 64 && used > 0; i++, used--) {
        struct entry *last = dict_entry(object_heap(dict), dict, used - 1);

        if (last != removed && word_get(&last->sequence) != 0)
            break;
    }
    return used;
}

void dict_take_out(struct object *dict, struct entry *entry, _Atomic uint64_t *slot, _Atomic uint64_t *key_pending,
                   _Atomic uint64_t *value_pending)
{
    object_set(dict, &entry->sequence, 0);
    index_remove(dict, slot);
    object_set(dict, &dict->word[DICT_LIVE], dict_word(dict, DICT_LIVE) - 1);
    object_set(dict, &dict->word[DICT_USED], used_without_tail(dict, entry));
    if (word_get(&entry->key.head) & CELL_OWNS)
        object_set(dict, key_pending, word_get(&entry->key.body));
    if (word_get(&entry->value.head) & CELL_OWNS)
        object_set(dict, value_pending, word_get(&entry->value.body));
}
