/* Undo records: how a change of several words survives the death of the process that makes it.
 *
 * Under the mutex of what it changes, a process writes each word's old value to the log before it stores the new one, and
 * empties the log with one store when all are done. A successor that finds records in the log puts the old values back,
 * newest first. Dying while doing so only means that the next one does it again.
 *
 * A process that is killed has executed a prefix of its instructions, and the memory outlives it. So nothing but the
 * order of the stores in the program counts, and it is the compiler alone that must be kept from changing it. */
#ifndef UNDO_H
#define UNDO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define UNDO_RECORDS 32

struct undo_record {
    uint64_t offset; /* of the word, from the start of the heap */
    uint64_t old;
};

struct undo {
    _Atomic uint64_t count; /* records that count */
    struct undo_record record[UNDO_RECORDS];
    _Atomic uint64_t more;  /* a block with room for further records, 0: none. An owned block, see object.h */
    uint64_t more_capacity; /* records that fit in it; written after `more`, while there are no records */
};

/* Keeps the compiler from moving stores across. */
static inline void undo_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static inline struct undo_record *undo_slot(struct undo *undo, char *base, uint64_t index)
{
    if (index < UNDO_RECORDS)
        return &undo->record[index];
    return (struct undo_record *)(base + atomic_load_explicit(&undo->more, memory_order_relaxed)) +
           (index - UNDO_RECORDS);
}

/* Notes the old value of *word, then stores the new one. There must be room for the record. */
static inline void undo_set(struct undo *undo, char *base, _Atomic uint64_t *word, uint64_t value)
{
    uint64_t count = atomic_load_explicit(&undo->count, memory_order_relaxed);
    struct undo_record *record = undo_slot(undo, base, count);

    record->offset = (uint64_t)((char *)word - base);
    record->old = atomic_load_explicit(word, memory_order_relaxed);
    undo_order();
    atomic_store_explicit(&undo->count, count + 1, memory_order_relaxed);
    undo_order();
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* The same of several words, in fewer steps: from `at` = undo_notes() on undo_note() each of them, then undo_noted(), then store
 * the new values, in any order. Until the records count, nobody minds what is in them. */
static inline uint64_t undo_notes(const struct undo *undo)
{
    return atomic_load_explicit(&undo->count, memory_order_relaxed);
}

static inline void undo_note(struct undo *undo, char *base, uint64_t at, const _Atomic uint64_t *word)
{
    struct undo_record *record = undo_slot(undo, base, at);

    record->offset = (uint64_t)((const char *)word - base);
    record->old = atomic_load_explicit(word, memory_order_relaxed);
}

static inline void undo_noted(struct undo *undo, uint64_t count)
{
    undo_order();
    atomic_store_explicit(&undo->count, count, memory_order_relaxed);
    undo_order();
}

/* From here the new values stand. */
static inline void undo_commit(struct undo *undo)
{
    undo_order();
    atomic_store_explicit(&undo->count, 0, memory_order_relaxed);
    undo_order();
}

/* Puts the old values back. False, and nothing is changed: the log is damaged, it names words that are not below `end`. */
bool undo_roll_back(struct undo *undo, char *base, uint64_t end);

#endif
