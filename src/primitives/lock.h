#ifndef LOCK_H
#define LOCK_H

#include "object/object_kind.h"

extern const struct object_kind lock_kind;

#endif
