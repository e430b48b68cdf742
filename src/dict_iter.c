/* Iterators over a dict. They work in batches: up to BATCH entries are copied without the mutex, and believed if the version has
 * not changed meanwhile. Between batches an iterator knows the last sequence number it has seen; positions after it hold larger
 * ones. Positions change only when the dict's epoch does, and then the place is found again by that number. */
#include <stdlib.h>
#include <string.h>

#include "dict_table.h"
#include "handle.h"

#define BATCH 64
#define READ_TRIES 64
#define ITER_MAGIC UINT64_C(0x6d705f6469746572)

struct item {
    mp_value key, value; /* own memory where they hold long strings */
    char key_text[17], value_text[9];
};

struct mp_dict_iter {
    struct handle handle;
    struct object *dict;
    uint64_t position, epoch; /* where the next batch begins */
    uint64_t last, limit;     /* sequences: the last one copied, the last one to be met */
    size_t next, count;
    bool owns; /* some item of the batch owns memory */
    struct item item[BATCH];
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
    new->dict = (struct object *)dict;
    new->epoch = dict_word(new->dict, DICT_EPOCH);
    new->limit = dict_word(new->dict, DICT_SEQUENCE);
    new->handle.magic = ITER_MAGIC;
    *iter = new;
    return 0;
}

static void drop_batch(mp_dict_iter *iter)
{
    for (size_t i = 0; iter->owns && i < iter->count; i++) {
        free(iter->item[i].key.owned);
        free(iter->item[i].value.owned);
    }
    iter->next = iter->count = 0;
    iter->owns = false;
}

/* A string of at most `most` bytes lies in the words themselves: into `text`, without an allocation. */
static bool short_string(uint64_t head, const uint64_t *words, size_t most, char *text, mp_value *value)
{
    mp_type type = (mp_type)(head & CELL_TYPE);
    size_t size = head >> CELL_LENGTH_SHIFT;

    if ((type != MP_STR && type != MP_BYTES) || (head & CELL_OWNS) || size > most)
        return false;
    memcpy(text, words, most);
    text[size] = 0;
    *value = (mp_value){.type = type, .size = size, .as.str = text};
    return true;
}

static int copy_item(const struct heap *heap, const struct entry *entry, struct item *item)
{
    uint64_t key[2] = {dict_get(&entry->key_body), dict_get(&entry->key_rest)};
    uint64_t head = dict_get(&entry->value.head), body = dict_get(&entry->value.body);
    int error = 0;

    item->key.owned = item->value.owned = NULL;
    if (!short_string(dict_get(&entry->key_head), key, 16, item->key_text, &item->key))
        error = key_read(heap, entry, &item->key);
    if (error == 0 && head == MP_INT) /* the most frequent, at once */
        item->value = (mp_value){.type = MP_INT, .as.integer = (int64_t)body};
    else if (error == 0 && !short_string(head, &body, 8, item->value_text, &item->value))
        error = cell_read(heap, head, body, &item->value);
    if (error != 0)
        mp_value_free(&item->key);
    return error;
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

static int fill_batch(mp_dict_iter *iter)
{
    const struct object *dict = iter->dict;
    const struct heap *heap = object_heap(dict);
    uint64_t used = dict_word(dict, DICT_USED), epoch = dict_word(dict, DICT_EPOCH), last = iter->last;
    uint64_t position = epoch == iter->epoch ? iter->position : find_place(heap, dict, iter->last);

    for (; position < used && iter->count < BATCH; position++) {
        const struct entry *entry = dict_entry(heap, dict, position);

        if (entry == NULL)
            return MP_ECORRUPT;
        uint64_t sequence = dict_get(&entry->sequence);
        if (sequence == 0 || sequence <= iter->last)
            continue;
        if (sequence > iter->limit)
            break;
        struct item *item = &iter->item[iter->count];
        int error = copy_item(heap, entry, item);
        if (error != 0)
            return error;
        iter->owns |= item->key.owned != NULL || item->value.owned != NULL;
        iter->count++;
        last = sequence;
    }
    /* What follows is believed only if the version has not changed; the caller undoes it otherwise. */
    iter->position = position;
    iter->epoch = epoch;
    iter->last = last;
    return 0;
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
    struct item *item = &iter->item[iter->next++];
    if (key != NULL) {
        *key = item->key;
        key->owned = NULL;
    }
    if (value != NULL) {
        *value = item->value;
        value->owned = NULL;
    }
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
