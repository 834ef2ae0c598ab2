# headers: what a request's headers say, read one by one into its call, and whether it is a call that this server knows.
# Never in here: frames, HPACK, the response's headers.

from libc.stdint cimport uint8_t, uint64_t
from inferd._core.http2.stream cimport Http2Call
from inferd._core.http2.server_state cimport ServerState

cdef enum Field:
    OTHER                       # says nothing to this server, such as the client's own metadata
    PATH, METHOD, CONTENT_TYPE, TIMEOUT, ENCODING, ACCEPT_ENCODING, AUTHORIZATION

cdef class HeaderReader:        # of one connection; it receives one block at a time
    cdef ServerState server
    cdef Http2Call opening      # whose headers are being received; None: the block is of trailers, or there is none
    cdef Py_ssize_t trailer_nbytes      # of the block of trailers that is being received
    cdef bytes authorized       # the `authorization` header that the authenticator let through last, or None,
    cdef uint64_t authorized_epoch      # and when
    # A block begins: of this call's headers, or of trailers (None).
    cdef void begin(self, Http2Call call) noexcept
    # One header of the block, those at once that all requests have. False: it has more than are read.
    cdef bint read(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept
    # There are more than max_header_nbytes; the same.
    cdef bint read_no_more(self) noexcept
    # One of the others.
    cdef void take(self, Http2Call call, Field field, const uint8_t *name, size_t name_nbytes,
                   const uint8_t *value, size_t value_nbytes) noexcept
    # All headers are there. reject_foreign, then check: raise what is wrong with them. False: the call was answered as HTTP is.
    cdef bint reject_foreign(self, Http2Call call) except -1
    cdef int check(self, Http2Call call) except -1
    cdef int authenticate(self, Http2Call call) except -1
    cdef void take_authorization(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
