#include "sync/wait.h"

#include <mp.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/delay.h"
#include "base/futex.h"

static bool is_over(const struct wait *wait, uint32_t now)
{
    return wait->is_over == NULL ? (now & ~wait->mark) != wait->value : wait->is_over(wait, now);
}

static bool spin(struct wait *wait)
{
    int64_t begin = wait->time;
    uint32_t now = atomic_load_explicit(wait->word, memory_order_relaxed);

    while (wait->time < wait->deadline && wait->time - begin < wait->spin(wait, now)) {
        for (int i = 0; i < 64; i++) {
            now = atomic_load_explicit(wait->word, memory_order_acquire);
            if (is_over(wait, now))
                return true;
            cpu_relax();
        }
        wait->time = clock_now();
    }
    return false;
}

int wait_for(struct wait *wait)
{
    wait->time = clock_now();
    int64_t look = wait->look != NULL ? wait->time + wait->look_after : DEADLINE_NEVER;
    if (wait->spin != NULL && spin(wait))
        return 0;
    for (;;) {
        uint32_t now = atomic_load(wait->word);

        wait->time = clock_now();
        if (is_over(wait, now))
            return 0;
        /* Signals may end each sleep early: `look` makes sure that the look comes all the same. */
        if (wait->time >= look && (look = wait->look(wait, now)) <= 0)
            return (int)look;
        if (wait->time >= wait->deadline)
            return is_over(wait, atomic_load(wait->word)) ? 0 : MP_ETIMEOUT;
        if ((now & wait->mark) != wait->mark && !atomic_compare_exchange_strong(wait->word, &now, now | wait->mark))
            continue;
        DELAY_POINT();
        futex_wait(wait->word, now | wait->mark, look < wait->deadline ? look : wait->deadline,
                   wait->who != 0 ? wait->who : UINT32_MAX);
    }
}
