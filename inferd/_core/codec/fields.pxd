# fields: where the fields of a ModelInferRequest lie, read in one pass; header-only, plain C, a status each. Messages that upb rejects
# are rejected here, unknown fields are skipped, the last of a repeated scalar counts. Strings are checked to be UTF-8, most of them here.
# Never in here: memory, Python objects, what a model takes.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from inferd._core.base.utf8 cimport is_utf8
from inferd._core.codec.contents cimport FIELD_STEPS, Contents, count_steps, measure, pack
from inferd._core.codec.wire cimport (
    Bytes, Reader, enter, fail, fail_as, next_field, read_bytes, read_fixed, read_string, read_varint, skip_field,
)
from inferd._core.tensor.datatypes cimport datatype_of
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, TensorView

cdef enum:
    MAX_PARAMETERS = 256        # of one request, its tensors' included
    MAX_CLASSES = 0x7FFFFF      # that one output can be asked for; more are taken for so many

cdef enum:                      # tags: field number << 3 | wire type
    MODEL_NAME = 10             # ModelInferRequest, and the first three of ModelInferResponse
    MODEL_VERSION = 18
    REQUEST_ID = 26
    PARAMETERS = 34             # of the request, and of an InferInputTensor
    INPUTS = 42
    OUTPUTS = 50
    RAW_INPUT_CONTENTS = 58
    TENSOR_NAME = 10            # InferInputTensor, InferRequestedOutputTensor
    DATATYPE = 18
    SHAPE = 26
    SHAPE_UNPACKED = 24
    CONTENTS = 42
    OUTPUT_PARAMETERS = 18
    KEY = 10                    # an entry of a parameter map
    VALUE = 18
    BOOL_PARAM = 8              # InferParameter
    INT64_PARAM = 16
    STRING_PARAM = 26
    DOUBLE_PARAM = 33
    UINT64_PARAM = 40

cdef struct Parameter:          # one entry of a parameter map
    bint known                  # False: it counts as an unknown field
    Bytes key
    uint32_t kind               # tag of the choice that counts; 0: none
    uint64_t number             # bool, int64, uint64, or the bits of a double
    Bytes text

cdef struct Fields:             # a request's top level: where its fields lie
    Bytes model_name
    Bytes model_version
    Bytes id
    uint64_t priority           # request parameters that the queue heeds; 0: not given
    uint64_t timeout_us
    Parameter rejected          # a request parameter that must not be there or has no such value, else `provenance`; key.nbytes 0: none
    int input_count
    int output_count
    int raw_count
    int parameter_count         # of the request, its tensors' included
    Bytes inputs[MAX_TENSORS]
    Bytes outputs[MAX_TENSORS]
    Bytes raws[MAX_TENSORS]

cdef struct Input:              # what one InferInputTensor holds beside its view
    Bytes word                  # of the datatype, for messages
    bint has_contents
    bint in_shared_memory

cdef struct Asked:              # one InferRequestedOutputTensor
    Bytes name
    int classes                 # the parameter classification: so many of its largest values, as texts; 0: the output itself; -1: wrong
    bint in_shared_memory

cdef inline bint equals(const Bytes *text, const char *word, Py_ssize_t nbytes) noexcept nogil:
    return text.nbytes == nbytes and memcmp(text.data, word, nbytes) == 0


cdef inline int read_text(Reader *reader, Bytes *text) noexcept nogil:
    """A string field: proto3 strings are UTF-8."""
    if read_string(reader, text) < 0:
        return -1
    if not is_utf8(text.data, text.nbytes):
        return fail(reader, "a string is not UTF-8")
    return 0


cdef inline int read_name(Reader *reader, Bytes *text) noexcept nogil:
    """A string field that is checked later, when it counts; here only one that another replaces is checked."""
    if text.nbytes > 0 and not is_utf8(text.data, text.nbytes):
        return fail(reader, "a string before this one is not UTF-8")
    return read_string(reader, text)


cdef inline int add_span(Reader *reader, Bytes *spans, int *count, const char *fault) noexcept nogil:
    if count[0] == MAX_TENSORS:
        return fail(reader, fault)
    count[0] += 1
    return read_bytes(reader, &spans[count[0] - 1])


cdef inline int next_inner_field(Reader *outer, Reader *inner, uint32_t *tag) noexcept nogil:
    """next_field of a submessage, whose fault is handed outwards."""
    cdef int found = next_field(inner, tag)
    return found if found >= 0 else fail_as(outer, inner)


