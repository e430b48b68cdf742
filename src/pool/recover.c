#include "pool/recover.h"

#include <limits.h>

#include "base/delay.h"
#include "base/futex.h"
#include "pool/dispatch.h"
#include "pool/job.h"

/* Undoes what a dead worker wrote about the failure of the item that it was still at. */
static void take_back_failure(struct heap *heap, struct map_job *job, struct chunk *chunk, struct worker *worker,
                              uint64_t item)
{
    uint64_t statuses = atomic_load(&job->statuses);

    if (atomic_load(&worker->failing) == item + 1)
        chunk->status = 0;
    if (statuses != 0)
        ((int32_t *)heap_at(heap, statuses))[item] = 0;
}

/* Whether the worker of that index had claimed the task or chunk, and not finished it. If it has finished it, wakes the
 * waiters: it may have died between setting the word to done and waking them. */
static bool had_claimed(_Atomic uint32_t *word, uint32_t index)
{
    uint32_t now = atomic_load(word);

    if (task_runs_on(now, index))
        return true;
    if (task_state(now) == TASK_DONE)
        futex_wake(word, INT_MAX);
    return false;
}

/* Finishes or requeues the chunk that the dead worker was in. */
static void settle_chunk(struct pool *pool, struct worker *worker, uint32_t index, int error)
{
    uint64_t offset = atomic_load(&worker->job);

    if (offset == 0)
        return;
    struct map_job *job = heap_at(pool->heap, offset);
    uint64_t at = atomic_load(&worker->chunk);
    struct chunk *chunk = &job->chunk[at];
    if (!had_claimed(&chunk->word, index))
        return;
    uint32_t done = (uint32_t)(atomic_load(&worker->item) - job_first_item(job, at));
    uint64_t items = job_chunk_items(job, at);
    /* It wrote `item` before it claimed the chunk. In between, another worker may have claimed the chunk and died in
     * it; the supervisor then advanced chunk->done. */
    if (done < chunk->done)
        done = chunk->done;
    if (done != chunk->done)
        chunk->deaths = 0;
    chunk->done = done;
    if (done < items)
        take_back_failure(pool->heap, job, chunk, worker, job_first_item(job, at) + done);
    if (done < items && chunk->deaths++ >= pool->retries) {
        job_item_failed(pool, job, chunk, job_first_item(job, at) + done, error);
        chunk->done++;
        chunk->deaths = 0;
    }
    if (chunk->done == items)
        task_finish(&chunk->word);
    else
        task_requeue(&chunk->word);
}

/* Requeues or fails the task of the dead worker. Its record names the task it was about to claim or had claimed. */
static void settle_task(struct pool *pool, struct worker *worker, uint32_t index, int error)
{
    uint64_t offset = atomic_load(&worker->task);

    if (offset == 0)
        return;
    struct task *task = heap_at(pool->heap, offset);
    if (!had_claimed(&task->word, index))
        return;
    if (task->function == 0) {
        settle_chunk(pool, worker, index, error);
        task_requeue(&task->word);
    } else if (task->deaths < pool->retries) {
        task->deaths++;
        task_requeue(&task->word);
    } else {
        task->status = error;
        task_finish(&task->word);
    }
}

void recover_worker(struct pool *pool, uint32_t index, int error)
{
    struct worker *worker = &pool->worker[index];

    settle_task(pool, worker, index, error);
    heap_free(pool->heap, &worker->staging);
    heap_free(pool->heap, &worker->spare);
    /* Order matters: clear `asleep` first. A concurrent waker then either reads asleep == 0 and backs out, or has
     * already set the `searching` bit that we clear next. */
    DELAY_POINT();
    atomic_store(&worker->asleep, 0);
    DELAY_POINT();
    set_remove(pool->searching, index);
    DELAY_POINT();
    set_remove(pool->sleeping, index);
}
