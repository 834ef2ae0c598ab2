/* mel_kernel.h: the arithmetic of mel.h for vectors of MEL_LANES floats; included by mel.h once for each width, hence no guard. */

#define MEL(name) MEL_NAMED(name, MEL_LANES)
#define MEL_INLINE MEL_TARGET static inline __attribute__((always_inline))
#define lanes_t MEL(mel_lanes)
#define complex_t MEL(mel_complex)

typedef float lanes_t __attribute__((vector_size(4 * MEL_LANES)));
typedef struct {
    lanes_t re, im;
} complex_t;

/* to = (re + i im) * w; without w as it is. */
MEL_INLINE void MEL(mel_put)(complex_t *to, lanes_t re, lanes_t im, const float *w) {
    if (w) {
        to->re = re * w[0] - im * w[1];
        to->im = re * w[1] + im * w[0];
    } else {
        to->re = re;
        to->im = im;
    }
}

/* The DFT of 2 or 4 points, turned by the twiddles w (NULL: by none). Points lie `apart` from each other, results `step`. */
MEL_INLINE void MEL(mel_even)(const int p, const complex_t *from, ptrdiff_t apart, complex_t *to, ptrdiff_t step, const float *w) {
    complex_t a = from[0], b = from[apart];
    if (p == 2) {
        MEL(mel_put)(to, a.re + b.re, a.im + b.im, NULL);
        MEL(mel_put)(to + step, a.re - b.re, a.im - b.im, w);
        return;
    }
    complex_t c = from[2 * apart], d = from[3 * apart];
    lanes_t ac_re = a.re + c.re, ac_im = a.im + c.im, a_c_re = a.re - c.re, a_c_im = a.im - c.im;
    lanes_t bd_re = b.re + d.re, bd_im = b.im + d.im, b_d_re = b.re - d.re, b_d_im = b.im - d.im;
    MEL(mel_put)(to, ac_re + bd_re, ac_im + bd_im, NULL);
    MEL(mel_put)(to + step, a_c_re + b_d_im, a_c_im - b_d_re, w);
    MEL(mel_put)(to + 2 * step, ac_re - bd_re, ac_im - bd_im, w ? w + 2 : NULL);
    MEL(mel_put)(to + 3 * step, a_c_re - b_d_im, a_c_im + b_d_re, w ? w + 4 : NULL);
}

/* The same for 3, 5 or 7 points: those at j and p - j share their products. cosine and sine: of 2 pi j / p. */
MEL_INLINE void MEL(mel_odd)(const int p, const float *cosine, const float *sine, const complex_t *from, ptrdiff_t apart, complex_t *to,
                             ptrdiff_t step, const float *w) {
    complex_t zero = from[0], sum = zero, plus[4], minus[4];
#pragma GCC unroll 4
    for (int j = 1; j <= p / 2; j++) {
        complex_t a = from[j * apart], b = from[(p - j) * apart];
        plus[j].re = a.re + b.re;
        plus[j].im = a.im + b.im;
        minus[j].re = a.re - b.re;
        minus[j].im = a.im - b.im;
        sum.re += plus[j].re;
        sum.im += plus[j].im;
    }
    MEL(mel_put)(to, sum.re, sum.im, NULL);
#pragma GCC unroll 4
    for (int k = 1; k <= p / 2; k++) {
        complex_t even = zero, odd = {{0}, {0}};
#pragma GCC unroll 4
        for (int j = 1; j <= p / 2; j++) {
            even.re += plus[j].re * cosine[j * k % p];
            even.im += plus[j].im * cosine[j * k % p];
            odd.re += minus[j].re * sine[j * k % p];
            odd.im += minus[j].im * sine[j * k % p];
        }
        MEL(mel_put)(to + k * step, even.re + odd.im, even.im - odd.re, w ? w + 2 * (k - 1) : NULL);
        MEL(mel_put)(to + (p - k) * step, even.re - odd.im, even.im + odd.re, w ? w + 2 * (p - k - 1) : NULL);
    }
}

MEL_INLINE void MEL(mel_butterfly)(const int p, const complex_t *from, ptrdiff_t apart, complex_t *to, ptrdiff_t step, const float *w) {
    static const float cosine_3[] = {1, -0.5f, -0.5f};
    static const float sine_3[] = {0, 0.8660254037844386f, -0.8660254037844386f};
    static const float cosine_5[] = {1, 0.30901699437494745f, -0.8090169943749475f, -0.8090169943749475f, 0.30901699437494745f};
    static const float sine_5[] = {0, 0.9510565162951535f, 0.5877852522924731f, -0.5877852522924731f, -0.9510565162951535f};
    static const float cosine_7[] = {1, 0.6234898018587336f, -0.2225209339563144f, -0.9009688679024191f, -0.9009688679024191f,
                                     -0.2225209339563144f, 0.6234898018587336f};
    static const float sine_7[] = {0, 0.7818314824680298f, 0.9749279121818236f, 0.4338837391175582f, -0.4338837391175582f,
                                   -0.9749279121818236f, -0.7818314824680298f};
    if (p == 7)
        MEL(mel_odd)(7, cosine_7, sine_7, from, apart, to, step, w);
    else if (p == 5)
        MEL(mel_odd)(5, cosine_5, sine_5, from, apart, to, step, w);
    else if (p == 3)
        MEL(mel_odd)(3, cosine_3, sine_3, from, apart, to, step, w);
    else
        MEL(mel_even)(p, from, apart, to, step, w);
}

