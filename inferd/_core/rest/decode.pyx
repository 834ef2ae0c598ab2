# cython: language_level=3, boundscheck=False, wraparound=False
"""decode: the body of POST .../infer as a request: JSON, and behind it the tensors of Triton's binary extension (see decode.pxd).

Read strictly: JSON by RFC 8259, each key once, each number one that its datatype can hold. Unknown keys are skipped, and null counts as
no value. yyjson reads all of the JSON into one block of the message pool; numbers go from there straight into their tensor.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, UINT16_MAX, UINT32_MAX, int64_t, uint16_t, uint64_t
from libc.string cimport memcmp, memset

from inferd._core.base.key cimport key_of
from inferd._core.base.yielding cimport Turn
from inferd._core.codec.contents cimport element_count
from inferd._core.codec.fields cimport MAX_CLASSES, MAX_PARAMETERS
from inferd._core.codec.infer cimport Text
from inferd._core.codec.wire cimport MAX_STRINGS_NBYTES, Bytes
from inferd._core.grpc.message cimport Message, count_copied, fits_budget, work_message
from inferd._core.http.head cimport Head
from inferd._core.rest.elements cimport Elements, read_elements, texts_nbytes
from inferd._core.rest.json_fault cimport (
    Place, place_of, reject_count, reject_elements, reject_json, shown_place, shown_value,
)
from inferd._core.rest.keys cimport (
    BINARY_DATA, BINARY_DATA_OUTPUT, BINARY_DATA_SIZE, CLASSIFICATION, DATA, DATATYPE, ID, INFERD_KEY, INPUT_KEYS, INPUTS,
    KNOWN_PARAMETERS, NAME, NAN_AS_NULL, OUTPUT_KEYS, OUTPUTS, PARAMETER_WORDS, PRIORITY, PROVENANCE, REQUEST_KEYS, REQUEST_PARAMETERS,
    REQUEST_WORDS, SHAPE, SHARED_MEMORY_REGION, TENSOR_PARAMETERS, TENSOR_WORDS, TIMEOUT, KeyWord, scan,
)
from inferd._core.rest.request cimport Asked, RestRequest, padded, put_name
from inferd._core.rest.yyjson cimport (
    ARRAY, FALSE, OBJECT, STRING, TRUE, Arena, arena_memory, arena_nbytes, behind, count_of, is_count, is_key, kind_of, text_of, type_of,
    yyjson_alc, yyjson_doc, yyjson_read_err, yyjson_read_opts, yyjson_val,
)
from inferd._core.tensor.datatypes cimport BF16, BYTES, FP16, INVALID, datatype_of, itemsize
from inferd._core.tensor.shown cimport shown, shown_name, word_text
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, TensorView

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import InvalidArgument, NoInputs, ResourceExhausted

cdef enum:
    NOGIL_NBYTES = 32 << 10     # JSON above this size is read without the GIL,
    MANY_VALUES = 4 << 10       # so are more than so many JSON values
    AT_ONCE_NBYTES = 64 << 10   # and above this size on a thread: it takes 0.1 ms, the densest text 0.3 ms


# ---- decoding ------------------------------------------------------------------------------------------------------

def decode_rest_request(message not None, Head head not None, bint at_once=False):
    """The body of POST .../infer, from a Message or a bytes-like object, as a RestRequest.

    at_once: None where it is so long that a thread must parse it; there the GIL is released for it. Raises InvalidArgument.
    """
    if type(message) is Message:
        return decode_rest(<Message>message, head, at_once)
    return decode_rest(Message.wrap(message) if isinstance(message, bytes) else Message(message), head, at_once)


cdef RestRequest decode_rest(Message body, Head head, bint at_once):
    cdef Py_ssize_t json_nbytes
    cdef RestRequest request
    cdef Message block
    cdef const yyjson_val *root
    if body is None or head is None:
        raise TypeError("expected a Message and a Head")
    json_nbytes = head.json_nbytes if head.json_nbytes >= 0 else body.nbytes
    if json_nbytes > body.nbytes:
        raise InvalidArgument(f"Inference-Header-Content-Length: expected the bytes of JSON that the body begins with, {body.nbytes} at "
                              f"most, got {json_nbytes}; send the length of the JSON")
    if body.nbytes > UINT32_MAX:
        raise InvalidArgument("request body: expected less than 4 GiB")
    if at_once and json_nbytes > AT_ONCE_NBYTES:
        return None
    request = RestRequest.__new__(RestRequest)
    request.head, request.message = head, body
    block = block_for(body, json_nbytes)
    root = parse(body, json_nbytes, block)
    read_request(request, root, json_nbytes, body.charged_nbytes + block.charged_nbytes)
    return request


cdef Message block_for(Message body, Py_ssize_t json_nbytes):
    """The memory that reading the JSON takes, charged to the body's connection."""
    cdef Py_ssize_t nbytes
    if json_nbytes > NOGIL_NBYTES:
        with nogil:
            nbytes = arena_nbytes(body.data, json_nbytes)
    else:
        nbytes = arena_nbytes(body.data, json_nbytes)
    try:
        return work_message(nbytes, body.share, body.charged_nbytes)
    except ResourceExhausted as error:
        if not fits_budget(body.nbytes + nbytes):       # a retry could never help
            raise ResourceExhausted(
                f"request body: to read {json_nbytes} bytes of JSON takes {nbytes} bytes of memory for a moment, more than this server "
                "ever has for one request (message_memory_bytes); send binary data (parameter binary_data_size), which takes only its own "
                "size, or split the request", reason="message_size") from None
        raise ResourceExhausted(
            f"request body: to read {json_nbytes} bytes of JSON takes {nbytes} bytes of memory for a moment. {error}. Binary data "
            "(parameter binary_data_size) takes only its own size", reason=error.reason, retry_after_ns=error.retry_after_ns) from None