cdef inline int read_value(Reader *outer, const Bytes *content, Parameter *parameter) noexcept nogil:
    """One InferParameter: the last choice counts."""
    cdef Reader reader
    cdef uint32_t tag
    cdef int found
    cdef int status
    enter(&reader, outer, content)
    while True:
        found = next_inner_field(outer, &reader, &tag)
        if found <= 0:
            return found
        if tag == BOOL_PARAM or tag == INT64_PARAM or tag == UINT64_PARAM:
            status = read_varint(&reader, &parameter.number)
        elif tag == STRING_PARAM:
            status = read_text(&reader, &parameter.text)
        elif tag == DOUBLE_PARAM:
            status = read_fixed(&reader, &parameter.number, 8)
        else:
            if skip_field(&reader, tag) < 0:
                return fail_as(outer, &reader)
            continue
        if status < 0:
            return fail_as(outer, &reader)
        parameter.kind = tag


cdef inline int read_parameter(Reader *outer, Parameter *parameter, int *count) noexcept nogil:
    """One entry of a parameter map, the field that `outer` stands at. An entry that holds unknown fields counts as an unknown field
    itself, as in upb: it is left without key and value."""
    cdef Reader reader
    cdef Bytes content
    cdef uint32_t tag
    cdef int found
    cdef int status
    memset(parameter, 0, sizeof(Parameter))
    parameter.known = True
    count[0] += 1
    if count[0] > MAX_PARAMETERS:
        return fail(outer, "more than 256 parameters")
    if read_bytes(outer, &content) < 0:
        return -1
    enter(&reader, outer, &content)
    while True:
        found = next_inner_field(outer, &reader, &tag)
        if found == 0 and not parameter.known:
            memset(parameter, 0, sizeof(Parameter))
        if found <= 0:
            return found
        if tag == KEY:
            status = read_text(&reader, &parameter.key)
        elif tag == VALUE:
            status = read_bytes(&reader, &content)
            if status == 0:
                status = read_value(&reader, &content, parameter)
        else:
            parameter.known = False
            status = skip_field(&reader, tag)
        if status < 0:
            return fail_as(outer, &reader)


cdef inline int add_dimension(Reader *reader, TensorView *view) noexcept nogil:
    if view.rank == MAX_RANK:
        return fail(reader, "a tensor of more than 8 dimensions")
    view.rank += 1
    return read_varint(reader, <uint64_t *>&view.shape[view.rank - 1])


cdef inline int read_shape(Reader *outer, TensorView *view) noexcept nogil:
    """A packed piece of `shape`."""
    cdef Reader reader
    cdef Bytes content
    if read_bytes(outer, &content) < 0:
        return -1
    enter(&reader, outer, &content)
    while reader.at < reader.end:
        if add_dimension(&reader, view) < 0:
            return fail_as(outer, &reader)
    return 0


cdef inline int read_input(Reader *outer, const Bytes *content, TensorView *view, Input *extra, int *parameter_count) noexcept nogil:
    """One InferInputTensor into a zeroed view; contents are only noted."""
    cdef Reader reader
    cdef Parameter parameter
    cdef Bytes name
    cdef Bytes skipped
    cdef uint32_t tag
    cdef int found
    cdef int status
    name.data = NULL
    name.nbytes = 0
    memset(extra, 0, sizeof(Input))
    enter(&reader, outer, content)
    while True:
        found = next_inner_field(outer, &reader, &tag)
        if found < 0:
            return -1
        if found == 0:
            break
        if tag == TENSOR_NAME:
            status = read_text(&reader, &name)
        elif tag == DATATYPE:
            status = read_name(&reader, &extra.word)        # only known words are accepted
        elif tag == SHAPE:
            status = read_shape(&reader, view)
        elif tag == SHAPE_UNPACKED:
            status = add_dimension(&reader, view)
        elif tag == CONTENTS:
            extra.has_contents = True
            status = read_bytes(&reader, &skipped)
        elif tag == PARAMETERS:
            status = read_parameter(&reader, &parameter, parameter_count)
            if status == 0 and equals(&parameter.key, "shared_memory_region", 20):
                extra.in_shared_memory = True
        else:
            status = skip_field(&reader, tag)
        if status < 0:
            return fail_as(outer, &reader)
    view.name = name.data
    view.name_nbytes = name.nbytes
    view.datatype = datatype_of(extra.word.data, extra.word.nbytes)
    return 0


cdef inline int class_count(const Parameter *parameter) noexcept nogil:
    """The value of the parameter classification; -1 where it is no number of 0 or more."""
    if parameter.kind == UINT64_PARAM or (parameter.kind == INT64_PARAM and <int64_t>parameter.number >= 0):
        return <int>min(parameter.number, <uint64_t>MAX_CLASSES)
    return -1


