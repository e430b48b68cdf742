/* What a list is as a kind of object, for the table of kinds (kinds.c). */
#ifndef LIST_KIND_H
#define LIST_KIND_H

#include "object/object_kind.h"

extern const struct object_kind list_kind;

#endif
