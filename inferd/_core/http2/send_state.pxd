# send_state: HTTP/2 on one connection as its calls know it: the way out. Session derives from it.
# Never in here: frames that come, reads and writes of the socket.

from libc.stdint cimport int32_t, uint64_t
from inferd._core.http2.flood_policy cimport FloodPolicy
from inferd._core.http2.http2_state cimport Http2State
from inferd._core.http2.nghttp2 cimport nghttp2_session
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.stream_socket cimport StreamSocket

cdef class SendState(Protocol):
    cdef StreamSocket connection        # whose bytes these are; None before open() and after close(), so that no cycle lives on
    cdef Http2State server              # the connection's
    cdef nghttp2_session *session       # NULL at the same times
    cdef Py_ssize_t unread_nbytes       # bytes of responses that libnghttp2 has not taken: the client reads slowly, or not yet
    cdef uint64_t sent_nbytes           # bytes of messages that libnghttp2 has taken
    cdef FloodPolicy flood              # counts control frames, PINGs and resets of the client
    cdef list resets_after_response     # ids of streams to be reset once their response has left, since the client still sends; or None
    # Submits GOAWAY. libnghttp2 makes its own for errors that it finds, and when on_begin_frame (session.pyx) tells it to.
    # error: NGHTTP2_NO_ERROR in a drain. notice: the first one of a drain; streams that are on their way still open.
    cdef void goaway(self, int error, bytes why, bint notice) noexcept
    # RST_STREAM(NO_ERROR) on a stream whose response is whole, once the response has left: nghttp2 sends nothing more on a stream whose
    # reset is queued.
    cdef void reset_after_response(self, int32_t stream_id) noexcept
    cdef void submit_resets(self) noexcept
    # Whether a response of that size may wait for the client to read it. If none waits, one of any size may.
    cdef bint has_room(self, Py_ssize_t nbytes) noexcept
    cdef unread_error(self, Py_ssize_t nbytes)
