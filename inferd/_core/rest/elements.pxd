# elements: the elements of a tensor, from JSON values to the raw bytes of its datatype; header-only. `data` is flat or nested to any shape:
# the elements count, in their order, as in Triton. A number must be one that its datatype can hold.
# Never in here: memory, Python objects, which tensor it is.

from libc.math cimport fabs, isinf
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.base.yielding cimport Turn, yield_after
from inferd._core.rest.yyjson cimport (
    ARRAY, FALSE, REAL, SIGNED, STRING, TRUE, UNSIGNED, behind, count_of, kind_of, type_of, yyjson_val,
)
from inferd._core.tensor.datatypes cimport BOOL, BYTES, FP32, FP64, INT8, INT64, itemsize

cdef enum:
    MAX_NESTING = 32            # arrays inside each other
    TURN_ELEMENTS = 4096        # are read in one go; then other threads may have their turn

cdef enum Fault:                # why `data` is not what its tensor says
    NO_FAULT
    WRONG_KIND                  # an element is no number, no whole number, no string, ...
    OUT_OF_RANGE                # the datatype holds no such number
    WRONG_COUNT                 # more elements than the shape has, or fewer
    TOO_DEEP

cdef struct Elements:           # what reading `data` came to
    Fault fault
    int64_t count               # elements that were read; the next one is the one at fault
    const yyjson_val *value     # which is this


cdef inline Fault put_real(const yyjson_val *value, int datatype, char *at) noexcept nogil:
    """One element of a datatype with fractions."""
    cdef int kind = kind_of(value)
    cdef double real
    cdef float single
    if kind == REAL:
        real = value.uni.f64
    elif kind == UNSIGNED:
        real = <double>value.uni.u64
    elif kind == SIGNED:
        real = <double>value.uni.i64 if value.uni.i64 != 0 else -0.0        # Go writes -0.0 as -0
    else:
        return WRONG_KIND
    if datatype == FP64:
        memcpy(at, &real, 8)
        return NO_FAULT
    single = <float>real
    memcpy(at, &single, 4)
    return OUT_OF_RANGE if isinf(single) else NO_FAULT


cdef inline Fault put_whole(const yyjson_val *value, int datatype, Py_ssize_t nbytes, char *at) noexcept nogil:
    """One element of a datatype of whole numbers, of so many bytes."""
    cdef int kind = kind_of(value)
    cdef int bits = 8 * <int>nbytes
    cdef bint is_signed = INT8 <= datatype <= INT64
    if kind == UNSIGNED:
        if value.uni.u64 > ~<uint64_t>0 >> (64 - bits + is_signed):
            return OUT_OF_RANGE
    elif kind == SIGNED:
        if value.uni.i64 < (-(<int64_t>1 << bits - 2) * 2 if is_signed else 0):
            return OUT_OF_RANGE
    elif kind == REAL and fabs(value.uni.f64) >= 9223372036854775808.0:
        return OUT_OF_RANGE
    else:
        return WRONG_KIND
    memcpy(at, &value.uni.u64, nbytes)                      # the machine is little-endian
    return NO_FAULT


cdef inline Fault put_element(const yyjson_val *value, int datatype, Py_ssize_t nbytes, char *at) noexcept nogil:
    """One element of any datatype of fixed size."""
    if datatype == FP32 or datatype == FP64:
        return put_real(value, datatype, at)
    if datatype != BOOL:
        return put_whole(value, datatype, nbytes, at)
    at[0] = kind_of(value) == TRUE
    return NO_FAULT if kind_of(value) == TRUE or kind_of(value) == FALSE else WRONG_KIND


cdef inline Fault put_text(const yyjson_val *value, char **at, const char *end) noexcept nogil:
    """One element of BYTES, behind its length. `at` is moved behind."""
    cdef uint32_t nbytes = <uint32_t>count_of(value)
    if type_of(value) != STRING:
        return WRONG_KIND
    if count_of(value) > end - at[0] - 4:       # never: all were measured
        return WRONG_COUNT
    memcpy(at[0], &nbytes, 4)
    memcpy(at[0] + 4, value.uni.str, nbytes)
    at[0] += 4 + nbytes
    return NO_FAULT


cdef inline int64_t texts_nbytes(const yyjson_val *data) noexcept nogil:
    """Bytes of the strings in `data` as elements of BYTES."""
    cdef const yyjson_val *value
    cdef const yyjson_val *end = behind(data)
    cdef int64_t nbytes = 0
    value = data + 1
    while value < end:
        if type_of(value) == STRING:
            nbytes += 4 + count_of(value)
        value += 1
    return nbytes


cdef inline void read_elements(const yyjson_val *data, int datatype, int64_t expected, char *at, const char *room_end, Turn *turn,
                               Elements *found) noexcept nogil:
    """Writes the elements of an array into the room for `expected` of them. turn: NULL on the event loop."""
    cdef const yyjson_val *ends[MAX_NESTING]
    cdef const yyjson_val *value = data
    cdef const yyjson_val *end = behind(data)
    cdef Py_ssize_t element_nbytes = itemsize(datatype)
    cdef int64_t count = 0
    cdef int depth = 0
    cdef Fault fault = NO_FAULT
    while value < end:
        if type_of(value) == ARRAY:
            while depth > 0 and value >= ends[depth - 1]:
                depth -= 1
            if depth == MAX_NESTING:
                fault = TOO_DEEP
                break
            ends[depth] = behind(value)
            depth += 1
            value += 1
            continue
        if count == expected:
            fault = WRONG_COUNT
            break
        if datatype == BYTES:
            fault = put_text(value, &at, room_end)
        else:
            fault = put_element(value, datatype, element_nbytes, at)
            at += element_nbytes
        if fault != NO_FAULT:
            break
        value += 1
        count += 1
        if turn != NULL and count % TURN_ELEMENTS == 0:
            yield_after(turn)
    found.fault = WRONG_COUNT if fault == NO_FAULT and count < expected else fault
    found.count, found.value = count, value
