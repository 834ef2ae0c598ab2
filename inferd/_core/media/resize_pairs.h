/* resize_pairs: what a picture costs least with that shrinks to less than half its width without antialiasing. Part of resize_level.h. */

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
