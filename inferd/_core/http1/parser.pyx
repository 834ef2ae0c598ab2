# cython: language_level=3, boundscheck=False, wraparound=False
# parser: the requests of one connection of HTTP/1.1 (see parser.pxd).
#
# llhttp finds the parts of a head and the chunks of a body. This parser decides once more, and more strictly, how long a body is: one
# Content-Length of digits, or `Transfer-Encoding: chunked`, never both. It rejects more than llhttp 9.2 does in its strict mode:
# - more than one empty line before a request, and spaces in a row in the request line;
# - HTTP/0.9 with fields behind a bare LF (nodejs/llhttp#877), RTSP and ICE;
# - other transfer codings in front of `chunked`;
# - extensions, trailers and leading zeros of chunks without an end.
# llhttp would also take the body of a request with `Upgrade` for another protocol.

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from inferd._core.grpc.message cimport Message, append_bytes, awaited_message, count_copied
from inferd._core.http.head cimport GET, HEAD, OPTIONS, POST, VERB_OTHER, Head, Verb, same_name
from inferd._core.http1.llhttp cimport *

from inferd.errors import InvalidArgument, ResourceExhausted, Unimplemented

cdef enum:
    # Sizes, extensions and trailers of a chunked body may take so many times its content, and max_header_nbytes more.
    FRAMING_TIMES = 8
    MAX_SHOWN_NBYTES = 64       # of a client's own words
    TLS_HANDSHAKE = 0x16        # the first byte of a client that speaks TLS
    KNOWN_NBYTES = 2 << 10      # the longest head that is kept, to be compared with the next one

cdef dict EXPECTED = {
    <int>HPE_INVALID_METHOD: ("request line: expected GET, HEAD, POST or OPTIONS", "method"),
    <int>HPE_INVALID_URL: ("request target: expected a path of printable ASCII that begins with '/'", "target"),
    <int>HPE_INVALID_VERSION: ("request line: expected METHOD /path HTTP/1.1", "http_version"),
    <int>HPE_INVALID_CONSTANT: ("request line: expected METHOD /path HTTP/1.1", "http_version"),
    <int>HPE_PAUSED_H2_UPGRADE: ("request line: expected METHOD /path HTTP/1.1", "http_version"),
    <int>HPE_CR_EXPECTED: ("expected lines that end with CR LF", "framing"),
    <int>HPE_LF_EXPECTED: ("expected lines that end with CR LF", "framing"),
    <int>HPE_STRICT: ("expected lines that end with CR LF", "framing"),
    <int>HPE_INVALID_HEADER_TOKEN: ("header: expected 'Name: value' of visible characters on one line", "header"),
    <int>HPE_UNEXPECTED_SPACE: ("header: expected 'Name: value' of visible characters on one line", "header"),
    <int>HPE_INVALID_CONTENT_LENGTH: ("header Content-Length: expected one number of digits", "framing"),
    <int>HPE_UNEXPECTED_CONTENT_LENGTH: ("header Content-Length: expected it once", "framing"),
    <int>HPE_INVALID_TRANSFER_ENCODING: ("header Transfer-Encoding: expected 'chunked' once", "framing"),
    <int>HPE_INVALID_CHUNK_SIZE: ("chunked body: expected the size of a chunk in hexadecimal digits", "framing"),
}


