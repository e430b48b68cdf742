/* What is buffered in an output stream: empty, flushed, discarded. */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stdio.h>

/* Whether the stream's output buffer is empty. */
bool stream_is_empty(FILE *stream);
/* Flushes it, if it is not empty and no other thread holds it for long. */
void stream_flush(FILE *stream);
/* Discards what was written to the stream and not flushed. */
void stream_discard(FILE *stream);

#endif
