# cython: language_level=3
# response: what a response says beside its body (see response.pxd).

from libc.time cimport time, time_t

import json
from email.utils import formatdate
from http import HTTPStatus

from inferd.errors import InvalidArgument, ResourceExhausted

# By gRPC status code; Triton's REST has the same, and 400 where nothing fits better.
cdef dict STATUS_OF_CODE = {1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 412, 10: 503, 12: 501, 13: 500, 14: 503, 16: 401}

# HTTP has statuses of its own for these, by the error's reason.
cdef dict STATUS_OF_REASON = {
    "message_size": 413, "header_size": 431, "http_version": 505, "expectation": 417, "media_type": 415, "stalled": 408,
    "content_coding": 415, "compression": 400, "model_control": 412,
}

cdef dict PHRASES = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}


cpdef int status_of(error):
    if error.reason == "stalled" and error.code == 14:      # of a server that stops: the client was not too slow
        return 503
    return STATUS_OF_REASON.get(error.reason) or STATUS_OF_CODE.get(error.code, 500)


cpdef str reason_phrase(int status):
    return PHRASES.get(status, "")


# The last one: a server that rejects many requests sends the same one to all of them.
cdef tuple last_error = ()
cdef bytes last_body = b""


cpdef bytes error_body(error):
    global last_error, last_body
    cdef tuple described = (str(error), error.status)
    if described != last_error:
        last_body = json.dumps({"error": described[0], "code": described[1]}).encode("ascii")
        last_error = described
    return last_body


cdef time_t dated = 0
cdef bytes date = b""

cpdef bytes http_date():
    """It changes once a second."""
    global dated, date
    cdef time_t now = time(NULL)
    if now != dated:
        dated, date = now, formatdate(now, usegmt=True).encode("ascii")
    return date


cpdef decompression_error(error, str encoding):
    cdef str reason = getattr(error, "reason", None)
    if reason == "message_size":
        return ResourceExhausted(str(error).replace("request message:", "request body:").replace("a method needs", "a path needs"),
                                 reason=reason)
    if reason != "compression":
        return error
    return InvalidArgument(f"request body: expected {encoding}, as Content-Encoding says, whole and in one piece, got a part, several or "
                           f"other bytes; send it as it is, without Content-Encoding", reason="compression")


cpdef tuple error_headers(error):
    cdef object retry_after_ns = getattr(error, "retry_after_ns", 0)
    if retry_after_ns > 0:
        return ((b"retry-after", b"%d" % -(-retry_after_ns // 1_000_000_000)),
                (b"retry-after-ms", b"%d" % -(-retry_after_ns // 1_000_000)))      # a full queue often has room in some milliseconds
    return ((b"www-authenticate", b"Bearer"),) if error.code == 16 else ()
