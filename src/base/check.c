#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "libmp: %s:%d: this does not hold: %s\n", file, line, condition);
    abort();
}
