/* resize_vectors: the vectors of resize_level.h, and what is done to all lanes of one. Included once for each set of instructions. */

#define Lanes LEVEL(Lanes)
#define Bytes LEVEL(Bytes)
#define Words LEVEL(Words)
#define Half LEVEL(Half)
#define Pairs LEVEL(Pairs)

enum {
    LEVEL(STEP_NBYTES) = 4 * LANES, /* of a row, in one round of the loop */
    LEVEL(PAIRS) = LANES / 4,       /* outputs of two columns each, together in Bytes: PAIR_NBYTES of each */
};

typedef int16_t Lanes __attribute__((vector_size(2 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(2 * LANES)));
typedef uint16_t Words __attribute__((vector_size(2 * LANES))); /* Lanes that may overflow, as sums do on their way */
typedef int32_t Half __attribute__((vector_size(2 * LANES))); /* every second lane */
typedef uint64_t Pairs __attribute__((vector_size(2 * LANES)));

#if LANES == 8
#define LOW_BYTES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_BYTES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LOW_LANES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_LANES 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14 /* undoes both, of Half */
#define ODD_BYTES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31 /* undoes both, of Bytes */
#define BEHIND_PIXEL 3, 4, 5, 8, 8, 8, 8, 8
#define EACH_PAIR pairs[0], pairs[1]
#define TWO_PIXELS 0, 1, 2, 8, 9, 10, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16
#else /* within each half, as the instructions do */
#define LOW_BYTES 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55
#define HIGH_BYTES \
    8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63
#define LOW_LANES 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27
#define HIGH_LANES 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN_LANES 0, 2, 4, 6, 16, 18, 20, 22, 8, 10, 12, 14, 24, 26, 28, 30
#define ODD_BYTES 1, 3, 5, 7, 9, 11, 13, 15, 33, 35, 37, 39, 41, 43, 45, 47, 17, 19, 21, 23, 25, 27, 29, 31, 49, 51, 53, 55, 57, 59, 61, 63
#define BEHIND_PIXEL 3, 4, 5, 16, 16, 16, 16, 16, 11, 12, 13, 16, 16, 16, 16, 16
#define EACH_PAIR pairs[0], pairs[1], pairs[2], pairs[3]
#define TWO_PIXELS \
    0, 1, 2, 8, 9, 10, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 16, 17, 18, 24, 25, 26, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32
#endif

ALWAYS_INLINE Bytes LEVEL(load_bytes)(const uint8_t *at) {
    Bytes bytes;
    memcpy(&bytes, at, sizeof bytes);
    return bytes;
}

ALWAYS_INLINE Lanes LEVEL(load)(const int16_t *at) {
    Lanes lanes;
    memcpy(&lanes, at, sizeof lanes);
    return lanes;
}

/* (value - 128) * 256 of bytes, of the first and second half (of each 16). */
ALWAYS_INLINE Lanes LEVEL(widen_low)(Bytes bytes) {
    return (Lanes)SHUFFLE(Bytes, (Bytes){0}, bytes, LOW_BYTES);
}

ALWAYS_INLINE Lanes LEVEL(widen_high)(Bytes bytes) {
    return (Lanes)SHUFFLE(Bytes, (Bytes){0}, bytes, HIGH_BYTES);
}

/* A sum of bytes by wide weights, cut off and limited to 0 to 255. */
ALWAYS_INLINE Half LEVEL(to_byte)(Half sum) {
    const Half value = sum >> WIDE_BITS, positive = value & ~(value < 0), over = positive > 255;
    return (positive & ~over) | (over & 255);
}

/* 8 vectors as 8 x 8 lanes, each half by itself: after three rounds of this every lane is where its mirror image was. */
ALWAYS_INLINE void LEVEL(interleave)(Lanes *to, const Lanes *from) {
    for (int i = 0; i < 4; i++) {
        to[2 * i] = SHUFFLE(Lanes, from[i], from[i + 4], LOW_LANES);
        to[2 * i + 1] = SHUFFLE(Lanes, from[i], from[i + 4], HIGH_LANES);
    }
}

ALWAYS_INLINE void LEVEL(transpose)(Lanes *v) {
    Lanes other[GROUP];
    LEVEL(interleave)(other, v);
    LEVEL(interleave)(v, other);
    LEVEL(interleave)(other, v);
    memcpy(v, other, sizeof other);
}

/* 8 values of each half of a vector: the next 8 columns of a row, and those behind the 8 after them. */
ALWAYS_INLINE void LEVEL(put)(int16_t *to, Words values) {
    memcpy(to, &values, 2 * GROUP);
#if LANES == 16
    memcpy(to + 2 * LANES, (const char *)&values + 2 * GROUP, 2 * GROUP);
#endif
}
