# cython: language_level=3, boundscheck=False, wraparound=False
"""request: an inference that came by REST, and its response: JSON, and binary outputs behind it (see request.pxd)."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from inferd._core.base.yielding cimport Turn
from inferd._core.batching.request cimport Request
from inferd._core.codec.fields cimport PARAMETERS, Parameter, read_parameter
from inferd._core.codec.outputs cimport (
    CLASSES_BIT, MAX_RESPONSE_NBYTES, Part, asked_output, check_run, cut_part, fill_part, too_large,
)
from inferd._core.codec.wire cimport Bytes, Reader, open_reader, read_tag
from inferd._core.grpc.call cimport Call
from inferd._core.grpc.message cimport Message, kept_nbytes_of, new_message
from inferd._core.rest.text cimport (
    ESCAPED_TIMES, MAX_POWER, MAX_POWER32, MIN_POWER, MIN_POWER32, element_bound, powers, powers32, put_numbers, put_quoted, put_signed,
    put_texts, put_unsigned, texts_bound,
)
from inferd._core.tensor.datatypes cimport BF16, BYTES, FP16, itemsize
from inferd._core.tensor.shown cimport word_text
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS

from json import dumps

from inferd.errors import Internal, InvalidArgument

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef enum:
    NOGIL_NBYTES = 32 << 10     # an output above this size is written without the GIL
    LATE_NBYTES = 16 << 10      # outputs whose text may be longer are written on a thread, if their model runs on the event loop
    INLINE_OUTPUTS = 8          # outputs of a response that need no second allocation


def _power_of_ten(exponent, bits):
    """ceil(10^exponent * 2^-r), r such that it has so many bits."""
    numerator, denominator = (10**exponent, 1) if exponent >= 0 else (1, 10**-exponent)
    shift = bits - numerator.bit_length() + denominator.bit_length()
    while True:
        power = -((-numerator << shift) // denominator) if shift >= 0 else -(-numerator // (denominator << -shift))
        if power.bit_length() <= bits:
            return power
        shift -= 1


def _set_powers():
    cdef int k
    for k in range(MIN_POWER, MAX_POWER + 1):
        power = _power_of_ten(k, 128)
        powers[k - MIN_POWER].high, powers[k - MIN_POWER].low = power >> 64, power & ~<uint64_t>0
    for k in range(MIN_POWER32, MAX_POWER32 + 1):
        powers32[k - MIN_POWER32] = _power_of_ten(k, 64)


_set_powers()


# ---- the request, and its response -----------------------------------------------------------------------------------

@cython.final
@cython.no_gc
cdef class RestRequest(Request):
    @property
    def model_name(self):
        return self.head.model_name.decode()

    @property
    def model_version(self):
        """'': the newest."""
        return self.head.model_version.decode()

    @property
    def id(self):
        """The client's own name for the request, echoed in the response; '' when there is none."""
        if self.id_text.nbytes == 0:
            return ""
        return PyUnicode_DecodeUTF8(self.packed.data + self.id_text.first, self.id_text.nbytes, NULL)

    cdef Py_ssize_t held_nbytes(self):
        cdef Py_ssize_t nbytes = kept_nbytes_of(self.message) + kept_nbytes_of(self.packed)
        if type(self.response) is LateCall:
            return nbytes + kept_nbytes_of((<LateCall>self.response).data)
        return nbytes + kept_nbytes_of(<Message>self.response) if type(self.response) is Message else nbytes

    cpdef check(self, Signature signature):
        """Checks the inputs and the outputs asked for against a model's signature. Raises InvalidArgument, and
        ResourceExhausted for a run that needs too much memory."""
        cdef bint seen[MAX_TENSORS]
        cdef Asked *asked
        cdef Bytes name
        cdef int i, index
        cdef int count = 0
        if signature is None:
            raise TypeError("expected a Signature")
        Request.check(self, signature)
        if self.asked_count == 0:
            return
        memset(seen, 0, signature.output_count * sizeof(bint))
        for i in range(self.asked_count):
            asked = &self.asked[i]
            name.data, name.nbytes = self.packed.data + asked.name.first, asked.name.nbytes
            asked.output = asked_output(signature, &name, asked.classes)
            index = asked.output & (1 << CLASSES_BIT) - 1
            if not seen[index]:                     # one asked for twice is given once
                seen[index] = True
                self.asked[count] = asked[0]
                count += 1
        self.asked_count = count

    cpdef encode(self, Tensors outputs, Py_ssize_t first_row):
        """Sets the response: the JSON body, and binary outputs behind it, with this request's rows of the run's outputs. Where it is long,
        and this is the event loop's thread, a LateCall takes the place of the call. Raises InvalidArgument: an output cannot be JSON."""
        cdef Output room[INLINE_OUTPUTS]
        cdef Output *filled = room
        cdef bytes more
        cdef Py_ssize_t text_bound = 0
        cdef Py_ssize_t nbytes = 0
        cdef int count, i
        if outputs is None or self.signature is None:
            raise Internal("a request was encoded before it was checked and run; this is a fault of the server")
        count = self.asked_count or self.signature.output_count
        if count > INLINE_OUTPUTS:
            more = PyBytes_FromStringAndSize(NULL, count * sizeof(Output))
            filled = <Output *>PyBytes_AS_STRING(more)
        check_run(self.signature, outputs, first_row)
        for i in range(count):
            fill_output(self, &filled[i], i, outputs, first_row)
            text_bound += filled[i].text_bound
            nbytes += filled[i].nbytes if filled[i].binary else 0
        if text_bound + nbytes > MAX_RESPONSE_NBYTES:
            raise too_large(self.signature, text_bound + nbytes)
        if text_bound > LATE_NBYTES and self.call is not None and self.loop_thread == PyThread_get_thread_ident():
            self.call = self.response = late_call(self, filled, count, text_bound)
        else:
            self.response = write_response(self, filled, count)


