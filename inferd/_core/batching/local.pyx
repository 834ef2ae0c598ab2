# cython: language_level=3
"""local: a request that was never on a wire. numpy arrays in, numpy arrays out, batched with all others.

The embedded engine and the CLI's one-off mode make these. Never in here: protobuf, transports, waiting.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from inferd._core.batching.request cimport Request
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, TensorView

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import Internal, InvalidArgument


cdef class LocalRequest(Request):
    """One inference over numpy arrays.

    `tensors`: (name, datatype word, array) of each input, in any order. Arrays have any layout and the datatype's numpy type (BF16: uint16
    or ml_dtypes.bfloat16; BYTES: objects that are bytes or str). `outputs`: names of the wanted outputs, none for all.
    Arrays are read until the request has its response, or is cancelled. The response is a dict of fresh arrays by output name;
    BYTES are objects that are bytes, as from a server.
    Raises InvalidArgument.
    """

    cdef list kept              # bytes and arrays that the views point into
    cdef tuple wanted           # names of the outputs that were asked for; empty: all

    def __init__(self, tensors, outputs=()):
        cdef TensorView *view
        cdef const unsigned char[::1] memory
        cdef Py_ssize_t index = 0
        cdef int axis
        self.kept = []
        self.wanted = tuple(outputs)
        if len(tensors) > MAX_TENSORS:
            raise InvalidArgument(f"{len(tensors)} inputs were given; a request has {MAX_TENSORS} at most")
        self.reserve_inputs(len(tensors))
        for name, word, array in tensors:
            if array.ndim > MAX_RANK:
                raise InvalidArgument(f"input {name!r} has {array.ndim} dimensions; {MAX_RANK} is the most: reshape it")
            key = _encoded(name, name)
            contents = _serialized(name, array) if word == "BYTES" else np.ascontiguousarray(array)
            self.kept.append(key)
            self.kept.append(contents)
            view = &self.inputs[index]
            memset(view, 0, sizeof(TensorView))
            view.name = key
            view.name_nbytes = len(key)
            view.datatype = DATATYPES[word][0]
            view.rank = array.ndim
            for axis in range(array.ndim):
                view.shape[axis] = array.shape[axis]
            if word == "BYTES":
                view.nbytes = len(contents)
                view.data = <const char *>(<bytes>contents)
            elif contents.nbytes:
                memory = contents.reshape(-1).view(np.uint8)
                view.nbytes = memory.shape[0]
                view.data = <const char *>&memory[0]
            else:
                view.data = key         # any address will do for no bytes
            index += 1

    cpdef check(self, Signature signature):
        Request.check(self, signature)
        for name in self.wanted:
            if name not in signature.output_names:
                known = ", ".join(signature.output_names)
                raise InvalidArgument(f"output {name!r} is not one of the model's outputs, which are: {known}")

    cpdef encode(self, Tensors outputs, Py_ssize_t first_row):
        cdef dict response = {}
        cdef Py_ssize_t end = first_row + self.entry.rows
        cdef int index = 0
        for name in self.signature.output_names:
            if not self.wanted or name in self.wanted:
                array = outputs.arrays[index]
                if outputs.batched:
                    array = array[first_row:end]
                if self.signature.output_cuts != NULL and self.signature.output_cuts[index].axis > 0:
                    array = _cut(self, array, index)
                response[name] = _texts(array) if array.dtype == object else array.copy()
            index += 1
        self.response = response


cdef object _cut(LocalRequest request, object array, int index):
    """An output with the padded axis of the run: its response has the request's own length of that."""
    cdef int axis = request.signature.output_cuts[index].axis
    cdef int64_t size = request.signature.cut_length(index, request.inputs)
    if axis >= array.ndim or size > array.shape[axis]:
        raise Internal(f"model '{request.signature.model_name.decode()}': output '{request.signature.output_names[index]}' is not as long "
                       "as its input; remove its cut from the padding in the model's configuration")
    first = array.shape[axis] - size if request.signature.cut_left(index) else 0
    return array[(slice(None),) * axis + (slice(first, first + size),)]


cdef object _texts(object array):
    """BYTES as clients get them: ONNX Runtime makes str of its texts."""
    texts = np.empty(array.shape, object)
    flat = texts.reshape(-1)
    for index, text in enumerate(array.reshape(-1).tolist()):
        flat[index] = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return texts


cdef bytes _encoded(str name, str text):
    """A text of the input `name`, or the name itself."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(
            f"input {name!r:.100}: {text!r:.100} holds half a surrogate pair, which is no text: send bytes of UTF-8") from None


cdef bytes _serialized(str name, object array):
    """BYTES on the wire: every element behind its 4-byte little-endian length."""
    parts = []
    for element in array.reshape(-1).tolist():
        if isinstance(element, str):
            element = _encoded(name, element)
        elif not isinstance(element, (bytes, bytearray, memoryview)):
            raise InvalidArgument(f"input {name!r} takes text: elements must be str or bytes, not {type(element).__name__}")
        parts.append(len(element).to_bytes(4, "little"))
        parts.append(bytes(element))
    return b"".join(parts)
