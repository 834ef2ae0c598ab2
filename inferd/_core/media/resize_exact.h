/* resize_exact: Pillow's recipe to the bit, and pixels picked as they are. Part of resize_level.h, for one set of instructions. */

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
