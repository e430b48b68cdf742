/* What the injector, the scenario and all processes that take part share: one page of memory, which tells what is to
 * fail and what came of it. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

/* Of one process, at the end of a part. */
struct leftovers {
    int descriptors, children, mappings;
};

struct control {
    /* What fails. */
    atomic_int function; /* enum fault_function */
    int number;          /* the errno */
    int at;              /* the occurrence that fails, from 1; 0: none */
    bool sticky;         /* all that follow as well, until somebody has noticed */
    /* How it goes. */
    atomic_int armed;
    atomic_int paused; /* > 0: the scenario looks at what it got */
    atomic_int count;  /* occurrences */
    atomic_int failed; /* made to fail */
    atomic_int noticed;
    atomic_flag complained;
    char complaint[600]; /* the first */
    struct leftovers left;
};

/* Functions that are not system calls, and fail in a wrapper. */
enum fault_function { FUNCTION_NONE, FUNCTION_MALLOC, FUNCTION_CLOSE };

/* A fault that lasts lasts so long. */
#define STICKY_FAILURES 10

extern struct control *control;

/* Counts an occurrence; true: it is to fail. */
bool fault_due(void);
/* Keeps the first complaint. */
#define complain(...) complain_at(__FILE__, __LINE__, __VA_ARGS__)
__attribute__((format(printf, 3, 4))) void complain_at(const char *file, int line, const char *format, ...);

static inline void fault_pause(void)
{
    atomic_fetch_add(&control->paused, 1);
}

static inline void fault_resume(void)
{
    atomic_fetch_sub(&control->paused, 1);
}

#endif