cdef const yyjson_val *parse(Message body, Py_ssize_t json_nbytes, Message block) except NULL:
    """Reads the JSON into the block."""
    cdef Arena arena
    cdef yyjson_alc memory = arena_memory(&arena, block.data, block.nbytes)
    cdef yyjson_read_err error
    cdef yyjson_doc *document
    if json_nbytes > NOGIL_NBYTES:
        with nogil:
            document = yyjson_read_opts(body.data, json_nbytes, 0, &memory, &error)
    else:
        document = yyjson_read_opts(body.data, json_nbytes, 0, &memory, &error)
    if document == NULL:
        reject_json(body, json_nbytes, &error)
    return document.root


cdef int find(const yyjson_val *object, const KeyWord *words, int count, const yyjson_val **found, const Place *place) except -1:
    """`scan`. Raises InvalidArgument where a key is there twice."""
    cdef int twice
    if count_of(object) > MANY_VALUES:
        with nogil:
            twice = scan(object, words, count, found)
    else:
        twice = scan(object, words, count, found)
    if twice >= 0:
        raise InvalidArgument(f"{shown_place(place)}: '{words[twice].text.decode()}' is there twice; send each key once")
    return 0


cdef int find_parameters(const yyjson_val *object, const yyjson_val **found, int *count, const Place *place) except -1:
    """The parameters that mean something, of those that a request or a tensor has. All are scalars, and there once."""
    cdef const yyjson_val *key
    cdef const yyjson_val *other
    cdef Bytes name
    cdef Py_ssize_t i, _k
    expect_type(object, OBJECT, place, "parameters", "an object")
    count[0] += <int>min(count_of(object), <Py_ssize_t>(MAX_PARAMETERS + 1))
    if count[0] > MAX_PARAMETERS:
        raise InvalidArgument(f"{shown_place(place)}: more than {<int>MAX_PARAMETERS} parameters in a request; send fewer")
    key = object + 1
    for i in range(count_of(object)):
        if type_of(key + 1) >= ARRAY:
            name = text_of(key)
            raise InvalidArgument(f"{shown_place(place)}: parameter '{shown(name.data, name.nbytes)}': expected a string, a number, true "
                                  f"or false, got {shown_value(key + 1)}")
        other = object + 1
        for _k in range(i):
            if is_key(other, key.uni.str, count_of(key)):
                name = text_of(key)
                raise InvalidArgument(f"{shown_place(place)}: parameter '{shown(name.data, name.nbytes)}' is there twice; send it once")
            other = other + 2
        key += 2
    return find(object, PARAMETER_WORDS, KNOWN_PARAMETERS, found, place)


