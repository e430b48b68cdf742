#include "pool/map_worker.h"

#include <string.h>

#include "base/clock.h"
#include "base/delay.h"
#include "pool/dispatch.h"
#include "pool/job.h"
#include "pool/worker_env.h"
#include "sync/wait.h"

/* Takes up to this many chunks from job.next at once, where there are plenty. */
#define MAX_BATCH 64

/* Record first, then the status: the supervisor must be able to tell whether the chunk's status comes from an item that
 * is run again. */
static void note_failure(struct pool *pool, struct worker *record, struct map_job *job, struct chunk *chunk,
                         uint64_t item, int code)
{
    if (chunk->status == 0)
        atomic_store_explicit(&record->failing, item + 1, memory_order_relaxed);
    undo_order();
    job_item_failed(pool, job, chunk, item, code);
}

static void run_chunk(struct pool *pool, struct worker *record, struct map_job *job, uint64_t index)
{
    struct chunk *chunk = &job->chunk[index];
    mp_task_function *const function = (mp_task_function *)(uintptr_t)job->function;
    const uint64_t arg_size = job->arg_size, result_size = job->result_size;
    uint64_t item = job_first_item(job, index) + chunk->done;
    const uint64_t end = job_first_item(job, index) + job_chunk_items(job, index);
    /* As integers, which stay 0 if there are no arguments or results. */
    uintptr_t arg = arg_size > 0 ? (uintptr_t)(job_args(pool, job) + item * arg_size) : 0;
    uintptr_t result = result_size > 0 ? (uintptr_t)(job_results(pool, job) + item * result_size) : 0;

    if (result_size > 0)
        worker_zero((void *)result, (end - item) * result_size);
    for (; item < end; item++, arg += arg_size, result += result_size) {
        atomic_store_explicit(&record->item, item, memory_order_relaxed);
        undo_order();
        DELAY_POINT();
        int code = function((const void *)arg, (void *)result);
        worker_leave_if_forked();
        if (code != 0)
            note_failure(pool, record, job, chunk, item, worker_code(code));
        undo_order();
    }
    atomic_store_explicit(&record->item, end, memory_order_relaxed);
    worker_flush();
    DELAY_POINT();
    task_finish(&chunk->word);
}

/* ---- arguments that are still on their way ---- */

/* The number of portions that must be there before the chunk can begin. */
static uint32_t portions_for(const struct map_job *job, uint64_t chunk)
{
    uint64_t end = (job_first_item(job, chunk) + job_chunk_items(job, chunk)) * job->arg_size;

    return (uint32_t)((end + job->portion - 1) / job->portion);
}

static bool has_args(struct map_job *job, uint64_t chunk)
{
    uint32_t portions = atomic_load_explicit(&job->portions, memory_order_acquire) & ~MAP_PORTION_AWAITED;

    return job->portion == 0 || portions >= portions_for(job, chunk);
}

static bool is_enough(const struct wait *wait, uint32_t portions)
{
    return (portions & ~MAP_PORTION_AWAITED) >= wait->value;
}

/* The worker holds no chunk here: if it dies, no chunk is lost. */
static void wait_for_args(struct map_job *job, uint64_t chunk)
{
    if (has_args(job, chunk))
        return;
    uint32_t needed = portions_for(job, chunk);
    /* The caller, when it adds a portion, sees MAP_PORTION_AWAITED. */
    wait_for(&(struct wait){.word = &job->portions,
                            .is_over = is_enough,
                            .value = needed,
                            .mark = MAP_PORTION_AWAITED,
                            .who = UINT32_C(1) << (needed - 1),
                            .deadline = DEADLINE_NEVER});
}

/* ---- chunks ---- */

static bool claim_chunk(struct pool *pool, struct worker *record, uint32_t worker, struct map_job *job, uint64_t index)
{
    struct chunk *chunk = &job->chunk[index];

    if (task_state(atomic_load_explicit(&chunk->word, memory_order_relaxed)) != TASK_QUEUED)
        return false;
    wait_for_args(job, index);
    /* Record first, then claim, as with tasks. */
    atomic_store_explicit(&record->chunk, index, memory_order_relaxed);
    atomic_store_explicit(&record->item, job_first_item(job, index) + chunk->done, memory_order_relaxed);
    atomic_store_explicit(&record->failing, 0, memory_order_relaxed);
    atomic_store_explicit(&record->job, heap_offset(pool->heap, job), memory_order_relaxed);
    undo_order();
    DELAY_POINT();
    return task_claim(&chunk->word, worker);
}

/* Runs those of chunks [from, to) that no worker has claimed. False: this worker has done its share, or cannot map the
 * memory of the map; a newly forked one can. */
static bool run_chunks(struct pool *pool, uint32_t worker, struct map_job *job, uint64_t from, uint64_t to)
{
    struct worker *record = &pool->worker[worker];

    for (uint64_t i = from; i < to; i++) {
        if (!claim_chunk(pool, record, worker, job, i))
            continue;
        /* Only after the claim: until the chunk is done, the job and its attachments stay. */
        if (!mapping_make(pool, job->args_attachment) || !mapping_make(pool, job->results_attachment)) {
            task_requeue(&job->chunk[i].word);
            return false;
        }
        run_chunk(pool, record, job, i);
        if (!worker_may_go_on(pool))
            return false;
    }
    return true;
}

/* Within a level, each worker takes its own share of the chunks first and then those of the others in turn. So in the
 * next map over the same memory it touches the same pages, which it has mapped and perhaps in its cache. While its
 * arguments have not arrived it begins with the first chunks. The next level begins only when all chunks of this one
 * are taken, as smaller chunks are to come last. */
static bool help_by_levels(struct pool *pool, uint32_t worker, struct map_job *job)
{
    for (uint64_t i = 0; i < job->level_count; i++) {
        uint64_t first = job->level[i].chunk;
        uint64_t end = i + 1 < job->level_count ? job->level[i + 1].chunk : job->chunk_count;
        uint64_t own = first + (end - first) * worker / pool->workers;

        if (end <= atomic_load_explicit(&job->next, memory_order_relaxed))
            continue;
        if (!has_args(job, own))
            own = first;
        if (!run_chunks(pool, worker, job, own, end) || !run_chunks(pool, worker, job, first, own))
            return false;
        atomic_store_explicit(&job->next, end, memory_order_relaxed);
    }
    return true;
}

static bool help_in_turn(struct pool *pool, uint32_t worker, struct map_job *job)
{
    for (;;) {
        uint64_t next = atomic_load_explicit(&job->next, memory_order_relaxed);

        if (next >= job->chunk_count)
            return true;
        uint64_t batch = (job->chunk_count - next) / (pool->workers * 8);
        batch = batch < 1 ? 1 : batch > MAX_BATCH ? MAX_BATCH : batch;
        next = atomic_fetch_add(&job->next, batch);
        DELAY_POINT();
        uint64_t end = next + batch < job->chunk_count ? next + batch : job->chunk_count;
        if (!run_chunks(pool, worker, job, next, end))
            return false;
    }
}

bool map_help(struct pool *pool, uint32_t worker, struct map_job *job)
{
    bool all = (job->level_count > 1 ? help_by_levels : help_in_turn)(pool, worker, job);

    /* Chunks that other workers took tickets for and have not claimed, or that were queued again. */
    return all && run_chunks(pool, worker, job, 0, job->chunk_count);
}
