/* Comparing values, including the content of containers, and ordering them. */
#ifndef COMPARE_H
#define COMPARE_H

#include <mp.h>

/* Equal as by Python's ==. MP_EDEPTH, MP_ENOMEM. Takes the mutexes of containers, one at a time. */
int value_equal(const mp_value *a, const mp_value *b, bool *equal);
/* Ordered as by Python's <: *order is less than, equal to, or more than 0. MP_ETYPE for types without an order between
 * them. */
int value_order(const mp_value *a, const mp_value *b, int *order);

#endif
