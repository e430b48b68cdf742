/* The checker's second half for dicts. */
#ifndef DICT_CHECK_H
#define DICT_CHECK_H

#include "object/object.h"

/* Whether a dict's content makes sense, so that the other files here can work with it. To be called when all other
 * processes are stopped, and after object_check.c has found that every ref in the dict either owns a real block of its
 * own, with room for what its first word says, or names a real object. */
bool dict_is_sound(const struct object *dict);

#endif
