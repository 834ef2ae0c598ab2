/* The loops over scores, eight numbers at a time, once for each level of instructions: scores.h includes this file with LEVEL(name),
 * how the functions of the level are called, and TARGET, the attribute that has them compiled for it. No multiplication is contracted
 * with an addition, so that all levels give the same bits on one architecture. Never in here: memory, Python, levels. */

#define INLINE TARGET static inline __attribute__((always_inline))

/* Vectors pass by address: a value of this size has no calling convention that all levels share. */
INLINE void LEVEL(load)(const float *from, Floats *v) { memcpy(v, from, sizeof(Floats)); }

INLINE void LEVEL(store)(const Floats *v, float *to) { memcpy(to, v, sizeof(Floats)); }

/* The first `count` of a vector, 1 to 7; the others are `rest`. */
INLINE void LEVEL(load_some)(const float *from, size_t count, float rest, Floats *v) {
    *v = (Floats){rest, rest, rest, rest, rest, rest, rest, rest};
    memcpy(v, from, count * sizeof(float));
}

/* Where a is larger, a; else, and where a is NaN, b stays. */
INLINE void LEVEL(larger)(const Floats *a, Floats *b) {
    Bits wins = (Bits)(*a > *b);
    *b = (Floats)((wins & (Bits)*a) | (~wins & (Bits)*b));
}

INLINE double LEVEL(sum)(const Floats *v) {
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += (*v)[i];
    return sum;
}

/* e^x of numbers up to 0, within 2 units of the last place; 0 below -87.33, NaN of NaN. Cephes' polynomial. */
INLINE void LEVEL(exp)(Floats *x) {
    const float lowest = -87.33654f, to_integer = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded */
    Bits below = (Bits)(*x < lowest);
    Floats v = (Floats)(~below & (Bits)*x); /* 0 where it is below */
    Floats shifted = v * 1.44269504088896341f + to_integer;
    Floats power = shifted - to_integer;
    Floats r = v - power * 0.693359375f + power * 2.12194440e-4f;
    Floats r2 = r * r; /* the six terms by pairs: a shorter chain than one after the other */
    Floats high = r * 1.9875691500e-4f + 1.3981999507e-3f, middle = r * 8.3334519073e-3f + 4.1665795894e-2f;
    Floats p = (high * r2 + middle) * r2 + (r * 1.6666665459e-1f + 5.0000001201e-1f);
    p = p * r2 + (r + 1.0f);
    Bits scale = ((Bits)shifted + 127u) << 23;
    *x = (Floats)(~below & (Bits)(p * (Floats)scale));
}

/* The largest of n numbers, NaN left out; -infinity where there are none. */
TARGET static float LEVEL(largest)(const float *from, size_t n) {
    const float none = -INFINITY;
    Floats best[4], v;
    size_t i = 0;
    for (int j = 0; j < 4; j++) best[j] = (Floats){none, none, none, none, none, none, none, none};
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        for (int j = 0; j < 4; j++) {
            LEVEL(load)(from + i + (size_t)j * LANES, &v);
            LEVEL(larger)(&v, &best[j]);
        }
    }
    for (; i + LANES <= n; i += LANES) {
        LEVEL(load)(from + i, &v);
        LEVEL(larger)(&v, &best[0]);
    }
    if (i < n) {
        LEVEL(load_some)(from + i, n - i, none, &v);
        LEVEL(larger)(&v, &best[1]);
    }
    for (int j = 1; j < 4; j++) LEVEL(larger)(&best[j], &best[0]);
    float largest = none;
    for (int j = 0; j < LANES; j++) largest = best[0][j] > largest ? best[0][j] : largest;
    return largest;
}

