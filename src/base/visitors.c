#include "base/visitors.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local struct visitor *visitor_own;
atomic_bool visitors_several;
atomic_bool visitors_fence;

static _Atomic(struct visitor *) first; /* the list of all records; none is ever removed */
static pthread_key_t key;
static bool has_key;
static pthread_once_t several = PTHREAD_ONCE_INIT;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The thread ends: its record is free for reuse. */
static void give_up(void *own)
{
    visitor_own = NULL;
    atomic_store(&((struct visitor *)own)->taken, false);
}

static void start(void)
{
    has_key = pthread_key_create(&key, give_up) == 0;
    /* Without membarrier() every thread uses fences from the beginning. */
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) {
        atomic_store(&visitors_several, true);
        atomic_store(&visitors_fence, true);
    }
}

static void note_several(void)
{
    atomic_store(&visitors_several, true);
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static struct visitor *take_spare(void)
{
    for (struct visitor *visitor = atomic_load(&first); visitor != NULL; visitor = visitor->next) {
        if (!atomic_exchange(&visitor->taken, true))
            return visitor;
    }
    return NULL;
}

struct visitor *visitor_make(void)
{
    pthread_once(&once, start);
    struct visitor *own = take_spare();
    if (own == NULL) {
        own = calloc(1, sizeof *own);
        if (own == NULL)
            return NULL;
        atomic_store(&own->taken, true);
        own->next = atomic_load(&first);
        while (!atomic_compare_exchange_weak(&first, &own->next, own))
            ;
        if (own->next != NULL)
            pthread_once(&several, note_several); /* a third thread waits until it is done */
    }
    /* Without a key the record stays taken for ever when the thread ends. */
    if (has_key)
        pthread_setspecific(key, own);
    visitor_own = own;
    return own;
}

bool visitors_are_in(const void *pool, const void *result)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (struct visitor *visitor = atomic_load(&first); visitor != NULL; visitor = visitor->next) {
        if (visitor == visitor_own)
            continue;
        if (pool != NULL && atomic_load_explicit(&visitor->pool, memory_order_acquire) == pool)
            return true;
        if (result != NULL && atomic_load_explicit(&visitor->result, memory_order_acquire) == result)
            return true;
    }
    return false;
}

bool visitors_are_at(const void *lock)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load(&visitors_fence))
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    for (struct visitor *visitor = atomic_load(&first); visitor != NULL; visitor = visitor->next) {
        if (visitor != visitor_own && atomic_load_explicit(&visitor->lock, memory_order_acquire) == lock)
            return true;
    }
    return false;
}

void visitors_after_fork(void)
{
    for (struct visitor *visitor = atomic_load(&first); visitor != NULL; visitor = visitor->next) {
        visitor->depth = 0;
        atomic_store(&visitor->pool, NULL);
        atomic_store(&visitor->result, NULL);
        atomic_store(&visitor->lock, NULL);
        if (visitor != visitor_own)
            atomic_store(&visitor->taken, false);
    }
}
