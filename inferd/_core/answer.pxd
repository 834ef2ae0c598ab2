# answer: whether a ModelInferResponse is what it says: well-formed protobuf, outputs with a name, a known datatype, and as many
# bytes or elements as their shape has; header-only. Read by the load generator, which counts no answer that it did not read.
# Never in here: values, memory, Python objects.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from inferd._core.contents cimport Contents, measure, raw_nbytes
from inferd._core.fields cimport Parameter, read_parameter
from inferd._core.tensor cimport BYTES, INVALID, MAX_TENSORS, datatype_of, itemsize
from inferd._core.utf8 cimport is_utf8
from inferd._core.wire cimport DELIMITED, VARINT, Bytes, Reader, enter, open_reader, read_bytes, read_tag, read_varint, skip_field

cdef extern from *:
    bint __builtin_mul_overflow(int64_t a, int64_t b, int64_t *product) noexcept nogil

cdef enum:
    PARAMETERS = 4              # of ModelInferResponse and of its outputs
    ID = 3                      # field numbers of ModelInferResponse: model_name, model_version and id are 1 to 3
    OUTPUTS = 5
    RAW_OUTPUTS = 6
    OUTPUT_NAME = 1             # and of its InferOutputTensor
    OUTPUT_DATATYPE = 2
    OUTPUT_SHAPE = 3
    OUTPUT_CONTENTS = 5
    ANY_NBYTES = -1             # of a raw BYTES tensor, whose shape says nothing of them


cdef inline const char *multiply(int64_t *elements, uint64_t size) noexcept nogil:
    if <int64_t>size < 0 or __builtin_mul_overflow(elements[0], <int64_t>size, elements):
        return "an output's shape is no shape"
    return NULL


cdef inline const char *output_fault(const Reader *outer, const Bytes *content, int64_t *nbytes, bint *typed,
                                     int *parameter_count) noexcept nogil:
    """Reads one InferOutputTensor. nbytes: what its raw contents must have; typed: whether it has its elements in itself."""
    cdef Reader reader, inner
    cdef Bytes piece, word
    cdef Contents contents
    cdef Parameter parameter
    cdef uint32_t tag
    cdef uint64_t size
    cdef int64_t elements = 1
    cdef int datatype, found
    cdef bint named = False
    cdef const char *fault
    word.nbytes = 0
    word.data = NULL
    typed[0] = False
    enter(&reader, outer, content)
    while True:
        found = read_tag(&reader, &tag)
        if found < 0:
            return reader.fault
        if found == 0:
            break
        if tag == (OUTPUT_SHAPE << 3 | VARINT):
            if read_varint(&reader, &size) < 0:
                return reader.fault
            fault = multiply(&elements, size)
            if fault != NULL:
                return fault
        elif tag == (PARAMETERS << 3 | DELIMITED):
            if read_parameter(&reader, &parameter, parameter_count) < 0:
                return reader.fault
        elif tag & 7 == DELIMITED and OUTPUT_NAME <= tag >> 3 <= OUTPUT_CONTENTS:
            if read_bytes(&reader, &piece) < 0:
                return reader.fault
            if tag >> 3 == OUTPUT_NAME:
                named = piece.nbytes > 0
                if not is_utf8(piece.data, piece.nbytes):
                    return "a text is not UTF-8"
            elif tag >> 3 == OUTPUT_DATATYPE:
                word = piece
            elif tag >> 3 == OUTPUT_SHAPE:
                enter(&inner, &reader, &piece)
                while inner.at < inner.end:
                    if read_varint(&inner, &size) < 0:
                        return inner.fault
                    fault = multiply(&elements, size)
                    if fault != NULL:
                        return fault
            elif tag >> 3 == OUTPUT_CONTENTS:
                if piece.nbytes == 0:
                    continue            # MLServer sends it beside raw contents
                if not typed[0]:
                    memset(&contents, 0, sizeof(Contents))
                    typed[0] = True
                enter(&inner, &reader, &piece)
                if measure(&inner, &contents) < 0:
                    return inner.fault
        elif skip_field(&reader, tag) < 0:
            return reader.fault
    datatype = datatype_of(word.data, word.nbytes)
    if not named:
        return "an output has no name"
    if datatype == INVALID:
        return "an output has no datatype that is known"
    if elements == 0 and not typed[0]:
        typed[0] = True             # it has all of its elements
        memset(&contents, 0, sizeof(Contents))
    if datatype == BYTES:
        nbytes[0] = ANY_NBYTES
        if typed[0] and contents.elements[8] != elements:
            return "an output has more or fewer elements than its shape"
    else:
        if __builtin_mul_overflow(elements, itemsize(datatype), nbytes):
            return "an output's shape is no shape"
        if typed[0] and raw_nbytes(&contents, datatype) != nbytes[0]:
            return "an output has more or fewer elements than its shape"
    return NULL


cdef inline const char *answer_fault(const char *data, Py_ssize_t nbytes) noexcept nogil:
    """What is wrong with a serialized ModelInferResponse, as static text; NULL: nothing."""
    cdef Reader reader
    cdef Bytes piece
    cdef uint32_t tag
    cdef int64_t[MAX_TENSORS] expected_nbytes       # of each output's raw contents
    cdef int64_t[MAX_TENSORS] raw
    cdef Parameter parameter
    cdef int outputs = 0, raws = 0, typed_outputs = 0, parameter_count = 0
    cdef int i, found
    cdef bint typed
    cdef const char *fault
    open_reader(&reader, data, nbytes)
    while True:
        found = read_tag(&reader, &tag)
        if found < 0:
            return reader.fault
        if found == 0:
            break
        if tag == (OUTPUTS << 3 | DELIMITED) or tag == (RAW_OUTPUTS << 3 | DELIMITED):
            if read_bytes(&reader, &piece) < 0:
                return reader.fault
            if (raws if tag >> 3 == RAW_OUTPUTS else outputs) == MAX_TENSORS:
                return "the answer has too many outputs"
            if tag >> 3 == RAW_OUTPUTS:
                raw[raws] = piece.nbytes
                raws += 1
                continue
            fault = output_fault(&reader, &piece, &expected_nbytes[outputs], &typed, &parameter_count)
            if fault != NULL:
                return fault
            outputs += 1
            typed_outputs += typed
        elif tag == (PARAMETERS << 3 | DELIMITED):
            if read_parameter(&reader, &parameter, &parameter_count) < 0:
                return reader.fault
        elif tag >> 3 <= ID and tag & 7 == DELIMITED:
            if read_bytes(&reader, &piece) < 0:
                return reader.fault
            if not is_utf8(piece.data, piece.nbytes):
                return "a text is not UTF-8"
        elif skip_field(&reader, tag) < 0:
            return reader.fault
    if outputs == 0:
        return "the answer has no output"
    if raws == 0 and typed_outputs != outputs:
        return "an output has no contents"
    if raws != 0 and raws != outputs:
        return "the answer has more or fewer raw contents than outputs"
    for i in range(raws):
        if expected_nbytes[i] != ANY_NBYTES and raw[i] != expected_nbytes[i]:
            return "an output's raw contents have not as many bytes as its shape"
    return NULL
