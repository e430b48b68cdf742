/* The tables of kinds of objects (object_kind.h) and of blocks (ref.h). */
#include "dict/dict_kind.h"
#include "list/list_kind.h"
#include "manager/memory.h"
#include "primitives/lock.h"
#include "value/cell.h"

const struct object_kind *const object_kinds[] = {&dict_kind, &list_kind, &lock_kind, &memory_kind, NULL};

const struct block_kind *const block_kinds[REF_MASK + 1] = {[REF_CELLS] = &cell_blocks, [REF_ENTRIES] = &entry_blocks};
