#include "pool/wait.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/delay.h"
#include "base/futex.h"
#include "pool/supervisor_link.h"

/* How long to spin for a result before sleeping: about as long as it takes to sleep and be woken. */
#define SPIN_NS 60000
/* Spin limit while no worker has claimed the task: a worker may be waiting for this very CPU. */
#define QUEUED_SPIN_NS 20000
/* Spin limit if the woken worker slept on this very CPU: it is about to run elsewhere, or waits for this CPU. */
#define BESIDE_SPIN_NS 3000
/* Spin limit while workers fill the CPUs: only a result that is almost there is worth taking a CPU from them. */
#define FULL_SPIN_NS 2000
/* How often a sleeper checks that the supervisor lives: its futex does not tell. */
#define LOOK_NS INT64_C(50000000)

/* How long to spin for a task that no worker has claimed. */
static int64_t queued_spin(struct pool *pool)
{
    bool beside = atomic_load_explicit(&pool->wanted_cpu, memory_order_relaxed) != 0 &&
                  atomic_load_explicit(&pool->woken_cpu, memory_order_relaxed) == cpu_now();

    return beside ? BESIDE_SPIN_NS : QUEUED_SPIN_NS;
}

static bool spin(mp_pool *pool, _Atomic uint32_t *word)
{
    if (pool->shared.cpus < 2)
        return false;
    bool idle = cpu_is_idle(&pool->shared);
    int64_t begin = clock_now(), now = begin, limit;
    dispatch_follow_caller(&pool->shared);
    do {
        atomic_store_explicit(&pool->shared.waited, now, memory_order_relaxed);
        for (int i = 0; i < 64; i++) {
            if (word_is_done(word))
                return true;
            cpu_relax();
        }
        bool queued = task_state(atomic_load_explicit(word, memory_order_relaxed)) == TASK_QUEUED;
        limit = !idle ? FULL_SPIN_NS : queued ? queued_spin(&pool->shared) : SPIN_NS;
        now = clock_now();
    } while (now - begin < limit);
    return false;
}

/* Whether another thread has freed the result that this one waits for. */
static bool was_freed(void)
{
    const mp_result *result = atomic_load_explicit(&visitor_own->result, memory_order_relaxed);

    return result != NULL && !result_is_live(result);
}

int wait_for_word(mp_pool *pool, _Atomic uint32_t *word, _Atomic uint32_t *first, int64_t deadline)
{
    if (word_is_done(word))
        return 0;
    if (deadline > clock_now() && spin(pool, word))
        return 0;
    /* Signals may end each sleep early: `look` makes sure that the check comes all the same. */
    for (int64_t look = clock_now() + LOOK_NS;;) {
        uint32_t now = atomic_load(word);
        int64_t time = clock_now();

        atomic_store_explicit(&pool->shared.waited, time, memory_order_relaxed);
        if (task_state(now) == TASK_DONE)
            return 0;
        if (was_freed())
            return MP_EINVAL;
        if (time >= deadline)
            return MP_ETIMEOUT;
        if (time >= look) {
            supervisor_check(pool);
            if (task_state(atomic_load(first)) == TASK_QUEUED)
                dispatch_resync(&pool->shared);
            if (first != word)
                return 0;
            look = time + LOOK_NS;
            continue;
        }
        if ((now & TASK_WAITER) == 0 && !atomic_compare_exchange_strong(word, &now, now | TASK_WAITER))
            continue;
        DELAY_POINT();
        dispatch_follow_caller(&pool->shared);
        futex_wait(word, now | TASK_WAITER, deadline < look ? deadline : look);
    }
}
