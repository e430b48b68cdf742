#include "pool/job.h"

#include <string.h>

#include "heap/heap_file.h"
#include "pool/dispatch.h"

void job_note_status(struct heap *heap, struct map_job *job, struct chunk *chunk, uint64_t item, int code)
{
    uint64_t statuses = atomic_load(&job->statuses);

    if (chunk->status == 0)
        chunk->status = code;
    if (statuses != 0)
        ((int32_t *)heap_at(heap, statuses))[item] = code;
}

void job_item_failed(struct pool *pool, struct map_job *job, struct chunk *chunk, uint64_t item, int code)
{
    job_note_status(pool->heap, job, chunk, item, code);
    if (job->result_size > 0)
        memset(job_results(pool, job) + item * job->result_size, 0, job->result_size);
}

int job_status(const struct map_job *job)
{
    for (uint64_t i = 0; i < job->chunk_count; i++) {
        if (job->chunk[i].status != 0)
            return job->chunk[i].status;
    }
    return 0;
}

int job_item_status(struct heap *heap, struct map_job *job, uint64_t index, int *status)
{
    if (index >= job->count)
        return MP_EINDEX;
    *status = ((int32_t *)heap_at(heap, atomic_load(&job->statuses)))[index];
    return 0;
}

bool job_has_results(const struct map_job *job)
{
    uint64_t serial;

    return job->results_at == 0 ||
           (heap_around((const void *)(uintptr_t)job->results_at, HEAP_MANAGER, &serial) != NULL &&
            serial == job->results_serial);
}

void job_free_blocks(struct heap *heap, struct map_job *job)
{
    heap_free(heap, &job->args);
    heap_free(heap, &job->results);
    heap_free(heap, &job->statuses);
}

void job_fail(struct pool *pool, struct map_job *job, int error)
{
    bool has_results = job_has_results(job);

    for (uint64_t i = 0; i < job->chunk_count; i++) {
        struct chunk *chunk = &job->chunk[i];

        if (task_state(atomic_load(&chunk->word)) == TASK_DONE)
            continue;
        for (uint64_t item = chunk->done; item < job_chunk_items(job, i); item++) {
            if (has_results)
                job_item_failed(pool, job, chunk, job_first_item(job, i) + item, error);
            else
                job_note_status(pool->heap, job, chunk, job_first_item(job, i) + item, error);
        }
        task_finish(&chunk->word);
    }
}
