/* The calls that can fail, and how. */
#ifndef CALLS_H
#define CALLS_H

#include <linux/seccomp.h>
#include <stdbool.h>

#include "control.h"

struct call {
    const char *name;
    long number; /* of the system call; -1: a function */
    enum fault_function function;
    bool (*concerns)(const struct seccomp_data *data); /* NULL: every call of it */
    int errors[8];                                     /* ends with 0 */
};

extern const struct call calls[];
extern const int call_count;

/* Whether the call, used as the library uses it, never fails in reality. */
bool call_cannot_fail(long number);

#endif
