/* Snapshots: a container's whole content as it was at one moment, in private memory. What compares, prints, copies and
 * sorts containers works on these, so that it holds no mutex while it takes its time. The containers that a snapshot
 * shows live as long as it does. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <mp.h>

#include "object/hold.h"
#include "object/object.h"

struct snapshot_item {
    mp_value key; /* none for a list's */
    mp_value value;
};

struct snapshot {
    size_t count;
    struct snapshot_item *item; /* each owns its memory */
    struct heap *heap;
    struct hold_table holds; /* of the containers that are shown */
};

/* Of a dict (in order of insertion) or a list. Does not wait for a writer that is stopped. MP_EINVAL, MP_ENOMEM,
 * MP_EDEADLK. */
int snapshot_take(const void *handle, uint64_t kind, struct snapshot *snapshot);
/* The same by one who holds the object's mutex. */
int snapshot_take_locked(struct object *object, struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

#endif
