/* A worker: finds tasks, runs them, sleeps when there are none. Map chunks are run in map_worker.c. See task.h for how
 * tasks are claimed. Of the pool's locks a worker takes only that of the heap: a task that it has claimed is its
 * own. */
#include "pool/worker.h"

#include <mp.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/delay.h"
#include "base/word.h"
#include "pool/dispatch.h"
#include "pool/lifeline.h"
#include "pool/map_worker.h"
#include "pool/mappings.h"
#include "pool/worker_env.h"
#include "process/process.h"
#include "sync/wait.h"

/* A worker takes up to WORKER_BATCH tasks at once if they are so short that it expects to run all of them within this
 * time. */
#define BATCH_NS 4000
/* Memory of at least this size may be zeroed ahead. */
#define ZERO_LARGE ((size_t)64 * 1024)
/* Limits of zeroing ahead: the most bytes, and the number of workers that do it. */
#define AHEAD_MOST ((size_t)2 << 20)
#define AHEAD_WORKERS 4
/* How often to renew what ties this process to its supervisor, which a task undoes when it changes its user. */
#define TIE_NS MILLISECOND
/* While a worker zeroes ahead: bytes between two looks for tasks. */
#define AHEAD_STEP ((size_t)64 * 1024)

/* This process's own. */
static struct {
    uint32_t index;
    struct worker *record;
    bool searching;        /* is in pool->searching */
    uint64_t batch;        /* tickets to take at a time */
    int64_t tied;          /* when it last renewed its tie to the supervisor */
    bool ran;              /* a task has run since */
    int64_t batch_started; /* when the tickets in hand were taken */
    uint64_t batch_size;
    uint32_t attachments_seen; /* of pool->attachments_changed */
    uint64_t large;            /* the size of the last large result */
    uint64_t ahead_size;       /* of record->spare: bytes to be zeroed; 0: none */
    uint64_t ahead_done;       /* bytes zeroed so far */
    struct task *running;      /* for mp_task_return() */
    struct pool *pool;
} self;

/* ---- finding a task ---- */

static bool claim(struct pool *pool, struct task *task)
{
    if (task_state(atomic_load_explicit(&task->word, memory_order_relaxed)) != TASK_QUEUED)
        return false;
    /* Record first, then claim. Invariant: the supervisor can find every claimed task. */
    word_put(&self.record->task, heap_offset(pool->heap, task));
    undo_order();
    return task_claim(&task->word, self.index);
}

/* Claims the first task in the batch of one worker, this one or another, that is still queued. */
static struct task *claim_from_batch(struct pool *pool, struct worker *owner)
{
    uint64_t end = word_get(&owner->end);

    for (uint64_t i = word_get(&owner->next); i < end; i++) {
        uint64_t offset = word_get(&owner->batch[i]);

        if (owner == self.record) {
            word_put(&owner->next, i + 1);
            DELAY_POINT();
            if (i + 1 < end) /* saves 15 to 40 % of the time of many small tasks */
                __builtin_prefetch(heap_at(pool->heap, word_get(&owner->batch[i + 1])), 1);
        }
        if (offset != 0 && claim(pool, heap_at(pool->heap, offset)))
            return heap_at(pool->heap, offset);
    }
    return NULL;
}

static void tie(int64_t now)
{
    lifeline_renew();
    self.tied = now;
    self.ran = false;
}

/* Decides how many tickets to take. While tasks turn out short it takes more, so that the head is not touched for each:
 * with two workers, many small tasks take 1.33 times as long when each ticket is taken alone. Once tasks are not short,
 * it takes one, so that tasks start in order and none waits behind a long one. */
static void adapt_batch(struct pool *pool)
{
    int64_t now = clock_now();

    if (now - self.tied > TIE_NS)
        tie(now);
    int64_t each = (now - self.batch_started) / (int64_t)(self.batch_size + 1);

    if (self.batch_size != 0 && each * WORKER_BATCH < BATCH_NS)
        self.batch = self.batch * 2 > WORKER_BATCH ? WORKER_BATCH : self.batch * 2;
    else if (each * (int64_t)self.batch > BATCH_NS)
        self.batch = 1;
    uint64_t fair = (word_get(&pool->tail) - word_get(&pool->head)) / pool->workers + 1;
    if (self.batch > fair)
        self.batch = fair;
    self.batch_started = now;
}

static void read_tickets(struct pool *pool, uint64_t ticket, uint64_t count)
{
    _Atomic uint64_t *ring = heap_at(pool->heap, atomic_load_explicit(&pool->ring, memory_order_acquire));
    uint64_t mask = word_get(&ring[0]) - 1;

    for (uint64_t i = 0; i < count; i++)
        word_put(&self.record->batch[i], word_get(&ring[1 + ((ticket + i) & mask)]));
}

