# tls: the server's side of TLS on one connection: Python's ssl between two buffers in memory. So we build, ship and patch no OpenSSL.
# Never in here: sockets, certificates (serving/security/tls.py), HTTP/2.

from libc.stdint cimport uint8_t

cdef enum:
    MAX_HANDSHAKE_NBYTES = 24 << 10     # the most that a client sends: a chain of hundreds of certificates takes long to decode

cdef enum:                              # results of Tls.read
    NOTHING_YET = 0                     # the next record is not whole
    CLIENT_DONE = -2                    # close_notify has come

cdef class Tls:
    cdef object wrap                    # makes the session
    cdef readonly object ssl_object     # ssl.SSLObject; None until bytes come: it is large, and many connections may only be opened
    cdef object incoming, outgoing      # ssl.MemoryBIO: bytes from the client, bytes for it
    cdef object read_record, write_content      # methods of `ssl_object`
    cdef readonly bint established      # the handshake is made
    cdef bint is_sparse                 # the last read of the socket held no content
    cdef Py_ssize_t handshake_nbytes    # bytes that came for the handshake
    # Makes the session, for the first bytes.
    cdef int begin(self) except -1
    # Takes bytes that came from the client. Raises ssl.SSLError if the handshake takes too many.
    cdef int feed(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # True: the handshake is made. Raises ssl.SSLError.
    cdef bint shake_hands(self) except -1
    # Decrypts one record at most into `buffer`: the number of bytes, NOTHING_YET or CLIENT_DONE. Raises ssl.SSLError.
    cdef Py_ssize_t read(self, uint8_t *buffer, Py_ssize_t room) except -1
    cdef int write(self, const uint8_t *source, Py_ssize_t nbytes) except -1
    # Returns the bytes for the client: encrypted content, parts of the handshake, alerts.
    cdef bytes output(self)
    # Sends close_notify, or the alert of an error.
    cdef void say_last(self) noexcept
