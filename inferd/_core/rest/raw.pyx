# cython: language_level=3, boundscheck=False, wraparound=False
"""raw: requests by REST whose tensors are there already: a body of raw bytes, or what was made of a file (see raw.pxd)."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from inferd._core.codec.infer cimport Text
from inferd._core.grpc.message cimport Message, fits_budget, new_message, work_message
from inferd._core.http.head cimport Head
from inferd._core.rest.request cimport RestRequest, padded, put_name
from inferd._core.tensor.datatypes cimport BYTES, datatype_of, itemsize
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.view cimport MAX_RANK, TensorSpec, TensorView

from inferd.errors import InvalidArgument, ResourceExhausted


cdef enum:
    NOGIL_NBYTES = 1 << 20              # longer content is copied without the GIL


def memory_to_read(Message body not None, Py_ssize_t nbytes):
    try:
        return work_message(nbytes, body.share, body.charged_nbytes)
    except ResourceExhausted:
        if fits_budget(body.nbytes + nbytes):
            raise
    raise ResourceExhausted(
        f"request body: to read {body.nbytes} bytes of this Content-Type takes {nbytes} bytes of memory for a moment, more than this "
        "server ever has for one request (message_memory_bytes); split the request", reason="message_size")


cdef int64_t nbytes_of(data) except -1:
    if isinstance(data, list):
        return sum([4 + memoryview(value).nbytes for value in data])
    return memoryview(data).nbytes


cdef int put_content(char *at, data) except -1:
    cdef const unsigned char[::1] content
    cdef Py_ssize_t nbytes
    cdef uint32_t length
    if isinstance(data, list):
        for value in data:
            length = <uint32_t>memoryview(value).nbytes
            memcpy(at, &length, 4)
            put_content(at + 4, value)
            at += 4 + length
        return 0
    nbytes = memoryview(data).nbytes
    if nbytes > 0:
        content = memoryview(data).cast("B")
        if nbytes > NOGIL_NBYTES:
            with nogil:
                memcpy(at, &content[0], nbytes)
        else:
            memcpy(at, &content[0], nbytes)
    return 0


def request_of_tensors(tensors not None, Head head not None, bytes id=b"", bint binary_output=False):
    """A request that did not come as JSON: (name, datatype word, shape, content) of each input. content: its raw bytes, or of BYTES a list
    of values; all are bytes-like. The response has all outputs, as JSON unless binary_output. Raises InvalidArgument or ValueError."""
    cdef RestRequest request = RestRequest.__new__(RestRequest)
    cdef TensorView *view
    cdef Text text
    cdef char *at
    cdef char *texts
    cdef int64_t nbytes = 0
    cdef int64_t text_nbytes = len(id)
    cdef int i, axis
    cdef bytes name, word
    request.head, request.binary_output = head, binary_output
    request.reserve_inputs(<int>len(tensors))
    for each in tensors:
        nbytes = padded(nbytes) + nbytes_of(each[3])
        text_nbytes += len(each[0].encode())
    request.packed = new_message(padded(text_nbytes) + nbytes)
    texts = request.packed.data
    at = texts + padded(text_nbytes)
    for i, (tensor_name, tensor_word, shape, data) in enumerate(tensors):
        view = &request.inputs[i]
        name, word = tensor_name.encode(), tensor_word.encode()
        if len(shape) > MAX_RANK:
            raise ValueError(f"expected at most {<int>MAX_RANK} dimensions, got {len(shape)}")
        text = put_name(request, &texts, name, len(name))
        view.name, view.name_nbytes = request.packed.data + text.first, text.nbytes
        view.datatype = datatype_of(word, len(word))
        view.rank = <int>len(shape)
        for axis in range(view.rank):
            view.shape[axis] = shape[axis]
        view.data, view.nbytes = at, nbytes_of(data)
        put_content(at, data)
        at += padded(view.nbytes)
    request.id_text = put_name(request, &texts, id, len(id))
    return request


cdef RestRequest request_of_body(Message body, Head head, Signature signature):
    cdef RestRequest request = RestRequest.__new__(RestRequest)
    cdef const TensorSpec *spec = &signature.inputs[0]
    cdef Py_ssize_t known_nbytes = itemsize(spec.datatype)
    cdef uint32_t length = <uint32_t>body.nbytes
    cdef TensorView *view
    cdef int axis
    cdef int open_axis = -1             # the one of any size
    if signature.input_count != 1:
        raise InvalidArgument(f"model '{signature.model_name.decode()}': a body of raw bytes (Inference-Header-Content-Length: 0) is for "
                              f"models of one input, this one has {signature.input_count}; send the lengths of "
                              "tensors as JSON in front of them")
    request.head, request.message, request.binary_output = head, body, True
    request.reserve_inputs(1)
    view = request.inputs
    view.name, view.name_nbytes, view.datatype, view.rank = spec.name, spec.name_nbytes, spec.datatype, spec.rank
    view.data, view.nbytes = body.data, body.nbytes
    for axis in range(spec.rank):
        view.shape[axis] = 1
        if axis == 0 and signature.max_batch_size > 0:
            continue
        if spec.shape[axis] >= 0:
            view.shape[axis] = spec.shape[axis]
            known_nbytes *= max(spec.shape[axis], <int64_t>1)
        elif spec.datatype != BYTES and open_axis >= 0:
            raise InvalidArgument(f"model '{signature.model_name.decode()}': its input has several axes of any size, which raw bytes "
                                  "(Inference-Header-Content-Length: 0) do not tell; send its shape as JSON in front of them")
        else:
            open_axis = axis
    if spec.datatype == BYTES:          # one text
        request.packed = new_message(4 + body.nbytes, body.share)
        memcpy(request.packed.data, &length, 4)
        memcpy(request.packed.data + 4, body.data, body.nbytes)
        view.data, view.nbytes = request.packed.data, 4 + body.nbytes
    elif open_axis >= 0:
        view.shape[open_axis] = body.nbytes // known_nbytes
    return request