/* Each row: e^(x - largest) over their sum. All NaN where one is NaN or +infinity, or all are -infinity. */
TARGET static void LEVEL(softmax)(const float *from, float *to, size_t rows, size_t n) {
    for (size_t row = 0; row < rows; row++, from += n, to += n) {
        const float largest = LEVEL(largest)(from, n);
        double total = 0;
        Floats v;
        size_t i = 0;
        while (i + LANES <= n) { /* FP32 adds up a block, FP64 the blocks: as good over 100,000 classes as over 10 */
            const size_t end = n - i > SUM_BLOCK ? i + SUM_BLOCK : n;
            Floats sum = {0};
            for (; i + LANES <= end; i += LANES) {
                LEVEL(load)(from + i, &v);
                v -= largest;
                LEVEL(exp)(&v);
                sum += v;
                LEVEL(store)(&v, to + i);
            }
            total += LEVEL(sum)(&sum);
        }
        if (i < n) {
            LEVEL(load_some)(from + i, n - i, -INFINITY, &v);
            v -= largest;
            LEVEL(exp)(&v);
            for (size_t j = 0; j < n - i; j++) total += v[j]; /* not the others: -infinity - -infinity is NaN */
            memcpy(to + i, &v, (n - i) * sizeof(float));
        }
        const float factor = (float)(1.0 / total);
        for (i = 0; i + LANES <= n; i += LANES) {
            LEVEL(load)(to + i, &v);
            v *= factor;
            LEVEL(store)(&v, to + i);
        }
        for (; i < n; i++) to[i] *= factor;
    }
}

INLINE void LEVEL(sigmoid_of)(Floats *x) {
    Bits negative = (Bits)(*x < 0.0f);
    Floats e = (Floats)((Bits)*x | 0x80000000u); /* -|x|: never too large */
    LEVEL(exp)(&e);
    Floats above = 1.0f / (1.0f + e), below = e * above;
    *x = (Floats)((negative & (Bits)below) | (~negative & (Bits)above));
}

TARGET static void LEVEL(sigmoid)(const float *from, float *to, size_t rows, size_t n) {
    Floats v;
    size_t i = 0;
    n *= rows;
    for (; i + LANES <= n; i += LANES) {
        LEVEL(load)(from + i, &v);
        LEVEL(sigmoid_of)(&v);
        LEVEL(store)(&v, to + i);
    }
    if (i < n) {
        LEVEL(load_some)(from + i, n - i, 0, &v);
        LEVEL(sigmoid_of)(&v);
        memcpy(to + i, &v, (n - i) * sizeof(float));
    }
}

/* Each row over its length (at least 1e-12, as PyTorch has it), in FP64: squares of FP32 overflow. */
TARGET static void LEVEL(l2_normalize)(const float *from, float *to, size_t rows, size_t n) {
    for (size_t row = 0; row < rows; row++, from += n, to += n) {
        Doubles sums[4] = {{0}, {0}, {0}, {0}}, wide;
        Fours v;
        double total = 0;
        size_t i = 0;
        for (; i + 16 <= n; i += 16) {
            for (size_t j = 0; j < 4; j++) {
                memcpy(&v, from + i + 4 * j, sizeof v);
                wide = __builtin_convertvector(v, Doubles);
                sums[j] += wide * wide;
            }
        }
        sums[0] += sums[1] + (sums[2] + sums[3]);
        for (int j = 0; j < 4; j++) total += sums[0][j];
        for (; i < n; i++) total += (double)from[i] * from[i];
        const double length = sqrt(total), factor = 1.0 / (length < 1e-12 ? 1e-12 : length);
        for (i = 0; i + 4 <= n; i += 4) {
            memcpy(&v, from + i, sizeof v);
            wide = __builtin_convertvector(v, Doubles) * factor;
            v = __builtin_convertvector(wide, Fours);
            memcpy(to + i, &v, sizeof v);
        }
        for (; i < n; i++) to[i] = (float)(from[i] * factor);
    }
}

/* from [rows, tokens, n], real [rows, tokens] -> to [rows, n]: the mean of the real tokens, 0 where there are none. The others are not
 * even read: they may be NaN. */
