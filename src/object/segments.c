#include "object/segments.h"

#include <string.h>

#include "base/word.h"

uint64_t segments_read_place(const struct reading *reading, uint64_t position, uint64_t size)
{
    const struct heap *heap = object_heap(reading->object);
    uint64_t end = word_get(&heap->size), directory = object_read_word(reading, &reading->object->root[0]) & ~REF_MASK;
    uint64_t word = directory + 8 * (1 + position / SEGMENT);

    if (word >= end)
        return 0;
    uint64_t segment = object_read_word(reading, heap_at(heap, word)) & ~REF_MASK;
    uint64_t place = segment + BLOCK_ITEMS + position % SEGMENT * size;
    return place > end - size ? 0 : place;
}

uint64_t segments_capacity(const struct object *object)
{
    uint64_t directory = word_get(&object->root[0]);

    if (directory == 0)
        return 0;
    _Atomic uint64_t *table = ref_block(object, directory);
    uint64_t count = word_get(&table[0]);
    return count == 1 ? word_get(ref_block(object, word_get(&table[1]))) : count * SEGMENT;
}

static uint64_t segment_size(enum ref_kind kind, uint64_t count)
{
    return BLOCK_ITEMS + count * block_kinds[kind]->item;
}

int segment_new(struct heap *heap, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot)
{
    uint64_t size = segment_size(kind, count);
    int error = heap_alloc(heap, size, slot);

    if (error != 0)
        return error;
    _Atomic uint64_t *segment = heap_at(heap, word_get(slot));
    memset(segment, 0, size);
    word_put(&segment[0], count);
    return 0;
}

/* The number of positions of an only segment that is to hold `count` items. */
static uint64_t room_for(uint64_t count)
{
    uint64_t room = FIRST_SEGMENT;

    while (room < count && room < SEGMENT)
        room *= 2;
    return room;
}

bool segments_extend(struct object *object, enum ref_kind kind, uint64_t count)
{
    if (word_get(&object->root[0]) == 0)
        return false;
    _Atomic uint64_t *table = ref_block(object, word_get(&object->root[0])),
                     *segment = ref_block(object, word_get(&table[1]));
    uint64_t old = word_get(&segment[0]), room = room_for(count);

    if (word_get(&table[0]) != 1 || room <= old || room < count ||
        !heap_extend(object_heap(object), &table[1], segment_size(kind, room)))
        return false;
    memset((char *)segment + segment_size(kind, old), 0, segment_size(kind, room) - segment_size(kind, old));
    object_begin(object);
    object_set(object, &segment[0], room);
    object_commit(object);
    return true;
}

int segments_new(struct object *object, enum ref_kind kind, uint64_t count, _Atomic uint64_t *slot)
{
    uint64_t segments = (count + SEGMENT - 1) / SEGMENT, room = room_for(count);

    if (segments == 0)
        segments = 1;
    int error = ref_table_new(object, segments + segments / 8, slot);
    if (error != 0)
        return error;
    _Atomic uint64_t *table = ref_block(object, word_get(slot));
    word_put(&table[0], segments);
    undo_order();
    word_put(slot, word_get(slot) | REF_TABLE_SHALLOW);
    for (uint64_t i = 1; error == 0 && i <= segments; i++) {
        error = segment_new(object_heap(object), kind, room, &table[i]);
        if (error == 0)
            word_put(&table[i], word_get(&table[i]) | kind);
    }
    return error;
}

int segments_add(struct object *object, enum ref_kind kind, uint64_t at, _Atomic uint64_t *pending)
{
    _Atomic uint64_t *table = ref_block(object, word_get(&object->root[0]));
    int error = segment_new(object_heap(object), kind, SEGMENT, pending);

    if (error != 0)
        return error;
    object_begin(object);
    object_set(object, &table[1 + at], word_get(pending) | kind);
    if (at == word_get(&table[0]))
        object_set(object, &table[0], at + 1);
    object_set(object, pending, 0);
    object_commit(object);
    return 0;
}
