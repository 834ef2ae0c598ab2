# head: one HTTP request before its body, whichever HTTP brought it, and how its response is to look. Strict: a field that this server reads
# is right, or its request is rejected with a reason; all other fields are skipped.
# Never in here: sockets, framing (http1, http2), the body, what a path means, except that it names an inference.

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum Verb:                         # the HTTP method
    VERB_OTHER = 0                      # verb_name has its name
    GET = 1
    HEAD = 2
    POST = 3
    OPTIONS = 4

cdef enum Coding:                       # how a body is compressed
    IDENTITY = 0
    GZIP = 1
    DEFLATE = 2                         # zlib's format
    UNKNOWN_CODING = 3

cdef enum:
    NOT_SAID = -1                       # of json_nbytes, content_nbytes, timeout_ns

@cython.final
@cython.no_gc                           # `error` may hold frames, but no frame holds a Head that was rejected
cdef class Head:
    # The request line.
    cdef Verb verb
    cdef readonly bytes verb_name       # b"GET"; b"PUT"
    cdef readonly bytes target          # path and query as they came, without scheme and authority
    cdef Py_ssize_t path_nbytes         # of `target`: the query begins behind them, with "?"
    cdef readonly bint is_infer         # POST /v2/models/NAME[/versions/VERSION]/infer
    cdef readonly bytes model_name      # of such a path, without percent encoding; else b""
    cdef readonly bytes model_version   # b"": the newest
    # The fields, bytes as they came unless said otherwise; None: there was none.
    cdef readonly bytes host            # also :authority
    cdef readonly bytes content_type    # lower case, without parameters
    cdef readonly bytes content_type_whole      # with its parameters; as it came if it has some
    cdef Coding content_coding          # the request's
    cdef Coding accept_coding           # that the client likes best for its response: IDENTITY, GZIP or DEFLATE
    cdef readonly int64_t json_nbytes   # Inference-Header-Content-Length; NOT_SAID: all of the body is JSON
    cdef readonly int64_t content_nbytes        # Content-Length
    cdef readonly int64_t timeout_ns    # Inferd-Timeout-Ms, X-Envoy-Expected-Rq-Timeout-Ms: the smaller
    cdef readonly bytes authorization   # b", ": it came more than once
    cdef readonly bytes accept          # of several fields the first
    cdef readonly bytes origin
    cdef readonly bytes access_control_request_method
    cdef readonly bytes request_id      # X-Request-Id; every response repeats it
    cdef readonly bytes traceparent
    cdef readonly uint64_t key          # of Inferd-Key, which canaries route by (base/key); 0: there is none
    cdef readonly bint expects_continue # Expect: 100-continue
    cdef readonly bint from_browser     # Accept-Language or Sec-Fetch-Site came: every browser sends the first, and no page can stop it
    cdef uint32_t seen                  # bits of the fields that have come
    cdef readonly object error          # the first RequestError found in what came, or None
    cdef public Py_ssize_t max_body_nbytes      # the handler may set it in `admit`; NOT_SAID: max_message_bytes
    # The connection.
    cdef public bint keep_alive         # HTTP/1.1: it stays open after the response. The transport sets it
    # The response.
    cdef public Py_ssize_t response_json_nbytes # 0: all of the body is JSON; else binary tensors follow so many bytes of JSON
    cdef public tuple response_headers  # further headers of every response: pairs of bytes, names in lower case; or None
    # The request line, before the fields. The target has been checked for nothing yet.
    cdef int open(self, Verb verb, const uint8_t *target, Py_ssize_t nbytes) except -1
    # One field; any case. An error waits in `error`, since callbacks of C call this.
    cdef int add(self, const uint8_t *name, size_t name_nbytes, const uint8_t *value, size_t value_nbytes) noexcept
    # All fields have come. Raises `error`.
    cdef int finish(self) except -1
    # When the request must end, monotonic, if it came at now_ns; INT64_MAX: it has no timeout.
    cpdef int64_t deadline_ns(self, int64_t now_ns) noexcept
    # The same head for another request, whose bytes were the same.
    cdef Head again(self)

# `authorization` of a request that has it more than once. No token holds a space.
cdef bytes SEVERAL

# Whether two secrets of the same length are the same. The time does not depend on where the first difference is.
cdef inline bint same_secret(const uint8_t *one, const uint8_t *other, size_t nbytes) noexcept nogil:
    cdef uint8_t difference = 0
    cdef size_t i
    for i in range(nbytes):
        difference |= one[i] ^ other[i]
    return difference == 0

# The HTTP method of that name.
cdef Verb verb_of(bytes name) noexcept

# Whether a name in any case is `text`, which is in lower case.
cdef bint same_name(const uint8_t *name, size_t nbytes, const char *text, size_t text_nbytes) noexcept nogil
