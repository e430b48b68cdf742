/* The shared heap: one sparse mapping, a file that grows into it, and an allocator that survives the death of any
 * process that uses it. See heap.c for how it works. Making and opening heaps: heap_create.h. The heaps that this
 * process has open: heap_file.h. */
#ifndef HEAP_H
#define HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/robust_mutex.h"
#include "heap/heap_layout.h"
#include "heap/undo.h"

/* Takes a block of at least `size` bytes, aligned to 16, contents undefined, and stores its offset in *slot, a word in
 * the heap that holds 0. Invariant: a block is owned either by the free lists or by one slot, as both change in one
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
 * offset (see ref.h). */
void heap_free(struct heap *heap, _Atomic uint64_t *slot);
/* The usable bytes of a block. */
uint64_t heap_block_size(const struct heap *heap, uint64_t offset);

/* For a change of words together with the allocator's, as in ref.c: heap_lock(), heap_set() for each word, at most
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
/* Lays out an empty heap of HEAP_FIRST_SIZE bytes in zeroed memory, under its mutex. */
int heap_format(struct heap *heap);

#endif
