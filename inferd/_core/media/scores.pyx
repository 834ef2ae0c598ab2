# cython: language_level=3, boundscheck=False, wraparound=False
"""scores: functions over a graph's FP32 output, before clients get it. Softmax, sigmoid, L2, mean over tokens, the best k.

Arrays are FP32 and C-contiguous (TypeError, ValueError), a row is what lies along the last axis; results are new arrays. Above
NOGIL_ELEMENTS the GIL is released. Never in here: other datatypes, labels, names of tensors.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc

from inferd._core.media.scores cimport INT64_FORMAT, Lent, Scores, index_of_key, lend, scores_here

import numpy

cdef enum:
    NOGIL_ELEMENTS = 16384      # of fewer the GIL is kept: others would not get far meanwhile

cdef Py_ssize_t MAX_AXIS = 0x7FFFFFFF   # places have 32 bits in top_k
cdef const Scores *scores = scores_here(False)
cdef object empty = numpy.empty
cdef object single = numpy.dtype("f4")
cdef object whole = numpy.dtype("i8")

ctypedef void (*RowWork)(const float *source, float *to, size_t rows, size_t n) noexcept nogil


def use_plain(bint plain):
    global scores
    scores = scores_here(plain)


cdef int lend_rows(object array, Lent *lent) except -1:
    lend(array, b"f", False, lent)
    if lent.rank < 1:
        raise ValueError("expected an array with at least one axis")
    return 0


cdef object over_rows(object array, RowWork work):
    """A new array of the same shape that `work` fills row by row."""
    cdef Lent source, made
    cdef size_t n, rows
    lend_rows(array, &source)
    result = empty(array.shape, single)
    lend(result, b"f", True, &made)
    if source.elements == 0:
        return result
    n = <size_t>source.sizes[2]
    rows = <size_t>source.elements // n
    if source.elements > NOGIL_ELEMENTS:
        with nogil:
            work(<const float *>source.data, <float *>made.data, rows, n)
    else:
        work(<const float *>source.data, <float *>made.data, rows, n)
    return result


def softmax(array):
    return over_rows(array, scores.softmax)


def sigmoid(array):
    return over_rows(array, scores.sigmoid)


def l2_normalize(array):
    return over_rows(array, scores.l2_normalize)


def mean_pool(array, real):
    cdef Lent source, mask, made
    lend(array, b"f", False, &source)
    lend(real, b"?", False, &mask)
    if source.rank != 3 or mask.rank != 2 or source.sizes[0] != mask.sizes[1] or source.sizes[1] != mask.sizes[2]:
        raise ValueError(f"expected [rows, tokens, n] and [rows, tokens], got {list(array.shape)} and {list(real.shape)}")
    result = empty((source.sizes[0], source.sizes[2]), single)
    lend(result, b"f", True, &made)
    with nogil:
        scores.mean_pool(<const float *>source.data, <const uint8_t *>mask.data, <float *>made.data,
                         <size_t>source.sizes[0], <size_t>source.sizes[1], <size_t>source.sizes[2])
    return result


cdef void best_of_rows(const float *source, float *values, int64_t *places, size_t rows, size_t n, size_t k, uint64_t *keys) noexcept nogil:
    cdef size_t _, i, place
    for _ in range(rows):
        scores.top_k(source, n, k, keys)
        for i in range(k):
            place = index_of_key(keys[i])
            values[i] = source[place]
            places[i] = <int64_t>place
        source += n
        values += k
        places += k


def top_k(array, Py_ssize_t k):
    cdef Lent source, values, places
    cdef size_t n, rows
    cdef uint64_t *keys
    lend_rows(array, &source)
    if not 1 <= k <= source.sizes[2] <= MAX_AXIS:
        raise ValueError(f"expected k from 1 to the size of the last axis ({source.sizes[2]}, at most {MAX_AXIS}), got {k}")
    shape = array.shape[:source.rank - 1] + (k,)
    best, where = empty(shape, single), empty(shape, whole)
    lend(best, b"f", True, &values)
    lend(where, INT64_FORMAT(), True, &places)
    n = <size_t>source.sizes[2]
    rows = <size_t>source.elements // n
    keys = <uint64_t *>malloc(<size_t>k * sizeof(uint64_t))
    if keys == NULL:
        raise MemoryError
    if source.elements > NOGIL_ELEMENTS:
        with nogil:
            best_of_rows(<const float *>source.data, <float *>values.data, <int64_t *>places.data, rows, n, <size_t>k, keys)
    else:
        best_of_rows(<const float *>source.data, <float *>values.data, <int64_t *>places.data, rows, n, <size_t>k, keys)
    free(keys)
    return best, where
