/* Random bytes. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stddef.h>

/* Random bytes. If the system refuses to give any, they are made of clock, pid and addresses. */
void random_bytes(void *buffer, size_t size);

#endif
