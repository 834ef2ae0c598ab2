# cython: language_level=3
# exchange: what a REST call on an HTTP/2 stream has beside a gRPC call (see exchange.pxd).

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from inferd._core.http.head cimport GZIP, HEAD
from inferd._core.http.response cimport error_body, error_headers, http_date, status_of
from inferd._core.http2.nghttp2 cimport *

from inferd.errors import Internal

cdef enum:
    MAX_HEADERS = 64            # of one response
    OWN_HEADERS = 8             # of them at most are submit()'s own
    OK = 200
    NO_CONTENT = 204
    NOT_MODIFIED = 304

cdef struct Fields:             # a response's headers
    size_t count
    nghttp2_nv found[MAX_HEADERS]
    char digits[OWN_HEADERS][24]        # the text of numbers

cdef tuple JSON = (b"content-type", b"application/json")


cdef inline void add(Fields *fields, const char *name, size_t name_nbytes, const char *value, size_t value_nbytes, uint8_t flags) noexcept:
    cdef nghttp2_nv *header = &fields.found[fields.count]
    header.name, header.namelen = <uint8_t *>name, name_nbytes
    header.value, header.valuelen = <uint8_t *>value, value_nbytes
    header.flags = flags
    fields.count += 1


cdef inline void add_constant(Fields *fields, const char *name, const char *value) noexcept:
    """Literals, which nghttp2 need not copy."""
    add(fields, name, strlen(name), value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)


cdef inline void add_value(Fields *fields, const char *name, bytes value) noexcept:
    add(fields, name, strlen(name), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), NGHTTP2_NV_FLAG_NO_COPY_NAME)


cdef inline void add_number(Fields *fields, const char *name, Py_ssize_t number) noexcept:
    cdef char *text = fields.digits[fields.count % OWN_HEADERS]
    add(fields, name, strlen(name), text, snprintf(text, 24, "%zd", number), NGHTTP2_NV_FLAG_NO_COPY_NAME)


cdef int add_all(Fields *fields, tuple headers) except -1:
    cdef bytes name, value
    if fields.count + len(headers) > MAX_HEADERS:
        raise Internal(f"a response has more than {MAX_HEADERS} headers")
    for name, value in headers:
        add(fields, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
            NGHTTP2_NV_FLAG_NONE)
    return 0


@cython.final
cdef class Exchange:
    """A REST call on an HTTP/2 stream."""

    def __cinit__(self):
        self.head = Head.__new__(Head)
        self.status = OK

    cdef bytes describe(self, error):
        self.status, self.headers = status_of(error), (JSON, *error_headers(error))
        return error_body(error)

    cdef bint is_bodiless(self) noexcept:
        return self.head.verb == HEAD or self.status == NO_CONTENT or self.status == NOT_MODIFIED

    cdef int submit(self, nghttp2_session *session, int32_t stream_id, Py_ssize_t nbytes, bint compressed, bint varies,
                    nghttp2_data_provider2 *provider) except -1:
        cdef Fields fields
        cdef bytes date = http_date()
        fields.count = 0
        if self.status == OK:
            add_constant(&fields, ":status", "200")
        else:
            add_number(&fields, ":status", self.status)
        if self.headers is None and self.head.response_json_nbytes > 0:
            add_constant(&fields, "content-type", "application/octet-stream")
            add_number(&fields, "inference-header-content-length", self.head.response_json_nbytes)
        elif self.headers is None:
            add_constant(&fields, "content-type", "application/json")
        if self.status != NO_CONTENT and self.status != NOT_MODIFIED:
            add_number(&fields, "content-length", nbytes)
        add_value(&fields, "date", date)
        if varies:
            add_constant(&fields, "vary", "accept-encoding")
        if compressed:
            add_constant(&fields, "content-encoding", "gzip" if self.head.accept_coding == GZIP else "deflate")
        if self.head.request_id is not None:
            add_value(&fields, "x-request-id", self.head.request_id)
        if self.head.response_headers is not None:
            add_all(&fields, self.head.response_headers)
        if self.headers is not None:
            add_all(&fields, self.headers)
        nghttp2_submit_response2(session, stream_id, fields.found, fields.count, provider)
        return 0

    cdef int submit_continue(self, nghttp2_session *session, int32_t stream_id) except -1:
        cdef Fields fields
        fields.count = 0
        add_constant(&fields, ":status", "100")
        nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, stream_id, NULL, fields.found, fields.count, NULL)
        return 0
