/* Managers: a heap with a dict in it to start from. The handle is the heap's address. */
#include <mp.h>

#include "base/cancelling.h"
#include "base/clock.h"
#include "heap/heap_create.h"
#include "heap/heap_file.h"
#include "heap/heap_name.h"
#include "object/callback.h"
#include "object/hold.h"
#include "object/object_check.h"
#include "object/object_create.h"

static struct heap *heap_of(mp_manager *manager)
{
    return (struct heap *)manager;
}

/* Makes the root dict. The heap's header holds it, so no process can free it. */
static int make_root(struct heap *heap)
{
    struct object *root;
    int error = object_create(heap, OBJECT_DICT, &root);

    if (error != 0)
        return error;
    atomic_store(&root->kept, KEPT_NOT);
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

#define PATIENCE_NS (5 * SECOND)

/* Other processes may make and free managers of that name all the time, so that the name exists when we create and is
 * gone when we open. Each such round is a success of another process, so losing many in a row is next to impossible. */
int mp_manager_open_or_create(mp_manager **manager, const char *name, bool *made, const mp_manager_options *options)
{
    if (manager == NULL || name == NULL || (options != NULL && options->name != NULL))
        return MP_EINVAL;
    const mp_manager_options named = {.name = name, .limit = options != NULL ? options->limit : 0};
    int64_t deadline = clock_now() + PATIENCE_NS;
    bool own = false;
    int error;

    do {
        error = mp_manager_open(manager, name, NULL);
        if (error == MP_ENOENT) {
            error = mp_manager_create(manager, &named);
            own = error == 0;
        }
    } while (error == MP_EEXIST && clock_now() < deadline);
    if (error == 0 && made != NULL)
        *made = own;
    return error == MP_EEXIST ? MP_EAGAIN : error;
}

int mp_manager_unlink(const char *name)
{
    return heap_unlink(HEAP_MANAGER, name);
}

int mp_manager_free(mp_manager *manager)
{
    CANCELLING_FORBIDDEN;
    if (manager == NULL)
        return 0;
    int error = heap_check_handle(heap_of(manager), HEAP_MANAGER);
    if (error == 0 && callback_inside(heap_of(manager)))
        error = MP_EBUSY; /* the library call that runs this callback still uses the heap */
    if (error != 0)
        return error;
    hold_leave(heap_of(manager));
    return heap_close(heap_of(manager));
}

static int create(mp_manager *manager, uint64_t kind, void **handle)
{
    int error = handle == NULL ? MP_EINVAL : heap_check_handle(heap_of(manager), HEAP_MANAGER);
    struct object *object;

    if (error == 0)
        error = object_create_held(heap_of(manager), kind, &object);
    if (error == 0)
        *handle = object_handle(object);
    return error;
}

int mp_manager_dict(mp_manager *manager, mp_dict **dict)
{
    return create(manager, OBJECT_DICT, (void **)dict);
}

int mp_manager_list(mp_manager *manager, mp_list **list)
{
    return create(manager, OBJECT_LIST, (void **)list);
}

int mp_manager_root(mp_manager *manager, mp_dict **dict)
{
    int error = dict == NULL ? MP_EINVAL : heap_check_handle(heap_of(manager), HEAP_MANAGER);

    if (error == 0)
        *dict = object_handle(heap_at(heap_of(manager), atomic_load(&heap_of(manager)->root)));
    return error;
}

int mp_manager_get_info(mp_manager *manager, mp_manager_info *info)
{
    int error = info == NULL ? MP_EINVAL : heap_check_handle(heap_of(manager), HEAP_MANAGER);

    if (error == 0) {
        hold_look_at_all(heap_of(manager));
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

    if (error == 0 && callback_inside(heap_of(manager)))
        error = MP_EDEADLK;
    if (error != 0)
        return error;
    error = object_check_heap(heap_of(manager), NULL);
    if (error == 0) /* now that the chains of holders are known to be sound */
        hold_look_at_all(heap_of(manager));
    return error;
}
