/* Functions of the user's that run while this thread holds an object's mutex: what mp_dict_apply() and mp_list_sort()
 * call.
 *
 * Such a thread holds one mutex and may ask for others, in an order that nobody knows. So it never waits in a circle:
 * while it waits, each object that it holds says in `waits` what for, and a thread that would close a circle gets
 * MP_EDEADLK.
 *
 * A function may be left in other ways than by returning: by a C++ exception, pthread_exit() or longjmp(), and in two
 * processes at once, by fork(). */
#ifndef CALLBACK_H
#define CALLBACK_H

#include "object/object.h"

/* The calling thread is about to call a function while it holds this object's mutex. MP_EDEPTH: too deep inside
 * others. */
int callback_begin(struct object *object);
/* The function is over, by whatever way; the mutex is still held. False: this is a forked child of the process that
 * holds it, and may neither change the object nor unlock it. */
bool callback_end(struct object *object);
/* Whether the calling thread is inside such a function for an object of that heap; of any heap: mutex_kept > 0. */
bool callback_inside(const struct heap *heap);
/* Takes the mutex of an object. `number` is what pthread_mutex_trylock() returned when it failed. As mutex_lock();
 * MP_EDEADLK also when the wait would close a circle. */
int callback_lock(struct object *object, int number);

#endif
