/* Iterators over a dict. They work in batches: the words of up to BATCH entries are copied without the mutex, and believed
 * if the version has not changed meanwhile; what is handed out is made of those words, one entry at a time. Between batches
 * an iterator knows the last sequence number it has seen; positions after it hold larger ones. Positions change only when
 * the dict's epoch does, and then the place is found again by that number. */
#include <stdlib.h>
#include <string.h>

#include "dict_table.h"
#include "handle.h"

#define BATCH 64
#define ITER_MAGIC UINT64_C(0x6d705f6469746572)

/* The words of an entry. Where they own a string's block, that string has been copied to `key_copy` or `value_copy`. Short
 * strings are handed out as they lie here; the zeros behind them end them. */
struct item {
    uint64_t key[2], key_end;
    uint64_t body, body_end;
    uint64_t key_head, head;
    uint64_t unused; /* 64 bytes in all */
};

/* Where a batch begins. */
struct place {
    uint64_t position, epoch;
    uint64_t last; /* the last sequence copied */
};

struct mp_dict_iter {
    struct handle handle;
    struct object *dict;
    struct place place;      /* the next batch's */
    uint64_t limit;          /* the last sequence to be met */
    struct item *next, *end; /* of the batch: not handed out yet */
    bool copies;             /* some item of the batch has one */
    bool plain;              /* all of the batch have short strings as keys and integers as values */
    struct item item[BATCH];
    char *key_copy[BATCH], *value_copy[BATCH];
};

static struct spare_handles spare;

