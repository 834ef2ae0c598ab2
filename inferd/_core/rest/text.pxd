# text: the elements of an array as JSON text; header-only. Never in here: memory, Python objects, what else a response holds.

from libc.math cimport isfinite, isnan
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.base.utf8 cimport is_utf8
from inferd._core.base.yielding cimport Turn, yield_after
from inferd._core.tensor.datatypes cimport BOOL, FP32, FP64, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, itemsize

cdef extern from "decimal.h" nogil:
    ctypedef struct Power:
        uint64_t high, low
    const int MIN_POWER, MAX_POWER, MIN_POWER32, MAX_POWER32
    Power *powers
    uint64_t *powers32
    char *put_unsigned(char *at, uint64_t number)
    char *put_signed(char *at, int64_t number)
    char *put_float32(char *at, float number)
    char *put_float64(char *at, double number)

cdef extern from "escape.h" nogil:
    Py_ssize_t escaped_nbytes(const char *text, Py_ssize_t nbytes)
    char *put_escaped(char *at, const char *text, Py_ssize_t nbytes)

cdef enum:
    ESCAPED_TIMES = 6           # a byte takes so many at most, as \u001f
    TURN_ELEMENTS = 4096        # are written in one go; then other threads may have their turn


cdef inline Py_ssize_t element_bound(int datatype) noexcept nogil:
    """The most bytes that an element of fixed size takes as text, with the comma behind it."""
    if datatype == FP32:
        return 20               # -1234567900000000.0
    if datatype == FP64:
        return 26               # -2.2250738585072014e-308
    if datatype == BOOL:
        return 6
    if datatype == INT8 or datatype == UINT8:
        return 5
    if datatype == INT16 or datatype == UINT16:
        return 7
    if datatype == INT32 or datatype == UINT32:
        return 12
    return 21


cdef inline char *put_quoted(char *at, const char *text, Py_ssize_t nbytes) noexcept nogil:
    """A JSON string."""
    at[0] = c'"'
    at = put_escaped(at + 1, text, nbytes)
    at[0] = c'"'
    return at + 1


cdef inline char *put_not_finite(char *at, double number, bint nan_as_null) noexcept nogil:
    """NaN and infinities in the words of JavaScript, as Triton and Python's json write them; or null, which strict readers take."""
    if nan_as_null:
        memcpy(at, b"null", 4)
        return at + 4
    if isnan(number):
        memcpy(at, b"NaN", 3)
        return at + 3
    if number < 0:
        at[0] = c'-'
        at += 1
    memcpy(at, b"Infinity", 8)
    return at + 8


cdef inline char *put_number(char *at, const char *data, int datatype, Py_ssize_t nbytes, bint nan_as_null) noexcept nogil:
    """One element of fixed size, of so many bytes."""
    cdef uint64_t number = 0
    cdef double real
    cdef float single
    if datatype == FP32:
        memcpy(&single, data, 4)
        return put_float32(at, single) if isfinite(single) else put_not_finite(at, single, nan_as_null)
    if datatype == FP64:
        memcpy(&real, data, 8)
        return put_float64(at, real) if isfinite(real) else put_not_finite(at, real, nan_as_null)
    memcpy(&number, data, nbytes)                           # the machine is little-endian
    if datatype == BOOL:
        memcpy(at, b"true" if number else b"fals", 4)
        at[4] = c'e'
        return at + (4 if number else 5)
    if datatype == INT8:
        return put_signed(at, <int8_t>number)
    if datatype == INT16:
        return put_signed(at, <int16_t>number)
    if datatype == INT32:
        return put_signed(at, <int32_t>number)
    if datatype == INT64:
        return put_signed(at, <int64_t>number)
    return put_unsigned(at, number)


cdef inline char *put_numbers(char *at, const char *data, Py_ssize_t nbytes, int datatype, bint nan_as_null, Turn *turn) noexcept nogil:
    """Elements of fixed size, a comma behind each. turn: NULL on the event loop."""
    cdef Py_ssize_t element_nbytes = itemsize(datatype)
    cdef const char *end = data + nbytes
    cdef const char *stop
    while data < end:
        stop = data + min(end - data, TURN_ELEMENTS * element_nbytes)
        while data < stop:
            at = put_number(at, data, datatype, element_nbytes, nan_as_null)
            at[0] = c','
            at += 1
            data += element_nbytes
        if turn != NULL:
            yield_after(turn)
    return at


cdef inline Py_ssize_t texts_bound(const char *data, Py_ssize_t nbytes, int64_t *count) noexcept nogil:
    """Bytes that elements of BYTES take as JSON strings, each with its comma; -1: element `count` is not UTF-8."""
    cdef const char *end = data + nbytes
    cdef Py_ssize_t total = 0
    cdef uint32_t length
    while data < end:
        memcpy(&length, data, 4)
        if not is_utf8(data + 4, length):
            return -1
        total += 3 + escaped_nbytes(data + 4, length)
        data += 4 + <Py_ssize_t>length
        count[0] += 1
    return total


cdef inline char *put_texts(char *at, const char *data, Py_ssize_t nbytes, Turn *turn) noexcept nogil:
    """Elements of BYTES as JSON strings, a comma behind each. All are UTF-8."""
    cdef const char *end = data + nbytes
    cdef int64_t count = 0
    cdef uint32_t length
    while data < end:
        memcpy(&length, data, 4)
        at = put_quoted(at, data + 4, length)
        at[0] = c','
        at += 1
        data += 4 + <Py_ssize_t>length
        count += 1
        if turn != NULL and count % TURN_ELEMENTS == 0:
            yield_after(turn)
    return at