/* Whether the caller has removed an attachment since this worker last looked. */
static bool attachments_have_changed(const struct pool *pool)
{
    return self.attachments_seen != atomic_load_explicit(&pool->attachments_changed, memory_order_relaxed);
}

static void look_at_attachments(struct pool *pool)
{
    self.attachments_seen = atomic_load(&pool->attachments_changed);
    mappings_clear(pool);
}

/* Takes tasks from the queue into this worker's batch, which must be empty. */
static bool take_tickets(struct pool *pool)
{
    if (attachments_have_changed(pool)) /* a worker without a task comes here as well */
        look_at_attachments(pool);
    uint64_t head = atomic_load(&pool->head);
    uint64_t tail = atomic_load(&pool->tail);

    if (head >= tail)
        return false;
    adapt_batch(pool);
    for (;;) {
        uint64_t count = tail - head < self.batch ? tail - head : self.batch;

        read_tickets(pool, head, count);
        DELAY_POINT();
        if (atomic_compare_exchange_weak(&pool->head, &head, head + count)) {
            self.batch_size = count;
            DELAY_POINT();
            word_put(&self.record->next, 0);
            DELAY_POINT();
            atomic_store(&self.record->end, count);
            DELAY_POINT();
            /* A worker that fell asleep before it could see this batch would not hear of it if our first task takes
             * long. */
            if (count > 1)
                dispatch_wake(pool);
            return true;
        }
        if (head >= tail)
            return false;
    }
}

static bool claim_slot(struct slot *slot, void *found)
{
    if (!claim(self.pool, &slot->task))
        return false;
    DELAY_POINT();
    *(struct task **)found = &slot->task;
    return true;
}

/* Looks at all tasks if `rescan` is set. When it finds one there may be more. */
static struct task *claim_anywhere(struct pool *pool)
{
    struct task *task = NULL;

    if (atomic_exchange(&pool->rescan, 0) != 0 && slots_visit(pool, claim_slot, &task))
        dispatch_rescan(pool); /* workers that saw rescan == 0 meanwhile may have fallen asleep */
    return task;
}

static struct task *find_task(struct pool *pool)
{
    struct task *task;

    do {
        task = claim_from_batch(pool, self.record);
        if (task != NULL)
            return task;
        if (atomic_load_explicit(&pool->rescan, memory_order_relaxed) != 0) {
            task = claim_anywhere(pool);
            if (task != NULL)
                return task;
        }
    } while (take_tickets(pool));
    /* Steal from the batches of workers that are too busy to look at them. */
    for (uint32_t i = 0; i < pool->workers && task == NULL; i++) {
        struct worker *other = &pool->worker[i];

        if (other != self.record && word_get(&other->next) < word_get(&other->end))
            task = claim_from_batch(pool, other);
    }
    return task;
}

/* ---- waiting for one ---- */

static bool is_time_to_look(struct pool *pool)
{
    return tickets_left(pool) || atomic_load(&pool->rescan) != 0 || atomic_load(&pool->state) != POOL_OPEN;
}

/* Whether a task in its batch is still to be claimed. */
static bool has_queued(struct pool *pool, struct worker *worker)
{
    uint64_t end = atomic_load(&worker->end); /* load `end` first: next and the batch are then at least as new */

    for (uint64_t i = word_get(&worker->next); i < end; i++) {
        uint64_t offset = word_get(&worker->batch[i]);
        struct task *task = heap_at(pool->heap, offset);

        if (offset != 0 && task_state(atomic_load_explicit(&task->word, memory_order_relaxed)) == TASK_QUEUED)
            return true;
    }
    return false;
}

/* Whether any batch, other than that of `but`, holds a task still to be claimed. */
static bool batches_have_tasks(struct pool *pool, const struct worker *but)
{
    for (uint32_t i = 0; i < pool->workers; i++) {
        if (&pool->worker[i] != but && has_queued(pool, &pool->worker[i]))
            return true;
    }
    return false;
}

static bool spin(struct pool *pool)
{
    /* One CPU is left for the caller, which is the most likely to submit something. */
    if (!cpu_is_idle(pool) || dispatch_cpu_is_wanted(pool))
        return false;
    int64_t end = clock_now() + WORKER_SPIN_NS;
    do {
        for (int i = 0; i < 64; i++) {
            if (is_time_to_look(pool))
                return true;
            cpu_relax();
        }
    } while (clock_now() < end);
    return false;
}

