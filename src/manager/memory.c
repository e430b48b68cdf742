/* Plain memory in a manager's heap, for users.
 *
 * Each piece belongs to an object of its own, whose root[0] owns the block. So ownership, stale handles and freeing
 * work as with dicts and lists. The address that users get is the first multiple of MEMORY_ALIGN in the block behind a
 * header, which names the object. An address is live if the object that its header names is live and says that this is
 * its address. So a stale or made-up address is recognized, whatever it leads to.
 *
 * The size plus one is the last word written when a piece is made. A process that dies before that leaves an object
 * whose handle no process has, as does a process that dies between making a dict and storing its handle. The object is
 * freed with the manager. */
#include "manager/memory.h"

#include "base/units.h"
#include "base/word.h"
#include "heap/heap_file.h"
#include "object/object_create.h"
#include "object/ref.h"

#include <mp.h>
#include <string.h>

/* The offset at which an object's memory begins; 0: it has none. */
static uint64_t place_of(const struct object *object)
{
    uint64_t block = word_get(&object->root[0]) & ~REF_MASK;

    return block == 0 ? 0 : round_up(block + MEMORY_HEADER, MEMORY_ALIGN);
}

/* The live object that an address belongs to; NULL: none. */
static struct object *memory_object(const void *memory)
{
    struct heap *heap = heap_around(memory, HEAP_MANAGER, NULL);

    if (heap == NULL || (uintptr_t)memory % MEMORY_ALIGN != 0)
        return NULL;
    uint64_t place = heap_offset(heap, memory);
    if (place <= sizeof(struct heap) + MEMORY_HEADER || place > word_get(&heap->size))
        return NULL;
    uint64_t offset = word_get((_Atomic uint64_t *)heap_at(heap, place - MEMORY_HEADER));
    if (offset % 64 != 0 || !heap_holds(heap, offset, sizeof(struct object)))
        return NULL;
    struct object *object = heap_at(heap, offset);
    if (object->self != offset || !object_is(object_handle(object), OBJECT_MEMORY) ||
        word_get(&object->word[MEMORY_SIZE]) == 0 || place_of(object) != place)
        return NULL;
    return object;
}

int mp_manager_alloc(mp_manager *manager, size_t size, void **memory)
{
    struct heap *heap = (struct heap *)manager;
    struct object *object;
    int error = memory == NULL ? MP_EINVAL : heap_check_handle(heap, HEAP_MANAGER);

    if (error != 0)
        return error;
    if (size > SIZE_MOST)
        return MP_ENOMEM;
    error = object_create(heap, OBJECT_MEMORY, &object);
    if (error != 0)
        return error;
    error = heap_alloc(heap, size + MEMORY_HEADER + MEMORY_ALIGN - 1, &object->root[0]);
    if (error != 0) {
        object_free(object_handle(object), OBJECT_MEMORY);
        return error;
    }
    uint64_t place = place_of(object);
    memset(heap_at(heap, place), 0, size);
    atomic_store((_Atomic uint64_t *)heap_at(heap, place - MEMORY_HEADER), object->self);
    atomic_store(&object->word[MEMORY_SIZE], size + 1);
    *memory = heap_at(heap, place);
    return 0;
}

int mp_memory_free(void *memory)
{
    struct object *object;

    if (memory == NULL)
        return 0;
    object = memory_object(memory);
    return object == NULL ? MP_EINVAL : object_free(object_handle(object), OBJECT_MEMORY);
}

int mp_memory_size(const void *memory, size_t *size)
{
    const struct object *object = size == NULL ? NULL : memory_object(memory);

    if (object == NULL)
        return MP_EINVAL;
    *size = word_get(&object->word[MEMORY_SIZE]) - 1;
    return 0;
}

int mp_memory_ref(const void *memory, int64_t *ref)
{
    const struct object *object = ref == NULL ? NULL : memory_object(memory);

    if (object == NULL)
        return MP_EINVAL;
    *ref = (int64_t)place_of(object);
    return 0;
}

int mp_manager_memory(mp_manager *manager, int64_t ref, void **memory)
{
    struct heap *heap = (struct heap *)manager;
    int error = memory == NULL ? MP_EINVAL : heap_check_handle(heap, HEAP_MANAGER);

    if (error != 0)
        return error;
    if (ref <= 0 || (uint64_t)ref >= word_get(&heap->size) || memory_object(heap_at(heap, (uint64_t)ref)) == NULL)
        return MP_EINVAL;
    *memory = heap_at(heap, (uint64_t)ref);
    return 0;
}

/* Checks the object and the block's header. The memory behind the header belongs to the user. */
static bool memory_is_sound(const struct object *memory)
{
    uint64_t ref = word_get(&memory->root[0]), size = word_get(&memory->word[MEMORY_SIZE]);
    const struct heap *heap = object_heap(memory);

    if ((ref & REF_MASK) != REF_BLOCK)
        return false;
    if (size == 0)
        return true;
    if (ref == 0)
        return false;
    uint64_t place = place_of(memory), room = ref + heap_block_size(heap, ref);
    const _Atomic uint64_t *header = heap_at(heap, place - MEMORY_HEADER);
    return place <= room && size - 1 <= room - place && word_get(header) == memory->self;
}

const struct object_kind memory_kind = {
    .name = "memory",
    .kind = OBJECT_MEMORY,
    .words = MEMORY_WORDS,
    .roots = 1,
    .is_sound = memory_is_sound,
};
