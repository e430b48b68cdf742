/* Iterators over a dict. A step copies the words of one entry without the mutex, and uses them if the version has not
 * changed meanwhile (an optimistic read). Between steps an iterator remembers the last sequence number it has seen.
 * Invariant: later positions hold larger sequence numbers. Positions change only when the dict's epoch changes; then
 * the iterator finds its place again by that number.
 *
 * Fast path: while the version stays the same, the next entry is the next one in its segment. */
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "dict/dict_entry.h"
#include "object/handle.h"

#define ITER_MAGIC UINT64_C(0x6d705f6469746572)
#define AHEAD 16

/* The words of an entry. Short strings are handed out from here; the zeros behind them terminate them. */
struct item {
    uint64_t key[2], key_end;
    uint64_t body, body_end;
    uint64_t key_head, head;
    uint64_t sequence;
};

struct mp_dict_iter {
    struct handle handle;
    mp_dict *dict;
    /* Where the next step looks. Valid while the dict's version is `version`. Equal: not known, or the item handed out
     * last has to be dropped first. */
    const struct entry *next, *end;
    uint64_t version;
    const struct entry *begin; /* `position` is this one's: steps on the short way need not count */
    uint64_t position, epoch;
    uint64_t last;    /* the last sequence met */
    uint64_t limit;   /* the last sequence to be met */
    struct item item; /* what was handed out */
    char *key_copy;   /* of a string that lies in a block of its own */
    mp_value value;   /* the same; or a container, which is held until the next step */
};

static struct spare_handles spare;

static mp_dict_iter *iter_of(mp_dict_iter *handle)
{
    return handle_of(&spare, handle, ITER_MAGIC);
}

static void forget_run(mp_dict_iter *iter)
{
    iter->begin = iter->next = iter->end = NULL;
}

