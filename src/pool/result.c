/* Submitting single tasks; and the handles of results, of tasks and of maps: waiting, reading the outcome, freeing.
 *
 * LOCKS. The mutex is held while a task is submitted, while a handle is freed, and in map_deliver(). It is not held
 * while a thread waits or reads an outcome: a thread inside a call is noted as a visitor (visitors.h), so no other
 * thread takes the result away. */
#include <limits.h>
#include <mp.h>
#include <string.h>

#include "base/clock.h"
#include "base/futex.h"
#include "heap/ranges.h"
#include "pool/job.h"
#include "pool/map_result.h"
#include "pool/slots.h"
#include "pool/supervisor_link.h"
#include "pool/task_wait.h"

static struct slot *slot_of(mp_result *result)
{
    return (struct slot *)(void *)((char *)result - offsetof(struct slot, result));
}

/* Returns 0 if the result and its pool are live; their memory then stays until pool_leave(). Else MP_EINVAL,
 * MP_EFOREIGN or MP_ENOMEM. */
static int result_enter(const mp_result *result)
{
    if (!range_is_address(result, CACHE_LINE) || !range_known(result) || !result_is_live(result))
        return MP_EINVAL;
    int error = pool_enter(result->pool);
    if (error != 0)
        return error;
    visitor_enter_result(result);
    if (result_is_live(result))
        return 0;
    pool_leave();
    return MP_EINVAL;
}

/* ---- submitting ---- */

static int submit(mp_pool *pool, mp_task_function *function, const void *arg, size_t arg_size, size_t result_size,
                  mp_result **result)
{
    struct slot *slot;

    pthread_mutex_lock(&pool->mutex);
    int error = pool_refusal(pool);
    if (error == 0)
        error = slot_prepare(pool, &slot, (uint64_t)(uintptr_t)function, arg, arg_size, result_size);
    if (error == 0) {
        error = slot_submit(pool, slot);
        if (error != 0)
            slot_recycle(pool, slot);
        else if (result == NULL)
            slot_detach(pool, slot);
        else
            atomic_store_explicit(&slot->result.magic, RESULT_MAGIC, memory_order_relaxed);
    }
    pool_unlock(pool);
    if (error != 0)
        return error;
    dispatch_wake_by_caller(&pool->shared);
    if (result != NULL)
        *result = &slot->result;
    return 0;
}

int mp_pool_apply_async(mp_pool *pool, mp_task_function *function, const void *arg, size_t arg_size, size_t result_size,
                        mp_result **result)
{
    int error = pool_enter(pool);

    if (error != 0)
        return error;
    error = function == NULL || (arg == NULL && arg_size > 0)
                ? MP_EINVAL
                : submit(pool, function, arg, arg_size, result_size, result);
    pool_leave();
    return error;
}

int mp_pool_apply(mp_pool *pool, mp_task_function *function, const void *arg, size_t arg_size, void *result,
                  size_t result_size)
{
    mp_result *handle;
    int error = result == NULL && result_size > 0 ? MP_EINVAL : pool_enter(pool);

    if (error != 0)
        return error;
    error = mp_pool_apply_async(pool, function, arg, arg_size, result_size, &handle);
    if (error == 0) {
        error = mp_result_get(handle, result, result_size, MP_FOREVER);
        mp_result_free(handle);
    }
    pool_leave();
    return error;
}

/* ---- results ---- */

/* `results`, if not NULL, is where the results of a map are copied. */
static int wait_until(mp_result *result, int64_t deadline, void *results)
{
    if (result->job != NULL) {
        int error = map_wait(result->pool, result, deadline, results);
        if (error == 0)
            map_deliver(result->pool, result->job);
        return error;
    }
    _Atomic uint32_t *word = &slot_of(result)->task.word;
    return wait_for_word(result->pool, word, word, deadline);
}

/* Whether the task or map has ended. Checks the supervisor only if it has not. */
static bool has_ended(mp_result *result)
{
    for (int i = 0; i < 2; i++) {
        if (result->job != NULL ? map_is_done(result) : word_is_done(&slot_of(result)->task.word)) {
            if (result->job != NULL)
                map_deliver(result->pool, result->job);
            return true;
        }
        if (i == 0)
            supervisor_check(result->pool);
    }
    return false;
}

/* The result and its size in bytes. */
static const void *outcome(mp_result *result, uint64_t *size)
{
    struct heap *heap = result->pool->shared.heap;
    struct map_job *job = result->job;

    if (job == NULL)
        return task_outcome(heap, &slot_of(result)->task, size);
    *size = job->count * job->result_size;
    return job_results(&result->pool->shared, job);
}

static int status_of(mp_result *result)
{
    return result->job != NULL ? job_status(result->job) : slot_of(result)->task.status;
}

static int wait(mp_result *result, double timeout)
{
    int64_t deadline;

    if (!clock_deadline(timeout, &deadline))
        return MP_EINVAL;
    return wait_until(result, deadline, NULL);
}

