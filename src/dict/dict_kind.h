#ifndef DICT_KIND_H
#define DICT_KIND_H

#include "object/object_kind.h"

extern const struct object_kind dict_kind;

#endif
