#include "undo.h"

/* Whether every record lies where records can, and names a word below `end`. */
static bool is_sound(struct undo *undo, char *base, uint64_t count, uint64_t end)
{
    uint64_t more = atomic_load_explicit(&undo->more, memory_order_relaxed);

    if (count > UNDO_RECORDS && (more == 0 || more % 16 != 0 || more > end || undo->more_capacity > (end - more) / 16 ||
                                 count - UNDO_RECORDS > undo->more_capacity))
        return false;
    for (uint64_t i = 0; i < count; i++) {
        const struct undo_record *record = undo_slot(undo, base, i);

        if (record->offset % 8 != 0 || record->offset > end - 8)
            return false;
    }
    return true;
}

bool undo_roll_back(struct undo *undo, char *base, uint64_t end)
{
    uint64_t count = atomic_load_explicit(&undo->count, memory_order_relaxed);

    if (!is_sound(undo, base, count, end))
        return false;
    for (; count > 0; count--) {
        struct undo_record *record = undo_slot(undo, base, count - 1);
        _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(base + record->offset);

        atomic_store_explicit(word, record->old, memory_order_relaxed);
        undo_order();
        atomic_store_explicit(&undo->count, count - 1, memory_order_relaxed);
        undo_order();
    }
    return true;
}
