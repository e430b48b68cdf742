/* What worker.c and map_worker.c do around each call of a function of the program: zero the memory for results, end
 * children that the function has forked, record its code, flush its output, count towards the worker's limit of tasks.
 * All of it is this process's own, so no lock is needed. */
#ifndef WORKER_ENV_H
#define WORKER_ENV_H

#include <mp.h>
#include <stdio.h>
#include <string.h>

#include "base/stream.h"
#include "pool/task.h"
#include "process/process.h"

/* The lowest code of the library's that a task may return: the last one before MP_EDIED in mp.h. Lower ones count as
 * MP_EVALUE. */
#define LOWEST_CODE MP_EDEPTH
#define ZERO_PAGE 4096

/* Set in every forked process, and cleared in a new worker. A task or an initializer may fork, and the child may return
 * from it too: that child is not the worker. */
extern bool worker_forked;
/* Tasks and chunks that this worker may still do, if there is a limit. */
extern uint32_t worker_tasks_left;

/* In a new worker: sets both. */
void worker_env_begin(const struct pool *pool);
/* The fork handler in the child: sets worker_forked. */
void worker_after_fork(void);

/* Ends this process if a function of the program has forked it. Called after each call of such a function. */
static inline void worker_leave_if_forked(void)
{
    if (worker_forked)
        process_leave(0);
}

/* Counts a task or chunk that this worker has done. False: it was the last one it may do. */
static inline bool worker_may_go_on(const struct pool *pool)
{
    return pool->tasks_per_child == 0 || --worker_tasks_left > 0;
}

/* The code recorded for a value that a task returned. */
static inline int worker_code(int code)
{
    return code >= LOWEST_CODE ? code : MP_EVALUE;
}

/* Zeroes memory for results. Reads a byte of each page first. Where other processes have the pages and this one has not
 * yet, a read fault maps many pages at a time, writable ones too; a write fault maps one. Without the reads, the first
 * map in place takes 1.2 times as long (tests/bench/limits.md). */
static inline void worker_zero(void *memory, size_t size)
{
    const volatile char *bytes = memory;

    for (size_t i = 0; i < size; i += ZERO_PAGE)
        (void)bytes[i];
    memset(memory, 0, size);
}

/* Flushes what a task has printed, so that it is seen before its result. */
static inline void worker_flush(void)
{
    if (!stream_is_empty(stdout))
        fflush(stdout);
    if (!stream_is_empty(stderr))
        fflush(stderr);
}

#endif
