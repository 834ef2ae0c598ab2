# cython: language_level=3, boundscheck=False, wraparound=False
# mel: the power of sound in bands of frequencies, many windows a call (see mel.h for how, mel.pyi for what).
# Never in here: which bands, logarithms, files, sample rates.

from libc.stdlib cimport free

import numpy

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "mel.h" nogil:
    enum:
        MEL_MOST_FFT
        MEL_MOST_STAGES

    ctypedef struct mel_tables:
        int fft
        int half
        int stages
        int[MEL_MOST_STAGES] radix
        const float *twiddle
        const float *rotation
        const float *window
        int bands
        const int *first
        const int *end
        const float *weight

    ctypedef struct mel_clip:
        const float *samples
        Py_ssize_t count
        Py_ssize_t first
        Py_ssize_t hop
        Py_ssize_t frames

    ctypedef struct mel_result:
        float *bands
        Py_ssize_t band_step
        Py_ssize_t frame_step

    size_t mel_scratch_bytes(const mel_tables *tables)
    int mel_lanes_here()
    void mel_run(int lanes, const mel_tables *tables, const mel_clip *clip, const mel_result *result, float *scratch)


cdef class MelBank:
    """Windows of sound -> their power in each of several bands of frequencies. Threads may share one; see mel.pyi."""

    cdef mel_tables tables      # points into `kept`
    cdef list kept              # the arrays behind the tables
    cdef readonly int lanes     # windows that are worked on at once

    MOST_FFT = MEL_MOST_FFT

    def __cinit__(self, window, weights, int lanes=0):
        fft, half = len(window), len(window) // 2
        if not self.fits(fft):
            raise ValueError(f"expected an even number of samples up to {MEL_MOST_FFT} without prime factors above 7, got {fft}")
        if weights.ndim != 2 or weights.shape[1] != half + 1:
            raise ValueError(f"expected weights of {half + 1} bins for each band, got the shape {weights.shape}")
        self.lanes = lanes or mel_lanes_here()
        if self.lanes not in (4, 8) or self.lanes > mel_lanes_here():
            raise ValueError(f"expected 4 or 8 lanes, {mel_lanes_here()} at most on this machine, got {lanes}")
        self.kept = []
        self.tables.fft = fft
        self.tables.half = half
        self.tables.window = self.floats(numpy.asarray(window, numpy.float64) / 2)
        self.tables.rotation = self.floats(turns(numpy.arange(half // 2 + 1) / fft))
        self.plan_stages(half)
        self.plan_bands(weights)

    cdef int plan_stages(self, int half) except -1:
        """The FFT's radixes and twiddles."""
        cdef int stage
        radixes = factors(half)
        twiddles = []
        size = half
        for stage in range(len(radixes)):
            radix = radixes[stage]
            self.tables.radix[stage] = radix
            rows, columns = numpy.arange(1, size // radix), numpy.arange(1, radix)
            twiddles.append(turns(numpy.outer(rows, columns) / size))
            size //= radix
        self.tables.stages = len(radixes)
        self.tables.twiddle = self.floats(numpy.concatenate([*twiddles, numpy.zeros(1)]))  # never empty
        return 0

    cdef int plan_bands(self, weights) except -1:
        """Keeps of each band its bins from the first to the last that are not 0."""
        first, end, kept = [], [], [numpy.zeros(0)]
        for band in weights:
            bins = numpy.flatnonzero(band)
            first.append(bins[0] if len(bins) else 0)
            end.append(bins[len(bins) - 1] + 1 if len(bins) else 0)
            kept.append(band[first[len(first) - 1]:end[len(end) - 1]])
        kept.append(numpy.zeros(1))
        self.tables.bands = len(weights)
        self.tables.first = self.ints(first)
        self.tables.end = self.ints(end)
        self.tables.weight = self.floats(numpy.concatenate(kept))
        return 0

    cdef const float *floats(self, values) except NULL:
        cdef const float[::1] view = numpy.ascontiguousarray(values, numpy.float32)
        self.kept.append(view)
        return &view[0]

    cdef const int *ints(self, values) except NULL:
        cdef const int[::1] view = numpy.array([*values, 0], numpy.intc)
        self.kept.append(view)
        return &view[0]

    @staticmethod
    def fits(fft):
        return 2 <= fft <= MEL_MOST_FFT and fft % 2 == 0 and factors(fft // 2) is not None

    def run(self, const float[::1] samples not None, Py_ssize_t first, Py_ssize_t hop, float[:, :] out not None):
        """Fills out FP32 [bands, frames]; see mel.pyi."""
        cdef mel_clip clip
        cdef mel_result result
        cdef float *scratch
        cdef Py_ssize_t reach = samples.shape[0] - 1    # samples that a window may go beyond either end
        if out.shape[0] != self.tables.bands:
            raise ValueError(f"expected room for {self.tables.bands} bands, got {out.shape[0]}")
        if out.shape[1] == 0 or out.shape[0] == 0:
            return
        if reach < 0 or hop < 1 or first < -reach or first > reach:
            raise ValueError(f"no window of {reach + 1} samples begins at {first}, with a hop of {hop}")
        # No product here can overflow: frames are divided before anything is multiplied with them.
        if 2 * reach + 1 - self.tables.fft - first < 0 or out.shape[1] - 1 > (2 * reach + 1 - self.tables.fft - first) // hop:
            raise ValueError(f"{out.shape[1]} windows, {hop} apart, reach too far beyond {reach + 1} samples")
        clip.samples = &samples[0]
        clip.count = samples.shape[0]
        clip.first = first
        clip.hop = hop
        clip.frames = out.shape[1]
        result.bands = &out[0, 0]
        result.band_step = out.strides[0] // <Py_ssize_t>sizeof(float)
        result.frame_step = out.strides[1] // <Py_ssize_t>sizeof(float)
        with nogil:
            scratch = <float *>aligned_alloc(64, (mel_scratch_bytes(&self.tables) + 63) & ~<size_t>63)
            if scratch != NULL:
                mel_run(self.lanes, &self.tables, &clip, &result, scratch)
                free(scratch)
        if scratch == NULL:
            raise MemoryError


cdef list factors(int number):
    """The radixes of an FFT, largest last; None where there is a prime factor above 7. Fours before twos: they are cheaper."""
    found = []
    for radix in (4, 2, 3, 5, 7):
        while number % radix == 0:
            found.append(radix)
            number //= radix
    return found if number == 1 else None


cdef turns(parts):
    """exp(-2 pi i x) of each x, as real and imaginary part side by side."""
    angles = -2 * numpy.pi * numpy.ravel(parts)
    return numpy.ravel(numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1))
