/* Maps, the caller's side: the public functions, which divide a map into chunks, copy its arguments, and submit it.
 * See job.h for the parts of a map. Waiting for a map and copying its results out is in map_result.c, running it in
 * map_worker.c.
 *
 * LOCKS. The mutex is held while the job is made and its helpers are queued. It is not held while an attachment is
 * requested, or while arguments are copied in portions. */
#include <limits.h>
#include <mp.h>
#include <string.h>

#include "base/futex.h"
#include "base/units.h"
#include "heap/heap_file.h"
#include "pool/attachments.h"
#include "pool/job.h"
#include "pool/slots.h"

/* Arguments of at least STREAM_LEAST bytes are copied in portions of at least PORTION_LEAST bytes, while workers
 * begin. */
#define STREAM_LEAST (UINT64_C(256) * 1024)
#define PORTION_LEAST (UINT64_C(64) * 1024)
static struct map_job *job_of(struct heap *heap, struct slot *slot)
{
    uint64_t block = atomic_load(&slot->task.arg_block);

    return heap_at(heap, round_up(block, CACHE_LINE));
}

/* Memory in a manager's heap. */
struct place {
    uint64_t at; /* its address in the caller; 0: not in a manager's heap, or the workers cannot map it */
    uint32_t attachment;
    struct heap_file file;
    uint64_t offset;
};

struct request {
    mp_task_function *function;
    const void *args;
    uint64_t count, arg_size, result_size, chunk_size;
    bool statuses;
    bool waits;    /* the caller keeps args unchanged until the map is done */
    bool placed;   /* results go to the chosen place, before any get */
    void *results; /* where the caller wants them; NULL: not known yet */
    struct place args_place, results_place;
};

/* Memory in a manager's heap that was open already when the supervisor was forked is mapped at the same address in all
 * the pool's processes. A younger heap is mapped there as an attachment. Arguments and results in such memory need not
 * be copied. Two exceptions are copied:
 * - memory that is not aligned as tasks may expect it;
 * - arguments that overlap the results. They would be zeroed, or half overwritten when their item has to be run again,
 *   or overwritten by results that are copied out while other items are still to be worked on. */

static bool is_aligned(const void *memory)
{
    return (uintptr_t)memory % 16 == 0;
}

/* Whether the memory lies in a manager's heap. Fills in the file and the offset. */
static bool find_place(const void *memory, uint64_t size, struct place *place)
{
    const struct heap *heap = heap_find(memory, HEAP_MANAGER, &place->file);

    if (heap == NULL || size == 0)
        return false;
    uint64_t end = atomic_load(&heap->size);
    place->offset = heap_offset(heap, memory);
    return place->offset >= sizeof *heap && place->offset < end && size <= end - place->offset;
}

static bool overlap(const struct place *a, uint64_t a_size, const struct place *b, uint64_t b_size)
{
    return a->file.device == b->file.device && a->file.inode == b->file.inode && a->offset < b->offset + b_size &&
           b->offset < a->offset + a_size;
}

/* Makes a place that was found usable in the pool's processes, if it is aligned. */
static void open_place(mp_pool *pool, const void *memory, struct place *place)
{
    if (!is_aligned(memory))
        return;
    if (place->file.serial > pool->serial) {
        place->attachment = attachment_request(pool, &place->file, (const char *)memory - place->offset);
        if (place->attachment == 0)
            return;
    }
    place->at = (uint64_t)(uintptr_t)memory;
}

static void look_for_places(mp_pool *pool, struct request *request)
{
    uint64_t args_size = request->count * request->arg_size, results_size = request->count * request->result_size;
    struct place *args = &request->args_place, *results = &request->results_place;
    bool args_found = request->waits && find_place(request->args, args_size, args);
    bool results_found = request->results != NULL && find_place(request->results, results_size, results);

    if (results_found)
        open_place(pool, request->results, results);
    if (args_found && (!results_found || !overlap(args, args_size, results, results_size)))
        open_place(pool, request->args, args);
}

/* Guided scheduling, unless the chunk size is given: the first chunks are large and the last ones single items. So no
 * worker is still at a long chunk when the others have nothing left to do, whatever the items cost, and there are few
 * chunks. Half of what is left goes into chunks of one size (a level), four for each worker; then half of the rest, and
 * so on. */

static uint64_t guided_size(uint64_t left, uint64_t workers)
{
    uint64_t size = (left + 8 * workers - 1) / (8 * workers);

    return size > UINT32_MAX ? UINT32_MAX : size;
}

