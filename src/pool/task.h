/* What the caller, the keeper and the workers of a pool share. All of it lies in the pool's own heap, which all of them
 * have mapped at the same address; offsets are from the heap's start.
 *
 * THE TRUTH is one word per task (and per chunk of a map): free, queued, running by worker w, done. A worker claims a
 * task with one compare-and-swap of that word, which names it from that instant on. Before, it has stored the task in
 * its own record (worker.task): so for whatever died, the keeper looks at that one task, and its word says whether the
 * dead one had it. Everything else is a HINT of where to look, and may be wrong after a death: the queue of tickets and
 * its head, the ranges that workers have taken from it, the sets of sleeping and of searching workers. Whoever finds
 * that a hint may have been lost sets `rescan`, and the next worker looks at all tasks.
 *
 * SLEEPING. A worker that finds nothing puts itself into `sleeping`, looks once more, and sleeps on its own word. Who
 * queues a task wakes one of them, unless a worker is `searching` already: that one will find the task, and when it
 * does, and there are more, it wakes the next. So workers wake one by one, as work appears. All of this is idempotent
 * bit by bit: for a dead worker the keeper clears its bits, and wakes all others once, as it may have died while waking
 * one.
 *
 * SPINNING comes before sleeping, on either side, but not where the other side needs this very CPU to get on: a kernel
 * often puts who is woken beside the waker. So when the caller rests between tasks, a worker does not spin on the CPU
 * where the caller was seen last; and the caller spins only a little for a worker that has been woken and slept where
 * he is now. */
#ifndef TASK_H
#define TASK_H

#include <mp.h>

#include "heap/heap.h"
#include "pool/guests.h"

enum task_state { TASK_FREE, TASK_QUEUED, TASK_RUNNING, TASK_DONE };
#define TASK_STATE UINT32_C(7)
#define TASK_WAITER UINT32_C(8) /* somebody sleeps on the word: whoever makes it done wakes them */
#define TASK_WORKER_SHIFT 16

#define TASK_INLINE 64
#define CACHE_LINE 64

/* A task. The first cache line is all that a task with small arguments needs.
 * The argument lies in data when it fits, else in arg_block; the result behind it in data when it fits as well, else in
 * result_block. Written by the caller before the word says queued, by the worker while it says running by it, by the
 * keeper after that one died. function 0: the task is to help with a map, data begins with the job's offset. */
struct task {
    _Atomic uint32_t word;
    int32_t status; /* when done: 0, the task's code, or MP_E... */
    uint64_t function;
    uint64_t arg_size;
    uint64_t result_size; /* as asked for */
    unsigned char data[TASK_INLINE];
    _Atomic uint64_t arg_block;
    _Atomic uint64_t result_block;
    _Atomic uint64_t returned_block; /* what mp_task_return() was given: a struct returned */
    uint32_t deaths;                 /* workers that died of it */
    uint32_t returned;               /* 1: the result lies in returned_block */
};

/* A result whose size only the task knew. */
struct returned {
    _Alignas(16) uint64_t size;
    _Alignas(16) unsigned char data[];
};

/* Part of a map: consecutive items, claimed like a task. */
struct chunk {
    _Atomic uint32_t word;
    uint32_t done;   /* of its items: dealt with before its last worker died */
    int32_t status;  /* of the first item that failed */
    uint32_t deaths; /* at item `done` */
};

/* Consecutive chunks of one size; the last of all may be smaller. */
struct level {
    uint64_t chunk, item; /* the first of each */
    uint64_t size;        /* items of each chunk */
};

#define MAP_LEVELS 64

/* At most so many, as a futex tells so many kinds of waiters apart. */
#define MAP_PORTIONS 32
#define MAP_PORTION_AWAITED UINT32_C(0x80000000) /* somebody waits, or has waited, for one */

/* A map. Lies in a block of its own, the chunks behind it. */
struct map_job {
    uint64_t function;
    uint64_t count, arg_size, result_size;
    uint64_t chunk_count, level_count;
    struct level level[MAP_LEVELS];
    _Atomic uint64_t args, results, statuses; /* blocks; statuses: an int32_t per item */
    /* 0, or the address of memory in a manager's heap: used instead of the block. It is the same in all the pool's
     * processes unless the manager is a guest (guests.h), which the job then keeps until it is released. */
    uint64_t args_at, results_at;
    uint32_t args_guest, results_guest; /* index + 1; 0: none */
    /* Large arguments come in portions of so many bytes, while workers begin with those that are there; 0: all are. */
    uint64_t portion;
    _Atomic uint32_t
        portions; /* so many are there, and MAP_PORTION_AWAITED; a futex, portion n's waiters have bit n - 1 */
    uint64_t results_serial; /* of that heap (heap_around()), so that the caller knows when he has closed it */
    /* The caller's own. */
    struct slot *slot; /* of the map's result, which owns this job */
    uint64_t called;   /* helping tasks that were queued */
    uint64_t helpers;  /* those of them not yet taken back */
    bool released;     /* nobody will ask any more: goes with the last helper */
    bool placed;       /* results were wanted in a place of the caller's choice */
    void *deliver_to;  /* NULL, or that place, when results_at is 0: still to be copied there */
    _Alignas(CACHE_LINE) _Atomic uint64_t next; /* hint: the first chunk nobody has a ticket for */
    _Alignas(CACHE_LINE) struct chunk chunk[];
};

