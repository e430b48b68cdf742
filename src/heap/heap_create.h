/* Making and opening heaps. */
#ifndef HEAP_CREATE_H
#define HEAP_CREATE_H

#include <stddef.h>
#include <stdint.h>

#include "heap/heap_layout.h"

/* Makes a heap of at most `limit` bytes (0: as much as can be mapped, 64 GiB at the most). With a name it is a named
 * heap, which no other process finds before heap_publish(). */
int heap_create(struct heap **heap, enum heap_kind kind, const char *name, size_t limit);
/* Like heap_create() without a name, but with a lower limit where the system maps less. */
int heap_create_up_to(struct heap **heap, enum heap_kind kind, size_t limit);
/* Opens a named heap of that kind. */
int heap_open(struct heap **heap, enum heap_kind kind, const char *name);
/* Checks that the header is as the heap's maker wrote it, and that the file is at least as long as it says. To be
 * called before anything else in the heap is trusted. 0 or MP_ECORRUPT. */
int heap_check_header(const struct heap *heap);
/* The checksum of the header, which heap->checksum holds in a sound heap. */
uint64_t heap_header_checksum(const struct heap *heap);

#endif
