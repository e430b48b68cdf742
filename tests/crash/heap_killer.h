/* The killer for what lives in one shared heap: each run begins with the same bytes, which are put back before it. */
#ifndef HEAP_KILLER_H
#define HEAP_KILLER_H

#include <sys/types.h>

#include "heap/heap.h"
#include "killer.h"

/* A kind of structure. All functions work on the one heap that create() has made. */
struct scene {
    struct heap *(*create)(void);
    void (*destroy)(void);
    /* Takes every lock there is, so that whatever a dead one left is repaired. */
    void (*recover)(void);
    /* In a sibling, first thing after the death: uses the structure as any program would, and proves that it is whole.
     * Adds what it holds to the report, and reports what is wrong. */
    void (*inspect)(void);
    /* In a sibling, while the victim is stopped: what readers find who wait for nobody. NULL: there are none. */
    void (*read)(void);
    /* In a sibling, while the process `victim` is stopped, or after its death: uses, frees and uses again. May wait for
     * the victim's locks, which is killed then. Afterwards, in another: proves that what was put there is still there,
     * and takes it away. */
    void (*reuse)(pid_t victim);
    void (*take_away)(void);
};

void heap_killer_run(const struct scene *scene, const struct operation *operation, const struct plan *plan,
                     struct tally *tally);

/* For inspect() and read(): adds to the text of the state, which is to be that of before or after the operation. A form
 * feed ends a part of which that is said by itself. */
void report_state(const char *text);
/* How long a call of read() took. */
void report_duration(const char *call, double seconds);
void report_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
