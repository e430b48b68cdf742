#include "value/content_check.h"

#include "base/word.h"

bool string_is_sound(const struct heap *heap, uint64_t head, uint64_t body, uint64_t most)
{
    uint64_t size = head >> CELL_LENGTH_SHIFT;

    if ((head & CELL_OWNS) == 0)
        return size <= most;
    return size > most && body != 0 && (body & REF_MASK) == REF_BLOCK && size <= heap_block_size(heap, body);
}

static bool container_is_sound(const struct heap *heap, uint64_t head, uint64_t body)
{
    const struct object_kind *kind = object_kind_of_type((mp_type)(head & CELL_TYPE));

    if (kind == NULL || (head >> 9 & 127) != 0 || head >> CELL_LENGTH_SHIFT >= OBJECT_GENERATIONS ||
        (head & CELL_OWNS) == 0 || body == 0 || (body & REF_MASK) != REF_OBJECT)
        return false;
    return object_is(cell_handle(heap, head, body), kind->kind);
}

bool cell_is_sound(const struct heap *heap, const struct cell *cell)
{
    uint64_t head = word_get(&cell->head), body = word_get(&cell->body);

    switch (head & CELL_TYPE) {
    case MP_NONE:
    case MP_BOOL:
    case MP_INT:
    case MP_FLOAT:
        return head <= MP_FLOAT;
    case MP_STR:
    case MP_BYTES:
        return (head >> 9 & 127) == 0 && string_is_sound(heap, head, body, 8);
    default:
        return container_is_sound(heap, head, body);
    }
}

bool segments_are_sound(const struct object *object, enum ref_kind kind, uint64_t missing)
{
    uint64_t directory = word_get(&object->root[0]);

    if ((directory & REF_MASK) != REF_TABLE)
        return false;
    _Atomic uint64_t *table = ref_block(object, directory);
    uint64_t count = word_get(&table[0]);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t ref = word_get(&table[1 + i]);

        if (ref == 0 && i < missing && count > 1)
            continue;
        if ((ref & ~REF_MASK) == 0 || (ref & REF_MASK) != kind)
            return false;
        uint64_t items = word_get(ref_block(object, ref));
        if (count > 1 ? items != SEGMENT : items == 0 || items > SEGMENT)
            return false;
    }
    return count > 0;
}
