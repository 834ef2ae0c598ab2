# cython: language_level=3, boundscheck=False, wraparound=False
# infer_response: the outputs of a run as a ModelInferResponse (see infer_response.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from inferd._core.batching.request cimport Request
from inferd._core.codec.outputs cimport MAX_RESPONSE_NBYTES, Part, check_run, cut_part, fill_part, not_promised, too_large
from inferd._core.codec.wire cimport Bytes, field_nbytes, put_bytes, put_head, put_varint, varint_nbytes
from inferd._core.grpc.message cimport Message, count_copied, new_message
from inferd._core.tensor.datatypes cimport BYTES
from inferd._core.tensor.signature cimport Signature
from inferd._core.tensor.tensor cimport Tensors
from inferd._core.tensor.view cimport MAX_RANK, MAX_TENSORS, ArrayView

cdef enum:
    NOGIL_NBYTES = 65536        # copies above this size release the GIL


cdef struct Tensor:             # the InferOutputTensor of one output
    Part part
    Py_ssize_t shape_nbytes     # of the packed shape
    Py_ssize_t nbytes


cdef inline void measure_tensor(Tensor *tensor, int64_t rows, bint batched) noexcept nogil:
    cdef const Part *part = &tensor.part
    cdef int axis
    tensor.shape_nbytes = 0
    for axis in range(part.view.rank):
        tensor.shape_nbytes += varint_nbytes(<uint64_t>(rows if axis == 0 and batched else part.shape[axis]))
    tensor.nbytes = field_nbytes(part.spec.name_nbytes) + field_nbytes(part.word_nbytes)
    if part.view.rank > 0:
        tensor.nbytes += field_nbytes(tensor.shape_nbytes)


cdef uint8_t *put_tensor(uint8_t *at, const Tensor *tensor, bint batched, int64_t rows) noexcept nogil:
    cdef const Part *part = &tensor.part
    cdef int axis
    at = put_head(at, 5, tensor.nbytes)
    at = put_bytes(at, 1, part.spec.name, part.spec.name_nbytes)
    at = put_bytes(at, 2, part.word, part.word_nbytes)
    if part.view.rank > 0:
        at = put_head(at, 3, tensor.shape_nbytes)
        for axis in range(part.view.rank):
            at = put_varint(at, <uint64_t>(rows if axis == 0 and batched else part.shape[axis]))
    return at


cdef inline uint8_t *put_raw(uint8_t *at, const char *data, Py_ssize_t nbytes) noexcept:
    """The raw bytes of one output. Many are copied without the GIL."""
    at = put_head(at, 6, nbytes)
    if nbytes > NOGIL_NBYTES:
        with nogil:
            memcpy(at, data, nbytes)
    else:
        memcpy(at, data, nbytes)
    return at + nbytes


cdef inline uint8_t *put_pieces(uint8_t *at, const Part *part, int64_t rows) noexcept:
    """The same for an output of which a part of each row is cut off."""
    cdef Py_ssize_t nbytes, stride_nbytes, i
    at = put_head(at, 6, part.nbytes)
    with nogil:
        nbytes = part.nbytes // part.pieces
        stride_nbytes = rows * part.view.row_nbytes // part.pieces
        for i in range(part.pieces):
            memcpy(at + i * nbytes, part.data + i * stride_nbytes, nbytes)
    return at + part.nbytes


@cython.final
@cython.no_gc
cdef class ResponseHead:
    """How the responses of so many rows of one run's outputs begin, the client's id aside. Taken from the first of them, where there is
    a batch axis and it has all outputs, of fixed size and not cut."""

    cdef Signature signature
    cdef int64_t rows
    cdef bytes names            # the model's name and version, and the arm
    cdef bytes arm              # as the signature had it
    cdef bytes parts            # the InferOutputTensors


cdef int keep_head(Signature signature, Tensors outputs, int64_t rows, const char *response, const char *parts, const char *raws) except -1:
    """The head of a response whose parts and raw contents begin there."""
    cdef ResponseHead head
    cdef int i
    for i in range(outputs.count):
        if outputs.views[i].datatype == BYTES:
            return 0
    if signature.output_cuts != NULL or not outputs.batched:
        return 0
    head = ResponseHead.__new__(ResponseHead)
    head.signature, head.rows = signature, rows
    head.arm = signature.arm
    head.names = response[:field_nbytes(PyBytes_GET_SIZE(signature.model_name)) + field_nbytes(PyBytes_GET_SIZE(signature.model_version))
                          + (PyBytes_GET_SIZE(head.arm) if head.arm is not None else 0)]
    head.parts = parts[:raws - parts]
    outputs.response_head = head
    return 0


