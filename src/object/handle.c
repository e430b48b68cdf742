/* A Treiber stack. Its first word has a count of changes in the bits that an address leaves free. So a thread that was
 * held up between loading the first handle's successor and exchanging the word notices that the stack has changed
 * meanwhile (ABA). */
#include "object/handle.h"

#include <stdatomic.h>
#include <stdlib.h>

#define ALIGN 64
#define GENERATIONS (UINT64_C(1) << 20)

static uint64_t tag_of(uint64_t number)
{
    return (number >> 4 & 0xffff) << 48 | (number & 15);
}

static uint64_t number_of(uint64_t word)
{
    return word >> 48 << 4 | (word & 15);
}

static struct handle *address_in(uint64_t word)
{
    return (struct handle *)(uintptr_t)(word & ~HANDLE_TAG);
}

static uint64_t word_after(uint64_t word, const struct handle *first)
{
    return (uint64_t)(uintptr_t)first | tag_of(number_of(word) + 1);
}

bool handle_is_made(const struct spare_handles *spare, const struct handle *handle)
{
    const struct handle *made = atomic_load(&spare->newest);

    while (made != NULL && made != handle)
        made = made->older;
    return made != NULL;
}

void *handle_take(struct spare_handles *spare, size_t size)
{
    uint64_t word = atomic_load(&spare->first);
    struct handle *handle;

    while ((handle = address_in(word)) != NULL) {
        struct handle *next = atomic_load_explicit(&handle->next, memory_order_relaxed);

        if (atomic_compare_exchange_weak(&spare->first, &word, word_after(word, next)))
            return handle;
    }
    handle = aligned_alloc(ALIGN, (size + ALIGN - 1) / ALIGN * ALIGN);
    if (handle != NULL) {
        handle->magic = handle->tag = 0;
        atomic_init(&handle->next, NULL);
        handle->older = atomic_load(&spare->newest);
        while (!atomic_compare_exchange_weak(&spare->newest, &handle->older, handle))
            ;
    }
    return handle;
}

void *handle_begin(struct handle *handle, uint64_t magic)
{
    handle->magic = magic;
    return (void *)((uintptr_t)handle | handle->tag);
}

void handle_put(struct spare_handles *spare, struct handle *handle)
{
    uint64_t generation = number_of(handle->tag) + 1, word = atomic_load(&spare->first);

    handle->magic = 0;
    handle->tag = tag_of(generation);
    if (generation == GENERATIONS)
        return;
    do {
        atomic_store_explicit(&handle->next, address_in(word), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&spare->first, &word, word_after(word, handle)));
}
