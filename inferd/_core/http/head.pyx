# cython: language_level=3, boundscheck=False, wraparound=False
# head: one HTTP request before its body (see head.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memchr, memcmp

from inferd._core.base.key cimport key_of
from inferd._core.base.utf8 cimport is_utf8

from inferd.errors import InvalidArgument, Unimplemented

cdef enum:
    MAX_REQUEST_ID_NBYTES = 256 # a longer X-Request-Id is not repeated
    NUMBER_DIGITS = 18          # the most digits of a number in a field: 64 bits hold them
    MAX_SHOWN_NBYTES = 64       # of a client's own words

cdef enum Field:                # those that are read
    HOST = 0
    CONTENT_TYPE = 1
    CONTENT_LENGTH = 2
    CONTENT_ENCODING = 3
    JSON_LENGTH = 4
    INFERD_TIMEOUT = 5
    ENVOY_TIMEOUT = 6
    AUTHORIZATION = 7
    ACCEPT = 8
    ACCEPT_ENCODING = 9
    ORIGIN = 10
    REQUEST_METHOD = 11
    REQUEST_ID = 12
    TRACEPARENT = 13
    EXPECT = 14
    KEY = 15
    LANGUAGE = 16
    FETCH_SITE = 17
    OTHER = 18

cdef tuple NAMES = (
    "Host", "Content-Type", "Content-Length", "Content-Encoding", "Inference-Header-Content-Length", "Inferd-Timeout-Ms",
    "X-Envoy-Expected-Rq-Timeout-Ms", "Authorization", "Accept", "Accept-Encoding", "Origin", "Access-Control-Request-Method",
    "X-Request-Id", "traceparent", "Expect", "Inferd-Key", "Accept-Language", "Sec-Fetch-Site")

# A field that comes twice may be read in two ways, by two servers in a row: only these may. Proxies add some of them.
cdef uint32_t REPEATABLE = 1 << AUTHORIZATION | 1 << ACCEPT | 1 << ACCEPT_ENCODING | 1 << REQUEST_ID | \
    1 << TRACEPARENT | 1 << ENVOY_TIMEOUT | 1 << LANGUAGE | 1 << FETCH_SITE

SEVERAL = b", "
cdef bytes JSON = b"application/json"
cdef bytes BINARY = b"application/octet-stream"
cdef tuple VERBS = (b"", b"GET", b"HEAD", b"POST", b"OPTIONS")
cdef tuple CODINGS = ("identity", "gzip", "deflate", "unknown")


@cython.final
@cython.freelist(64)
@cython.no_gc
cdef class Head:
    """One HTTP request before its body. Transports make it."""

    def __cinit__(self):
        self.verb_name = self.model_name = self.model_version = b""
        self.json_nbytes = self.content_nbytes = self.timeout_ns = self.max_body_nbytes = NOT_SAID
        self.keep_alive = True

    @property
    def path(self):
        """The path as it came, percent-encoded."""
        return self.target[:self.path_nbytes]

    @property
    def query(self):
        """The query without its "?"; b"" if there is none."""
        return self.target[self.path_nbytes + 1:]

    @property
    def content_coding_name(self):
        """"identity", "gzip" or "deflate": how the request's body is compressed."""
        return CODINGS[<int>self.content_coding]

    @property
    def accept_coding_name(self):
        """The same for the response, as the client likes it best."""
        return CODINGS[<int>self.accept_coding]

    cdef int open(self, Verb verb, const uint8_t *target, Py_ssize_t nbytes) except -1:
        cdef const uint8_t *query
        cdef Py_ssize_t i
        self.verb = verb
        if verb != VERB_OTHER:
            self.verb_name = <bytes>VERBS[<int>verb]
        if nbytes == 0 or target[0] != c'/' and not (nbytes == 1 and target[0] == c'*' and verb == OPTIONS):
            raise InvalidArgument("request target: expected a path that begins with '/', got another", reason="target")
        for i in range(nbytes):
            if target[i] <= 0x20 or target[i] >= 0x7F or target[i] == c'#':
                raise InvalidArgument(f"request target: expected printable ASCII without '#', got byte 0x{target[i]:02x}; "
                                      "percent-encode it", reason="target")
        self.target = PyBytes_FromStringAndSize(<const char *>target, nbytes)
        query = <const uint8_t *>memchr(target, c'?', nbytes)
        self.path_nbytes = nbytes if query == NULL else query - target
        if verb == POST:
            read_address(self, target, self.path_nbytes)
        return 0

    cdef int add(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept:
        cdef Field field = field_of(name, name_nbytes)
        cdef bint again
        if field == OTHER:
            return 0
        again = self.seen >> field & 1
        self.seen |= <uint32_t>1 << field
        try:
            if again and not REPEATABLE >> field & 1:
                raise InvalidArgument(f"header {NAMES[<int>field]}: expected it once, got it more than once; send one", reason="header")
            read(self, field, value, value_nbytes, again)
        except Exception as error:
            if self.error is None:
                self.error = error
        return 0

    cdef int finish(self) except -1:
        if self.error is not None:
            raise self.error
        if self.json_nbytes > self.content_nbytes >= 0 and self.content_coding == IDENTITY:
            raise InvalidArgument(
                f"header Inference-Header-Content-Length: expected at most the length of the body, {self.content_nbytes}, got "
                f"{self.json_nbytes}; it is the length of the JSON in front of the binary tensors", reason="header")
        return 0

    cdef Head again(self):
        cdef Head head = Head.__new__(Head)
        head.verb, head.verb_name, head.target, head.path_nbytes = self.verb, self.verb_name, self.target, self.path_nbytes
        head.is_infer, head.model_name, head.model_version = self.is_infer, self.model_name, self.model_version
        head.host, head.content_type, head.content_type_whole = self.host, self.content_type, self.content_type_whole
        head.content_coding, head.accept_coding = self.content_coding, self.accept_coding
        head.json_nbytes, head.content_nbytes = self.json_nbytes, self.content_nbytes
        head.authorization, head.accept, head.origin = self.authorization, self.accept, self.origin
        head.access_control_request_method = self.access_control_request_method
        head.request_id, head.traceparent, head.expects_continue = self.request_id, self.traceparent, self.expects_continue
        head.seen, head.keep_alive, head.key, head.from_browser = self.seen, self.keep_alive, self.key, self.from_browser
        head.timeout_ns = self.timeout_ns
        return head

    cpdef int64_t deadline_ns(self, int64_t now_ns) noexcept:
        return now_ns + self.timeout_ns if self.timeout_ns != NOT_SAID else INT64_MAX


cdef inline bint is_text(bytes name) noexcept:
    return is_utf8(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))


