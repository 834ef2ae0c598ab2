# connection: one client's socket, in plaintext or over TLS, and its HTTP/2 session. It reads and writes natively, in turns.
# Never in here: frames and calls (session), accepting, permission to call (serving/connection.py).

from libc.stdint cimport uint8_t, uint64_t
from inferd._core.http2.lingering_close cimport LingeringClose
from inferd._core.http2.session cimport Session
from inferd._core.http2.tls cimport Tls

cdef class Connection(Session):
    cdef readonly object socket         # the socket.socket, non-blocking; None once it is closed or lingers
    cdef readonly Tls tls               # None: plaintext
    cdef uint64_t sent_to_socket_nbytes         # bytes that the socket has taken
    cdef bytes pending                  # input for the next turn, decrypted, perhaps b"" while TLS holds more. None: there is none
    cdef Py_ssize_t allowance_nbytes    # bytes of frames, not of messages, that this turn may still take
    cdef bint at_end                    # the client sends nothing more
    cdef int write_unsent(self) except -1
    # Writes to the socket. Bytes that it does not take wait in `unsent`.
    cdef int send(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    cdef int read(self) except -1
    cdef Py_ssize_t receive(self) except -1
    # Handshakes and decrypts: so many bytes lie in the receive buffer.
    cdef int receive_tls(self, Py_ssize_t nbytes) except -1
    cdef int decrypt(self) except -1
    # HTTP/2 takes the bytes. Those beyond the turn's allowance become `pending`.
    cdef int take_pieces(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # The client sends nothing more. Responses that are ready still leave.
    cdef int end_input(self) except -1
    # The client left before the TLS handshake was made: calls failed().
    cdef int left_within_handshake(self) except -1
    # Sends what TLS has for the client.
    cdef int send_tls(self) except -1
    cdef int close_socket(self) except -1
    cdef void release(self) noexcept
