/* Signals all the time. */
#ifndef STORM_H
#define STORM_H

#include <stdbool.h>

/* Makes a signal interrupt the calling process every 100 microseconds; its handler asks for calls to be restarted, or
 * not. */
void storm_begin(bool restart);
/* The same in a child, which inherits the handler but not the timer: if it has begun. */
void storm_join(void);
/* How many have come in this process. */
long storm_signals(void);

#endif
