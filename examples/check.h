/* CHECK(call): the call must succeed, or the program ends and says why. */
#ifndef CHECK_H
#define CHECK_H

#include <mp.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call) check((call), #call)

static inline void check(int code, const char *call)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s\n", call, mp_strerror(code));
    exit(1);
}

#endif