int mp_dict_iter_create(mp_dict_iter **iter, mp_dict *dict)
{
    uint64_t limit;

    if (iter == NULL || !object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    int error = access_word(dict, OBJECT_DICT, DICT_SEQUENCE, &limit);
    if (error != 0)
        return error;
    mp_dict_iter *new = handle_take(&spare, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->dict = dict;
    forget_run(new);
    new->position = new->last = 0;
    new->epoch = UINT64_MAX; /* no epoch: the first step finds its place */
    new->limit = limit;
    new->key_copy = NULL;
    new->value = mp_value_none();
    *iter = handle_begin(&new->handle, ITER_MAGIC);
    return 0;
}

static void drop_item(mp_dict_iter *iter)
{
    free(iter->key_copy);
    iter->key_copy = NULL;
    mp_value_free(&iter->value);
}

/* ---- finding the place ---- */

/* Binary search for the first position with a larger sequence number. These grow with the positions; removed entries
 * are passed over. */
static uint64_t find_place(const struct reading *reading, uint64_t sequence)
{
    uint64_t low = 0, high = object_read_word(reading, &reading->object->word[DICT_USED]);

    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        struct entry entry;
        bool found = true;

        for (; at < high; at++) {
            found = dict_read_entry(reading, at, &entry);
            if (!found || word_get(&entry.sequence) != 0)
                break;
        }
        if (at < high && found && word_get(&entry.sequence) <= sequence)
            low = at + 1;
        else
            high = middle;
    }
    return low;
}

/* Makes sure that the next position is right. Returns how many positions are used. What it stores counts if the reading
 * does. */
static uint64_t find_position(mp_dict_iter *iter, const struct reading *reading)
{
    uint64_t epoch = object_read_word(reading, &reading->object->word[DICT_EPOCH]);

    if (epoch != iter->epoch) {
        iter->position = find_place(reading, iter->last);
        iter->epoch = epoch;
    }
    return object_read_word(reading, &reading->object->word[DICT_USED]);
}

/* Finds the entries from the next position to the end of its segment. Only for a reading with an even version (no
 * change is under way). False: there are none. */
static bool find_run(mp_dict_iter *iter, const struct reading *reading)
{
    const struct object *dict = reading->object;
    const struct heap *heap = object_heap(dict);
    uint64_t used = find_position(iter, reading);

    if (iter->position >= used)
        return false;
    const struct entry *entry = dict_entry(heap, dict, iter->position);
    uint64_t run = SEGMENT - iter->position % SEGMENT;
    if (run > used - iter->position)
        run = used - iter->position;
    if (entry == NULL || run > (word_get(&heap->size) - heap_offset(heap, entry)) / sizeof *entry)
        return false;
    iter->begin = iter->next = entry;
    iter->end = entry + run;
    return true;
}

/* ---- one entry ---- */

static inline void copy_words(struct item *item, const struct entry *entry)
{
    item->sequence = word_get(&entry->sequence);
    item->key_head = word_get(&entry->key.head);
    item->key[0] = word_get(&entry->key.body);
    item->key[1] = word_get(&entry->key.rest);
    item->head = word_get(&entry->value.head);
    item->body = word_get(&entry->value.body);
    item->key_end = item->body_end = 0;
}

/* Copies strings that have blocks of their own, and the container that the value is. The copies count if the version is
 * the same afterwards. */
static int copy_owned(mp_dict_iter *iter)
{
    const struct heap *heap = object_heap(dict_object(iter->dict));
    const struct item *item = &iter->item;
    mp_value key;
    int error = 0;

    if (item->key_head & CELL_OWNS) {
        error = cell_read(heap, item->key_head, item->key[0], &key);
        if (error == 0)
            iter->key_copy = key.owned;
    }
    if (error == 0 && (item->head & CELL_OWNS) != 0)
        error = cell_read(heap, item->head, item->body, &iter->value);
    return error;
}

/* Copies the words of the entry at the next position. False: there is none. */
static bool copy_entry(mp_dict_iter *iter, const struct reading *reading)
{
    struct entry copy;

    if ((reading->version & 1) == 0) {
        if (iter->next == iter->end && !find_run(iter, reading))
            return false;
        copy_words(&iter->item, iter->next++);
        iter->begin = iter->next;
        return true;
    }
    /* While a change is under way (odd version), read one entry at a time, and remember no place. */
    uint64_t used = find_position(iter, reading);
    if (iter->position >= used || !dict_read_entry(reading, iter->position, &copy))
        return false;
    copy_words(&iter->item, &copy);
    return true;
}

/* Steps to the next entry that exists, and copies it. The copy is not verified yet. MP_ESTOP: there is none. */
static int copy_next(mp_dict_iter *iter, const struct reading *reading)
{
    while (copy_entry(iter, reading)) {
        iter->position++;
        if (iter->item.sequence > iter->limit)
            break;
        if (iter->item.sequence > iter->last)
            return (iter->item.key_head | iter->item.head) & CELL_OWNS ? copy_owned(iter) : 0;
    }
    return MP_ESTOP;
}

/* A step, and where the iterator was before. */
struct step {
    mp_dict_iter *iter;
    uint64_t position, epoch;
};

static void go_back(const struct step *step)
{
    drop_item(step->iter);
    forget_run(step->iter);
    step->iter->position = step->position;
    step->iter->epoch = step->epoch;
}

/* One attempt at a step. */
static int try_next(const struct reading *reading, const void *context, struct words *words)
{
    const struct step *step = context;

    (void)words;
    go_back(step);
    step->iter->version = reading->version;
    return copy_next(step->iter, reading);
}

/* ---- handing out ---- */

/* Fills *value; a string's bytes are at `text` and are not copied. */
static inline void view_text(uint64_t head, const void *text, mp_value *value)
{
    value->type = (mp_type)(head & CELL_TYPE);
    value->size = head >> CELL_LENGTH_SHIFT;
    value->as.bytes = text;
    value->owned = NULL;
}

static inline bool is_string(uint64_t head)
{
    return (head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES;
}

static int view_key(const mp_dict_iter *iter, mp_value *key)
{
    const struct item *item = &iter->item;

    if (!is_string(item->key_head))
        return key_number(item->key_head, item->key, key);
    view_text(item->key_head, item->key_head & CELL_OWNS ? (const void *)iter->key_copy : item->key, key);
    return 0;
}

static int view_value(const mp_dict_iter *iter, mp_value *value)
{
    const struct item *item = &iter->item;

    if (item->head & CELL_OWNS) {
        *value = iter->value;
        value->owned = NULL; /* owned by the iterator */
        return 0;
    }
    if (!is_string(item->head))
        return cell_number(item->head, item->body, value);
    view_text(item->head, &item->body, value);
    return 0;
}

static int hand_out(mp_dict_iter *iter, mp_value *key, mp_value *value)
{
    int error = 0;

    iter->last = iter->item.sequence;
    if (key != NULL)
        error = view_key(iter, key);
    return error == 0 && value != NULL ? view_value(iter, value) : error;
}

static __attribute__((noinline)) int next_slow(mp_dict_iter *handle, mp_value *key, mp_value *value)
{
    mp_dict_iter *iter = iter_of(handle);
    int error = 0, held = 0;

    if (iter == NULL)
        return MP_EINVAL;
    struct step step = {iter, iter->position + (uint64_t)(iter->next - iter->begin), iter->epoch};
    go_back(&step);
    do {
        error = access_read(iter->dict, OBJECT_DICT, try_next, &step, NULL, NULL);
        if (error == 0)
            held = value_hold(&iter->value);
    } while (error == 0 && held == MP_EINVAL); /* the container has ended meanwhile: the same entry again */
    if (error == 0)
        error = held;
    if (error != 0 && error != MP_ESTOP)
        go_back(&step);
    if (iter->key_copy != NULL || iter->value.owned != NULL)
        forget_run(iter);
    return error != 0 ? error : hand_out(iter, key, value);
}

/* Fills in a key that is no string in a block of its own. Its words move to where they stay until the next step. */
static inline int view_short_key(mp_dict_iter *iter, uint64_t head, uint64_t body, uint64_t rest, mp_value *key)
{
    iter->item.key[0] = body;
    iter->item.key[1] = rest;
    if (!is_string(head))
        return key_number(head, iter->item.key, key);
    view_text(head, iter->item.key, key);
    return 0;
}

static inline int view_short_value(mp_dict_iter *iter, uint64_t head, uint64_t body, mp_value *value)
{
    if (head == MP_INT) {
        cell_int(body, value);
        return 0;
    }
    if (!is_string(head))
        return cell_number(head, body, value);
    iter->item.body = body;
    view_text(head, &iter->item.body, value);
    return 0;
}

/* Has a fast path, for an entry that owns nothing while the dict is not being changed. */
int mp_dict_next(mp_dict_iter *handle, mp_value *key, mp_value *value)
{
    mp_dict_iter *iter = iter_of(handle);

    if (iter == NULL || iter->next == iter->end)
        return next_slow(handle, key, value);
    const struct entry *entry = iter->next;
    uint64_t sequence = word_get(&entry->sequence), key_head = word_get(&entry->key.head);
    uint64_t key_body = word_get(&entry->key.body), key_rest = word_get(&entry->key.rest);
    uint64_t head = word_get(&entry->value.head), body = word_get(&entry->value.body);
    __builtin_prefetch((const char *)(entry + AHEAD));
    /* Freeing a dict changes its version, too, before its content goes. */
    if (!object_read_valid(dict_object(iter->dict), iter->version) || !object_is_fast(iter->dict, OBJECT_DICT) ||
        sequence <= iter->last || sequence > iter->limit || ((key_head | head) & CELL_OWNS) != 0)
        return next_slow(handle, key, value);
    iter->next = entry + 1;
    iter->last = sequence;
    int error = key != NULL ? view_short_key(iter, key_head, key_body, key_rest, key) : 0;
    return error == 0 && value != NULL ? view_short_value(iter, head, body, value) : error;
}

int mp_dict_iter_free(mp_dict_iter *handle)
{
    mp_dict_iter *iter = iter_of(handle);

    if (handle == NULL)
        return 0;
    if (iter == NULL)
        return MP_EINVAL;
    drop_item(iter);
    handle_put(&spare, &iter->handle);
    return 0;
}