cdef int read_address(Head head, const uint8_t *path, Py_ssize_t nbytes) except -1:
    """Reads /v2/models/NAME[/versions/VERSION]/infer."""
    cdef const uint8_t *name
    cdef const uint8_t *rest
    cdef Py_ssize_t rest_nbytes
    if nbytes <= 17 or memcmp(path, <const char *>"/v2/models/", 11) != 0 or memcmp(path + nbytes - 6, <const char *>"/infer", 6) != 0:
        return 0
    name = path + 11
    rest = <const uint8_t *>memchr(name, c'/', nbytes - 11)         # there is one: that of /infer
    if rest == name:
        return 0
    rest_nbytes = path + nbytes - rest
    if rest_nbytes > 6:             # /versions/VERSION/infer
        if rest_nbytes <= 16 or memcmp(rest, <const char *>"/versions/", 10) != 0 or memchr(rest + 10, c'/', rest_nbytes - 16) != NULL:
            return 0
        head.model_version = percent_decoded(rest + 10, rest_nbytes - 16)
    head.model_name = percent_decoded(name, rest - name)
    if not (is_text(head.model_name) and is_text(head.model_version)):
        raise InvalidArgument("path: expected names in UTF-8, percent-encoded, got bytes that are none", reason="target")
    head.is_infer = True
    return 0


cdef int read(Head head, Field field, const uint8_t *value, size_t nbytes, bint again) except -1:
    cdef Coding coding
    if field == HOST:
        head.host = value[:nbytes]
    elif field == CONTENT_TYPE:
        read_content_type(head, value, nbytes)
    elif field == CONTENT_LENGTH:
        head.content_nbytes = number(field, value, nbytes)
    elif field == CONTENT_ENCODING:
        head.content_coding = coding_of(value, nbytes)
        if head.content_coding == UNKNOWN_CODING:
            raise Unimplemented("header Content-Encoding: expected gzip, deflate or identity, got another; send the body in one of these",
                                reason="content_coding")
    elif field == JSON_LENGTH:
        head.json_nbytes = number(field, value, nbytes)
    elif field == INFERD_TIMEOUT or field == ENVOY_TIMEOUT:
        read_timeout(head, number(field, value, nbytes))
    elif field == AUTHORIZATION:
        head.authorization = SEVERAL if again else value[:nbytes]
    elif field == ACCEPT:
        if not again:
            head.accept = value[:nbytes]
    elif field == ACCEPT_ENCODING:
        coding = liked_coding(value, nbytes)
        if head.accept_coding == IDENTITY:
            head.accept_coding = coding
    elif field == ORIGIN:
        head.origin = value[:nbytes]
    elif field == REQUEST_METHOD:
        head.access_control_request_method = value[:nbytes]
    elif field == REQUEST_ID:
        if nbytes <= MAX_REQUEST_ID_NBYTES and not again:
            head.request_id = value[:nbytes]
    elif field == TRACEPARENT:
        head.traceparent = None if again else value[:nbytes]    # as W3C's Trace Context says
    elif field == KEY:
        head.key = key_of(value, nbytes)
    elif field == LANGUAGE or field == FETCH_SITE:
        head.from_browser = True
    elif field == EXPECT:
        if not same_name(value, nbytes, "100-continue", 12):
            raise InvalidArgument(f"header Expect: expected 100-continue, got {shown_word(value, nbytes)}; leave it out",
                                  reason="expectation")
        head.expects_continue = True
    return 0


