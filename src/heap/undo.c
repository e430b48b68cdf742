#include "heap/undo.h"

#include <string.h>

#include "base/delay.h"
#include "base/word.h"

/* Words of one cache line are neighbours in the table, too: a change that notes one word often notes the next. */
#define LINE_WORDS UINT64_C(8)

/* ---- the table ---- */

struct table {
    struct undo_record *record;
    uint64_t capacity; /* 0: there is none */
};

/* The first records. NULL: there are none; or the word is damaged; or, for a reader without the mutex, the change is
 * over and the block was freed. */
static struct undo_record *log_of(const struct undo *undo, const char *base, uint64_t end)
{
    uint64_t log = word_get(&undo->log);

    if (log == 0 || log % 8 != 0 || log > end - UNDO_LOG_BYTES)
        return NULL;
    return (struct undo_record *)(void *)((char *)(uintptr_t)base + log);
}

/* The table, as the holder of the mutex has it. A reader without the mutex may get one that is not there any more; it
 * notices when it sees that the log was emptied meanwhile. The table lies below `end` in any case. */
static struct table table_of(const struct undo *undo, const char *base, uint64_t end)
{
    uint64_t more = word_get(&undo->more), capacity = word_get(&undo->more_capacity);
    struct table table = {.capacity = 0};

    if (more == 0 || more % 16 != 0 || more >= end || capacity > (end - more) / sizeof(struct undo_record) ||
        capacity % LINE_WORDS != 0)
        return table;
    table.record = (struct undo_record *)(void *)((char *)(uintptr_t)base + more);
    table.capacity = capacity;
    return table;
}

/* Where the search for a word begins: at a hash of its cache line, scaled to the number of lines of the table. */
static uint64_t place_of(const struct table *table, uint64_t offset)
{
    uint64_t word = offset / 8;
    uint64_t hash = word / LINE_WORDS * UINT64_C(0x9e3779b97f4a7c15) >> 32;

    return (hash * (table->capacity / LINE_WORDS) >> 32) * LINE_WORDS + word % LINE_WORDS;
}

/* The record of a word, or the empty record that it would get. NULL: there is neither, as the table is full. */
static struct undo_record *find(const struct table *table, uint64_t offset)
{
    uint64_t at = table->capacity > 0 ? place_of(table, offset) : 0;

    for (uint64_t i = 0; i < table->capacity; i++, at++) {
        struct undo_record *record = &table->record[at < table->capacity ? at : (at = 0)];
        uint64_t found = atomic_load_explicit(&record->offset, memory_order_acquire);

        if (found == offset || found == 0)
            return record;
    }
    return NULL;
}

void undo_take_table(struct undo *undo, char *base, uint64_t capacity)
{
    memset(base + word_get(&undo->more), 0, capacity * sizeof(struct undo_record));
    undo_order();
    atomic_store_explicit(&undo->more_capacity, capacity, memory_order_release);
}

/* The old value is stored before the offset, which makes the record count. */
void undo_note_more(struct undo *undo, char *base, const _Atomic uint64_t *word)
{
    uint64_t offset = (uint64_t)((const char *)word - base);
    struct table table = table_of(undo, base, UINT64_MAX);
    struct undo_record *record = find(&table, offset);

    MP_ASSERT(record != NULL);
    if (record == NULL || word_get(&record->offset) != 0)
        return;
    atomic_store_explicit(&record->old, word_get(word), memory_order_relaxed);
    undo_order();
    atomic_store_explicit(&record->offset, offset, memory_order_release);
    undo_order();
}

/* ---- rolling back ---- */

struct names {
    const struct undo *undo;
    const char *base;
    uint64_t end;
    struct table table;
    undo_visitor *visit;
    const void *context;
};

static bool is_between(uint64_t offset, uint64_t start, uint64_t size)
{
    return offset - start < size;
}

/* A word of the log itself must not be put back: that would change what is put back after it. The word undo->more is an
 * exception: undo_notes_begin() notes it, with the value that it has. */
