/* One page of memory that the injector, the scenario and all processes of a run share. It says which call is to fail,
 * and what came of it. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

/* What a process has left at the end of a part. */
struct leftovers {
    int descriptors, children, mappings;
};

struct control {
    /* Which call fails. */
    atomic_int function; /* enum fault_function */
    int number;          /* the errno */
    int at;              /* the occurrence that fails, from 1; 0: none */
    bool sticky;         /* the occurrences that follow fail as well, until the scenario notices a failure */
    /* The state of the run. */
    atomic_int armed;
    atomic_int paused; /* > 0: the scenario looks at its results, and nothing fails */
    atomic_int count;  /* occurrences */
    atomic_int failed; /* occurrences made to fail */
    atomic_int noticed;
    atomic_flag complained;
    char complaint[600]; /* the first complaint */
    struct leftovers left;
};

/* Functions that are not system calls; a wrapper makes them fail. */
enum fault_function { FUNCTION_NONE, FUNCTION_MALLOC, FUNCTION_CLOSE };

/* The number of occurrences in a row that a sticky fault makes fail. */
#define STICKY_FAILURES 10

extern struct control *control;

/* Counts an occurrence. True: it has to fail. */
bool fault_due(void);
/* Keeps the first complaint only. */
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