cdef int read_content_type(Head head, const uint8_t *value, size_t nbytes) except -1:
    cdef size_t end = 0
    if same_name(value, nbytes, "application/json", 16):
        head.content_type = head.content_type_whole = JSON
    elif same_name(value, nbytes, "application/octet-stream", 24):
        head.content_type = head.content_type_whole = BINARY
    else:
        head.content_type_whole = value[:nbytes]
        while end < nbytes and value[end] != c';':
            end += 1
        head.content_type = value[:end].strip().lower()
    return 0


cdef int read_timeout(Head head, int64_t amount_ms) except -1:
    cdef int64_t timeout_ns = amount_ms * 1_000_000 if amount_ms < INT64_MAX // 4_000_000 else INT64_MAX // 4
    if head.timeout_ns == NOT_SAID or timeout_ns < head.timeout_ns:
        head.timeout_ns = timeout_ns
    return 0


cdef bint same_name(const uint8_t *name, size_t nbytes, const char *text, size_t text_nbytes) noexcept nogil:
    cdef size_t i
    if nbytes != text_nbytes:
        return False
    for i in range(nbytes):
        if name[i] != <uint8_t>text[i] and (name[i] < c'A' or name[i] > c'Z' or name[i] | 0x20 != <uint8_t>text[i]):
            return False
    return True


cdef inline Field field_if(Field field, const uint8_t *name, size_t nbytes, const char *text) noexcept nogil:
    return field if same_name(name, nbytes, text, nbytes) else OTHER


cdef Field field_of(const uint8_t *name, size_t nbytes) noexcept nogil:
    """The length decides which name it may be."""
    if nbytes == 4:
        return field_if(HOST, name, nbytes, "host")
    if nbytes == 6:
        if name[0] | 0x20 == c'o':
            return field_if(ORIGIN, name, nbytes, "origin")
        return field_if(ACCEPT, name, nbytes, "accept") if name[0] | 0x20 == c'a' else field_if(EXPECT, name, nbytes, "expect")
    if nbytes == 10:
        return field_if(HOST, name, nbytes, ":authority") if name[0] == c':' else field_if(KEY, name, nbytes, "inferd-key")
    if nbytes == 11:
        return field_if(TRACEPARENT, name, nbytes, "traceparent")
    if nbytes == 12:
        if name[0] | 0x20 == c'x':
            return field_if(REQUEST_ID, name, nbytes, "x-request-id")
        return field_if(CONTENT_TYPE, name, nbytes, "content-type")
    if nbytes == 13:
        return field_if(AUTHORIZATION, name, nbytes, "authorization")
    if nbytes == 14:
        if name[0] | 0x20 == c's':
            return field_if(FETCH_SITE, name, nbytes, "sec-fetch-site")
        return field_if(CONTENT_LENGTH, name, nbytes, "content-length")
    if nbytes == 15:
        if name[7] | 0x20 == c'l':
            return field_if(LANGUAGE, name, nbytes, "accept-language")
        return field_if(ACCEPT_ENCODING, name, nbytes, "accept-encoding")
    if nbytes == 16:
        return field_if(CONTENT_ENCODING, name, nbytes, "content-encoding")
    if nbytes == 17:
        return field_if(INFERD_TIMEOUT, name, nbytes, "inferd-timeout-ms")
    if nbytes == 29:
        return field_if(REQUEST_METHOD, name, nbytes, "access-control-request-method")
    if nbytes == 30:
        return field_if(ENVOY_TIMEOUT, name, nbytes, "x-envoy-expected-rq-timeout-ms")
    if nbytes == 31:
        return field_if(JSON_LENGTH, name, nbytes, "inference-header-content-length")
    return OTHER


