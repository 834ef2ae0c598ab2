# headers: reads a request's headers, one by one, into its call, and rejects a call that is wrong or not permitted.
# Never in here: frames, HPACK, the response's headers.

from libc.stdint cimport int64_t, uint8_t
from inferd._core.http.call cimport Credentials
from inferd._core.http.handler cimport HttpHandler
from inferd._core.http2.stream cimport Http2Call
from inferd._core.http2.http2_state cimport Http2State

cdef enum Field:
    OTHER                       # this server ignores it, such as the client's own metadata
    PATH, METHOD, CONTENT_TYPE, TIMEOUT, ENCODING, ACCEPT_ENCODING, AUTHORIZATION

cdef enum Seen:                 # bits: facts of a header block, as its fields come
    GRPC = 1                    # its content type is gRPC's
    BAD_TIMEOUT = 2             # `check` rejects a call with these two
    BAD_ENCODING = 4
    AUTHORITY = 8               # it has :authority
    AUTHORIZED = 16             # its `authorization` equals the value that the authenticator last accepted here
    ERRORS_END = 32             # a request of the stream that fails ends it with its status: triton_grpc_error

cdef class HeaderReader:        # one connection's; a client sends one header block at a time
    cdef Http2State server
    cdef HttpHandler http       # serves REST calls; None: there are none
    cdef Http2Call opening      # the call whose headers come; None: the block has trailers, or there is no block; or else
    cdef Http2Call foreign      # the call whose headers come, and whose path is no method of gRPC. It has an Exchange
    cdef int64_t now_ns         # when the present turn began: a timeout counts from then
    cdef int seen               # bits of Seen: of the block that comes, or of the last one
    cdef bytes verb_name        # its HTTP method; None: POST
    cdef bytes authorization    # the value of `authorization` until the authenticator has seen it, or None
    cdef bytes authority        # the newest :authority
    cdef Py_ssize_t trailer_nbytes      # the size of the trailers that come
    cdef Credentials credentials
    # A block begins: this call's headers, or trailers (None).
    cdef void begin(self, Http2Call call) noexcept
    cdef void note(self, Seen fact, bint holds) noexcept
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
    # All headers of a REST call have come. Raises their fault.
    cdef int open_exchange(self, Http2Call call) except -1
    # The block exceeds max_header_nbytes. False: stop, it is too large to reject the call with a status.
    cdef bint read_no_more(self) noexcept
    # Reads a header other than :method and content-type.
    cdef void take(self, Http2Call call, Field field, const uint8_t *value, size_t value_nbytes) noexcept
    # All headers have come. True: the client does not speak gRPC, and got an HTTP response. Raises ResourceExhausted for too many headers.
    cdef bint reject_foreign(self, Http2Call call) except -1
    # Raises the RequestError of a call that is wrong, or not permitted.
    cdef int check(self, Http2Call call) except -1
    # The block's `authorization` header, before `check`; None: it has none, or nobody asks for it.
    cdef bytes token(self)
    cdef void take_authorization(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept
