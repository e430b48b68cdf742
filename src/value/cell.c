#include "value/cell.h"

#include "base/word.h"

static _Atomic uint64_t *next_ref(void *items, uint64_t count, uint64_t *at)
{
    struct cell *cells = items;

    for (struct cell *cell = &cells[*at]; cell < &cells[count]; cell++) {
        if (__builtin_expect((word_get(&cell->head) & CELL_OWNS) != 0, 0)) {
            *at = (uint64_t)(cell - cells) + 1;
            return &cell->body;
        }
    }
    return NULL;
}

const struct block_kind cell_blocks = {.name = "cells", .item = sizeof(struct cell), .next_ref = next_ref};
