/* decimal: numbers as JSON text. Floating point numbers get the fewest digits that read back as the same number, by Raffaello Giulietti's
   Schubfach ("The Schubfach way to render doubles", 2020; the names are the paper's). Never in here: what is no number, such as NaN. */

#ifndef INFERD_DECIMAL_H
#define INFERD_DECIMAL_H

#include <stdint.h>
#include <string.h>

/* 10^k as ceil(10^k * 2^-r), r such that its top bit is set: 128 bits for doubles, 64 for floats. Set once, when the module is imported. */
enum { MIN_POWER = -292, MAX_POWER = 324, MIN_POWER32 = -31, MAX_POWER32 = 45 };
typedef struct { uint64_t high, low; } Power;
static Power powers[MAX_POWER - MIN_POWER + 1];
static uint64_t powers32[MAX_POWER32 - MIN_POWER32 + 1];

static const char digit_pairs[201] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static inline int decimal_length(uint64_t number) {
    int count = 1;
    for (;;) {
        if (number < 10) return count;
        if (number < 100) return count + 1;
        if (number < 1000) return count + 2;
        if (number < 10000) return count + 3;
        number /= 10000;
        count += 4;
    }
}

/* Writes the last `count` digits of a number. */
static inline void put_digits(char *at, uint64_t number, int count) {
    at += count;
    while (count >= 2) {
        at -= 2;
        memcpy(at, digit_pairs + number % 100 * 2, 2);
        number /= 100;
        count -= 2;
    }
    if (count == 1) at[-1] = (char)('0' + number % 10);
}

static inline char *put_unsigned(char *at, uint64_t number) {
    int count = decimal_length(number);
    put_digits(at, number, count);
    return at + count;
}

static inline char *put_signed(char *at, int64_t number) {
    if (number >= 0) return put_unsigned(at, (uint64_t)number);
    *at = '-';
    return put_unsigned(at + 1, 0 - (uint64_t)number);
}

/* Writes digits * 10^power, digits > 0: 0.00012, 12.5, 1200.0, 1.2e+20. Whole ones keep their fraction: readers tell datatypes by it. */
static inline char *put_decimal(char *at, uint64_t digits, int power) {
    int count, point;
    while (digits % 10 == 0) { digits /= 10; power++; }
    count = decimal_length(digits);
    point = count + power;                          /* digits in front of the point */
    if (0 < point && point <= 16) {
        if (power >= 0) {
            put_digits(at, digits, count);
            memset(at + count, '0', (size_t)power);
            memcpy(at + point, ".0", 2);
            return at + point + 2;
        }
        put_digits(at + 1, digits, count);
        memmove(at, at + 1, (size_t)point);
        at[point] = '.';
        return at + count + 1;
    }
    if (-4 < point && point <= 0) {
        memcpy(at, "0.000", 5);
        put_digits(at + 2 - point, digits, count);
        return at + 2 - point + count;
    }
    put_digits(at + 1, digits, count);
    at[0] = at[1];
    at[1] = '.';
    at += count > 1 ? count + 1 : 1;
    *at++ = 'e';
    *at++ = point > 0 ? '+' : '-';
    power = point > 0 ? point - 1 : 1 - point;
    if (power < 10) *at++ = '0';
    return put_unsigned(at, (uint64_t)power);
}

static inline char *put_zero(char *at) {
    memcpy(at, "0.0", 3);
    return at + 3;
}

static inline int floor_log2_power10(int k) { return (k * 1741647) >> 19; }

static inline int floor_log10_power2(int q, int closer) { return (q * 1262611 - (closer ? 524031 : 0)) >> 22; }

