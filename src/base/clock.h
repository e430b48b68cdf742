/* Clocks and deadlines. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Deadlines are nanoseconds on the monotonic clock. */
#define DEADLINE_NEVER INT64_MAX

int64_t clock_now(void);
/* Nanoseconds since the system was started, by the clock in which the system tells when a process began. */
int64_t clock_boot(void);
/* The deadline `seconds` from now. DEADLINE_NEVER for MP_FOREVER and for times too far to count; now for 0 and less.
 * False for NaN. */
bool clock_deadline(double seconds, int64_t *deadline);

#endif
