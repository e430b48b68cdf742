/* Undo logs: how a change of several words survives the death of the process that makes it, and how it is read past.
 *
 * Under the mutex of what it changes, a process writes each word's old value to the log before it stores the new one,
 * and empties the log with one store when all are done. A successor that finds records in the log puts the old values
 * back. Dying while doing so only means that the next one does it again.
 *
 * A process that is killed has executed a prefix of its instructions, and the memory outlives it. So for a successor
 * nothing but the order of the stores in the program counts, and it is the compiler alone that must be kept from
 * changing it.
 *
 * READING THROUGH THE LOG. A reader without the mutex need not wait for the end of a change, which never comes while
 * the process that makes it is stopped. Of each word it loads the value in place, then the log's state; if the log
 * names the word, the old value there counts, else the one in place:
 *   1. The record is written, then the state that counts it, then the word; each of the last two is a release store.
 *   2. The reader loads the word, then the state, each with acquire. If it has got the new value, the record is
 *      counted.
 * So all words are those of before the change, if the log was not emptied between the first load and the last: the
 * state also counts how often that has happened. With a log that holds nothing, they are the words in place.
 *
 * The first UNDO_RECORDS records lie in one block, in order, which is there as long as there may be changes. Further
 * ones lie in another, a hash table by the word's offset, so that a reader finds a word among a million others at
 * once. */
#ifndef UNDO_H
#define UNDO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define UNDO_RECORDS 32
#define UNDO_LOG_BYTES (UNDO_RECORDS * sizeof(struct undo_record))
/* state: the first records that count, and above them how often the log was emptied. */
#define UNDO_COUNT UINT64_C(0xff)
#define UNDO_EMPTIED (UNDO_COUNT + 1)

struct undo_record {
    _Atomic uint64_t offset; /* of the word, from the start of the heap. In the table: 0: no record */
    _Atomic uint64_t old;
};

struct undo {
    _Atomic uint64_t state;
    _Atomic uint64_t log; /* where the first records lie: an owned block, see object.h. 0: there are no changes now */
    /* The table, 0: none. An owned block. What is in it counts while all of the first records do. */
    _Atomic uint64_t more;
    _Atomic uint64_t
        more_capacity; /* records that fit in it; not 0 only while `more` is there, with no record when that began */
};

/* For who has the mutex. */
static inline struct undo_record *undo_log(const struct undo *undo, char *base)
{
    return (struct undo_record *)(void *)(base + atomic_load_explicit(&undo->log, memory_order_relaxed));
}

/* Keeps the compiler from moving stores across. */
static inline void undo_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static inline uint64_t undo_count(const struct undo *undo)
{
    return atomic_load_explicit(&undo->state, memory_order_relaxed) & UNDO_COUNT;
}

/* Notes a word in the table, unless it is noted there. There must be room for it. */
__attribute__((cold)) void undo_note_more(struct undo *undo, char *base, const _Atomic uint64_t *word);

static inline void undo_write(struct undo_record *record, const char *base, const _Atomic uint64_t *word)
{
    atomic_store_explicit(&record->offset, (uint64_t)((const char *)word - base), memory_order_relaxed);
    atomic_store_explicit(&record->old, atomic_load_explicit(word, memory_order_relaxed), memory_order_relaxed);
}

/* Notes the old value of *word, then stores the new one. There must be room for the record. */
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

/* The same of several words, in fewer steps: undo_notes_begin(), undo_note() each of them, undo_notes_end(), then
 * undo_put() the new values, in any order. Until the notes end, nobody minds what is in them. */
struct undo_notes {
    struct undo *undo;
    char *base;
    struct undo_record *record; /* the first */
    uint64_t count;             /* UNDO_RECORDS: further notes go to the table, and count at once */
};

/* For at most `most` notes. */
static inline struct undo_notes undo_notes_begin(struct undo *undo, char *base, uint64_t most)
{
    struct undo_record *record = undo_log(undo, base);
    uint64_t count = undo_count(undo);

    MP_ASSERT(atomic_load_explicit(&undo->log, memory_order_relaxed) != 0);
    if (count + most <= UNDO_RECORDS)
        return (struct undo_notes){undo, base, record, count};
    /* Where not all fit in the first block, it is filled up: what is in the table counts from then on. */
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

/* From here the new values stand, and the log is empty. Nothing that follows is seen before. */
static inline void undo_commit(struct undo *undo)
{
    uint64_t state = atomic_load_explicit(&undo->state, memory_order_relaxed);

    undo_order();
    atomic_store_explicit(&undo->state, (state & ~UNDO_COUNT) + UNDO_EMPTIED, memory_order_release);
    atomic_thread_fence(memory_order_release);
    undo_order();
}

/* Puts the old values back and empties the log. False, and nothing is changed: the log is damaged, it names words that
 * are not below `end`. */
bool undo_roll_back(struct undo *undo, char *base, uint64_t end);
/* Whether every record lies below `end`, and what it names, for which visit() is true. */
typedef bool undo_visitor(const void *context, uint64_t offset);
bool undo_is_sound(const struct undo *undo, const char *base, uint64_t end, undo_visitor *visit, const void *context);

/* For a block of records: makes it the table, empty. Nothing counts. */
void undo_take_table(struct undo *undo, char *base, uint64_t capacity);
/* Records that a table needs for so many different words, so that what is looked for is soon found. */
static inline uint64_t undo_capacity(uint64_t words)
{
    return (words + words / 2) / 8 * 8 + 16;
}

/* Reads `count` consecutive words, at most UNDO_READ, through the log, without the mutex. They are those of one state
 * if the log is not emptied between the first call and the last: undo_emptied() is the same before and after. `end`:
 * the heap's. */
#define UNDO_READ 8
void undo_read(const struct undo *undo, const char *base, uint64_t end, const _Atomic uint64_t *first, size_t count,
               uint64_t *words);
static inline uint64_t undo_emptied(const struct undo *undo)
{
    return atomic_load_explicit(&undo->state, memory_order_acquire) & ~UNDO_COUNT;
}

#endif
