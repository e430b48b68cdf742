/* Iterators over a list, by index, as in Python: each step reads the element that is at the index at that time. Fast
 * path: while the list's version stays the same, the next index leads to the next cell. */
#include <stdlib.h>

#include "base/word.h"
#include "list/list_table.h"
#include "object/handle.h"

#define ITER_MAGIC UINT64_C(0x6d705f6c69746572)

struct mp_list_iter {
    struct handle handle;
    mp_list *list;
    int64_t index; /* the next one */
    bool ended;    /* after the end the iterator stays ended, as in Python */
    /* The next cell, and the end of the run of cells behind it. Valid while the list's version is `version`. Equal: not
     * known. */
    const struct cell *next, *end;
    uint64_t version;
    char text[CELL_INLINE + 1]; /* a short string that was handed out */
    mp_value value;             /* what owns the bytes of a longer one, or holds a container, until the next step */
};

static struct spare_handles spare;

static mp_list_iter *iter_of(mp_list_iter *handle)
{
    return handle_of(&spare, handle, ITER_MAGIC);
}

int mp_list_iter_create(mp_list_iter **iter, mp_list *list)
{
    if (iter == NULL || !object_is(list, OBJECT_LIST))
        return MP_EINVAL;
    mp_list_iter *new = handle_take(&spare, sizeof *new);
    if (new == NULL)
        return MP_ENOMEM;
    new->list = list;
    new->index = 0;
    new->ended = false;
    new->next = new->end = NULL;
    new->value = mp_value_none();
    *iter = handle_begin(&new->handle, ITER_MAGIC);
    return 0;
}

/* Finds the cell that the next index leads to, and those behind it in its segment. */
static void find_next(mp_list_iter *iter)
{
    const struct object *list = list_object(iter->list);
    struct list_place next, last;

    iter->next = iter->end = NULL;
    if (!object_read_begin(list, &iter->version) || !object_is_fast(iter->list, OBJECT_LIST) ||
        list_find(list, iter->index, &next) != 0)
        return;
    uint64_t left = list_length_of(list) - (uint64_t)iter->index, run = SEGMENT - next.in;
    run = list_straight(list, (uint64_t)iter->index, run < left ? run : left);
    if (list_find(list, iter->index + (int64_t)run - 1, &last) != 0 || !object_read_valid(list, iter->version))
        return;
    iter->next = next.cell;
    iter->end = last.cell + 1;
}

static __attribute__((noinline)) int next_slow(mp_list_iter *handle, mp_value *value)
{
    mp_list_iter *iter = iter_of(handle);

    if (iter == NULL || value == NULL)
        return MP_EINVAL;
    mp_value_free(&iter->value);
    int error = iter->ended ? MP_EINDEX : mp_list_get(iter->list, iter->index, &iter->value);
    iter->ended = error == MP_EINDEX;
    if (error != 0)
        return error == MP_EINDEX ? MP_ESTOP : error;
    *value = iter->value;
    value->owned = NULL; /* owned by the iterator */
    iter->index++;
    find_next(iter);
    return 0;
}

int mp_list_next(mp_list_iter *handle, mp_value *value)
{
    mp_list_iter *iter = iter_of(handle);

    if (iter == NULL || value == NULL || iter->next == iter->end)
        return next_slow(handle, value);
    const struct object *list = list_object(iter->list);
    uint64_t head = word_get(&iter->next->head), body = word_get(&iter->next->body);
    if (!object_read_valid(list, iter->version) || !object_is_fast(iter->list, OBJECT_LIST) || (head & CELL_OWNS) != 0)
        return next_slow(handle, value);
    iter->next++;
    iter->index++;
    /* Integers are the most frequent, so they come first. */
    if (head != MP_INT)
        return cell_view_short(object_heap(list), head, body, iter->text, value);
    cell_int(body, value);
    return 0;
}

int mp_list_iter_free(mp_list_iter *handle)
{
    mp_list_iter *iter = iter_of(handle);

    if (handle == NULL)
        return 0;
    if (iter == NULL)
        return MP_EINVAL;
    mp_value_free(&iter->value);
    handle_put(&spare, &iter->handle);
    return 0;
}