int mp_dict_iter_create(mp_dict_iter **iter, mp_dict *dict)
{
    if (iter == NULL || !object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    mp_dict_iter *new = handle_take(&spare, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->place = (struct place){.epoch = dict_word((struct object *)dict, DICT_EPOCH)};
    new->next = new->end = new->item;
    new->copies = new->plain = false;
    new->dict = (struct object *)dict;
    new->limit = dict_word(new->dict, DICT_SEQUENCE);
    new->handle.magic = ITER_MAGIC;
    *iter = new;
    return 0;
}

static void drop_batch(mp_dict_iter *iter)
{
    for (size_t i = 0; iter->copies && i < BATCH; i++) {
        free(iter->key_copy[i]);
        free(iter->value_copy[i]);
    }
    iter->next = iter->end = iter->item;
    iter->copies = false;
}

/* ---- copying ---- */

static int copy_string(const struct heap *heap, uint64_t head, uint64_t body, char **copy)
{
    mp_value value;
    int error = cell_has_block(head) ? cell_read(heap, head, body, &value) : 0;

    *copy = error == 0 && cell_has_block(head) ? value.owned : NULL;
    return error;
}

/* The strings in blocks of their own that the batch's items refer to. What has been copied is freed with the batch. */
static int copy_strings(mp_dict_iter *iter, const struct heap *heap)
{
    int error = 0;

    memset(iter->key_copy, 0, sizeof iter->key_copy);
    memset(iter->value_copy, 0, sizeof iter->value_copy);
    iter->copies = true;
    for (size_t i = 0; error == 0 && &iter->item[i] != iter->end; i++) {
        const struct item *item = &iter->item[i];

        error = copy_string(heap, item->key_head, item->key[0], &iter->key_copy[i]);
        if (error == 0)
            error = copy_string(heap, item->head, item->body, &iter->value_copy[i]);
    }
    return error;
}

/* Bits that are all 0 if a key is a string that lies in the words, and the value is an integer. */
static inline uint64_t odd_bits(uint64_t key_head, uint64_t head)
{
    const uint64_t size = UINT64_C(31) << CELL_LENGTH_SHIFT; /* one more than KEY_INLINE, plus 15, does not fit there */

    return (((key_head + (UINT64_C(15) << CELL_LENGTH_SHIFT)) & ~size) ^ MP_STR) | (head ^ MP_INT);
}

static inline void copy_words(struct item *item, const struct entry *entry)
{
    item->key_head = dict_get(&entry->key_head);
    item->key[0] = dict_get(&entry->key_body);
    item->key[1] = dict_get(&entry->key_rest);
    item->head = dict_get(&entry->value.head);
    item->body = dict_get(&entry->value.body);
    item->key_end = item->body_end = 0;
}

/* The first position whose sequence is larger: they grow with the positions, removed ones count for nothing. */
static uint64_t find_place(const struct reading *reading, uint64_t sequence)
{
    uint64_t low = 0, high = object_read_word(reading, &reading->object->word[DICT_USED]);

    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        struct entry entry;
        bool found = true;

        for (; at < high; at++) {
            found = dict_read_entry(reading, at, &entry);
            if (!found || dict_get(&entry.sequence) != 0)
                break;
        }
        if (at < high && found && dict_get(&entry.sequence) <= sequence)
            low = at + 1;
        else
            high = middle;
    }
    return low;
}

/* Copies from consecutive entries until the batch is full or the last one to be met is met. Returns how many it has looked
 * at; *owned: what the copied words own, as their CELL_OWNS says; *odd: odd_bits(), of all. */
static uint64_t copy_run(mp_dict_iter *iter, const struct entry *entry, uint64_t run, uint64_t *owned, uint64_t *odd)
{
    const uint64_t first = iter->place.last, limit = iter->limit;
    struct item *item = iter->end, *full = iter->item + BATCH;
    const struct entry *begin = entry, *end = entry + run;
    uint64_t last = first;

    for (; entry != end && item != full; entry++) {
        uint64_t sequence = dict_get(&entry->sequence);

        if (sequence > limit)
            break;
        if (sequence <= first) /* none, or seen before */
            continue;
        /* The next batch's, which comes while this one is handed out. */
        __builtin_prefetch((const char *)(entry + BATCH));
        copy_words(item, entry);
        *owned |= item->key_head | item->head;
        *odd |= odd_bits(item->key_head, item->head);
        last = sequence;
        item++;
    }
    iter->place.last = last;
    iter->end = item;
    return (uint64_t)(entry - begin);
}

/* The same past a change, one entry after the other. */
static int copy_through(mp_dict_iter *iter, const struct reading *reading, uint64_t used, uint64_t *owned,
                        uint64_t *odd)
{
    for (; iter->place.position < used; iter->place.position++) {
        struct entry entry;

        if (!dict_read_entry(reading, iter->place.position, &entry))
            return MP_ECORRUPT;
        if (copy_run(iter, &entry, 1, owned, odd) == 0)
            break;
    }
    return 0;
}

/* What follows is believed only if the reading counts; the caller undoes it otherwise. */
static int fill_batch(mp_dict_iter *iter, const struct reading *reading)
{
    const struct object *dict = iter->dict;
    const struct heap *heap = object_heap(dict);
    uint64_t used = object_read_word(reading, &dict->word[DICT_USED]);
    uint64_t epoch = object_read_word(reading, &dict->word[DICT_EPOCH]);
    uint64_t owned = 0, odd = 0, run, done;

    if (epoch != iter->place.epoch) {
        iter->place.position = find_place(reading, iter->place.last);
        iter->place.epoch = epoch;
    }
    if (reading->version & 1) {
        int error = copy_through(iter, reading, used, &owned, &odd);

        if (error != 0)
            return error;
    } else
        do {
            const struct entry *entry = dict_entry(heap, dict, iter->place.position);

            run = SEGMENT - iter->place.position % SEGMENT;
            run = iter->place.position >= used        ? 0
                  : run < used - iter->place.position ? run
                                                      : used - iter->place.position;
            /* The entry lies in the heap as it is by now, which may have grown since this began. */
            if (run > 0 && (entry == NULL || run > (dict_get(&heap->size) - heap_offset(heap, entry)) / sizeof *entry))
                return MP_ECORRUPT;
            done = run > 0 ? copy_run(iter, entry, run, &owned, &odd) : 0;
            iter->place.position += done;
        } while (run > 0 && done == run);
    iter->plain = odd == 0;
    return owned & CELL_OWNS ? copy_strings(iter, heap) : 0;
}

/* What was copied does not count, or not all of it could be: all is as if that batch had not been begun. */
static void go_back(mp_dict_iter *iter, const struct place *place)
{
    drop_batch(iter);
    iter->place = *place;
}

/* After an error the next call tries the same batch again. */
static int next_batch(mp_dict_iter *iter)
{
    const struct place begin = iter->place;
    struct reading reading = {.object = iter->dict};

    for (unsigned tries = 0;; tries++) {
        bool patient = object_read_again(&reading, tries);

        if (!object_is(iter->dict, OBJECT_DICT))
            return MP_EINVAL;
        bool locked = !patient && object_lock_to_read(iter->dict, OBJECT_DICT) == 0;
        if (locked)
            object_read_again(&reading, 0);
        int error = fill_batch(iter, &reading);
        bool counts = object_reading_valid(&reading);
        if (locked)
            mutex_unlock(&iter->dict->mutex);
        if (!counts || error != 0)
            go_back(iter, &begin);
        if (counts)
            return error;
    }
}

/* ---- handing out ---- */

/* All of *value, a string's at `text`, without a copy made of it first. */
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

/* Strings lie in the item's words, if there is no copy of them, and must fit there. */
static int view(const struct heap *heap, uint64_t head, const uint64_t *words, uint64_t most, const char *copy,
                mp_value *value)
{
    if (!is_string(head))
        return most == KEY_INLINE ? key_number(head, words, value) : cell_read(heap, head, words[0], value);
    if ((head & CELL_OWNS) == 0 && head >> CELL_LENGTH_SHIFT > most)
        return MP_ECORRUPT;
    view_text(head, head & CELL_OWNS ? (const void *)copy : words, value);
    return 0;
}

/* Of any kind. */
static __attribute__((noinline)) int hand_out(const mp_dict_iter *iter, const struct item *item, mp_value *key,
                                              mp_value *value)
{
    const struct heap *heap = object_heap(iter->dict);
    ptrdiff_t at = item - iter->item;
    int error = 0;

    if (key != NULL)
        error = view(heap, item->key_head, item->key, KEY_INLINE, iter->key_copy[at], key);
    if (error == 0 && value != NULL)
        error = view(heap, item->head, &item->body, CELL_INLINE, iter->value_copy[at], value);
    return error;
}

/* The batch is used up, or something is wrong. */
static __attribute__((noinline)) int next_of_another_batch(mp_dict_iter *iter, mp_value *key, mp_value *value)
{
    /* What is copied already does not outlive the dict either. */
    if (!handle_is((struct handle *)iter, ITER_MAGIC) || !object_is(iter->dict, OBJECT_DICT))
        return MP_EINVAL;
    if (iter->next == iter->end) {
        drop_batch(iter);
        int error = next_batch(iter);
        if (error != 0 || iter->next == iter->end)
            return error != 0 ? error : MP_ESTOP;
    }
    return hand_out(iter, iter->next++, key, value);
}

int mp_dict_next(mp_dict_iter *iter, mp_value *key, mp_value *value)
{
    if (!handle_is((struct handle *)iter, ITER_MAGIC) || dict_get(&iter->dict->magic) != OBJECT_DICT ||
        iter->next == iter->end)
        return next_of_another_batch(iter, key, value);
    const struct item *item = iter->next++;
    if (key == NULL || value == NULL || !iter->plain)
        return hand_out(iter, item, key, value);
    /* The most frequent, at once. */
    key->type = MP_STR;
    key->size = item->key_head >> CELL_LENGTH_SHIFT;
    key->as.bytes = item->key;
    key->owned = NULL;
    cell_int(item->body, value);
    return 0;
}

int mp_dict_iter_free(mp_dict_iter *iter)
{
    if (iter == NULL)
        return 0;
    if (!handle_is((struct handle *)iter, ITER_MAGIC))
        return MP_EINVAL;
    drop_batch(iter);
    handle_put(&spare, &iter->handle);
    return 0;
}
