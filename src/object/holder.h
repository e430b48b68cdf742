/* Who holds a lock: more than the number of a thread, which is all that its mutex knows.
 *
 * The number alone leads astray in two ways. In two PID namespaces there may be two threads of one number. And of a
 * thread that ends while it holds more than 2 048 robust mutexes the kernel gives only so many to others
 * (ROBUST_LIST_LIMIT); the rest name a number that nobody has, or that somebody else has by now. So beside the mutex
 * lies the mark of its holder: low bits of the number, the namespaces that the number belongs to, and when the mark was
 * made. A thread that bears the number today and had begun by then is the one that made the mark, since it has borne
 * the number ever since; one that began later is another, and the holder is gone. So it is when that thread's process
 * does not have the lock's memory: it has executed another program.
 *
 * The holder writes its mark after it has taken the mutex, and 0 before it gives it up. Between taking and writing
 * there stands 0, or the mark of a holder that died. A thread that looks for dead holders believes a mark only if the
 * bits of the number fit the mutex's own word: so the only one to be taken for dead wrongly would be a thread that, of
 * all numbers, has that of the dead holder before it, and is looked at in that very moment. */
#ifndef HOLDER_H
#define HOLDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Instead of a mark, in a lock that nobody holds: its last owner but one died, and nobody has been told. */
#define HOLDER_SUSPECT UINT64_C(1)
/* Instead of the mark of a thread that has made none yet: no lock's holder ever is that. */
#define HOLDER_UNKNOWN UINT64_C(2)

/* Variables of a thread that are found without a call. (musl does not load a library at run time that has such.) */
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

/* Makes the calling thread's mark; its number is what a mutex says that it holds. */
void holder_make(uint32_t thread);
/* The namespaces that the numbers of this process's threads belong to, as a number of HOLDER_SPACE_BITS bits; 0: not
 * known. Equal numbers mean the same namespaces. */
#define HOLDER_SPACE_BITS 18
uint64_t holder_space(void);
/* Whether the holder of that number and mark is known for certain to have ended, or to have executed another program,
 * so that the kernel has given away all it will. `memory`: what it has mapped as long as it holds anything there.
 * `thorough`: also asks what costs some microseconds, but no more often than once in a millisecond; and what costs
 * more, four times in a second. */
bool holder_is_dead(uint32_t thread, uint64_t mark, const void *memory, bool thorough);

#endif
