/* The checker of the heap's blocks. */
#ifndef HEAP_CHECK_H
#define HEAP_CHECK_H

#include "heap/heap_layout.h"

/* Walks all blocks and free lists; the caller holds the heap's mutex. Whatever the memory contains, it
 * ends, and it reads only bytes below heap->size. 0 or MP_ECORRUPT. *count: the number of blocks in use. `starts` is
 * NULL, or zeroed memory with a bit for each 16 bytes of the heap; then the bits of the blocks in use are set. */
int heap_check(struct heap *heap, uint64_t *starts, uint64_t *count);
/* Clears the bit of an offset (a multiple of 16) in such memory. Returns whether the bit was set. */
bool heap_bit_clear(uint64_t *bits, uint64_t offset);

#endif
