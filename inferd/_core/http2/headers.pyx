# cython: language_level=3
# headers: reads a request's headers into its call (see headers.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp

from inferd._core.base.clock cimport monotonic_ns
from inferd._core.grpc.call cimport timeout_ns
from inferd._core.http2.stream cimport INFER, INFER_STREAM, STREAM, UNARY, Http2Call
from inferd._core.http2.http2_state cimport Http2State
from inferd._core.http2.limits cimport ANSWERED_HEADERS, LEAST_ANSWERED_NBYTES, MAX_PATH_NBYTES

from inferd.errors import InvalidArgument, ResourceExhausted, Unimplemented

cdef bytes SEVERAL = b", "              # the value of `authorization` if it came more than once; no token holds a space
KINDS = {"infer": INFER, "unary": UNARY, "stream": STREAM, "infer_stream": INFER_STREAM}


@cython.final
cdef class HeaderReader:

    def __cinit__(self, Http2State server not None):
        self.server = server

    cdef void begin(self, Http2Call call) noexcept:
        if self.opening is not None:    # nghttp2 rejected that call by itself
            self.opening.authorization = None
        self.opening = call
        self.trailer_nbytes = 0

    cdef bint read(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef size_t nbytes = name_nbytes + value_nbytes + 32        # as SETTINGS_MAX_HEADER_LIST_SIZE counts
        cdef Field field
        if self.opening is None:        # trailers: a gRPC server ignores their fields
            self.trailer_nbytes += nbytes
            return self.trailer_nbytes <= self.server.limits.max_header_nbytes
        self.opening.header_nbytes += nbytes
        if self.opening.header_nbytes > self.server.limits.max_header_nbytes:
            return self.read_no_more()
        field = field_of(name, name_nbytes)
        if field == METHOD:
            self.opening.is_post = equals(value, value_nbytes, "POST", 4)
        elif field == CONTENT_TYPE:
            self.opening.is_grpc = value_nbytes >= 16 and memcmp(value, <const char *>"application/grpc", 16) == 0 and \
                (value_nbytes == 16 or value[16] == c'+' or value[16] == c';')
        elif field != OTHER:
            self.take(self.opening, field, value, value_nbytes)
        elif self.opening.kind == INFER_STREAM and equals(name, name_nbytes, "triton_grpc_error", 17):
            self.opening.errors_end = equals(value, value_nbytes, "true", 4)
        return True

    cdef bint read_no_more(self) noexcept:
        cdef Py_ssize_t most_nbytes = max(ANSWERED_HEADERS * self.server.limits.max_header_nbytes, <Py_ssize_t>LEAST_ANSWERED_NBYTES)
        if self.opening.header_nbytes <= most_nbytes:
            return True
        self.opening.authorization = None
        self.opening = None
        return False

    cdef void take(self, Http2Call call, Field field, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef Http2State server = self.server
        cdef int64_t timeout
        if field == PATH:
            if equals(value, value_nbytes, PyBytes_AS_STRING(server.infer_path), PyBytes_GET_SIZE(server.infer_path)):
                call.kind = INFER
                call.method = server.infer_method
                call.method_row = server.infer_row
                call.max_message_nbytes = server.limits.max_message_nbytes
            else:
                find_method(server, call, <bytes>value[:value_nbytes])
        elif field == TIMEOUT:
            timeout = timeout_ns(value, value_nbytes)
            if timeout < 0:
                call.bad_timeout = True
            else:
                call.deadline_ns = monotonic_ns() + timeout
        elif field == ENCODING:
            take_encoding(call, value, value_nbytes)
        elif field == ACCEPT_ENCODING:
            if server.compression is not None:
                call.compresses |= lists(value, value_nbytes, server.encoding)
        elif field == AUTHORIZATION and server.authenticator is not None:
            self.take_authorization(call, value, value_nbytes)

    cdef bint reject_foreign(self, Http2Call call) except -1:
        if call.header_nbytes > self.server.limits.max_header_nbytes:   # the fields that are checked below may not have been read
            raise ResourceExhausted(
                f"metadata: expected at most {self.server.limits.max_header_nbytes} bytes (max_header_bytes), "
                f"got more; send less metadata", reason="header_size")
        if call.error is not None:
            raise call.error
        if not call.is_post:
            call.send_plain(405, b"gRPC calls are POST requests; this port serves nothing else.\n")
            return True
        if not call.is_grpc:
            call.send_plain(415, b"Expected content-type application/grpc; this port serves gRPC only.\n")
            return True
        return False

    cdef int check(self, Http2Call call) except -1:
        if self.server.authenticator is not None and not call.is_authorized:
            self.authenticate(call)
        if call.method_row is None:
            raise self.server.unserved(call.method)
        if call.bad_timeout:
            raise InvalidArgument("grpc-timeout: expected 1 to 8 digits and a unit of n, u, m, S, M or H", reason="timeout")
        if call.bad_encoding:
            raise Unimplemented("grpc-encoding: expected identity, deflate or gzip, got another; send messages in one of these",
                                reason="compression")
        return 0

    cdef bytes token_of(self, Http2Call call):
        return self.authorized if call.is_authorized else call.authorization

    cdef int authenticate(self, Http2Call call) except -1:
        """Raises what the authenticator raises."""
        cdef bytes authorization = call.authorization
        call.authorization = None
        if self.server.authenticator(call, authorization):
            self.authorized, self.authorized_epoch = authorization, self.server.credentials_epoch
        return 0

    cdef void take_authorization(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
        """Keeps the header for the authenticator; without one, the server ignores it. The authenticator sees a value that all calls of
        a connection have once. The comparison takes a time that does not depend on where the first difference is."""
        cdef const uint8_t *known
        cdef uint8_t difference = 0
        cdef size_t i
        if call.is_authorized or call.authorization is not None:
            call.is_authorized, call.authorization = False, SEVERAL
            return
        call.is_authorized = False
        if self.authorized is not None and self.authorized_epoch == self.server.credentials_epoch and \
                nbytes == <size_t>PyBytes_GET_SIZE(self.authorized):
            known = <const uint8_t *>PyBytes_AS_STRING(self.authorized)
            for i in range(nbytes):
                difference |= value[i] ^ known[i]
            call.is_authorized = difference == 0
        if not call.is_authorized:
            try:
                call.authorization = <bytes>value[:nbytes]
            except Exception as error:
                call.error = error              # headers_complete rejects the call


cdef inline bint equals(const uint8_t *value, size_t nbytes, const char *text, size_t text_nbytes) noexcept:
    return nbytes == text_nbytes and memcmp(value, text, text_nbytes) == 0      # a constant text_nbytes makes memcmp a few instructions


cdef inline Field field_of(const uint8_t *name, size_t nbytes) noexcept:
    """Most comparisons fail at the length."""
    if equals(name, nbytes, ":path", 5):
        return PATH
    if equals(name, nbytes, ":method", 7):
        return METHOD
    if equals(name, nbytes, "content-type", 12):
        return CONTENT_TYPE
    if equals(name, nbytes, "grpc-timeout", 12):
        return TIMEOUT
    if equals(name, nbytes, "grpc-encoding", 13):
        return ENCODING
    if equals(name, nbytes, "authorization", 13):
        return AUTHORIZATION
    if equals(name, nbytes, "grpc-accept-encoding", 20):
        return ACCEPT_ENCODING
    return OTHER


cdef void take_encoding(Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
    call.encoding = None
    if equals(value, nbytes, "gzip", 4):
        call.encoding = "gzip"
    elif equals(value, nbytes, "deflate", 7):
        call.encoding = "deflate"
    call.bad_encoding = call.encoding is None and not equals(value, nbytes, "identity", 8)


cdef bint lists(const uint8_t *value, size_t nbytes, bytes word) noexcept:
    """Whether this word is one of a header's, such as "identity, deflate,gzip"."""
    cdef size_t begin = 0, end
    while begin < nbytes:
        end = begin
        while end < nbytes and value[end] != c',' and value[end] != c' ':
            end += 1
        if equals(value + begin, end - begin, PyBytes_AS_STRING(word), PyBytes_GET_SIZE(word)):
            return True
        begin = end + 1
    return False


cdef void find_method(Http2State server, Http2Call call, bytes path) noexcept:
    call.method_row = server.methods.get(path)
    if call.method_row is not None:
        call.method = path.decode("ascii")
        call.kind = KINDS[call.method_row.kind]
        call.single = call.method_row.single
        call.max_message_nbytes = server.limits.max_message_nbytes
        if call.kind != INFER_STREAM:
            call.max_message_nbytes = min(call.max_message_nbytes, <Py_ssize_t>call.method_row.max_request_nbytes)
    else:
        call.method = path[:MAX_PATH_NBYTES].decode("ascii", "replace")
