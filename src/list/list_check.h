/* The checker's second half for lists. */
#ifndef LIST_CHECK_H
#define LIST_CHECK_H

#include "object/object.h"

/* Like dict_is_sound(), for a list. */
bool list_is_sound(const struct object *list);

#endif
