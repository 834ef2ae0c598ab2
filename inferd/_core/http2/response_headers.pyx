# cython: language_level=3
# response_headers: the HEADERS and trailers of gRPC's responses (see response_headers.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t

from inferd._core.grpc.call cimport percent_encode, status_details
from inferd._core.grpc.message cimport charge_bytes
from inferd._core.http2.nghttp2 cimport *

from inferd.errors import ResourceExhausted, Unimplemented

cdef inline nghttp2_nv constant_header(bytes name, bytes value):
    """A header over bytes objects that live as long as the module: nghttp2 need not copy them."""
    cdef nghttp2_nv header
    header.name = <uint8_t *>PyBytes_AS_STRING(name)
    header.namelen = PyBytes_GET_SIZE(name)
    header.value = <uint8_t *>PyBytes_AS_STRING(value)
    header.valuelen = PyBytes_GET_SIZE(value)
    header.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return header

cdef inline nghttp2_nv header(bytes name, bytes value):
    cdef nghttp2_nv result = constant_header(name, value)
    result.flags = NGHTTP2_NV_FLAG_NONE
    return result

# Names and values of headers; kept alive here, since nghttp2 holds only their addresses.
STATUS, OK_200, CONTENT_TYPE, GRPC, GRPC_STATUS, GRPC_OK = b":status", b"200", b"content-type", b"application/grpc", b"grpc-status", b"0"
GRPC_MESSAGE, GRPC_DETAILS, ACCEPT_ENCODING, ENCODINGS, ENCODING = (
    b"grpc-message", b"grpc-status-details-bin", b"grpc-accept-encoding", b"identity, deflate, gzip", b"grpc-encoding")

NO_WORDS = b"the text of this status found no room in the message memory of the server (message_memory_bytes)"

cdef nghttp2_nv RESPONSE_HEADERS[2]
RESPONSE_HEADERS[0] = constant_header(STATUS, OK_200)
RESPONSE_HEADERS[1] = constant_header(CONTENT_TYPE, GRPC)
cdef nghttp2_nv OK_TRAILERS[1]
OK_TRAILERS[0] = constant_header(GRPC_STATUS, GRPC_OK)


cdef void submit_headers(nghttp2_session *session, int32_t stream_id, bytes encoding, nghttp2_data_provider2 *provider) noexcept:
    cdef nghttp2_nv headers[3]
    if encoding is None:
        nghttp2_submit_response2(session, stream_id, RESPONSE_HEADERS, 2, provider)
        return
    headers[0] = RESPONSE_HEADERS[0]
    headers[1] = RESPONSE_HEADERS[1]
    headers[2] = constant_header(ENCODING, encoding)
    nghttp2_submit_response2(session, stream_id, headers, 3, provider)


cdef Py_ssize_t submit_status(nghttp2_session *session, int32_t stream_id, error) except -1:
    cdef nghttp2_nv headers[6]
    cdef size_t count = 4
    cdef bytes code = b"%d" % error.code
    cdef bytes text = percent_encode(str(error))
    cdef bytes details = status_details(error)
    cdef Py_ssize_t words_nbytes = PyBytes_GET_SIZE(text) + PyBytes_GET_SIZE(details)
    try:
        charge_bytes(words_nbytes, None, 0)     # nghttp2 keeps a copy until the client reads it. The share may be full
    except ResourceExhausted:
        text, details, words_nbytes = NO_WORDS, b"", 0
    headers[0] = RESPONSE_HEADERS[0]
    headers[1] = RESPONSE_HEADERS[1]
    headers[2] = header(GRPC_STATUS, code)
    headers[3] = constant_header(GRPC_MESSAGE, text) if text is NO_WORDS else header(GRPC_MESSAGE, text)
    if details:
        headers[count] = header(GRPC_DETAILS, details)
        count += 1
    if isinstance(error, Unimplemented) and error.reason == "compression":
        headers[count] = constant_header(ACCEPT_ENCODING, ENCODINGS)
        count += 1
    nghttp2_submit_response2(session, stream_id, headers, count, NULL)
    return words_nbytes


cdef void submit_trailers(nghttp2_session *session, int32_t stream_id, error) noexcept:
    cdef nghttp2_nv trailers[3]
    cdef size_t count = 2
    cdef bytes code, text, details
    if error is None:
        nghttp2_submit_trailer(session, stream_id, OK_TRAILERS, 1)
        return
    code = b"%d" % error.code
    text = percent_encode(str(error))
    details = status_details(error)
    trailers[0] = header(GRPC_STATUS, code)
    trailers[1] = header(GRPC_MESSAGE, text)
    if details:
        trailers[2] = header(GRPC_DETAILS, details)
        count = 3
    nghttp2_submit_trailer(session, stream_id, trailers, count)
