/* Data shared by the processes of a pool: the caller, which made the pool and submits tasks, the supervisor and the
 * workers. All of it lies in the pool's own heap, which all of them have mapped at the same address. Offsets are from
 * the heap's start. Between the processes there is no lock but the heap's own. The caller's threads exclude each other
 * by a mutex (caller.h).
 *
 * THE TRUTH is one state word per task (and per chunk of a map): free, queued, running by worker w, done. A worker
 * claims a task with one compare-and-swap of that word, which names the worker from then on. Before the CAS the worker
 * writes the task's offset to its own record (worker.task). After a death the supervisor examines only that task: its
 * word says whether the dead worker owned it. All other data is a HINT of where to look, and may be wrong after a
 * death: the queue of tickets and its head, the ranges that workers have taken from it, the sets of sleeping and of
 * searching workers. A process that finds that a hint may have been lost sets `rescan`, and the next worker looks at
 * all tasks.
 *
 * SLEEPING. A worker that finds nothing adds itself to `sleeping`, looks once more, and sleeps on its own futex. A
 * process that queues a task wakes one of the sleepers, unless a worker is `searching` already: that worker will find
 * the task, and if there are more, it wakes the next. So workers wake one by one, as work appears. Every step sets or
 * clears single bits and is idempotent. For a dead worker the supervisor clears its bits, and wakes all others once, as
 * it may have died while waking one.
 *
 * SPINNING comes before sleeping on either side, but not where the other side needs this very CPU: a kernel often puts
 * the woken process beside the waker. So when the caller rests between tasks, a worker does not spin on the CPU where
 * the caller was seen last. The caller spins only briefly for a worker that has been woken and slept on the CPU where
 * the caller is now. */
#ifndef TASK_H
#define TASK_H

#include <mp.h>

#include "base/units.h"
#include "heap/heap.h"

enum task_state { TASK_FREE, TASK_QUEUED, TASK_RUNNING, TASK_DONE };
#define TASK_STATE UINT32_C(7)
#define TASK_WAITER UINT32_C(8) /* there are sleepers on the word: the process that sets it to done wakes them */
#define TASK_WORKER_SHIFT 16

#define TASK_INLINE 64

/* A task. A task with small arguments needs the first cache line only. The argument lies in `data` if it fits, else in
 * arg_block. The result lies behind it in `data` if it fits as well, else in result_block. Writers:
 * - the caller, before the word says queued;
 * - the worker, while the word says running by that worker;
 * - the supervisor, after that worker died;
 * - the caller, once the supervisor has ended.
 * Waiters set TASK_WAITER at any time. function 0: the task is to help with a map, and `data` begins with the job's
 * offset. */
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

/* A result whose size is chosen by the task, in mp_task_return(). */
struct returned {
    _Alignas(16) uint64_t size;
    _Alignas(16) unsigned char data[];
};

/* Part of a map: consecutive items, claimed like a task. */
struct chunk {
    _Atomic uint32_t word;
    uint32_t done;   /* items dealt with before its last worker died */
    int32_t status;  /* of the first item that failed */
    uint32_t deaths; /* at item `done` */
};

/* Consecutive chunks of one size. The last chunk of the map may be smaller. */
struct level {
    uint64_t chunk, item; /* the first of each */
    uint64_t size;        /* items of each chunk */
};

#define MAP_LEVELS 64

/* Most portions of a map: a futex bitset tells 32 kinds of waiters apart. */
#define MAP_PORTIONS 32
#define MAP_PORTION_AWAITED UINT32_C(0x80000000) /* a worker waits, or has waited, for a portion */

/* A map. Lies in a block of its own, followed by its chunks. */
struct map_job {
    uint64_t function;
    uint64_t count, arg_size, result_size;
    uint64_t chunk_count, level_count;
    struct level level[MAP_LEVELS];
    _Atomic uint64_t args, results, statuses; /* blocks; statuses: an int32_t per item */
    /* 0, or the address of memory in a manager's heap: used instead of the block. It is the same in all the pool's
     * processes unless the manager is an attachment, which the job then keeps until it is released. */
    uint64_t args_at, results_at;
    uint32_t args_attachment, results_attachment; /* index + 1; 0: none */
    /* Large arguments arrive in portions of this many bytes, while workers begin with those that are there. 0: all
     * are. */
    uint64_t portion;
    _Atomic uint32_t
        portions; /* number of portions there, and MAP_PORTION_AWAITED; a futex, waiters for portion n use bit n - 1 */
    uint64_t results_serial; /* of that heap (heap_around()), so that the caller knows when it has closed the heap */
    /* The caller's own. */
    struct slot *slot; /* of the map's result, which owns this job */
    uint64_t called;   /* helping tasks that were queued */
    uint64_t helpers;  /* those of them not yet taken back */
    bool released;     /* the caller has freed the result: the job goes with the last helper */
    bool placed;       /* the caller chose the place for the results */
    void *deliver_to;  /* NULL, or that place, when results_at is 0: still to be copied there */
    _Alignas(CACHE_LINE) _Atomic uint64_t next; /* hint: the first chunk that no worker has a ticket for */
    _Alignas(CACHE_LINE) struct chunk chunk[];
};

#define RESULT_MAGIC UINT64_C(0x6d705f7265733131)

/* The caller's handle, next to its task. Used by the caller's process only. */
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

/* A worker's record. Written by the worker; before and right after the fork, and after its death, by the supervisor. A
 * process that wakes the worker clears `asleep`. */
