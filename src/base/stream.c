#include "base/stream.h"

#include <stdint.h>
#include <stdio_ext.h>
#include <time.h>

#include "base/cancelling.h"
#include "base/clock.h"

#define PAUSE 100000
#define PATIENCE (50 * MILLISECOND) /* the longest wait for a thread that prints */

bool stream_is_empty(FILE *stream)
{
#ifdef __GLIBC__
    /* Looks into the stream: a call would cause a page fault in a forked child (see control_process() in
     * this_process.c). A stream of wide characters has another buffer. */
    if (stream->_mode <= 0)
        return stream->_IO_write_ptr == stream->_IO_write_base;
#endif
    return __fpending(stream) == 0;
}

void stream_discard(FILE *stream)
{
    if (!stream_is_empty(stream))
        __fpurge(stream);
}

/* Locks a stream, or gives up after a while: another thread may hold it for long, as when it prints into a full
 * pipe. */
static bool lock_stream(FILE *stream)
{
    int64_t end = 0;

    while (ftrylockfile(stream) != 0) {
        int64_t now = clock_now();

        if (end == 0)
            end = now + PATIENCE;
        if (now >= end)
            return false;
        clock_sleep(PAUSE);
    }
    return true;
}

void stream_flush(FILE *stream)
{
    if (stream_is_empty(stream))
        return;
    CANCELLING_FORBIDDEN;
    if (lock_stream(stream)) {
        fflush(stream);
        funlockfile(stream);
    }
}
