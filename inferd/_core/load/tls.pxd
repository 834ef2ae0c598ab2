# tls: encrypts the bytes of a load connection (see tls.pyx).

from libc.stdint cimport uint8_t

cdef enum:
    FAULT_NBYTES = 256

cdef struct Seal:               # what a connection looks at without the GIL
    void *tls                   # the Tls; the owner of its Seal holds a reference
    bint owes                   # there is more to send: TLS's own messages, or bytes that had no room
    bint closed                 # the server has said that nothing more comes
    char fault[FAULT_NBYTES]    # why nothing more comes; empty: it does


cdef class Tls:
    cdef Seal seal
    cdef object session         # ssl.SSLObject, its handshake made
    cdef object incoming        # ssl.MemoryBIO: what has come,
    cdef object outgoing        # and what is to be sent
    cdef bint unread            # there was no room for all that has come
    cdef object raised          # KeyboardInterrupt, or the like, that came meanwhile

    cdef Py_ssize_t encrypt(self, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room)
    cdef Py_ssize_t decrypt(self, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room)
    cdef Py_ssize_t read(self, uint8_t *content, Py_ssize_t room)
    cdef void fail(self, object error) noexcept
    cdef void say(self, bytes why) noexcept


# Encrypts nbytes in place, as far as there is room; the rest waits (`owes`). Returns how many are to be sent; -1: it failed.
cdef Py_ssize_t encrypt(Seal *seal, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil
# Decrypts all whole records of nbytes that have come, in place, also those before a `fault`. Returns how many bytes these are. If they take
# all the room, there may be more, for a call with 0.
cdef Py_ssize_t decrypt(Seal *seal, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil
