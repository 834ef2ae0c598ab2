# session: the server's side of HTTP/2 for one connection (see session.pyx).

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int32_t, int64_t
from inferd._core.http2.headers cimport HeaderReader
from inferd._core.net.keepalive_policy cimport KeepalivePolicy
from inferd._core.http2.send_state cimport SendState
from inferd._core.net.stall_policy cimport StallPolicy
from inferd._core.http2.stream cimport Http2Call

@cython.final
cdef class Session(SendState):
    cdef PyObject *head                 # the list of live calls, borrowed: the streams hold the references
    cdef HeaderReader headers           # reads the headers of a request into its call
    cdef StallPolicy responses          # whether the client reads messages: sent_nbytes
    cdef KeepalivePolicy keepalive      # when to send PING, and when to drain
    cdef int64_t now_ns                 # when the present turn began
    cdef int64_t max_age_ns             # it drains at this age; 0: never
    cdef int32_t seen_stream_id         # the newest stream when that step was last taken
    cdef int64_t opened_streams         # streams that the client opened, rejected ones too, except streams that came after the last GOAWAY
    cdef bint greeted                   # the client's preface has come, SETTINGS included
    # Shuts down a connection whose client breaks the flood policy. True: it did.
    cdef bint shutdown_if_flooding(self) noexcept
    cdef void shutdown_for_control_frames(self) noexcept
    # Submits GOAWAY with ENHANCE_YOUR_CALM and ends the connection: its calls are lost.
    cdef void shutdown(self, bytes why) noexcept
    # The headers of a call that is no method of gRPC's table: it is a REST call, unless its content type is gRPC's.
    cdef void foreign_complete(self, Http2Call call) noexcept
    # The headers of a gRPC call have come.
    cdef void headers_complete(self, Http2Call call) noexcept
    # The stream is open, and holds its call; the stream is closed.
    cdef void link(self, Http2Call call) noexcept
    cdef void unlink(self, Http2Call call) noexcept
