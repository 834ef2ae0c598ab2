# contents: typed contents (InferTensorContents), measured and packed into the raw bytes of a tensor's datatype; header-only.
# Repeated fields come packed or not, in several pieces and several submessages: all of them join, as protobuf says.
# Never in here: memory, Python objects, which tensor it is.

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from inferd._core.codec.wire cimport (
    DELIMITED, FIXED32, FIXED64, VARINT, YIELD_NBYTES, Bytes, Reader, enter, fail, fail_as, let_others_run, read_bytes, read_fixed,
    read_tag, read_varint, skip_field,
)
from inferd._core.tensor.datatypes cimport (
    BOOL, BYTES, FP32, FP64, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, itemsize,
)
from inferd._core.tensor.view cimport TensorView

cdef extern from *:
    bint __builtin_mul_overflow(int64_t a, int64_t b, int64_t *product) noexcept nogil

cdef enum:                      # field numbers of InferTensorContents
    BOOL_CONTENTS = 1
    INT_CONTENTS = 2
    INT64_CONTENTS = 3
    UINT_CONTENTS = 4
    UINT64_CONTENTS = 5
    FP32_CONTENTS = 6
    FP64_CONTENTS = 7
    BYTES_CONTENTS = 8

cdef enum:
    ANY_FIELD = BYTES_CONTENTS + 1      # in place of a field number
    MAX_STEPS = 4 << 20         # of one request: a message thread walks them, or the event loop those of a short message
    FIELD_STEPS = 4             # a field, which is walked twice, counts as so many
    STEP_NBYTES = 4             # of packed numbers count as one, however few they are: long ones cost as much as several short ones

cdef struct Contents:           # what the typed contents of one tensor hold
    uint32_t field              # where the elements must be, or ANY_FIELD; 0: there must be none
    uint32_t stray              # another field that has elements; 0: none was found. Nothing is read behind it
    int64_t most                # elements that there may be; of more none is read
    int64_t elements[9]         # by field number
    int64_t bytes_nbytes        # of bytes_contents, without lengths
    int64_t steps               # elements that are walked one by one, of all inputs so far


cdef inline int64_t element_count(const TensorView *view) noexcept nogil:
    """Elements that its shape has; INT64_MAX: more than can be, or no shape at all, which its check will say."""
    cdef int64_t count = 1
    cdef int axis
    for axis in range(view.rank):
        if view.shape[axis] < 0 or __builtin_mul_overflow(count, view.shape[axis], &count):
            return INT64_MAX
    return count


cdef inline int contents_field(int datatype) noexcept nogil:
    """The field that a datatype's typed contents are in; 0: it travels only raw."""
    if datatype == FP32:
        return FP32_CONTENTS
    if datatype == BOOL:
        return BOOL_CONTENTS
    if datatype == INT8 or datatype == INT16 or datatype == INT32:
        return INT_CONTENTS
    if datatype == INT64:
        return INT64_CONTENTS
    if datatype == UINT8 or datatype == UINT16 or datatype == UINT32:
        return UINT_CONTENTS
    if datatype == UINT64:
        return UINT64_CONTENTS
    if datatype == FP64:
        return FP64_CONTENTS
    if datatype == BYTES:
        return BYTES_CONTENTS
    return 0


cdef inline int element_wire_type(uint32_t number) noexcept nogil:
    """The wire type of one element outside a packed field."""
    if number == FP32_CONTENTS:
        return FIXED32
    if number == FP64_CONTENTS:
        return FIXED64
    if number == BYTES_CONTENTS:
        return DELIMITED
    return VARINT


cdef inline bint is_packed(uint32_t number, uint32_t tag) noexcept nogil:
    return tag & 7 == DELIMITED and number != BYTES_CONTENTS


cdef inline void expect_contents(Contents *contents, uint32_t field, int64_t most, int64_t steps) noexcept nogil:
    """Nothing measured yet."""
    memset(contents, 0, sizeof(Contents))
    contents.field, contents.most, contents.steps = field, most, steps


