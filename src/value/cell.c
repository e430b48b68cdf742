#include "value/cell.h"

#include "base/word.h"

static _Atomic uint64_t *next_ref(void *items, uint64_t count, uint64_t *at)
{
    struct cell *cells = items;

    while (*at < count) {
        struct cell *cell = &cells[(*at)++];

        if (word_get(&cell->head) & CELL_OWNS)
            return &cell->body;
    }
    return NULL;
}

const struct block_kind cell_blocks = {.name = "cells", .item = sizeof(struct cell), .next_ref = next_ref};
