/* The largest size, the cache line, and rounding up. */
#ifndef UNITS_H
#define UNITS_H

#include <stdint.h>

/* The largest size in bytes of anything that the library takes or makes, and the largest number of items. The sum of
 * several such numbers fits 64 bits. */
#define SIZE_MOST (UINT64_C(1) << 40)

#define CACHE_LINE UINT64_C(64)

/* The smallest multiple of `unit` that is not less than `size`. */
static inline uint64_t round_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

#endif
