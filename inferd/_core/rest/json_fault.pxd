# json_fault: what a client is told about a body of JSON that cannot be read. The rejections raise InvalidArgument; Internal where
# the memory of the JSON was estimated too small. Never in here: reading it.

from inferd._core.codec.wire cimport Bytes
from inferd._core.grpc.message cimport Message
from inferd._core.rest.elements cimport Elements
from inferd._core.rest.yyjson cimport yyjson_read_err, yyjson_val
from inferd._core.tensor.view cimport TensorView

cdef struct Place:              # where in a body something is, for error messages
    const char *what
    int index                   # of a tensor; -1: it is none
    Bytes name                  # of a tensor; NULL: not known yet

cdef str shown_place(const Place *place)
# A JSON value in an error message.
cdef str shown_value(const yyjson_val *value)
cdef int reject_json(Message body, Py_ssize_t json_nbytes, const yyjson_read_err *error) except -1
# `data` has not as many elements as the shape says.
cdef int reject_count(const TensorView *view, const yyjson_val *data) except -1
cdef int reject_elements(const TensorView *view, const yyjson_val *data, const Elements *found) except -1


cdef inline Place place_of(const char *what, int index) noexcept nogil:
    cdef Place place
    place.what, place.index, place.name.data, place.name.nbytes = what, index, NULL, 0
    return place
