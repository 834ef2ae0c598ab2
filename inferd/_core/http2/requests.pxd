# requests: the bytes of a stream's messages become its requests: one of gRPC or of REST, or several of a stream.
# Never in here: frames, headers, responses.

from libc.stdint cimport uint8_t
from inferd._core.http2.stream cimport Http2Call

# Bytes of a call's messages have come. Those of a settled call are thrown away.
cdef void message_chunk(Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) noexcept
# The client has half-closed the stream: a unary call begins.
cdef void request_complete(Http2Call call) noexcept
# The headers of a streaming call have come: makes its Streamed.
cdef int open_streamed(Http2Call call, bytes authorization, bint errors_end) except -1
# Begins the requests of the backlog that are whole, as many as the stream and the turn may.
cdef int take_backlog(Http2Call call) except -1
# The error of a REST call whose body has so many bytes.
cdef body_too_large(Http2Call call, Py_ssize_t nbytes)
