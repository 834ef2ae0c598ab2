# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# response_head: writes the head of a response of HTTP/1.1 (see response_head.pxd).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from inferd._core.http.head cimport Head
from inferd._core.http.response cimport http_date, reason_phrase

JSON_TYPE = b"Content-Type: application/json\r\n"
OK_JSON = b"HTTP/1.1 200 OK\r\n" + JSON_TYPE
OK_BINARY = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"

cdef dict lines_of_status = {}

cdef bytes status_line(int status):
    """b"HTTP/1.1 404 Not Found" with its line end."""
    cdef bytes line = lines_of_status.get(status)
    if line is None:
        line = lines_of_status[status] = f"HTTP/1.1 {status} {reason_phrase(status)}\r\n".encode("ascii")
    return line


cdef Py_ssize_t write_head(uint8_t *into, bytes lines, tuple headers, Head head, Py_ssize_t body_nbytes, bint closes, bint is_1_0) noexcept:
    cdef uint8_t *at = add(into, lines)
    cdef uint8_t *end = into + MAX_HEAD_NBYTES
    if head is not None:
        if head.response_json_nbytes > 0 and lines is OK_BINARY:
            at = add_text(at, "Inference-Header-Content-Length: ", 33)
            at = add_number(at, head.response_json_nbytes)
        if head.request_id is not None:
            at = add_text(at, "X-Request-Id: ", 14)
            at = add_text(add(at, head.request_id), "\r\n", 2)
        if head.response_headers is not None:
            at = add_headers(at, end, head.response_headers)
    if headers is not None:
        at = add_headers(at, end, headers)
    at = add_text(at, "Date: ", 6)
    at = add_text(add(at, http_date()), "\r\n", 2)
    if body_nbytes >= 0:
        at = add_text(at, "Content-Length: ", 16)
        at = add_number(at, body_nbytes)
    if closes:
        at = add_text(at, "Connection: close\r\n", 19)
    elif is_1_0:
        at = add_text(at, "Connection: keep-alive\r\n", 24)
    return add_text(at, "\r\n", 2) - into


cdef inline uint8_t *add_text(uint8_t *at, const char *text, size_t nbytes) noexcept:
    memcpy(at, text, nbytes)
    return at + nbytes


cdef inline uint8_t *add(uint8_t *at, bytes text) noexcept:
    return add_text(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef uint8_t *add_number(uint8_t *at, Py_ssize_t number) noexcept:
    """The number and a line end."""
    cdef char digits[24]
    cdef int first = 24
    while True:
        first -= 1
        digits[first] = c'0' + number % 10
        number //= 10
        if number == 0:
            break
    return add_text(add_text(at, digits + first, 24 - first), "\r\n", 2)


cdef uint8_t *add_headers(uint8_t *at, uint8_t *end, tuple headers) noexcept:
    cdef bytes name, value
    for name, value in headers:
        if end - at >= PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + 1024:     # what follows has room in the rest
            at = add_text(add_text(add(at, name), ": ", 2), PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            at = add_text(at, "\r\n", 2)
    return at
