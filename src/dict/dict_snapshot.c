#include "dict/dict_snapshot.h"

#include "base/word.h"
#include "dict/dict_table.h"
#include "value/key.h"

int dict_read_all(struct object *object, struct snapshot *snapshot)
{
    struct heap *heap = object_heap(object);
    _Atomic uint64_t *table = heap_at(heap, word_get(&object->root[0]) & ~REF_MASK);
    uint64_t segments = word_get(&object->root[0]) == 0 ? 0 : word_get(&table[0]);
    int error = 0;

    for (uint64_t i = 1; i <= segments; i++) {
        _Atomic uint64_t *segment = heap_at(heap, word_get(&table[i]) & ~REF_MASK);
        struct entry *entries = (struct entry *)(segment + 2);

        for (uint64_t j = 0; j < word_get(&segment[0]); j++) {
            if (word_get(&entries[j].sequence) == 0)
                continue;
            struct snapshot_item *item = &snapshot->item[snapshot->count];
            error = key_read(heap, &entries[j].key, &item->key);
            if (error == 0)
                error = cell_value(heap, &entries[j].value, &item->value);
            if (error != 0) {
                mp_value_free(&item->key);
                return error;
            }
            snapshot->count++;
        }
    }
    return 0;
}

static int try_entry(struct snapshot_attempt *attempt, const struct entry *entry)
{
    const struct heap *heap = object_heap(attempt->reading.object);
    struct snapshot_item *item = &attempt->snapshot->item[attempt->snapshot->count++];

    snapshot_add_to_sum(attempt, (const uint64_t *)entry, sizeof *entry / 8);
    int error = key_read(heap, &entry->key, &item->key);
    return error == 0 ? cell_value(heap, &entry->value, &item->value) : error;
}

int dict_try_to_read_all(struct snapshot_attempt *attempt)
{
    const struct object *dict = attempt->reading.object;
    uint64_t words[2]; /* DICT_USED, DICT_LIVE */
    struct entry entry;

    object_read_words(&attempt->reading, &dict->word[DICT_USED], 2, words);
    int error = snapshot_make_items(attempt->snapshot, words[1]);
    for (uint64_t i = 0; error == 0 && i < words[0]; i++) {
        if (!dict_read_entry(&attempt->reading, i, &entry))
            return MP_ECORRUPT;
        if (word_get(&entry.sequence) != 0)
            error = attempt->snapshot->count < words[1] ? try_entry(attempt, &entry) : MP_ECORRUPT;
    }
    return error;
}
