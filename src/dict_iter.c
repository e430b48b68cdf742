/* Iterators over a dict. They work in batches: the words of up to BATCH entries are copied without the mutex, and believed if the
 * version has not changed meanwhile; what is handed out is made of those words, one entry at a time. Between batches an iterator
 * knows the last sequence number it has seen; positions after it hold larger ones. Positions change only when the dict's epoch
 * does, and then the place is found again by that number. */
#include <stdlib.h>
#include <string.h>

#include "dict_table.h"
#include "handle.h"

#define BATCH 64
#define READ_TRIES 64
#define ITER_MAGIC UINT64_C(0x6d705f6469746572)

/* The words of an entry. Where they own a string's block, that string has been copied to `key_copy` or `value_copy`. */
struct item {
    uint64_t key_head, key[2];
    uint64_t head, body;
};

struct mp_dict_iter {
    struct handle handle;
    struct object *dict;
    uint64_t position, epoch; /* where the next batch begins */
    uint64_t last, limit;     /* sequences: the last one copied, the last one to be met */
    size_t next, count;
    bool copies; /* some item of the batch has one */
    struct item item[BATCH];
    char *key_copy[BATCH], *value_copy[BATCH];
    char key_text[KEY_INLINE + 1],
        value_text[CELL_INLINE + 1]; /* of the one handed out last, if they are short strings */
};

static struct spare_handles spare;

int mp_dict_iter_create(mp_dict_iter **iter, mp_dict *dict)
{
    if (iter == NULL || !object_is(dict, OBJECT_DICT))
        return MP_EINVAL;
    mp_dict_iter *new = handle_take(&spare, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->position = new->last = 0;
    new->next = new->count = 0;
    new->copies = false;
    new->dict = (struct object *)dict;
    new->epoch = dict_word(new->dict, DICT_EPOCH);
    new->limit = dict_word(new->dict, DICT_SEQUENCE);
    new->handle.magic = ITER_MAGIC;
    *iter = new;
    return 0;
}

static void drop_batch(mp_dict_iter *iter)
{
    for (size_t i = 0; iter->copies && i < iter->count; i++) {
        free(iter->key_copy[i]);
        free(iter->value_copy[i]);
    }
    iter->next = iter->count = 0;
    iter->copies = false;
}

/* ---- copying ---- */

static bool is_long_string(uint64_t head)
{
    return (head & CELL_OWNS) && ((head & CELL_TYPE) == MP_STR || (head & CELL_TYPE) == MP_BYTES);
}

static int copy_string(const struct heap *heap, uint64_t head, uint64_t body, char **copy)
{
    mp_value value;
    int error = is_long_string(head) ? cell_read(heap, head, body, &value) : 0;

    *copy = error == 0 && is_long_string(head) ? value.owned : NULL;
    return error;
}

/* The strings in blocks of their own that an item refers to. */
static int copy_strings(mp_dict_iter *iter, const struct heap *heap, size_t at)
{
    const struct item *item = &iter->item[at];

    if (!iter->copies) {
        memset(iter->key_copy, 0, sizeof iter->key_copy);
        memset(iter->value_copy, 0, sizeof iter->value_copy);
        iter->copies = true;
    }
    int error = copy_string(heap, item->key_head, item->key[0], &iter->key_copy[at]);
    if (error == 0)
        error = copy_string(heap, item->head, item->body, &iter->value_copy[at]);
    if (error != 0) {
        free(iter->key_copy[at]);
        iter->key_copy[at] = NULL;
    }
    return error;
}

static inline void copy_words(struct item *item, const struct entry *entry)
{
    item->key_head = dict_get(&entry->key_head);
    item->key[0] = dict_get(&entry->key_body);
    item->key[1] = dict_get(&entry->key_rest);
    item->head = dict_get(&entry->value.head);
    item->body = dict_get(&entry->value.body);
}

/* The first position whose sequence is larger: they grow with the positions, removed ones count for nothing. */
static uint64_t find_place(const struct heap *heap, const struct object *dict, uint64_t sequence)
{
    uint64_t low = 0, high = dict_word(dict, DICT_USED);

    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        const struct entry *entry = NULL;

        for (; at < high; at++) {
            entry = dict_entry(heap, dict, at);
            if (entry == NULL || dict_get(&entry->sequence) != 0)
                break;
        }
        if (at < high && entry != NULL && dict_get(&entry->sequence) <= sequence)
            low = at + 1;
        else
            high = middle;
    }
    return low;
}

