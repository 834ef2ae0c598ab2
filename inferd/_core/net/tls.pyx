# cython: language_level=3, boundscheck=False, wraparound=False
# tls: the server's side of TLS on one connection (see tls.pxd).

from ssl import MemoryBIO, SSLError, SSLWantReadError, SSLZeroReturnError

from libc.stdint cimport uint8_t

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *memory, Py_ssize_t nbytes, int flags)
    const int PyBUF_READ, PyBUF_WRITE


cdef class Tls:
    """One connection's TLS. wrap(incoming, outgoing): makes its ssl.SSLObject between two ssl.MemoryBIOs."""

    def __init__(self, wrap not None):
        self.wrap = wrap

    cdef int begin(self) except -1:
        self.incoming, self.outgoing = MemoryBIO(), MemoryBIO()
        self.ssl_object = self.wrap(self.incoming, self.outgoing)
        direct = getattr(self.ssl_object, "_sslobj", self.ssl_object)         # an SSLObject's methods only call those of _sslobj
        self.read_record, self.write_content = direct.read, direct.write

    cdef int feed(self, const uint8_t *source, Py_ssize_t nbytes) except -1:
        if self.ssl_object is None:
            self.begin()
        if not self.established:
            self.handshake_nbytes += nbytes
            if self.handshake_nbytes > MAX_HANDSHAKE_NBYTES:
                raise SSLError(f"more than {MAX_HANDSHAKE_NBYTES} bytes before the handshake was made")
        self.incoming.write(PyMemoryView_FromMemory(<char *>source, nbytes, PyBUF_READ))
        return 0

    cdef bint shake_hands(self) except -1:
        try:
            self.ssl_object.do_handshake()
        except SSLWantReadError:
            return False
        self.established = True
        return True

    cdef Py_ssize_t read(self, uint8_t *buffer, Py_ssize_t room) except -1:
        try:
            return self.read_record(room, PyMemoryView_FromMemory(<char *>buffer, room, PyBUF_WRITE)) or CLIENT_DONE
        except SSLWantReadError:
            return NOTHING_YET
        except SSLZeroReturnError:
            return CLIENT_DONE

    cdef int write(self, const uint8_t *source, Py_ssize_t nbytes) except -1:
        self.write_content(PyMemoryView_FromMemory(<char *>source, nbytes, PyBUF_READ))
        return 0

    cdef bytes output(self):
        return self.outgoing.read() if self.ssl_object is not None else b""

    cdef void say_last(self) noexcept:
        if self.ssl_object is None:
            return
        try:
            self.ssl_object.unwrap()
        except Exception:               # unwrap raises while the client's own close_notify has not come, or after a failed handshake
            pass
