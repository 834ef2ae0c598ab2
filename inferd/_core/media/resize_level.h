/* resize_level: the loops of resize.h for one set of instructions: vectors of LANES int16, names that end as LEVEL says. Included once for
 * each. Every level gives the same results: NEON limits -1 * -1 to 1 - 2^-15, but that is rounded away.
 *
 * LANES output rows go together: a source column's values in all of them are one vector (a stack: [column][LANES]), so that the pass over
 * the columns needs no shuffling and knows no channels. Rows are written into GROUP lines (row 8 + i, if there is one, takes turns with
 * row i in line i, 8 columns each), which are then transposed into stacks.
 */
#include "resize_vectors.h"

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

#include "resize_pairs.h"

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

#include "resize_exact.h"

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
#undef LANES
#undef LEVEL
#undef MULTIPLY
