# session: the server's side of HTTP/2 for one connection, sans-I/O (see session.pyx).

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.message cimport Share
from inferd._core.http2.headers cimport HeaderReader
from inferd._core.http2.keepalive_policy cimport KeepalivePolicy
from inferd._core.http2.low_water cimport LowWater
from inferd._core.http2.send_state cimport SendState
from inferd._core.http2.stall_policy cimport StallPolicy
from inferd._core.http2.stream cimport Http2Call

cdef class Session(SendState):
    cdef public object rejection        # a RequestError that every call of this connection is answered with, or None
    cdef PyObject *head                 # the list of live calls, borrowed: the streams hold the references
    cdef HeaderReader headers           # of requests, read into the call that is opening
    cdef readonly int64_t calls
    cdef Share share                    # of its messages in the memory for all, or None: all of it
    cdef uint32_t connection_id         # from 1 on; 0: its calls wait in order of arrival with all others
    cdef uint64_t received_nbytes
    cdef StallPolicy preface            # until the client has said that it speaks HTTP/2
    cdef StallPolicy responses          # of sent_nbytes
    cdef StallPolicy output             # of bytes that the transport got rid of
    cdef KeepalivePolicy keepalive
    cdef int64_t max_age_ns             # when it drains; 0: never
    cdef int32_t aged_stream_id         # the newest stream at the last call of age()
    cdef public LowWater low_water      # of the socket; None: it is always read as bytes come
    cdef Py_ssize_t missing_nbytes      # the least that a message lacks of those that the last bytes brought a piece of; 0: none
    cdef Py_ssize_t payload_nbytes      # of messages, in the present read
    cdef int64_t opened_streams         # streams that the client opened, rejected ones too, except streams that came after the last GOAWAY
    cdef bint greeted                   # the client's preface was right, settings included
    cdef int take(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    cdef bint is_too_much(self) noexcept
    cdef void end_flood(self) noexcept
    cdef void shutdown(self, bytes why) noexcept
    cdef void headers_complete(self, Http2Call call) noexcept
    cdef void message_chunk(self, Http2Call call, const uint8_t *chunk, Py_ssize_t nbytes) noexcept
    cdef void request_complete(self, Http2Call call) noexcept
    cdef void link(self, Http2Call call) noexcept
    cdef void unlink(self, Http2Call call) noexcept
