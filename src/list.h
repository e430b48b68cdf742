/* What dict.c needs of lists. */
#ifndef LIST_H
#define LIST_H

#include <mp.h>

#include "object.h"

/* Makes a new list of `count` values, `stride` bytes apart, owned by *slot, an empty pending ref of `owner`, whose mutex is held.
 * MP_ENOMEM: *slot may own a part of it; release it. */
int list_from_values(struct object *owner, _Atomic uint64_t *slot, const mp_value *values, size_t stride, size_t count);

#endif
