# response: checks a ModelInferResponse; header-only. It must be well-formed protobuf, of the model that was asked. Its outputs must be
# this model's, with a known datatype and as many bytes or elements as their shape has. The load generator reads all that it counts.
# Never in here: values, memory, Python objects.

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from inferd._core.codec.contents cimport ANY_FIELD, Contents, __builtin_mul_overflow, expect_contents, measure, raw_nbytes
from inferd._core.codec.fields cimport Parameter, equals, read_parameter
from inferd._core.tensor.datatypes cimport BYTES, INVALID, datatype_of, itemsize
from inferd._core.tensor.view cimport MAX_TENSORS
from inferd._core.base.utf8 cimport is_utf8
from inferd._core.codec.wire cimport DELIMITED, VARINT, Bytes, Reader, enter, open_reader, read_bytes, read_tag, read_varint, skip_field

cdef enum:
    PARAMETERS = 4              # of ModelInferResponse and of its outputs
    MODEL = 1                   # field numbers of ModelInferResponse: model_name, model_version and id are 1 to 3
    VERSION = 2
    ID = 3
    OUTPUTS = 5
    RAW_OUTPUTS = 6
    OUTPUT_NAME = 1             # and of its InferOutputTensor
    OUTPUT_DATATYPE = 2
    OUTPUT_SHAPE = 3
    OUTPUT_CONTENTS = 5
    ANY_NBYTES = -1             # of a raw BYTES tensor, whose shape says nothing of them

cdef struct Expected:           # all that a response may say; owns nothing
    Bytes *models               # names of its model; not every server gives one
    int model_count             # 0: any
    Bytes *outputs              # names of outputs
    int output_count            # 0: any
    Bytes *versions             # of its model; not every server says one
    int version_count           # 0: any

cdef struct Held:               # what an output must hold, by its shape and datatype
    int64_t elements
    int64_t nbytes              # of its raw contents


cdef inline bint is_one_of(const Bytes *word, const Bytes *words, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if equals(word, words[i].data, words[i].nbytes):
            return True
    return False


cdef inline const char *multiply(int64_t *elements, uint64_t size) noexcept nogil:
    if <int64_t>size < 0 or __builtin_mul_overflow(elements[0], <int64_t>size, elements):
        return "an output's shape is no shape"
    return NULL


cdef inline bint holds_any(const Contents *contents) noexcept nogil:
    cdef int i
    for i in range(1, 9):
        if contents.elements[i] > 0:
            return True
    return False


cdef inline const char *texts_fault(const Bytes *raw, int64_t elements) noexcept nogil:
    """Raw BYTES: each element stands behind its length, 4 bytes, little-endian."""
    cdef const char *at = raw.data
    cdef const char *end = at + raw.nbytes
    cdef uint32_t length
    cdef int64_t found = 0
    while at < end:
        if end - at < 4:
            return "an output's raw contents end inside an element"
        memcpy(&length, at, 4)
        at += 4
        if length > end - at:
            return "an output's raw contents end inside an element"
        at += length
        found += 1
    if found != elements:
        return "an output has more or fewer elements than its shape"
    return NULL


cdef inline const char *output_fault(const Reader *outer, const Bytes *content, const Expected *expected, Held *held, bint *typed,
                                     int *parameter_count) noexcept nogil:
    """Reads one InferOutputTensor. typed: whether it has its elements in itself."""
    cdef Reader reader, inner
    cdef Bytes piece, name, word
    cdef Contents contents
    cdef Parameter parameter
    cdef uint32_t tag
    cdef uint64_t size
    cdef int64_t elements = 1
    cdef int datatype, found
    cdef bint has_contents = False
    cdef const char *fault
    name.nbytes = word.nbytes = 0
    name.data = word.data = NULL
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
                name = piece
                if not is_utf8(piece.data, piece.nbytes):
                    return "a text is not UTF-8"
            elif tag >> 3 == OUTPUT_DATATYPE:
                if not is_utf8(word.data, word.nbytes):         # one that another replaces; the last is a known word
                    return "a text is not UTF-8"
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
                    continue    # MLServer sends it beside raw contents
                if not has_contents:
                    expect_contents(&contents, ANY_FIELD, INT64_MAX, 0)
                    has_contents = True
                enter(&inner, &reader, &piece)
                if measure(&inner, &contents) < 0:
                    return inner.fault
        elif skip_field(&reader, tag) < 0:
            return reader.fault
    datatype = datatype_of(word.data, word.nbytes)
    if name.nbytes == 0:
        return "an output has no name"
    if expected.output_count > 0 and not is_one_of(&name, expected.outputs, expected.output_count):
        return "an output is none that the model has by its metadata"
    if datatype == INVALID:
        return "an output has no datatype that is known"
    has_contents = has_contents and holds_any(&contents)
    typed[0] = has_contents or elements == 0  # of none it has all
    held.elements = elements
    held.nbytes = ANY_NBYTES
    if datatype != BYTES and __builtin_mul_overflow(elements, itemsize(datatype), &held.nbytes):
        return "an output's shape is no shape"
    if has_contents and (contents.elements[8] != elements if datatype == BYTES else raw_nbytes(&contents, datatype) != held.nbytes):
        return "an output has more or fewer elements than its shape"
    return NULL


cdef inline const char *raw_fault(const Bytes *raw, const Held *held) noexcept nogil:
    if held.nbytes == ANY_NBYTES:
        return texts_fault(raw, held.elements)
    if raw.nbytes != held.nbytes:
        return "an output's raw contents have not as many bytes as its shape"
    return NULL


cdef inline const char *response_fault(const char *data, Py_ssize_t nbytes, const Expected *expected) noexcept nogil:
    """The fault of a serialized ModelInferResponse, as static text; NULL: none."""
    cdef Reader reader
    cdef Bytes piece, model, version
    cdef uint32_t tag
    cdef Held[MAX_TENSORS] held
    cdef Bytes[MAX_TENSORS] raw
    cdef Parameter parameter
    cdef int outputs = 0, raws = 0, typed_outputs = 0, parameter_count = 0
    cdef int i, found
    cdef bint typed = False
    cdef const char *fault
    model.nbytes = version.nbytes = 0
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
                return "the response has too many outputs"
            if tag >> 3 == RAW_OUTPUTS:
                raw[raws] = piece
                raws += 1
                continue
            fault = output_fault(&reader, &piece, expected, &held[outputs], &typed, &parameter_count)
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
            if tag >> 3 == MODEL:
                model = piece
            elif tag >> 3 == VERSION:
                version = piece
        elif skip_field(&reader, tag) < 0:
            return reader.fault
    if model.nbytes > 0 and expected.model_count > 0 and not is_one_of(&model, expected.models, expected.model_count):
        return "the response is another model's"
    if version.nbytes > 0 and expected.version_count > 0 and not is_one_of(&version, expected.versions, expected.version_count):
        return "the response is another version's"
    if outputs == 0:
        return "the response has no output"
    if raws == 0 and typed_outputs != outputs:
        return "an output has no contents"
    if raws != 0 and raws != outputs:
        return "the response has more or fewer raw contents than outputs"
    for i in range(raws):
        fault = raw_fault(&raw[i], &held[i])
        if fault != NULL:
            return fault
    return NULL
