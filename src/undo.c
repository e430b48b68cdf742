#include "undo.h"

void undo_roll_back(struct undo *undo, char *base)
{
    for (;;) {
        uint64_t count = atomic_load_explicit(&undo->count, memory_order_relaxed);

        if (count == 0)
            return;
        struct undo_record *record = undo_slot(undo, base, count - 1);
        _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(base + record->offset);
        atomic_store_explicit(word, record->old, memory_order_relaxed);
        undo_order();
        atomic_store_explicit(&undo->count, count - 1, memory_order_relaxed);
        undo_order();
    }
}
