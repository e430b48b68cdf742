/* Single-stepping a process, and finding the instructions after which shared memory differs.
 *
 * A POINT is a moment between two instructions of the traced process at which a death would leave something else behind
 * than at the moment before: after an instruction that changed what is watched, and right before and right after each
 * system call. Points are numbered from 0 in the order in which they come. */
#ifndef TRACER_H
#define TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Memory shared with the traced process, as this process sees it, in pieces. Of each a copy is kept to compare with. */
struct piece {
    const char *at;
    char *copy;
    size_t length;
};

struct watch {
    struct piece *piece;
    size_t count;
    /* What is valid now: pieces are looked at up to here. NULL: all is. */
    const char *(*end)(void);
};

void watch_add(struct watch *watch, const void *at, size_t length);
/* What is there now is the unchanged state. */
void watch_reset(struct watch *watch);
void watch_free(struct watch *watch);
/* 8-byte words that differ from the copy. */
size_t watch_differences(const struct watch *watch);

struct point {
    uint64_t pc;
    uint32_t arrivals;    /* how often the process came to pc, this time included */
    uint32_t differences; /* words that differ from the start: tells whether another run is at the same point */
    uint32_t repeats;     /* points before this one at the same pc */
};

struct trace {
    pid_t pid;           /* 0: it has ended and was reaped */
    struct watch *watch; /* NULL: only system calls count */
    bool ends_when_blocked;
    uint64_t steps;
    size_t count;        /* points met */
    struct point *point; /* if `record` */
    bool record;
    struct arrivals *arrivals;
};

enum trace_end {
    TRACE_AT_POINT, /* stopped there */
    TRACE_FINISHED, /* it came to its end mark, or ended; still stopped in the first case */
    TRACE_BLOCKED,  /* it sleeps in a system call */
    TRACE_GONE,     /* it ended, was killed or was not to be traced any more */
    TRACE_STUCK     /* the time allowed ran out */
};

/* Makes this machine's child run one process at a time together with its tracer: both on one CPU. */
void pin_to_one_cpu(void);

/* A process that calls before(), unless that is NULL, and then stops to be traced; from there on it calls function(),
 * then trace_mark_end(), and ends. */
pid_t traced_child(void (*before)(void), void (*function)(void));
/* In a process: stops it for its parent, which traces it from here. */
void trace_me(void);
/* In a traced process: what was to be traced is over. */
void trace_mark_end(void);
/* Takes hold of a process that is not a child. False: it is gone. */
bool trace_seize(pid_t pid);
/* Of a process that is held and stopped: lets it go on until it forks, gives it up, and holds the newborn, which it
 * returns, from its first instruction on. `cause`, if not NULL, is called when it runs. 0: it did not fork. */
pid_t trace_newborn(pid_t parent, void (*cause)(void));

void trace_begin(struct trace *trace, pid_t pid, struct watch *watch);
/* Goes on until point number `stop_at`; SIZE_MAX: to the end. */
enum trace_end trace_run(struct trace *trace, size_t stop_at);
/* Runs to a point that another trace recorded, without stepping. False: did not come by there (it has ended then). */
bool trace_jump(struct trace *trace, const struct point *point);
void trace_free(struct trace *trace);
/* Kills the traced process, whatever it is doing, and waits until it is dead. Its status. */
int trace_kill(struct trace *trace);
/* Lets it run on. */
void trace_release(struct trace *trace, enum trace_end end);

/* Waits until a process of this one's children sleeps, or has ended. */
void process_settles(pid_t pid);

/* Every wait above ends after that many seconds with TRACE_STUCK. */
void time_limit(unsigned seconds);
bool time_is_up(void);

#endif
