/* resize_level: the loops of resize.h for one set of instructions: vectors of LANES int16, names that end as LEVEL says. Included once for
 * each. Every level gives the same results: NEON limits -1 * -1 to 1 - 2^-15, but that is rounded away.
 *
 * LANES output rows go together: a source column's values in all of them are one vector (a stack: [column][LANES]), so that the pass over
 * the columns needs no shuffling and knows no channels. Rows are written into GROUP lines (row 8 + i, if there is one, takes turns with
 * row i in line i, 8 columns each), which are then transposed into stacks.
 */

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

/* Adds STEP_NBYTES of source rows from x on, weighted, to four sums. */
ALWAYS_INLINE void LEVEL(add_rows)(const uint8_t *const *rows, const int16_t *weights, int length, ptrdiff_t x, Words *sums) {
    Words a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    for (int k = 0; k < length; k++) {
        const Lanes weight = weights[k] - (Lanes){0};
        const Bytes first = LEVEL(load_bytes)(rows[k] + x) ^ 0x80, second = LEVEL(load_bytes)(rows[k] + x + 2 * LANES) ^ 0x80;
        a -= (Words)MULTIPLY(LEVEL(widen_low)(first), weight);
        b -= (Words)MULTIPLY(LEVEL(widen_high)(first), weight);
        c -= (Words)MULTIPLY(LEVEL(widen_low)(second), weight);
        d -= (Words)MULTIPLY(LEVEL(widen_high)(second), weight);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* One output row: nbytes, a multiple of STEP_NBYTES, of source rows weighted, each 8 columns LANES elements behind the last 8.
 * `ahead`: rows that the next output needs. shift: of the weights; where it is none the compiler knows. */
ALWAYS_INLINE void LEVEL(weigh_rows)(const uint8_t *const *rows, const int16_t *weights, int length, int shift, const uint8_t *const *ahead,
                                     int ahead_length, ptrdiff_t nbytes, int16_t *line) {
    const Words half = (uint16_t)(1 << shift >> 1) - (Words){0};
    for (ptrdiff_t x = 0; x < nbytes; x += LEVEL(STEP_NBYTES)) {
        for (int k = 0; k < ahead_length; k++) __builtin_prefetch(ahead[k] + x);
        Words sums[4] = {{0}, {0}, {0}, {0}};
        for (int k = 0; shift > 0 && k < length; k += RUN_TAPS) {
            Words run[4] = {half, half, half, half};
            LEVEL(add_rows)(rows + k, weights + k, length - k < RUN_TAPS ? length - k : RUN_TAPS, x, run);
            sums[0] += (Words)((Lanes)run[0] >> shift);
            sums[1] += (Words)((Lanes)run[1] >> shift);
            sums[2] += (Words)((Lanes)run[2] >> shift);
            sums[3] += (Words)((Lanes)run[3] >> shift);
        }
        if (shift == 0) LEVEL(add_rows)(rows, weights, length, x, sums);
        int16_t *const to = line + x / GROUP * LANES;
        LEVEL(put)(to, sums[0]);
        LEVEL(put)(to + LANES, sums[1]);
        LEVEL(put)(to + 2 * LANES * LANES / GROUP, sums[2]);
        LEVEL(put)(to + 2 * LANES * LANES / GROUP + LANES, sums[3]);
    }
}

/* Without antialiasing it is two rows, and two columns: the compiler lays loops out for a count that it knows. */
static void LEVEL(weigh_two_rows)(const uint8_t *const *rows, const int16_t *weights, const uint8_t *const *ahead, int ahead_length,
                                  ptrdiff_t nbytes, int16_t *line) {
    LEVEL(weigh_rows)(rows, weights, 2, 0, ahead, ahead_length, nbytes, line);
}

static void LEVEL(weigh_few_rows)(const uint8_t *const *rows, const int16_t *weights, int length, const uint8_t *const *ahead,
                                  int ahead_length, ptrdiff_t nbytes, int16_t *line) {
    LEVEL(weigh_rows)(rows, weights, length, 0, ahead, ahead_length, nbytes, line);
}

static void LEVEL(weigh_many_rows)(const uint8_t *const *rows, const int16_t *weights, int length, int shift, const uint8_t *const *ahead,
                                   int ahead_length, ptrdiff_t nbytes, int16_t *line) {
    LEVEL(weigh_rows)(rows, weights, length, shift, ahead, ahead_length, nbytes, line);
}

/* Adds stacks of weighted source columns to the sums of all channels. */
ALWAYS_INLINE void LEVEL(add_columns)(const int16_t *stacks, const int16_t *weights, int length, const int channels, Words *sums) {
    for (int k = 0; k < length; k++) {
        const Lanes weight = weights[k] - (Lanes){0};
        for (int channel = 0; channel < channels; channel++)
            sums[channel] -= (Words)MULTIPLY(LEVEL(load)(stacks + (k * channels + channel) * LANES), weight);
    }
}

/* One output column of all channels, and half a level, so that the fraction can be cut off. */
ALWAYS_INLINE void LEVEL(weigh_columns)(const int16_t *stacks, const int16_t *weights, int length, const int channels, int shift,
                                        Lanes *values) {
    Words sums[MAX_CHANNELS];
    for (int channel = 0; channel < channels; channel++) sums[channel] = (Words){0} + 128;
    if (shift == 0 && length == 2) {
        LEVEL(add_columns)(stacks, weights, 2, channels, sums);
    } else if (shift == 0) {
        LEVEL(add_columns)(stacks, weights, length, channels, sums);
    } else {
        for (int k = 0; k < length; k += RUN_TAPS) {
            Words run[MAX_CHANNELS];
            for (int channel = 0; channel < channels; channel++) run[channel] = (Words){0} + (uint16_t)(1 << shift >> 1);
            LEVEL(add_columns)(stacks + (ptrdiff_t)k * channels * LANES, weights + k, length - k < RUN_TAPS ? length - k : RUN_TAPS, channels, run);
            for (int channel = 0; channel < channels; channel++) sums[channel] += (Words)((Lanes)run[channel] >> shift);
        }
    }
    for (int channel = 0; channel < channels; channel++) values[channel] = (Lanes)sums[channel];
}

/* The same with bytes and wide weights; the results are whole. */
ALWAYS_INLINE void LEVEL(weigh_columns_exactly)(const int16_t *stacks, const int32_t *weights, int length, const int channels,
                                                Lanes *values) {
    for (int channel = 0; channel < channels; channel++) {
        Half low = {0}, high = {0};
        int32_t sum = 0;
        for (int k = 0; k < length; k++) { /* weight * (value - 128) */
            const Lanes column = LEVEL(load)(stacks + ((ptrdiff_t)k * channels + channel) * LANES);
            low += ((Half)SHUFFLE(Lanes, (Lanes){0}, column, LOW_LANES) >> 24) * weights[k];
            high += ((Half)SHUFFLE(Lanes, (Lanes){0}, column, HIGH_LANES) >> 24) * weights[k];
            sum += weights[k];
        }
        low = LEVEL(to_byte)(low + (128 * sum + (1 << (WIDE_BITS - 1))));
        high = LEVEL(to_byte)(high + (128 * sum + (1 << (WIDE_BITS - 1))));
        values[channel] = (SHUFFLE(Lanes, (Lanes)low, (Lanes)high, EVEN_LANES) - 128) * 256;
    }
}

/* `count` elements of each row: whole values * 256, row 8 + i behind row i, into rows `stride` apart. */
ALWAYS_INLINE void LEVEL(rows_of_floats)(float *to, ptrdiff_t stride, uint16_t (*values)[LANES], int rows, int count, const float *factors,
                                         const float *offsets) {
    float by[GROUP], plus[GROUP], row[GROUP];
    memcpy(by, factors, sizeof by);
    memcpy(plus, offsets, sizeof plus);
    for (int lane = 0; lane < rows; lane++, to += stride) {
        const uint16_t *const from = values[lane % GROUP] + lane / GROUP * GROUP;
        for (int i = 0; i < GROUP; i++) row[i] = (float)(int32_t)from[i] * by[i] + plus[i];
        memcpy(to, row, sizeof(float) * (size_t)count);
    }
}

ALWAYS_INLINE void LEVEL(rows_of_bytes)(uint8_t *to, ptrdiff_t stride, uint16_t (*values)[LANES], int rows, int count) {
    for (int lane = 0; lane < rows; lane++, to += stride) {
        Words8 words;
        memcpy(&words, values[lane % GROUP] + lane / GROUP * GROUP, sizeof words);
        const Bytes8 row = __builtin_convertvector(words >> 8, Bytes8);
        memcpy(to, &row, (size_t)count);
    }
}

/* 8 columns (fewer at the end) of LANES rows (fewer at the end), tile[column][channel], into the target's rows from y, columns from x.
 * The values' fractions are cut off. */
static void LEVEL(lay_out)(const Target *target, const float (*factors)[GROUP], const float (*offsets)[GROUP], const Lanes *tile, int32_t y,
                           int rows, int32_t x, int columns) {
    const int channels = target->channels;
    for (int group = 0; group < channels; group++) {
        Lanes v[GROUP];
        uint16_t values[GROUP][LANES];
        const int elements = target->planar ? columns : columns * channels - group * GROUP;
        const int count = elements < GROUP ? elements : GROUP;
        if (count <= 0) continue;
        for (int i = 0; i < GROUP; i++) v[i] = tile[target->planar ? i * channels + group : group * GROUP + i];
        LEVEL(transpose)(v);
        for (int i = 0; i < GROUP; i++) v[i] = (v[i] & (int16_t)-256) ^ (int16_t)-32768;
        memcpy(values, v, sizeof values);
        const ptrdiff_t at = y * target->row + (target->planar ? group * target->plane + x : (ptrdiff_t)x * channels + group * GROUP);
        if (target->floating) {
            float *const to = (float *)target->base + at;
            if (count == GROUP) /* both counts, for the compiler knows what a constant one saves */
                LEVEL(rows_of_floats)(to, target->row, values, rows, GROUP, factors[group], offsets[group]);
            else LEVEL(rows_of_floats)(to, target->row, values, rows, count, factors[group], offsets[group]);
        } else {
            uint8_t *const to = (uint8_t *)target->base + at;
            if (count == GROUP) LEVEL(rows_of_bytes)(to, target->row, values, rows, GROUP);
            else LEVEL(rows_of_bytes)(to, target->row, values, rows, count);
        }
    }
}

/* Factors and offsets of each element of the groups, for values * 256. */
static void LEVEL(spread)(const Target *target, float (*factors)[GROUP], float (*offsets)[GROUP]) {
    for (int group = 0; group < target->channels; group++)
        for (int i = 0; i < GROUP; i++) {
            const int channel = target->planar ? group : (group * GROUP + i) % target->channels;
            factors[group][i] = target->factors[channel] / 256.0f;
            offsets[group][i] = target->offsets[channel];
        }
}

/* Both passes. rows: of narrow weights, or source rows as they are; columns: of narrow or of wide weights. */
ALWAYS_INLINE int LEVEL(pass)(const Image *image, const Axis *rows, const Axis *columns, const Target *target, const int channels) {
    static const int16_t whole = (int16_t)-NARROW_ONE;
    const ptrdiff_t stride = (ptrdiff_t)image->width * channels, total = image->height * stride;
    const ptrdiff_t left = (ptrdiff_t)columns->least * channels, nbytes = (ptrdiff_t)(columns->past - columns->least) * channels;
    const ptrdiff_t padded = (nbytes + LEVEL(STEP_NBYTES) - 1) / LEVEL(STEP_NBYTES) * LEVEL(STEP_NBYTES);
    float factors[MAX_CHANNELS][GROUP], offsets[MAX_CHANNELS][GROUP];
    Lanes tile[GROUP * MAX_CHANNELS];

    /* The last rows, whose padding would lie behind the image, are copied: source row r >= safe is at copies + (r - safe) * padded. */
    ptrdiff_t safe = total < left + padded ? 0 : (total - left - padded) / stride + 1;
    if (safe > rows->past) safe = rows->past;
    if (safe < rows->least) safe = rows->least;
    const ptrdiff_t line = padded * LANES / GROUP + 32; /* elements from one line to the next, in other sets of the cache */
    const size_t stacks_nbytes = (size_t)padded * LANES * sizeof(int16_t), lines_nbytes = GROUP * (size_t)line * sizeof(int16_t);
    const size_t copies_nbytes = (size_t)(rows->past - safe) * (size_t)padded;
    int16_t *const stacks = aligned_alloc(64, (stacks_nbytes + lines_nbytes + copies_nbytes + 63) / 64 * 64);
    if (stacks == NULL) return -1;
    int16_t *const lines = stacks + stacks_nbytes / sizeof(int16_t);
    uint8_t *const copies = (uint8_t *)lines + lines_nbytes;
    memset(copies, 0, copies_nbytes);
    for (ptrdiff_t row = safe; row < rows->past; row++)
        memcpy(copies + (row - safe) * padded, image->pixels + row * stride + left, (size_t)nbytes);
    if (rows->count < LANES) memset(lines, 0, lines_nbytes); /* rows that nothing reads; defined all the same */
    memset(tile, 0, sizeof tile);
    LEVEL(spread)(target, factors, offsets);

#define ROW(r) ((r) < safe ? image->pixels + (r) * stride + left : copies + ((r) - safe) * padded)
    for (int32_t y = 0; y < rows->count; y += LANES) {
        const int together = rows->count - y < LANES ? rows->count - y : LANES;
        for (int lane = 0; lane < together; lane++) {
            const uint8_t *sources[MAX_TAPS], *ahead[AHEAD];
            const int32_t start = rows->starts == NULL ? rows->least + y + lane : rows->starts[y + lane];
            const int length = rows->starts == NULL ? 1 : rows->lengths[y + lane];
            int ahead_length = 0;
            for (int k = 0; k < length; k++) sources[k] = ROW(start + k);
            if (y + lane + 1 < rows->count) {
                int32_t next = rows->starts == NULL ? start + 1 : rows->starts[y + lane + 1];
                const int32_t past = rows->starts == NULL ? start + 2 : next + rows->lengths[y + lane + 1];
                if (next < start + length) next = start + length;
                for (; ahead_length < AHEAD && next < past; next++) ahead[ahead_length++] = ROW(next);
            }
            const int16_t *const weights = rows->starts == NULL ? &whole : rows->narrow + (size_t)(y + lane) * (size_t)rows->taps;
            int16_t *const to = lines + lane % GROUP * line + lane / GROUP * GROUP;
            if (rows->shift == 0 && length == 2) LEVEL(weigh_two_rows)(sources, weights, ahead, ahead_length, padded, to);
            else if (rows->shift == 0) LEVEL(weigh_few_rows)(sources, weights, length, ahead, ahead_length, padded, to);
            else LEVEL(weigh_many_rows)(sources, weights, length, rows->shift, ahead, ahead_length, padded, to);
        }
        for (ptrdiff_t group = 0; group < padded; group += GROUP) {
            Lanes v[GROUP];
            for (int i = 0; i < GROUP; i++) v[i] = LEVEL(load)(lines + i * line + group / GROUP * LANES);
            LEVEL(transpose)(v);
            memcpy(stacks + group * LANES, v, sizeof v);
        }
        for (int32_t x = 0; x < columns->count; x++) {
            const int16_t *const first = stacks + (ptrdiff_t)(columns->starts[x] - columns->least) * channels * LANES;
            const size_t weights = (size_t)x * (size_t)columns->taps;
            Lanes values[MAX_CHANNELS];
            if (columns->narrow != NULL)
                LEVEL(weigh_columns)(first, columns->narrow + weights, columns->lengths[x], channels, columns->shift, values);
            else LEVEL(weigh_columns_exactly)(first, columns->wide + weights, columns->lengths[x], channels, values);
            for (int channel = 0; channel < channels; channel++)
                tile[x % GROUP * channels + (target->reversed ? channels - 1 - channel : channel)] = values[channel];
            if (x % GROUP == GROUP - 1 || x == columns->count - 1)
                LEVEL(lay_out)(target, factors, offsets, tile, y, together, x / GROUP * GROUP, x % GROUP + 1);
        }
    }
#undef ROW
    free(stacks);
    return 0;
}

/* A row of bytes [columns, channels] into row y of the target, columns from x on. The loops are vectorized
 * because their index is a ptrdiff_t: Python is built with -fwrapv, by which a shorter one, multiplied, might wrap. */
ALWAYS_INLINE void LEVEL(lay_out_row)(const Target *target, const uint8_t *row, int32_t y, int32_t x, int32_t columns, const int channels) {
    const ptrdiff_t at = y * target->row + (ptrdiff_t)x * (target->planar ? 1 : channels);
    if (!target->floating && !target->planar && !target->reversed) {
        memcpy((uint8_t *)target->base + at, row, (size_t)columns * (size_t)channels);
        return;
    }
    const ptrdiff_t step = target->planar ? 1 : channels;
    for (int channel = 0; channel < channels; channel++) {
        const uint8_t *restrict const from = row + (target->reversed ? channels - 1 - channel : channel);
        const ptrdiff_t first = at + channel * (target->planar ? target->plane : 1);
        if (target->floating) {
            const float factor = target->factors[channel], offset = target->offsets[channel];
            float *restrict const to = (float *)target->base + first;
            if (target->planar)
                for (ptrdiff_t i = 0; i < columns; i++) to[i] = (float)from[i * channels] * factor + offset;
            else
                for (ptrdiff_t i = 0; i < columns; i++) to[i * step] = (float)from[i * channels] * factor + offset;
        } else {
            uint8_t *restrict const to = (uint8_t *)target->base + first;
            if (target->planar)
                for (ptrdiff_t i = 0; i < columns; i++) to[i] = from[i * channels];
            else
                for (ptrdiff_t i = 0; i < columns; i++) to[i * step] = from[i * channels];
        }
    }
}

/* Two columns of three channels each from where each output's begin, as (value - 128) of bytes. */
ALWAYS_INLINE Bytes LEVEL(load_pairs)(const uint8_t *row, const int32_t *offsets) {
    uint64_t pairs[LEVEL(PAIRS)];
    for (int i = 0; i < LEVEL(PAIRS); i++) memcpy(pairs + i, row + offsets[i], PAIR_NBYTES);
    return (Bytes)(Pairs){EACH_PAIR} ^ 0x80;
}

/* Both passes, over every second output that load_pairs found: the results are in the first three lanes of each 8. */
ALWAYS_INLINE Lanes LEVEL(weigh_pairs)(Lanes upper, Lanes lower, Lanes upper_weight, Lanes lower_weight, const int16_t *weights) {
    const Words columns = -(Words)MULTIPLY(upper, upper_weight) - (Words)MULTIPLY(lower, lower_weight);
    const Lanes weighted = MULTIPLY((Lanes)columns, LEVEL(load)(weights));
    return (Lanes)(128 - (Words)weighted - (Words)SHUFFLE(Lanes, weighted, (Lanes){0}, BEHIND_PIXEL));
}

/* resample of three channels where no output has more than two rows and columns, and most columns have no output: what there is to add up
 * is fetched from where it lies. The sums are those of LEVEL(pass), to the bit. An output's last bytes may lie behind its row, by less
 * than a row: only the last row is copied for it. */
static int LEVEL(pass_pairs)(const Image *image, const Axis *rows, const Axis *columns, const Target *target) {
    const ptrdiff_t stride = (ptrdiff_t)image->width * 3;
    const size_t padded = ((size_t)columns->count + LEVEL(PAIRS) - 1) / LEVEL(PAIRS) * LEVEL(PAIRS);
    const size_t weights_nbytes = padded * 8 * sizeof(int16_t), offsets_nbytes = padded * sizeof(int32_t);
    const size_t line_nbytes = padded * 3 + PAIR_NBYTES, last_nbytes = (size_t)stride + PAIR_NBYTES;
    int16_t *const weights = calloc(weights_nbytes + offsets_nbytes + line_nbytes + last_nbytes, 1); /* [columns, as they are weighed][8] */
    if (weights == NULL) return -1;
    int32_t *const offsets = (int32_t *)((char *)weights + weights_nbytes);
    uint8_t *const line = (uint8_t *)offsets + offsets_nbytes, *const last = line + line_nbytes;
    memcpy(last, image->pixels + (image->height - 1) * stride, (size_t)stride);
    for (int32_t x = 0; x < columns->count; x++) {
        /* widen_low finds the first 8 bytes of each 16, of one pair in two */
        const int32_t place = x / LEVEL(PAIRS) * LEVEL(PAIRS) + x % 2 * (LEVEL(PAIRS) / 2) + x % LEVEL(PAIRS) / 2;
        const int16_t *const narrow = columns->narrow + (size_t)x * (size_t)columns->taps;
        offsets[x] = columns->starts[x] * 3;
        for (int i = 0; i < columns->lengths[x] * 3; i++) weights[place * 8 + i] = narrow[i / 3];
    }
    for (int32_t y = 0; y < rows->count; y++) {
        const int32_t start = rows->starts[y], next = start + rows->lengths[y] - 1;
        const int16_t *const narrow = rows->narrow + (size_t)y * (size_t)rows->taps;
        const uint8_t *const upper = start == image->height - 1 ? last : image->pixels + start * stride;
        const uint8_t *const lower = next == image->height - 1 ? last : image->pixels + next * stride;
        const Lanes upper_weight = narrow[0] - (Lanes){0}, lower_weight = (int16_t)(next > start ? narrow[1] : 0) - (Lanes){0};
        for (int32_t x = 0; x < columns->count; x += LEVEL(PAIRS)) {
            const Bytes above = LEVEL(load_pairs)(upper, offsets + x), below = LEVEL(load_pairs)(lower, offsets + x);
            const Lanes even = LEVEL(weigh_pairs)(LEVEL(widen_low)(above), LEVEL(widen_low)(below), upper_weight, lower_weight, weights + x * 8);
            const Lanes odd =
                LEVEL(weigh_pairs)(LEVEL(widen_high)(above), LEVEL(widen_high)(below), upper_weight, lower_weight, weights + x * 8 + LANES);
            const Bytes pixels = SHUFFLE(Bytes, SHUFFLE(Bytes, (Bytes)even, (Bytes)odd, ODD_BYTES) ^ 0x80, (Bytes){0}, TWO_PIXELS);
            for (int i = 0; i < LEVEL(PAIRS); i += 2) memcpy(line + (x + i) * 3, (const char *)&pixels + i * PAIR_NBYTES, PAIR_NBYTES);
        }
        LEVEL(lay_out_row)(target, line, y, 0, columns->count, 3);
    }
    free(weights);
    return 0;
}

static int LEVEL(resample)(const Image *image, const Axis *rows, const Axis *columns, const Target *target) {
    const int few = rows->narrow != NULL && rows->longest <= 2 && columns->narrow != NULL && columns->longest <= 2;
    if (few && image->channels == 3 && columns->past - columns->least > columns->count * SPARSE)
        return LEVEL(pass_pairs)(image, rows, columns, target);
    switch (image->channels) {
        case 1: return LEVEL(pass)(image, rows, columns, target, 1);
        case 3: return LEVEL(pass)(image, rows, columns, target, 3);
        default: return LEVEL(pass)(image, rows, columns, target, 4);
    }
}

/* The columns of a row that a table names. */
ALWAYS_INLINE void LEVEL(gather)(uint8_t *to, const uint8_t *row, const Axis *columns, const int channels) {
    for (int32_t x = 0; x < columns->count; x++)
        memcpy(to + (ptrdiff_t)x * channels, row + (ptrdiff_t)columns->starts[x] * channels, (size_t)channels);
}

static void LEVEL(lay_out_bytes)(const Target *target, const uint8_t *row, int32_t y, int32_t x, int32_t columns) {
    switch (target->channels) {
        case 1: LEVEL(lay_out_row)(target, row, y, x, columns, 1); break;
        case 3: LEVEL(lay_out_row)(target, row, y, x, columns, 3); break;
        default: LEVEL(lay_out_row)(target, row, y, x, columns, 4);
    }
}

/* One row of bytes of weighted rows of bytes, `stride` apart. */
static void LEVEL(weigh_rows_exactly)(const uint8_t *rows, ptrdiff_t stride, const int32_t *weights, int length, ptrdiff_t nbytes,
                                      uint8_t *to) {
    enum { RUN = 64 };
    for (ptrdiff_t x = 0; x < nbytes; x += RUN) {
        const int run = nbytes - x < RUN ? (int)(nbytes - x) : RUN;
        int32_t sums[RUN];
        for (int i = 0; i < RUN; i++) sums[i] = 1 << (WIDE_BITS - 1);
        for (int k = 0; k < length; k++) {
            const uint8_t *const row = rows + k * stride + x;
            const int32_t weight = weights[k];
            if (run == RUN)
                for (int i = 0; i < RUN; i++) sums[i] += weight * row[i];
            else
                for (int i = 0; i < run; i++) sums[i] += weight * row[i];
        }
        for (int i = 0; i < run; i++) {
            const int32_t value = sums[i] >> WIDE_BITS;
            to[x + i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
    }
}

/* First all source rows of a strip of columns as bytes, then the rows. The strip is narrowed until that fits, to GROUP columns at least:
 * no more than MID_NBYTES, or MAX_SIDE rows of GROUP columns, whatever the image's shape. */
static int LEVEL(exactly_columns_first)(const Image *image, const Axis *rows, const Axis *columns, const Target *target) {
    const int channels = image->channels;
    const Axis sources = {.count = rows->past - rows->least, .least = rows->least, .past = rows->past};
    int32_t most = MID_NBYTES / (sources.count * channels) / GROUP * GROUP;
    if (most < GROUP) most = GROUP;
    if (most > columns->count) most = columns->count;
    const ptrdiff_t stride = (ptrdiff_t)most * channels;
    uint8_t *const mid = malloc((size_t)stride * ((size_t)sources.count + 1));
    if (mid == NULL) return -1;
    uint8_t *const line = mid + stride * sources.count;
    int status = 0;
    for (int32_t x = 0; x < columns->count && status == 0; x += most) {
        Axis strip = *columns;
        strip.count = columns->count - x < most ? columns->count - x : most;
        strip.starts += x;
        strip.lengths += x;
        strip.wide += (size_t)x * (size_t)columns->taps;
        strip.least = image->width;
        strip.past = 0;
        for (int32_t i = 0; i < strip.count; i++) {
            if (strip.starts[i] < strip.least) strip.least = strip.starts[i];
            if (strip.starts[i] + strip.lengths[i] > strip.past) strip.past = strip.starts[i] + strip.lengths[i];
        }
        const Target bytes = {.base = (char *)mid, .row = stride, .channels = channels};
        status = LEVEL(resample)(image, &sources, &strip, &bytes);
        for (int32_t y = 0; y < rows->count && status == 0; y++) {
            LEVEL(weigh_rows_exactly)(mid + (rows->starts[y] - rows->least) * stride, stride, rows->wide + (size_t)y * (size_t)rows->taps,
                                      rows->lengths[y], (ptrdiff_t)strip.count * channels, line);
            LEVEL(lay_out_bytes)(target, line, y, x, strip.count);
        }
    }
    free(mid);
    return status;
}

/* First the bytes of all source columns of some rows, then the columns: as many as fit into MID_NBYTES, LANES at least. */
static int LEVEL(exactly_rows_first)(const Image *image, const Axis *rows, const Axis *columns, const Target *target) {
    const ptrdiff_t stride = (ptrdiff_t)image->width * image->channels, left = (ptrdiff_t)columns->least * image->channels;
    const ptrdiff_t nbytes = (ptrdiff_t)(columns->past - columns->least) * image->channels;
    int32_t most = (int32_t)(MID_NBYTES / stride) / LANES * LANES;
    if (most < LANES) most = LANES;
    if (most > rows->count) most = rows->count;
    uint8_t *const mid = malloc((size_t)stride * (size_t)most);
    if (mid == NULL) return -1;
    int status = 0;
    for (int32_t y = 0; y < rows->count && status == 0; y += most) {
        const int32_t together = rows->count - y < most ? rows->count - y : most;
        const Image between = {.pixels = mid, .height = together, .width = image->width, .channels = image->channels};
        const Axis sources = {.count = together, .past = together};
        Target part = *target;
        part.base += y * target->row * (target->floating ? (ptrdiff_t)sizeof(float) : 1);
        for (int32_t i = 0; i < together; i++) {
            const uint8_t *const first = image->pixels + rows->starts[y + i] * stride + left;
            const int32_t *const weights = rows->wide + (size_t)(y + i) * (size_t)rows->taps;
            LEVEL(weigh_rows_exactly)(first, stride, weights, rows->lengths[y + i], nbytes, mid + i * stride + left);
        }
        status = LEVEL(resample)(&between, &sources, columns, &part);
    }
    free(mid);
    return status;
}

/* Pixels as they are: one source row and column for each of the window's. */
static int LEVEL(pick)(const Image *image, const Axis *rows, const Axis *columns, const Target *target) {
    const int channels = image->channels;
    const ptrdiff_t stride = (ptrdiff_t)image->width * channels;
    const int in_order = columns->past - columns->least == columns->count && columns->starts[0] == columns->least;
    uint8_t *const line = malloc((size_t)columns->count * (size_t)channels);
    if (line == NULL) return -1;
    for (int32_t y = 0; y < rows->count; y++) {
        const uint8_t *const row = image->pixels + rows->starts[y] * stride;
        if (!in_order && channels == 1) LEVEL(gather)(line, row, columns, 1);
        else if (!in_order && channels == 3) LEVEL(gather)(line, row, columns, 3);
        else if (!in_order) LEVEL(gather)(line, row, columns, 4);
        LEVEL(lay_out_bytes)(target, in_order ? row + (ptrdiff_t)columns->least * channels : line, y, 0, columns->count);
    }
    free(line);
    return 0;
}

#undef LOW_BYTES
#undef HIGH_BYTES
#undef LOW_LANES
#undef HIGH_LANES
#undef EVEN_LANES
#undef ODD_BYTES
#undef BEHIND_PIXEL
#undef EACH_PAIR
#undef TWO_PIXELS
#undef Lanes
#undef Bytes
#undef Words
#undef Half
#undef Pairs