int mp_result_wait(mp_result *result, double timeout)
{
    int error = result_enter(result);

    if (error != 0)
        return error;
    error = wait(result, timeout);
    pool_leave();
    return error;
}

/* Whether a map's results may be copied out while it runs. Not if a timeout may end the get: it must leave the buffer
 * alone. Not if the caller chose a place (options.results): the results are copied there first. */
static bool can_collect(const mp_result *result, size_t size, int64_t deadline)
{
    const struct map_job *job = result->job;

    return job != NULL && job->results_at == 0 && !job->placed && deadline == DEADLINE_NEVER &&
           job->count * job->result_size <= size;
}

static int get(mp_result *result, void *buffer, size_t size, double timeout)
{
    int64_t deadline;
    int error;

    if (buffer == NULL && size > 0)
        return MP_EINVAL;
    if (!clock_deadline(timeout, &deadline))
        return MP_EINVAL;
    bool collects = can_collect(result, size, deadline);
    error = wait_until(result, deadline, collects ? buffer : NULL);
    if (error != 0)
        return error;
    int status = status_of(result);
    uint64_t length;
    const void *delivered = outcome(result, &length);

    /* A map delivers the results it has, with zeros for items that failed. */
    if (result->job == NULL && status != 0)
        return status;
    if (result->job != NULL && result->job->placed && buffer == NULL)
        return status; /* the results are in the chosen place */
    if (length > size)
        return MP_ETOOSMALL;
    if (result->job != NULL && !job_has_results(result->job))
        return MP_EINVAL;
    /* A map may have written its results right into the buffer. */
    if (length > 0 && !collects && buffer != delivered)
        memcpy(buffer, delivered, length);
    return status;
}

int mp_result_get(mp_result *result, void *buffer, size_t size, double timeout)
{
    int error = result_enter(result);

    if (error != 0)
        return error;
    error = get(result, buffer, size, timeout);
    pool_leave();
    return error;
}

int mp_result_ready(mp_result *result, bool *ready)
{
    int error = ready == NULL ? MP_EINVAL : result_enter(result);

    if (error != 0)
        return error;
    *ready = has_ended(result);
    pool_leave();
    return 0;
}

/* Like result_enter(), but also requires `out` and a task that has ended. */
static int enter_ended(mp_result *result, const void *out)
{
    int error = out == NULL ? MP_EINVAL : result_enter(result);

    if (error != 0 || has_ended(result))
        return error;
    pool_leave();
    return MP_ENOTREADY;
}

int mp_result_successful(mp_result *result, bool *successful)
{
    int error = enter_ended(result, successful);

    if (error != 0)
        return error;
    *successful = status_of(result) == 0;
    pool_leave();
    return 0;
}

int mp_result_size(mp_result *result, size_t *size)
{
    uint64_t length;
    int error = enter_ended(result, size);

    if (error != 0)
        return error;
    outcome(result, &length);
    *size = length;
    pool_leave();
    return 0;
}

int mp_result_status(mp_result *result, size_t index, int *status)
{
    int error = enter_ended(result, status);

    if (error != 0)
        return error;
    if (result->job != NULL)
        error = job_item_status(result->pool->shared.heap, result->job, index, status);
    else if (index != 0)
        error = MP_EINDEX;
    else
        *status = slot_of(result)->task.status;
    pool_leave();
    return error;
}

/* Waits until the other threads that use the handle, which is no longer live, have left. The caller holds the mutex; it
 * is unlocked while waiting. */
static void wait_for_visitors(mp_pool *pool, mp_result *result)
{
    int state = cancelling_forbid();

    while (visitors_are_in(NULL, result)) {
        pool_unlock(pool);
        futex_wake(&slot_of(result)->task.word, INT_MAX);
        clock_sleep(100 * MICROSECOND);
        pthread_mutex_lock(&pool->mutex);
    }
    cancelling_allow(state);
}

/* The caller holds the mutex. */
static void release(mp_pool *pool, mp_result *result)
{
    if (result->job != NULL) {
        int state = cancelling_forbid();

        if (map_release(pool, result->job))
            slot_recycle(pool, slot_of(result));
        cancelling_allow(state);
    } else if (word_is_done(&slot_of(result)->task.word)) {
        slot_recycle(pool, slot_of(result));
    } else {
        slot_detach(pool, slot_of(result));
    }
}

int mp_result_free(mp_result *result)
{
    if (result == NULL)
        return 0;
    int error = result_enter(result);
    if (error != 0)
        return error;
    mp_pool *pool = result->pool;
    pthread_mutex_lock(&pool->mutex);
    if (result_is_live(result)) {
        atomic_store_explicit(&result->magic, 0, memory_order_relaxed);
        if (atomic_load_explicit(&visitors_several, memory_order_relaxed))
            wait_for_visitors(pool, result);
        release(pool, result);
    } else {
        error = MP_EINVAL;
    }
    pool_unlock(pool);
    pool_leave();
    return error;
}
