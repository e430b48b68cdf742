/* A storm: signals all the time. */
#ifndef STORM_H
#define STORM_H

#include <stdbool.h>

/* Makes a signal interrupt the calling process every 100 microseconds. `restart`: its handler is set with
 * SA_RESTART. */
void storm_begin(bool restart);
/* Starts the timer in a child, if the storm has begun: a child inherits the handler, but not the timer. */
void storm_join(void);
/* The number of signals that this process has received. */
long storm_signals(void);

#endif
