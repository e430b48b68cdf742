/* A value as it is stored: two words. */
#ifndef CELL_H
#define CELL_H

#include "object/ref.h"

/* head: the mp_type in the low 8 bits, CELL_OWNS, and from bit CELL_LENGTH_SHIFT on the length of strings and bytes, or
 * the generation of a container. body: the bool, the integer, the float's bits, the bytes of a string of up to 8; with
 * CELL_OWNS a ref: to an object, or to the block that holds a longer string. A cell whose words are 0 is empty. */
#define CELL_TYPE UINT64_C(0xff)
#define CELL_OWNS UINT64_C(0x100)
#define CELL_LENGTH_SHIFT 16

struct cell {
    _Atomic uint64_t head;
    _Atomic uint64_t body;
};

/* Blocks of cells: REF_CELLS. */
extern const struct block_kind cell_blocks;

#endif
