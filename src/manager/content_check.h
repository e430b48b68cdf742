/* Whether what a dict or a list holds is something that dict.c and list.c can work with. */
#ifndef CONTENT_CHECK_H
#define CONTENT_CHECK_H

#include "object/object.h"

/* To be called when all is stopped, and known of every ref in the object that it owns a real block, of its own, that
 * has room for what its first word says, or names a real object. */
bool content_is_sound(const struct object *object);

#endif
