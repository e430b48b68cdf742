/* What a dict is as a kind of object, for the tables of kinds (kinds.c). */
#ifndef DICT_KIND_H
#define DICT_KIND_H

#include "object/object_kind.h"
#include "object/ref.h"

extern const struct object_kind dict_kind;
/* Blocks of entries: REF_ENTRIES. */
extern const struct block_kind entry_blocks;

#endif
