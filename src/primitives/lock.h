/* What a lock is as a kind of object, for the table of kinds (kinds.c). The functions of locks are in mp.h. */
#ifndef LOCK_H
#define LOCK_H

#include "object/object_kind.h"

extern const struct object_kind lock_kind;

#endif
