#include "object/ref_table.h"

#include "base/word.h"

#include <string.h>

#define FIRST_ROOM 7

int ref_table_new(struct object *object, uint64_t count, _Atomic uint64_t *slot)
{
    struct heap *heap = object_heap(object);
    uint64_t size = (1 + (count < FIRST_ROOM ? FIRST_ROOM : count)) * 8;
    int error = heap_alloc(heap, size, slot);

    if (error == 0)
        memset(heap_at(heap, word_get(slot)), 0, size);
    return error;
}

int ref_table_reserve(struct object *object, _Atomic uint64_t *root, _Atomic uint64_t *pending)
{
    struct heap *heap = object_heap(object);
    uint64_t old = word_get(root), count = word_get(heap_at(heap, old & ~REF_MASK));

    if (1 + count < heap_block_size(heap, old & ~REF_MASK) / 8)
        return 0;
    int error = ref_table_new(object, count * 2, pending);
    if (error != 0)
        return error;
    memcpy(heap_at(heap, word_get(pending)), heap_at(heap, old & ~REF_MASK), (1 + count) * 8);
    object_begin(object);
    object_set(object, root, word_get(pending) | REF_TABLE);
    object_set(object, pending, (old & ~REF_MASK) | REF_BLOCK);
    object_commit(object);
    ref_release(heap, pending);
    return 0;
}
