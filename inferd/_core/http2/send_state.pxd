# send_state: a connection as its calls know it: its state, and the way out. Flow, Polled, SendState, Session, http2's Connection and
# serving's Connection are the classes of one object, each derived from the one before.
# Never in here: frames that come, reads and writes of the socket.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from inferd._core.grpc.call cimport Call
from inferd._core.http2.flood_policy cimport FloodPolicy
from inferd._core.http2.nghttp2 cimport nghttp2_session
from inferd._core.http2.poller cimport Polled
from inferd._core.http2.server_state cimport ServerState

cdef enum State:                        # a connection's; send_state.pyx has the table of allowed transitions
    OPENING = 0                         # until the client's SETTINGS have come; over TLS, the handshake included
    OPEN = 1                            # from then on
    DRAINING = 2                        # GOAWAY was submitted, or will be after the TLS handshake. shutdown() passes through it, too
    CLOSING = 3                         # HTTP/2 is over; this turn or the next one frees its memory
    CLOSED = 4                          # its memory is free; its socket may linger

cdef class SendState(Polled):
    cdef nghttp2_session *session       # NULL before Session.open() and once CLOSED
    cdef readonly ServerState server    # shared by all connections
    cdef readonly State state
    cdef object write, close_transport  # for tests, of a connection without a socket: write(bytes), close_transport(); else None
    cdef public object rejection        # a RequestError: every call of this connection is rejected with it; or None
    cdef Py_ssize_t unread_nbytes       # bytes of responses that libnghttp2 has not taken: the client reads slowly, or not yet,
    cdef Py_ssize_t compressing_nbytes  # and those that a thread compresses
    cdef uint64_t sent_nbytes           # bytes of messages that libnghttp2 has taken
    cdef FloodPolicy flood              # counts control frames, PINGs and resets of the client
    cdef list resets_after_response     # ids of streams to be reset once their response has left, since the client still sends; or None
    cdef list resuming                  # streams of ModelStreamInfer whose backlog may be taken, now or in the next turn; or None
    cdef int64_t begun_requests         # requests of such streams that began, and how many may have begun at the end of this turn
    cdef int64_t most_begun_requests
    cdef bint receiving                 # inside nghttp2_session_mem_recv2
    cdef bint unfinished                # the last flush ended before the output did
    cdef void enter(self, State state) noexcept
    # nghttp2 may have something to send: schedules a flush. While bytes are received, `Session.take` does this afterwards.
    cdef void mark_dirty(self) noexcept
    # A stream's backlog may be taken, in this connection's next turn.
    cdef int resume_stream(self, Call call) except -1
    # Writes output, a turn's worth at most. When HTTP/2 is over, it ends the connection.
    cdef int write_output(self) except -1
    # Hands bytes to the transport. Bytes that it cannot send wait in `unsent`; while they do, nothing is taken from nghttp2.
    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    # Submits GOAWAY. libnghttp2 makes its own for errors that it finds, and when on_begin_frame (session.pyx) tells it to.
    # error: NGHTTP2_NO_ERROR in a drain. notice: the first one of a drain; streams that are on their way still open.
    cdef void goaway(self, int error, bytes why, bint notice) noexcept
    # Enters CLOSING: `unsent` still leaves, and libnghttp2's output is lost. The next turn calls release().
    cdef void finish(self) noexcept
    # The request of a call is wrong, or its method raised: the service makes the response, and the call's work is cancelled.
    cdef void reject(self, Call call, int32_t stream_id, error) noexcept
    # RST_STREAM(NO_ERROR) on a stream whose response is whole, once the response has left: nghttp2 sends nothing more on a stream whose
    # reset is queued.
    cdef void reset_after_response(self, int32_t stream_id) noexcept
    cdef void submit_resets(self) noexcept
    # Whether a response of that size may wait for the client to read it. If none waits, one of any size may.
    cdef bint has_room(self, Py_ssize_t nbytes) noexcept
    cdef unread_error(self, Py_ssize_t nbytes)
