/* The holder of a lock: more than the thread number, which is all that its mutex knows.
 *
 * The number alone is not enough, for two reasons:
 *   - Threads in different PID namespaces may have the same number.
 *   - If a thread ends while it holds more than 2 048 robust mutexes, the kernel marks only that many as a dead owner's
 *     (ROBUST_LIST_LIMIT). The others keep a number that no thread has, or that another thread has by now.
 * So the mark of its holder lies beside the mutex: low bits of the number, the namespaces that the number belongs to,
 * and the time when the mark was made. If a thread has the number now and began before that time, it is the thread that
 * made the mark, as it has had the number ever since. If it began later, it is another thread, and the holder is gone.
 * The holder is gone as well if that thread's process does not map the lock's memory: it has executed another program.
 *
 * The holder writes its mark after it has taken the mutex, and 0 or HOLDER_SUSPECT before it unlocks. Between taking
 * and writing, the word is one of these, or the mark of a holder that died. A thread that looks for dead holders
 * believes a mark only if its bits of the number fit the mutex's word. So a live thread is taken for dead only if its
 * number has the same low bits as that of the dead holder before it, and another thread looks in just that moment. */
#ifndef HOLDER_H
#define HOLDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* In place of a mark, in a lock that no thread holds: the owner before the last one died, and no caller was told. */
#define HOLDER_SUSPECT UINT64_C(1)
/* In place of the mark of a thread that has made none yet. It is never that of a lock's holder. */
#define HOLDER_UNKNOWN UINT64_C(2)

/* For thread-local variables that are found without a call. (musl cannot load a library with such variables at run
 * time.) */
#ifdef __GLIBC__
#define FOUND_AT_ONCE __attribute__((tls_model("initial-exec")))
#else
#define FOUND_AT_ONCE
#endif

/* The calling thread, as the mutexes that it holds name it. */
struct thread_mark {
    uint64_t mark;
    uint32_t thread; /* the number that the mark was made for; 0: none yet */
};
extern _Thread_local struct thread_mark holder_own FOUND_AT_ONCE;

/* Makes the calling thread's mark. `thread` is its number, as in the word of a mutex that it holds. */
void holder_make(uint32_t thread);
/* The namespaces that the numbers of this process's threads belong to, as a number of HOLDER_SPACE_BITS bits (a hash);
 * 0: not known. Equal numbers are taken for the same namespaces. */
#define HOLDER_SPACE_BITS 18
uint64_t holder_space(void);
/* Whether the mark, of a holder with that number, was made in other namespaces than this process's, as far as it tells.
 * Then the number means nothing here. */
bool holder_is_elsewhere(uint32_t thread, uint64_t mark);
/* Whether the holder with that number and mark is known for certain to have ended, or to have executed another program,
 * so that the kernel marks no more of its mutexes. `memory`: memory that a holder has mapped. `thorough`: also asks
 * what costs a few microseconds, at most once in a millisecond, and what costs more, at most four times a second. */
bool holder_is_dead(uint32_t thread, uint64_t mark, const void *memory, bool thorough);

#endif
