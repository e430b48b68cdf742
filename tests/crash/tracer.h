/* Single-stepping a process, and finding the instructions that change shared memory.
 *
 * A POINT is a moment between two instructions of the traced process at which a death would leave a state that differs
 * from the state a moment before: after an instruction that changed watched memory, and directly before and after each
 * system call. Points are numbered from 0 in the order in which they occur. */
#ifndef TRACER_H
#define TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Memory shared with the traced process, as this process sees it, in pieces. A copy of each piece is kept to compare
 * with. */
struct piece {
    const char *at;
    char *copy;
    size_t length;
};

struct watch {
    struct piece *piece;
    size_t count;
    /* The end of the valid memory: pieces are compared up to here only. NULL: everything is valid. */
    const char *(*end)(void);
};

void watch_add(struct watch *watch, const void *at, size_t length);
/* Takes the present content as the unchanged state. */
void watch_reset(struct watch *watch);
void watch_free(struct watch *watch);
/* The number of 8-byte words that differ from the copy. */
size_t watch_differences(const struct watch *watch);

struct point {
    uint64_t pc;
    uint32_t arrivals;    /* how often the process has reached pc, this time included */
    uint32_t differences; /* words that differ from the start: shows whether another run is at the same point */
    uint32_t repeats;     /* points before this one at the same pc */
};

struct trace {
    pid_t pid;           /* 0: the process has ended and was reaped */
    struct watch *watch; /* NULL: only system calls are points */
    bool ends_when_blocked;
    uint64_t steps;
    size_t count;        /* points met */
    struct point *point; /* if `record` */
    bool record;
    struct arrivals *arrivals;
};

enum trace_end {
    TRACE_AT_POINT, /* stopped at the point */
    TRACE_FINISHED, /* it reached its end mark, or ended; in the first case it is still stopped */
    TRACE_BLOCKED,  /* it sleeps in a system call */
    TRACE_GONE,     /* it ended, was killed, or can no longer be traced */
    TRACE_STUCK     /* the time allowed ran out */
};

/* Puts this process and its children on one CPU. With the tracee on the tracer's CPU, each step is much faster. */
void pin_to_one_cpu(void);

/* Starts a process that calls before(), unless that is NULL, and then stops to be traced. From there it calls
 * function(), then trace_mark_end(), and ends. */
pid_t traced_child(void (*before)(void), void (*function)(void));
/* Called in a process: stops it for its parent, which traces it from here. */
void trace_me(void);
/* Called in a traced process: the part to be traced is over. */
void trace_mark_end(void);
/* Takes hold of a process that is not a child. False: it is gone. */
bool trace_seize(pid_t pid);
/* Lets the process `parent`, which is held and stopped, go on until it forks, then releases it. Holds and returns the
 * newborn from its first instruction on. `cause`, if not NULL, is called when `parent` runs. 0: it did not fork. */
pid_t trace_newborn(pid_t parent, void (*cause)(void));

void trace_begin(struct trace *trace, pid_t pid, struct watch *watch);
/* Runs until point number `stop_at`; SIZE_MAX: to the end. */
enum trace_end trace_run(struct trace *trace, size_t stop_at);
/* Runs to a point that another trace recorded, without stepping. False: it did not get there (and has ended). */
bool trace_jump(struct trace *trace, const struct point *point);
void trace_free(struct trace *trace);
/* Kills the traced process, whatever it is doing, and waits until it is dead. Returns its status. */
int trace_kill(struct trace *trace);
/* Stops tracing and lets the process run on. */
void trace_release(struct trace *trace, enum trace_end end);

/* Waits until a child of this process sleeps, or has ended. */
void process_settles(pid_t pid);

/* Every wait above ends with TRACE_STUCK after that many seconds. */
void time_limit(unsigned seconds);
bool time_is_up(void);

#endif
