# cython: language_level=3, boundscheck=False, wraparound=False
# stream_response: ModelStreamInferResponse (see stream_response.pxd).

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from inferd._core.base.utf8 cimport is_utf8
from inferd._core.codec.fields cimport Fields, read_fields
from inferd._core.codec.wire cimport Bytes, Reader, field_nbytes, open_reader, put_bytes, put_head, varint_nbytes
from inferd._core.grpc.message cimport Message, new_message

cdef enum:
    FINAL_NBYTES = 29           # of FINAL. With the head of the message, and gRPC's prefix, it fits HEADROOM_NBYTES

# ModelInferResponse.parameters["triton_final_response"] = true, as in each response of Triton to a model that gives one response a request.
cdef const char *FINAL = b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01"


cdef Message wrap_response(Message response):
    cdef Py_ssize_t nbytes = response.nbytes + FINAL_NBYTES
    cdef Py_ssize_t head_nbytes = 1 + varint_nbytes(nbytes)
    response.data -= FINAL_NBYTES
    memcpy(response.data, FINAL, FINAL_NBYTES)
    response.data -= head_nbytes
    put_head(<uint8_t *>response.data, 2, nbytes)
    response.nbytes = head_nbytes + nbytes
    return response


cdef Message reject_response(Message request, str text):
    cdef bytes words = text.encode("utf-8", "replace")
    cdef Bytes name, id
    cdef Reader reader
    cdef Fields fields
    cdef Py_ssize_t inner_nbytes = FINAL_NBYTES
    cdef Message response
    cdef uint8_t *at
    open_reader(&reader, request.data, request.nbytes)
    read_fields(&reader, &fields)       # of a malformed message, those before the fault
    name, id = fields.model_name, fields.id
    for_utf8(&name)
    for_utf8(&id)
    if name.nbytes > 0:
        inner_nbytes += field_nbytes(name.nbytes)
    if id.nbytes > 0:
        inner_nbytes += field_nbytes(id.nbytes)
    response = new_message(field_nbytes(len(words)) + field_nbytes(inner_nbytes))
    at = put_bytes(<uint8_t *>response.data, 1, words, len(words))
    at = put_head(at, 2, inner_nbytes)
    memcpy(at, FINAL, FINAL_NBYTES)
    at += FINAL_NBYTES
    if name.nbytes > 0:
        at = put_bytes(at, 1, name.data, name.nbytes)
    if id.nbytes > 0:
        at = put_bytes(at, 3, id.data, id.nbytes)
    return response


cdef void for_utf8(Bytes *text) noexcept:
    """A string that is not UTF-8 is left out."""
    if not is_utf8(text.data, text.nbytes):
        text.nbytes = 0
