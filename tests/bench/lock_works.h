/* The works of locks, the same for each system: acquired and released by one process, and by several at once. The lock
 * guards a count. */
#ifndef LOCK_WORKS_H
#define LOCK_WORKS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The count that the lock guards. lock_works_begin() makes it. */
extern volatile uint64_t *lock_guarded;
void lock_works_begin(void);

/* Runs the works, or the sweep, of one system. `once` acquires the lock, adds one to *lock_guarded, and releases the
 * lock. `enter` is called in each process before, or is NULL. `part`: in the work of one process, a slow system does
 * one operation where others do that many. */
void lock_works(const char *system, void (*once)(void), void (*enter)(void), size_t part);

#ifdef __cplusplus
}
#endif

#endif
