/* The children of this process: their handles, the registry of those that live, and what a fork does to both.
 *
 * OWNERSHIP. A child belongs to the process that started it (`generation` tells which one that was): all others get
 * MP_EFOREIGN. The live children are in a registry, oldest first. A child leaves it as soon as it is found to have
 * ended. It is reaped at the same time, unless other threads wait for it.
 *
 * THREADS AND SIGNALS. One mutex guards the registry and every handle. Its holder has all signals blocked: so no signal
 * handler of the program runs while its thread holds the mutex, and such a handler may fork(), or call exit(), without
 * waiting for itself. A start blocks signals from before the fork until the pid is noted: so no child is forgotten at
 * the end.
 * The mutex is never held while waiting, or while memory is allocated or freed. A waiter counts itself in `waiters`,
 * unlocks the mutex, sleeps (in waitid(), or, with a deadline, on a pidfd), and locks the mutex again to look. The
 * first waiter to see the end notes the exit code. The last waiter reaps, so that the pid is not reused while one of
 * them is still on its way to sleep, and gives back the memory of a freed handle. Memory of handles is type-stable: it
 * is reused for handles only and never returned, so a stale handle always leads to a magic number that can be checked.
 *
 * FORK. Any fork, of the program's own too, locks the mutex first, so the child finds the registry whole. The child
 * then closes the descriptors of the `holders` and empties the registry; the handles of its siblings show by their
 * generation that they are not its own. (A child that was made without fork handlers does so when it first calls the
 * library; see lifecycle_pid().) The cost does not depend on the number of siblings that are not daemons: they have no
 * descriptor. The child writes as few pages as it can, since each is copied for it. An entry is in the registry before
 * its process is forked (with pid 0), so that a fork by another thread at that moment closes its descriptors too. */
#ifndef PROCESS_REGISTRY_H
#define PROCESS_REGISTRY_H

#include <mp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/descriptor.h"
#include "base/proc.h"

#define PROCESS_MAGIC UINT64_C(0x6d705f70726f6331)
#define PROCESS_ROOM 40 /* bytes of most names with their identities */

struct mp_process {
    uint64_t magic;                     /* PROCESS_MAGIC while the handle is live */
    struct mp_process *previous, *next; /* in the registry; `next` also in the list of spare handles */
    struct mp_process *previous_holder, *next_holder;
    uint64_t generation; /* the generation of the process whose child it is */
    pid_t pid;           /* 0: about to be forked */
    struct pid_belief belief;
    struct descriptor pidfd; /* while a thread waits with a deadline */
    struct descriptor lifeline[2];
    int waiters;
    bool holds;  /* it has descriptors, and so is in the list of holders */
    bool ended;  /* its exit code is known, and it is out of the registry */
    bool zombie; /* it has ended, and the last waiter has to reap it */
    bool daemon;
    bool has_lifeline;
    int exitcode;
    const char *name;
    const char *identity;           /* "2:1": the second child's first child */
    struct mp_process *made_before; /* links all handles that malloc() gave */
    char *memory;                   /* for name and identity if `room` is too small, else NULL */
    char room[PROCESS_ROOM];
};

/* Under the mutex: the oldest live child, and how many forks this process is away from the first. */
extern struct mp_process *registry_oldest;
extern uint64_t registry_generation;

void registry_lock(void);
/* Like registry_lock(), but for callers that know that a fork handler, if any was needed, has run in this process. */
void registry_lock_as_known(void);
void registry_unlock(void);

/* To be called once, before anything else. */
void registry_begin(void);
/* Takes a handle for a child that is to be started. NULL: no memory. Without the mutex. */
struct mp_process *registry_take_spare(void);
/* Whether the address is that of a handle that this process, or one that it was forked from, has made. The caller holds
 * the mutex; so it does for all functions from here on, except where they say otherwise. */
bool registry_has(const struct mp_process *process);
/* Puts a handle into the list of spare ones. The memory of its name is freed on reuse, not here. */
void registry_put_spare(struct mp_process *process);
void registry_link(struct mp_process *process);
void registry_unlink(struct mp_process *process);
/* To be called after descriptors of the process have been opened or closed. */
void registry_note_descriptors(struct mp_process *process);
void registry_close_lifeline(struct mp_process *process);
/* Releases what no waiter needs any more. The process has ended. */
void registry_release(struct mp_process *process);
/* The child was forked. Without the mutex, and with all signals blocked. */
void registry_note_started(struct mp_process *process, pid_t pid);

void registry_before_fork(void);
/* Runs in the child of any fork, with the mutex held by the forking thread. If no fork handler has run, it runs at the
 * child's first call, and the mutex may have been held by another thread of the parent: it is initialized anew. */
void registry_after_fork(void);
/* In the parent and, after registry_after_fork(), in the child. */
void registry_fork_done(void);

#endif
