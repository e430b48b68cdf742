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

/* The layout of named heaps: processes of different versions refuse each other's. It grows with each change of what lies
 * in shared memory, or of what it means; test_layout.c fails when only one of the two changes. */
#define HEAP_VERSION 11

enum heap_kind { HEAP_MANAGER = 1, HEAP_LOCK = 2, HEAP_POOL = 3 };

/* What this layer knows of objects, which belong to one above: how large they are, and where their mutex is. object.c
 * asserts it. */
#define HEAP_OBJECT_BYTES 288
#define HEAP_OBJECT_MUTEX 152

#define HEAP_CLASSES 40
#define HEAP_SUBCLASSES 16

/* Places for pins (pin.h). */
#define HEAP_PINS 256
struct heap_pin {
    _Atomic uint64_t owner;  /* who has claimed it (struct owner, owner.h); 0: it is free */
    _Atomic uint64_t object; /* the offset of the object that is pinned, or PIN_ALL; 0: none yet, or none any more */
};

struct heap {
    /* Written once, before anybody else can see the heap. */
    uint64_t magic;
    uint32_t version;
    uint32_t kind;     /* enum heap_kind */
    uint64_t layout;   /* sizes of the structures inside: programs that differ in them cannot share */
    uint64_t limit;    /* bytes mapped: the file never grows past it */
    uint64_t seed[2];  /* of hashes */
    uint64_t checksum; /* of the words above */
    /* In one cache line with those above, and nothing in it that changes often: it is what readers without a mutex look
     * at. Guarded by the mutex, as all below that does not say otherwise. */
    _Atomic uint64_t size; /* bytes of the file that belong to the heap; beyond may lie an unfinished growth */

    _Alignas(64) pthread_mutex_t mutex; /* guards all below that does not say otherwise */
    struct undo undo;
    struct undo_record log[UNDO_RECORDS]; /* the first records of `undo`, always */

    _Atomic uint64_t root;            /* offset of the object that users start from */
    _Atomic uint64_t used;            /* bytes of allocated blocks, their headers included */
    _Atomic uint64_t most, refilling; /* hints: see THE RESERVE in heap.c */
    _Atomic uint64_t keep;            /* bytes of free blocks that are kept though they might be given back */
    _Atomic uint64_t loose;           /* bytes freed since a hole was made last: a hint */
    _Atomic uint64_t taken;           /* when a large block was taken last, by the monotonic clock */
    _Atomic uint64_t objects;         /* chain of all objects ever made (object.h) */
    _Atomic uint64_t made;            /* how many these are */
    _Atomic uint64_t spare;           /* chain of objects free for reuse */
    _Atomic uint64_t dead;            /* chain of objects whose content is still to be released */
    _Atomic uint64_t limbo;           /* chain of objects that nobody has a share in, but that are pinned (pin.h) */
    _Atomic uint64_t
        under_construction;   /* owns the block that the next objects are made of; 0 unless their maker died over it */
    _Atomic uint64_t holders; /* chain of the processes that hold objects (hold.h) */
    _Atomic uint64_t
        looked; /* so many of that chain have been looked at, whether they are dead, in this round; a hint */
    _Atomic uint64_t holding; /* owns the block that the next holder is made of; 0 unless its maker died over it */
    _Atomic uint64_t owners;  /* how many processes have begun to hold objects; not guarded */
    _Atomic uint64_t grown;   /* how often the heap has grown: a reason to look for holders that died */
    _Atomic uint64_t stripes; /* chain of stripes that no object has (stripes.h) */
    _Atomic uint64_t classes; /* bit per class with a free block */
    _Atomic uint64_t subclasses[HEAP_CLASSES];
    _Atomic uint64_t first_free[HEAP_CLASSES][HEAP_SUBCLASSES];

    /* Not guarded by the mutex. 1: a process in another PID namespace than its parent's has it: so a thread's number in
     * a mutex may be one that other processes do not see. */
    _Atomic uint64_t several_spaces;

    /* Not guarded by the mutex: see checking.h. */
    _Alignas(64) pthread_mutex_t checking;  /* held by who checks the heap */
    _Atomic uint64_t checker, checker_mark; /* its thread's number, 0: none, and mark */

