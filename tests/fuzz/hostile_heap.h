/* The one function that libFuzzer calls, or driver.c in its place. */
#ifndef HOSTILE_HEAP_H
#define HOSTILE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* The outcomes so far: opening refused the input; the checker found the damage; the heap was sound and was used. */
struct hostile_counts {
    unsigned long refused, damaged, sound;
};
extern struct hostile_counts hostile_counts;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
