/* Undo logs: how a change of several words survives the death of the process that makes it, and how others read past an
 * unfinished change.
 *
 * Under the mutex of what it changes, a process writes each word's old value to the log before it stores the new one.
 * When all new values are stored, it empties the log with one store. A successor that finds records in the log puts the
 * old values back. If the successor dies meanwhile, the next one does it again.
 *
 * A process that is killed has executed a prefix of its instructions, and the memory outlives it. So for a successor
 * nothing but the order of the stores in the program counts, and only the compiler must be kept from changing it.
 *
 * READING THROUGH THE LOG. A reader without the mutex need not wait for the end of a change, which never comes while
 * the process that makes it is stopped. For each word the reader loads the value in place, then the log's state. If the
 * log names the word, the old value in the log counts, else the value in place. The order of acquire and release makes
 * this right:
 *   1. The writer stores the record, then the state that counts it, then the word. The last two are release stores.
 *   2. The reader loads the word, then the state, each with acquire. If it got the new value, the state that it loads
 *      counts the record.
 * So all words are those of before the change, if the log was not emptied between the first load and the last: the
 * state also counts how often that has happened. If the log is empty, they are the words in place.
 *
 * The first UNDO_RECORDS records lie in one block, in order. The block is there as long as there may be changes.
 * Further records lie in another block, a hash table by the word's offset, so that a reader finds one word among a
 * million at once. */
#ifndef UNDO_H
#define UNDO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define UNDO_RECORDS 32
#define UNDO_LOG_BYTES (UNDO_RECORDS * sizeof(struct undo_record))
/* The state: the number of first records that count, and above it how often the log was emptied. */
#define UNDO_COUNT UINT64_C(0xff)
#define UNDO_EMPTIED (UNDO_COUNT + 1)

struct undo_record {
    _Atomic uint64_t offset; /* of the word, from the start of the heap; in the table, 0 means no record */
    _Atomic uint64_t old;
};

struct undo {
    _Atomic uint64_t state;
    _Atomic uint64_t log; /* the first records: the heap's own log, or an owned block (object.h); 0: no changes now */
    /* The block of the table: owned; 0: none. Its records count while the state counts all first records. */
    _Atomic uint64_t more;
    _Atomic uint64_t more_capacity; /* records that fit in it; stored after it was zeroed, 0 before it is freed */
};

/* The first records, for the holder of the mutex. */
static inline struct undo_record *undo_log(const struct undo *undo, char *base)
{
    return (struct undo_record *)(void *)(base + atomic_load_explicit(&undo->log, memory_order_relaxed));
}

/* Keeps the compiler from moving stores across it. */
static inline void undo_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static inline uint64_t undo_count(const struct undo *undo)
{
    return atomic_load_explicit(&undo->state, memory_order_relaxed) & UNDO_COUNT;
}

/* Notes a word in the table, unless the table has it. The caller has seen to it that the table has room. */
__attribute__((cold)) void undo_note_more(struct undo *undo, char *base, const _Atomic uint64_t *word);

static inline void undo_write(struct undo_record *record, const char *base, const _Atomic uint64_t *word)
{
    atomic_store_explicit(&record->offset, (uint64_t)((const char *)word - base), memory_order_relaxed);
    atomic_store_explicit(&record->old, atomic_load_explicit(word, memory_order_relaxed), memory_order_relaxed);
}

/* Notes the old value of *word, then stores the new one. The caller has seen to it that the log has room. */
static inline void undo_set(struct undo *undo, char *base, _Atomic uint64_t *word, uint64_t value)
{
    uint64_t state = atomic_load_explicit(&undo->state, memory_order_relaxed), count = state & UNDO_COUNT;

    MP_ASSERT(atomic_load_explicit(&undo->log, memory_order_relaxed) != 0);
    if (__builtin_expect(count < UNDO_RECORDS, 1)) {
        undo_write(&undo_log(undo, base)[count], base, word);
        atomic_store_explicit(&undo->state, state + 1, memory_order_release);
    } else {
        undo_note_more(undo, base, word);
    }
    undo_order();
    atomic_store_explicit(word, value, memory_order_release);
}

