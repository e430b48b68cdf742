/* A map: one job in the pool's heap, divided into chunks, and as many helping tasks in the queue as there are workers
 * to help. This header is shared by the caller (map.c), the workers and the supervisor (map_worker.c).
 *
 * Each chunk has a state word like a task's and is claimed in the same way; job.next is only a hint of where to look
 * first. A helper takes chunks until it has seen that none is queued. A worker records the item it is at. So when it
 * dies, only that item of its chunk is lost: the rest of the chunk is queued again, and so is the helping task, so that
 * some worker takes it. */
#ifndef MAP_H
#define MAP_H

#include "pool/dispatch.h"
#include "pool/mappings.h"

static inline const struct level *map_level(const struct map_job *job, uint64_t chunk)
{
    const struct level *level = &job->level[job->level_count - 1];

    while (level->chunk > chunk)
        level--;
    return level;
}

static inline uint64_t map_first_item(const struct map_job *job, uint64_t chunk)
{
    const struct level *level = map_level(job, chunk);

    return level->item + (chunk - level->chunk) * level->size;
}

static inline uint64_t map_chunk_items(const struct map_job *job, uint64_t chunk)
{
    uint64_t left = job->count - map_first_item(job, chunk), size = map_level(job, chunk)->size;

    return left < size ? left : size;
}

/* The addresses of the arguments and of the results in this process. */
static inline const unsigned char *map_args(struct pool *pool, const struct map_job *job)
{
    return job->args_at != 0 ? mapping_memory(pool, job->args_attachment, job->args_at)
                             : heap_at(pool->heap, atomic_load(&job->args));
}

static inline unsigned char *map_results(struct pool *pool, const struct map_job *job)
{
    return job->results_at != 0 ? mapping_memory(pool, job->results_attachment, job->results_at)
                                : heap_at(pool->heap, atomic_load(&job->results));
}

/* Records that an item has failed with `code`: note_status() the status only; item_failed() also zeroes its result. */
void map_note_status(struct heap *heap, struct map_job *job, struct chunk *chunk, uint64_t item, int code);
void map_item_failed(struct pool *pool, struct map_job *job, struct chunk *chunk, uint64_t item, int code);

/* Worker, in a helping task: works on chunks until none is left. False: the worker must be replaced first, as it has
 * done its number of tasks or cannot map an attachment. */
bool map_help(struct pool *pool, uint32_t worker, struct map_job *job);
/* Supervisor: finishes or requeues the chunk that a dead worker was in. */
void map_lost(struct pool *pool, struct worker *worker, uint32_t index, int error);

#endif
