# send_state: one connection as its calls know it: its state, and the way out. A Session is one.
# Never in here: what a client sends, sockets.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from inferd._core.grpc.call cimport Call
from inferd._core.http2.flood_policy cimport FloodPolicy
from inferd._core.http2.nghttp2 cimport nghttp2_session
from inferd._core.http2.poller cimport Polled
from inferd._core.http2.server_state cimport ServerState

cdef enum State:                        # of a connection; send_state.pyx has the table of what may follow what
    OPENING = 0                         # made; by TLS, in its handshake
    OPEN = 1                            # the client has said that it speaks HTTP/2
    DRAINING = 2                        # GOAWAY was said, or will be when TLS has made its handshake; calls go on to their end
    CLOSING = 3                         # HTTP/2 is over, and this turn or the next one frees it
    CLOSED = 4                          # nothing is left of it but, perhaps, a lingering close

cdef class SendState(Polled):
    cdef nghttp2_session *session       # NULL before open() and once CLOSED
    cdef readonly ServerState server
    cdef readonly State state
    cdef object write, close_transport  # of a transport that is no socket of ours: write(bytes), close_transport(); else None
    cdef Py_ssize_t unread_nbytes       # responses that wait for the client to take them
    cdef Py_ssize_t compressing_nbytes  # and those that a thread compresses
    cdef uint64_t sent_nbytes           # of messages, taken by nghttp2
    cdef FloodPolicy floods             # what the client sends that asks for nothing
    cdef list uploads                   # streams whose response is whole while the client still sends, or None
    cdef bint receiving                 # inside nghttp2_session_mem_recv2
    cdef bint blocked                   # the transport takes no more for now
    cdef bint unfinished                # the last flush ended before the output did
    cdef void enter(self, State state) noexcept
    # nghttp2 may have something to send: flush() is called at the end of the loop's present iteration, or what receives looks itself.
    cdef void mark_dirty(self) noexcept
    # A turn's worth at most. HTTP/2 that is over ends the connection.
    cdef int write_output(self) except -1
    # Hands bytes to the transport, which keeps what it cannot send, and is `blocked` then.
    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    # The one place where we build GOAWAY; libnghttp2 builds its own for errors that it finds. error: NGHTTP2_NO_ERROR in a drain.
    # notice: the first of a drain's two, for streams under way.
    cdef void goaway(self, int error, bytes why, bint notice) noexcept
    # HTTP/2 is over: what is written leaves, and then the connection.
    cdef void finish(self) noexcept
    # A call that has raised while its request came gets a response, which the service makes. Its request is cancelled.
    cdef void reject(self, Call call, int32_t stream_id, error) noexcept
    # RST_STREAM(NO_ERROR) on a stream whose response is whole, once the response has left: nghttp2 sends nothing more on a stream whose
    # reset is queued.
    cdef void stop_upload(self, int32_t stream_id) noexcept
    cdef void stop_uploads(self) noexcept
    # Whether a response of that size may wait for the client to read it. One may always, or it could never be given.
    cdef bint has_room(self, Py_ssize_t nbytes) noexcept
    cdef unread_error(self, Py_ssize_t nbytes)
