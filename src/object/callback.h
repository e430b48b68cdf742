/* Functions of the program's that run while a thread holds an object's mutex: mp_dict_apply() and mp_list_sort() call
 * them.
 *
 * Such a thread holds one mutex and may ask for others, in any order. So that no deadlock arises, a thread looks for a
 * circle before it waits (a wait-for graph): while it waits, each object that it holds says in `waits` what the thread
 * waits for. A thread whose wait would close a circle gets MP_EDEADLK.
 *
 * A function may end in other ways than by returning: by a C++ exception, pthread_exit() or longjmp(). After a fork()
 * inside it, it ends in two processes. */
#ifndef CALLBACK_H
#define CALLBACK_H

#include "object/object.h"

/* The calling thread is about to call a function while it holds this object's mutex. MP_EDEPTH: it is inside too many
 * already. */
int callback_begin(struct object *object);
/* The function has ended, in whatever way; the mutex is still held. False: this process is a forked child of the one
 * that holds the mutex, and may neither change the object nor unlock it. */
bool callback_end(struct object *object);
/* Whether the calling thread is inside such a function for an object of that heap; of any heap: mutex_kept > 0. */
bool callback_inside(const struct heap *heap);
/* Takes the mutex of an object. `number` is what pthread_mutex_trylock() returned when it failed. Returns what
 * mutex_lock() does; MP_EDEADLK also when the wait would close a circle. */
int callback_lock(struct object *object, int number);

#endif
