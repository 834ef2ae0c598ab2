# cython: language_level=3
# connection: one client's socket and its HTTP/2 session (see connection.pxd).

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t

from inferd._core.base.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, TIOCOUTQ, ioctl, recv, send as send_to_socket
from inferd._core.http2.limits cimport (
    MAX_UNSENT_NBYTES, PAYLOAD_SHARE, READ_NBYTES, RECORD_NBYTES, SPARSE_READ_NBYTES, TURN_REQUESTS
)
from inferd._core.http2.lingering_close cimport LingeringClose
from inferd._core.http2.low_water cimport LowWater
from inferd._core.http2.poller cimport CUT, HUNG_UP, READABLE, WRITABLE, Poller
from inferd._core.http2.send_state cimport CLOSING
from inferd._core.http2.server_state cimport RECEIVE_NBYTES, ServerState
from inferd._core.http2.session cimport Session
from inferd._core.http2.stall_policy cimport REQUEST, is_stalled
from inferd._core.http2.tls cimport CLIENT_DONE, NOTHING_YET, Tls

import socket as sockets

cdef enum:
    HEADER_NBYTES = 9                   # of a frame


cdef class Connection(Session):
    """One client's connection, which owns its socket.

    socket: a connected socket.socket, non-blocking. tls: None in plaintext. Subclasses override the hooks handshake_made(), failed() and
    released().
    """

    def __init__(self, ServerState server not None, socket not None, Tls tls=None):
        super().__init__(server)
        self.socket, self.descriptor, self.tls = socket, socket.fileno(), tls

    def start(self, Poller poller not None):
        """Begins to serve. Raises OSError."""
        poller.add(self)
        if self.socket.family == sockets.AF_UNIX:
            self.readiness |= CUT
        if self.tls is None:
            self.open_session()

    def open_session(self):
        """HTTP/2 begins: at once, or after the TLS handshake."""
        self.open(max_age_ns=self.choose_age_ns())
        if self.tls is None and self.socket.family != sockets.AF_UNIX:  # TLS has buffers of its own; AF_UNIX has no low-water mark
            self.low_water = LowWater(self.server.gathering, self.descriptor)

    def end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns, int64_t response_limit_ns):
        if self.tls is not None and not self.tls.established and self.state < CLOSING:
            return is_stalled(&self.preface, REQUEST, self.tls.handshake_nbytes, now_ns, request_limit_ns, 0)
        return super().end_late_calls(now_ns, acknowledged_nbytes, request_limit_ns, response_limit_ns)

    def choose_age_ns(self):
        """At which age it drains; 0: never."""
        return 0

    def handshake_made(self):
        """A hook, called once: the TLS handshake is made. False: the client may not go on."""
        return True

    def failed(self, error):
        """A hook: the TLS handshake has failed, or TLS has failed later."""

    def released(self):
        """A hook, called once: HTTP/2 is over and its memory is free. The socket may linger."""

    @property
    def unsent_nbytes(self):
        """Bytes that the socket has not taken."""
        return PyByteArray_GET_SIZE(self.unsent) if self.unsent is not None else 0

    def acknowledged_nbytes(self):
        """How many bytes the client's kernel has acknowledged. With a Unix socket: how many the client has read, or fewer, because the
        kernel counts its own memory, too."""
        cdef int queued_nbytes = 0
        ioctl(self.descriptor, TIOCOUTQ, &queued_nbytes)
        return max(0, <int64_t>self.sent_to_socket_nbytes - queued_nbytes)

    def abort(self):
        """Closes the socket at once. Unsent bytes are lost. Its next turn frees the memory of its calls."""
        cdef Poller poller = self.poller
        if self.socket is None:
            return
        if self.state < CLOSING:
            self.enter(CLOSING)
        self.close_socket()
        if poller is not None:
            poller.wake(self)
        else:                           # it takes no turns any more
            self.release()

    cdef bint take_turn(self) noexcept:
        """Writes output that waits, reads once, and frees a session that is over. True: more is left."""
        self.cost = 0
        self.most_begun_requests = self.begun_requests + TURN_REQUESTS
        try:
            if self.state < CLOSING and self.readiness & WRITABLE and self.unsent is not None:
                self.write_unsent()
            if self.state < CLOSING and self.unfinished:
                self.flush()
                self.cost += READ_NBYTES
            if self.state < CLOSING and self.resuming is not None:
                self.take_backlogs()
            if self.state < CLOSING and (self.readiness & READABLE or self.pending is not None):
                self.read()
            if self.at_end and self.state < CLOSING and not self.unfinished and self.unsent is None:
                self.finish()
        except Exception as error:
            self.server.log(error)
            self.finish()
        if self.state == CLOSING:
            self.release()
        return self.state < CLOSING and (self.readiness & READABLE or self.unfinished or self.pending is not None or
                                         self.resuming is not None)

    cdef int read(self) except -1:
        """Reads once, a turn's worth. A byte of frames can cost a thousand times as much as a byte of a large message."""
        cdef bytes pending = self.pending
        cdef uint64_t before_nbytes = self.received_nbytes
        cdef Py_ssize_t nbytes = 0
        self.payload_nbytes, self.allowance_nbytes = 0, READ_NBYTES
        if pending is None:
            nbytes = self.receive()
        else:
            self.pending = None
            self.take_pieces(<const uint8_t *>PyBytes_AS_STRING(pending), PyBytes_GET_SIZE(pending))
            if self.tls is not None:
                self.receive_tls(0)
        if pending is None and self.pending is None:
            self.set_mark(nbytes)
        elif self.low_water is not None:
            self.low_water.set(1)       # the rest of the read comes without an event
        # By TLS a read may end a record that earlier reads brought: then more is taken than was read.
        nbytes = max(nbytes, <Py_ssize_t>(self.received_nbytes - before_nbytes))
        self.cost += max(0, nbytes - self.payload_nbytes) + self.payload_nbytes // PAYLOAD_SHARE
        if pending is not None or 2 * self.payload_nbytes < nbytes:
            self.missing_nbytes = 0     # most bytes were frames: the next read is a small one
        return 0

    cdef Py_ssize_t receive(self) except -1:
        cdef Py_ssize_t nbytes, most_nbytes = READ_NBYTES
        if self.tls is not None and self.tls.ssl_object is None and self.readiness & HUNG_UP:
            self.left_within_handshake()    # it cannot hear the server's half, which is dear to make
            self.abort()
            return 0
        if self.missing_nbytes > READ_NBYTES:
            most_nbytes = RECEIVE_NBYTES
        elif self.tls is not None and self.tls.is_sparse:
            most_nbytes = SPARSE_READ_NBYTES
        nbytes = recv(self.descriptor, self.server.receive_buffer, most_nbytes, MSG_DONTWAIT)
        if nbytes < 0 and (errno == EAGAIN or errno == EINTR):
            if errno == EAGAIN:
                self.readiness &= ~READABLE
            return 0
        if nbytes <= 0 and self.tls is not None and not self.tls.established:
            self.left_within_handshake()
        if nbytes < 0:
            self.abort()
            return 0
        if nbytes == 0:
            self.end_input()
            return 0
        if nbytes < most_nbytes and not self.readiness & (HUNG_UP | CUT):
            self.readiness &= ~READABLE
        self.missing_nbytes = 0
        if self.tls is not None:
            self.receive_tls(nbytes)
        else:
            self.take_pieces(self.server.receive_buffer, nbytes)
        return nbytes

    cdef int left_within_handshake(self) except -1:
        self.failed(ConnectionError("the client left within its TLS handshake"))

    cdef int take_pieces(self, const uint8_t *source, Py_ssize_t nbytes) except -1:
        cdef Py_ssize_t piece_nbytes, before_nbytes
        while nbytes > 0 and self.state < CLOSING:
            if self.allowance_nbytes <= 0:
                self.pending = source[:nbytes]
                return 0
            piece_nbytes = min(nbytes, max(READ_NBYTES, self.frame_nbytes + HEADER_NBYTES))     # with the header of the next frame
            before_nbytes = self.payload_nbytes
            self.take(source, piece_nbytes)
            self.allowance_nbytes -= piece_nbytes - (self.payload_nbytes - before_nbytes)
            source += piece_nbytes
            nbytes -= piece_nbytes
        return 0

    cdef int end_input(self) except -1:
        self.at_end = True              # take_turn finishes once all is written: the windows cannot grow any more
        self.readiness &= ~READABLE
        self.flush()
        return 0

    cdef int receive_tls(self, Py_ssize_t nbytes) except -1:
        try:
            self.tls.feed(self.server.receive_buffer, nbytes)
            if not self.tls.established:
                self.cost += READ_NBYTES
                if self.tls.shake_hands():
                    if self.handshake_made():
                        self.open_session()
                    else:
                        self.finish()
            if self.tls.established:
                self.decrypt()
        except OSError as error:        # ssl.SSLError is one
            self.failed(error)
            self.finish()
        if self.socket is not None:
            self.send_tls()
        return 0

    cdef int decrypt(self) except -1:
        cdef Py_ssize_t count
        self.tls.is_sparse = True
        while self.pending is None and self.state < CLOSING:
            if self.allowance_nbytes <= 0:
                self.pending = b""
                break
            count = self.tls.read(self.server.receive_buffer, RECEIVE_NBYTES)
            if count == NOTHING_YET:
                break
            if count == CLIENT_DONE:    # OpenSSL's clients take content after their close_notify for an error
                self.finish()
                break
            self.tls.is_sparse = False
            self.allowance_nbytes -= RECORD_NBYTES
            self.take_pieces(self.server.receive_buffer, count)
        return 0

    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        if self.socket is None:
            return 0
        self.server.totals.sent_nbytes += nbytes
        if self.tls is None:
            return self.send(piece, nbytes)
        self.tls.write(piece, nbytes)
        return self.send_tls()

    cdef int send_tls(self) except -1:
        cdef bytes output = self.tls.output()
        if output:
            self.send(<const uint8_t *>PyBytes_AS_STRING(output), PyBytes_GET_SIZE(output))
        return 0

    cdef int send(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        """Writes to the socket. Bytes that it does not take wait in `unsent`."""
        cdef Py_ssize_t sent = 0
        if self.unsent is None:
            sent = send_to_socket(self.descriptor, piece, nbytes, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == nbytes:
                self.sent_to_socket_nbytes += sent
                return 0
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self.abort()        # the client is gone
                    return 0
                sent = 0
            self.sent_to_socket_nbytes += sent
            self.unsent = bytearray()
            self.readiness &= ~WRITABLE # a non-blocking send(2) is never interrupted: the socket is full
        self.unsent.extend(<bytes>piece[sent:nbytes])
        if PyByteArray_GET_SIZE(self.unsent) > MAX_UNSENT_NBYTES:      # TLS responds (to KeyUpdate) though the client reads nothing
            self.server.totals.flooding += 1
            self.abort()
        return 0

    cdef int write_unsent(self) except -1:
        cdef Py_ssize_t nbytes = PyByteArray_GET_SIZE(self.unsent)
        cdef Py_ssize_t sent = send_to_socket(self.descriptor, PyByteArray_AS_STRING(self.unsent), nbytes, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                self.readiness &= ~WRITABLE
            else:
                self.abort()
            return 0
        self.sent_to_socket_nbytes += sent
        if sent < nbytes:
            self.readiness &= ~WRITABLE
            del self.unsent[:sent]
            return 0
        self.unsent = None
        self.flush()
        return 0

    cdef void release(self) noexcept:
        """Ends a connection in CLOSING: the socket goes to a LingeringClose, then close()."""
        cdef Poller poller = self.poller
        cdef LingeringClose closing = None
        try:
            if self.socket is not None and self.tls is not None:
                self.tls.say_last()
                self.send_tls()
            if self.low_water is not None:
                self.low_water.set(1)
            if self.socket is not None and poller is not None:
                poller.forget(self)
                closing = LingeringClose(self.server, self.socket, self.unsent, bool(self.readiness & HUNG_UP))
                self.socket, self.descriptor, self.unsent = None, -1, None
                closing.start(poller)
        except Exception as error:
            self.server.log(error)
        try:
            self.close_socket()         # unless it lingers
            self.close()
            self.tls = None
            self.released()
        except Exception as error:
            self.server.log(error)

    cdef int close_socket(self) except -1:
        if self.socket is not None:
            if self.poller is not None:
                self.poller.forget(self)
            if self.low_water is not None:
                self.low_water.close()
            self.socket.close()
            self.socket, self.descriptor, self.unsent = None, -1, None
