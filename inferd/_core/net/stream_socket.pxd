# stream_socket: one client's socket, in plaintext or over TLS, and the state of its connection, whatever the client speaks. It reads and
# writes natively, in turns. It holds the protocol that the client speaks, and the client.
# Never in here: frames, heads and calls, accepting, permission to call (serving/transports/client.py).

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from inferd._core.grpc.message cimport Share
from inferd._core.net.low_water cimport LowWater
from inferd._core.net.poller cimport Polled
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport ServerState
from inferd._core.net.stall_policy cimport StallPolicy
from inferd._core.net.tls cimport Tls

cdef enum State:                        # a connection's; stream_socket.pyx has the table of allowed transitions
    OPENING = 0                         # until the client has begun to speak; over TLS, the handshake included
    OPEN = 1                            # from then on
    DRAINING = 2                        # the client was told to begin no calls, or will be. shutdown() passes through it, too
    CLOSING = 3                         # the protocol is over; this turn or the next one frees its memory
    CLOSED = 4                          # its memory is free; its socket may linger

cdef class StreamSocket(Polled):
    cdef readonly ServerState server    # shared by all connections
    cdef readonly Protocol protocol     # what the client speaks; speak() exchanges it
    cdef readonly object client         # the client, as the service knows it; None: nobody does (stream_socket.pyx)
    cdef readonly State state
    cdef readonly object socket         # the socket.socket, non-blocking; None once it is closed or lingers
    cdef readonly Tls tls               # None: plaintext
    cdef public object rejection        # a RequestError: every call of this connection is rejected with it; or None
    cdef readonly int64_t calls         # open now; the protocol counts them
    cdef bint counted                   # among the server's connections
    cdef Share share                    # what its messages hold of the message memory; None: they may hold all of it
    cdef uint32_t connection_id         # from 1 on; 0: its calls wait in order of arrival with all others
    cdef StallPolicy greeting           # whether the client's first bytes come: its TLS handshake, then HTTP/2's preface
    cdef StallPolicy output             # whether its kernel takes bytes: those that it has acknowledged
    # The way in.
    cdef bytes pending                  # input for the next turn, decrypted, perhaps b"" while TLS holds more. None: there is none
    cdef bint paused                    # nothing is read, and nothing of `pending` is taken; the protocol sets it
    cdef bint at_end                    # the client sends nothing more
    cdef bint receiving                 # inside take(): output waits for its end
    cdef uint64_t received_nbytes       # since it began; take() adds to it, and to the server's total
    cdef Py_ssize_t allowance_nbytes    # bytes of frames, not of messages, that this turn may still take
    # A protocol keeps these three in take().
    cdef Py_ssize_t frame_nbytes        # bytes of a message that come next, and are taken in one piece: the rest of a DATA frame or a body
    cdef Py_ssize_t payload_nbytes      # bytes of messages in the present read
    cdef Py_ssize_t missing_nbytes      # of the messages that the last read extended, the fewest bytes that one still lacks; 0: none
    cdef public LowWater low_water      # the socket's; None: each byte that comes wakes the loop
    cdef list resuming                  # calls whose bytes wait, and may be taken in the next turn (take_backlogs); or None
    cdef int64_t begun_requests         # requests of streams that began, and how many may have begun at the end of this turn
    cdef int64_t most_begun_requests
    # The way out.
    cdef Py_ssize_t compressing_nbytes  # bytes of responses that threads compress
    cdef uint64_t sent_to_socket_nbytes         # bytes that the socket has taken
    cdef bint unfinished                # the last flush ended before the output did

    # ---- What a protocol calls.
    cdef void enter(self, State state) noexcept
    # There may be something to send: schedules a flush. Within take() it does nothing; the protocol calls it again afterwards.
    cdef void mark_dirty(self) noexcept
    # Hands bytes to the transport. Bytes that it cannot send wait in `unsent`; while they do, write_output() is not to make more.
    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    # take_backlogs() is called in the next turn, with this call in `resuming`.
    cdef int resume_call(self, call) except -1
    # `paused` has ended: what waits is read in the next turn.
    cdef int resume_reading(self) except -1
    # Enters CLOSING: `unsent` still leaves, and all other output is lost. The next turn calls release().
    cdef void finish(self) noexcept
    # From now on the client speaks this protocol. Within take() of the one before, which ends, or within the client's handshake_made().
    cpdef speak(self, Protocol protocol)

    # ---- Its own.
    # The protocol begins: counts the connection, numbers it, and makes its share and its low-water mark.
    cdef int open(self) except -1
    cdef int write_unsent(self) except -1
    # Writes to the socket. Bytes that it does not take wait in `unsent`.
    cdef int send(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    cdef int read(self) except -1
    cdef Py_ssize_t read_socket(self) except -1
    # The protocol takes the bytes. Those beyond the turn's allowance become `pending`.
    cdef int take_pieces(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1
    # A read of so many bytes is over: the low-water mark follows what messages still lack.
    cdef int set_mark(self, Py_ssize_t nbytes) except -1
    # Sends what TLS has for the client.
    cdef int send_tls(self) except -1
    # TLS has failed.
    cdef int failed(self, error) except -1
    cdef int close_socket(self) except -1
    cdef void release(self) noexcept