/* Fills in the levels; returns how many. */
static uint64_t guide(struct level *level, uint64_t count, uint64_t workers)
{
    uint64_t levels = 0, chunk = 0;

    for (uint64_t item = 0; item < count; levels++) {
        uint64_t left = count - item, size = guided_size(left, workers);
        uint64_t chunks = size == 1 ? left : (left / 2 + size - 1) / size;

        level[levels] = (struct level){chunk, item, size};
        chunk += chunks;
        item += chunks * size;
    }
    return levels;
}

/* Fills in the levels of a map; returns how many. If workers are replaced after a number of chunks, there are fewer
 * chunks, all of one size. */
static uint64_t divide(const mp_pool *pool, struct level *level, uint64_t count, uint64_t chunk_size)
{
    uint64_t workers = pool->shared.workers;

    if (chunk_size == 0 && pool->shared.tasks_per_child == 0 && count > 0)
        return guide(level, count, workers);
    uint64_t size = chunk_size != 0 ? chunk_size : (count + 4 * workers - 1) / (4 * workers);
    size = size > UINT32_MAX ? UINT32_MAX : size;
    level[0] = (struct level){0, 0, size > 0 ? size : 1};
    return 1;
}

static uint64_t chunks_of(const struct level *level, uint64_t levels, uint64_t count)
{
    const struct level *last = &level[levels - 1];

    return last->chunk + (count - last->item + last->size - 1) / last->size;
}

/* The caller copies large arguments while the first workers are at work already, after it has unlocked the mutex. It
 * queues helpers as work for them arrives, the first one before the copy, as it may have to be woken. The caller itself
 * needs a CPU while it copies. A portion counts once it is whole. If the caller dies in between, the pool dies with it,
 * including the workers that wait for a portion. */

/* The number of helpers that may be at work while the caller copies. 0: portions would not pay. */
static uint64_t helpers_meanwhile(const mp_pool *pool)
{
    uint64_t cpus = pool->shared.cpus, workers = pool->shared.workers;

    return workers < cpus || cpus == 0 ? workers : cpus - 1;
}

static uint64_t helpers_in_all(const mp_pool *pool, const struct map_job *job)
{
    return job->chunk_count < pool->shared.workers ? job->chunk_count : pool->shared.workers;
}

/* The size of portions; 0: all arguments are copied before a worker begins, or need not be copied. No portions if the
 * results are in place: they may lie where the arguments are copied from. */
static uint64_t portion_size(const mp_pool *pool, const struct map_job *job)
{
    uint64_t bytes = job->count * job->arg_size, size = bytes / MAP_PORTIONS / CACHE_LINE * CACHE_LINE + CACHE_LINE;

    if (job->args_at != 0 || job->results_at != 0 || bytes < STREAM_LEAST || helpers_meanwhile(pool) == 0)
        return 0;
    return size > PORTION_LEAST ? size : PORTION_LEAST;
}

/* Allocates the blocks of a map. Until the job exists, words of its slot and `staging` own the large blocks. These are
 * allocated first: after the last map has freed its blocks, the new ones lie at the same place, in pages that the
 * workers have mapped, even if the small job of that map is still allocated. */
static int take_blocks(mp_pool *pool, const struct request *request, struct slot *slot, uint64_t job_bytes)
{
    struct heap *heap = pool->shared.heap;
    int error = 0;

    if (request->args_place.at == 0)
        error = heap_alloc(heap, request->count * request->arg_size, &slot->task.result_block);
    if (error == 0 && request->results_place.at == 0)
        error = heap_alloc(heap, request->count * request->result_size, &slot->task.returned_block);
    if (error == 0 && request->statuses)
        error = heap_alloc(heap, request->count * sizeof(int32_t), &pool->staging);
    if (error == 0)
        error = heap_alloc(heap, job_bytes + CACHE_LINE, &slot->task.arg_block);
    if (error != 0)
        heap_free(heap, &pool->staging);
    return error;
}

/* Between the two stores both words own the block. No process sees this state: only the caller moves blocks, and the
 * pool's heap does not outlive it. */
static void move_block(_Atomic uint64_t *from, _Atomic uint64_t *to)
{
    atomic_store(to, atomic_load(from));
    atomic_store(from, 0);
}

/* Copies the arguments, unless they come in portions or lie in place, and zeroes the statuses. */
static void fill_blocks(struct heap *heap, struct map_job *job, const void *args)
{
    uint64_t statuses = atomic_load(&job->statuses);

    if (job->args_at == 0 && job->portion == 0 && job->arg_size > 0 && job->count > 0)
        memcpy(heap_at(heap, atomic_load(&job->args)), args, job->count * job->arg_size);
    if (statuses != 0)
        memset(heap_at(heap, statuses), 0, job->count * sizeof(int32_t));
}

