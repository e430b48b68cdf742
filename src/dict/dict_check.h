/* The checker's second half for dicts. */
#ifndef DICT_CHECK_H
#define DICT_CHECK_H

#include "object/object.h"

/* Whether what a dict holds is something that the other files here can work with. To be called when all is stopped, and
 * known of every ref in the dict that it owns a real block, of its own, that has room for what its first word says, or
 * names a real object. */
bool dict_is_sound(const struct object *dict);

#endif
