# cython: language_level=3
# stream_socket: one client's socket, and the state of its connection (see stream_socket.pxd).

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from inferd._core.base.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, TIOCOUTQ, ioctl, recv, send as send_to_socket
from inferd._core.grpc.message cimport Share
from inferd._core.net.limits cimport (
    MAX_UNSENT_NBYTES, PAYLOAD_SHARE, READ_NBYTES, RECORD_NBYTES, SPARSE_READ_NBYTES, TURN_REQUESTS
)
from inferd._core.net.lingering_close cimport LingeringClose
from inferd._core.net.low_water cimport LowWater
from inferd._core.net.poller cimport CUT, HUNG_UP, READABLE, WRITABLE, Polled, Poller
from inferd._core.net.protocol cimport Protocol
from inferd._core.net.server_state cimport RECEIVE_NBYTES, ServerState
from inferd._core.net.stall_policy cimport REQUEST, is_stalled
from inferd._core.net.tls cimport CLIENT_DONE, NOTHING_YET, Tls

import socket as sockets

cdef extern from "<assert.h>" nogil:
    void assert_that "assert"(bint holds) noexcept

cdef enum:
    HEADER_NBYTES = 9                   # of the frame of HTTP/2 that may follow a message's bytes: it is taken along

cdef unsigned char[5] MAY_FOLLOW        # bits of the states that may follow each
MAY_FOLLOW[<int>OPENING] = 1 << OPEN | 1 << DRAINING | 1 << CLOSING
MAY_FOLLOW[<int>OPEN] = 1 << DRAINING | 1 << CLOSING
MAY_FOLLOW[<int>DRAINING] = 1 << CLOSING
MAY_FOLLOW[<int>CLOSING] = 1 << CLOSED
MAY_FOLLOW[<int>CLOSED] = 0