/* Zeroing memory for a result takes as long as filling it. So while the caller copies a result out and there is no
 * other work, the worker zeroes a block of its own, `spare`. The next large result is written into `spare`, and the
 * block that the caller allocated becomes the new `spare`. One step of the heap's exchanges the two. Invariant: each
 * of the two words owns one of the blocks whenever the worker dies; the spare then goes with its record. Only the
 * worker that zeroed a block knows that it is zero, so a worker that runs the task again zeroes the block it finds
 * there. Without all this, results of 64 KiB one after the other take 1.17 times as long (tests/bench/limits.md). */

/* Zeroes one step of the spare block. Never blocks: others rely on a worker that searches. False: nothing is left to
 * zero. */
static bool zero_ahead(struct pool *pool)
{
    if (self.ahead_done >= self.ahead_size)
        return false;
    uint64_t left = self.ahead_size - self.ahead_done, size = left < AHEAD_STEP ? left : AHEAD_STEP;
    worker_zero((char *)heap_at(pool->heap, word_get(&self.record->spare)) + self.ahead_done, size);
    self.ahead_done += size;
    return true;
}

static void start_searching(struct pool *pool)
{
    if (!self.searching)
        set_add(pool->searching, self.index);
    self.searching = true;
}

static void stop_searching(struct pool *pool)
{
    if (self.searching)
        set_remove(pool->searching, self.index);
    self.searching = false;
}

static void sleep_until_woken(struct pool *pool)
{
    stop_searching(pool);
    if (self.ran)
        tie(clock_now());
    atomic_store_explicit(&self.record->slept_on, cpu_now(), memory_order_relaxed);
    DELAY_POINT();
    atomic_store(&self.record->asleep, 1);
    DELAY_POINT();
    set_add(pool->sleeping, self.index);
    DELAY_POINT();
    /* Dekker pairing (store-buffer): we set our `sleeping` bit, then look for work; a process that queues a task, or
     * takes some into its batch, does so and then reads `sleeping`. So at least one of us sees the other. When the
     * caller has removed an attachment, it wakes all workers. */
    if (!is_time_to_look(pool) && !batches_have_tasks(pool, self.record) && !attachments_have_changed(pool)) {
        DELAY_POINT();
        wait_for_change(&self.record->asleep, 1, DEADLINE_NEVER);
    }
    if (atomic_load_explicit(&pool->woken_cpu, memory_order_relaxed) != 0)
        atomic_store_explicit(&pool->woken_cpu, 0, memory_order_relaxed);
    /* dispatch_wake() has moved our bit from `sleeping` to `searching`; dispatch_wake_all() has only cleared
     * `sleeping`. Setting `searching` here covers both. */
    set_remove(pool->sleeping, self.index);
    DELAY_POINT();
    set_add(pool->searching, self.index);
    self.searching = true;
    DELAY_POINT();
    atomic_store(&self.record->asleep, 0);
}

/* Returns a claimed task, or NULL if the worker is to end. */
static struct task *next_task(struct pool *pool)
{
    for (;;) {
        uint32_t state = atomic_load(&pool->state); /* load first: queueing precedes closing */
        struct task *task = state != POOL_TERMINATED ? find_task(pool) : NULL; /* the supervisor may fail to kill us */

        if (task != NULL) {
            self.ran = true;
            if (self.searching) {
                stop_searching(pool);
                DELAY_POINT();
                /* Count tasks in batches, our own too: the workers that took them woke no other while we searched. */
                if (is_time_to_look(pool) || batches_have_tasks(pool, NULL))
                    dispatch_wake(pool);
            }
            return task;
        }
        if (state != POOL_OPEN)
            return NULL;
        start_searching(pool);
        if (!zero_ahead(pool) && !spin(pool))
            sleep_until_woken(pool);
    }
}

/* ---- running it ---- */

static int exchange_blocks(struct heap *heap, _Atomic uint64_t *a, _Atomic uint64_t *b)
{
    int error = heap_lock(heap);

    if (error != 0)
        return error;
    uint64_t block = word_get(a);
    heap_set(heap, a, word_get(b));
    heap_set(heap, b, block);
    heap_commit(heap);
    heap_unlock(heap);
    return 0;
}

/* Whether memory for results of this size is zeroed ahead. */
static bool is_zeroed_ahead(uint64_t size)
{
    return size >= ZERO_LARGE && size <= AHEAD_MOST && self.index < AHEAD_WORKERS;
}

