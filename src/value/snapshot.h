/* Snapshots: a container's whole content as it was at one moment, in private memory. Comparing, printing, copying and
 * sorting work on snapshots, so they hold no mutex while they run. A container that a snapshot shows lives as long as
 * the snapshot. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <mp.h>

#include "object/hold.h"
#include "object/object.h"

struct snapshot_item {
    mp_value key; /* of type none for an item of a list */
    mp_value value;
};

struct snapshot {
    size_t count;
    struct snapshot_item *item; /* each owns its memory */
    struct heap *heap;
    struct hold_table holds; /* of the containers that are shown */
};

/* One attempt to read a container without its mutex. Its result counts if the reading does. */
struct snapshot_attempt {
    struct reading reading;
    struct snapshot *snapshot;
    uint64_t sum; /* of all words that were read */
};

/* Takes a snapshot of a dict (in order of insertion) or a list. Does not wait for a writer that is stopped. MP_EINVAL,
 * MP_ENOMEM, MP_EDEADLK. */
int snapshot_take(const void *handle, uint64_t kind, struct snapshot *snapshot);
/* Like snapshot_take(), for a caller that holds the object's mutex. `kind` is that of the caller's handle. The object
 * itself may say that it is dead: another process may give up the last share meanwhile. The content stays until the
 * mutex is released. */
int snapshot_take_locked(struct object *object, uint64_t kind, struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* ---- for the kinds, which read their content into it ---- */

/* Allocates `count` items; snapshot->count is 0. MP_ENOMEM. */
int snapshot_make_items(struct snapshot *snapshot, uint64_t count);
/* Adds words that were read to the attempt's sum. */
void snapshot_add_to_sum(struct snapshot_attempt *attempt, const uint64_t *words, size_t count);

#endif
