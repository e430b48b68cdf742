/* The file under a heap, and the mapping of it: between heap.c and the system. */
#ifndef HEAP_FILE_H
#define HEAP_FILE_H

#include "heap/heap.h"

#define HEAP_MAGIC UINT64_C(0x31706d2070616568) /* a heap's first word, in every version */
#define HEAP_PAGE UINT64_C(4096)
#define HEAP_FIRST_SIZE (UINT64_C(32) * 1024)

/* Reserves bytes [from, to) of the heap's file for good. MP_ENOMEM, MP_ESYSTEM (this process has lost the file). */
int heap_file_reserve(const struct heap *heap, uint64_t from, uint64_t to);
/* Gives the whole pages in [from, to) back to the system. */
void heap_file_punch(const struct heap *heap, uint64_t from, uint64_t to);
/* Whether a process that touches a page that was given back can count on a new one: not in a file system with a size of
 * its own. */
bool heap_file_holes_are_safe(const struct heap *heap);
/* The checksum of the header, which heap->checksum holds in a sound heap. */
uint64_t heap_header_checksum(const struct heap *heap);
/* Lays out an empty heap of HEAP_FIRST_SIZE bytes in zeroed memory, under its mutex (heap.c). */
int heap_format(struct heap *heap);

#endif
