# tls: the server's side of TLS on one connection: Python's ssl between two buffers in memory. No OpenSSL has to be built, shipped or
# patched here. Never in here: sockets, certificates (serving/tls.py), HTTP/2.

from libc.stdint cimport uint8_t

cdef enum:
    MAX_HANDSHAKE_NBYTES = 24 << 10     # a client sends at most: a chain of hundreds of certificates takes long to decode

cdef class Tls:
    cdef readonly object session        # ssl.SSLObject
    cdef object incoming, outgoing      # ssl.MemoryBIO
    cdef object read_record, write_content      # session's own
    cdef readonly bint established      # the handshake is made
    cdef Py_ssize_t handshake_nbytes    # that came in it
    # Bytes that came from the client. Raises ssl.SSLError where the handshake takes too many.
    cdef int feed(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # True: the handshake is made. Raises ssl.SSLError.
    cdef bint shake_hands(self) except -1
    # Content, of one record at most, into `buffer`; 0: there is none yet; -2: the client says nothing more. Raises ssl.SSLError.
    cdef Py_ssize_t read(self, uint8_t *buffer, Py_ssize_t room) except -1
    cdef int write(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # What is to be sent: content, parts of the handshake, alerts.
    cdef bytes output(self)
    # Says close_notify, or the alert that an error has left.
    cdef void say_last(self) noexcept