cdef Message encode_alike(Request request, const Bytes *id, Tensors outputs, int64_t first_row, ResponseHead head):
    """`encode_all` for a response that begins like another one."""
    cdef Py_ssize_t names_nbytes = PyBytes_GET_SIZE(head.names)
    cdef Py_ssize_t parts_nbytes = PyBytes_GET_SIZE(head.parts)
    cdef Py_ssize_t total = names_nbytes + parts_nbytes
    cdef const ArrayView *view
    cdef Message response
    cdef uint8_t *at
    cdef int i
    if id.nbytes > 0:
        total += field_nbytes(id.nbytes)
    for i in range(outputs.count):
        view = &outputs.views[i]
        if first_row + head.rows > view.shape[0]:
            raise not_promised(request.signature, i)
        total += field_nbytes(head.rows * view.row_nbytes)
    if total > MAX_RESPONSE_NBYTES:
        raise too_large(request.signature, total)
    response = new_message(total)
    at = <uint8_t *>response.data
    memcpy(at, PyBytes_AS_STRING(head.names), names_nbytes)
    at += names_nbytes
    if id.nbytes > 0:
        at = put_bytes(at, 3, id.data, id.nbytes)
    memcpy(at, PyBytes_AS_STRING(head.parts), parts_nbytes)
    at += parts_nbytes
    for i in range(outputs.count):
        view = &outputs.views[i]
        at = put_raw(at, view.data + first_row * view.row_nbytes, head.rows * view.row_nbytes)
    return response


cdef Message appended(Message response, Signature signature):
    cdef Py_ssize_t nbytes = PyBytes_GET_SIZE(signature.provenance)
    cdef Message whole
    if response.nbytes + nbytes > MAX_RESPONSE_NBYTES:
        raise too_large(signature, response.nbytes + nbytes)
    whole = new_message(response.nbytes + nbytes)
    count_copied(response.nbytes)
    memcpy(whole.data, response.data, response.nbytes)
    memcpy(whole.data + response.nbytes, PyBytes_AS_STRING(signature.provenance), nbytes)
    return whole


cdef Message encode_all(Request request, const Bytes *id, Tensors outputs, int64_t first_row):
    cdef ResponseHead head = outputs.response_head
    if head is not None and head.signature is request.signature and head.rows == request.entry.rows and outputs.batched \
            and head.arm is request.signature.arm and first_row >= 0:
        return encode_alike(request, id, outputs, first_row, head)
    return encode_asked(request, id, NULL, 0, outputs, first_row)


cdef Message encode_asked(Request request, const Bytes *id, const int *asked, int asked_count, Tensors outputs, int64_t first_row):
    """A message of exactly the response's size: one copy of each output's rows."""
    cdef Signature signature = request.signature
    cdef Tensor tensors[MAX_TENSORS]
    cdef Part *part
    cdef int64_t rows = request.entry.rows if outputs.batched else 1
    cdef int count = asked_count if asked_count > 0 else signature.output_count
    cdef Py_ssize_t name_nbytes = PyBytes_GET_SIZE(signature.model_name)
    cdef Py_ssize_t version_nbytes = PyBytes_GET_SIZE(signature.model_version)
    cdef Py_ssize_t arm_nbytes = PyBytes_GET_SIZE(signature.arm) if signature.arm is not None else 0
    cdef Py_ssize_t total = field_nbytes(name_nbytes) + field_nbytes(version_nbytes) + arm_nbytes
    cdef Message response
    cdef uint8_t *at
    cdef uint8_t *parts_at
    cdef bytes shapes = None            # of outputs that are cut, MAX_RANK sizes each
    cdef int i
    check_run(signature, outputs, first_row)
    if id.nbytes > 0:
        total += field_nbytes(id.nbytes)
    for i in range(count):
        part = &tensors[i].part
        fill_part(part, signature, outputs, asked[i] if asked_count > 0 else i, first_row, rows)
        if signature.output_cuts != NULL and outputs.batched:
            if shapes is None:
                shapes = PyBytes_FromStringAndSize(NULL, count * MAX_RANK * sizeof(int64_t))
            cut_part(part, request, <int64_t *>PyBytes_AS_STRING(shapes) + i * MAX_RANK)
        measure_tensor(&tensors[i], rows, outputs.batched)
        total += field_nbytes(tensors[i].nbytes) + field_nbytes(part.nbytes)
    if total > MAX_RESPONSE_NBYTES:
        raise too_large(signature, total)
    response = new_message(total)
    at = put_bytes(<uint8_t *>response.data, 1, PyBytes_AS_STRING(signature.model_name), name_nbytes)
    at = put_bytes(at, 2, PyBytes_AS_STRING(signature.model_version), version_nbytes)
    if arm_nbytes > 0:
        memcpy(at, PyBytes_AS_STRING(signature.arm), arm_nbytes)
        at += arm_nbytes
    if id.nbytes > 0:
        at = put_bytes(at, 3, id.data, id.nbytes)
    parts_at = at
    for i in range(count):
        at = put_tensor(at, &tensors[i], outputs.batched, rows)
    if asked_count <= 0:
        keep_head(signature, outputs, rows, response.data, <const char *>parts_at, <const char *>at)
    for i in range(count):
        part = &tensors[i].part
        at = put_raw(at, part.data, part.nbytes) if part.pieces == 0 else put_pieces(at, part, rows)
    return response
