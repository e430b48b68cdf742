/* The digits come from exact arithmetic on large integers: Burger and Dybvig, "Printing floating-point numbers quickly
 * and accurately", 1996. printf() is not suitable: its decimal point depends on the locale, its last digit on the
 * rounding mode, and the number of digits needed is found only by trying. */
#include "value/json_float.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MOST_DIGITS 17
#define FRACTION_BITS 52
/* All numbers here are less than 2 to the power of 1200. */
#define MOST_WORDS 19

/* ---- large integers ---- */

__extension__ typedef unsigned __int128 two_words;

struct large {
    int count;
    uint64_t word[MOST_WORDS]; /* least significant first; the highest of `count` is not 0 */
};

static void set(struct large *number, uint64_t value)
{
    number->word[0] = value;
    number->count = value != 0;
}

static void multiply(struct large *number, uint64_t factor)
{
    two_words carry = 0;

    for (int i = 0; i < number->count; i++) {
        carry += (two_words)number->word[i] * factor;
        number->word[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0)
        number->word[number->count++] = (uint64_t)carry;
}

static void multiply_by_power_of_ten(struct large *number, int power)
{
    for (; power >= 18; power -= 18)
        multiply(number, UINT64_C(1000000000000000000));
    for (; power > 0; power--)
        multiply(number, 10);
}

static void shift(struct large *number, int bits)
{
    int words = bits / 64;

    memmove(&number->word[words], number->word, (size_t)number->count * sizeof *number->word);
    memset(number->word, 0, (size_t)words * sizeof *number->word);
    number->count += words;
    multiply(number, UINT64_C(1) << bits % 64);
}

static int compare(const struct large *a, const struct large *b)
{
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    for (int i = a->count - 1; i >= 0; i--) {
        if (a->word[i] != b->word[i])
            return a->word[i] < b->word[i] ? -1 : 1;
    }
    return 0;
}

/* Compares a + b * factor with c. */
static int compare_sum(const struct large *a, const struct large *b, uint64_t factor, const struct large *c)
{
    struct large sum = {.count = a->count > b->count ? a->count : b->count};
    two_words carry = 0;

    for (int i = 0; i < sum.count; i++) {
        carry += (two_words)(i < b->count ? b->word[i] : 0) * factor + (i < a->count ? a->word[i] : 0);
        sum.word[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0)
        sum.word[sum.count++] = (uint64_t)carry;
    return compare(&sum, c);
}

/* a -= b * factor, which is not larger. */
static void subtract_product(struct large *a, const struct large *b, uint64_t factor)
{
    two_words carry = 0;

    for (int i = 0; i < a->count; i++) {
        carry += (two_words)(i < b->count ? b->word[i] : 0) * factor;
        uint64_t less = (uint64_t)carry;
        carry = (carry >> 64) + (a->word[i] < less);
        a->word[i] -= less;
    }
    while (a->count > 0 && a->word[a->count - 1] == 0)
        a->count--;
}

/* Divides a by b and leaves the remainder in a. a is less than 10 * b, and b's highest word is between 2 to the
 * power of 59 and of 60: so a has no more words, and the highest ones alone tell the quotient, or one less. */
static unsigned divide(struct large *a, const struct large *b)
{
    unsigned quotient = 0;

    if (a->count == b->count)
        quotient = (unsigned)(a->word[a->count - 1] / (b->word[b->count - 1] + 1));
    if (quotient > 0)
        subtract_product(a, b, quotient);
    if (compare(a, b) >= 0) {
        subtract_product(a, b, 1);
        quotient++;
    }
    return quotient;
}

/* ---- digits ---- */

/* What is left to print is value / scale. A number reads back as the same float if it is
 * - less than unit / scale below it, or
 * - less than above_units * unit / scale above it, or
 * - exactly so far away, and the float's last bit is 0: half-way cases are rounded to even. */
struct rest {
    struct large value, unit, scale;
    uint64_t above_units;
    bool even;
    int point; /* the number is 0.DIGITS times 10 to this power */
};

static void next_place(struct rest *rest)
{
    multiply(&rest->value, 10);
    multiply(&rest->unit, 10);
}

/* Whether a number as large as `scale` reads back as the same float. */
static bool reaches_scale(const struct rest *rest)
{
    return compare_sum(&rest->value, &rest->unit, rest->above_units, &rest->scale) + rest->even > 0;
}

/* Finds the decimal point, so that the first digit is value / scale after next_place(). 2 to that power is the
 * largest that is not above the number: its decimal point is that of the number, or one place before. */
static void find_point(struct rest *rest, int power_of_2)
{
    rest->point = (int)floor(power_of_2 * 0.30102999566398120) + 1;
    if (rest->point >= 0) {
        multiply_by_power_of_ten(&rest->scale, rest->point);
    } else {
        multiply_by_power_of_ten(&rest->value, -rest->point);
        multiply_by_power_of_ten(&rest->unit, -rest->point);
    }
    if (reaches_scale(rest)) {
        multiply(&rest->scale, 10);
        rest->point++;
    }
}

/* Multiplies all by a power of 2 so that divide()'s condition holds. */
static void align(struct rest *rest)
{
    int bits = (__builtin_clzll(rest->scale.word[rest->scale.count - 1]) + 60) % 64;

    shift(&rest->value, bits);
    shift(&rest->unit, bits);
    shift(&rest->scale, bits);
}

/* A float above 0. */
static void take_apart(double real, struct rest *rest)
{
    uint64_t bits;

    memcpy(&bits, &real, sizeof bits);
    uint64_t fraction = bits & ((UINT64_C(1) << FRACTION_BITS) - 1);
    int exponent = (int)(bits >> FRACTION_BITS);
    /* The next float below a power of 2 is only half as far away as the next above. */
    int lopsided = fraction == 0 && exponent > 1;
    if (exponent == 0)
        exponent = 1;
    else
        fraction |= UINT64_C(1) << FRACTION_BITS;
    exponent -= 1023 + FRACTION_BITS;
    rest->even = fraction % 2 == 0;
    rest->above_units = UINT64_C(1) << lopsided;
    set(&rest->value, fraction);
    set(&rest->unit, 1);
    set(&rest->scale, 1);
    shift(&rest->value, 1 + lopsided + (exponent > 0 ? exponent : 0));
    shift(&rest->unit, exponent > 0 ? exponent : 0);
    shift(&rest->scale, 1 + lopsided + (exponent < 0 ? -exponent : 0));
    find_point(rest, exponent + 63 - __builtin_clzll(fraction));
    align(rest);
}

/* Stores the fewest digits that read back as the same float, the nearest if there are several, and returns their
 * number. */
static int make_digits(double real, char digits[MOST_DIGITS], int *point)
{
    struct rest rest;
    int count = 0;

    take_apart(real, &rest);
    *point = rest.point;
    for (;;) {
        next_place(&rest);
        unsigned digit = divide(&rest.value, &rest.scale);
        bool down = compare(&rest.value, &rest.unit) < rest.even, up = reaches_scale(&rest);
        if (down && up) {
            int half = compare_sum(&rest.value, &rest.value, 1, &rest.scale);
            up = half > 0 || (half == 0 && digit % 2 != 0);
        }
        digits[count++] = (char)('0' + digit + up);
        if (down || up)
            return count;
    }
}

/* ---- the text ---- */

/* Writes digits with a point after the first `point` of them, and zeros where there are no digits. */
static char *write_fixed(char *to, const char *digits, int count, int point)
{
    int from = point > 0 ? 0 : point - 1, end = point >= count ? point + 1 : count;

    for (int i = from; i < end; i++) {
        if (i == point)
            *to++ = '.';
        *to++ = i >= 0 && i < count ? digits[i] : '0';
    }
    return to;
}

/* A float above 0. */
static char *write_positive(char *to, double real)
{
    char digits[MOST_DIGITS];
    int point, count = make_digits(real, digits, &point);

    if (point > -4 && point <= 16)
        return write_fixed(to, digits, count, point);
    *to++ = digits[0];
    if (count > 1) {
        *to++ = '.';
        memcpy(to, digits + 1, (size_t)count - 1);
        to += count - 1;
    }
    return to + sprintf(to, "e%+03d", point - 1);
}

void json_float(double real, char text[JSON_FLOAT_SIZE])
{
    if (isnan(real)) {
        strcpy(text, "null");
        return;
    }
    if (signbit(real))
        *text++ = '-';
    real = fabs(real);
    if (isinf(real))
        strcpy(text, "1e999");
    else if (real < 0x1p53 && real == (double)(uint64_t)real) /* an integer needs all of its digits */
        sprintf(text, "%llu.0", (unsigned long long)real);
    else
        *write_positive(text, real) = 0;
}
