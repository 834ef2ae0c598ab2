# cython: language_level=3, boundscheck=False, wraparound=False
# infer: ModelInferRequest, from bytes to tensors (see infer.pxd and infer.pyi).
# A request is read in one pass over its bytes, as protobuf reads it; outputs asked for and its key are read once more. Malformed ones are
# rejected, unknown fields skipped, and the last of a repeated scalar counts. Never in here: HTTP/2, gRPC framing, queues.

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT64_MAX, UINT16_MAX, UINT32_MAX, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from inferd._core.base.key cimport key_of
from inferd._core.base.utf8 cimport is_utf8
from inferd._core.batching.request cimport Request
from inferd._core.codec.contents cimport MAX_STEPS, Contents, contents_field, element_count, expect_contents, raw_nbytes
from inferd._core.codec.fields cimport (
    BOOL_PARAM, DOUBLE_PARAM, INT64_PARAM, OUTPUTS, PARAMETERS, STRING_PARAM, UINT64_PARAM, Asked, Fields, Input, Parameter, equals,
    read_asked, read_fields, read_input, read_parameter, walk_contents,
)
from inferd._core.codec.infer_response cimport appended, encode_all, encode_asked
from inferd._core.codec.outputs cimport CLASSES_BIT, asked_output
from inferd._core.codec.wire cimport YIELD_NBYTES, Bytes, Reader, open_reader, read_bytes, read_tag, skip_field
from inferd._core.grpc.message cimport Message, count_copied, kept_nbytes_of, new_message
from inferd._core.tensor.datatypes cimport INVALID
from inferd._core.tensor.shown cimport shown, shown_name, shown_range, shown_tensor, word_text
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_TENSORS, TensorView

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import Internal, InvalidArgument

cdef enum:
    UNPACKED_NBYTES = 16 << 10  # a request with typed contents is unpacked on the event loop up to this size


# ---- decoding ------------------------------------------------------------------------------------------------------

def decode_infer_request(message not None, bint at_once=False):
    """One ModelInferRequest, from a Message or a bytes-like object, as an InferRequest whose tensors lie in the message.

    at_once: None where typed contents may take long to unpack, which belongs on a thread; there the GIL is released for it.

    Raises InvalidArgument for malformed protobuf (with the byte), raw and typed contents together, and wrong counts or values of these.
    Also for an unknown datatype, a reserved parameter, and more than 256 inputs, outputs or parameters, or 8 dimensions.
    """
    if type(message) is Message:
        return decode_request(<Message>message, at_once)
    return decode_request(Message.wrap(message) if isinstance(message, bytes) else Message(message), at_once)


