/* Clocks and deadlines. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* In nanoseconds. */
#define MICROSECOND INT64_C(1000)
#define MILLISECOND INT64_C(1000000)
#define SECOND INT64_C(1000000000)

/* Deadlines are nanoseconds on the monotonic clock. */
#define DEADLINE_NEVER INT64_MAX

int64_t clock_now(void);
/* Nanoseconds since the system was started, by the clock in which the system tells when a process began. */
int64_t clock_boot(void);
/* The deadline `seconds` from now. DEADLINE_NEVER for MP_FOREVER and for times too far to count; now for 0 and less.
 * False for NaN. */
bool clock_deadline(double seconds, int64_t *deadline);
/* A pause between two looks at something that no futex announces. Not a cancellation point. A signal may end it. */
void clock_sleep(int64_t nanoseconds);

#endif
