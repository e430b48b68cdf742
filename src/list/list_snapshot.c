#include "list/list_snapshot.h"

#include "list/list_table.h"

int list_read_all(struct object *object, struct snapshot *snapshot)
{
    struct heap *heap = object_heap(object);
    uint64_t length = list_length_of(object);

    for (uint64_t i = 0; i < length; i++) {
        int error = cell_value(heap, list_cell(object, i), &snapshot->item[i].value);

        if (error != 0)
            return error;
        snapshot->count++;
    }
    return 0;
}

int list_try_to_read_all(struct snapshot_attempt *attempt)
{
    const struct object *list = attempt->reading.object;
    struct list_shape shape;
    uint64_t words[2];

    object_read_words(&attempt->reading, &list->word[LIST_START], LIST_WORDS, &shape.start);
    int error = snapshot_make_items(attempt->snapshot, shape.length);
    for (uint64_t i = 0; error == 0 && i < shape.length; i++) {
        if (!list_read_element(&attempt->reading, &shape, i, words))
            return MP_ECORRUPT;
        snapshot_add_to_sum(attempt, words, 2);
        error = cell_read(object_heap(list), words[0], words[1],
                          &attempt->snapshot->item[attempt->snapshot->count++].value);
    }
    return error;
}
