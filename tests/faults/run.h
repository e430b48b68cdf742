/* Runs of a part of the scenario, each in a process of its own. */
#ifndef RUN_H
#define RUN_H

#include "calls.h"
#include "scenario.h"

#define LARGEST_CALL 600

enum storm { STORM_NONE, STORM_RESTART, STORM_INTERRUPT };

struct plan {
    const struct part *part;
    const struct call *call; /* NULL: nothing fails; all system calls are counted */
    int number;              /* the errno */
    int at;
    bool sticky;
    enum storm storm;              /* if set, nothing fails and nothing is counted */
    struct leftovers allowed_left; /* what may be left at the end of the part */
};

struct outcome {
    bool good;
    int failed; /* calls made to fail */
    int count;  /* calls that could have been made to fail */
    struct leftovers left;
    char complaint[700];
};

/* Called once. False: the system does not allow it; the reason was printed. */
bool run_prepare(void);
void run(const struct plan *plan, struct outcome *outcome);
/* How often each system call was made, in the runs that counted all of them. */
extern int calls_made[LARGEST_CALL];

#endif
