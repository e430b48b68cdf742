#include "base/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <mp.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Where the system refuses futexes, the waiter polls: this sleeps once, for a millisecond. */
static int wait_without_futex(const _Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    if (atomic_load(word) != expected)
        return 0;
    if (clock_now() >= deadline)
        return MP_ETIMEOUT;
    clock_sleep(MILLISECOND);
    return 0;
}

int futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline, uint32_t who)
{
    struct timespec end = {.tv_sec = (time_t)(deadline / SECOND), .tv_nsec = (long)(deadline % SECOND)};
    struct timespec *limit = deadline == DEADLINE_NEVER ? NULL : &end;

    /* FUTEX_WAIT_BITSET takes an absolute deadline on the monotonic clock, FUTEX_WAIT does not. */
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, limit, NULL, who) == 0 || errno == EAGAIN ||
        errno == EINTR)
        return 0;
    if (errno == ETIMEDOUT)
        return MP_ETIMEOUT;
    return wait_without_futex(word, expected, deadline);
}

void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

void futex_wake_some(_Atomic uint32_t *word, int count, uint32_t who)
{
    if (syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, NULL, NULL, who) < 0)
        futex_wake(word, INT_MAX);
}
