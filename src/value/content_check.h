/* What the checkers of dicts and lists share: whether cells and segments make sense. object_check.c has already found
 * that all blocks and refs add up. Here and in dict_kind.c and list_kind.c their meaning is checked: counts, lengths,
 * order and hashes, which a writer that holds the mutex trusts. */
#ifndef CONTENT_CHECK_H
#define CONTENT_CHECK_H

#include "object/segments.h"
#include "value/value.h"

/* A string of `size` bytes: up to `most` lie in the words themselves, more in a block. */
bool string_is_sound(const struct heap *heap, uint64_t head, uint64_t body, uint64_t most);
bool cell_is_sound(const struct heap *heap, const struct cell *cell);
/* A directory of segments of that kind. All have SEGMENT items, except that an only one may be smaller. Up to `missing`
 * of the first segments may be missing. */
bool segments_are_sound(const struct object *object, enum ref_kind kind, uint64_t missing);

#endif
