/* resize: pixels of one image resampled, cut, scaled and laid out in one pass. Plain C beside image.pyx; resize_level.h has the loops.
 * Never in here: Python, threads, file formats. A status is returned: 0, or -1 where memory is missing. The machine is little-endian.
 *
 * Two ways to resample, both through tables of weights that depend on sizes alone (Axis):
 * - resample: first the rows, then the columns, in 16-bit fixed point. A value is (value - 128) * 256 as int16: 8 bits of fraction. Weights
 *   have 15 bits, are negated so that 1.0 is one of them, and add up to 1 exactly. Only for weights of one sign (bilinear, area). Each
 *   product is rounded to 1/256 of a level, and all may be rounded the same way: of more than LONG_TAPS weights, which are small, each
 *   RUN_TAPS are added up with some bits more, and a run's sum is rounded. So a value is less than a quarter of a level from the filter's
 *   after one pass and less than half a level after both. It is rounded to a whole one then, as Pillow's is, which is itself one level
 *   from the filter's at most: half of one in each of its passes. One color stays what it is, and the distance to Pillow is one level.
 * - exactly_...: Pillow's recipe, to the bit: 22-bit weights, bytes between the passes, which come in the order that Pillow (since 13)
 *   chooses by the sizes: see rows_first.
 */
#ifndef INFERD_RESIZE_H
#define INFERD_RESIZE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_SIDE = 65535,     /* rows or columns of an image, of what it is resized to, and of a window */
    MAX_CHANNELS = 4,
    MAX_TAPS = 128,       /* weights of one output in 16-bit fixed point; longer filters are computed exactly */
    LONG_TAPS = 64,       /* of more than these a sum is made in runs */
    RUN_TAPS = 8,         /* weights of a run */
    NARROW_ONE = 32768,   /* 1.0 as a 16-bit weight */
    WIDE_BITS = 22,       /* bits of fraction of an exact weight */
    MID_NBYTES = 1 << 20, /* of bytes between the exact passes: larger windows are cut into pieces */
    GROUP = 8,            /* outputs that are laid out together */
    AHEAD = 8,            /* source rows that are fetched while others are summed up */
    SPARSE = 2,           /* source columns for each output, from which on they are fetched one by one where two are enough */
    PAIR_NBYTES = 8,      /* two columns of three channels, and two bytes that are not looked at */
};

enum Method { BILINEAR, NEAREST, BICUBIC, AREA, BOX }; /* BOX: Pillow's, of whole pixels; AREA: of parts of pixels, too */

/* The weights of each of `count` outputs along one axis. One block of memory, at `starts`. */
typedef struct {
    int32_t count;
    int32_t least, past; /* the source positions of all of them: least <= position < past */
    int32_t taps;        /* weights from one output to the next */
    int32_t *starts;     /* first source position of each; NULL: position least + i alone, unweighted */
    int32_t *lengths;    /* weights of each */
    int32_t longest;     /* of the lengths */
    int16_t *narrow;     /* weights * -NARROW_ONE << shift; NULL where wide are asked for */
    int shift;           /* of narrow weights: further bits. A run of them adds up to less than 1 >> shift; 0: there are no runs */
    int32_t *wide;       /* weights * 2^WIDE_BITS, or NULL */
    size_t nbytes;       /* of the block */
} Axis;

typedef struct {
    const uint8_t *pixels; /* [height, width, channels] */
    int32_t height, width;
    int channels;
} Image;

/* Where a window's values go: whole * factor + offset as float, or the whole value as a byte. */
typedef struct {
    char *base;           /* the window's first element */
    ptrdiff_t row, plane; /* elements from a row to the next; from a channel's plane to the next */
    int channels;
    int planar;   /* [channels, height, width] */
    int reversed; /* the last channel first */
    int floating;
    float factors[MAX_CHANNELS], offsets[MAX_CHANNELS]; /* of each output channel */
} Target;

/* ---- weights --------------------------------------------------------------------------------------------------------- */

static double axis_support(int method) {
    return method == BICUBIC ? 2.0 : method == AREA || method == BOX ? 0.5 : 1.0;
}