static bool is_sound_word(const struct names *names, uint64_t offset)
{
    uint64_t undo = (uint64_t)((const char *)names->undo - names->base);

    if (offset % 8 != 0 || offset > names->end - 8 || is_between(offset, undo, offsetof(struct undo, more)) ||
        is_between(offset, undo + offsetof(struct undo, more_capacity), 8) ||
        is_between(offset, word_get(&names->undo->log), UNDO_LOG_BYTES) ||
        is_between(offset, word_get(&names->undo->more), names->table.capacity * sizeof(struct undo_record)))
        return false;
    return names->visit == NULL || names->visit(names->context, offset);
}

bool undo_is_sound(const struct undo *undo, const char *base, uint64_t end, undo_visitor *visit, const void *context)
{
    const struct undo_record *record = log_of(undo, base, end);
    uint64_t count = undo_count(undo), more = word_get(&undo->more);

    struct table table = table_of(undo, base, end);
    const struct names names = {undo, base, end, table, visit, context};

    if (count > UNDO_RECORDS || (count > 0 && record == NULL))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        if (!is_sound_word(&names, word_get(&record[i].offset)))
            return false;
    }
    if (count < UNDO_RECORDS || more == 0)
        return true;
    for (uint64_t i = 0; i < table.capacity; i++) {
        uint64_t offset = word_get(&table.record[i].offset);

        if (offset != 0 && !is_sound_word(&names, offset))
            return false;
    }
    return table.capacity == word_get(&undo->more_capacity);
}

static void put_back(char *base, const struct undo_record *record)
{
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(base + word_get(&record->offset));

    atomic_store_explicit(word, word_get(&record->old), memory_order_relaxed);
}

/* All records stay in the log until the last is put back. So readers see the same state all the time, and a process
 * that starts over after a death does the same again. The oldest record of a word is put back last: the first records
 * are older than those in the table. */
bool undo_roll_back(struct undo *undo, char *base, uint64_t end)
{
    uint64_t count = undo_count(undo);

    if (!undo_is_sound(undo, base, end, NULL, NULL))
        return false;
    const struct undo_record *record = log_of(undo, base, end);
    struct table table = table_of(undo, base, end);
    for (uint64_t i = 0; count == UNDO_RECORDS && i < table.capacity; i++) {
        if (word_get(&table.record[i].offset) != 0)
            put_back(base, &table.record[i]);
    }
    for (; count > 0; count--)
        put_back(base, &record[count - 1]);
    undo_commit(undo);
    return true;
}

/* ---- reading ---- */

/* The oldest record of a word counts. So the table is read first, then the first records from the last to the first,
 * and a later find replaces an earlier one. */
void undo_read(const struct undo *undo, const char *base, uint64_t end, const _Atomic uint64_t *first, size_t count,
               uint64_t *words)
{
    uint64_t offset = (uint64_t)((const char *)first - base);

    for (size_t i = 0; i < count; i++)
        words[i] = atomic_load_explicit(&first[i], memory_order_acquire);
    uint64_t records = atomic_load_explicit(&undo->state, memory_order_acquire) & UNDO_COUNT;
    const struct undo_record *record = log_of(undo, base, end);
    if (record == NULL)
        return;
    if (records >= UNDO_RECORDS) {
        struct table table = table_of(undo, base, end);

        records = UNDO_RECORDS;
        for (size_t i = 0; i < count; i++) {
            const struct undo_record *found = find(&table, offset + 8 * i);

            DELAY_POINT();
            /* A record that was empty when it was found may be another word's by now. */
            if (found != NULL && atomic_load_explicit(&found->offset, memory_order_acquire) == offset + 8 * i)
                words[i] = word_get(&found->old);
        }
    }
    while (records-- > 0) {
        uint64_t at = word_get(&record[records].offset) - offset;

        if (at < 8 * count)
            words[at / 8] = word_get(&record[records].old);
    }
}