/* One stage of a Stockham FFT: `size` points, p at a time, `done` transforms side by side. */
MEL_INLINE void MEL(mel_stage)(const int p, int size, int done, const complex_t *from, complex_t *to, const float *twiddle) {
    const int rest = size / p;
    const ptrdiff_t apart = (ptrdiff_t)done * rest;
    for (int q = 0; q < done; q++)
        MEL(mel_butterfly)(p, from + q, apart, to + q, done, NULL);
    for (int r = 1; r < rest; r++, twiddle += 2 * (p - 1))
        for (int q = 0; q < done; q++)
            MEL(mel_butterfly)(p, from + q + done * r, apart, to + q + done * p * r, done, twiddle);
}

/* The FFT of tables->half complex points. `from` and `to` are overwritten; which of them holds the result is returned. */
MEL_TARGET static complex_t *MEL(mel_fft)(const mel_tables *tables, complex_t *from, complex_t *to) {
    const float *twiddle = tables->twiddle;
    int size = tables->half, done = 1;
    for (int stage = 0; stage < tables->stages; stage++) {
        const int p = tables->radix[stage];
        switch (p) {
        case 2: MEL(mel_stage)(2, size, done, from, to, twiddle); break;
        case 3: MEL(mel_stage)(3, size, done, from, to, twiddle); break;
        case 4: MEL(mel_stage)(4, size, done, from, to, twiddle); break;
        case 5: MEL(mel_stage)(5, size, done, from, to, twiddle); break;
        case 7: MEL(mel_stage)(7, size, done, from, to, twiddle); break;
        }
        size /= p;
        done *= p;
        twiddle += 2 * (p - 1) * (size - 1);
        complex_t *swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

/* |X|^2 of the bins 0 to half of the real FFT, out of the complex one z of even samples + i odd ones. */
MEL_TARGET static void MEL(mel_powers)(const mel_tables *tables, const complex_t *z, lanes_t *power) {
    const int half = tables->half;
    const lanes_t sum = z[0].re + z[0].im, difference = z[0].re - z[0].im;
    power[0] = sum * sum * 4.0f;
    power[half] = difference * difference * 4.0f;
    for (int k = 1; k <= half / 2; k++) {
        const complex_t a = z[k], b = z[half - k];
        const float turn_re = tables->rotation[2 * k], turn_im = tables->rotation[2 * k + 1];
        const lanes_t even_re = a.re + b.re, even_im = a.im - b.im;
        const lanes_t odd_re = a.im + b.im, odd_im = b.re - a.re;
        const lanes_t re = odd_re * turn_re - odd_im * turn_im, im = odd_re * turn_im + odd_im * turn_re;
        const lanes_t low_re = even_re + re, low_im = even_im + im, high_re = even_re - re, high_im = even_im - im;
        power[k] = low_re * low_re + low_im * low_im;
        power[half - k] = high_re * high_re + high_im * high_im;
    }
}

/* The windows frame .. frame + MEL_LANES - 1, one a lane; beyond the last the last again. `edge`: room for MEL_LANES windows. */
MEL_TARGET static void MEL(mel_gather)(const mel_tables *tables, const mel_clip *clip, ptrdiff_t frame, lanes_t *to, float *edge) {
    const int fft = tables->fft;
    const float *source[MEL_LANES];
    for (int lane = 0; lane < MEL_LANES; lane++) {
        const ptrdiff_t which = frame + lane < clip->frames ? frame + lane : clip->frames - 1;
        const ptrdiff_t at = clip->first + which * clip->hop;
        if (at >= 0 && at <= clip->count - fft) {
            source[lane] = clip->samples + at;
            continue;
        }
        float *reflected = edge + (ptrdiff_t)lane * fft;
        for (int n = 0; n < fft; n++) {
            const ptrdiff_t sample = at + n;
            reflected[n] = clip->samples[sample < 0 ? -sample : sample < clip->count ? sample : 2 * (clip->count - 1) - sample];
        }
        source[lane] = reflected;
    }
    for (int n = 0; n < fft; n++) {
        lanes_t values;
#pragma GCC unroll 8
        for (int lane = 0; lane < MEL_LANES; lane++)
            values[lane] = source[lane][n];
        to[n] = values * tables->window[n];
    }
}

/* The bands of `count` windows (at most MEL_LANES) out of their powers. */
MEL_TARGET static void MEL(mel_bands)(const mel_tables *tables, const lanes_t *power, float *to, const mel_result *result, int count) {
    const float *weight = tables->weight;
    for (int band = 0; band < tables->bands; band++, to += result->band_step) {
        lanes_t sum = {0};
        for (int bin = tables->first[band]; bin < tables->end[band]; bin++)
            sum += power[bin] * *weight++;
        if (count == MEL_LANES && result->frame_step == 1)
            memcpy(to, &sum, sizeof(sum));
        else
            for (int lane = 0; lane < count; lane++)
                to[lane * result->frame_step] = sum[lane];
    }
}

MEL_TARGET static void MEL(mel_run)(const mel_tables *tables, const mel_clip *clip, const mel_result *result, float *scratch) {
    complex_t *one = (complex_t *)scratch, *other = one + tables->half;
    lanes_t *power = (lanes_t *)(other + tables->half);
    for (ptrdiff_t frame = 0; frame < clip->frames; frame += MEL_LANES) {
        const ptrdiff_t left = clip->frames - frame;
        MEL(mel_gather)(tables, clip, frame, (lanes_t *)one, (float *)other);
        MEL(mel_powers)(tables, MEL(mel_fft)(tables, one, other), power);
        MEL(mel_bands)(tables, power, result->bands + frame * result->frame_step, result, left < MEL_LANES ? (int)left : MEL_LANES);
    }
}

#undef MEL
#undef MEL_INLINE
#undef lanes_t
#undef complex_t
#undef MEL_LANES
#undef MEL_TARGET
