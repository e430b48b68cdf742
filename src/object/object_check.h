/* The checker of a heap: mp_manager_check() and the tests call it. */
#ifndef OBJECT_CHECK_H
#define OBJECT_CHECK_H

#include "object/object.h"

/* The checker: every block of the heap belongs to exactly one ref that can be reached from an object, counts of shares
 * are right, free lists are sound, contents are sound by the is_sound() of their kinds (object_kind.h). Whatever the
 * memory holds, it neither crashes nor hangs. 0, MP_ECORRUPT, MP_ENOMEM, MP_EDEADLK (this thread is inside),
 * MP_ETIMEOUT (could not stop all others). `extra`, when given, is called to name refs outside objects: it calls
 * mark(context, ref) for each. */
typedef void object_marker(void *context, uint64_t ref);
int object_check_heap(struct heap *heap, void (*extra)(struct heap *heap, object_marker *mark, void *context));

#endif
