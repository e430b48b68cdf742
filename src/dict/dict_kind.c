#include "dict/dict_kind.h"

#include "base/word.h"
#include "dict/dict_check.h"
#include "dict/dict_index.h"
#include "dict/dict_snapshot.h"

static uint64_t count(const struct object *dict)
{
    return dict_word(dict, DICT_LIVE);
}

const struct object_kind dict_kind = {
    .name = "dict",
    .kind = OBJECT_DICT,
    .type = MP_DICT,
    .keyed = true,
    .words = DICT_WORDS,
    .roots = 2,
    .is_sound = dict_is_sound,
    .count = count,
    .read = dict_read_all,
    .try_to_read = dict_try_to_read_all,
};

/* Each entry is visited twice: for its key, then for its value. */
static _Atomic uint64_t *next_ref(void *items, uint64_t count, uint64_t *at)
{
    struct entry *entries = items;

    while (*at < 2 * count) {
        struct entry *entry = &entries[*at / 2];
        bool key = (*at)++ % 2 == 0;

        if (word_get(&entry->sequence) != 0 && word_get(key ? &entry->key.head : &entry->value.head) & CELL_OWNS)
            return key ? &entry->key.body : &entry->value.body;
    }
    return NULL;
}

const struct block_kind entry_blocks = {.name = "entries", .item = sizeof(struct entry), .next_ref = next_ref};
