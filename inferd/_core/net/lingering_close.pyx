# cython: language_level=3
# lingering_close: the end of a connection's socket (see lingering_close.pxd).

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t

from inferd._core.base.linux cimport MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, TIOCOUTQ, ioctl, recv, send, shutdown
from inferd._core.net.limits cimport QUANTUM
from inferd._core.net.poller cimport HUNG_UP, READABLE, WRITABLE, Poller
from inferd._core.net.server_state cimport RECEIVE_NBYTES, ServerState


cdef class LingeringClose(Polled):
    """A socket that is being closed. unsent: bytes that it has not taken yet, or None. hung_up: the client sends nothing more."""

    def __init__(self, ServerState server not None, socket not None, bytearray unsent, bint hung_up):
        self.server, self.socket, self.descriptor = server, socket, socket.fileno()
        self.unsent = bytearray() if unsent is None else unsent
        self.left_nbytes = server.limits.connection_window_nbytes       # a client may have this much on its way
        self.readiness = READABLE | WRITABLE | (HUNG_UP if hung_up else 0)

    def start(self, Poller poller not None):
        """Begins to take turns. Raises OSError."""
        poller.add(self)
        self.server.lingering[self] = None
        poller.wake(self)

    def look(self, int64_t now_ns):
        """Ends it if a limit is reached. Called now and then with the monotonic time."""
        cdef int queued_nbytes = 0
        cdef int64_t most_ns = LINGERING_TIME_NS
        if self.server.stopping and self.unsent is None:
            most_ns = LINGERING_TIMEOUT_NS      # a drain does not wait for a client that only sends
        if self.begun_ns == 0:
            self.begun_ns = self.since_ns = now_ns
        # A slow client takes bytes from the kernel's queue long before there is room in it for more.
        if self.socket is not None and ioctl(self.descriptor, TIOCOUTQ, &queued_nbytes) == 0:
            self.moved += queued_nbytes < self.queued_nbytes
            self.queued_nbytes = queued_nbytes
        if self.moved > 0:
            self.moved, self.since_ns = 0, now_ns
        if now_ns - self.since_ns >= LINGERING_TIMEOUT_NS or now_ns - self.begun_ns >= most_ns:
            self.end()

    def abort(self):
        """Closes the socket at once."""
        self.end()

    @property
    def unsent_nbytes(self):
        return PyByteArray_GET_SIZE(self.unsent) if self.unsent is not None else 0

    cdef bint take_turn(self) noexcept:
        cdef Py_ssize_t nbytes
        self.cost = QUANTUM             # a whole quantum: others go first
        try:
            if self.socket is not None and self.unsent is not None and self.readiness & WRITABLE:
                self.send_left()
            if self.socket is not None and self.readiness & READABLE:
                nbytes = recv(self.descriptor, self.server.receive_buffer, RECEIVE_NBYTES, MSG_DONTWAIT)
                if nbytes > 0:
                    self.moved += nbytes
                    self.left_nbytes -= nbytes
                    if self.left_nbytes <= 0:
                        self.end()
                elif nbytes < 0 and (errno == EAGAIN or errno == EINTR):
                    self.readiness &= ~READABLE
                elif nbytes == 0 and self.unsent is not None:
                    self.readiness = (self.readiness & ~READABLE) | HUNG_UP     # the client may still read
                else:
                    self.end()
        except Exception as error:
            self.server.log(error)
            self.end()
        return self.socket is not None and bool(self.readiness & READABLE)

    cdef int send_left(self) except -1:
        cdef Py_ssize_t nbytes = PyByteArray_GET_SIZE(self.unsent), sent = 0
        if nbytes > 0:
            sent = send(self.descriptor, PyByteArray_AS_STRING(self.unsent), nbytes, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0 and errno != EAGAIN and errno != EINTR:
            self.end()
        elif sent < nbytes:
            self.readiness &= ~WRITABLE
            if sent > 0:
                self.moved += sent
                del self.unsent[:sent]
        else:
            self.moved += 1
            self.unsent = None
            shutdown(self.descriptor, SHUT_WR)
            if self.readiness & HUNG_UP:
                self.readiness |= READABLE
        return 0

    cdef void end(self) noexcept:
        if self.socket is None:
            return
        if self.poller is not None:
            self.poller.forget(self)
        self.server.lingering.pop(self, None)
        try:
            self.socket.close()
        except Exception as error:
            self.server.log(error)
        self.socket, self.descriptor, self.unsent = None, -1, None
