/* Making objects, and freeing those that only their handle keeps.
 *
 * An object's place is made once and then goes between use and heap.spare for ever. */
#ifndef OBJECT_CREATE_H
#define OBJECT_CREATE_H

#include "object/object.h"

/* Makes an object that is owned only by a handle of its own: for locks and memory. All its words are zero, except that
 * those of a lock may hold anything. */
int object_create(struct heap *heap, uint64_t kind, struct object **object);
/* Like object_create(), but owned by *slot (a pending ref of another object, or a word of the heap's header): the
 * object goes away when the owner of *slot does. */
int object_create_in(struct heap *heap, uint64_t kind, _Atomic uint64_t *slot, struct object **object);
/* Like object_create(), but owned by a hold of the calling process: see hold.h. */
int object_create_held(struct heap *heap, uint64_t kind, struct object **object);
/* Gives up the handle that object_create() made. MP_EINVAL when it was given up before. */
int object_free(const void *handle, uint64_t kind);
/* The heap's root, in a heap that was just opened: 0, or MP_ECORRUPT when it cannot be an object of that kind. */
int object_root(struct heap *heap, uint64_t kind, struct object **root);

#endif