static inline uint64_t round_to_odd(const Power *g, uint64_t cp) {
    unsigned __int128 low = (unsigned __int128)g->low * cp;
    unsigned __int128 high = (unsigned __int128)g->high * cp + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

static inline uint32_t round_to_odd32(uint64_t g, uint32_t cp) {
    unsigned __int128 product = (unsigned __int128)g * cp;
    return (uint32_t)(product >> 64) | ((uint32_t)(product >> 32) > 1);
}

/* Writes the decimal of fewest digits from lower to upper that is nearest to vb. All three count quarters of 10^k. */
static inline char *put_shortest(char *at, uint64_t lower, uint64_t vb, uint64_t upper, int k) {
    uint64_t s = vb / 4, tens;
    int up, down;
    if (s >= 10) {
        tens = s / 10;
        down = lower <= 40 * tens;
        up = 40 * tens + 40 <= upper;
        if (down != up) return put_decimal(at, tens + (uint64_t)up, k + 1);
    }
    down = lower <= 4 * s;
    up = 4 * s + 4 <= upper;
    if (down == up) up = vb > 4 * s + 2 || (vb == 4 * s + 2 && (s & 1));
    return put_decimal(at, s + (uint64_t)up, k);
}

/* A finite double: at most 24 bytes. */
static inline char *put_float64(char *at, double value) {
    uint64_t bits, fraction, c, vb, lower, upper, odd;
    int exponent, q, k, h, closer;
    const Power *g;
    memcpy(&bits, &value, 8);
    if (bits >> 63) *at++ = '-';
    if (bits << 1 == 0) return put_zero(at);
    bits &= UINT64_MAX >> 1;
    fraction = bits & (((uint64_t)1 << 52) - 1);
    exponent = (int)(bits >> 52);
    c = exponent ? fraction | (uint64_t)1 << 52 : fraction;
    q = (exponent ? exponent : 1) - 1075;
    if (exponent && -52 <= q && q <= 0 && (c & (((uint64_t)1 << -q) - 1)) == 0) return put_decimal(at, c >> -q, 0);
    odd = c & 1;
    closer = fraction == 0 && exponent > 1;
    k = floor_log10_power2(q, closer);
    h = q + floor_log2_power10(-k) + 1;
    g = &powers[-k - MIN_POWER];
    lower = round_to_odd(g, (4 * c - 2 + (uint64_t)closer) << h) + odd;
    vb = round_to_odd(g, 4 * c << h);
    upper = round_to_odd(g, (4 * c + 2) << h) - odd;
    return put_shortest(at, lower, vb, upper, k);
}

/* The same for a float: the fewest digits that read back as this float, also where a reader makes a double of them first. That is no
   difference but for one number, 7.038531e-26, as trying all of them has shown. At most 19 bytes. */
static inline char *put_float32(char *at, float value) {
    uint32_t bits, fraction, c, vb, lower, upper, odd;
    int exponent, q, k, h, closer;
    uint64_t g;
    memcpy(&bits, &value, 4);
    if (bits >> 31) *at++ = '-';
    if (bits << 1 == 0) return put_zero(at);
    bits &= UINT32_MAX >> 1;
    if (bits == 0x15AE43FD) return put_decimal(at, 70385307, -33);
    fraction = bits & ((1u << 23) - 1);
    exponent = (int)(bits >> 23);
    c = exponent ? fraction | 1u << 23 : fraction;
    q = (exponent ? exponent : 1) - 150;
    if (exponent && -23 <= q && q <= 0 && (c & ((1u << -q) - 1)) == 0) return put_decimal(at, c >> -q, 0);
    odd = c & 1;
    closer = fraction == 0 && exponent > 1;
    k = floor_log10_power2(q, closer);
    h = q + floor_log2_power10(-k) + 1;
    g = powers32[-k - MIN_POWER32];
    lower = round_to_odd32(g, (4 * c - 2 + (uint32_t)closer) << h) + odd;
    vb = round_to_odd32(g, 4 * c << h);
    upper = round_to_odd32(g, (4 * c + 2) << h) - odd;
    return put_shortest(at, lower, vb, upper, k);
}

#endif
