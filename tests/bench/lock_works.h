/* The works of locks, the same for each system: taken and given back by one process, and by several at once; the lock
 * guards a count. */
#ifndef LOCK_WORKS_H
#define LOCK_WORKS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The count that the lock guards; lock_works_begin() makes it. */
extern volatile uint64_t *lock_guarded;
void lock_works_begin(void);

/* Runs the works, or the sweep, of one system: `once` takes the lock, adds one to *lock_guarded, and gives the lock
 * back. `enter` is what each process does before, or NULL. `part`: a slow one does, alone, one operation where others
 * do so many. */
void lock_works(const char *system, void (*once)(void), void (*enter)(void), size_t part);

#ifdef __cplusplus
}
#endif

#endif
