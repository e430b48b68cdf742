#include "pool/task_wait.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "pool/supervisor_link.h"
#include "sync/wait.h"

/* How long to spin for a result before sleeping: about as long as it takes to sleep and be woken. */
#define SPIN_NS 60000
/* Spin limit while no worker has claimed the task: a worker may be waiting for this very CPU. */
#define QUEUED_SPIN_NS 20000
/* Spin limit if the woken worker slept on this very CPU: it is about to run elsewhere, or waits for this CPU. */
#define BESIDE_SPIN_NS 3000
/* Spin limit while workers fill the CPUs: only a result that is almost there is worth taking a CPU from them. */
#define FULL_SPIN_NS 2000
/* How often a sleeper checks that the supervisor lives: its futex does not tell. */
#define LOOK_NS (50 * MILLISECOND)

/* How long to spin for a task that no worker has claimed. */
static int64_t queued_spin(struct pool *pool)
{
    bool beside = atomic_load_explicit(&pool->wanted_cpu, memory_order_relaxed) != 0 &&
                  atomic_load_explicit(&pool->woken_cpu, memory_order_relaxed) == cpu_now();

    return beside ? BESIDE_SPIN_NS : QUEUED_SPIN_NS;
}

struct task_wait {
    mp_pool *pool;
    _Atomic uint32_t *first;
    const mp_result *result; /* the one that this thread waits for; NULL: none that another thread can free */
    bool idle;               /* a CPU was free for one more process at the beginning */
};

static bool was_freed(const struct task_wait *own)
{
    return own->result != NULL && !result_is_live(own->result);
}

static bool is_over(const struct wait *wait, uint32_t now)
{
    return task_state(now) == TASK_DONE || was_freed(wait->arg);
}

static int64_t spin(const struct wait *wait, uint32_t now)
{
    const struct task_wait *own = wait->arg;
    struct pool *pool = &own->pool->shared;

    dispatch_follow_caller(pool);
    atomic_store_explicit(&pool->waited, wait->time, memory_order_relaxed);
    if (pool->cpus < 2)
        return 0;
    return !own->idle ? FULL_SPIN_NS : task_state(now) == TASK_QUEUED ? queued_spin(pool) : SPIN_NS;
}

static int64_t look(const struct wait *wait, uint32_t now)
{
    const struct task_wait *own = wait->arg;
    (void)now;

    supervisor_check(own->pool);
    if (task_state(atomic_load(own->first)) == TASK_QUEUED)
        dispatch_resync(&own->pool->shared);
    return own->first != wait->word ? 0 : wait->time + LOOK_NS;
}

int wait_for_word(mp_pool *pool, _Atomic uint32_t *word, _Atomic uint32_t *first, int64_t deadline)
{
    if (word_is_done(word))
        return 0;
    struct task_wait own = {pool, first, atomic_load_explicit(&visitor_own->result, memory_order_relaxed),
                            cpu_is_idle(&pool->shared)};
    struct wait wait = {.word = word,
                        .is_over = is_over,
                        .mark = TASK_WAITER,
                        .deadline = deadline,
                        .look = look,
                        .look_after = LOOK_NS,
                        .spin = spin,
                        .arg = &own};
    int error = wait_for(&wait);
    atomic_store_explicit(&pool->shared.waited, wait.time, memory_order_relaxed);
    return !word_is_done(word) && was_freed(&own) ? MP_EINVAL : error;
}
