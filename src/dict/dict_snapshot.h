/* A dict's entries, in order of insertion, for a snapshot. */
#ifndef DICT_SNAPSHOT_H
#define DICT_SNAPSHOT_H

#include "value/snapshot.h"

/* The caller holds the dict's mutex. */
int dict_read_all(struct object *dict, struct snapshot *snapshot);
/* Without the mutex. */
int dict_try_to_read_all(struct snapshot_attempt *attempt);

#endif
