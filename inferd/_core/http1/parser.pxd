# parser: the requests of one connection of HTTP/1.1, one after the other, out of bytes, over llhttp. Strict: bytes that two servers might
# read as different requests are an error, and the connection's last.
# Never in here: sockets, time, calls, responses.

from libc.stdint cimport int64_t, uint8_t
from inferd._core.grpc.message cimport Message, Share
from inferd._core.http.head cimport Head, Verb
from inferd._core.http1.llhttp cimport llhttp_errno_t, llhttp_t

cdef enum Stage:                        # of the present request
    BETWEEN = 0                         # nothing of it has come, or only an empty line
    IN_HEAD = 1
    HEAD_WHOLE = 2                      # the caller looks at `head`; take() goes on with the body
    IN_BODY = 3
    WHOLE = 4                           # `body` is whole; next() goes on with the next request
    BROKEN = 5                          # an error: nothing that comes has a meaning any more

cdef class Parser:
    cdef readonly Stage stage
    cdef readonly Head head             # from HEAD_WHOLE on
    cdef readonly Message body          # as far as it has come; None: nothing yet
    cdef bint chunked                   # it comes in chunks; else head.content_nbytes says how long it is
    cdef bint is_1_0                    # the client speaks HTTP/1.0
    cdef bint drops                     # the body is thrown away as it comes: its request was rejected. The caller sets it
    cdef readonly Py_ssize_t missing_nbytes     # bytes of the body, or of its present chunk, that have not come
    cdef int64_t body_nbytes            # bytes of the body that have come
    cdef Share share                    # the connection's, which bodies are charged to, or None
    cdef Py_ssize_t max_header_nbytes, max_body_nbytes  # limits; the second for the present request, which the caller may lower
    # Within the head.
    cdef llhttp_t state
    cdef Py_ssize_t head_nbytes         # bytes of it that have come
    cdef int empty_nbytes               # bytes of an empty line in front of it
    cdef bytearray partial              # its bytes, if it comes in several reads; else None
    cdef const uint8_t *source          # where it lies, as long as take() runs
    cdef Py_ssize_t target_at, target_nbytes, name_at, name_nbytes, value_at, value_nbytes      # places in it
    cdef bint closes, keeps             # what `Connection` says
    # The last head, for a client that sends the same bytes again: most do.
    cdef bytes known                    # its bytes; None: it was long, came in pieces or has a chunked body
    cdef Head known_head
    # Within a chunked body.
    cdef int64_t chunked_nbytes         # bytes of it that have come, sizes, extensions and trailers included
    cdef object failure                 # an exception that a callback could not raise, or None
    # Takes bytes until the head is whole, then until the body is, or until none are left, and returns the stage. Moves data and nbytes on.
    # Raises the RequestError that is the connection's last response.
    cdef int take(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    # The response is under way: the next request may come.
    cdef void next(self) noexcept
    # Its own.
    cdef bint skip_empty_line(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    cdef bint take_known_head(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    cdef int take_head(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    # The error at which llhttp has stopped.
    cdef rejected(self, llhttp_errno_t found)
    cdef bint has_no_version(self, Py_ssize_t come_nbytes) noexcept
    cdef int end_head(self) except -1
    cdef Verb read_verb(self) noexcept
    cdef void read_field(self, const uint8_t *name, const uint8_t *value) noexcept
    cdef int begin_body(self) except -1
    cdef int take_body(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    cdef int take_chunks(self, const uint8_t **data, Py_ssize_t *nbytes) except -1
    cdef int append(self, const uint8_t *piece, Py_ssize_t nbytes) except -1
    cdef int check_framing(self, int64_t come_nbytes) except -1
    cdef too_large(self)