/* The filter's height at a distance. The cubic is Pillow's, and OpenCV's where nothing is antialiased. */
static double axis_filter(int method, int antialias, double x) {
    const double a = antialias ? -0.5 : -0.75;
    if (method == BOX) return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    x = fabs(x);
    if (method == BILINEAR) return x < 1.0 ? 1.0 - x : 0.0;
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

/* The part of an axis of `in` positions that is resized: `span` of them from `origin` on, which need not be whole ones. */
typedef struct {
    int32_t in;
    double origin, span;
} Source;

/* Source positions that one output covers. */
static double axis_stretch(Source source, int32_t out, int method, int antialias) {
    const double scale = source.span / out;
    return scale > 1.0 && (antialias || method == AREA || method == BOX) ? scale : 1.0;
}

/* The most weights that an output can have. */
static int32_t axis_taps(Source source, int32_t out, int method, int antialias) {
    const int32_t reach = method == NEAREST ? 0 : (int32_t)ceil(axis_support(method) * axis_stretch(source, out, method, antialias));
    return reach * 2 + 1 < source.in ? reach * 2 + 1 : source.in;
}

/* As axis_weigh for AREA: how much of each position lies in what the output covers. Smaller parts are roundings of the borders. */
static int32_t axis_cover(double *weights, int32_t *start, Source source, int32_t out, int32_t position) {
    const double least = 1e-7, scale = source.span / out, begin = source.origin + position * scale, end = begin + scale;
    const int32_t low = (int32_t)floor(begin + least), high = (int32_t)ceil(end - least);
    const int32_t from = low < source.in - 1 ? low : source.in - 1, to = high <= from ? from + 1 : high > source.in ? source.in : high;
    double sum = 0.0;
    for (int32_t i = from; i < to; i++) {
        const double covered = (end < i + 1 ? end : i + 1) - (begin > i ? begin : i);
        sum += weights[i - from] = covered > least ? covered : to - from == 1 ? 1.0 : 0.0;
    }
    for (int32_t i = from; i < to; i++) weights[i - from] /= sum;
    *start = from;
    return to - from;
}

/* One output's weights, which add up to 1, into weights[axis_taps]. Returns how many; *start is the first one's position. */
static int32_t axis_weigh(double *weights, int32_t *start, Source source, int32_t out, int method, int antialias, int32_t position) {
    if (method == AREA) return axis_cover(weights, start, source, out, position);
    const int32_t in = source.in;
    const double stretch = axis_stretch(source, out, method, antialias), scale = source.span / out;
    const double center = source.origin + (position + 0.5) * scale, support = axis_support(method) * stretch, inverse = 1.0 / stretch;
    const int clipped = antialias || method == BOX; /* else positions outside are those of the edge */
    const int32_t low = (int32_t)floor(center - support + 0.5), high = (int32_t)floor(center + support + 0.5);
    const int32_t from = low < 0 ? 0 : low, to = high > in ? in : high;
    const int32_t first = clipped ? from : low, last = clipped ? to : high;
    double sum = 0.0;
    memset(weights, 0, sizeof(double) * (size_t)(to - from));
    for (int32_t i = first; i < last; i++) {
        const double weight = axis_filter(method, antialias, (i - center + 0.5) * inverse);
        weights[(i < from ? from : i >= to ? to - 1 : i) - from] += weight;
        sum += weight;
    }
    if (sum != 0.0)
        for (int32_t i = 0; i < to - from; i++) weights[i] /= sum;
    *start = from;
    return to - from;
}

/* How many bits more the weights of the outputs can have if they are added up in runs, wherever one begins. */
static int axis_shift(double *weights, Source source, int32_t out, int method, int antialias, int32_t first, int32_t count) {
    double most = 0.0;
    int shift = 0;
    for (int32_t i = first; i < first + count; i++) {
        int32_t start;
        const int32_t length = axis_weigh(weights, &start, source, out, method, antialias, i);
        double sum = 0.0;
        for (int32_t k = 0; k < length; k++) {
            sum += weights[k] - (k < RUN_TAPS ? 0.0 : weights[k - RUN_TAPS]);
            if (sum > most) most = sum;
        }
    }
    while (shift < 4 && most * (2 << shift) < 0.99) shift++; /* the rest is for what rounding adds */
    return shift;
}

/* Rounded so that they add up to exactly one, and those of a run to a multiple of 1 << shift: what is cut off here goes to the neighbour.
 * Leading and trailing zeros are dropped. */
static int32_t axis_round(int16_t *narrow, const double *weights, int32_t *start, int32_t length, int shift) {
    const int32_t one = NARROW_ONE << shift, half = 1 << shift >> 1;
    double sum = 0.0;
    int32_t used = 0, dropped = 0, before = 0;
    for (int32_t i = 0; i < length; i++) {
        sum += weights[i];
        int32_t rounded = i == length - 1 ? one : (int32_t)(sum * one + 0.5);
        if (used % RUN_TAPS == RUN_TAPS - 1) rounded = (rounded + half) >> shift << shift;
        const int32_t weight = rounded - before;
        before = rounded;
        if (used == 0 && weight == 0) dropped++;
        else narrow[used++] = (int16_t)-weight;
    }
    while (used > 1 && narrow[used - 1] == 0) used--;
    *start += dropped;
    return used;
}

/* Whether Pillow takes the rows first: where more than twice as many of them are lost as of the columns. */
static int rows_first(int32_t height, int32_t width, int32_t resized_height, int32_t resized_width) {
    return height > resized_height && height - resized_height > (width - resized_width) * 2;
}

static void axis_free(Axis *axis) {
    free(axis->starts);
    memset(axis, 0, sizeof *axis);
}

/* The table of outputs first <= position < first + count, of an axis that is resized to `out`. Sizes are at most MAX_SIDE. */
static int axis_fill(Axis *axis, Source source, int32_t out, int method, int antialias, int exact, int32_t first, int32_t count) {
    const int32_t in = source.in, taps = axis_taps(source, out, method, antialias);
    const size_t weights = (size_t)count * (size_t)taps, nbytes = (size_t)count * 2 * sizeof(int32_t) + weights * (exact ? 4 : 2);
    double *const row = malloc(sizeof(double) * (size_t)(taps + 2));
    memset(axis, 0, sizeof *axis);
    axis->starts = calloc(nbytes, 1);
    if (row == NULL || axis->starts == NULL) {
        free(row);
        axis_free(axis);
        return -1;
    }
    axis->count = count;
    axis->taps = taps;
    axis->nbytes = nbytes;
    axis->lengths = axis->starts + count;
    if (exact) axis->wide = axis->lengths + count;
    else axis->narrow = (int16_t *)(axis->lengths + count);
    axis->least = in;
    if (!exact && method != NEAREST && taps > LONG_TAPS) axis->shift = axis_shift(row, source, out, method, antialias, first, count);
    double nearest = source.origin + source.span / out * 0.5; /* added up, as Pillow does, so that roundings are the same */
    for (int32_t i = 0; i < first + count; i++, nearest += source.span / out) {
        if (i < first) continue;
        const int32_t at = i - first;
        int32_t start = 0, length = 1;
        if (method == NEAREST) {
            start = nearest < in ? (int32_t)nearest : in - 1;
        } else {
            length = axis_weigh(row, &start, source, out, method, antialias, i);
            if (exact)
                for (int32_t k = 0; k < length; k++)
                    axis->wide[(size_t)at * taps + k] = (int32_t)(row[k] * (1 << WIDE_BITS) + (row[k] < 0 ? -0.5 : 0.5));
            else
                length = axis_round(axis->narrow + (size_t)at * taps, row, &start, length, axis->shift);
        }
        axis->starts[at] = start;
        axis->lengths[at] = length;
        if (length > axis->longest) axis->longest = length;
        if (start < axis->least) axis->least = start;
        if (start + length > axis->past) axis->past = start + length;
    }
    free(row);
    return 0;
}

/* ---- the loops, once for each set of instructions ------------------------------------------------------------------------ */

/* Fills the target with the window that the tables describe. */
typedef int (*Loop)(const Image *, const Axis *rows, const Axis *columns, const Target *);

typedef struct {
    const char *name;
    Loop resample, exactly_columns_first, exactly_rows_first, pick;
} Level;

#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(INFERD_DEBUG) || defined(__clang__)
#define VECTORIZE_BEGIN
#define VECTORIZE_END
#else /* gcc vectorizes loops as below from -O3 on only */
#define VECTORIZE_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"O3\")")
#define VECTORIZE_END _Pragma("GCC pop_options")
#endif

/* (a * b + 2^14) >> 15 of each lane: what x86 has from SSE4.1 on, and NEON. */
#if defined(__aarch64__)
#include <arm_neon.h>
#define MULTIPLY(a, b) ((Lanes8)vqrdmulhq_s16((int16x8_t)(a), (int16x8_t)(b)))
#define PLAIN_NAME "neon"
#else
#define MULTIPLY(a, b) multiply_plain(a, b)
#define PLAIN_NAME "plain"
#endif
typedef int16_t Lanes8 __attribute__((vector_size(16)));
typedef int32_t Wide8 __attribute__((vector_size(32)));
typedef uint16_t Words8 __attribute__((vector_size(16)));
typedef uint8_t Bytes8 __attribute__((vector_size(8)));

#define LANES 8
#define LEVEL(name) name##_plain
VECTORIZE_BEGIN
#if !defined(__aarch64__)
ALWAYS_INLINE Lanes8 multiply_plain(Lanes8 a, Lanes8 b) {
    const Wide8 product = __builtin_convertvector(a, Wide8) * __builtin_convertvector(b, Wide8);
    return __builtin_convertvector((product + (1 << 14)) >> 15, Lanes8);
}
#endif
#include "resize_level.h"
VECTORIZE_END

#if defined(__x86_64__)
#include <immintrin.h>

#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#ifdef __clang__
#define TARGET_BEGIN(name) PRAGMA(clang attribute push(__attribute__((target(name))), apply_to = function))
#define TARGET_END PRAGMA(clang attribute pop)
#else
#define TARGET_BEGIN(name) PRAGMA(GCC push_options) PRAGMA(GCC target(name))
#define TARGET_END PRAGMA(GCC pop_options)
#endif

#define LANES 8
#define LEVEL(name) name##_sse4
#define MULTIPLY(a, b) ((Lanes_sse4)_mm_mulhrs_epi16((__m128i)(a), (__m128i)(b)))
TARGET_BEGIN("sse4.1")
VECTORIZE_BEGIN
#include "resize_level.h"
VECTORIZE_END
TARGET_END

#define LANES 16
#define LEVEL(name) name##_avx2
#define MULTIPLY(a, b) ((Lanes_avx2)_mm256_mulhrs_epi16((__m256i)(a), (__m256i)(b)))
TARGET_BEGIN("avx2")
VECTORIZE_BEGIN
#include "resize_level.h"
VECTORIZE_END
TARGET_END
#endif

/* This machine's levels, best first; ends with a name that is NULL. AVX-512 is left out: the rows are as fast as memory gives them, and
 * a prototype that won by itself lost behind a decoder. */
static const Level *levels_here(void) {
    static const Level all[] = {
#if defined(__x86_64__)
        {"avx2", resample_avx2, exactly_columns_first_avx2, exactly_rows_first_avx2, pick_avx2},
        {"sse4.1", resample_sse4, exactly_columns_first_sse4, exactly_rows_first_sse4, pick_sse4},
#endif
        {PLAIN_NAME, resample_plain, exactly_columns_first_plain, exactly_rows_first_plain, pick_plain},
        {NULL, NULL, NULL, NULL, NULL},
    };
#if defined(__x86_64__)
    return all + (__builtin_cpu_supports("avx2") ? 0 : __builtin_cpu_supports("sse4.1") ? 1 : 2);
#else
    return all;
#endif
}

/* ---- what lies outside ------------------------------------------------------------------------------------------------- */

/* `count` columns of one row, of one output channel of [height, width, channels] or of a plane. */
static void fill_run(const Target *target, ptrdiff_t at, int32_t count, int channel, int fill) {
    const ptrdiff_t step = target->planar ? 1 : target->channels;
    const float value = (float)fill * target->factors[channel] + target->offsets[channel];
    if (target->floating)
        for (ptrdiff_t i = 0; i < count; i++) ((float *)target->base)[at + i * step] = value;
    else
        for (ptrdiff_t i = 0; i < count; i++) ((uint8_t *)target->base)[at + i * step] = (uint8_t)fill;
}

/* All of a target [height, width] except the window of rows y0 to y1 and columns x0 to x1. */
static void fill_outside(const Target *whole, int32_t height, int32_t width, int32_t y0, int32_t y1, int32_t x0, int32_t x1, int fill) {
    const ptrdiff_t step = whole->planar ? 1 : whole->channels;
    for (int channel = 0; channel < whole->channels; channel++)
        for (int32_t y = 0; y < height; y++) {
            const ptrdiff_t at = y * whole->row + channel * (whole->planar ? whole->plane : 1);
            if (y < y0 || y >= y1) {
                fill_run(whole, at, width, channel, fill);
            } else {
                fill_run(whole, at, x0, channel, fill);
                fill_run(whole, at + x1 * step, width - x1, channel, fill);
            }
        }
}

#endif
