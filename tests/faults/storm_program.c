/* Linked into a test program: it and all its children receive signals all the time. MP_STORM=restart: the handler is
 * set with SA_RESTART. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "storm.h"

__attribute__((constructor)) static void begin(void)
{
    const char *how = getenv("MP_STORM");

    if (how == NULL)
        return;
    storm_begin(strcmp(how, "restart") == 0);
    pthread_atfork(NULL, NULL, storm_join);
}
