/* The killer for structures in one shared heap. Each run begins with the same bytes, which are restored before it. */
#ifndef HEAP_KILLER_H
#define HEAP_KILLER_H

#include <sys/types.h>

#include "heap/heap.h"
#include "killer.h"

/* A kind of structure. All functions work on the one heap that create() has made. */
struct scene {
    struct heap *(*create)(void);
    void (*destroy)(void);
    /* Takes every lock there is, so that whatever a dead owner left is repaired. */
    void (*recover)(void);
    /* Runs in a sibling directly after the death. Uses the structure as any program would and proves that it is whole.
     * Adds the content to the report, and reports what is wrong. */
    void (*inspect)(void);
    /* Runs in a sibling while the victim is stopped: reports what readers find that do not wait for the victim. NULL:
     * no readers. */
    void (*read)(void);
    /* reuse() runs in a sibling, while the process `victim` is stopped or after its death: it uses, frees and uses
     * memory again. It may wait for locks of the victim, which is then killed. take_away() runs afterwards, in another
     * sibling: it proves that what reuse() put there is still there, and removes it. */
    void (*reuse)(pid_t victim);
    void (*take_away)(void);
};

void heap_killer_run(const struct scene *scene, const struct operation *operation, const struct plan *plan,
                     struct tally *tally);

/* For inspect() and read(): adds to the text of the state, which has to equal the state before or after the operation.
 * A form feed ends a part; each part is compared by itself. */
void report_state(const char *text);
/* Reports how long a call of read() took. */
void report_duration(const char *call, double seconds);
void report_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
