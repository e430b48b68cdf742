/* The list is only ever taken as a whole: so nobody can be fooled by one that has left it and come back. */
#include "handle.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Puts the chain that begins with `first` into the list. */
static void put_chain(struct spare_handles *spare, struct handle *first)
{
    struct handle *last = first, *others = NULL;

    if (first == NULL || atomic_compare_exchange_strong(&spare->first, &others, first))
        return;
    while (last->next != NULL)
        last = last->next;
    do {
        last->next = others;
    } while (!atomic_compare_exchange_weak(&spare->first, &others, first));
}

void *handle_take(struct spare_handles *spare, size_t size)
{
    struct handle *handle = atomic_exchange(&spare->first, NULL);

    if (handle == NULL) {
        handle = malloc(size);
        if (handle != NULL)
            handle->magic = 0;
        return handle;
    }
    put_chain(spare, handle->next);
    return handle;
}

void handle_put(struct spare_handles *spare, struct handle *handle)
{
    handle->magic = 0;
    handle->next = NULL;
    put_chain(spare, handle);
}