cdef int fill_output(RestRequest request, Output *output, int place, Tensors outputs, int64_t first_row) except -1:
    """All of one output that its text or its bytes are made of."""
    cdef Signature signature = request.signature
    cdef const Asked *asked = &request.asked[place] if request.asked_count > 0 else NULL
    cdef int64_t rows = request.entry.rows if outputs.batched else 1
    cdef int64_t cut_shape[MAX_RANK]
    cdef Part part
    cdef int64_t count = 0
    fill_part(&part, signature, outputs, asked.output if asked != NULL else place, first_row, rows)
    output.stride_nbytes = part.nbytes
    if signature.output_cuts != NULL and outputs.batched:
        cut_part(&part, request, cut_shape)
        if part.pieces > 0:
            output.stride_nbytes //= part.pieces
    output.name, output.name_nbytes = part.spec.name, part.spec.name_nbytes
    output.word, output.word_nbytes = part.word, part.word_nbytes
    output.datatype, output.rank = part.view.datatype, part.view.rank
    memcpy(output.shape, part.shape, part.view.rank * sizeof(int64_t))
    if outputs.batched:
        output.shape[0] = rows
    output.data, output.nbytes, output.pieces = part.data, part.nbytes, max(part.pieces, <Py_ssize_t>1)
    output.binary = asked.binary if asked != NULL else request.binary_output
    output.nan_as_null = request.nan_as_null
    output.text_bound = 0
    if output.binary:
        return 0
    if output.datatype == FP16 or output.datatype == BF16:
        raise not_in_json(output, f"JSON has no {word_text(output.datatype)}")
    if output.datatype != BYTES:
        output.text_bound = output.nbytes // itemsize(output.datatype) * element_bound(output.datatype)
        return 0
    if output.nbytes > NOGIL_NBYTES:
        with nogil:
            output.text_bound = texts_bound(output.data, output.nbytes, &count)
    else:
        output.text_bound = texts_bound(output.data, output.nbytes, &count)
    if output.text_bound < 0:
        raise not_in_json(output, f"element {count} is not UTF-8, and JSON holds no other text")
    return 0


cdef not_in_json(const Output *output, str why):
    return InvalidArgument(f"output '{output.name[:output.name_nbytes].decode()}': {why}; ask for this output with the parameter "
                           "binary_data: true, or for all with binary_data_output")


