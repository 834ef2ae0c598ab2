# cython: language_level=3, boundscheck=False, wraparound=False
# tls: encrypts and decrypts the bytes of a generator's connection, by Python's ssl between two buffers in memory. So inferd need not build
# or ship OpenSSL. A connection without TLS never comes here; one with it takes the GIL for each read and write.
# Never in here: sockets, handshakes (client_inputs/connections.py), HTTP/2.

import re
from ssl import SSLWantReadError

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *memory, Py_ssize_t nbytes, int flags)
    const int PyBUF_READ, PyBUF_WRITE


AROUND = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")  # parts of ssl's messages: where in OpenSSL, and where in Python


cdef class Tls:
    def __init__(self, session, incoming, outgoing):
        self.session, self.incoming, self.outgoing = session, incoming, outgoing
        self.seal.tls = <void *>self
        self.unread = True              # what came behind the handshake

    cdef Py_ssize_t encrypt(self, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room):
        cdef Py_ssize_t at = 0
        cdef bytes encrypted
        try:
            while at < nbytes:
                at += <Py_ssize_t>self.session.write(PyMemoryView_FromMemory(<char *>content + at, nbytes - at, PyBUF_READ))
            encrypted = self.outgoing.read(room)
            self.seal.owes = self.outgoing.pending > 0
        except BaseException as error:
            self.fail(error)
            return -1
        memcpy(content, PyBytes_AS_STRING(encrypted), PyBytes_GET_SIZE(encrypted))
        return PyBytes_GET_SIZE(encrypted)

    cdef Py_ssize_t decrypt(self, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room):
        cdef Py_ssize_t filled = 0
        cdef Py_ssize_t count = 1
        try:
            if nbytes > 0:
                self.incoming.write(PyMemoryView_FromMemory(<char *>content, nbytes, PyBUF_READ))
            while count > 0 and filled < room and (self.unread or self.incoming.pending > 0):
                self.unread = False
                count = self.read(content + filled, room - filled)
                filled += count
            self.unread = filled == room
            self.seal.owes = self.outgoing.pending > 0
        except BaseException as error:
            self.fail(error)
        return filled

    cdef Py_ssize_t read(self, uint8_t *content, Py_ssize_t room):
        """Decrypts one record. 0: none is whole, or there will be none."""
        cdef Py_ssize_t count
        try:
            count = self.session.read(room, PyMemoryView_FromMemory(<char *>content, room, PyBUF_WRITE))
        except SSLWantReadError:
            return 0
        if count == 0:
            self.seal.closed = True
            self.say(b"the server closed the connection")
        return count

    cdef void fail(self, object error) noexcept:
        """Keeps the error's text, and the error itself if it is no Exception. Bytes that came since are lost."""
        if not isinstance(error, Exception):
            self.raised = error
        reason = getattr(error, "reason", None)
        words = reason.replace("_", " ").lower() if reason else AROUND.sub("", str(error)) or type(error).__name__
        self.say(b"TLS: " + words.encode("ascii", "replace"))

    cdef void say(self, bytes why) noexcept:
        cdef Py_ssize_t nbytes = min(PyBytes_GET_SIZE(why), <Py_ssize_t>FAULT_NBYTES - 1)
        memcpy(self.seal.fault, PyBytes_AS_STRING(why), nbytes)
        self.seal.fault[nbytes] = 0


cdef Py_ssize_t encrypt(Seal *seal, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    with gil:
        return (<Tls>seal.tls).encrypt(content, nbytes, room)


cdef Py_ssize_t decrypt(Seal *seal, uint8_t *content, Py_ssize_t nbytes, Py_ssize_t room) noexcept nogil:
    with gil:
        return (<Tls>seal.tls).decrypt(content, nbytes, room)
