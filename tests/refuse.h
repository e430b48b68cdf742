/* System calls that are refused for good, as sandboxes refuse them, by a seccomp filter. The refusal lasts for the
 * calling process and for all that it starts from then on, so a test does it in a child. Filters add up. Each function
 * returns 0; -1: the system has no such filters. */
#ifndef REFUSE_H
#define REFUSE_H

#include <stdint.h>

/* From now on the system call `number` (SYS_...) returns -1 with errno `error`. */
int refuse_call(int number, int error);
/* Like refuse_call(), but only for calls in which the low half of argument `index` (from 0), masked with `mask`, equals
 * `value`: openat() with O_TMPFILE, for example. All other calls of that number work. */
int refuse_call_with(int number, unsigned index, uint32_t mask, uint32_t value, int error);

#endif
