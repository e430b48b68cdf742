#include "control.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct control *control;

bool fault_due(void)
{
    if (!atomic_load(&control->armed) || atomic_load(&control->paused) > 0)
        return false;
    int count = atomic_fetch_add(&control->count, 1) + 1;
    if (control->at == 0 || count < control->at)
        return false;
    if (count > control->at &&
        (!control->sticky || atomic_load(&control->noticed) != 0 || count >= control->at + STICKY_FAILURES))
        return false;
    atomic_fetch_add(&control->failed, 1);
    return true;
}

void complain_at(const char *file, int line, const char *format, ...)
{
    int number = errno;
    va_list arguments;

    if (atomic_flag_test_and_set(&control->complained))
        return;
    const char *name = strrchr(file, '/');
    int length =
        snprintf(control->complaint, sizeof control->complaint, "%s:%d: ", name != NULL ? name + 1 : file, line);
    va_start(arguments, format);
    vsnprintf(control->complaint + length, sizeof control->complaint - (size_t)length, format, arguments);
    va_end(arguments);
    errno = number;
}