cdef class StreamSocket(Polled):
    """One client's connection, which owns its socket.

    protocol: what the client speaks. socket: a connected socket.socket, non-blocking. tls: None: plaintext. client: the connection
    tells it what happens; None: nobody is told. Its methods are age_ns(), handshake_made(connection), failed(connection, error) and
    released(connection). On a port of HTTP/1.1 it has http2(), too, the protocol of a client that begins so.
    """

    def __init__(self, ServerState server not None, Protocol protocol not None, socket=None, Tls tls=None, client=None):
        self.server, self.protocol, self.socket, self.tls, self.client = server, protocol, socket, tls, client
        if socket is not None:
            self.descriptor = socket.fileno()

    def start(self, Poller poller not None):
        """Begins to serve. Raises OSError."""
        poller.add(self)
        if self.socket.family == sockets.AF_UNIX:
            self.readiness |= CUT
        if self.tls is None:
            self.open()

    # ---- its life

    cdef void enter(self, State state) noexcept:
        assert_that(MAY_FOLLOW[<int>self.state] >> state & 1)
        self.state = state

    cdef int open(self) except -1:
        """At once, or after the TLS handshake."""
        cdef ServerState server = self.server
        server.connections += 1
        server.totals.connections += 1
        self.counted = True
        self.connection_id = <uint32_t>server.totals.connections if server.limits.fair else 0
        if server.limits.memory_percent < 100:
            self.share = Share(server.limits.memory_percent)
        # TLS has buffers of its own; AF_UNIX has no low-water mark.
        if self.socket is not None and self.tls is None and self.socket.family != sockets.AF_UNIX:
            self.low_water = LowWater(server.gathering, self.descriptor)
        return self.protocol.open(self, self.client.age_ns() if self.client is not None else 0)

    cpdef speak(self, Protocol protocol):
        self.protocol.close()
        self.protocol = protocol
        if self.counted:                # else open() follows the TLS handshake
            protocol.open(self, self.client.age_ns() if self.client is not None else 0)

    def drain(self):
        """The client is told to begin no calls. Those on their way are served, and the connection ends after its calls."""
        if self.state < DRAINING:
            self.enter(DRAINING)
            self.protocol.drain()

    def close(self):
        """CLOSED: abandons calls, and frees the protocol's memory. Idempotent."""
        if self.state == CLOSED:
            return
        if self.state < CLOSING:
            self.enter(CLOSING)
        self.enter(CLOSED)
        self.pending = None
        if self.counted:
            self.counted = False
            self.server.connections -= 1
            if self.dirty:
                self.server.forget(self)
            if self.low_water is not None:
                self.low_water.close()
        self.protocol.close()

    cdef void finish(self) noexcept:
        if self.state < CLOSING:
            self.enter(CLOSING)
            if self.poller is not None:
                self.poller.wake(self)

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
            if self.client is not None:
                self.client.released(self)
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
        return 0

    # ---- looks

    def end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns, int64_t response_limit_ns):
        """Ends each call that waits too long for its client. True: the connection must be aborted. Called now and then with the monotonic
        time. acknowledged_nbytes: a count of bytes that the client's kernel has taken; -1: the transport holds none for it."""
        if self.state >= CLOSING:
            return False                # a lingering close has limits of its own
        if in_handshake(self):
            return is_stalled(&self.greeting, REQUEST, self.tls.handshake_nbytes, now_ns, request_limit_ns, 0)
        return self.protocol.end_late_calls(now_ns, acknowledged_nbytes, request_limit_ns, response_limit_ns)

    def take_keepalive_step(self, int64_t now_ns, Py_ssize_t waiting_nbytes):
        """Takes the step that the keepalive policy decides on. True: the connection must be aborted. Called now and then with the monotonic
        time and the number of bytes that the transport holds."""
        if self.state >= CLOSING or in_handshake(self):
            return False
        return self.protocol.take_keepalive_step(now_ns, waiting_nbytes)

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

    # ---- turns, and the way in

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
                self.protocol.take_backlogs()
            if self.paused:
                if self.state < CLOSING and self.readiness & HUNG_UP:
                    self.protocol.left_while_paused(self.poller.now_ns)
            elif self.state < CLOSING and (self.readiness & READABLE or self.pending is not None):
                self.read()
            if self.at_end and self.state < CLOSING and not self.paused and not self.unfinished and self.unsent is None:
                self.finish()
        except Exception as error:
            self.server.log(error)
            self.finish()
        if self.state == CLOSING:
            self.release()
        if self.paused:
            return self.state < CLOSING and (self.unfinished or self.resuming is not None)
        return self.state < CLOSING and (self.readiness & READABLE or self.unfinished or self.pending is not None or
                                         self.resuming is not None)

    cdef int read(self) except -1:
        """Reads once, a turn's worth. A byte of frames can cost a thousand times as much as a byte of a large message."""
        cdef bytes pending = self.pending
        cdef uint64_t before_nbytes = self.received_nbytes
        cdef Py_ssize_t nbytes = 0
        self.payload_nbytes, self.allowance_nbytes = 0, READ_NBYTES
        if pending is None:
            nbytes = self.read_socket()
        else:
            self.pending = None
            self.take_pieces(<const uint8_t *>PyBytes_AS_STRING(pending), PyBytes_GET_SIZE(pending), self.poller.now_ns)
            if self.tls is not None:
                receive_tls(self, 0)
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

    cdef Py_ssize_t read_socket(self) except -1:
        cdef Py_ssize_t nbytes, most_nbytes = READ_NBYTES
        if self.tls is not None and self.tls.ssl_object is None and self.readiness & HUNG_UP:
            self.failed(left_within_handshake())        # it cannot hear the server's half, which is dear to make
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
            self.failed(left_within_handshake())
        if nbytes < 0:
            self.abort()
            return 0
        if nbytes == 0:
            self.at_end = True          # take_turn finishes once all is written: the windows cannot grow any more
            self.readiness &= ~READABLE
            self.flush()
            return 0
        if nbytes < most_nbytes and not self.readiness & (HUNG_UP | CUT):
            self.readiness &= ~READABLE
        self.missing_nbytes = 0
        if self.tls is not None:
            receive_tls(self, nbytes)
        else:
            self.take_pieces(self.server.receive_buffer, nbytes, self.poller.now_ns)
        return nbytes

    cdef int take_pieces(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1:
        cdef Py_ssize_t piece_nbytes, before_nbytes
        while nbytes > 0 and self.state < CLOSING:
            if self.allowance_nbytes <= 0 or self.paused:
                self.pending = source[:nbytes]
                return 0
            before_nbytes = self.payload_nbytes
            piece_nbytes = self.protocol.take(source, min(nbytes, max(READ_NBYTES, self.frame_nbytes + HEADER_NBYTES)), now_ns)
            self.allowance_nbytes -= piece_nbytes - (self.payload_nbytes - before_nbytes)
            source += piece_nbytes
            nbytes -= piece_nbytes
        return 0

    cdef int resume_call(self, call) except -1:
        if self.resuming is None:
            self.resuming = []
        self.resuming.append(call)
        if self.poller is not None:
            self.poller.wake(self)
        return 0

    cdef int resume_reading(self) except -1:
        self.paused = False
        if self.poller is not None and (self.pending is not None or self.readiness & READABLE):
            self.poller.wake(self)
        return 0

    cdef int set_mark(self, Py_ssize_t nbytes) except -1:
        if self.low_water is not None and (self.missing_nbytes > 0 or self.low_water.nbytes > 1):       # else it stays at one byte
            try:
                self.low_water.adjust(nbytes >= RECEIVE_NBYTES // 2, self.missing_nbytes, self.received_nbytes)
            except Exception as error:
                self.server.log(error)
        return 0

    # ---- TLS

    cdef int failed(self, error) except -1:
        if self.client is not None:
            self.client.failed(self, error)
        return 0

    cdef int send_tls(self) except -1:
        cdef bytes output = self.tls.output()
        if output:
            self.send(<const uint8_t *>PyBytes_AS_STRING(output), PyBytes_GET_SIZE(output))
        return 0

    # ---- the way out

    cdef void mark_dirty(self) noexcept:
        if self.dirty or self.receiving or self.state >= CLOSING:
            return                      # after receiving, the protocol calls this again
        self.dirty = True
        self.server.dirty.append(self)
        self.server.schedule_flush()

    cpdef flush(self):
        try:
            self.protocol.write_output()
        except Exception as error:
            self.server.log(error)
            self.finish()

    cdef void schedule_flush_turn(self) noexcept:
        self.unfinished = True
        if self.poller is not None:
            self.poller.wake(self)

    cdef int put(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        if self.socket is None:
            return 0
        self.server.totals.sent_nbytes += nbytes
        if self.tls is None:
            return self.send(piece, nbytes)
        self.tls.write(piece, nbytes)
        return self.send_tls()

    cdef int send(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
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


cdef inline bint in_handshake(StreamSocket connection) noexcept:
    """Whether the TLS handshake is to be made yet."""
    return connection.tls is not None and not connection.tls.established and connection.state < CLOSING


cdef left_within_handshake():
    return ConnectionError("the client left within its TLS handshake")


cdef int receive_tls(StreamSocket connection, Py_ssize_t nbytes) except -1:
    """Handshakes and decrypts: so many bytes lie in the receive buffer."""
    try:
        connection.tls.feed(connection.server.receive_buffer, nbytes)
        if not connection.tls.established:
            connection.cost += READ_NBYTES
            if connection.tls.shake_hands():
                if connection.client is None or connection.client.handshake_made(connection):
                    connection.open()
                else:
                    connection.finish()
        if connection.tls.established:
            decrypt(connection)
    except OSError as error:            # ssl.SSLError is one
        connection.failed(error)
        connection.finish()
    if connection.socket is not None:
        connection.send_tls()
    return 0


cdef int decrypt(StreamSocket connection) except -1:
    cdef Tls tls = connection.tls
    cdef Py_ssize_t count
    tls.is_sparse = True
    while connection.pending is None and connection.state < CLOSING:
        if connection.allowance_nbytes <= 0 or connection.paused:
            connection.pending = b""
            break
        count = tls.read(connection.server.receive_buffer, RECEIVE_NBYTES)
        if count == NOTHING_YET:
            break
        if count == CLIENT_DONE:        # OpenSSL's clients take content after their close_notify for an error
            connection.finish()
            break
        tls.is_sparse = False
        connection.allowance_nbytes -= RECORD_NBYTES
        connection.take_pieces(connection.server.receive_buffer, count, connection.poller.now_ns)
    return 0
