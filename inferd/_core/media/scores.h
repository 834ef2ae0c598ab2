/* Arithmetic over scores that a graph gives, FP32: softmax, sigmoid, lengths, means, the best of a row. Chosen when it runs for what the
 * machine can do; any GCC or clang on any little-endian machine compiles it. Header-only. Never in here: memory, Python. */
#ifndef INFERD_SCORES_H
#define INFERD_SCORES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define SUM_BLOCK 4096

typedef float Floats __attribute__((vector_size(32)));
typedef uint32_t Bits __attribute__((vector_size(32)));
typedef float Fours __attribute__((vector_size(16)));
typedef double Doubles __attribute__((vector_size(32)));

/* Rows are contiguous and follow each other; `to` is other memory than `from`. */
typedef struct {
    void (*softmax)(const float *from, float *to, size_t rows, size_t n);
    void (*sigmoid)(const float *from, float *to, size_t rows, size_t n);
    void (*l2_normalize)(const float *from, float *to, size_t rows, size_t n);
    void (*mean_pool)(const float *from, const uint8_t *real, float *to, size_t rows, size_t tokens, size_t n);
    void (*top_k)(const float *from, size_t n, size_t k, uint64_t *keys);
    float (*largest)(const float *from, size_t n);
    void (*best_of_columns)(const float *from, size_t stride, size_t count, size_t classes, float *best, int32_t *which);
} Scores;

/* A score and its place as one number, larger is better: by score, then the earlier place. NaN is worse than -infinity, 0 equals -0. */
static inline uint64_t score_key(float score, size_t index) {
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0 */
    memcpy(&bits, &score, sizeof bits);
    bits = score != score ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (0xFFFFFFFFu - (uint32_t)index);
}

static inline size_t index_of_key(uint64_t key) { return 0xFFFFFFFFu - (uint32_t)key; }

/* Restores a heap, the least key first, whose entry `at` may be too large. */
static inline void sift_down(uint64_t *keys, size_t count, size_t at) {
    const uint64_t key = keys[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && keys[child + 1] < keys[child]) child++;
        if (keys[child] >= key) break;
        keys[at] = keys[child];
    }
    keys[at] = key;
}

#define LEVEL(name) plain_##name
#define TARGET
#include "scores_level.h"

#if defined(__x86_64__)
#define LEVEL(name) avx2_##name
#define TARGET __attribute__((target("avx2")))
#include "scores_level.h"
#endif

/* The fastest that this machine has, or, where `plain`, what every machine has. */
static inline const Scores *scores_here(int plain) {
#if defined(__x86_64__)
    if (!plain && __builtin_cpu_supports("avx2")) return &avx2_scores;
#endif
    (void)plain;
    return &plain_scores;
}

#endif