    /* Not guarded by the mutex: see pin.c. */
    _Alignas(64) _Atomic uint64_t pinned; /* how often a place has been claimed */
    _Atomic uint64_t unpinned;            /* so often it had been when none was in use; guarded by the mutex */
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

/* Whether a block may lie there, so that its bytes may be looked at: a reader without the mutex may have got
 * nonsense. */
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

/* Whether the number of a thread that nobody sees is one of nobody. */
static inline bool heap_numbers_tell(const struct heap *heap)
{
    return atomic_load_explicit(&heap->several_spaces, memory_order_relaxed) == 0;
}

/* Makes a heap of at most `limit` bytes (0: as much as can be mapped, 64 GiB at the most). A name makes it a named one,
 * invisible until heap_publish(). */
int heap_create(struct heap **heap, enum heap_kind kind, const char *name, size_t limit);
/* The same without a name, and with less where the system maps less. */
int heap_create_up_to(struct heap **heap, enum heap_kind kind, size_t limit);
/* Lets other programs open a named heap. MP_EEXIST when somebody has one of that name. Nothing for an anonymous one. */
int heap_publish(struct heap *heap);
/* Opens a named heap of that kind. */
int heap_open(struct heap **heap, enum heap_kind kind, const char *name);
/* Gives the heap up in this process: the addresses that were in use in it read as zeros from now on, until others were
 * closed after it (see heap_file.c). The last one out removes the name. */
int heap_close(struct heap *heap);
/* At the end of this process, which goes on to use what it has: gives up its share in all names. */
void heap_leave_names(void);
/* Removes a name that leads to a heap of that kind. Processes that have the heap open keep it. */
int heap_unlink(enum heap_kind kind, const char *name);
/* The heap of that kind that this process has open and that has the address inside; NULL: none. *serial, when wanted:
 * how many heaps this process and those it was forked from have opened up to that one. */
struct heap *heap_around(const void *address, enum heap_kind kind, uint64_t *serial);
/* The file under a heap that this process has open. */
struct heap_file {
    uint64_t serial; /* as above */
    uint64_t length; /* bytes mapped */
    dev_t device;
    ino_t inode;
    int fd; /* this process's, as long as the heap is open */
};
/* The same as heap_around(), with all that is to be known of the file. */
struct heap *heap_find(const void *address, enum heap_kind kind, struct heap_file *file);
/* Maps a heap's file that another process has open, under file->fd there; at `near`, if that is free. The mapping is
 * the caller's to unmap, the descriptor (close-on-exec) to close: it is no open heap of this process, and holds no
 * name. NULL: this process cannot have it (it may not look into the other, or lacks descriptors, mappings or addresses;
 * or the file is gone). */
void *heap_borrow(pid_t process, const struct heap_file *file, void *near, int *fd);
/* Has the function called after each heap_close() in this process, without any lock held. There is one for all. */
void heap_when_closed(void (*function)(uint64_t serial));
/* Calls visit() with each heap that this process has open, none of which is closed meanwhile, until it returns true. It
 * must not open or close heaps. */
typedef bool heap_visitor(const struct heap *heap, void *context);
void heap_each_open(heap_visitor *visit, void *context);
/* 0, or MP_EINVAL when it is not the start of a heap of that kind that this process has open. */
int heap_check_handle(const struct heap *heap, enum heap_kind kind);
/* Opens the heap's file once more: a description of its own, close-on-exec. -1: it cannot be had. */
int heap_reopen(const struct heap *heap);
/* Closes such a descriptor, if it still is one of the heap's file: the program may have closed it, and opened
 * another. */
void heap_close_reopened(const struct heap *heap, int fd);
/* Whether somebody holds a lock on that byte of the heap's file, through any description but the one that every process
 * has open. *locked is stored; false: it could not be found out. */
bool heap_byte_locked(const struct heap *heap, uint64_t byte, bool *locked);

/* Takes a block of at least `size` bytes, aligned to 16, contents undefined, and stores its offset in *slot, which lies
 * in the heap and holds 0: the slot owns the block from the same instant in which the free lists no longer do. */
int heap_alloc(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);
/* Like heap_free(), for a caller that has the heap's mutex and has committed the changes before. */
void heap_free_locked(struct heap *heap, _Atomic uint64_t *slot);
/* Like heap_alloc(), for the bytes of a value. A block of at least HEAP_READ_FROM_FILE bytes may become a hole in the
 * file once it is freed: a reader without the mutex of its owner must read it from the file (value.c). */
#define HEAP_READ_FROM_FILE (UINT64_C(64) * 1024)
int heap_alloc_value(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);
/* Makes the block that *slot owns large enough for `size` bytes, where it is. False: there is no room behind it.
 * What is in the block stays; what comes to it has undefined contents. */
bool heap_extend(struct heap *heap, const _Atomic uint64_t *slot, uint64_t size);
/* Frees the block that *slot owns and stores 0 there, in the same instant. A slot that holds 0 is fine. Low four bits
 * of the slot are not part of the offset (see object.h). */
void heap_free(struct heap *heap, _Atomic uint64_t *slot);
/* Bytes that can be used of a block. */
uint64_t heap_block_size(const struct heap *heap, uint64_t offset);

/* For what changes words together with the allocator's (object.c): lock, heap_set() each word, commit, unlock. At most
 * UNDO_RECORDS words. heap_lock() repairs what a dead predecessor left; it fails only with MP_EDEADLK, and
 * MP_ECORRUPT when the memory is damaged. */
int heap_lock(struct heap *heap);
/* The same with a deadline, and MP_ETIMEOUT. */
int heap_lock_until(struct heap *heap, int64_t deadline);
void heap_unlock(struct heap *heap);
/* Rolls back a step that a dead process has left half done in the heap. To be called after MP_EOWNERDEAD from any other
 * mutex of the heap, before a ref is read: the dead process may have been inside heap_alloc() or heap_free(), and the
 * ref may hold a value that was stored and not committed. */
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
/* The same as heap_alloc() between heap_lock() and heap_commit(): joins the words set after it (it must be the first,
 * as it may have to commit a growth of its own). Up to 8 more words may be set with it. Nothing may be written into the
 * block before the commit: should it be taken back, the words of the free lists have to be there. */
int heap_alloc_locked(struct heap *heap, uint64_t size, _Atomic uint64_t *slot);

/* The checker. Walks all blocks and free lists, between heap_lock() and heap_unlock(): whatever the memory holds, it
 * ends, and looks only at bytes below heap->size. 0 or MP_ECORRUPT. *count: the blocks in use. `starts`, when given, is
 * zeroed memory for a bit for each 16 bytes of the heap; the bits of the blocks in use are set afterwards. */
int heap_check(struct heap *heap, uint64_t *starts, uint64_t *count);
/* Clears the bit of an offset (a multiple of 16) in such memory; whether it was set. */
bool heap_bit_clear(uint64_t *bits, uint64_t offset);
/* Before anything in a heap is believed: its header is as it was made, and its file is as long as it says. 0,
 * MP_ECORRUPT. */
int heap_check_header(const struct heap *heap);

#endif
