# cython: language_level=3, boundscheck=False, wraparound=False
# json_fault: what a client is told about a body of JSON that cannot be read (see json_fault.pxd).

from libc.stdint cimport INT64_MAX, int64_t

from inferd._core.codec.contents cimport element_count
from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.message cimport Message
from inferd._core.rest.elements cimport MAX_NESTING, OUT_OF_RANGE, TOO_DEEP, WRONG_COUNT, Elements
from inferd._core.rest.yyjson cimport (
    ARRAY, FALSE, OBJECT, OUT_OF_MEMORY, REAL, SIGNED, STRING, TRUE, UNSIGNED, behind, kind_of, text_of, type_of, yyjson_read_err,
    yyjson_val,
)
from inferd._core.tensor.datatypes cimport BOOL, BYTES, FP32, FP64
from inferd._core.tensor.shown cimport shown, shown_name, shown_range, shown_shape, shown_tensor, word_text
from inferd._core.tensor.view cimport TensorView

from inferd.errors import Internal, InvalidArgument, NoInputs


cdef str shown_place(const Place *place):
    what = place.what.decode()
    if place.name.data != NULL:
        return f"{what} '{shown(place.name.data, place.name.nbytes)}'"
    return what if place.index < 0 else f"{what} {place.index}"


cdef int reject_json(Message body, Py_ssize_t json_nbytes, const yyjson_read_err *error) except -1:
    cdef Bytes word
    if error.code == OUT_OF_MEMORY:
        raise Internal("request body: the memory for its JSON was estimated too small; this is a fault of the server")
    if json_nbytes == 0:
        raise InvalidArgument('request body: expected JSON, {"inputs": [...]}, got nothing')
    word.data = body.data + min(<Py_ssize_t>error.pos, json_nbytes)
    word.nbytes = min(json_nbytes - (word.data - body.data), <Py_ssize_t>9)
    text = word.data[:word.nbytes].lower().lstrip(b"+-")
    if text.startswith((b"nan", b"inf")):
        raise NoInputs(f"request body: byte {error.pos}: JSON has no NaN and no Infinity; send the tensor as binary data "
                       "(parameter binary_data_size), which has them")
    said = error.msg.decode()
    if said.startswith("number is infinity"):
        raise InvalidArgument(f"request body: byte {error.pos}: a number is larger than FP64 holds (1.7976931348623157e+308); send it as "
                              "binary data (parameter binary_data_size) if it is to be Infinity")
    raise NoInputs(f"request body: malformed JSON at byte {error.pos}: {said}")


cdef str shown_value(const yyjson_val *value):
    cdef Bytes text
    if type_of(value) == STRING:
        text = text_of(value)
        return f'"{shown(text.data, text.nbytes)}"'
    if kind_of(value) == UNSIGNED:
        return str(value.uni.u64)
    if kind_of(value) == SIGNED:
        return str(value.uni.i64)
    if kind_of(value) == REAL:
        return repr(value.uni.f64)
    return {TRUE: "true", FALSE: "false", ARRAY: "an array", OBJECT: "an object"}.get(kind_of(value), "null")


cdef int reject_count(const TensorView *view, const yyjson_val *data) except -1:
    cdef const yyjson_val *value = data
    cdef const yyjson_val *end = behind(data)
    cdef int64_t count = 0
    with nogil:
        while value < end:
            count += type_of(value) != ARRAY
            value = value + 1 if type_of(value) == ARRAY else behind(value)
    if element_count(view) == INT64_MAX:
        raise InvalidArgument(f"input '{shown_name(view)}': expected a shape of fewer than 2^63 elements, got "
                              f"{shown_shape(view.shape, view.rank)} and {count} in 'data'; send the shape that they have")
    raise InvalidArgument(f"input '{shown_name(view)}': expected the {element_count(view)} elements of "
                          f"{shown_tensor(view.datatype, view.shape, view.rank)} in 'data', got {count}; send as many elements as the "
                          "shape says")


cdef int reject_elements(const TensorView *view, const yyjson_val *data, const Elements *found) except -1:
    cdef str word = word_text(view.datatype)
    cdef str where = f"input '{shown_name(view)}': element {found.count}"
    if found.fault == WRONG_COUNT:
        reject_count(view, data)
    if found.fault == TOO_DEEP:
        raise InvalidArgument(f"input '{shown_name(view)}': 'data' has more than {<int>MAX_NESTING} arrays inside each other; send it flat")
    got = shown_value(found.value)
    if found.fault == OUT_OF_RANGE:
        holds = "-3.4028235e+38 to 3.4028235e+38" if view.datatype == FP32 else shown_range(view.datatype)
        raise InvalidArgument(f"{where}: {word} holds {holds}, got {got}")
    if view.datatype == BYTES:
        raise InvalidArgument(f"{where}: expected a string, got {got}; send other bytes as binary data (parameter binary_data_size)")
    if view.datatype == BOOL:
        raise InvalidArgument(f"{where}: expected true or false, got {got}")
    if view.datatype == FP32 or view.datatype == FP64:
        raise InvalidArgument(f"{where}: expected a number, got {got}; NaN and Infinity travel only as binary data (parameter "
                              "binary_data_size)")
    raise InvalidArgument(f"{where}: expected a whole number without fraction and exponent for {word}, got {got}")
