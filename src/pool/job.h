/* A map: one job in the pool's heap, divided into chunks, and helping tasks ("helpers") in the queue, one for each
 * worker that is to take part. This file has what caller, workers and supervisor share. map.c makes maps,
 * map_worker.c runs them, map_result.c waits for them, recover.c settles the chunk of a dead worker.
 *
 * Each chunk has a state word like a task's and is claimed in the same way; job.next is only a hint of where to look
 * first. A helper takes chunks until it has seen that none is queued. A worker records the item it is at. So when it
 * dies, only that item of its chunk has to be run again, or fails. The rest of the chunk is queued again, and so is the
 * helper, for another worker.
 *
 * LOCKS. A queued chunk belongs to no process, a running one to the worker that its word names, and that of a dead
 * worker to the supervisor. So chunks need no mutex. */
#ifndef JOB_H
#define JOB_H

#include "pool/mappings.h"

static inline const struct level *job_level(const struct map_job *job, uint64_t chunk)
{
    const struct level *level = &job->level[job->level_count - 1];

    while (level->chunk > chunk)
        level--;
    return level;
}

static inline uint64_t job_first_item(const struct map_job *job, uint64_t chunk)
{
    const struct level *level = job_level(job, chunk);

    return level->item + (chunk - level->chunk) * level->size;
}

static inline uint64_t job_chunk_items(const struct map_job *job, uint64_t chunk)
{
    uint64_t left = job->count - job_first_item(job, chunk), size = job_level(job, chunk)->size;

    return left < size ? left : size;
}

/* The addresses of the arguments and of the results in this process. */
static inline const unsigned char *job_args(struct pool *pool, const struct map_job *job)
{
    return job->args_at != 0 ? mapping_memory(pool, job->args_attachment, job->args_at)
                             : heap_at(pool->heap, atomic_load(&job->args));
}

static inline unsigned char *job_results(struct pool *pool, const struct map_job *job)
{
    return job->results_at != 0 ? mapping_memory(pool, job->results_attachment, job->results_at)
                                : heap_at(pool->heap, atomic_load(&job->results));
}

/* Record that an item has failed with `code`. job_item_failed() also zeroes its result. */
void job_note_status(struct heap *heap, struct map_job *job, struct chunk *chunk, uint64_t item, int code);
void job_item_failed(struct pool *pool, struct map_job *job, struct chunk *chunk, uint64_t item, int code);

/* The status of the first item that failed; 0: none did. */
int job_status(const struct map_job *job);
/* Stores the status of one item, in a map that keeps statuses. MP_EINDEX. */
int job_item_status(struct heap *heap, struct map_job *job, uint64_t index, int *status);
/* In the caller: whether the results are still there. Those in a manager's memory go when the caller closes the
 * manager. */
bool job_has_results(const struct map_job *job);
/* Frees arguments, results and statuses. */
void job_free_blocks(struct heap *heap, struct map_job *job);
/* In the caller: fails all chunks that are not done. The mutex is held, and the supervisor has ended. */
void job_fail(struct pool *pool, struct map_job *job, int error);

#endif