cdef inline int count_steps(Reader *reader, Contents *contents, int64_t steps) noexcept nogil:
    contents.steps += steps
    return 0 if contents.steps <= MAX_STEPS else fail(reader, "too many elements")


cdef inline int64_t count_ends(Reader *reader, const Bytes *piece) noexcept nogil:
    """Varints of a packed field, without a look at them: bytes that end one, eight at a time. Many times quicker than reading them."""
    cdef int64_t count = 0
    cdef uint64_t word, lanes           # of a byte each, 255 at most
    cdef Py_ssize_t at = 0
    cdef int _i
    while piece.nbytes - at >= 8:
        let_others_run(reader, <const uint8_t *>piece.data + at)
        lanes = 0
        for _i in range(<int>min(<Py_ssize_t>255, (piece.nbytes - at) // 8)):
            memcpy(&word, piece.data + at, 8)
            lanes += (~word >> 7) & <uint64_t>0x0101010101010101
            at += 8
        lanes = (lanes & <uint64_t>0x00FF00FF00FF00FF) + ((lanes >> 8) & <uint64_t>0x00FF00FF00FF00FF)
        count += <int64_t>(lanes * <uint64_t>0x0001000100010001 >> 48)
    while at < piece.nbytes:
        count += <uint8_t>piece.data[at] < 0x80
        at += 1
    return count


cdef inline int measure_packed(Reader *reader, Contents *contents, uint32_t number, const Bytes *piece) noexcept nogil:
    """Adds the elements of a packed field. Those that are packed later are looked at then."""
    cdef Reader inner
    cdef int64_t count
    cdef uint64_t value
    cdef Py_ssize_t nbytes = 4 if number == FP32_CONTENTS else 8
    if number == FP32_CONTENTS or number == FP64_CONTENTS:
        if piece.nbytes % nbytes != 0:
            return fail(reader, "packed numbers that are cut")
        contents.elements[number] += piece.nbytes // nbytes
        return 0
    if piece.nbytes > 0 and <uint8_t>piece.data[piece.nbytes - 1] >= 0x80:
        return fail(reader, "packed numbers that are cut")
    count = count_ends(reader, piece)
    contents.elements[number] += count
    if count_steps(reader, contents, max(count, <int64_t>(piece.nbytes // STEP_NBYTES))) < 0:
        return -1
    if contents.field == ANY_FIELD:
        enter(&inner, reader, piece)
        while inner.at < inner.end:
            let_others_run(&inner, inner.at)
            if read_varint(&inner, &value) < 0:
                return fail_as(reader, &inner)
    return 0


cdef inline int measure(Reader *reader, Contents *contents) noexcept nogil:
    """Walks one InferTensorContents and adds what it holds to `contents`. -1 without a fault: it has more elements than it may, or
    `stray` ones."""
    cdef uint32_t tag, number
    cdef Bytes piece
    cdef int found
    piece.data, piece.nbytes = NULL, 0
    while True:
        found = read_tag(reader, &tag)
        if found <= 0:
            return found
        let_others_run(reader, reader.at)
        if count_steps(reader, contents, FIELD_STEPS) < 0:
            return -1
        number = tag >> 3
        if number > BYTES_CONTENTS or not (<int>(tag & 7) == element_wire_type(number) or is_packed(number, tag)):
            if skip_field(reader, tag) < 0:
                return -1
            continue
        if tag & 7 != DELIMITED:
            if skip_field(reader, tag) < 0:
                return -1
        elif read_bytes(reader, &piece) < 0:
            return -1
        elif number != BYTES_CONTENTS and piece.nbytes == 0:
            continue
        if number != contents.field and contents.field != ANY_FIELD:
            contents.stray = number
            return -1
        if is_packed(number, tag):
            if measure_packed(reader, contents, number, &piece) < 0:
                return -1
        else:
            contents.elements[number] += 1
            if number == BYTES_CONTENTS:
                contents.bytes_nbytes += piece.nbytes
        if contents.elements[number] > contents.most:
            return -1


cdef inline int64_t raw_nbytes(const Contents *contents, int datatype) noexcept nogil:
    """Bytes of the tensor once packed."""
    if datatype == BYTES:
        return 4 * contents.elements[<int>BYTES_CONTENTS] + contents.bytes_nbytes
    return contents.elements[contents_field(datatype)] * itemsize(datatype)


cdef inline char *put_number(char *at, int datatype, uint64_t value) noexcept nogil:
    """One element in its datatype; NULL when the value is out of the datatype's range."""
    cdef int64_t narrow = <int32_t><uint32_t>value          # int_contents are int32: protobuf drops the upper bits
    cdef uint32_t wide = <uint32_t>value
    cdef Py_ssize_t nbytes = itemsize(datatype)
    if datatype == BOOL:
        value = value != 0
    elif datatype == INT8 and not -128 <= narrow <= 127:
        return NULL
    elif datatype == INT16 and not -32768 <= narrow <= 32767:
        return NULL
    elif datatype == UINT8 and wide > 255:
        return NULL
    elif datatype == UINT16 and wide > 65535:
        return NULL
    memcpy(at, &value, nbytes)                              # the machine is little-endian
    return at + nbytes


cdef inline char *put_varint_number(Reader *reader, char *at, int datatype, int64_t *value) noexcept nogil:
    """put_number of the varint that the reader stands at. NULL with a fault: it is malformed."""
    cdef uint64_t number
    if read_varint(reader, &number) < 0:
        return NULL
    value[0] = <int64_t>number
    return put_number(at, datatype, number)


cdef inline char *copy_piece(Reader *reader, char *at, const Bytes *piece) noexcept nogil:
    """Returns what lies behind it."""
    cdef Py_ssize_t copied = 0
    cdef Py_ssize_t nbytes
    while copied < piece.nbytes:
        nbytes = min(piece.nbytes - copied, <Py_ssize_t>YIELD_NBYTES)
        memcpy(at + copied, piece.data + copied, nbytes)
        copied += nbytes
        let_others_run(reader, <const uint8_t *>piece.data + copied)
    return at + copied


cdef inline char *pack(Reader *reader, int datatype, char *at, int64_t *value) noexcept nogil:
    """Writes the elements of one measured InferTensorContents at `at` and returns what lies behind them. NULL with a fault: they are
    malformed; without one: `value` does not fit the datatype."""
    cdef uint32_t field = <uint32_t>contents_field(datatype)
    cdef uint32_t tag, length
    cdef Bytes piece
    cdef Reader inner
    while read_tag(reader, &tag) > 0:
        let_others_run(reader, reader.at)
        if tag >> 3 != field or not (<int>(tag & 7) == element_wire_type(field) or is_packed(field, tag)):
            if skip_field(reader, tag) < 0:
                return NULL
            continue
        if tag & 7 == VARINT:
            at = put_varint_number(reader, at, datatype, value)
            if at == NULL:
                return NULL
        elif tag & 7 != DELIMITED:
            if read_fixed(reader, at, itemsize(datatype)) < 0:
                return NULL
            at += itemsize(datatype)
        else:
            if read_bytes(reader, &piece) < 0:
                return NULL
            if field == BYTES_CONTENTS:
                length = <uint32_t>piece.nbytes
                memcpy(at, &length, 4)
                at = copy_piece(reader, at + 4, &piece)
            elif field == FP32_CONTENTS or field == FP64_CONTENTS:
                at = copy_piece(reader, at, &piece)
            else:
                enter(&inner, reader, &piece)
                while inner.at < inner.end:
                    let_others_run(&inner, inner.at)
                    at = put_varint_number(&inner, at, datatype, value)
                    if at == NULL:
                        fail_as(reader, &inner)     # without a fault: the number does not fit
                        return NULL
    return at