/* Copies from consecutive entries. False: the batch is full, or the last one to be met was met, or an error. */
static bool copy_run(mp_dict_iter *iter, const struct heap *heap, const struct entry *entry, uint64_t run, int *error)
{
    const uint64_t first = iter->last, limit = iter->limit;
    size_t count = iter->count;
    uint64_t i = 0, last = first;

    for (; i < run && count < BATCH && *error == 0; i++, entry++) {
        uint64_t sequence = dict_get(&entry->sequence);

        if (sequence > limit)
            break;
        if (sequence <= first) /* none, or seen before */
            continue;
        copy_words(&iter->item[count], entry);
        if ((iter->item[count].key_head | iter->item[count].head) & CELL_OWNS)
            *error = copy_strings(iter, heap, count);
        last = sequence;
        count++;
    }
    iter->position += i;
    iter->last = last;
    iter->count = count;
    return i == run && *error == 0;
}

/* What follows is believed only if the version has not changed; the caller undoes it otherwise. */
static int fill_batch(mp_dict_iter *iter)
{
    const struct object *dict = iter->dict;
    const struct heap *heap = object_heap(dict);
    uint64_t used = dict_word(dict, DICT_USED), epoch = dict_word(dict, DICT_EPOCH), end = dict_get(&heap->size);
    int error = 0;
    bool more = true;

    if (epoch != iter->epoch) {
        iter->position = find_place(heap, dict, iter->last);
        iter->epoch = epoch;
    }
    while (more && iter->position < used) {
        const struct entry *entry = dict_entry(heap, dict, iter->position);
        uint64_t run = DICT_SEGMENT - iter->position % DICT_SEGMENT;

        run = run < used - iter->position ? run : used - iter->position;
        if (entry == NULL || run > (end - heap_offset(heap, entry)) / sizeof *entry)
            return MP_ECORRUPT;
        more = copy_run(iter, heap, entry, run, &error);
    }
    return error;
}

static int next_batch(mp_dict_iter *iter)
{
    uint64_t position = iter->position, epoch = iter->epoch, last = iter->last;

    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t version;

        if (!object_read_begin(iter->dict, &version))
            continue;
        if (!object_is(iter->dict, OBJECT_DICT))
            return MP_EINVAL;
        int error = fill_batch(iter);
        if (object_read_valid(iter->dict, version))
            return error;
        drop_batch(iter);
        iter->position = position;
        iter->epoch = epoch;
        iter->last = last;
    }
    int error = object_lock(iter->dict, OBJECT_DICT);
    if (error != 0)
        return error;
    error = fill_batch(iter);
    object_unlock(iter->dict);
    return error;
}

/* ---- handing out ---- */

static mp_value view_of_copy(uint64_t head, const char *copy)
{
    return (mp_value){.type = (mp_type)(head & CELL_TYPE), .size = head >> CELL_LENGTH_SHIFT, .as.str = copy};
}

static inline int view_key(mp_dict_iter *iter, size_t at, mp_value *key)
{
    const struct item *item = &iter->item[at];

    if (item->key_head & CELL_OWNS) {
        *key = view_of_copy(item->key_head, iter->key_copy[at]);
        return 0;
    }
    return key_view(item->key_head, item->key, iter->key_text, key);
}

static inline int view_value(mp_dict_iter *iter, size_t at, mp_value *value)
{
    const struct item *item = &iter->item[at];

    if (item->head == MP_INT) { /* the most frequent, at once */
        *value = (mp_value){.type = MP_INT, .as.integer = (int64_t)item->body};
        return 0;
    }
    if (is_long_string(item->head)) {
        *value = view_of_copy(item->head, iter->value_copy[at]);
        return 0;
    }
    return cell_view_short(object_heap(iter->dict), item->head, item->body, iter->value_text, value);
}

int mp_dict_next(mp_dict_iter *iter, mp_value *key, mp_value *value)
{
    /* What is copied already does not outlive the dict either. */
    if (!handle_is((struct handle *)iter, ITER_MAGIC) || !object_is(iter->dict, OBJECT_DICT))
        return MP_EINVAL;
    if (iter->next == iter->count) {
        drop_batch(iter);
        int error = next_batch(iter);
        if (error != 0) {
            drop_batch(iter);
            return error;
        }
        if (iter->count == 0)
            return MP_ESTOP;
    }
    size_t at = iter->next++;
    int error = key != NULL ? view_key(iter, at, key) : 0;
    return error == 0 && value != NULL ? view_value(iter, at, value) : error;
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
