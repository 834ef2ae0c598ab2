# scores.h as Cython sees it, and how arrays come to it. Never in here: what a step is called.

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport strcmp

# The format of numpy's INT64 arrays.
cdef inline const char *INT64_FORMAT() noexcept:
    return b"l" if sizeof(long) == 8 else b"q"

cdef extern from "scores.h" nogil:
    ctypedef struct Scores:     # see scores.h for each
        void (*softmax)(const float *source, float *to, size_t rows, size_t n) noexcept nogil
        void (*sigmoid)(const float *source, float *to, size_t rows, size_t n) noexcept nogil
        void (*l2_normalize)(const float *source, float *to, size_t rows, size_t n) noexcept nogil
        void (*mean_pool)(const float *source, const uint8_t *real, float *to, size_t rows, size_t tokens, size_t n) noexcept nogil
        void (*top_k)(const float *source, size_t n, size_t k, uint64_t *keys) noexcept nogil
        float (*largest)(const float *source, size_t n) noexcept nogil
        void (*best_of_columns)(const float *source, size_t stride, size_t count, size_t classes, float *best,
                                int32_t *which) noexcept nogil
    const Scores *scores_here(bint plain) noexcept
    uint64_t score_key(float score, size_t index) noexcept
    size_t index_of_key(uint64_t key) noexcept
    void sift_down(uint64_t *keys, size_t count, size_t at) noexcept


cdef struct Lent:               # an array's memory; valid while the caller holds the array
    char *data
    Py_ssize_t elements
    int rank
    Py_ssize_t[3] sizes         # of its last three axes; 1 where it has fewer


cdef inline int lend(object array, const char *format, bint writable, Lent *lent) except -1:
    """The memory of a C-contiguous array whose elements are of that struct format; TypeError, BufferError and ValueError else."""
    cdef Py_buffer view
    cdef int axis
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
    fits = strcmp(view.format, format) == 0
    lent.data = <char *>view.buf
    lent.elements = view.len // view.itemsize
    lent.rank = view.ndim
    for axis in range(3):
        lent.sizes[2 - axis] = view.shape[view.ndim - 1 - axis] if axis < view.ndim else 1
    PyBuffer_Release(&view)
    if not fits:
        raise TypeError(f"expected an array of struct format {format.decode()!r}, got {array.dtype}")
    return 0
