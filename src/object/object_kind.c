#include "object/object_kind.h"

const struct object_kind *object_kind_of(uint64_t kind)
{
    for (const struct object_kind *const *at = object_kinds; *at != NULL; at++) {
        if ((*at)->kind == kind)
            return *at;
    }
    return NULL;
}

const struct object_kind *object_kind_of_type(mp_type type)
{
    for (const struct object_kind *const *at = object_kinds; *at != NULL && type != MP_NONE; at++) {
        if ((*at)->type == type)
            return *at;
    }
    return NULL;
}