/* Gives the task the spare block, zeroed to the end, and makes the task's block the spare. Returns whether it did. Two
 * results in a row of the same size are taken as a sign that a third follows: only then is a spare kept. */
static bool use_spare(struct pool *pool, struct task *task)
{
    bool fits = word_get(&self.record->spare) != 0 && self.ahead_size >= task->result_size &&
                self.ahead_size - task->result_size <= task->result_size / 4;

    while (fits && self.ahead_done < task->result_size)
        zero_ahead(pool);
    if (fits && exchange_blocks(pool->heap, &task->result_block, &self.record->spare) != 0)
        fits = false;
    if (!fits)
        heap_free(pool->heap, &self.record->spare);
    bool again = task->result_size == self.large;
    if (again && word_get(&self.record->spare) == 0)
        again = heap_alloc(pool->heap, self.large, &self.record->spare) == 0;
    self.ahead_size = again ? self.large : 0;
    self.ahead_done = 0;
    self.large = task->result_size;
    DELAY_POINT();
    return fits;
}

static int call(struct pool *pool, struct task *task)
{
    mp_task_function *function = (mp_task_function *)(uintptr_t)task->function;
    bool zeroed = is_zeroed_ahead(task->result_size) && use_spare(pool, task);
    void *result = task_result(pool->heap, task);

    if (result != NULL && !zeroed)
        worker_zero(result, task->result_size);
    self.running = task;
    int code = function(task_arg(pool->heap, task), result);
    worker_leave_if_forked();
    self.running = NULL;
    return worker_code(code);
}

static void run(struct pool *pool, struct task *task)
{
    task->returned = 0; /* drop what an earlier worker returned before it died */
    task->status = call(pool, task);
    worker_flush();
    DELAY_POINT();
    task_finish(&task->word);
    DELAY_POINT();
}

int mp_task_return(const void *data, size_t size)
{
    struct task *task = self.running;

    if (task == NULL || (data == NULL && size > 0))
        return MP_EINVAL;
    if (worker_forked)
        return MP_EFOREIGN;
    if (size > SIZE_MAX - sizeof(struct returned))
        return MP_ENOMEM;
    struct heap *heap = self.pool->heap;
    _Atomic uint64_t *staging = &self.record->staging;
    int error = heap_alloc(heap, sizeof(struct returned) + size, staging);
    if (error != 0)
        return error;
    struct returned *returned = heap_at(heap, word_get(staging));
    returned->size = size;
    if (size > 0)
        memcpy(returned->data, data, size);
    /* Invariant: whenever the worker dies, returned_block owns either block, complete with its size; the other one
     * goes with the record. */
    error = exchange_blocks(heap, &task->returned_block, staging);
    if (error != 0)
        return error;
    undo_order();
    task->returned = 1;
    heap_free(heap, staging);
    return 0;
}

static void initialise(struct pool *pool)
{
    int code = pool->initializer != NULL ? pool->initializer(pool->initializer_arg) : 0;

    worker_leave_if_forked();
    tie(clock_now());
    if (code != 0) {
        atomic_store(&self.record->phase, WORKER_REFUSED);
        worker_flush();
        _exit(1);
    }
    worker_flush();
    atomic_store(&self.record->phase, WORKER_WORKING);
}

/* False: the worker is to be replaced. */
static bool do_task(struct pool *pool, struct task *task)
{
    uint64_t job;

    if (task->function != 0) {
        run(pool, task);
        return worker_may_go_on(pool);
    }
    memcpy(&job, task->data, sizeof job);
    bool all = map_help(pool, self.index, heap_at(pool->heap, job));
    atomic_store(&self.record->job, 0); /* clear it while the job still exists: the supervisor would look into it */
    if (all) {
        task_finish(&task->word);
        return true;
    }
    task_requeue(&task->word);
    DELAY_POINT();
    return false;
}

void worker_run(struct pool *pool, uint32_t index)
{
    struct task *task;

    self.running = NULL; /* a pool made in a task of another pool */
    self.pool = pool;
    self.index = index;
    self.record = &pool->worker[index];
    self.batch = 1;
    self.tied = 0;
    self.searching = false;
    self.large = self.ahead_size = self.ahead_done = 0;
    worker_env_begin(pool);
    look_at_attachments(pool);
    initialise(pool);
    DELAY_MAY_KILL();
    while ((task = next_task(pool)) != NULL) {
        if (!do_task(pool, task)) {
            atomic_store(&self.record->phase, WORKER_RETIRED);
            dispatch_rescan(pool);
            process_leave(0);
        }
    }
    atomic_store(&self.record->phase, WORKER_LEAVING);
    process_leave(0);
}
