# cython: language_level=3
# headers: reads a request's headers into its call (see headers.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp

from inferd._core.base.key cimport key_of
from inferd._core.grpc.call cimport timeout_ns
from inferd._core.http.handler cimport http_handler
from inferd._core.grpc.message cimport Message
from inferd._core.http.call cimport Credentials
from inferd._core.http.head cimport IDENTITY, SEVERAL, Head, verb_of
from inferd._core.http2.exchange cimport Exchange
from inferd._core.http2.stream cimport INFER, INFER_STREAM, REST, SERVER_STREAM, STREAM, UNARY, UNKNOWN, Http2Call
from inferd._core.http2.http2_state cimport Http2State
from inferd._core.http2.limits cimport REJECTED_HEADERS, LEAST_REJECTED_NBYTES
from inferd._core.net.limits cimport MAX_PATH_NBYTES

from inferd.errors import InvalidArgument, ResourceExhausted, Unimplemented

cdef enum:
    MAX_TRACEPARENT_NBYTES = 256

cdef tuple TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)

KINDS = {"infer": INFER, "unary": UNARY, "stream": STREAM, "infer_stream": INFER_STREAM}


@cython.final
cdef class HeaderReader:

    def __cinit__(self, Http2State server not None):
        self.server, self.credentials = server, Credentials(server)
        if server.http_handler is not None:
            self.http = http_handler(server.http_handler)

    cdef void begin(self, Http2Call call) noexcept:
        self.opening = call
        self.foreign = self.verb_name = self.authorization = None
        self.trailer_nbytes = self.seen = 0

    cdef inline void note(self, Seen fact, bint holds) noexcept:
        self.seen = self.seen | fact if holds else self.seen & ~fact

    cdef bint read(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef size_t nbytes = name_nbytes + value_nbytes + 32        # as SETTINGS_MAX_HEADER_LIST_SIZE counts
        cdef Field field
        if self.opening is None:
            return self.read_foreign(name, name_nbytes, value, value_nbytes)
        self.opening.header_nbytes += nbytes
        if self.opening.header_nbytes > self.server.limits.max_header_nbytes:
            return self.read_no_more()
        field = field_of(name, name_nbytes)
        if field == METHOD:
            if not equals(value, value_nbytes, "POST", 4):
                self.take_verb(self.opening, value, value_nbytes)
        elif field == CONTENT_TYPE:
            self.note(GRPC, value_nbytes >= 16 and memcmp(value, <const char *>"application/grpc", 16) == 0 and
                      (value_nbytes == 16 or value[16] == c'+' or value[16] == c';'))
        elif field != OTHER:
            self.take(self.opening, field, value, value_nbytes)
        elif equals(name, name_nbytes, "traceparent", 11):
            self.take_traceparent(self.opening, value, value_nbytes)
        elif equals(name, name_nbytes, "inferd-key", 10):
            self.opening.key = key_of(value, value_nbytes)
        elif self.opening.kind != INFER:
            self.take_other(self.opening, name, name_nbytes, value, value_nbytes)
        return True

    cdef void take_other(self, Http2Call call, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
        if call.kind == INFER_STREAM and equals(name, name_nbytes, "triton_grpc_error", 17):
            self.note(ERRORS_END, equals(value, value_nbytes, "true", 4))
        elif call.kind == UNKNOWN and self.http is not None and equals(name, name_nbytes, ":authority", 10):
            self.take_authority(call, value, value_nbytes)      # :path may follow

    cdef bint read_foreign(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef Exchange exchange
        cdef bint goes_on
        if self.foreign is None:        # trailers: the server ignores their fields
            self.trailer_nbytes += name_nbytes + value_nbytes + 32
            return self.trailer_nbytes <= self.server.limits.max_header_nbytes
        exchange = self.foreign.exchange
        if not (exchange.is_host_known and equals(name, name_nbytes, "host", 4) and
                equals(value, value_nbytes, PyBytes_AS_STRING(self.authority), PyBytes_GET_SIZE(self.authority))):
            exchange.head.add(name, name_nbytes, value, value_nbytes)
        self.opening = self.foreign
        goes_on = self.read(name, name_nbytes, value, value_nbytes)
        if self.opening is None:
            self.foreign = None
        self.opening = None
        return goes_on

    cdef bint read_no_more(self) noexcept:
        cdef Py_ssize_t most_nbytes = max(REJECTED_HEADERS * self.server.limits.max_header_nbytes, <Py_ssize_t>LEAST_REJECTED_NBYTES)
        if self.opening.header_nbytes <= most_nbytes:
            return True
        self.opening = self.authorization = None
        return False

    cdef void take(self, Http2Call call, Field field, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef Http2State server = self.server
        cdef int64_t timeout
        if field == PATH:
            if equals(value, value_nbytes, PyBytes_AS_STRING(server.infer_path), PyBytes_GET_SIZE(server.infer_path)):
                call.kind = INFER
                call.method = server.infer_method
                call.max_message_nbytes = server.limits.max_message_nbytes
            else:
                find_method(server, call, <bytes>value[:value_nbytes])
                if call.kind == UNKNOWN and self.http is not None:
                    self.begin_foreign(call, value, value_nbytes)
        elif field == TIMEOUT:
            timeout = timeout_ns(value, value_nbytes)
            if timeout < 0:
                self.seen |= BAD_TIMEOUT
            else:
                call.deadline_ns = self.now_ns + timeout
        elif field == ENCODING:
            call.encoding = encoding_of(value, value_nbytes)
            self.note(BAD_ENCODING, call.encoding is None and not equals(value, value_nbytes, "identity", 8))
        elif field == ACCEPT_ENCODING:
            if server.compression is not None and lists(value, value_nbytes, server.encoding):
                call.response_encoding = server.compression
        elif field == AUTHORIZATION and server.authenticator is not None:
            self.take_authorization(call, value, value_nbytes)

    cdef void take_traceparent(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
        """Only the log has a use for it. It may come once: two are none."""
        try:
            call.traceparent = <bytes>value[:nbytes] if call.traceparent is None and nbytes <= MAX_TRACEPARENT_NBYTES else b""
        except Exception as error:
            call.error = error              # headers_complete rejects the call

    cdef void take_verb(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
        try:
            self.verb_name = <bytes>value[:nbytes]
        except Exception as error:
            call.error = error              # headers_complete rejects the call

    cdef void take_authority(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
        """Clients name the same one in all requests of a connection."""
        try:
            if self.authority is None or not equals(value, nbytes, PyBytes_AS_STRING(self.authority), PyBytes_GET_SIZE(self.authority)):
                self.authority = <bytes>value[:nbytes]
            self.seen |= AUTHORITY
            if call.exchange is not None:
                call.exchange.is_host_known = True
        except Exception as error:
            call.error = error

    cdef void begin_foreign(self, Http2Call call, const uint8_t *target, size_t nbytes) noexcept:
        cdef Exchange exchange
        try:
            exchange = call.exchange = Exchange.__new__(Exchange)
            call.head = exchange.head
            exchange.handler, exchange.target = self.http, <bytes>target[:nbytes]
            if self.seen & AUTHORITY:
                exchange.is_host_known = True
                exchange.head.add(<const uint8_t *>":authority", 10, <const uint8_t *>PyBytes_AS_STRING(self.authority),
                                  PyBytes_GET_SIZE(self.authority))
            self.foreign, self.opening = call, None
        except Exception as error:
            call.error = error

    cdef int open_exchange(self, Http2Call call) except -1:
        cdef Exchange exchange = call.exchange
        cdef Head head = exchange.head
        call.max_message_nbytes = self.server.limits.max_message_nbytes
        if call.header_nbytes > self.server.limits.max_header_nbytes:
            raise self.size_error("headers")
        if call.error is not None:
            raise call.error
        head.verb_name = b"POST" if self.verb_name is None else self.verb_name
        head.open(verb_of(head.verb_name), <const uint8_t *>PyBytes_AS_STRING(exchange.target), PyBytes_GET_SIZE(exchange.target))
        head.finish()
        call.deadline_ns = head.deadline_ns(self.now_ns)
        if head.is_infer:
            call.method = self.server.infer_method
        call.encoding = None if head.content_coding == IDENTITY else head.content_coding_name
        if self.server.compression is None or head.accept_coding == IDENTITY:
            call.response_encoding = None
        else:
            call.response_encoding = head.accept_coding_name
        return 0

    cdef size_error(self, str fields):
        """Other fields of such a call may not have been read."""
        return ResourceExhausted(f"{fields}: expected at most {self.server.limits.max_header_nbytes} bytes (max_header_bytes), got more; "
                                 f"send less", reason="header_size")

    cdef bytes what_else(self):
        return b"this port serves nothing else.\n" if self.http is None else b"paths of REST begin with /v2.\n"

    cdef bint reject_foreign(self, Http2Call call) except -1:
        if call.header_nbytes > self.server.limits.max_header_nbytes:
            raise self.size_error("metadata")
        if call.error is not None:
            raise call.error
        if self.verb_name is not None:
            send_text(call, 405, b"gRPC calls are POST requests; " + self.what_else())
            return True
        if not self.seen & GRPC:
            send_text(call, 415, b"gRPC calls have the content-type application/grpc; " + self.what_else())
            return True
        return False

    cdef int check(self, Http2Call call) except -1:
        if self.server.authenticator is not None and not (self.seen & AUTHORIZED and call.kind in (INFER, INFER_STREAM)):
            self.credentials.check(call, self.token())
        if call.kind == UNKNOWN:
            raise self.server.unserved(call.method)
        if self.seen & BAD_TIMEOUT:
            raise InvalidArgument("grpc-timeout: expected 1 to 8 digits and a unit of n, u, m, S, M or H", reason="timeout")
        if self.seen & BAD_ENCODING:
            raise Unimplemented("grpc-encoding: expected identity, deflate or gzip, got another; send messages in one of these",
                                reason="compression")
        return 0

    cdef bytes token(self):
        return self.credentials.accepted if self.seen & AUTHORIZED else self.authorization

    cdef void take_authorization(self, Http2Call call, const uint8_t *value, size_t nbytes) noexcept:
        """Keeps the header for the authenticator; without one, the server ignores it. It sees a value that all inferences of a
        connection have once."""
        if self.seen & AUTHORIZED or self.authorization is not None:
            self.seen &= ~AUTHORIZED
            self.authorization = SEVERAL
        elif self.credentials.has(value, nbytes):
            self.seen |= AUTHORIZED
        else:
            try:
                self.authorization = <bytes>value[:nbytes]
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


cdef inline str encoding_of(const uint8_t *value, size_t nbytes):
    if equals(value, nbytes, "gzip", 4):
        return "gzip"
    return "deflate" if equals(value, nbytes, "deflate", 7) else None


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
        call.kind = SERVER_STREAM if call.method_row.single else KINDS[call.method_row.kind]
        call.max_message_nbytes = server.limits.max_message_nbytes
        if call.kind != INFER_STREAM:
            call.max_message_nbytes = min(call.max_message_nbytes, <Py_ssize_t>call.method_row.max_request_nbytes)
    else:
        call.method = path[:MAX_PATH_NBYTES].decode("ascii", "replace")


cdef int send_text(Http2Call call, int status, bytes text) except -1:
    """The response for a client that does not speak gRPC: one line of text."""
    cdef Message body = Message(text)       # may raise: the call is not settled yet
    call.settled = True
    call.kind, call.exchange = REST, Exchange.__new__(Exchange)
    call.head = call.exchange.head
    call.exchange.status, call.exchange.headers = status, TEXT
    return call.submit_http(body)
