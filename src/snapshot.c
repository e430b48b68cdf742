/* Snapshots are taken under the object's mutex: one consistent moment, at the price of others' waiting while it is copied. */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "hold.h"
#include "key.h"
#include "list_table.h"
#include "value.h"

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static int read_entries(struct object *object, struct snapshot *snapshot)
{
    struct heap *heap = object_heap(object);
    _Atomic uint64_t *table = heap_at(heap, get(&object->root[0]) & ~REF_MASK);
    uint64_t segments = get(&object->root[0]) == 0 ? 0 : get(&table[0]);
    int error = 0;

    for (uint64_t i = 1; i <= segments; i++) {
        _Atomic uint64_t *segment = heap_at(heap, get(&table[i]) & ~REF_MASK);
        struct entry *entries = (struct entry *)(segment + 2);

        for (uint64_t j = 0; j < get(&segment[0]); j++) {
            if (get(&entries[j].sequence) == 0)
                continue;
            struct snapshot_item *item = &snapshot->item[snapshot->count];
            error = key_read(heap, &entries[j], &item->key);
            if (error == 0)
                error = cell_read(heap, get(&entries[j].value.head), get(&entries[j].value.body), &item->value);
            if (error != 0) {
                mp_value_free(&item->key);
                return error;
            }
            snapshot->count++;
        }
    }
    return 0;
}

static int read_cells(struct object *object, struct snapshot *snapshot)
{
    struct heap *heap = object_heap(object);
    uint64_t length = list_length_of(object);

    for (uint64_t i = 0; i < length; i++) {
        struct cell *cell = list_cell(object, i);
        int error = cell_read(heap, get(&cell->head), get(&cell->body), &snapshot->item[i].value);

        if (error != 0)
            return error;
        snapshot->count++;
    }
    return 0;
}

static bool is_container(const mp_value *value)
{
    return value->type == MP_DICT || value->type == MP_LIST;
}

/* Takes a share in each container that is shown. The object's mutex is held, so none of them ends meanwhile. */
static int hold_containers(struct snapshot *snapshot)
{
    uint64_t count = 0;

    for (size_t i = 0; i < snapshot->count; i++)
        count += is_container(&snapshot->item[i].value);
    if (count == 0)
        return 0;
    int error = hold_table_new(snapshot->heap, count, &snapshot->hold);
    for (size_t i = 0; error == 0 && i < snapshot->count; i++) {
        if (is_container(&snapshot->item[i].value))
            hold_table_add(snapshot->heap, snapshot->hold, object_of(snapshot->item[i].value.as.dict));
    }
    return error;
}

int snapshot_take_locked(struct object *object, struct snapshot *snapshot)
{
    bool dict = object_kind(object) == OBJECT_DICT;
    uint64_t count = get(&object->word[dict ? (int)DICT_LIVE : (int)LIST_LENGTH]);

    snapshot->heap = object_heap(object);
    snapshot->hold = 0;
    snapshot->count = 0;
    snapshot->item = calloc(count + 1, sizeof *snapshot->item);
    if (snapshot->item == NULL)
        return MP_ENOMEM;
    int error = dict ? read_entries(object, snapshot) : read_cells(object, snapshot);
    if (error == 0)
        error = hold_containers(snapshot);
    if (error != 0)
        snapshot_free(snapshot);
    return error;
}

int snapshot_take(const void *handle, uint64_t kind, struct snapshot *snapshot)
{
    int error = object_lock(handle, kind);

    if (error != 0)
        return error;
    error = snapshot_take_locked(object_of(handle), snapshot);
    object_unlock(object_of(handle));
    return error;
}

void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        mp_value_free(&snapshot->item[i].key);
        mp_value_free(&snapshot->item[i].value);
    }
    free(snapshot->item);
    if (snapshot->hold != 0)
        hold_table_free(snapshot->heap, snapshot->hold);
    snapshot->hold = 0;
    snapshot->item = NULL;
    snapshot->count = 0;
}
