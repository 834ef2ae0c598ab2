# cython: language_level=3, boundscheck=False, wraparound=False
"""records: functions of bytes for tables, which neither msgspec nor numpy has. A hash, the number of pairs that a JSON object really
holds, and the number of values of JSON before it is decoded.

Never in here: columns, numpy, what a value means.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pyport cimport PY_SSIZE_T_MIN
from libc.stdint cimport int32_t, uint8_t, uint32_t

cdef enum:
    LONG_NBYTES = 32768         # work on so many bytes or more is done without the GIL


cdef inline uint32_t rotated(uint32_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (32 - bits))


cdef inline uint32_t mixed(uint32_t k) noexcept nogil:
    return rotated(k * <uint32_t>0xCC9E2D51, 15) * <uint32_t>0x1B873593


cdef uint32_t murmur3_32(const uint8_t *at, Py_ssize_t nbytes) noexcept nogil:
    """MurmurHash3 x86 32-bit of seed 0. Read byte by byte: right at any alignment and byte order."""
    cdef uint32_t h = 0, k = 0
    cdef Py_ssize_t i = 0, whole = nbytes & ~<Py_ssize_t>3
    while i < whole:
        k = at[i] | (<uint32_t>at[i + 1] << 8) | (<uint32_t>at[i + 2] << 16) | (<uint32_t>at[i + 3] << 24)
        h = rotated(h ^ mixed(k), 13) * 5 + <uint32_t>0xE6546B64
        i += 4
    k = 0
    if nbytes & 3 == 3:
        k ^= <uint32_t>at[whole + 2] << 16
    if nbytes & 3 >= 2:
        k ^= <uint32_t>at[whole + 1] << 8
    if nbytes & 3 >= 1:
        h ^= mixed(k ^ at[whole])
    h ^= <uint32_t>nbytes
    h = (h ^ (h >> 16)) * <uint32_t>0x85EBCA6B
    h = (h ^ (h >> 13)) * <uint32_t>0xC2B2AE35
    return h ^ (h >> 16)


def murmur3(data) -> int:
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    cdef uint32_t h
    if buffer.len < LONG_NBYTES:
        h = murmur3_32(<const uint8_t *>buffer.buf, buffer.len)
    else:
        with nogil:
            h = murmur3_32(<const uint8_t *>buffer.buf, buffer.len)
    PyBuffer_Release(&buffer)
    return <int32_t>h


cdef Py_ssize_t marks_of(const uint8_t *at, Py_ssize_t nbytes, uint8_t mark, Py_ssize_t least, Py_ssize_t deepest) noexcept nogil:
    """Marks outside of texts that are `least` to `deepest` levels deep."""
    cdef Py_ssize_t i = 0, count = 0, depth = 0
    cdef uint8_t c
    while i < nbytes:
        c = at[i]
        if c == b'"':
            i += 1
            while i < nbytes and at[i] != b'"':
                i += 2 if at[i] == b'\\' else 1
        elif c == mark:
            count += least <= depth <= deepest
        elif c == b'{' or c == b'[':
            depth += 1
        elif c == b'}' or c == b']':
            depth -= 1
        i += 1
    return count


cdef Py_ssize_t count_marks(data, uint8_t mark, Py_ssize_t least, Py_ssize_t deepest) except -1:
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    cdef Py_ssize_t count
    if buffer.len < LONG_NBYTES:
        count = marks_of(<const uint8_t *>buffer.buf, buffer.len, mark, least, deepest)
    else:
        with nogil:
            count = marks_of(<const uint8_t *>buffer.buf, buffer.len, mark, least, deepest)
    PyBuffer_Release(&buffer)
    return count


def count_commas(data, Py_ssize_t deepest) -> int:
    return count_marks(data, b',', PY_SSIZE_T_MIN, deepest)


def count_pairs(data) -> int:
    return count_marks(data, b':', 1, 1)