struct worker {
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t task; /* offset: what it is about to claim, or has claimed */
    _Atomic uint64_t job;                           /* likewise for a chunk: the map, the chunk, the item it is at */
    _Atomic uint64_t chunk;
    _Atomic uint64_t item;
    _Atomic uint64_t next, end; /* batch[next .. end): taken from the queue, not yet looked at; others may steal */
    _Atomic int32_t pid;        /* 0: none */
    _Atomic uint32_t phase;     /* enum worker_phase */
    _Atomic uint32_t asleep;    /* futex: 1 while it sleeps or is about to */
    _Atomic uint32_t slept_on;  /* hint: cpu_now() when it went to sleep */
    _Atomic uint64_t staging;   /* owns a block of mp_task_return() until it is exchanged */
    _Atomic uint64_t spare;     /* owns a block that the worker zeroes ahead; 0: none */
    _Alignas(CACHE_LINE) _Atomic uint64_t batch[WORKER_BATCH]; /* offsets of tasks; what is not in use is stale, or 0 */
    _Atomic uint64_t
        failing; /* in a chunk: 1 + the item whose failure it has written, or is about to, to the chunk's status */
};

#define ATTACHMENTS 16

enum attachment_state { ATTACHMENT_NONE, ATTACHMENT_WANTED, ATTACHMENT_THERE, ATTACHMENT_REFUSED };
#define ATTACHMENT_STATE UINT32_C(3)
#define ATTACHMENT_NUMBER_SHIFT 2

/* A manager younger than the pool: supervisor and workers have not inherited it. They map its memory when a map first
 * wants to use it in place, and unmap it when the caller closes the manager. See attachments.c.
 *
 * One word holds the attachment's number, which is counted up, and its state. The caller writes it, except for the step
 * from wanted to there or refused: the supervisor makes that step with a CAS from the word it has read, so it can never
 * apply to the next attachment in this place (no ABA). All other fields that are shared are written before the word
 * says wanted. */
struct attachment {
    _Atomic uint32_t word;                    /* futex */
    _Atomic int32_t caller_fd, supervisor_fd; /* the file, in these processes; the supervisor's while it is there */
    _Atomic uint64_t serial, start, length, device, inode; /* struct heap_file; start: the address in the caller */
    /* The caller's own. */
    uint64_t maps; /* maps that use it and are not yet released: until then it stays */
    uint64_t used; /* when a map wanted it last: attachments_wanted then */
    bool closed;   /* goes with the last map */
};

#define WORKER_SETS (MP_POOL_MAX_WORKERS / 64)

enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_TERMINATED };

struct pool {
    /* Written before the supervisor is forked. */
    struct heap *heap;
    uint32_t workers;
    uint32_t sets; /* words of the sets below that are in use */
    uint32_t retries;
    uint32_t tasks_per_child; /* 0: no limit */
    int (*initializer)(void *);
    void *initializer_arg;
    int32_t caller; /* pid */
    struct worker *worker;

    _Atomic uint32_t cpus;    /* 0: not known yet. The caller counts them while the supervisor starts the workers */
    _Atomic uint32_t state;   /* enum pool_state, only ever grows */
    _Atomic int32_t broken;   /* 0, or why no task will run any more: MP_EINITIALIZER, MP_EBROKEN */
    _Atomic uint32_t calls;   /* futex that the supervisor sleeps on: counts events for it */
    _Atomic uint32_t ending;  /* counts the supervisor's steps when it ends the workers */
    _Atomic uint32_t grouped; /* 1: supervisor and workers have a process group of their own */
    _Atomic uint32_t first;   /* 1: the supervisor is the first process of a PID namespace */
    _Atomic uint32_t started; /* futex: 1 once all workers are forked; 2: could not be, see start_error */
    _Atomic int32_t start_error;
    /* 1: the supervisor has ended as it should. A caller that ignores SIGCHLD never hears of its exit code. */
    _Atomic uint32_t orderly;
    _Atomic uint32_t rescan;              /* 1: look at all tasks, as no ticket may lead to some queued ones */
    _Atomic uint32_t attachments_changed; /* counts removed attachments: each process unmaps those */
    _Atomic uint32_t no_attachments;      /* 1: a worker could not map an attachment: no new ones */
    struct attachment attachment[ATTACHMENTS];
    _Atomic uint64_t segment[SEGMENTS];
    _Atomic uint64_t ring_block[SEGMENTS]; /* all rings ever made: kept, as a late reader may still read one */
    _Atomic uint64_t worker_block;

    /* The queue: tickets 0, 1, 2, ... The task of ticket t is ring[1 + t % size]; ring[0] is the size, a power of two.
     * The caller writes a place again only once the head is past it. So a worker first reads the places it wants, then
     * moves the head past them with a CAS: if that succeeds, what it read is valid. */
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t head; /* hint: the first ticket not taken */
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t tail; /* tickets written; by the caller alone */
    _Atomic uint64_t ring;                          /* offset of the newest ring */
    /* Hints.
     * - wanted_cpu: where the caller is, a cpu_now(), when it wakes workers after a rest; 0: it does not rest in
     *   between.
     * - woken_cpu: where the worker slept that was woken last and has not run since; 0: none.
     * - waited: when the caller last looked whether a result was there. */
    _Alignas(2 * CACHE_LINE) _Atomic uint32_t wanted_cpu, woken_cpu;
    _Atomic int64_t waited;
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t sleeping[WORKER_SETS];
    _Alignas(2 * CACHE_LINE) _Atomic uint64_t searching[WORKER_SETS];
};

#endif
