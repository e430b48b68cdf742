/* Managers: a heap with a dict in it to start from. The handle is the heap's address. */
#include <mp.h>

#include "cancelling.h"
#include "object.h"

static struct heap *heap_of(mp_manager *manager)
{
    return (struct heap *)manager;
}

/* The root dict: held by the heap's header, so that nobody can free it. */
static int make_root(struct heap *heap)
{
    struct object *root;
    int error = object_create(heap, OBJECT_DICT, &root);

    if (error != 0)
        return error;
    atomic_store(&root->handle, 0);
    atomic_store(&root->refs, 1);
    atomic_store(&heap->root, root->self);
    return 0;
}

int mp_manager_create(mp_manager **manager, const mp_manager_options *options)
{
    CANCELLING_FORBIDDEN;
    struct heap *heap;

    if (manager == NULL)
        return MP_EINVAL;
    int error =
        heap_create(&heap, HEAP_MANAGER, options != NULL ? options->name : NULL, options != NULL ? options->limit : 0);
    if (error != 0)
        return error;
    error = make_root(heap);
    if (error == 0)
        error = heap_publish(heap);
    if (error != 0) {
        heap_close(heap);
        return error;
    }
    *manager = (mp_manager *)heap;
    return 0;
}

int mp_manager_open(mp_manager **manager, const char *name, const mp_manager_options *options)
{
    CANCELLING_FORBIDDEN;
    struct heap *heap;
    struct object *root;

    if (manager == NULL || name == NULL || options != NULL)
        return MP_EINVAL;
    int error = mutex_supported();
    if (error == 0)
        error = heap_open(&heap, HEAP_MANAGER, name);
    if (error != 0)
        return error;
    error = object_root(heap, OBJECT_DICT, &root);
    if (error != 0) {
        heap_close(heap);
        return error;
    }
    *manager = (mp_manager *)heap;
    return 0;
}

int mp_manager_free(mp_manager *manager)
{
    CANCELLING_FORBIDDEN;
    if (manager == NULL)
        return 0;
    int error = heap_check_handle(heap_of(manager), HEAP_MANAGER);
    if (error == 0 && object_in_callback(heap_of(manager)))
        error = MP_EBUSY; /* the caller's caller would go on in it */
    return error != 0 ? error : heap_close(heap_of(manager));
}

static int create(mp_manager *manager, uint64_t magic, struct object **object)
{
    int error = heap_check_handle(heap_of(manager), HEAP_MANAGER);

    return error != 0 ? error : object_create(heap_of(manager), magic, object);
}

int mp_manager_dict(mp_manager *manager, mp_dict **dict)
{
    struct object *object;
    int error = dict == NULL ? MP_EINVAL : create(manager, OBJECT_DICT, &object);

    if (error == 0)
        *dict = (mp_dict *)object;
    return error;
}

int mp_manager_list(mp_manager *manager, mp_list **list)
{
    struct object *object;
    int error = list == NULL ? MP_EINVAL : create(manager, OBJECT_LIST, &object);

    if (error == 0)
        *list = (mp_list *)object;
    return error;
}

int mp_manager_root(mp_manager *manager, mp_dict **dict)
{
    int error = dict == NULL ? MP_EINVAL : heap_check_handle(heap_of(manager), HEAP_MANAGER);

    if (error == 0)
        *dict = heap_at(heap_of(manager), atomic_load(&heap_of(manager)->root));
    return error;
}

int mp_manager_get_info(mp_manager *manager, mp_manager_info *info)
{
    int error = info == NULL ? MP_EINVAL : heap_check_handle(heap_of(manager), HEAP_MANAGER);

    if (error == 0) {
        info->size = atomic_load(&heap_of(manager)->size);
        info->used = atomic_load(&heap_of(manager)->used);
        info->limit = heap_of(manager)->limit;
    }
    return error;
}

int mp_manager_check(mp_manager *manager)
{
    CANCELLING_FORBIDDEN;
    int error = heap_check_handle(heap_of(manager), HEAP_MANAGER);

    if (error == 0 && object_in_callback(heap_of(manager)))
        error = MP_EDEADLK;
    return error != 0 ? error : object_check_heap(heap_of(manager), NULL);
}