cdef Py_ssize_t frame_bound(RestRequest request, const Output *outputs, int count, bytes provenance) noexcept:
    """Bytes of a response's JSON at most, elements aside."""
    cdef Py_ssize_t escaped = PyBytes_GET_SIZE(request.signature.model_name) + PyBytes_GET_SIZE(request.signature.model_version)
    cdef Py_ssize_t total = 100 + PyBytes_GET_SIZE(provenance)
    cdef int i
    escaped += request.id_text.nbytes
    for i in range(count):
        escaped += outputs[i].name_nbytes
        total += 120 + 21 * outputs[i].rank
    return total + ESCAPED_TIMES * escaped


cdef inline char *put_word(char *at, const char *text, Py_ssize_t nbytes) noexcept nogil:
    memcpy(at, text, nbytes)
    return at + nbytes


cdef Message write_response(RestRequest request, const Output *outputs, int count):
    """The response in a message that has room for the longest text."""
    cdef Signature signature = request.signature
    cdef bytes provenance = b""
    cdef bint has_binary = False
    cdef Py_ssize_t bound
    cdef Message response
    cdef char *at
    cdef int i
    if request.provenance and signature.provenance is not None:
        provenance = parameters_text(signature.provenance if signature.arm is None else signature.provenance + signature.arm)
    elif signature.arm is not None:
        provenance = parameters_text(signature.arm)
    bound = frame_bound(request, outputs, count, provenance)
    for i in range(count):
        bound += outputs[i].nbytes if outputs[i].binary else outputs[i].text_bound
        has_binary = has_binary or outputs[i].binary
    response = new_message(bound)
    at = put_word(response.data, b'{"model_name":', 14)
    at = put_quoted(at, PyBytes_AS_STRING(signature.model_name), PyBytes_GET_SIZE(signature.model_name))
    at = put_word(at, b',"model_version":', 17)
    at = put_quoted(at, PyBytes_AS_STRING(signature.model_version), PyBytes_GET_SIZE(signature.model_version))
    if request.id_text.nbytes > 0:
        at = put_word(at, b',"id":', 6)
        at = put_quoted(at, request.packed.data + request.id_text.first, request.id_text.nbytes)
    at = put_word(at, PyBytes_AS_STRING(provenance), PyBytes_GET_SIZE(provenance))
    at = put_word(at, b',"outputs":[', 12)
    for i in range(count):
        at = put_output(at, &outputs[i])
    if count > 0:
        at -= 1                         # a comma
    at = put_word(at, b"]}", 2)
    request.head.response_json_nbytes = 0
    if has_binary:
        request.head.response_json_nbytes = at - response.data
        for i in range(count):
            if outputs[i].binary:
                at = put_raw(at, &outputs[i])
    response.nbytes = at - response.data
    return response


cdef char *put_output(char *at, const Output *output) noexcept:
    """One output, with the comma behind it. Long text is written without the GIL."""
    cdef Turn turn
    cdef int axis
    at = put_word(at, b'{"name":', 8)
    at = put_quoted(at, output.name, output.name_nbytes)
    at = put_word(at, b',"datatype":"', 13)
    at = put_word(at, output.word, output.word_nbytes)
    at = put_word(at, b'","shape":[', 11)
    for axis in range(output.rank):
        at = put_signed(at, output.shape[axis])
        at[0] = c','
        at += 1
    if output.rank > 0:
        at -= 1
    if output.binary:
        at = put_word(at, b'],"parameters":{"binary_data_size":', 35)
        at = put_unsigned(at, output.nbytes)
        return put_word(at, b"}},", 3)
    at = put_word(at, b'],"data":[', 10)
    if output.text_bound > NOGIL_NBYTES:
        memset(&turn, 0, sizeof(Turn))
        with nogil:
            at = put_data(at, output, &turn)
    else:
        at = put_data(at, output, NULL)
    return put_word(at, b"]},", 3)


cdef char *put_data(char *at, const Output *output, Turn *turn) noexcept nogil:
    """The elements."""
    cdef Py_ssize_t piece, nbytes = output.nbytes // output.pieces
    if output.nbytes == 0:
        return at
    if output.datatype == BYTES:
        return put_texts(at, output.data, output.nbytes, turn) - 1
    for piece in range(output.pieces):
        at = put_numbers(at, output.data + piece * output.stride_nbytes, nbytes, output.datatype, output.nan_as_null, turn)
    return at - 1                       # a comma


cdef char *put_raw(char *at, const Output *output) noexcept:
    """The raw bytes of one output. Many are copied without the GIL."""
    if output.nbytes > NOGIL_NBYTES:
        with nogil:
            return copy_raw(at, output)
    return copy_raw(at, output)


