/* Maps, the caller's side: what they are made of is in map.h. */
#include <mp.h>
#include <string.h>

#include "map.h"
#include "pool.h"

static struct map_job *job_of(struct heap *heap, struct slot *slot)
{
    uint64_t block = atomic_load(&slot->task.arg_block);

    return heap_at(heap, (block + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
}

static void free_content(struct heap *heap, struct map_job *job)
{
    heap_free(heap, &job->args);
    heap_free(heap, &job->results);
    heap_free(heap, &job->statuses);
}

static int fill_job(struct heap *heap, struct map_job *job, const void *args, bool statuses)
{
    int error = job->args_at != 0 ? 0 : heap_alloc(heap, job->count * job->arg_size, &job->args);

    if (error == 0 && job->results_at == 0)
        error = heap_alloc(heap, job->count * job->result_size, &job->results);
    if (error == 0 && statuses)
        error = heap_alloc(heap, job->count * sizeof(int32_t), &job->statuses);
    if (error != 0) {
        free_content(heap, job);
        return error;
    }
    if (job->args_at == 0 && job->arg_size > 0 && job->count > 0)
        memcpy(heap_at(heap, atomic_load(&job->args)), args, job->count * job->arg_size);
    if (statuses)
        memset(heap_at(heap, atomic_load(&job->statuses)), 0, job->count * sizeof(int32_t));
    return 0;
}

/* Memory in a manager's heap. */
struct place {
    uint64_t at; /* its address in the caller; 0: not in a manager's heap, or not to be had in the workers */
    uint32_t guest;
    struct heap_file file;
    uint64_t offset;
};

struct request {
    mp_task_function *function;
    const void *args;
    uint64_t count, arg_size, result_size, chunk_size;
    bool statuses;
    bool waits;    /* args stay as they are until the end */
    bool placed;   /* results go where they are wanted, whoever waits for them */
    void *results; /* where the caller wants them; NULL: not known yet */
    struct place args_place, results_place;
};

/* ---- in place ----
 *
 * Memory in a manager's heap that was open already when the keeper was forked is the same memory, at the same address, in all
 * the pool's processes; that of a younger one is mapped there as a guest. Arguments and results that lie there need not be
 * copied. Two exceptions: what is not aligned as tasks may expect it; and arguments in the results' memory, which would be
 * zeroed, or half overwritten when their item has to be run again: they are copied, the results are not. */

/* Whether it lies, aligned, in a manager's heap; and where there. */
static bool find_place(const void *memory, uint64_t size, struct place *place)
{
    const struct heap *heap = heap_find(memory, HEAP_MANAGER, &place->file);

    if (heap == NULL || (uintptr_t)memory % 16 != 0 || size == 0)
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

/* Sees to it that the pool's processes can use what was found. */
static void open_place(mp_pool *pool, const void *memory, struct place *place)
{
    if (place->file.serial > pool->serial) {
        place->guest = guest_invite(pool, &place->file, (const char *)memory - place->offset);
        if (place->guest == 0)
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
    if (args_found && (results->at == 0 || !overlap(args, args_size, results, results_size)))
        open_place(pool, request->args, args);
}

static void leave_guests(mp_pool *pool, uint32_t *args_guest, uint32_t *results_guest)
{
    guest_release(pool, *args_guest);
    guest_release(pool, *results_guest);
    *args_guest = *results_guest = 0;
}

/* ---- chunks ----
 *
 * Unless their size is given, the first chunks are large and the last ones single items: so no worker is still at a long one
 * when the others have nothing left to do, whatever the items cost, and there are few of them. Half of what is left goes into
 * chunks of one size, so many that each worker gets four, and so on. */

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

/* Fills in the levels of a map; returns how many. A worker that is to be replaced after so many chunks gets fewer, and equal
 * ones. */
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

/* A slot whose arg_block owns the job. Under the mutex. */
static int make_job(mp_pool *pool, const struct request *request, struct slot **result)
{
    struct heap *heap = pool->shared.heap;
    struct level level[MAP_LEVELS];
    uint64_t levels = divide(pool, level, request->count, request->chunk_size);
    uint64_t chunks = chunks_of(level, levels, request->count);
    struct slot *slot = slot_take(pool);
    if (slot == NULL)
        return MP_ENOMEM;
    uint64_t bytes = sizeof(struct map_job) + chunks * sizeof(struct chunk);
    int error = heap_alloc(heap, bytes + CACHE_LINE, &slot->task.arg_block);
    if (error == 0) {
        struct map_job *job = job_of(heap, slot);

        memset(job, 0, bytes);
        job->function = (uint64_t)(uintptr_t)request->function;
        job->count = request->count;
        job->arg_size = request->arg_size;
        job->result_size = request->result_size;
        job->chunk_count = chunks;
        job->level_count = levels;
        memcpy(job->level, level, levels * sizeof *level);
        job->slot = slot;
        for (uint64_t i = 0; i < chunks; i++)
            atomic_store_explicit(&job->chunk[i].word, TASK_QUEUED, memory_order_relaxed);
        job->args_at = request->args_place.at;
        job->results_at = request->results_place.at;
        job->args_guest = request->args_place.guest;
        job->results_guest = request->results_place.guest;
        job->results_serial = request->results_place.file.serial;
        job->placed = request->placed;
        if (request->placed && job->results_at == 0)
            job->deliver_to = request->results;
        error = fill_job(heap, job, request->args, request->statuses);
    }
    if (error != 0) {
        slot_recycle(pool, slot);
        return error;
    }
    slot->result.pool = pool;
    slot->result.job = job_of(heap, slot);
    atomic_store(&slot->result.cursor, 0);
    *result = slot;
    return 0;
}

/* Queues the helping tasks; one at least. Under the mutex. */
static int submit_helpers(mp_pool *pool, struct map_job *job)
{
    uint64_t offset = heap_offset(pool->shared.heap, job);
    uint64_t wanted = job->chunk_count < pool->shared.workers ? job->chunk_count : pool->shared.workers;

    while (job->helpers < wanted) {
        struct slot *slot;
        int error = slot_prepare(pool, &slot, 0, &offset, sizeof offset, 0);

        if (error == 0 && (error = slot_submit(pool, slot)) != 0)
            slot_recycle(pool, slot);
        if (error != 0)
            return job->helpers > 0 ? 0 : error;
        slot->result.helping = job;
        slot_detach(pool, slot);
        job->helpers++;
    }
    return 0;
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
        error = submit_helpers(pool, slot->result.job);
        if (error != 0) {
            free_content(pool->shared.heap, slot->result.job);
            slot_recycle(pool, slot);
        } else {
            slot->result.magic = RESULT_MAGIC;
        }
    }
    if (error != 0)
        leave_guests(pool, &request->args_place.guest, &request->results_place.guest);
    pool_unlock(pool);
    if (error != 0)
        return error;
    dispatch_wake(&pool->shared);
    *result = slot;
    return 0;
}

bool map_is_done(struct mp_result *result)
{
    struct map_job *job = result->job;
    uint64_t at = atomic_load(&result->cursor);

    while (at < job->chunk_count &&
           task_state(atomic_load_explicit(&job->chunk[at].word, memory_order_acquire)) == TASK_DONE)
        at++;
    atomic_store(&result->cursor, at); /* several threads may do this: each stores what is true */
    return at == job->chunk_count;
}

int map_wait(mp_pool *pool, struct mp_result *result, int64_t deadline)
{
    struct map_job *job = result->job;

    while (!map_is_done(result)) {
        /* The last one is likely to be done last: so this process is not woken for each on the way. */
        _Atomic uint32_t *first = &job->chunk[atomic_load(&result->cursor)].word;
        _Atomic uint32_t *last = &job->chunk[job->chunk_count - 1].word;
        bool waits_for_last = task_state(atomic_load_explicit(last, memory_order_relaxed)) != TASK_DONE;
        int error = result_wait_word(pool, waits_for_last ? last : first, first, deadline);

        if (error != 0)
            return error;
    }
    return 0;
}

int map_status(const struct map_job *job)
{
    for (uint64_t i = 0; i < job->chunk_count; i++) {
        if (job->chunk[i].status != 0)
            return job->chunk[i].status;
    }
    return 0;
}

int map_item_status(struct heap *heap, struct map_job *job, uint64_t index, int *status)
{
    if (index >= job->count)
        return MP_EINDEX;
    *status = ((int32_t *)heap_at(heap, atomic_load(&job->statuses)))[index];
    return 0;
}

/* Under the mutex. */
static void deliver(mp_pool *pool, struct map_job *job)
{
    void *to = job->deliver_to;
    uint64_t serial;

    job->deliver_to = NULL;
    if (to != NULL && heap_around(to, HEAP_MANAGER, &serial) != NULL && serial == job->results_serial)
        memcpy(to, map_results(&pool->shared, job), job->count * job->result_size);
}

/* All chunks are done: gives back what only they need. Late helpers look at the chunks' words only. */
static void empty_job(mp_pool *pool, struct map_job *job)
{
    deliver(pool, job);
    leave_guests(pool, &job->args_guest, &job->results_guest);
    free_content(pool->shared.heap, job);
}

static void free_job(mp_pool *pool, struct map_job *job)
{
    empty_job(pool, job);
    slot_recycle(pool, job->slot);
}

void map_release(mp_pool *pool, struct map_job *job)
{
    job->slot->result.magic = 0;
    job->released = true;
    if (job->helpers == 0)
        free_job(pool, job);
    else if (map_is_done(&job->slot->result))
        empty_job(pool, job);
}

void map_helper_gone(mp_pool *pool, struct map_job *job)
{
    if (--job->helpers == 0 && job->released)
        free_job(pool, job);
}

bool map_has_results(const struct map_job *job)
{
    uint64_t serial;

    return job->results_at == 0 ||
           (heap_around((const void *)(uintptr_t)job->results_at, HEAP_MANAGER, &serial) != NULL &&
            serial == job->results_serial);
}

void map_deliver(mp_pool *pool, struct map_job *job)
{
    if (!job->placed)
        return;
    pthread_mutex_lock(&pool->mutex);
    deliver(pool, job);
    pthread_mutex_unlock(&pool->mutex);
}

void map_fail(struct pool *pool, struct map_job *job, int error)
{
    bool has_results = map_has_results(job);

    for (uint64_t i = 0; i < job->chunk_count; i++) {
        struct chunk *chunk = &job->chunk[i];

        if (task_state(atomic_load(&chunk->word)) == TASK_DONE)
            continue;
        for (uint64_t item = chunk->done; item < map_chunk_items(job, i); item++) {
            if (has_results)
                map_item_failed(pool, job, chunk, map_first_item(job, i) + item, error);
            else
                map_note_status(pool->heap, job, chunk, map_first_item(job, i) + item, error);
        }
        task_finish(&chunk->word);
    }
}

static int check_request(const struct request *request)
{
    if (request->function == NULL || (request->args == NULL && request->arg_size > 0 && request->count > 0))
        return MP_EINVAL;
    if (request->count > (UINT64_C(1) << 40) || request->arg_size > (UINT64_C(1) << 40) ||
        request->result_size > (UINT64_C(1) << 40))
        return MP_EOVERFLOW;
    uint64_t bytes;
    if (__builtin_mul_overflow(request->count, request->arg_size, &bytes) || bytes > UINT64_C(1) << 44 ||
        __builtin_mul_overflow(request->count, request->result_size, &bytes) || bytes > UINT64_C(1) << 44)
        return MP_EOVERFLOW;
    return 0;
}

int mp_pool_map_async(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, size_t result_size,
                      size_t count, const mp_map_options *options, mp_result **result)
{
    struct request request = {.function = function,
                              .args = args,
                              .count = count,
                              .arg_size = arg_size,
                              .result_size = result_size,
                              .statuses = true,
                              .chunk_size = options != NULL ? options->chunk_size : 0};
    struct slot *slot;
    int error = pool_check(pool);

    if (error != 0)
        return error;
    if (result == NULL || (options != NULL && options->status != NULL))
        return MP_EINVAL;
    error = check_request(&request);
    if (error == 0 && options != NULL && options->results != NULL) {
        request.results = options->results;
        request.waits = request.placed = true;
        if (count > 0 && result_size > 0 && !find_place(options->results, count * result_size, &request.results_place))
            error = MP_EINVAL;
    }
    if (error == 0)
        error = start_map(pool, &request, &slot);
    if (error == 0)
        *result = &slot->result;
    return error;
}

static void copy_statuses(struct heap *heap, struct map_job *job, int *status)
{
    for (uint64_t i = 0; i < job->count; i++)
        map_item_status(heap, job, i, &status[i]);
}

int mp_pool_map_with(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                     size_t result_size, size_t count, const mp_map_options *options)
{
    bool statuses = options != NULL && options->status != NULL;
    struct request request = {.function = function,
                              .args = args,
                              .count = count,
                              .arg_size = arg_size,
                              .result_size = result_size,
                              .statuses = statuses,
                              .chunk_size = options != NULL ? options->chunk_size : 0,
                              .waits = true,
                              .results = results};
    struct slot *slot;
    int error = pool_check(pool);

    if (error != 0)
        return error;
    if ((results == NULL && result_size > 0 && count > 0) || (options != NULL && options->results != NULL))
        return MP_EINVAL;
    error = check_request(&request);
    if (error == 0)
        error = start_map(pool, &request, &slot);
    if (error != 0)
        return error;
    error = mp_result_get(&slot->result, results, result_size * count, MP_FOREVER);
    if (statuses)
        copy_statuses(pool->shared.heap, slot->result.job, options->status);
    mp_result_free(&slot->result);
    return error;
}

int mp_pool_map(mp_pool *pool, mp_task_function *function, const void *args, size_t arg_size, void *results,
                size_t result_size, size_t count)
{
    return mp_pool_map_with(pool, function, args, arg_size, results, result_size, count, NULL);
}
