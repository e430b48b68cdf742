/* Plain memory in a manager, as a kind of object: its layout, and its entry in the table of kinds (kinds.c). The
 * functions are in mp.h. */
#ifndef MEMORY_H
#define MEMORY_H

#include "object/object_kind.h"

/* A piece of memory's word: 1 + its size in bytes; 0: it is not complete, and no process has its address. root[0] owns
 * its block. */
enum { MEMORY_SIZE, MEMORY_WORDS };
#define MEMORY_ALIGN UINT64_C(64)
/* The distance from the memory back to a word with the offset of its object. */
#define MEMORY_HEADER UINT64_C(16)

extern const struct object_kind memory_kind;

#endif
