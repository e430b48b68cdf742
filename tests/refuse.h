/* System calls that are refused for good, as sandboxes refuse them: by a seccomp filter. What is refused stays so in
 * the calling process, and in all that it starts from then on: so a test does it in a child. Filters add up. Each
 * function returns 0; -1: the system has no such filters. */
#ifndef REFUSE_H
#define REFUSE_H

#include <stdint.h>

/* The call of that number (SYS_...) returns -1 with errno `error` from now on. */
int refuse_call(int number, int error);
/* The same where the low half of its argument `index` (from 0), taken with `mask`, equals `value`: openat() with
 * O_TMPFILE, say. All other calls of that number go through. */
int refuse_call_with(int number, unsigned index, uint32_t mask, uint32_t value, int error);

#endif