TARGET static void LEVEL(mean_pool)(const float *from, const uint8_t *real, float *to, size_t rows, size_t tokens, size_t n) {
    for (size_t row = 0; row < rows; row++, to += n) {
        size_t count = 0;
        memset(to, 0, n * sizeof(float));
        for (size_t token = 0; token < tokens; token++, from += n) {
            Floats sum, v;
            size_t i = 0;
            if (!*real++) continue;
            count++;
            for (; i + LANES <= n; i += LANES) {
                LEVEL(load)(from + i, &v);
                LEVEL(load)(to + i, &sum);
                sum += v;
                LEVEL(store)(&sum, to + i);
            }
            for (; i < n; i++) to[i] += from[i];
        }
        const float number = count ? (float)count : 1.0f;
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) {
            Floats sum;
            LEVEL(load)(to + i, &sum);
            sum /= number;
            LEVEL(store)(&sum, to + i);
        }
        for (; i < n; i++) to[i] /= number;
    }
}

/* The keys of the k best of n, best first; 1 <= k <= n < 2^32. */
TARGET static void LEVEL(top_k)(const float *from, size_t n, size_t k, uint64_t *keys) {
    size_t i = 0;
    for (; i < k; i++) keys[i] = score_key(from[i], i);
    for (size_t root = k / 2; root-- > 0;) sift_down(keys, k, root);
    while (i < n) {
        /* Not worse than the worst that is kept, or NaN, or that one is NaN: only then is a closer look needed. */
        const float worst = from[index_of_key(keys[0])];
        Bits any = {0};
        Floats v;
        for (; i + 4 * LANES <= n; i += 4 * LANES) {
            for (int j = 0; j < 4; j++) {
                LEVEL(load)(from + i + (size_t)j * LANES, &v);
                any |= ~(Bits)(v <= worst);
            }
            uint64_t halves[4];
            memcpy(halves, &any, sizeof halves);
            if (halves[0] | halves[1] | halves[2] | halves[3]) break;
        }
        const size_t end = n - i > 4 * LANES ? i + 4 * LANES : n;
        for (; i < end; i++) {
            const uint64_t key = score_key(from[i], i);
            if (key > keys[0]) {
                keys[0] = key;
                sift_down(keys, k, 0);
            }
        }
    }
    for (size_t left = k; left-- > 1;) { /* the worst goes to the end */
        const uint64_t key = keys[0];
        keys[0] = keys[left];
        keys[left] = key;
        sift_down(keys, left, 0);
    }
}

/* from [classes, stride], of which `count` columns are looked at: the largest score of each, NaN left out, and the first class that has
 * it; -infinity and 0 where there is none. */
TARGET static void LEVEL(best_of_columns)(const float *from, size_t stride, size_t count, size_t classes, float *best, int32_t *which) {
    size_t i = 0;
    for (; i < count; i++) {
        best[i] = -INFINITY;
        which[i] = 0;
    }
    for (size_t class = 0; class < classes; class++, from += stride) {
        const uint32_t number = (uint32_t)class;
        for (i = 0; i + LANES <= count; i += LANES) {
            Floats v, b;
            Bits w;
            LEVEL(load)(from + i, &v);
            LEVEL(load)(best + i, &b);
            memcpy(&w, which + i, sizeof w);
            Bits wins = (Bits)(v > b);
            b = (Floats)((wins & (Bits)v) | (~wins & (Bits)b));
            w = (wins & number) | (~wins & w);
            LEVEL(store)(&b, best + i);
            memcpy(which + i, &w, sizeof w);
        }
        for (; i < count; i++) {
            if (from[i] > best[i]) {
                best[i] = from[i];
                which[i] = (int32_t)class;
            }
        }
    }
}

static const Scores LEVEL(scores) = {
    LEVEL(softmax), LEVEL(sigmoid), LEVEL(l2_normalize), LEVEL(mean_pool), LEVEL(top_k), LEVEL(largest), LEVEL(best_of_columns),
};

#undef INLINE
#undef LEVEL
#undef TARGET
