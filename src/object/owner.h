/* Owners: how a process is known in a heap in which it holds dicts and lists, and how others find out that it is dead.
 *
 * WHO IS DEAD. Handles are inherited by fork. So what a process holds is given back when it, and every process forked
 * from it since it first held anything, has died, closed the manager, or replaced itself by exec. The kernel knows when
 * that is: an owner locks a byte of the heap's file through an open file description of its own, which forks share. An
 * owner is dead when
 *   - its byte is not locked, and
 *   - no process with its pid has the heap mapped. A program may close all its descriptors, and the lock with them, and
 *     go on.
 *
 * An owner that could not lock its byte (no descriptor left, no /proc) is never taken for dead: its holds end with the
 * heap. */
#ifndef OWNER_H
#define OWNER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/heap.h"

struct holder;
/* From this bit on a mark has the owner's number. */
#define OWNER_NUMBER_SHIFT 23

/* A hold to be given up: one in that object; or, with `kind` 0, the hold of a table, at that offset. */
struct owed {
    struct owed *next;
    uint64_t kind;
    const void *handle;
    uint64_t hold;
};

/* What this process knows of itself as an owner in a heap. It lives until the process closes the heap. */
struct owner {
    struct owner *next;
    struct heap *heap;
    uint64_t heap_seed; /* another heap may be mapped at the same addresses */
    pid_t process;
    uint64_t mark;                   /* its name in the heap: unique there, never 0 */
    int fd;                          /* through which its byte is locked; -1: it is not */
    _Atomic(struct holder *) holder; /* its record in the heap; NULL: none yet. Changed under the heap's mutex */
    _Atomic uint64_t grown;          /* heap.grown at the last look for the dead */
    _Atomic int64_t stuck_until;     /* until then threads do not wait for the heap's mutex: they only try */
    _Atomic int pins;                /* confirmed pins of single objects */
    pthread_mutex_t mutex;           /* guards the next two */
    int all_place, all_count;        /* of the pin of all objects; how many snapshots need it */
    _Atomic(struct owed *) owed; /* holds to be given up under the heap's mutex, as soon as it is free: see hold.c */
};

/* This process as an owner in the heap. Makes it one if it is none. Takes no mutex of the heap's. MP_ENOMEM. */
int owner_begin(struct heap *heap, struct owner **owner);
/* This process as an owner in the heap. NULL: it is none. */
struct owner *owner_find(const struct heap *heap);
/* This process closes the heap: calls `leave` for it as an owner, then forgets that owner and those inherited by
 * fork. */
void owner_leave(struct heap *heap, void (*leave)(struct owner *owner));
/* Whether the owner with that mark is dead. `left`: it has closed the heap. Such an owner is dead as soon as all
 * processes forked from it have closed the heap or ended, too, even if its process has opened the heap once more. Makes
 * system calls. Must not be called under the heap's mutex. */
bool owner_is_dead(const struct heap *heap, uint64_t mark, bool left);

#endif
