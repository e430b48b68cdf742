/* What depends on the kind of an object. Each kind has one such structure, in a file of its own, and one line in
 * kinds.c. So a new kind changes no file of a layer below it.
 *
 * There are two sorts of kinds:
 *   - containers, in which processes have holds, and which die with the last share;
 *   - others, which live until they are freed. */
#ifndef OBJECT_KIND_H
#define OBJECT_KIND_H

#include "object/object.h"

struct snapshot;
struct snapshot_attempt;

struct object_kind {
    const char *name;
    uint64_t kind; /* OBJECT_DICT, ... */
    mp_type type;  /* of a value that leads to such an object: for containers; others have MP_NONE */
    bool keyed;    /* a container: its items have keys, by which it is printed and compared */
    bool undo;     /* has an undo log, so that several words can change at once; every container has one */
    /* How many of the object's words and roots it uses. The others are 0. */
    unsigned char words, roots;
    /* Under the object's mutex, after the undo log was rolled back: finishes a change of several steps that the dead
     * owner has begun. NULL: the kind has no such changes. */
    void (*recover)(struct object *object);
    /* For the checker: whether the content is sound. NULL: any content is. */
    bool (*is_sound)(const struct object *object);
    /* For snapshots (snapshot.h); only containers have them. count() returns the number of items, and read() reads
     * them, both under the object's mutex. try_to_read() reads them without it. */
    uint64_t (*count)(const struct object *object);
    int (*read)(struct object *object, struct snapshot *snapshot);
    int (*try_to_read)(struct snapshot_attempt *attempt);
};

/* The table of kinds. It is in kinds.c, as it names what lies in layers above. NULL is behind the last. */
extern const struct object_kind *const object_kinds[];

/* NULL: it is not the kind of a live object. */
const struct object_kind *object_kind_of(uint64_t kind);
/* NULL: it is not the type of a container. */
const struct object_kind *object_kind_of_type(mp_type type);
static inline bool object_kind_has_undo(uint64_t kind)
{
    const struct object_kind *found = object_kind_of(kind);

    return found != NULL && found->undo;
}
static inline bool object_kind_is_container(uint64_t kind)
{
    const struct object_kind *found = object_kind_of(kind);

    return found != NULL && found->type != MP_NONE;
}

#endif
