#include "value/cell.h"

#include "base/word.h"

static _Atomic uint64_t *next_ref(void *items, uint64_t count, uint64_t *at)
{
    struct cell *cells = items;

    for (uint64_t i = *at; i < count; i++) {
        if ((word_get(&cells[i].head) & CELL_OWNS) == 0)
            continue;
        *at = i + 1;
        return &cells[i].body;
    }
    return NULL;
}

const struct block_kind cell_blocks = {.name = "cells", .item = sizeof(struct cell), .next_ref = next_ref};