/* Like undo_set() for several words, in fewer steps: undo_notes_begin(), undo_note() for each word, undo_notes_end(),
 * then undo_put() for the new values, in any order. Before undo_notes_end(), the state does not count these records,
 * and nothing reads them. */
struct undo_notes {
    struct undo *undo;
    char *base;
    struct undo_record *record; /* the first */
    uint64_t count; /* records in the first block; at UNDO_RECORDS, notes go to the table, and count at once */
};

/* For at most `most` notes. */
static inline struct undo_notes undo_notes_begin(struct undo *undo, char *base, uint64_t most)
{
    struct undo_record *record = undo_log(undo, base);
    uint64_t count = undo_count(undo);

    MP_ASSERT(atomic_load_explicit(&undo->log, memory_order_relaxed) != 0);
    if (count + most <= UNDO_RECORDS)
        return (struct undo_notes){undo, base, record, count};
    /* Not all notes fit in the first block. So it is filled up with records of a word that keeps its value: from then
     * on, what is in the table counts. */
    for (; count < UNDO_RECORDS; count++) {
        undo_write(&record[count], base, &undo->more);
        atomic_store_explicit(&undo->state, atomic_load_explicit(&undo->state, memory_order_relaxed) + 1,
                              memory_order_release);
    }
    return (struct undo_notes){undo, base, record, UNDO_RECORDS};
}

static inline void undo_note(struct undo_notes *notes, const _Atomic uint64_t *word)
{
    if (__builtin_expect(notes->count < UNDO_RECORDS, 1))
        undo_write(&notes->record[notes->count++], notes->base, word);
    else
        undo_note_more(notes->undo, notes->base, word);
}

static inline void undo_notes_end(const struct undo_notes *notes)
{
    uint64_t state = atomic_load_explicit(&notes->undo->state, memory_order_relaxed);

    MP_ASSERT(notes->count >= (state & UNDO_COUNT) && notes->count <= UNDO_RECORDS);
    undo_order();
    atomic_store_explicit(&notes->undo->state, (state & ~UNDO_COUNT) + notes->count, memory_order_release);
    undo_order();
}

static inline void undo_put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

/* Empties the log: from here on the new values stand. Later stores are not seen before that. */
static inline void undo_commit(struct undo *undo)
{
    uint64_t state = atomic_load_explicit(&undo->state, memory_order_relaxed);

    undo_order();
    atomic_store_explicit(&undo->state, (state & ~UNDO_COUNT) + UNDO_EMPTIED, memory_order_release);
    atomic_thread_fence(memory_order_release);
    undo_order();
}

/* Puts the old values back and empties the log. The caller holds the mutex. False, and nothing is changed: the log is
 * damaged, as it names words that are not below `end`. */
bool undo_roll_back(struct undo *undo, char *base, uint64_t end);
/* Whether every record, and the word that it names, lies below `end`, and visit() is true for the word (NULL: for
 * any). */
typedef bool undo_visitor(const void *context, uint64_t offset);
bool undo_is_sound(const struct undo *undo, const char *base, uint64_t end, undo_visitor *visit, const void *context);

/* Makes the block that undo->more owns the table, with no record in it. */
void undo_take_table(struct undo *undo, char *base, uint64_t capacity);
/* The capacity of a table for that many different words: with room to spare, so that searches are short. */
static inline uint64_t undo_capacity(uint64_t words)
{
    return (words + words / 2) / 8 * 8 + 16;
}

/* Reads `count` consecutive words, at most UNDO_READ, through the log, without the mutex. `end` is the end of the heap.
 * The words are those of one state if the log is not emptied between the first call and the last: if undo_emptied()
 * returns the same before and after. */
#define UNDO_READ 8
void undo_read(const struct undo *undo, const char *base, uint64_t end, const _Atomic uint64_t *first, size_t count,
               uint64_t *words);
static inline uint64_t undo_emptied(const struct undo *undo)
{
    return atomic_load_explicit(&undo->state, memory_order_acquire) & ~UNDO_COUNT;
}

#endif