static void describe_job(const mp_pool *pool, const struct request *request, struct map_job *job)
{
    job->function = (uint64_t)(uintptr_t)request->function;
    job->count = request->count;
    job->arg_size = request->arg_size;
    job->result_size = request->result_size;
    job->args_at = request->args_place.at;
    job->results_at = request->results_place.at;
    job->args_attachment = request->args_place.attachment;
    job->results_attachment = request->results_place.attachment;
    job->results_serial = request->results_place.file.serial;
    job->placed = request->placed;
    if (request->placed && job->results_at == 0)
        job->deliver_to = request->results;
    job->portion = portion_size(pool, job);
}

/* Makes a slot whose arg_block owns the job. The caller holds the mutex. */
static int make_job(mp_pool *pool, const struct request *request, struct slot **result)
{
    struct level level[MAP_LEVELS];
    uint64_t levels = divide(pool, level, request->count, request->chunk_size);
    uint64_t chunks = chunks_of(level, levels, request->count);
    uint64_t bytes = sizeof(struct map_job) + chunks * sizeof(struct chunk);
    struct slot *slot = slot_take(pool);
    if (slot == NULL)
        return MP_ENOMEM;
    int error = take_blocks(pool, request, slot, bytes);
    if (error != 0) {
        slot_recycle(pool, slot);
        return error;
    }
    struct map_job *job = job_of(pool->shared.heap, slot);
    memset(job, 0, bytes);
    describe_job(pool, request, job);
    job->chunk_count = chunks;
    job->level_count = levels;
    memcpy(job->level, level, levels * sizeof *level);
    for (uint64_t i = 0; i < chunks; i++)
        atomic_store_explicit(&job->chunk[i].word, TASK_QUEUED, memory_order_relaxed);
    move_block(&slot->task.result_block, &job->args);
    move_block(&slot->task.returned_block, &job->results);
    move_block(&pool->staging, &job->statuses);
    fill_blocks(pool->shared.heap, job, request->args);
    job->slot = slot;
    slot->result.pool = pool;
    slot->result.job = job;
    atomic_store(&slot->result.cursor, 0);
    *result = slot;
    return 0;
}

/* Queues helpers until `wanted` have been queued in all, including those that have ended. 0 if at least one has been
 * queued. The caller holds the mutex. */
static int submit_helpers(mp_pool *pool, struct map_job *job, uint64_t wanted)
{
    uint64_t offset = heap_offset(pool->shared.heap, job);

    while (job->called < wanted) {
        struct slot *slot;
        int error = slot_prepare(pool, &slot, 0, &offset, sizeof offset, 0);

        if (error == 0 && (error = slot_submit(pool, slot)) != 0)
            slot_recycle(pool, slot);
        if (error != 0)
            return job->called > 0 ? 0 : error;
        slot->result.helping = job;
        slot_detach(pool, slot);
        job->called++;
        job->helpers++;
    }
    return 0;
}

/* Queues more helpers while the arguments arrive. Errors are ignored: the helpers already queued can do all the
 * work. */
static void call_helpers(mp_pool *pool, struct map_job *job, uint64_t wanted)
{
    pthread_mutex_lock(&pool->mutex);
    if (pool_refusal(pool) == 0)
        (void)submit_helpers(pool, job, wanted);
    pool_unlock(pool);
    dispatch_wake_by_caller(&pool->shared);
}

static void copy_portions(mp_pool *pool, struct map_job *job, const unsigned char *args)
{
    unsigned char *to = heap_at(pool->shared.heap, atomic_load(&job->args));
    uint64_t bytes = job->count * job->arg_size, all = helpers_in_all(pool, job), most = helpers_meanwhile(pool);

    for (uint64_t copied = 0, size, helpers = 1; copied < bytes; copied += size) {
        size = bytes - copied < job->portion ? bytes - copied : job->portion;
        memcpy(to + copied, args + copied, size);
        uint32_t before = atomic_fetch_add(&job->portions, 1);
        if (before & MAP_PORTION_AWAITED)
            futex_wake_some(&job->portions, INT_MAX, UINT32_C(1) << (before & ~MAP_PORTION_AWAITED));
        /* Each helper begins with its share of the first half. */
        uint64_t due = 1 + 2 * all * (copied + size) / bytes;
        if (due > most)
            due = most;
        if (copied + size == bytes || due > all)
            due = all;
        if (due > helpers)
            call_helpers(pool, job, helpers = due);
    }
}

