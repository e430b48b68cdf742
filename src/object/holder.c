#include "object/holder.h"

#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/lifecycle.h"
#include "base/proc.h"

/* A mark, from its lowest bit:
 *   - MARK_TIME bits: the time in ticks, which wraps after five years;
 *   - MARK_SPACE bits: the namespaces; 0: not known;
 *   - MARK_THREAD bits: low bits of the thread's number;
 *   - MARK_MADE: always set. */
#define MARK_TIME 34
#define MARK_SPACE HOLDER_SPACE_BITS
#define MARK_THREAD 11
#define MARK_MADE (UINT64_C(1) << 63)

#define THOROUGH_NS MILLISECOND
#define MAPPINGS_NS (250 * MILLISECOND)

_Thread_local struct thread_mark holder_own FOUND_AT_ONCE = {HOLDER_UNKNOWN, 0};

/* The holder found dead last: threads ask for it again for each lock that it held. Its mark is never used by a later
 * thread. */
static _Thread_local struct thread_mark found_dead;
static _Thread_local int64_t thorough_last, mappings_last;

static uint64_t bits(uint64_t value, int count)
{
    return value & ((UINT64_C(1) << count) - 1);
}

static uint64_t time_of(uint64_t mark)
{
    return bits(mark, MARK_TIME);
}

static uint64_t space_of(uint64_t mark)
{
    return bits(mark >> MARK_TIME, MARK_SPACE);
}

static uint64_t thread_of(uint64_t mark)
{
    return bits(mark >> (MARK_TIME + MARK_SPACE), MARK_THREAD);
}

/* The namespaces this process is in, as a number; 0: not known. */
static uint64_t own_space(void)
{
    uint64_t inode[2];

    if (!process_namespaces(inode))
        return 0;
    uint64_t mixed = (inode[0] * UINT64_C(0x9e3779b97f4a7c15)) ^ (inode[1] * UINT64_C(0xc2b2ae3d27d4eb4f));
    uint64_t space = mixed >> (64 - MARK_SPACE);
    return space != 0 ? space : 1;
}

static _Atomic uint64_t space_noted; /* of this process; 0: not asked for yet, or not known */

/* The child has another number, and may be in other namespaces. */
static void after_fork(void)
{
    atomic_store(&space_noted, 0);
    holder_own = found_dead = (struct thread_mark){HOLDER_UNKNOWN, 0};
}

uint64_t holder_space(void)
{
    lifecycle_pid(); /* a child that no fork handler has run in forgets what its parent has noted */
    uint64_t space = atomic_load_explicit(&space_noted, memory_order_relaxed);

    if (space == 0) {
        lifecycle_register(LIFECYCLE_HOLDER, NULL, after_fork);
        space = own_space();
        atomic_store_explicit(&space_noted, space, memory_order_relaxed);
    }
    return space;
}

void holder_make(uint32_t thread)
{
    uint64_t now = (uint64_t)clock_boot() / process_tick();

    holder_own.mark = MARK_MADE | bits(thread, MARK_THREAD) << (MARK_TIME + MARK_SPACE) | holder_space() << MARK_TIME |
                      bits(now, MARK_TIME);
    holder_own.thread = thread;
}

static bool is_another_program(uint32_t thread, const void *memory, int64_t now)
{
    if (now - mappings_last < MAPPINGS_NS)
        return false;
    mappings_last = now;
    return !thread_shares((pid_t)thread, memory);
}

/* Whether the number belongs to another thread by now, to a thread that has ended and was not waited for, or to a
 * process that has executed another program. */
static bool is_gone_or_another(uint32_t thread, uint64_t mark, const void *memory, int64_t now)
{
    uint64_t began;
    bool ended;

    /* The namespaces are asked for anew: the process may have entered another time namespace, where the times at which
     * threads began are counted differently. */
    if (own_space() != space_of(mark) || !process_table_is_own() || !thread_began((pid_t)thread, &began, &ended))
        return false;
    return ended || bits(began, MARK_TIME) > time_of(mark) + 1 || is_another_program(thread, memory, now);
}

/* Whether it is the mark of a thread with that number, and not one that the holder before has left. */
static bool is_mark_of(uint32_t thread, uint64_t mark)
{
    return thread != 0 && (mark & MARK_MADE) != 0 && thread_of(mark) == bits(thread, MARK_THREAD);
}

bool holder_is_elsewhere(uint32_t thread, uint64_t mark)
{
    return is_mark_of(thread, mark) && space_of(mark) != holder_space();
}

bool holder_is_dead(uint32_t thread, uint64_t mark, const void *memory, bool thorough)
{
    if (!is_mark_of(thread, mark))
        return false;
    if (found_dead.mark == mark && found_dead.thread == thread)
        return true;
    if (space_of(mark) == 0 || space_of(mark) != holder_space())
        return false;
    bool dead = kill((pid_t)thread, 0) != 0 && errno == ESRCH;
    if (!dead && thorough) {
        int64_t now = clock_now();

        if (now - thorough_last < THOROUGH_NS)
            return false;
        thorough_last = now;
        dead = is_gone_or_another(thread, mark, memory, now);
    }
    if (dead)
        found_dead = (struct thread_mark){mark, thread};
    return dead;
}
