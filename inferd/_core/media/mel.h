/* mel.h: from sound to mel bands: windows, the FFT of real numbers, powers, and the weighted sums of the bands.
   Never in here: memory, the values of the tables (mel.pyx makes both), Python.

   Several windows go through at once, one a lane: element n of all of them lies side by side, so each step is the same arithmetic on
   whole vectors, whatever the length of the window, and nothing is ever shuffled. mel_kernel.h is that arithmetic, compiled once for
   each width of vectors; mel_run chooses at run time. Every width does the same operations in the same order, so on one architecture
   the results are the same to the bit. */
#ifndef INFERD_MEL_H
#define INFERD_MEL_H

#include <stddef.h>
#include <string.h>

#define MEL_MOST_LANES 8
#define MEL_MOST_STAGES 16
#define MEL_MOST_FFT 16384

/* The tables of all clips. Read only once they are made: threads share them. */
typedef struct {
    int fft;                        /* samples of a window: even */
    int half;                       /* half of them: the size of the complex FFT, and the highest bin */
    int stages;                     /* of the FFT */
    int radix[MEL_MOST_STAGES];     /* of each stage: 2, 3, 4, 5 or 7; their product is half */
    const float *twiddle;           /* stage after stage, row r = 1 .. n/p - 1, column k = 1 .. p - 1: exp(-2 pi i r k / n) as re, im */
    const float *rotation;          /* k = 0 .. half / 2: exp(-2 pi i k / fft) as re, im */
    const float *window;            /* fft values, halved: what the separation of the real FFT would divide by */
    int bands;
    const int *first;               /* of each band: its first bin that counts */
    const int *end;                 /* and the one after its last */
    const float *weight;            /* of those bins, band after band */
} mel_tables;

/* One clip, and which windows of it are asked for. Window t begins at sample first + t * hop. Samples before the clip's first and after
   its last are reflected there: 1 - count <= first, and first + (frames - 1) * hop + fft <= 2 * count - 1. */
typedef struct {
    const float *samples;
    ptrdiff_t count;
    ptrdiff_t first;
    ptrdiff_t hop;
    ptrdiff_t frames;
} mel_clip;

/* Where the bands go; steps in floats. */
typedef struct {
    float *bands;
    ptrdiff_t band_step;
    ptrdiff_t frame_step;
} mel_result;

/* The bytes that one call of mel_run needs for itself, aligned to 64: two buffers of the complex FFT and one of powers. */
static inline size_t mel_scratch_bytes(const mel_tables *tables) {
    return sizeof(float) * MEL_MOST_LANES * (5 * (size_t)tables->half + 1);
}

#define MEL_PASTE(name, lanes) name##_##lanes
#define MEL_NAMED(name, lanes) MEL_PASTE(name, lanes)

/* 4 lanes: SSE2, NEON, or whatever the compiler makes of them. */
#define MEL_LANES 4
#define MEL_TARGET
#include "mel_kernel.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define MEL_X86 1
#define MEL_LANES 8
#define MEL_TARGET __attribute__((target("avx2")))
#include "mel_kernel.h"
#endif

/* How many windows go through this machine at once. AVX-512 is no faster: 16 windows leave less of the nearest cache. */
static int mel_lanes_here(void) {
#ifdef MEL_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        return 8;
#endif
    return 4;
}

static void mel_run(int lanes, const mel_tables *tables, const mel_clip *clip, const mel_result *result, float *scratch) {
#ifdef MEL_X86
    if (lanes == 8) {
        mel_run_8(tables, clip, result, scratch);
        return;
    }
#endif
    mel_run_4(tables, clip, result, scratch);
}

#endif