static int start_map(mp_pool *pool, struct request *request, struct slot **result)
{
    struct slot *slot;

    look_for_places(pool, request);
    pthread_mutex_lock(&pool->mutex);
    int error = pool_refusal(pool);
    if (error == 0)
        error = make_job(pool, request, &slot);
    if (error == 0) {
        struct map_job *job = slot->result.job;

        error = submit_helpers(pool, job, job->portion != 0 ? 1 : helpers_in_all(pool, job));
        if (error != 0) {
            job_free_blocks(pool->shared.heap, job);
            slot_recycle(pool, slot);
        } else {
            atomic_store_explicit(&slot->result.magic, RESULT_MAGIC, memory_order_relaxed);
        }
    }
    if (error != 0) {
        attachment_release(pool, request->args_place.attachment);
        attachment_release(pool, request->results_place.attachment);
    }
    pool_unlock(pool);
    if (error != 0)
        return error;
    dispatch_wake_by_caller(&pool->shared);
    if (slot->result.job->portion != 0)
        copy_portions(pool, slot->result.job, request->args);
    *result = slot;
    return 0;
}

static int check_request(const struct request *request)
{
    if (request->function == NULL || (request->args == NULL && request->arg_size > 0 && request->count > 0))
        return MP_EINVAL;
    if (request->count > SIZE_MOST || request->arg_size > SIZE_MOST || request->result_size > SIZE_MOST)
        return MP_EOVERFLOW;
    uint64_t bytes;
    if (__builtin_mul_overflow(request->count, request->arg_size, &bytes) || bytes > UINT64_C(1) << 44 ||
        __builtin_mul_overflow(request->count, request->result_size, &bytes) || bytes > UINT64_C(1) << 44)
        return MP_EOVERFLOW;
    return 0;
}

static struct request request_for(mp_task_function *function, const void *args, size_t arg_size, size_t result_size,
                                  size_t count, const mp_map_options *options)
{
    return (struct request){.function = function,
                            .args = args,
                            .count = count,
                            .arg_size = arg_size,
                            .result_size = result_size,
                            .chunk_size = options != NULL ? options->chunk_size : 0};
}

static int map_async(mp_pool *pool, struct request *request, const mp_map_options *options, mp_result **result)
{
    struct slot *slot;

    if (result == NULL || (options != NULL && options->status != NULL))
        return MP_EINVAL;
    request->statuses = true;
    int error = check_request(request);
    if (error == 0 && options != NULL && options->results != NULL) {
        request->results = options->results;
        request->waits = request->placed = true;
        if (request->count > 0 && request->result_size > 0 &&
            (!is_aligned(options->results) ||
             !find_place(options->results, request->count * request->result_size, &request->results_place)))
            error = MP_EINVAL;
    }
    if (error == 0)
        error = start_map(pool, request, &slot);
    if (error == 0)
        *result = &slot->result;
    return error;
}

int mp_pool_map_async(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, size_t result_size,
                      size_t count, mp_result **result, const mp_map_options *options)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    int state = cancelling_forbid();
    struct request request = request_for(function, args, arg_size, result_size, count, options);
    error = map_async(pool, &request, options, result);
    cancelling_allow(state);
    pool_leave();
    return error;
}

static void copy_statuses(struct heap *heap, struct map_job *job, int *status)
{
    for (uint64_t i = 0; i < job->count; i++)
        job_item_status(heap, job, i, &status[i]);
}

static int map_with(mp_pool *pool, struct request *request, void *results, const mp_map_options *options)
{
    struct slot *slot;

    if ((results == NULL && request->result_size > 0 && request->count > 0) ||
        (options != NULL && options->results != NULL))
        return MP_EINVAL;
    request->statuses = options != NULL && options->status != NULL;
    request->waits = true;
    request->results = results;
    int error = check_request(request);
    if (error == 0)
        error = start_map(pool, request, &slot);
    if (error != 0)
        return error;
    error = mp_result_get(&slot->result, results, request->result_size * request->count, MP_FOREVER);
    if (request->statuses)
        copy_statuses(pool->shared.heap, slot->result.job, options->status);
    mp_result_free(&slot->result);
    return error;
}

int mp_pool_map_with(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                     size_t result_size, size_t count, const mp_map_options *options)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    int state = cancelling_forbid();
    struct request request = request_for(function, args, arg_size, result_size, count, options);
    error = map_with(pool, &request, results, options);
    cancelling_allow(state);
    pool_leave();
    return error;
}

int mp_pool_map(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                size_t result_size, size_t count)
{
    return mp_pool_map_with(pool, function, args, arg_size, results, result_size, count, NULL);
}
