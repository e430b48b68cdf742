/* Tables of refs that an object owns: word 0 of a REF_TABLE block says how many refs follow it. They grow by being
 * replaced. */
#ifndef REF_TABLE_H
#define REF_TABLE_H

#include "object/object.h"

/* Makes an empty table with room for `count` refs, all 0, in *slot (a pending ref). MP_ENOMEM. */
int ref_table_new(struct object *object, uint64_t count, _Atomic uint64_t *slot);
/* Makes room for one more ref in the table that *root owns. *pending, an empty pending ref, is used for it and empty
 * again afterwards. A change of its own. MP_ENOMEM. */
int ref_table_reserve(struct object *object, _Atomic uint64_t *root, _Atomic uint64_t *pending);

#endif
