/* Iterators over a list: by index, as Python's, so each step looks at what is there when it gets there. */
#include "handle.h"
#include "list_array.h"

#define ITER_MAGIC UINT64_C(0x6d705f6c69746572)

struct mp_list_iter {
    struct handle handle;
    mp_list *list;
    int64_t next;
    mp_value value; /* the one handed out last */
};

static struct spare_handles spare;

int mp_list_iter_create(mp_list_iter **iter, mp_list *list)
{
    if (iter == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    mp_list_iter *new = handle_take(&spare, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->list = list;
    new->next = 0;
    new->value = mp_none();
    new->handle.magic = ITER_MAGIC;
    *iter = new;
    return 0;
}

int mp_list_next(mp_list_iter *iter, mp_value *value)
{
    if (!handle_is((struct handle *)iter, ITER_MAGIC) || value == NULL)
        return MP_EINVAL;
    mp_value_free(&iter->value);
    int error = mp_list_get(iter->list, iter->next, &iter->value);
    if (error != 0)
        return error == MP_EINDEX ? MP_ESTOP : error;
    iter->next++;
    *value = iter->value;
    value->owned = NULL;
    return 0;
}

int mp_list_iter_free(mp_list_iter *iter)
{
    if (iter == NULL)
        return 0;
    if (!handle_is((struct handle *)iter, ITER_MAGIC))
        return MP_EINVAL;
    mp_value_free(&iter->value);
    handle_put(&spare, &iter->handle);
    return 0;
}
