#include "object/object.h"

#include <mp.h>

#include "base/cpu.h"
#include "base/word.h"

/* READ_SPINS: how often a reader looks for an even version before it reads through the undo log. READ_TRIES: the number
 * of attempts, while others keep writing, before it asks for the mutex. */
#define READ_SPINS 16
#define READ_TRIES 64

_Static_assert(sizeof(struct object) == HEAP_OBJECT_BYTES, "heap_layout.h says how large an object is");
_Static_assert(offsetof(struct object, mutex) == HEAP_OBJECT_MUTEX, "heap_layout.h says where its mutex is");

/* The process that takes the last share may be stopped before it commits. So the word is read through the heap's undo
 * log, and the reader does not wait. */
bool object_is_slow(const struct object *object, uint64_t magic)
{
    const struct heap *heap = object_heap(object);
    uint64_t emptied, now;

    do {
        emptied = undo_emptied(&heap->undo);
        undo_read(&heap->undo, (const char *)heap, word_get(&heap->size), &object->magic, 1, &now);
        atomic_thread_fence(memory_order_acquire);
    } while (undo_emptied(&heap->undo) != emptied);
    return now == magic;
}

void object_roll_back(struct object *object)
{
    undo_roll_back(&object->undo, (char *)object_heap(object), word_get(&object_heap(object)->size));
    object_commit(object);
}

int object_reserve_undo(struct object *object, uint64_t notes, uint64_t words)
{
    if (notes <= UNDO_RECORDS)
        return 0;
    if (words > UINT64_C(1) << 40)
        return MP_ENOMEM;
    object_release_undo(object);
    uint64_t capacity = undo_capacity(words);
    int error = heap_alloc(object_heap(object), capacity * sizeof(struct undo_record), &object->undo.more);
    if (error == 0)
        undo_take_table(&object->undo, (char *)object_heap(object), capacity);
    return error;
}

void object_release_undo(struct object *object)
{
    word_put(&object->undo.more_capacity, 0);
    undo_order();
    heap_free(object_heap(object), &object->undo.more);
}

void object_read_words(const struct reading *reading, const _Atomic uint64_t *first, size_t count, uint64_t *words)
{
    const struct object *object = reading->object;
    const struct heap *heap = object_heap(object);

    if (reading->version & 1) {
        undo_read(&object->undo, (const char *)heap, word_get(&heap->size), first, count, words);
        return;
    }
    for (size_t i = 0; i < count; i++)
        words[i] = word_get(&first[i]);
}

bool object_read_again(struct reading *reading, unsigned tries)
{
    /* Most changes are over in a moment. */
    for (int i = 0; i < READ_SPINS; i++) {
        if (object_read_begin(reading->object, &reading->version))
            break;
        cpu_relax();
    }
    reading->emptied = undo_emptied(&reading->object->undo);
    return tries % READ_TRIES != READ_TRIES - 1;
}