cdef int expect_type(const yyjson_val *value, int kind, const Place *place, str key, str expected) except -1:
    if value == NULL:
        raise InvalidArgument(f"{shown_place(place)}: '{key}' is missing; send {expected}")
    if type_of(value) != kind:
        raise InvalidArgument(f"{shown_place(place)}: '{key}': expected {expected}, got {shown_value(value)}")
    return 0


cdef int read_flag(const yyjson_val *value, bint *flag, const Place *place, str name) except -1:
    if value == NULL:
        return 0
    if kind_of(value) != TRUE and kind_of(value) != FALSE:
        raise InvalidArgument(f"{shown_place(place)}: parameter '{name}': expected true or false, got {shown_value(value)}")
    flag[0] = kind_of(value) == TRUE
    return 0


cdef int64_t read_count(const yyjson_val *value, int64_t most, const Place *place, str name) except -1:
    """A parameter that is a whole number of 0 or more; more than `most` is that."""
    if value == NULL:
        return 0
    if not is_count(value):
        raise InvalidArgument(f"{shown_place(place)}: parameter '{name}': expected a whole number of 0 or more, got {shown_value(value)}")
    return <int64_t>min(value.uni.u64, <uint64_t>most)


cdef int read_request(RestRequest request, const yyjson_val *root, Py_ssize_t json_nbytes, Py_ssize_t held_nbytes) except -1:
    """The whole body, into views and `packed`. The document's memory may go then."""
    cdef const yyjson_val *found[REQUEST_KEYS]
    cdef const yyjson_val *datas[MAX_TENSORS]       # of inputs that are JSON; else NULL
    cdef const yyjson_val *value
    cdef Message body = request.message
    cdef Py_ssize_t used_nbytes = json_nbytes       # of the body
    cdef int64_t packed_nbytes = 0
    cdef int64_t text_nbytes = 0
    cdef int parameter_count = 0
    cdef Place place = place_of(b"request body", -1)
    cdef int i
    if type_of(root) != OBJECT:
        raise InvalidArgument(f'request body: expected a JSON object, {{"inputs": [...]}}, got {shown_value(root)}')
    find(root, REQUEST_WORDS, REQUEST_KEYS, found, &place)
    if found[INPUTS] == NULL:
        raise NoInputs("request body: 'inputs' is missing; send an array of tensors: name, shape, datatype, data")
    expect_type(found[INPUTS], ARRAY, &place, "inputs", "an array of tensors: name, shape, datatype, data")
    read_parameters(request, found[REQUEST_PARAMETERS], &place, &parameter_count)
    if found[ID] != NULL:
        expect_type(found[ID], STRING, &place, "id", "a string")
        text_nbytes += count_of(found[ID])
    if count_of(found[INPUTS]) > MAX_TENSORS:
        raise InvalidArgument(f"request body: expected at most {<int>MAX_TENSORS} inputs, got {count_of(found[INPUTS])}")
    request.reserve_inputs(<int>count_of(found[INPUTS]))
    value = found[INPUTS] + 1
    for i in range(request.input_count):
        datas[i] = read_input(request, i, value, &used_nbytes, &parameter_count)
        text_nbytes += request.inputs[i].name_nbytes
        if datas[i] != NULL:
            packed_nbytes = padded(packed_nbytes) + request.inputs[i].nbytes
        value = behind(value)
    if used_nbytes != body.nbytes:
        raise InvalidArgument(f"request body: {body.nbytes - used_nbytes} bytes follow the last tensor; send in each input's parameter "
                              "binary_data_size how many bytes it has")
    if found[OUTPUTS] != NULL:
        expect_type(found[OUTPUTS], ARRAY, &place, "outputs", "an array of objects with a name")
        if count_of(found[OUTPUTS]) > MAX_TENSORS:
            raise InvalidArgument(f"request body: expected at most {<int>MAX_TENSORS} outputs, got {count_of(found[OUTPUTS])}")
        request.asked_count = <int>count_of(found[OUTPUTS])
        value = found[OUTPUTS] + 1
        for i in range(request.asked_count):
            text_nbytes += name_nbytes(value, i)
            value = behind(value)
    if text_nbytes > MAX_STRINGS_NBYTES:
        raise InvalidArgument(f"request body: expected at most {<int>MAX_STRINGS_NBYTES} bytes of names and id, got {text_nbytes}")
    pack(request, found[ID], datas, found[OUTPUTS], packed_nbytes, text_nbytes, held_nbytes, &parameter_count)
    return 0


