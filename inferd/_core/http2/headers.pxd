# headers: reads a request's headers, one by one, into its call, and rejects a call that is wrong or not permitted.
# Never in here: frames, HPACK, the response's headers.

from libc.stdint cimport uint8_t, uint64_t
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http2.stream cimport Http2Call
from inferd._core.http2.http2_state cimport Http2State

cdef enum Field:
    OTHER                       # this server ignores it, such as the client's own metadata
    PATH, METHOD, CONTENT_TYPE, TIMEOUT, ENCODING, ACCEPT_ENCODING, AUTHORIZATION

cdef class HeaderReader:        # one connection's; a client sends one header block at a time
    cdef Http2State server
    cdef HttpHandler http       # serves REST calls; None: there are none
    cdef Http2Call opening      # the call whose headers come; None: the block has trailers, or there is no block; or else
    cdef Http2Call foreign      # the call whose headers come, and whose path is no method of gRPC. It has an Exchange
    cdef bytes verb_name        # the HTTP method of that block, if it is not POST
    cdef bytes authority        # the newest :authority,
    cdef bint has_authority     # and whether that block has it
    cdef Py_ssize_t trailer_nbytes      # the size of the trailers that come
    cdef bytes authorized       # the `authorization` header that the authenticator last accepted, or None,
    cdef uint64_t authorized_epoch      # and the server's credentials_epoch at that time
    # A block begins: this call's headers, or trailers (None).
    cdef void begin(self, Http2Call call) noexcept
    # Whether the headers of this call still come.
    cdef bint comes(self, Http2Call call) noexcept
    # Reads one header. False: stop, the block is too large.
    cdef bint read(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept
    # One header of a call that is none of gRPC, or of trailers.
    cdef bint read_foreign(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept
    # The call is none of gRPC: makes its Exchange.
    cdef void begin_foreign(self, Http2Call call, const uint8_t *target, size_t nbytes) noexcept
    # A header that only some calls have a use for.
    cdef void take_other(self, Http2Call call, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept
    cdef void take_authority(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
    cdef void take_traceparent(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
    cdef void take_verb(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
    cdef size_error(self, str fields)
    # The end of a response to a client that does not speak gRPC.
    cdef bytes what_else(self)
    # All headers of a REST call have come. Raises what is wrong with them.
    cdef int open_exchange(self, Http2Call call) except -1
    # The block exceeds max_header_nbytes. False: stop, it is too large to reject the call with a status.
    cdef bint read_no_more(self) noexcept
    # Reads a header that not every request has.
    cdef void take(self, Http2Call call, Field field, const uint8_t *value, size_t value_nbytes) noexcept
    # All headers have come. True: the client does not speak gRPC, and got an HTTP response. Raises ResourceExhausted for too many headers.
    cdef bint reject_foreign(self, Http2Call call) except -1
    # Raises the RequestError of a call that is wrong, or not permitted.
    cdef int check(self, Http2Call call) except -1
    # The call's `authorization` header, before `check`; None: it has none, or nobody asks for it.
    cdef bytes token_of(self, Http2Call call)
    cdef int authenticate(self, Http2Call call) except -1
    cdef void take_authorization(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
