# response_head: writes the head of a response of HTTP/1.1.
# Never in here: bodies, when a response leaves, which status and headers it has.

from libc.stdint cimport uint8_t
from inferd._core.http.head cimport Head

cdef enum:
    MAX_HEAD_NBYTES = 32 << 10  # of a response

cdef bytes JSON_TYPE, OK_JSON, OK_BINARY        # a header line; the first lines of inference responses

# b"HTTP/1.1 404 Not Found" with its line end.
cdef bytes status_line(int status)
# Writes MAX_HEAD_NBYTES at most, and returns how many. lines: the first lines. headers: further ones, pairs of bytes; or None. head: of the
# request; None: there is none. body_nbytes: -1: there is no body. closes: the connection's last. is_1_0: the client speaks HTTP/1.0.
cdef Py_ssize_t write_head(uint8_t *into, bytes lines, tuple headers, Head head, Py_ssize_t body_nbytes, bint closes, bint is_1_0) noexcept
