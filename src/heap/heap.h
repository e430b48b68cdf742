/* The shared heap: one sparse mapping, a file that grows into it, and an allocator that survives the death of any
 * process that uses it. See heap.c for how it works. Offsets are bytes from the heap's start; 0 is no offset. */
#ifndef HEAP_H
#define HEAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"
#include "base/platform.h"
#include "heap/undo.h"

/* The version of the layout of heaps. Processes of different versions refuse each other's named heaps. The number grows
 * with each change of what lies in shared memory, or of what it means; test_layout.c fails if only one of the two
 * changes. */
#define HEAP_VERSION 11

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
    _Atomic uint64_t looked;  /* a hint, not guarded: how many of these this round of looks for the dead has passed */
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
    _Atomic uint64_t unpinned; /* `pinned` as the last look began that found no place in use; guarded by the mutex */
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

/* Makes a heap of at most `limit` bytes (0: as much as can be mapped, 64 GiB at the most). With a name it is a named
 * heap, which no other process finds before heap_publish(). */
int heap_create(struct heap **heap, enum heap_kind kind, const char *name, size_t limit);
/* Like heap_create() without a name, but with a lower limit where the system maps less. */
int heap_create_up_to(struct heap **heap, enum heap_kind kind, size_t limit);
/* Lets other programs open a named heap. MP_EEXIST: there is one of that name already. Does nothing to an anonymous
 * heap. */
int heap_publish(struct heap *heap);
/* Opens a named heap of that kind. */
int heap_open(struct heap **heap, enum heap_kind kind, const char *name);
/* Closes the heap in this process. The addresses that were in use in it read as zeros from now on, until they are
 * reused (CLOSED HEAPS in heap_file.c). The last process that closes a named heap removes the name. */
int heap_close(struct heap *heap);
/* Gives up this process's shares in all names. Called at the end of the process, which may still use its heaps. */
void heap_leave_names(void);
/* Removes a name that leads to a heap of that kind. Processes that have the heap open keep it. */
int heap_unlink(enum heap_kind kind, const char *name);
/* The heap of that kind, open in this process, whose mapping contains the address; NULL: none. *serial (unless NULL):
 * its number among all heaps that this process, and those it was forked from, have opened. */
struct heap *heap_around(const void *address, enum heap_kind kind, uint64_t *serial);
/* The file under a heap that this process has open. */
struct heap_file {
    uint64_t serial; /* as above */
    uint64_t length; /* bytes mapped */
    dev_t device;
    ino_t inode;
    int fd; /* this process's, as long as the heap is open */
};
/* Like heap_around(), but stores all that is known of the file. */
struct heap *heap_find(const void *address, enum heap_kind kind, struct heap_file *file);
/* Maps the file of a heap that another process has open under the descriptor file->fd; at `near`, if that is free. The
 * caller unmaps the mapping and closes the descriptor (close-on-exec). It is no open heap of this process, and has no
 * share in the name. NULL:
 * - this process may not look into the other one,
 * - it lacks descriptors, mappings or addresses, or
 * - the file is gone. */
void *heap_borrow(pid_t process, const struct heap_file *file, void *near, int *fd);
/* Has the function called after each heap_close() in this process, with no lock held. There is one function, the last
 * one that was given. */
void heap_when_closed(void (*function)(uint64_t serial));
/* Calls visit() with each heap that this process has open, until visit() returns true. No heap is opened or closed
 * meanwhile, and visit() must not do so either. */
typedef bool heap_visitor(const struct heap *heap, void *context);
void heap_each_open(heap_visitor *visit, void *context);
/* 0; or MP_EINVAL: it is not the address of a heap of that kind that this process has open. */
int heap_check_handle(const struct heap *heap, enum heap_kind kind);
/* Opens the heap's file once more, with an open file description of its own, close-on-exec. -1: failed. */
int heap_reopen(const struct heap *heap);
/* Closes such a descriptor, if it still leads to the heap's file: the program may have closed it and opened another
 * file under its number. */
void heap_close_reopened(const struct heap *heap, int fd);
/* Stores in *locked whether that byte of the heap's file is locked through an open file description other than the one
 * that all processes share. False: the system does not tell. */
bool heap_byte_locked(const struct heap *heap, uint64_t byte, bool *locked);

/* Takes a block of at least `size` bytes, aligned to 16, contents undefined, and stores its offset in *slot, a word in
 * the heap that holds 0. *Invariant:* a block is owned either by the free lists or by one slot, as both change in one
 * step. */
