/* Floats as JSON. */
#ifndef JSON_FLOAT_H
#define JSON_FLOAT_H

#define JSON_FLOAT_SIZE 32

/* Writes a float as Python's repr() does: the fewest digits that read back equal; with a point or an exponent, so
 * that it reads back as a float. An infinity is 1e999 or -1e999, which reads back as one; NaN is null. Neither the
 * locale nor the rounding mode counts. */
void json_float(double real, char text[JSON_FLOAT_SIZE]);

#endif
