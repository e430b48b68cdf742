#include "list/list_place.h"

uint64_t list_beyond(const struct list_shape *shape, uint64_t at)
{
    uint64_t behind = at - (shape->gap - 1), removed = 0;

    if (shape->step == LIST_TURN)
        return at < shape->left || at + shape->left >= shape->length ? at : shape->length - 1 - at;
    if (shape->left > 0 && behind >= shape->phase) {
        removed = shape->step < 2 ? shape->left : 1 + (behind - shape->phase) / (shape->step - 1);
        if (removed > shape->left)
            removed = shape->left;
    }
    return at + shape->gap_size + removed;
}

uint64_t list_position_beyond(const struct object *list, uint64_t at)
{
    struct list_shape shape;
    uint64_t *words = &shape.start;

    for (int i = 0; i < LIST_WORDS; i++)
        words[i] = word_get(&list->word[i]);
    return shape.start + list_beyond(&shape, at);
}

bool list_read_element(const struct reading *reading, const struct list_shape *shape, uint64_t at, uint64_t *words)
{
    uint64_t place = segments_read_place(reading, list_shape_position(shape, at), sizeof(struct cell));

    if (place == 0)
        return false;
    object_read_words(reading, heap_at(object_heap(reading->object), place), sizeof(struct cell) / 8, words);
    return true;
}
