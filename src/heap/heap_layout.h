/* The header of a heap: what lies at its start, in shared memory. Offsets are bytes from the heap's start; 0 is no
 * offset. */
#ifndef HEAP_LAYOUT_H
#define HEAP_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "heap/undo.h"

/* The version of the layout of heaps. Processes of different versions refuse each other's named heaps. The number grows
 * with each change of what lies in shared memory, or of what it means; test_layout.c fails if only one of the two
 * changes. */
#define HEAP_VERSION 11

#define HEAP_MAGIC UINT64_C(0x31706d2070616568) /* a heap's first word, in every version */
#define HEAP_PAGE UINT64_C(4096)
#define HEAP_FIRST_SIZE (UINT64_C(32) * 1024) /* of an empty heap's file */
/* Bounds of heap.limit. */
#define HEAP_SMALLEST (2 * HEAP_FIRST_SIZE)
#define HEAP_LARGEST (UINT64_C(1) << 36)

enum heap_kind { HEAP_MANAGER = 1, HEAP_LOCK = 2, HEAP_POOL = 3 };

/* What this layer knows of objects, which belong to a layer above: their size, and the offset of their mutex. object.c
 * asserts both. */
#define HEAP_OBJECT_BYTES 288
#define HEAP_OBJECT_MUTEX 152

#define HEAP_CLASSES 40
#define HEAP_SUBCLASSES 16

/* Places for pins (pin.h). */
#define HEAP_PINS 256
struct heap_pin {
    _Atomic uint64_t owner;  /* mark of the owner that has claimed it (owner.h); 0: free */
    _Atomic uint64_t object; /* object and tag, or PIN_ALL (pin.c); 0: not stored yet, or no longer */
};

struct heap {
    /* Written once, before any other process can find the heap. */
    uint64_t magic;
    uint32_t version;
    uint32_t kind;     /* enum heap_kind */
    uint64_t layout;   /* sizes of the structures inside: programs that differ in these cannot share a heap */
    uint64_t limit;    /* bytes mapped: the file never grows past it */
    uint64_t seed[2];  /* of hashes */
    uint64_t checksum; /* of the words above */
    /* In the same cache line as the words above, none of which changes often: readers without a mutex load it. Guarded
     * by `mutex`. */
    _Atomic uint64_t size; /* bytes of the file that belong to the heap; an unfinished growth may lie behind them */

    /* Guards all words below, except those that say otherwise, and the headers and links of blocks: only the holder of
     * the mutex stores to them. Others may load them without it: what they get may be out of date, or part of a change
     * that will be rolled back. */
    _Alignas(64) pthread_mutex_t mutex;
    struct undo undo;
    struct undo_record log[UNDO_RECORDS]; /* where `undo` has its records */

    _Atomic uint64_t root;            /* the root dict, the named lock or the pool, stored once by its maker; or 0 */
    _Atomic uint64_t used;            /* bytes of allocated blocks, their headers included */
    _Atomic uint64_t most, refilling; /* hints: see THE RESERVE in heap.c */
    _Atomic uint64_t keep;    /* a hint: how much more may be free before any is given back (PUNCH_BLOCK in heap.c) */
    _Atomic uint64_t loose;   /* bytes freed since a hole was made last: a hint */
    _Atomic uint64_t taken;   /* when a large block was taken last, by the monotonic clock: a hint */
    _Atomic uint64_t objects; /* chain of all objects ever made (object.h) */
    _Atomic uint64_t made;    /* the number of objects in that chain */
    _Atomic uint64_t spare;   /* chain of objects free for reuse */
    _Atomic uint64_t dead;    /* chain of objects whose content is still to be released */
    _Atomic uint64_t limbo;   /* chain of objects that have no share left, but a pin (pin.h) */
    _Atomic uint64_t under_construction; /* owns the block of objects being made; also after their maker died; else 0 */
    _Atomic uint64_t holders;            /* chain of the processes that hold objects (hold.h) */
    _Atomic uint64_t looked;  /* a hint, not guarded: the holders that this round of looks for the dead has passed */
    _Atomic uint64_t holding; /* owns the block of a holder being made; also after its maker died; else 0 */
    _Atomic uint64_t owners;  /* counts the processes that began to hold objects; not guarded */
    _Atomic uint64_t grown;   /* counts the growths of the heap: after one, processes look for dead holders */
    _Atomic uint64_t stripes; /* chain of blocks of stripes that no object uses (stripes.h) */
    _Atomic uint64_t classes; /* bit per class with a free block */
    _Atomic uint64_t subclasses[HEAP_CLASSES];
    _Atomic uint64_t first_free[HEAP_CLASSES][HEAP_SUBCLASSES];

    /* Not guarded by the mutex. 1: the heap is open in a process whose parent is in another PID namespace. Then a mutex
     * may name a thread whose number some processes do not see. */
    _Atomic uint64_t several_spaces;

    /* Not guarded by the mutex: see checking.h. */
    _Alignas(64) pthread_mutex_t checking;  /* held by the thread that checks the heap */
    _Atomic uint64_t checker, checker_mark; /* that thread's number (0: there is none) and mark */

    /* Not guarded by the mutex: see pin.c. */
    _Alignas(64) _Atomic uint64_t pinned; /* counts the claims of places */
    _Atomic uint64_t unpinned; /* `pinned` when the last scan that found no place claimed began; under the mutex */
    struct heap_pin pin[HEAP_PINS];
};

static inline void *heap_at(const struct heap *heap, uint64_t offset)
{
    return (void *)((uintptr_t)heap + offset); /* an address: the offset may be nonsense that is not followed */
}

static inline uint64_t heap_offset(const struct heap *heap, const void *address)
{
    return (uint64_t)((const char *)address - (const char *)heap);
}

/* Whether [offset, offset + size) lies in the heap behind its header, so that its bytes may be read. A reader without
 * the mutex asks this first: the offset that it has loaded may be garbage. */
static inline bool heap_holds(const struct heap *heap, uint64_t offset, uint64_t size)
{
    uint64_t end = atomic_load_explicit(&heap->size, memory_order_relaxed);

    return offset >= sizeof(struct heap) && offset % 16 == 0 && offset < end && size <= end - offset;
}

/* Whether a word lies among the blocks, and not in the heap's header. */
static inline bool heap_holds_word(const struct heap *heap, const _Atomic uint64_t *word)
{
    uint64_t offset = heap_offset(heap, word);

    return offset >= sizeof(struct heap) && offset % 8 == 0 &&
           offset < atomic_load_explicit(&heap->size, memory_order_relaxed);
}

/* Whether a thread's number that this process does not see is that of no thread. */
static inline bool heap_numbers_tell(const struct heap *heap)
{
    return atomic_load_explicit(&heap->several_spaces, memory_order_relaxed) == 0;
}

#endif
