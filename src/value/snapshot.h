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

/* One try to read a container without its mutex. What it finds counts if the reading does. */
struct snapshot_attempt {
    struct reading reading;
    struct snapshot *snapshot;
    uint64_t sum; /* of all words that were read */
};

/* Of a dict (in order of insertion) or a list. Does not wait for a writer that is stopped. MP_EINVAL, MP_ENOMEM,
 * MP_EDEADLK. */
int snapshot_take(const void *handle, uint64_t kind, struct snapshot *snapshot);
/* The same by one who holds the object's mutex. The kind is that of the handle: the last share may be given up meanwhile,
 * and then the object says that it is dead, though its content stays until the mutex is given back. */
int snapshot_take_locked(struct object *object, uint64_t kind, struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* ---- for the kinds, which read their content into it ---- */

/* Place for so many items, of which none is there yet. MP_ENOMEM. */
int snapshot_make_items(struct snapshot *snapshot, uint64_t count);
/* Adds words that were read. */
void snapshot_add_to_sum(struct snapshot_attempt *attempt, const uint64_t *words, size_t count);

#endif