#define RESULT_MAGIC UINT64_C(0x6d705f7265733131)

/* The caller's handle, next to its task. Only the caller's process uses it. */
struct mp_result {
    _Atomic uint64_t magic; /* RESULT_MAGIC while the handle is live */
    struct mp_pool *pool;
    struct slot *next;       /* in the caller's lists */
    struct map_job *job;     /* of a map, else NULL */
    struct map_job *helping; /* of a task that helps with a map, else NULL */
    _Atomic uint64_t cursor; /* of a map: chunks below are done */
};

struct slot {
    _Alignas(CACHE_LINE) struct task task;
    _Alignas(CACHE_LINE) struct mp_result result;
};

/* Segment k holds SEGMENT_FIRST << k slots. */
#define SEGMENT_FIRST 64
#define SEGMENTS 24

enum worker_phase { WORKER_NONE, WORKER_STARTING, WORKER_WORKING, WORKER_LEAVING, WORKER_RETIRED, WORKER_REFUSED };

/* The most tasks that a worker takes from the queue at a time. */
#define WORKER_BATCH 16

/* A worker's record. Written by the worker; by the keeper before the fork and after the death. */
struct worker {
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t task; /* offset: what it is about to claim, or has claimed */
    _Atomic uint64_t job;                           /* the same for a chunk: the map, the chunk, the item it is at */
    _Atomic uint64_t chunk;
    _Atomic uint64_t item;
    _Atomic uint64_t next, end; /* batch[next .. end): taken from the queue, not yet looked at; others may steal */
    _Atomic int32_t pid;        /* 0: none */
    _Atomic uint32_t phase;     /* enum worker_phase */
    _Atomic uint32_t asleep;    /* futex: 1 while it sleeps or is about to */
    _Atomic uint32_t slept_on;  /* hint: cpu_now() when it went to sleep */
    _Atomic uint64_t staging;   /* owns a block of mp_task_return()'s on its way */
    _Atomic uint64_t spare;     /* owns a block that the worker zeroes ahead; 0: none */
    _Alignas(CACHE_LINE) _Atomic uint64_t batch[WORKER_BATCH]; /* offsets of tasks; what is not in use is stale, or 0 */
    _Atomic uint64_t
        failing; /* in a chunk: 1 + the item whose failure it has written, or is about to, to the chunk's status */
};

#define WORKER_SETS (MP_POOL_MAX_WORKERS / 64)

enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_TERMINATED };

struct pool {
    /* Written before the keeper is forked. */
    struct heap *heap;
    uint32_t workers;
    uint32_t sets; /* words of the sets below that are in use */
    uint32_t retries;
    uint32_t tasks_per_child; /* 0: no limit */
    int (*initializer)(void *);
    void *initializer_arg;
    int32_t caller; /* pid */
    struct worker *worker;

    _Atomic uint32_t cpus;    /* 0: not known yet. The caller counts them while the keeper starts the workers */
    _Atomic uint32_t state;   /* enum pool_state, only ever grows */
    _Atomic int32_t broken;   /* 0, or why no task will run any more: MP_EINITIALIZER, MP_EBROKEN */
    _Atomic uint32_t calls;   /* futex that the keeper sleeps on: counts what it is to look at */
    _Atomic uint32_t ending;  /* counts the keeper's steps when it ends the workers */
    _Atomic uint32_t grouped; /* 1: keeper and workers have a process group of their own */
    _Atomic uint32_t first;   /* 1: the keeper is the first process of a PID namespace */
    _Atomic uint32_t started; /* futex: 1 once all workers are forked; 2: could not be, see start_error */
    _Atomic int32_t start_error;
    /* 1: the keeper has ended as it should. A caller that ignores SIGCHLD never hears of its exit code. */
    _Atomic uint32_t orderly;
    _Atomic uint32_t rescan;         /* 1: look at all tasks, some may be queued that no ticket leads to */
    _Atomic uint32_t guests_changed; /* counts guests sent away: whoever has some mapped looks which */
    _Atomic uint32_t no_guests;      /* 1: a worker could not map one: no more of them */
    struct guest guest[GUESTS];
    _Atomic uint64_t segment[SEGMENTS];
    _Atomic uint64_t ring_block[SEGMENTS]; /* all rings there were: they are kept, so that a late reader finds sense */
    _Atomic uint64_t worker_block;

    /* The queue: tickets 0, 1, 2, ...; ticket t's task is ring[1 + t % size], ring[0] is the size, a power of two. The
     * caller writes a place again once the head is past it: so a worker reads the places it wants first, and believes
     * what it has read when it then moves the head past them. */
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t head; /* hint: the first ticket nobody has taken */
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t tail; /* tickets written; by the caller alone */
    _Atomic uint64_t ring;                          /* offset of the newest ring */
    /* Hints. wanted_cpu: where the caller is, a cpu_now(), when it wakes workers after a rest; 0: it does not rest in
     * between. woken_cpu: where the worker slept that was woken last and has not run since; 0: none. waited: when the
     * caller last looked whether a result was there. */
    _Alignas(2 * CACHE_LINE) _Atomic uint32_t wanted_cpu, woken_cpu;
    _Atomic int64_t waited;
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t sleeping[WORKER_SETS];
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t searching[WORKER_SETS];
};

#endif
