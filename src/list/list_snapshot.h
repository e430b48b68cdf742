/* A list's elements, for a snapshot. */
#ifndef LIST_SNAPSHOT_H
#define LIST_SNAPSHOT_H

#include "value/snapshot.h"

/* The caller holds the list's mutex. */
int list_read_all(struct object *list, struct snapshot *snapshot);
/* Without the mutex. */
int list_try_to_read_all(struct snapshot_attempt *attempt);

#endif
