#ifndef MEMORY_H
#define MEMORY_H

#include "object/object_kind.h"

extern const struct object_kind memory_kind;

#endif