cdef int read_parameters(RestRequest request, const yyjson_val *object, const Place *place, int *count) except -1:
    """The request's own parameters."""
    cdef const yyjson_val *known[KNOWN_PARAMETERS]
    cdef const yyjson_val *key
    cdef Bytes name
    cdef Py_ssize_t _i
    if object == NULL:
        return 0
    find_parameters(object, known, count, place)
    key = object + 1
    for _i in range(count_of(object)):
        if count_of(key) >= 7 and memcmp(key.uni.str, b"triton_", 7) == 0 and not is_key(key, b"triton_enable_empty_final_response", 34):
            name = text_of(key)
            raise InvalidArgument(f"parameter '{shown(name.data, name.nbytes)}': names that begin with 'triton_' are reserved; the one "
                                  "that is known is 'triton_enable_empty_final_response'")
        key += 2
    request.entry.priority = <uint16_t>read_count(known[PRIORITY], UINT16_MAX, place, "priority")
    request.entry.timeout_ns = 1000 * read_count(known[TIMEOUT], INT64_MAX // 1000, place, "timeout")
    read_flag(known[PROVENANCE], &request.provenance, place, "provenance")
    read_flag(known[BINARY_DATA_OUTPUT], &request.binary_output, place, "binary_data_output")
    read_flag(known[NAN_AS_NULL], &request.nan_as_null, place, "nan_as_null")
    if known[INFERD_KEY] != NULL:
        request.key = value_key(known[INFERD_KEY])
    return 0


cdef uint64_t value_key(const yyjson_val *value) except? 0:
    """The key of a text, or of a whole number as its digits; any other value is none."""
    cdef Bytes text
    cdef bytes digits
    if type_of(value) == STRING:
        text = text_of(value)
        return key_of(text.data, text.nbytes)
    if not is_count(value):
        return 0
    digits = b"%d" % value.uni.u64
    return key_of(PyBytes_AS_STRING(digits), PyBytes_GET_SIZE(digits))


cdef Py_ssize_t name_nbytes(const yyjson_val *tensor, int index) except -1:
    """The length of an output's name."""
    cdef const yyjson_val *found[OUTPUT_KEYS]
    cdef Place place = place_of(b"output", index)
    if type_of(tensor) != OBJECT:
        raise InvalidArgument(f'output {index}: expected an object, {{"name": ...}}, got {shown_value(tensor)}')
    find(tensor, TENSOR_WORDS, OUTPUT_KEYS, found, &place)
    expect_type(found[NAME], STRING, &place, "name", "a string")
    return count_of(found[NAME])


cdef const yyjson_val *read_input(RestRequest request, int index, const yyjson_val *tensor, Py_ssize_t *used_nbytes,
                                  int *parameter_count) except? NULL:
    """One input into its view. Returns its `data`; NULL: its bytes follow the JSON, and the view has them."""
    cdef const yyjson_val *found[INPUT_KEYS]
    cdef const yyjson_val *known[KNOWN_PARAMETERS]
    cdef const yyjson_val *value
    cdef TensorView *view = &request.inputs[index]
    cdef Bytes word
    cdef int64_t expected
    cdef int axis
    cdef Place place = place_of(b"input", index)
    if type_of(tensor) != OBJECT:
        raise InvalidArgument(f"input {index}: expected an object with name, shape, datatype and data, got {shown_value(tensor)}")
    find(tensor, TENSOR_WORDS, INPUT_KEYS, found, &place)
    expect_type(found[NAME], STRING, &place, "name", "a string")
    place.name = text_of(found[NAME])
    view.name, view.name_nbytes = found[NAME].uni.str, count_of(found[NAME])
    expect_type(found[DATATYPE], STRING, &place, "datatype", "a string, such as \"FP32\"")
    word = text_of(found[DATATYPE])
    view.datatype = datatype_of(word.data, word.nbytes)
    if view.datatype == INVALID:
        raise InvalidArgument(f"input '{shown_name(view)}': unknown datatype '{shown(word.data, word.nbytes)}'; expected one of "
                              f"{', '.join(DATATYPES)}")
    expect_type(found[SHAPE], ARRAY, &place, "shape", "an array of sizes, such as [1,16]")
    if count_of(found[SHAPE]) > MAX_RANK:
        raise InvalidArgument(f"input '{shown_name(view)}': expected at most {<int>MAX_RANK} dimensions, got {count_of(found[SHAPE])}")
    view.rank = <int>count_of(found[SHAPE])
    value = found[SHAPE] + 1
    for axis in range(view.rank):
        if not is_count(value) or value.uni.u64 > <uint64_t>INT64_MAX:
            raise InvalidArgument(f"input '{shown_name(view)}': axis {axis} of its shape: expected a whole number of 0 or more, got "
                                  f"{shown_value(value)}")
        view.shape[axis] = value.uni.i64
        value += 1
    if found[TENSOR_PARAMETERS] != NULL:
        find_parameters(found[TENSOR_PARAMETERS], known, parameter_count, &place)
        if known[SHARED_MEMORY_REGION] != NULL:
            raise InvalidArgument(f"{shown_place(&place)}: shared memory (shared_memory_region) is not enabled; send the tensor's bytes")
        if known[BINARY_DATA_SIZE] != NULL:
            read_binary(request, view, known[BINARY_DATA_SIZE], &place, found[DATA] != NULL, used_nbytes)
            return NULL
    value = found[DATA]
    if value == NULL:
        raise InvalidArgument(f"{shown_place(&place)}: 'data' is missing; send an array, or bytes behind the JSON with the parameter "
                              "binary_data_size")
    if type_of(value) != ARRAY:
        raise InvalidArgument(f"input '{shown_name(view)}': 'data': expected an array, got {shown_value(value)}")
    if view.datatype == FP16 or view.datatype == BF16:
        raise InvalidArgument(f"{shown_place(&place)}: JSON has no {word_text(view.datatype)}; send the tensor as binary data (parameter "
                              "binary_data_size), or convert it")
    expected = element_count(view)
    if expected > behind(value) - value:            # before memory is taken for it
        reject_count(view, value)
    if view.datatype != BYTES:
        view.nbytes = expected * itemsize(view.datatype)
    elif behind(value) - value > MANY_VALUES:
        with nogil:
            view.nbytes = texts_nbytes(value)
    else:
        view.nbytes = texts_nbytes(value)
    return value


cdef int read_binary(RestRequest request, TensorView *view, const yyjson_val *size, const Place *place, bint has_data,
                     Py_ssize_t *used_nbytes) except -1:
    """An input whose bytes follow the JSON."""
    cdef Py_ssize_t left_nbytes = request.message.nbytes - used_nbytes[0]
    cdef int64_t nbytes = read_count(size, INT64_MAX, place, "binary_data_size")
    if has_data:
        raise InvalidArgument(f"{shown_place(place)}: 'data' and the parameter binary_data_size are both there; send one of them")
    if request.head.json_nbytes < 0:
        raise InvalidArgument(f"{shown_place(place)}: the parameter binary_data_size is there, and the header "
                              "Inference-Header-Content-Length is not; send the length of the JSON in it")
    if nbytes > left_nbytes:
        raise InvalidArgument(f"{shown_place(place)}: expected {nbytes} bytes behind the JSON (binary_data_size), got {left_nbytes}; send "
                              "all bytes of the tensors, in the order of inputs")
    view.data = request.message.data + used_nbytes[0]
    view.nbytes = nbytes
    used_nbytes[0] += nbytes
    return 0


cdef int pack(RestRequest request, const yyjson_val *id, const yyjson_val **datas, const yyjson_val *asked, int64_t packed_nbytes,
              int64_t text_nbytes, Py_ssize_t held_nbytes, int *parameter_count) except -1:
    """All that outlives the document, in one message: outputs asked for, texts, raw bytes of tensors. held_nbytes: charged to the request
    already."""
    cdef int64_t asked_nbytes = padded(request.asked_count * <int64_t>sizeof(Asked))
    cdef const yyjson_val *value
    cdef Elements elements
    cdef Turn turn
    cdef Turn *given = NULL
    cdef bint with_gil = request.message.nbytes <= NOGIL_NBYTES
    cdef TensorView *view
    cdef Text name
    cdef char *at
    cdef char *texts
    cdef int i
    request.packed = work_message(asked_nbytes + padded(text_nbytes) + packed_nbytes, request.message.share, held_nbytes)
    count_copied(packed_nbytes)
    request.asked = <Asked *>request.packed.data
    texts = request.packed.data + asked_nbytes
    at = texts + padded(text_nbytes)
    if not with_gil:
        memset(&turn, 0, sizeof(Turn))
        given = &turn
    for i in range(request.input_count):
        view = &request.inputs[i]
        if datas[i] != NULL:
            if with_gil:
                read_elements(datas[i], view.datatype, element_count(view), at, at + view.nbytes, NULL, &elements)
            else:
                with nogil:
                    read_elements(datas[i], view.datatype, element_count(view), at, at + view.nbytes, given, &elements)
            if elements.fault != 0:
                reject_elements(view, datas[i], &elements)
            view.data = at
            at += padded(view.nbytes)
        name = put_name(request, &texts, view.name, view.name_nbytes)
        view.name = request.packed.data + name.first
    if id != NULL:
        request.id_text = put_name(request, &texts, id.uni.str, count_of(id))
    if asked != NULL:
        value = asked + 1
        for i in range(request.asked_count):
            read_asked(request, &request.asked[i], value, &texts, parameter_count)
            value = behind(value)
    return 0


cdef int read_asked(RestRequest request, Asked *asked, const yyjson_val *tensor, char **texts, int *parameter_count) except -1:
    """An output that the request asks for."""
    cdef const yyjson_val *found[OUTPUT_KEYS]
    cdef const yyjson_val *known[KNOWN_PARAMETERS]
    cdef Place place = place_of(b"output", 0)
    find(tensor, TENSOR_WORDS, OUTPUT_KEYS, found, &place)
    place.name = text_of(found[NAME])
    asked.name = put_name(request, texts, found[NAME].uni.str, count_of(found[NAME]))
    asked.output = asked.classes = 0
    asked.binary = request.binary_output
    if found[TENSOR_PARAMETERS] != NULL:
        find_parameters(found[TENSOR_PARAMETERS], known, parameter_count, &place)
        if known[SHARED_MEMORY_REGION] != NULL:
            raise InvalidArgument(f"{shown_place(&place)}: shared memory (shared_memory_region) is not enabled; leave the parameter out "
                                  "and read the bytes from the response")
        asked.classes = <int>read_count(known[CLASSIFICATION], MAX_CLASSES, &place, "classification")
        read_flag(known[BINARY_DATA], &asked.binary, &place, "binary_data")
    return 0
