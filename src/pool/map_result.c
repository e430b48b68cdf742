#include "pool/map_result.h"

#include <string.h>

#include "heap/heap_file.h"
#include "pool/attachments.h"
#include "pool/job.h"
#include "pool/task_wait.h"

/* Results are copied out in lots of at least this many bytes, while workers go on with the rest. */
#define COLLECT_LEAST (UINT64_C(64) * 1024)

/* The first chunk that is not done; chunk_count: all are. */
static uint64_t first_not_done(struct mp_result *result)
{
    struct map_job *job = result->job;
    uint64_t at = atomic_load(&result->cursor);

    while (at < job->chunk_count && word_is_done(&job->chunk[at].word))
        at++;
    atomic_store(&result->cursor, at); /* several threads may store here: each value is true */
    return at;
}

bool map_is_done(struct mp_result *result)
{
    return first_not_done(result) == result->job->chunk_count;
}

/* Copies out the results that are new, if they are enough. On entry the items below `collected` have been copied, and
 * all chunks before `at` are done. Returns the new `collected`. */
static uint64_t collect(mp_pool *pool, const struct map_job *job, uint64_t at, unsigned char *to, uint64_t collected)
{
    uint64_t end = at == job->chunk_count ? job->count : job_first_item(job, at);
    uint64_t from = collected * job->result_size, bytes = (end - collected) * job->result_size;

    if (bytes == 0 || (bytes < COLLECT_LEAST && at < job->chunk_count))
        return collected;
    memcpy(to + from, job_results(&pool->shared, job) + from, bytes);
    return end;
}

/* Returns the chunk to wait for: the last one, not the next, for one wake-up instead of one per chunk. If results are
 * copied out as they arrive, it is the last chunk of the current level, if that level holds at least COLLECT_LEAST
 * bytes. If that chunk is done already, it is `at`, the first one that is not. */
static uint64_t chunk_to_wait_for(const struct map_job *job, uint64_t at, bool collects)
{
    uint64_t last = job->chunk_count - 1;

    if (collects) {
        const struct level *level = job_level(job, at), *end = &job->level[job->level_count];

        if (level + 1 < end && (level[1].item - level->item) * job->result_size >= COLLECT_LEAST)
            last = level[1].chunk - 1;
    }
    return task_state(atomic_load_explicit(&job->chunk[last].word, memory_order_relaxed)) != TASK_DONE ? last : at;
}

int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline, void *results)
{
    struct map_job *job = result->job;
    uint64_t at, collected = 0;

    while ((at = first_not_done(result)) < job->chunk_count) {
        if (results != NULL)
            collected = collect(pool, job, at, results, collected);
        uint64_t until = chunk_to_wait_for(job, at, results != NULL);
        int error = wait_for_word(pool, &job->chunk[until].word, &job->chunk[at].word, deadline);

        if (error != 0)
            return error;
    }
    if (results != NULL)
        collect(pool, job, at, results, collected);
    return 0;
}

/* Copies the results to `deliver_to`, once, if the heap there is still open. The caller holds the mutex. */
static void deliver(mp_pool *pool, struct map_job *job)
{
    void *to = job->deliver_to;
    uint64_t serial;

    job->deliver_to = NULL;
    if (to != NULL && heap_around(to, HEAP_MANAGER, &serial) != NULL && serial == job->results_serial)
        memcpy(to, job_results(&pool->shared, job), job->count * job->result_size);
}

/* Frees what only unfinished chunks need. All chunks must be done. Helpers that start later read the job and the words
 * of its chunks, but no block. May be called again. The caller holds the mutex. */
static void empty_job(mp_pool *pool, struct map_job *job)
{
    deliver(pool, job);
    attachment_release(pool, job->args_attachment);
    attachment_release(pool, job->results_attachment);
    job->args_attachment = job->results_attachment = 0;
    job_free_blocks(pool->shared.heap, job);
}

bool map_release(mp_pool *pool, struct map_job *job)
{
    job->released = true;
    if (job->helpers == 0 || map_is_done(&job->slot->result))
        empty_job(pool, job);
    return job->helpers == 0;
}

bool map_helper_gone(mp_pool *pool, struct map_job *job)
{
    if (--job->helpers > 0 || !job->released)
        return false;
    empty_job(pool, job);
    return true;
}

void map_deliver(mp_pool *pool, struct map_job *job)
{
    if (!job->placed)
        return;
    pthread_mutex_lock(&pool->mutex);
    deliver(pool, job);
    pthread_mutex_unlock(&pool->mutex);
}
