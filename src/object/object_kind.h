/* What an object of a kind can do that depends on its kind. Each kind has one such structure, in a file of its own, and
 * one line in kinds.c: so a new kind changes no file of a layer below it.
 *
 * Two sorts of kinds:
 *   - containers, in which processes have holds, and which end with the last share. They have an undo log;
 *   - others, which live until they are freed. */
#ifndef OBJECT_KIND_H
#define OBJECT_KIND_H

#include "object/object.h"

struct snapshot;
struct snapshot_attempt;

struct object_kind {
    uint64_t kind; /* OBJECT_DICT, ... */
    bool container;
    /* After the undo log was rolled back, under the object's mutex: takes up a change of several steps where its dead
     * owner left it. NULL: there is none. */
    void (*recover)(struct object *object);
    /* For the checker: whether the content makes sense. NULL: whatever it holds does. */
    bool (*is_sound)(const struct object *object);
    /* For snapshots (snapshot.h), of containers: how many items there are, and reads them, both under the object's
     * mutex; reads all without it. */
    uint64_t (*count)(const struct object *object);
    int (*read)(struct object *object, struct snapshot *snapshot);
    int (*try_to_read)(struct snapshot_attempt *attempt);
};

/* The table: in kinds.c, as it names what lies above. NULL behind the last. */
extern const struct object_kind *const object_kinds[];

/* NULL: no kind of a live object, or nonsense. */
const struct object_kind *object_kind_of(uint64_t kind);
static inline bool object_kind_is_container(uint64_t kind)
{
    const struct object_kind *found = object_kind_of(kind);

    return found != NULL && found->container;
}

#endif