cdef inline int read_asked(Reader *outer, const Bytes *content, Asked *asked, int *parameter_count) noexcept nogil:
    """One InferRequestedOutputTensor."""
    cdef Reader reader
    cdef Parameter parameter
    cdef uint32_t tag
    cdef int found
    cdef int status
    memset(asked, 0, sizeof(Asked))
    enter(&reader, outer, content)
    while True:
        found = next_inner_field(outer, &reader, &tag)
        if found <= 0:
            return found
        if tag == TENSOR_NAME:
            status = read_text(&reader, &asked.name)
        elif tag == OUTPUT_PARAMETERS:
            status = read_parameter(&reader, &parameter, parameter_count)
            if status == 0:
                if equals(&parameter.key, "classification", 14):
                    asked.classes = class_count(&parameter)
                asked.in_shared_memory |= equals(&parameter.key, "shared_memory_region", 20)
        else:
            status = skip_field(&reader, tag)
        if status < 0:
            return fail_as(outer, &reader)


cdef inline int walk_contents(Reader *outer, const Bytes *tensor, int datatype, Contents *contents, char **at,
                              int64_t *value) noexcept nogil:
    """Every `contents` of one InferInputTensor: measured when `at` is NULL, else packed there and `at` moved behind.
    -1 with a fault: malformed; -1 without: measured, there are too many elements or stray ones; packed, `value` does not fit."""
    cdef Reader reader
    cdef Reader inner
    cdef Bytes content
    cdef uint32_t tag
    cdef int found
    enter(&reader, outer, tensor)
    while True:
        found = next_inner_field(outer, &reader, &tag)
        if found <= 0:
            return found
        if tag != CONTENTS:
            if skip_field(&reader, tag) < 0:
                return fail_as(outer, &reader)
            continue
        if read_bytes(&reader, &content) < 0:
            return fail_as(outer, &reader)
        enter(&inner, &reader, &content)
        if at == NULL:
            if count_steps(&inner, contents, FIELD_STEPS) < 0 or measure(&inner, contents) < 0:
                return fail_as(outer, &inner)
        else:
            at[0] = pack(&inner, datatype, at[0], value)
            if at[0] == NULL:
                return fail_as(outer, &inner)


cdef inline bint is_free(const Fields *fields) noexcept nogil:
    """Whether no parameter must be rejected so far."""
    return fields.rejected.key.nbytes == 0 or equals(&fields.rejected.key, "provenance", 10)


cdef inline void heed(Fields *fields, const Parameter *parameter) noexcept nogil:
    """Notes what the queue needs from a request parameter, and the first one that must be rejected."""
    cdef uint64_t *number
    if equals(&parameter.key, "priority", 8):
        number = &fields.priority
    elif equals(&parameter.key, "timeout", 7):
        number = &fields.timeout_us
    else:
        if is_free(fields) and (equals(&parameter.key, "provenance", 10)
                or (parameter.key.nbytes > 7 and memcmp(parameter.key.data, "triton_", 7) == 0
                    and not equals(&parameter.key, "triton_enable_empty_final_response", 34))):
            fields.rejected = parameter[0]
        return
    if parameter.kind == 0 or parameter.kind == UINT64_PARAM or (parameter.kind == INT64_PARAM and <int64_t>parameter.number >= 0):
        number[0] = parameter.number
    elif is_free(fields):
        fields.rejected = parameter[0]


cdef inline int read_fields(Reader *reader, Fields *fields) noexcept nogil:
    """The top level of a request, to its end."""
    cdef Parameter parameter
    cdef uint32_t tag
    cdef int found
    cdef int status
    fields.model_name.nbytes = fields.model_version.nbytes = fields.id.nbytes = fields.rejected.key.nbytes = 0
    fields.input_count = fields.output_count = fields.raw_count = fields.parameter_count = 0
    fields.priority = fields.timeout_us = 0
    while True:
        found = next_field(reader, &tag)
        if found <= 0:
            return found
        if tag == INPUTS:
            status = add_span(reader, fields.inputs, &fields.input_count, "more than 256 inputs")
        elif tag == RAW_INPUT_CONTENTS:
            status = add_span(reader, fields.raws, &fields.raw_count, "more than 256 raw_input_contents")
        elif tag == MODEL_NAME:
            status = read_name(reader, &fields.model_name)
        elif tag == MODEL_VERSION:
            status = read_name(reader, &fields.model_version)
        elif tag == REQUEST_ID:
            status = read_text(reader, &fields.id)
        elif tag == OUTPUTS:
            status = add_span(reader, fields.outputs, &fields.output_count, "more than 256 outputs")
        elif tag == PARAMETERS:
            status = read_parameter(reader, &parameter, &fields.parameter_count)
            if status == 0:
                heed(fields, &parameter)
        else:
            status = skip_field(reader, tag)
        if status < 0:
            return -1