cdef InferRequest decode_request(Message message, bint at_once):
    cdef InferRequest request
    cdef Reader reader
    cdef Fields fields
    cdef Input extra
    cdef Asked asked
    cdef int typed = 0          # inputs with contents
    cdef int i
    if message is None:
        raise TypeError("expected a Message")
    request = InferRequest.__new__(InferRequest)
    request.message = message
    if message.nbytes > UINT32_MAX:
        raise InvalidArgument("ModelInferRequest: expected a message of less than 4 GiB")
    open_reader(&reader, message.data, message.nbytes)
    if read_fields(&reader, &fields) < 0:
        reject_malformed(&reader)
    request.asked_count = fields.output_count
    if fields.rejected.key.nbytes > 0:
        reject_parameter(&fields.rejected)
        request.asked_count += PROVENANCE * <int>(fields.rejected.number != 0)
    request.entry.priority = <uint16_t>min(fields.priority, <uint64_t>UINT16_MAX)
    request.entry.timeout_ns = <int64_t>min(fields.timeout_us, <uint64_t>(INT64_MAX // 1000)) * 1000
    check_text(&fields.model_name, "model_name")
    check_text(&fields.model_version, "model_version")
    request.name_text = text_of(request, &fields.model_name)
    request.version_text = text_of(request, &fields.model_version)
    request.id_text = text_of(request, &fields.id)
    request.reserve_inputs(fields.input_count)
    for i in range(fields.input_count):
        if read_input(&reader, &fields.inputs[i], &request.inputs[i], &extra, &fields.parameter_count) < 0:
            reject_malformed(&reader)
        if extra.in_shared_memory or request.inputs[i].datatype == INVALID:
            reject_input(&request.inputs[i], &extra)
        typed += extra.has_contents
        if i < fields.raw_count:
            request.inputs[i].data = fields.raws[i].data
            request.inputs[i].nbytes = fields.raws[i].nbytes
    if typed > 0:
        if at_once and message.nbytes > UNPACKED_NBYTES:
            return None
        pack_typed(request, &reader, &fields)
    if fields.raw_count != 0 and fields.raw_count != fields.input_count:
        raise InvalidArgument(f"ModelInferRequest: {fields.raw_count} raw_input_contents for {fields.input_count} inputs; send one for "
                              "each input, in the order of inputs")
    for i in range(fields.output_count):
        if read_asked(&reader, &fields.outputs[i], &asked, &fields.parameter_count) < 0:
            reject_malformed(&reader)
        if asked.classes < 0 or asked.in_shared_memory:
            reject_asked(&asked)
    return request


cdef inline Text text_of(InferRequest request, const Bytes *bytes) noexcept:
    cdef Text text
    text.first = <uint32_t>(bytes.data - request.message.data) if bytes.nbytes > 0 else 0
    text.nbytes = <uint32_t>bytes.nbytes
    return text


cdef inline int check_text(const Bytes *text, str field) except -1:
    if not is_utf8(text.data, text.nbytes):
        raise InvalidArgument(f"ModelInferRequest: {field} is not UTF-8")
    return 0


cdef object value_of(const Parameter *parameter):
    cdef double real
    if parameter.kind == BOOL_PARAM:
        return parameter.number != 0
    if parameter.kind == INT64_PARAM:
        return <int64_t>parameter.number
    if parameter.kind == STRING_PARAM:
        return PyUnicode_DecodeUTF8(parameter.text.data, parameter.text.nbytes, "replace")
    if parameter.kind == DOUBLE_PARAM:
        memcpy(&real, &parameter.number, 8)
        return real
    return parameter.number


cdef int walk(
    Reader *reader, const Bytes *tensor, int datatype, Contents *contents, char **at, int64_t *value, bint with_gil,
) noexcept:
    """walk_contents, with the GIL or without: another thread is to go on where it takes long."""
    cdef int status
    if with_gil:
        return walk_contents(reader, tensor, datatype, contents, at, value)
    with nogil:
        status = walk_contents(reader, tensor, datatype, contents, at, value)
    return status


cdef int pack_typed(InferRequest request, Reader *reader, Fields *fields) except -1:
    """Typed contents of every input, packed as raw bytes into one message of their size."""
    cdef int64_t total = 0
    cdef int64_t value = 0
    cdef int64_t steps = 0
    cdef char *at
    cdef char *first
    cdef TensorView *view
    cdef Contents contents
    cdef bint with_gil = request.message.nbytes <= UNPACKED_NBYTES
    cdef int i
    for i in range(fields.input_count):
        view = &request.inputs[i]
        expect_contents(&contents, 0 if fields.raw_count > 0 else contents_field(view.datatype), element_count(view), steps)
        if walk(reader, &fields.inputs[i], view.datatype, &contents, NULL, &value, with_gil) < 0:
            if reader.fault != NULL and contents.steps <= MAX_STEPS:
                reject_malformed(reader)
            reject_contents(view, &contents, shown(fields.model_name.data, fields.model_name.nbytes) if fields.raw_count > 0 else None)
        steps = contents.steps
        if fields.raw_count == 0:
            view.nbytes = raw_nbytes(&contents, view.datatype)
            total += view.nbytes
    if total == 0:
        return 0
    request.packed = new_message(total, request.message.share)
    count_copied(total)
    at = request.packed.data
    reader.left.yield_at = reader.start + YIELD_NBYTES            # all of it is read once more
    for i in range(fields.input_count):
        view = &request.inputs[i]
        view.data = first = at
        if walk(reader, &fields.inputs[i], view.datatype, NULL, &at, &value, with_gil) < 0:
            if reader.fault != NULL:
                reject_malformed(reader)
            reject_element(view, value)
        if at - first != view.nbytes:
            raise Internal(f"input '{shown_name(view)}': typed contents changed while they were read")
    return 0


# ---- rejections ------------------------------------------------------------------------------------------------------

cdef int reject_malformed(const Reader *reader) except -1:
    raise InvalidArgument(f"ModelInferRequest: {reader.fault.decode()}, at byte {reader.at - reader.start}")


cdef int reject_parameter(const Parameter *parameter) except -1:
    """Any but a right `provenance`."""
    if equals(&parameter.key, "provenance", 10):
        if parameter.kind == BOOL_PARAM or parameter.kind == 0:
            return 0
        raise InvalidArgument("parameter 'provenance': expected bool_param; true asks for the model's provenance in the response")
    key = shown(parameter.key.data, parameter.key.nbytes)
    if memcmp(parameter.key.data, "triton_", 7) == 0:
        raise InvalidArgument(
            f"parameter '{key}': names that begin with 'triton_' are reserved; the one that is known is "
            "'triton_enable_empty_final_response'")
    got = shown(parameter.text.data, parameter.text.nbytes) if parameter.kind == STRING_PARAM else value_of(parameter)
    raise InvalidArgument(f"parameter '{key}': expected uint64_param or int64_param of 0 or more, got {got!r}")


cdef int reject_input(const TensorView *view, const Input *extra) except -1:
    if extra.in_shared_memory:
        raise InvalidArgument(f"input '{shown_name(view)}': shared memory (shared_memory_region) is not enabled; send the tensor's bytes")
    word = shown(extra.word.data, extra.word.nbytes)
    raise InvalidArgument(f"input '{shown_name(view)}': unknown datatype '{word}'; expected one of {', '.join(DATATYPES)}")


cdef int reject_asked(const Asked *asked) except -1:
    name = shown(asked.name.data, asked.name.nbytes)
    if asked.classes < 0:
        raise InvalidArgument(f"output '{name}': expected int64_param or uint64_param of 0 or more in the parameter "
                              "classification, the number of classes; got another value")
    raise InvalidArgument(f"output '{name}': shared memory (shared_memory_region) is not enabled; leave the parameter "
                          "out and read the bytes from the response")


cdef list CONTENTS_FIELDS = [
    "", "bool_contents", "int_contents", "int64_contents", "uint_contents", "uint64_contents", "fp32_contents", "fp64_contents",
    "bytes_contents",
]


cdef int reject_contents(const TensorView *view, const Contents *contents, str beside_raw) except -1:
    """Contents of more elements than there may be, or in a field where there must be none. beside_raw: the model's name, where there are
    raw contents, too."""
    name, word, field, number = shown_name(view), word_text(view.datatype), contents_field(view.datatype), contents.stray
    if contents.steps > MAX_STEPS:
        raise InvalidArgument(f"input '{name}': expected at most {<int>MAX_STEPS} elements as typed contents in a request (fewer of BYTES, "
                              "of unpacked ones and of long numbers), got more; send raw_input_contents, which need no unpacking")
    if number == 0:
        tensor = shown_tensor(view.datatype, view.shape, view.rank)
        raise InvalidArgument(f"input '{name}': expected the {contents.most} elements of {tensor} in {CONTENTS_FIELDS[field]}, got more; "
                              "send as many elements as the shape says")
    if beside_raw is not None:
        raise InvalidArgument(f"input '{name}': contents field must not be specified when using raw_input_contents for '{name}' for model "
                              f"'{beside_raw}'; send every input of a request one way or the other")
    cure = f"{word} goes into {CONTENTS_FIELDS[field]}" if field else f"{word} travels only in raw_input_contents"
    raise InvalidArgument(f"input '{name}': {word} contents came in {CONTENTS_FIELDS[number]}; {cure}")


cdef int reject_element(const TensorView *view, int64_t value) except -1:
    raise InvalidArgument(f"input '{shown_name(view)}': {word_text(view.datatype)} holds {shown_range(view.datatype)}, an element is "
                          f"{value}")


cdef inline str str_of(Bytes text):
    return PyUnicode_DecodeUTF8(text.data, text.nbytes, NULL)


cdef inline int *outputs_of(InferRequest request) noexcept:
    return <int *>PyBytes_AS_STRING(request.more_outputs) if request.more_outputs is not None else request.output_room


# ---- the request, and its response -----------------------------------------------------------------------------------

@cython.final
@cython.no_gc
cdef class InferRequest(Request):
    cdef Bytes text(self, Text text) noexcept:
        cdef Bytes found
        found.data = self.message.data + text.first
        found.nbytes = text.nbytes
        return found

    @property
    def model_name(self):
        return str_of(self.text(self.name_text))

    @property
    def model_version(self):
        """'': the newest."""
        return str_of(self.text(self.version_text))

    @property
    def id(self):
        """The client's own name for the request, echoed in the response; '' when there is none."""
        return str_of(self.text(self.id_text))

    cdef Py_ssize_t held_nbytes(self):
        cdef Py_ssize_t nbytes = kept_nbytes_of(self.message) + kept_nbytes_of(self.packed)
        return nbytes + kept_nbytes_of(<Message>self.response) if type(self.response) is Message else nbytes

    cpdef check(self, Signature signature):
        """Checks the inputs and the outputs asked for against a model's signature. Raises InvalidArgument, and
        ResourceExhausted for a run that needs too much memory."""
        if signature is None:
            raise TypeError("expected a Signature")
        Request.check(self, signature)
        if self.asked_count > 0:
            resolve_outputs(self, signature)

    cpdef encode(self, Tensors outputs, Py_ssize_t first_row):
        """Sets the response: a ModelInferResponse of this request's rows of the run's outputs, from `first_row` on.
        Raises Internal when the outputs are not those of the signature."""
        cdef Bytes id
        if outputs is None or self.signature is None:
            raise Internal("a request was encoded before it was checked and run; this is a fault of the server")
        id = self.text(self.id_text)
        if self.output_count == 0:
            self.response = encode_all(self, &id, outputs, first_row)
            return
        self.response = encode_asked(self, &id, outputs_of(self), self.output_count, outputs, first_row)
        if self.asked_count & PROVENANCE and self.signature.provenance is not None:
            self.response = appended(<Message>self.response, self.signature)


cdef uint64_t request_key(InferRequest request) except? 0:
    """A text, or a whole number as its digits; the last one counts, and another value is none."""
    cdef Reader reader
    cdef Parameter parameter
    cdef uint32_t tag
    cdef bytes digits
    cdef int count = 0
    cdef uint64_t key = 0
    open_reader(&reader, request.message.data, request.message.nbytes)
    while read_tag(&reader, &tag) > 0:
        if tag != PARAMETERS:
            if skip_field(&reader, tag) < 0:
                reject_malformed(&reader)
            continue
        if read_parameter(&reader, &parameter, &count) < 0:
            reject_malformed(&reader)
        if not parameter.known or not equals(&parameter.key, "inferd_key", 10):
            continue
        key = 0
        if parameter.kind == STRING_PARAM:
            key = key_of(parameter.text.data, parameter.text.nbytes)
        elif parameter.kind == INT64_PARAM or parameter.kind == UINT64_PARAM:
            digits = b"%d" % value_of(&parameter)
            key = key_of(PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))
    return key


cdef int resolve_outputs(InferRequest request, Signature signature) except -1:
    """Finds the outputs asked for in the signature; one asked for twice is given once."""
    cdef bint seen[MAX_TENSORS]
    cdef Reader reader
    cdef Bytes content
    cdef Asked asked
    cdef uint32_t tag
    cdef int parameter_count = 0
    cdef int asked_count = request.asked_count & ~PROVENANCE
    cdef int index
    memset(seen, 0, signature.output_count * sizeof(bint))
    if asked_count > INLINE_OUTPUTS and request.more_outputs is None:
        request.more_outputs = PyBytes_FromStringAndSize(NULL, asked_count * sizeof(int))
    request.output_count = 0
    open_reader(&reader, request.message.data, request.message.nbytes)
    while read_tag(&reader, &tag) > 0:
        if tag != OUTPUTS:
            if skip_field(&reader, tag) < 0:
                reject_malformed(&reader)
            continue
        if read_bytes(&reader, &content) < 0 or read_asked(&reader, &content, &asked, &parameter_count) < 0:
            reject_malformed(&reader)
        index = asked_output(signature, &asked.name, asked.classes)
        if not seen[index & (1 << CLASSES_BIT) - 1]:
            seen[index & (1 << CLASSES_BIT) - 1] = True
            outputs_of(request)[request.output_count] = index
            request.output_count += 1
    if request.output_count == 0:
        request.output_count = -1
    return 0
