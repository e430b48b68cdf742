/* The one function that libFuzzer, or driver.c in its place, calls. */
#ifndef HOSTILE_HEAP_H
#define HOSTILE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* What became of the inputs so far: opening refused it, the checker found the damage, it was sound and was used. */
struct hostile_counts {
    unsigned long refused, damaged, sound;
};
extern struct hostile_counts hostile_counts;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
