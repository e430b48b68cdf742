/* What a list is to the layers below: how its content is checked, read for snapshots, and repaired. */
#include "list/list_kind.h"

#include "base/word.h"
#include "list/list_snapshot.h"
#include "list/list_table.h"
#include "value/content_check.h"

/* Checks the words of a removal or reversal that a dead process left unfinished: see list_place.h. */
static bool step_is_sound(const struct list_shape *shape, uint64_t behind)
{
    if (shape->step == LIST_TURN)
        return shape->gap == 1 && shape->gap_size == 0 && shape->phase == 0 && shape->left <= shape->length / 2;
    if (shape->step == 0)
        return shape->left == 0 && shape->phase == 0;
    if (shape->phase >= shape->step || shape->phase > behind)
        return false;
    return shape->left < 2 || shape->step == 1 || shape->left - 1 <= (behind - shape->phase) / (shape->step - 1);
}

static bool shape_is_sound(const struct list_shape *shape, uint64_t capacity)
{
    uint64_t room = capacity, removed = shape->step == LIST_TURN ? 0 : shape->left;
    const uint64_t parts[] = {shape->start, shape->gap_size, shape->length, removed};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] > room)
            return false;
        room -= parts[i];
    }
    if (shape->gap == 0)
        return shape->gap_size == 0 && shape->step == 0 && shape->left == 0 && shape->phase == 0;
    return shape->gap - 1 <= shape->length && step_is_sound(shape, shape->length - (shape->gap - 1));
}

/* Cells in use hold values. In a settled list the other cells own nothing. `first` is the position of the segment's
 * first cell. */
static bool cells_are_sound(const struct heap *heap, const _Atomic uint64_t *segment, uint64_t first,
                            const struct list_shape *shape)
{
    const struct cell *cells = (const struct cell *)(segment + 2);
    uint64_t gap = shape->gap == 0 ? shape->length : shape->gap - 1, all = shape->length + shape->gap_size;

    for (uint64_t i = 0; i < word_get(&segment[0]); i++) {
        uint64_t at = first + i - shape->start;
        bool in_use = first + i >= shape->start && (at < gap || (at >= gap + shape->gap_size && at < all));

        if (in_use ? !cell_is_sound(heap, &cells[i]) : (word_get(&cells[i].head) & CELL_OWNS) != 0)
            return false;
    }
    return true;
}

/* In a list with an unfinished removal or reversal only the cells that indices lead to are checked. */
static bool elements_are_sound(const struct object *list, const struct list_shape *shape)
{
    for (uint64_t i = 0; i < shape->length; i++) {
        if (!cell_is_sound(object_heap(list), list_cell(list, i)))
            return false;
    }
    return true;
}

/* Called when all other processes are stopped, and after object_check.c has found that every ref in the list owns a
 * real block of its own, or names a real object. */
static bool list_is_sound(const struct object *list)
{
    struct list_shape shape;
    uint64_t *words = &shape.start;

    for (int i = 0; i < LIST_WORDS; i++)
        words[i] = word_get(&list->word[i]);
    if (word_get(&list->root[0]) == 0)
        return shape_is_sound(&shape, 0) && shape.gap == 0;
    if (!segments_are_sound(list, REF_CELLS, shape.start / SEGMENT) || !shape_is_sound(&shape, segments_capacity(list)))
        return false;
    if (shape.step != 0)
        return elements_are_sound(list, &shape);
    const _Atomic uint64_t *table = ref_block(list, word_get(&list->root[0]));
    for (uint64_t i = 0; i < word_get(&table[0]); i++) {
        uint64_t ref = word_get(&table[1 + i]);

        if (ref != 0 && !cells_are_sound(object_heap(list), ref_block(list, ref), i * SEGMENT, &shape))
            return false;
    }
    return true;
}

const struct object_kind list_kind = {
    .name = "list",
    .kind = OBJECT_LIST,
    .type = MP_LIST,
    .undo = true,
    .words = LIST_WORDS,
    .roots = 1,
    .recover = list_repair,
    .is_sound = list_is_sound,
    .count = list_length_of,
    .read = list_read_all,
    .try_to_read = list_try_to_read_all,
};