cdef class Parser:
    """Requests of HTTP/1.1 out of bytes. max_header_nbytes: of a request line with its fields. max_body_nbytes: of a body."""

    def __init__(self, Py_ssize_t max_header_nbytes, Py_ssize_t max_body_nbytes):
        self.max_header_nbytes = max_header_nbytes
        self.max_body_nbytes = max_body_nbytes
        llhttp_init(&self.state, HTTP_REQUEST, &settings)

    def receive(self, const uint8_t[::1] source not None, list requests not None):
        """For tests: takes bytes, and appends the requests that they complete, as pairs of head and body. Raises the RequestError."""
        cdef const uint8_t *data = &source[0] if source.shape[0] > 0 else NULL
        cdef Py_ssize_t nbytes = source.shape[0]
        while nbytes > 0 or self.stage == HEAD_WHOLE:
            if self.take(&data, &nbytes) == WHOLE:
                requests.append((self.head, bytes(self.body)))
                self.next()

    cdef int take(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        try:
            if self.stage <= IN_HEAD:
                self.take_head(data, nbytes)
            else:
                if self.stage == HEAD_WHOLE:
                    self.begin_body()
                if self.stage == IN_BODY and nbytes[0] > 0:
                    if self.chunked:
                        self.take_chunks(data, nbytes)
                    else:
                        self.take_body(data, nbytes)
        except Exception:
            self.stage = BROKEN
            self.partial = self.body = None
            raise
        return self.stage

    cdef void next(self) noexcept:
        self.stage = BETWEEN
        self.head = None
        self.body = None
        self.chunked = self.drops = self.closes = self.keeps = False
        self.head_nbytes = self.empty_nbytes = self.missing_nbytes = 0
        self.target_nbytes = self.name_nbytes = self.value_nbytes = 0
        self.body_nbytes = self.chunked_nbytes = 0

    # ---- the head

    cdef bint skip_empty_line(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        """One empty line may lie in front of a request: old clients send one behind a body. False: no more bytes have come."""
        while nbytes[0] > 0 and self.empty_nbytes < 2 and data[0][0] == (c'\n' if self.empty_nbytes == 1 else c'\r'):
            self.empty_nbytes += 1
            data[0] += 1
            nbytes[0] -= 1
        if nbytes[0] == 0:
            return False
        if self.empty_nbytes == 1 or data[0][0] < c'A' or data[0][0] > c'Z':
            if data[0][0] == TLS_HANDSHAKE and self.empty_nbytes == 0:
                raise rejection(HPE_INVALID_METHOD, "a TLS handshake; this port speaks without TLS: use http://")
            raise rejection(HPE_INVALID_METHOD, shown(data[0], 1))
        return True

    cdef bint take_known_head(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        """The same bytes mean the same, and need not be parsed again."""
        cdef Py_ssize_t known_nbytes
        if self.known is None:
            return False
        known_nbytes = PyBytes_GET_SIZE(self.known)
        if nbytes[0] < known_nbytes or memcmp(data[0], PyBytes_AS_STRING(self.known), known_nbytes) != 0:
            return False
        self.head = self.known_head.again()
        self.stage = HEAD_WHOLE
        data[0] += known_nbytes
        nbytes[0] -= known_nbytes
        return True

    cdef int take_head(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        cdef Py_ssize_t before_nbytes = self.head_nbytes, taken
        cdef llhttp_errno_t found
        if self.stage == BETWEEN:
            if not self.skip_empty_line(data, nbytes) or self.take_known_head(data, nbytes):
                return 0
            llhttp_init(&self.state, HTTP_REQUEST, &settings)
            self.state.data = <void *>self
            self.head = Head.__new__(Head)
            self.stage = IN_HEAD
        taken = min(nbytes[0], self.max_header_nbytes + 1 - before_nbytes)
        self.source = data[0]
        if before_nbytes > 0:
            self.partial += data[0][:taken]
            self.source = <const uint8_t *>PyByteArray_AS_STRING(self.partial)
        found = llhttp_execute(&self.state, <const char *>self.source + before_nbytes, taken)
        if self.has_no_version(before_nbytes + taken):
            found = HPE_INVALID_VERSION
        if found == HPE_PAUSED:
            taken = <const uint8_t *>llhttp_get_error_pos(&self.state) - self.source - before_nbytes
        elif found != HPE_OK:
            raise self.rejected(found)
        self.head_nbytes += taken
        if self.head_nbytes > self.max_header_nbytes:
            raise ResourceExhausted(
                f"request line and headers: expected at most {self.max_header_nbytes} bytes (max_header_bytes), got more; send fewer or "
                f"shorter headers", reason="header_size")
        if found == HPE_PAUSED:
            self.end_head()
            self.stage = HEAD_WHOLE
            self.known = None
            if self.partial is None and not self.chunked and self.head_nbytes <= KNOWN_NBYTES:
                self.known, self.known_head = data[0][:taken], self.head
            self.partial = None
        elif self.partial is None:
            self.partial = bytearray(data[0][:taken])
        data[0] += taken
        nbytes[0] -= taken
        return 0

    cdef rejected(self, llhttp_errno_t found):
        cdef bint is_length = found == HPE_INVALID_CONTENT_LENGTH or found == HPE_UNEXPECTED_CONTENT_LENGTH
        cdef const char *reason = llhttp_get_error_reason(&self.state)
        if is_length and self.chunked or found == HPE_INVALID_TRANSFER_ENCODING and self.head.content_nbytes >= 0:
            return two_lengths()
        return rejection(found, "another", reason.decode("ascii") if reason != NULL else "")

    cdef bint has_no_version(self, Py_ssize_t come_nbytes) noexcept:
        """Whether the line ends behind the path, as in HTTP/0.9. llhttp goes on with fields."""
        cdef Py_ssize_t end = self.target_at + self.target_nbytes
        if self.target_nbytes == 0 or end >= come_nbytes or self.source[self.target_at] != c'/':
            return False
        return self.source[end] == c'\r' or self.source[end] == c'\n'

    cdef int end_head(self) except -1:
        """Decides what the head means, above all how long its body is."""
        cdef Head head = self.head
        cdef const uint8_t *target = self.source + self.target_at
        cdef Py_ssize_t target_nbytes = self.target_nbytes
        cdef bytes authority = None
        if self.target_at < 2 or (target - 2)[0] == c' ' or self.target_at + target_nbytes + 8 > self.head_nbytes or \
                memcmp(target + target_nbytes, <const char *>" HTTP/1.", 8) != 0:
            raise rejection(HPE_INVALID_VERSION)        # also for a second space, which llhttp skips
        self.is_1_0 = self.state.http_minor == 0
        if head.error is not None:
            raise head.error
        if target_nbytes > 0 and target[0] != c'/':
            authority = authority_of(&target, &target_nbytes)
        head.open(self.read_verb(), target, target_nbytes)
        if head.host is None and not self.is_1_0:
            raise InvalidArgument("header Host: expected it once, got none; HTTP/1.1 needs it", reason="header")
        if head.host is not None and not is_authority(head.host):
            raise InvalidArgument(f"header Host: expected a host and perhaps a port, got {repr(head.host[:MAX_SHOWN_NBYTES])[1:]}",
                                  reason="header")
        if authority is not None and authority.lower() != (head.host or b"").lower():
            raise InvalidArgument("request target: expected the same host as in the header Host, got another; send the path alone",
                                  reason="target")
        if self.chunked and head.content_nbytes >= 0:
            raise two_lengths()
        if self.chunked and self.is_1_0:
            raise rejection(HPE_INVALID_TRANSFER_ENCODING, "it with HTTP/1.0, which has none")
        head.finish()
        head.keep_alive = not self.closes and (not self.is_1_0 or self.keeps)
        return 0

    cdef Verb read_verb(self) noexcept:
        cdef uint8_t method = self.state.method
        if method == HTTP_POST:
            return POST
        if method == HTTP_GET:
            return GET
        if method == HTTP_HEAD:
            return HEAD
        if method == HTTP_OPTIONS:
            return OPTIONS
        self.head.verb_name = llhttp_method_name(<llhttp_method_t>method)
        return VERB_OTHER

    cdef void read_field(self, const uint8_t *name, const uint8_t *value) noexcept:
        """A field of the head: HTTP/1.1's own are read here, the others by `head`."""
        cdef Py_ssize_t nbytes = self.value_nbytes
        while nbytes > 0 and (value[nbytes - 1] == c' ' or value[nbytes - 1] == c'\t'):
            nbytes -= 1
        if self.name_nbytes == 10 and same_name(name, 10, "connection", 10):
            self.closes |= lists(value, nbytes, "close", 5)
            self.keeps |= lists(value, nbytes, "keep-alive", 10)
        elif self.name_nbytes == 17 and same_name(name, 17, "transfer-encoding", 17):
            if self.head.error is None:
                if self.chunked:
                    self.head.error = rejection(HPE_INVALID_TRANSFER_ENCODING, "it twice")
                elif not same_name(value, nbytes, "chunked", 7):
                    self.head.error = Unimplemented(f"header Transfer-Encoding: expected 'chunked', got {shown(value, nbytes)}; "
                                                    "send chunks, or a body with Content-Length", reason="framing")
            self.chunked = True
        else:
            self.head.add(name, self.name_nbytes, value, nbytes)

    # ---- the body

    cdef int begin_body(self) except -1:
        cdef int64_t nbytes = self.head.content_nbytes
        self.stage = IN_BODY
        if self.chunked:
            llhttp_resume(&self.state)
        elif nbytes <= 0:
            self.body = Message.wrap(b"")
            self.stage = WHOLE
        elif nbytes > self.max_body_nbytes and not self.drops:
            raise self.too_large()
        else:
            self.missing_nbytes = nbytes
        return 0

    cdef int take_body(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        cdef Py_ssize_t taken = min(nbytes[0], self.missing_nbytes)
        if self.body is None and not self.drops:
            self.body = awaited_message(self.missing_nbytes)
            self.body.share = self.share
        self.append(data[0], taken)
        self.missing_nbytes -= taken
        data[0] += taken
        nbytes[0] -= taken
        if self.missing_nbytes == 0:
            self.stage = WHOLE
        return 0

    cdef int take_chunks(self, const uint8_t **data, Py_ssize_t *nbytes) except -1:
        cdef Py_ssize_t taken = nbytes[0]
        cdef llhttp_errno_t found
        self.source = data[0]
        found = llhttp_execute(&self.state, <const char *>data[0], taken)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if found == HPE_PAUSED:
            taken = <const uint8_t *>llhttp_get_error_pos(&self.state) - data[0]
        elif found != HPE_OK:
            raise self.rejected(found)
        self.chunked_nbytes += taken
        self.check_framing(self.chunked_nbytes)
        self.missing_nbytes = min(self.state.content_length, <uint64_t>self.max_body_nbytes)    # of the present chunk
        data[0] += taken
        nbytes[0] -= taken
        if found == HPE_PAUSED:
            if self.body is None:
                self.body = Message.wrap(b"")
            self.missing_nbytes = 0
            self.stage = WHOLE
        return 0

    cdef int append(self, const uint8_t *piece, Py_ssize_t nbytes) except -1:
        self.body_nbytes += nbytes
        if self.drops:
            return 0
        if self.body_nbytes > self.max_body_nbytes:
            raise self.too_large()
        if self.body is None:
            self.body = awaited_message(nbytes)
            self.body.share = self.share
        append_bytes(self.body, <const char *>piece, nbytes)
        count_copied(nbytes)
        return 0

    cdef int check_framing(self, int64_t come_nbytes) except -1:
        """come_nbytes: bytes of a chunked body, with its framing, that have come."""
        if come_nbytes - self.body_nbytes > self.max_header_nbytes + FRAMING_TIMES * self.body_nbytes:
            raise InvalidArgument("chunked body: expected more bytes of content than of sizes, extensions and trailers, got far less; "
                                  "send larger chunks", reason="framing")
        return 0

    cdef too_large(self):
        return ResourceExhausted(
            f"request body: expected at most {self.max_body_nbytes} bytes (max_message_bytes; less where a path needs less), got more; "
            f"split the request into smaller ones, or have the server's limit raised", reason="message_size")


cdef rejection(llhttp_errno_t found, str got="another", str said=""):
    """said: llhttp's own words, in place of what came."""
    words, reason = EXPECTED.get(<int>found, ("expected a request of HTTP/1.1", "framing"))
    if said and reason in ("framing", "header"):        # of a request line they depend on how its bytes came
        return InvalidArgument(f"{words} (llhttp: {said})", reason=reason)
    return InvalidArgument(f"{words}, got {got}", reason=reason)


cdef two_lengths():
    return InvalidArgument("headers: expected one of Content-Length and Transfer-Encoding, which say how long the body is, got both; "
                           "send one", reason="framing")


cdef str shown(const uint8_t *at, Py_ssize_t nbytes):
    return repr(at[:min(nbytes, MAX_SHOWN_NBYTES)])[1:]


cdef bytes authority_of(const uint8_t **target, Py_ssize_t *nbytes):
    """The authority of "http://host:port/path", whose path becomes the target; None: it is something else."""
    cdef const uint8_t *begin = target[0]
    cdef const uint8_t *end = begin + nbytes[0]
    if nbytes[0] > 7 and same_name(begin, 7, "http://", 7):
        begin += 7
    elif nbytes[0] > 8 and same_name(begin, 8, "https://", 8):
        begin += 8
    else:
        return None
    target[0] = begin
    while target[0] < end and target[0][0] != c'/' and target[0][0] != c'?':
        target[0] += 1
    authority = PyBytes_FromStringAndSize(<const char *>begin, target[0] - begin)
    nbytes[0] = end - target[0]
    if nbytes[0] == 0:
        target[0], nbytes[0] = <const uint8_t *><const char *>"/", 1
    return authority


cdef bint is_authority(bytes host) noexcept:
    cdef uint8_t each
    for each in host:
        if each <= 0x20 or each >= 0x7F or each in b"/?#@,\\\"<>":
            return False
    return True


cdef bint lists(const uint8_t *value, Py_ssize_t nbytes, const char *word, size_t word_nbytes) noexcept:
    """Whether a word, in any case, is one of a field's, such as "keep-alive, Upgrade"."""
    cdef Py_ssize_t begin = 0, end
    while begin < nbytes:
        end = begin
        while end < nbytes and value[end] != c',' and value[end] != c' ' and value[end] != c'\t':
            end += 1
        if same_name(value + begin, end - begin, word, word_nbytes):
            return True
        begin = end + 1
    return False


# ---- what llhttp calls: it gives a part of a head in pieces, where reads end, which lie one behind the other

cdef int on_url(llhttp_t *state, const char *at, size_t nbytes) noexcept:
    cdef Parser self = <Parser>state.data
    if self.target_nbytes == 0:
        self.target_at = <const uint8_t *>at - self.source
    self.target_nbytes += nbytes
    return 0


cdef int on_header_field(llhttp_t *state, const char *at, size_t nbytes) noexcept:
    cdef Parser self = <Parser>state.data
    if self.name_nbytes == 0:
        self.name_at = <const uint8_t *>at - self.source
    self.name_nbytes += nbytes
    return 0


cdef int on_header_value(llhttp_t *state, const char *at, size_t nbytes) noexcept:
    cdef Parser self = <Parser>state.data
    if self.value_nbytes == 0:
        self.value_at = <const uint8_t *>at - self.source
    self.value_nbytes += nbytes
    return 0


cdef int on_header_value_complete(llhttp_t *state) noexcept:
    cdef Parser self = <Parser>state.data
    if self.stage == IN_HEAD:           # else it is a trailer, and means nothing
        self.read_field(self.source + self.name_at, self.source + self.value_at)
    self.name_nbytes = self.value_nbytes = 0
    return 0


cdef int on_headers_complete(llhttp_t *state) noexcept:
    state.upgrade = 0                   # no other protocol is served here: the body is HTTP's
    return HPE_PAUSED


cdef int on_body(llhttp_t *state, const char *at, size_t nbytes) noexcept:
    cdef Parser self = <Parser>state.data
    try:
        self.check_framing(self.chunked_nbytes + (<const uint8_t *>at - self.source))
        self.append(<const uint8_t *>at, nbytes)
    except Exception as error:
        self.failure = error
        return HPE_USER
    return 0


cdef int on_chunk_header(llhttp_t *state) noexcept:
    """A chunk that is too long is rejected before its bytes come, as a Content-Length is."""
    cdef Parser self = <Parser>state.data
    if state.content_length > <uint64_t>(self.max_body_nbytes - self.body_nbytes):
        self.failure = self.too_large()
        return HPE_USER
    return 0


cdef int on_message_complete(llhttp_t *state) noexcept:
    return HPE_PAUSED


# They are called where the GIL is held.
cdef llhttp_settings_t settings
llhttp_settings_init(&settings)
settings.on_url = <llhttp_data_cb><void *>on_url
settings.on_header_field = <llhttp_data_cb><void *>on_header_field
settings.on_header_value = <llhttp_data_cb><void *>on_header_value
settings.on_header_value_complete = <llhttp_cb><void *>on_header_value_complete
settings.on_headers_complete = <llhttp_cb><void *>on_headers_complete
settings.on_body = <llhttp_data_cb><void *>on_body
settings.on_chunk_header = <llhttp_cb><void *>on_chunk_header
settings.on_message_complete = <llhttp_cb><void *>on_message_complete
