# stream_socket: one client's socket, in plaintext or over TLS, and the state of its connection, whatever the client speaks. It reads and
# writes natively, in turns. Protocols derive from it: http2's Session, http1's Http1Connection.
# Never in here: frames, heads and calls, accepting, permission to call (serving/transports/connection.py).

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.message cimport Share
from inferd._core.net.low_water cimport LowWater
from inferd._core.net.poller cimport Polled
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stall_policy cimport StallPolicy
from inferd._core.net.tls cimport Tls

cdef enum State:                        # a connection's; stream_socket.pyx has the table of allowed transitions
    OPENING = 0                         # until the client has begun to speak; over TLS, the handshake included
    OPEN = 1                            # from then on
    DRAINING = 2                        # no new calls: the client was told, or will be. shutdown() passes through it, too
    CLOSING = 3                         # the protocol is over; this turn or the next one frees its memory
    CLOSED = 4                          # its memory is free; its socket may linger

cdef class StreamSocket(Polled):
    cdef readonly ServerState server    # shared by all connections
    cdef readonly State state
    cdef readonly object socket         # the socket.socket, non-blocking; None once it is closed or lingers, and for tests
    cdef readonly Tls tls               # None: plaintext
    cdef object write, close_transport  # for tests, of a connection without a socket: write(bytes), close_transport(); else None
    cdef public object rejection        # a RequestError: every call of this connection is rejected with it; or None
    cdef readonly int64_t calls         # open now; the protocol counts them
    cdef bint counted                   # among the server's connections
    cdef Share share                    # what its messages hold of the message memory; None: they may hold all of it
    cdef uint32_t connection_id         # from 1 on; 0: its calls wait in order of arrival with all others
    cdef StallPolicy greeting           # whether the client's first bytes come: its TLS handshake, then HTTP/2's preface
    cdef StallPolicy output             # whether its kernel takes bytes: those that it has acknowledged
    # The way in.
    cdef bytes pending                  # input for the next turn, decrypted, perhaps b"" while TLS holds more. None: there is none
    cdef bint paused                    # nothing is read, and nothing of `pending` is taken; the protocol sets it, and ends it
    cdef bint at_end                    # the client sends nothing more
    cdef bint receiving                 # inside take(): output waits for its end
    cdef uint64_t received_nbytes       # since it began; take() adds to it, and to the server's total
    cdef Py_ssize_t allowance_nbytes    # bytes of frames, not of messages, that this turn may still take
    # Protocols keep these three in take().
    cdef Py_ssize_t frame_nbytes        # bytes of a message that come next, and are taken in one piece: the rest of a DATA frame or a body
    cdef Py_ssize_t payload_nbytes      # bytes of messages in the present read
    cdef Py_ssize_t missing_nbytes      # of the messages that the last read extended, the fewest bytes that one still lacks; 0: none
    cdef public LowWater low_water      # the socket's; None: each byte that comes wakes the loop
    cdef list resuming                  # calls whose bytes wait, and may be taken in the next turn (take_backlogs); or None
    cdef int64_t begun_requests         # requests that began out of such bytes, and how many may have begun at the end of this turn
    cdef int64_t most_begun_requests
    # The way out.
    cdef Py_ssize_t compressing_nbytes  # bytes of responses that threads compress
    cdef uint64_t sent_to_socket_nbytes         # bytes that the socket has taken
    cdef bint unfinished                # the last flush ended before the output did

    # ---- Hooks: what a protocol defines, beside the Python methods open_session(), close(), drain(), end_late_calls() and
    # take_keepalive_step().
    # Takes bytes of the client, in pieces of READ_NBYTES or of a message's next frame_nbytes, and returns how many. It takes all of them,
    # unless it has set `paused`: the rest waits in `pending`.
    cdef Py_ssize_t take(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # Hands output to put(), a turn's worth at most; when more is left, it calls schedule_flush_turn(). Only while `unsent` is None.
    cdef int write_output(self) except -1
    # The client has hung up while reading is paused: nobody may read the response. Called in each turn.
    cdef int left_while_paused(self) except -1
    # The client sends nothing more. Responses that are ready still leave; then take_turn finishes the connection.
    cdef int end_input(self) except -1

    # ---- What a protocol calls.
    cdef void enter(self, State state) noexcept
    # The protocol begins: counts the connection, numbers it, and makes its share and its low-water mark. The protocol ends.
    cdef int count_in(self) except -1
    cdef void count_out(self) noexcept
    # There may be something to send: schedules a flush. Within take() it does nothing; the protocol calls it again afterwards.
    cdef void mark_dirty(self) noexcept
    # Hands bytes to the transport. Bytes that it cannot send wait in `unsent`; while they do, write_output() is not to make more.
    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    # take_backlogs() is called in the next turn, with this call in `resuming`.
    cdef int resume_call(self, call) except -1
    # Enters CLOSING: `unsent` still leaves, and all other output is lost. The next turn calls release().
    cdef void finish(self) noexcept
    # `to` goes on with this socket, its TLS, and these bytes of the client: the client speaks another protocol. This connection ends
    # without a socket. Within take(), left bytes included, or within handshake_made().
    cdef int hand_on(self, StreamSocket to, bytes unread) except -1
    # Whether the TLS handshake is to be made yet; and whether it takes too long.
    cdef bint in_handshake(self) noexcept
    cdef bint handshake_stalls(self, int64_t now_ns, int64_t limit_ns) noexcept
    # A read of so many bytes is over: the low-water mark follows what messages still lack.
    cdef int set_mark(self, Py_ssize_t nbytes) except -1

    # ---- Its own.
    cdef int write_unsent(self) except -1
    # Writes to the socket. Bytes that it does not take wait in `unsent`.
    cdef int send(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    cdef int read(self) except -1
    cdef Py_ssize_t read_socket(self) except -1
    # Handshakes and decrypts: so many bytes lie in the receive buffer.
    cdef int receive_tls(self, Py_ssize_t nbytes) except -1
    cdef bint may_begin(self) except -1
    cdef int decrypt(self) except -1
    # The protocol takes the bytes. Those beyond the turn's allowance become `pending`.
    cdef int take_pieces(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # The client left before the TLS handshake was made: calls failed().
    cdef int left_within_handshake(self) except -1
    # Sends what TLS has for the client.
    cdef int send_tls(self) except -1
    cdef int close_socket(self) except -1
    cdef void release(self) noexcept