cdef str shown_word(const uint8_t *word, size_t nbytes):
    return repr(word[:min(nbytes, <size_t>MAX_SHOWN_NBYTES)])[1:]


cdef int64_t number(Field field, const uint8_t *value, size_t nbytes) except -1:
    """1 to NUMBER_DIGITS digits, without a sign: two servers in a row must read the same."""
    cdef int64_t result = 0
    cdef size_t i, come_nbytes = nbytes
    for i in range(min(nbytes, <size_t>NUMBER_DIGITS + 1)):
        if value[i] < c'0' or value[i] > c'9' or i == NUMBER_DIGITS:
            nbytes = 0
            break
        result = result * 10 + (value[i] - c'0')
    if nbytes == 0:
        raise InvalidArgument(f"header {NAMES[<int>field]}: expected a number of 1 to {NUMBER_DIGITS} digits, got "
                              f"{shown_word(value, come_nbytes)}",
                              reason="header")
    return result


cdef Coding coding_of(const uint8_t *value, size_t nbytes) noexcept nogil:
    if same_name(value, nbytes, "gzip", 4) or same_name(value, nbytes, "x-gzip", 6):
        return GZIP
    if same_name(value, nbytes, "deflate", 7):
        return DEFLATE
    return IDENTITY if same_name(value, nbytes, "identity", 8) else UNKNOWN_CODING


cdef Coding liked_coding(const uint8_t *value, size_t nbytes) noexcept nogil:
    """The coding of Accept-Encoding with the highest q; gzip where several have it. "gzip;q=0" takes none. "*" counts for nothing."""
    cdef size_t at = 0, end
    cdef int q, best_q = 0
    cdef Coding coding, best = IDENTITY
    while at < nbytes:
        while at < nbytes and (value[at] == c' ' or value[at] == c'\t' or value[at] == c','):
            at += 1
        end = at
        while end < nbytes and value[end] != c',' and value[end] != c';' and value[end] != c' ' and value[end] != c'\t':
            end += 1
        coding = coding_of(value + at, end - at)
        at = end
        while end < nbytes and value[end] != c',':
            end += 1
        if coding == GZIP or coding == DEFLATE:
            q = quality(value + at, end - at)
            if q > best_q or q == best_q > 0 and coding == GZIP:
                best, best_q = coding, q
        at = end
    return best


cdef int quality(const uint8_t *value, size_t nbytes) noexcept nogil:
    """Thousandths of "; q=0.5"; 1000 where it is not said, 0 where it is said wrongly."""
    cdef size_t i = 0
    cdef int thousandths, digit = 100
    while i < nbytes and (value[i] == c' ' or value[i] == c'\t' or value[i] == c';'):
        i += 1
    if i == nbytes:
        return 1000
    if nbytes - i < 3 or value[i] | 0x20 != c'q' or value[i + 1] != c'=' or value[i + 2] != c'0' and value[i + 2] != c'1':
        return 0
    thousandths = 1000 * (value[i + 2] - c'0')
    i += 4 if i + 3 < nbytes and value[i + 3] == c'.' else 3
    while i < nbytes and c'0' <= value[i] <= c'9' and digit > 0:
        thousandths += digit * (value[i] - c'0')
        digit = digit // 10
        i += 1
    return min(thousandths, 1000)


cdef inline int hexadecimal(uint8_t digit) noexcept nogil:
    if c'0' <= digit <= c'9':
        return digit - c'0'
    digit |= 0x20
    return digit - c'a' + 10 if c'a' <= digit <= c'f' else -1


cdef bytes percent_decoded(const uint8_t *text, Py_ssize_t nbytes):
    cdef bytes decoded = PyBytes_FromStringAndSize(<const char *>text, nbytes)
    cdef uint8_t *into
    cdef Py_ssize_t i = 0, made = 0
    cdef int high, low
    if memchr(text, c'%', nbytes) == NULL:
        return decoded
    into = <uint8_t *>PyBytes_AS_STRING(decoded)
    while i < nbytes:
        if text[i] == c'%':
            high = hexadecimal(text[i + 1]) if i + 2 < nbytes else -1
            low = hexadecimal(text[i + 2]) if i + 2 < nbytes else -1
            if high < 0 or low < 0:
                raise InvalidArgument("request target: expected two hexadecimal digits behind '%', got others", reason="target")
            into[made] = high << 4 | low
            i += 3
        else:
            into[made] = text[i]
            i += 1
        made += 1
    return decoded[:made]


cdef Verb verb_of(bytes name) noexcept:
    cdef int verb
    for verb in range(1, 5):
        if name == VERBS[verb]:
            return <Verb>verb
    return VERB_OTHER