cdef char *copy_raw(char *at, const Output *output) noexcept nogil:
    cdef Py_ssize_t piece, nbytes = output.nbytes // output.pieces
    for piece in range(output.pieces):
        memcpy(at + piece * nbytes, output.data + piece * output.stride_nbytes, nbytes)
    return at + output.nbytes


cdef bytes parameters_text(bytes fields):
    """A signature's provenance, fields of a ModelInferResponse, as the key `parameters` of a response."""
    cdef Reader reader
    cdef Parameter parameter
    cdef uint32_t tag = 0
    cdef int count = 0
    cdef dict found = {}
    open_reader(&reader, PyBytes_AS_STRING(fields), PyBytes_GET_SIZE(fields))
    while read_tag(&reader, &tag) > 0 and tag == PARAMETERS and read_parameter(&reader, &parameter, &count) == 0:
        key = parameter.key.data[:parameter.key.nbytes].decode()
        found[key] = parameter.text.data[:parameter.text.nbytes].decode()
    return b',"parameters":' + dumps(found).encode()


# ---- long responses --------------------------------------------------------------------------------------------------

cdef LateCall late_call(RestRequest request, const Output *outputs, int count, Py_ssize_t text_bound):
    """Keeps the raw bytes of the outputs for the thread that is to write them."""
    cdef LateCall late = LateCall.__new__(LateCall)
    cdef Output *kept
    cdef Py_ssize_t nbytes = 0
    cdef char *at
    cdef int i
    late.outputs = PyBytes_FromStringAndSize(<const char *>outputs, count * sizeof(Output))
    kept = <Output *>PyBytes_AS_STRING(late.outputs)
    for i in range(count):
        nbytes += padded(outputs[i].nbytes)
    late.data = new_message(nbytes)
    at = late.data.data
    for i in range(count):
        copy_raw(at, &outputs[i])
        kept[i].data, kept[i].pieces = at, 1
        at += padded(kept[i].nbytes)
    late.call = (<LateCall>request.call).call if type(request.call) is LateCall else request.call
    late.request = request
    late.nbytes = text_bound
    return late


@cython.final
@cython.no_gc
cdef class LateCall(Call):
    """The call of a request whose response a thread writes. It is work for the thread, too."""

    cpdef reply(self, message):
        self.call.work = self
        try:
            self.call.run_on_thread(self)
        except RuntimeError:                    # there is none
            self.run()
            self.done()

    cpdef fail(self, error):
        self.call.fail(error)

    def cancel(self):
        """The client went away."""
        self.cancelled = True
        self.data = None
        when_cancelled, self.when_cancelled = self.when_cancelled, None
        if when_cancelled is not None:
            when_cancelled(self)

    def tensors(self):
        """(name, datatype word, shape, raw bytes) of every output; none where the client went away. For a tap, which holds the request."""
        cdef const Output *outputs = <const Output *>PyBytes_AS_STRING(self.outputs)
        cdef Message data = self.data
        cdef list found = []
        cdef int i, axis
        if data is None:
            return found
        for i in range(<int>(PyBytes_GET_SIZE(self.outputs) // <Py_ssize_t>sizeof(Output))):
            found.append((outputs[i].name[:outputs[i].name_nbytes].decode(), outputs[i].word[:outputs[i].word_nbytes].decode(),
                          tuple([outputs[i].shape[axis] for axis in range(outputs[i].rank)]),
                          PyBytes_FromStringAndSize(outputs[i].data, outputs[i].nbytes)))
        return found

    def run(self, until_ns=0):
        cdef RestRequest request = self.request
        cdef Message data = self.data           # cancel may come meanwhile
        if data is None:
            return True
        try:
            self.response = write_response(request, <const Output *>PyBytes_AS_STRING(self.outputs),
                                           <int>(PyBytes_GET_SIZE(self.outputs) // <Py_ssize_t>sizeof(Output)))
        except Exception as error:
            self.error = error.with_traceback(None)
        return True

    def done(self):
        cdef Call call = self.call
        self.call = self.request = self.when_cancelled = None
        response, self.response = self.response, None
        if call.settled:
            return
        call.work = None
        if self.error is not None:
            call.fail(self.error)
        else:
            call.reply(response)