int heap_alloc(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);
/* Like heap_free(), for a caller that holds the heap's mutex and has committed its changes. Commits. */
void heap_free_locked(struct heap *heap, _Atomic uint64_t *slot);
/* Like heap_alloc(), for the bytes of a value. A block of at least HEAP_READ_FROM_FILE bytes may become a hole in the
 * file once it is freed: a reader without the mutex of its owner must copy it by system calls (value.c). */
#define HEAP_READ_FROM_FILE (UINT64_C(64) * 1024)
int heap_alloc_value(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);
/* Makes the block that *slot owns large enough for `size` bytes, where it is. Its content stays; the bytes that are
 * added have undefined contents. False: the block is as it was, because
 * - the block behind it is in use, or has pages that were given back,
 * - too few bytes behind it are free, and the heap goes on behind them or cannot grow,
 * - no heap could hold a block of that size, or
 * - heap_lock() fails. */
bool heap_extend(struct heap *heap, const _Atomic uint64_t *slot, uint64_t size);
/* Frees the block that *slot owns and stores 0 there, in one step. Does nothing to a slot that holds 0. If heap_lock()
 * fails, the slot still owns the block, and the caller is not told. The low four bits of the slot are not part of the
 * offset (see object.h). */
void heap_free(struct heap *heap, _Atomic uint64_t *slot);
/* The usable bytes of a block. */
uint64_t heap_block_size(const struct heap *heap, uint64_t offset);

/* For a change of words together with the allocator's (ref.c): heap_lock(), heap_set() for each word, at most
 * UNDO_RECORDS of them, heap_commit(), heap_unlock(). heap_lock() rolls back what a dead owner of the mutex has left
 * half done. It fails only with MP_EDEADLK and MP_ECORRUPT (the memory is damaged). */
int heap_lock(struct heap *heap);
/* Not 0: how many nanoseconds heap_lock() of this thread waits at most; then it returns MP_ETIMEOUT, and heap_free()
 * leaves the block to its slot. For object_reclaim_dead() only, which can stop at any step. */
extern _Thread_local int64_t heap_patience;
/* Like heap_lock(), with a deadline: MP_ETIMEOUT. */
int heap_lock_until(struct heap *heap, int64_t deadline);
void heap_unlock(struct heap *heap);
/* Rolls back a change of the heap that a dead process has left half done. To be called after MP_EOWNERDEAD from any
 * other mutex of the heap, before a ref is read: the dead process may have been inside heap_alloc() or heap_free(), and
 * the ref may hold a value that was stored and not committed. */
void heap_recover(struct heap *heap);
static inline void heap_set(struct heap *heap, _Atomic uint64_t *word, uint64_t value)
{
    MP_ASSERT(mutex_is_held(&heap->mutex));
    MP_ASSERT(heap_offset(heap, word) % 8 == 0 && heap_offset(heap, word) < heap->limit);
    undo_set(&heap->undo, (char *)heap, word, value);
}
static inline void heap_commit(struct heap *heap)
{
    MP_ASSERT(mutex_is_held(&heap->mutex));
    undo_commit(&heap->undo);
}
/* Like heap_alloc(), for a caller that holds the heap's mutex and commits afterwards: the caller may set up to 8 more
 * words in the same change. This must be the first step of the change, as it may commit a growth of the heap. The
 * caller writes nothing into the block before the commit: a roll-back needs the words of the free lists in it. */
int heap_alloc_locked(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);

/* The checker. Walks all blocks and free lists; the caller holds the heap's mutex. Whatever the memory contains, it
 * ends, and it reads only bytes below heap->size. 0 or MP_ECORRUPT. *count: the number of blocks in use. `starts` is
 * NULL, or zeroed memory with a bit for each 16 bytes of the heap; then the bits of the blocks in use are set. */
int heap_check(struct heap *heap, uint64_t *starts, uint64_t *count);
/* Clears the bit of an offset (a multiple of 16) in such memory. Returns whether the bit was set. */
bool heap_bit_clear(uint64_t *bits, uint64_t offset);
/* Checks that the header is as the heap's maker wrote it, and that the file is at least as long as it says. To be
 * called before anything else in the heap is trusted. 0 or MP_ECORRUPT. */
int heap_check_header(const struct heap *heap);

#endif
