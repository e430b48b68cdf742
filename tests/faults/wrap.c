/* Functions of the C library that fail on demand where the library or the scenario calls them (linked with --wrap). */
#include <errno.h>
#include <stddef.h>

#include "control.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_close(int fd);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_close(int fd);

static bool fails(enum fault_function function)
{
    if (control == NULL || atomic_load(&control->function) != (int)function || !fault_due())
        return false;
    errno = control->number;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails(FUNCTION_MALLOC) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(FUNCTION_MALLOC) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails(FUNCTION_MALLOC) ? NULL : __real_realloc(memory, size);
}

/* Linux closes the descriptor whatever error close() returns. */
int __wrap_close(int fd)
{
    int result = __real_close(fd);

    return fails(FUNCTION_CLOSE) ? -1 : result;
}
