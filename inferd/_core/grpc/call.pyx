# cython: language_level=3
# call: what gRPC adds to HTTP/2 (see call.pxd).

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy
from inferd._core.base.key cimport key_of
from inferd._core.base.object_counters cimport COUNTED
from inferd._core.grpc.message cimport SMALL_NBYTES, WAITING, Message, append_bytes, awaited_message, count_copied

from base64 import b64encode
from urllib.parse import quote, unquote

from inferd.errors import Internal, ResourceExhausted

NO_DEADLINE = INT64_MAX         # deadline_ns of a call that set none

PLAIN_CHARACTERS = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

cdef enum:
    TIMEOUT_DIGITS = 8          # most digits that grpc-timeout may have, by gRPC's specification
    MAX_STATUS_NBYTES = 2048    # the longest status message, percent-encoded

cdef Py_ssize_t live_count = 0


cdef int check_compressed(int flag, str encoding) except -1:
    """Checks the flag of a message whose flag is not 0."""
    if flag != 1:
        raise Internal(f"gRPC message prefix: expected the compressed flag to be 0 or 1, got {flag}", reason="framing")
    if encoding is None:
        raise Internal("gRPC message prefix: the compressed flag is set, and grpc-encoding does not say how the message is compressed; "
                       "send grpc-encoding: gzip or deflate with it", reason="compression")
    return 0


@cython.final
cdef class Counted:
    """One live call. Call itself has no __dealloc__: Cython saves and restores the error state around one, for every call."""

    def __cinit__(self):
        global live_count
        live_count += 1

    def __dealloc__(self):
        global live_count
        live_count -= 1


@cython.no_gc                           # its one cycle, through `work`, is broken when it is settled
cdef class Call:
    """One RPC. Each transport has a subclass, which sends the response; tests may make one by hand.

    method: "/package.Service/Method". message: the request. deadline_ns: monotonic, NO_DEADLINE for none.
    connection_id: the connection's number; 0: it counts for none, and waits in order of arrival.
    """

    def __cinit__(self):
        self.deadline_ns = INT64_MAX
        if COUNTED:
            self.counted = Counted()

    def __init__(self, str method="", Message message=None, int64_t deadline_ns=INT64_MAX, uint32_t connection_id=0):
        self.method = method
        self.message = message
        self.deadline_ns = deadline_ns
        self.connection_id = connection_id

    cpdef reply(self, message):
        raise NotImplementedError(f"{type(self).__name__} does not say how it responds")

    cpdef fail(self, error):
        raise NotImplementedError(f"{type(self).__name__} does not say how it is rejected")

    cpdef run_on_thread(self, work):
        work.run()
        work.done()

    def finish(self):
        """Settles the call. False: it was settled before."""
        if self.settled:
            return False
        self.settled = True
        self.work = None
        return True

    def cancel(self):
        """The client went away: no response is sent, and the work for this call is cancelled."""
        self.abandon()

    cdef void abandon(self) noexcept:
        work, self.work = self.work, None
        if self.settled:
            return
        self.settled = True
        if work is not None:
            try:
                work.cancel()
            except Exception as error:                  # no caller may get it; the log does
                import logging
                logging.getLogger("inferd.grpc").error("cancelling a request failed", exc_info=error)

    cdef int ask_for_place(self, Message message) except -1:
        return 0

    cdef void credited(self, error) noexcept:
        pass

    cdef bint feed(self, const uint8_t **data, Py_ssize_t *nbytes, Py_ssize_t max_message_nbytes) except -1:
        cdef Py_ssize_t length, taken
        taken = min(nbytes[0], <Py_ssize_t>(PREFIX_NBYTES - self.prefix_nbytes))
        if taken > 0:
            memcpy(self.prefix + self.prefix_nbytes, data[0], taken)
            self.prefix_nbytes += <int>taken
            data[0] += taken
            nbytes[0] -= taken
        if self.prefix_nbytes < PREFIX_NBYTES:
            return False
        if self.partial is None:
            if self.prefix[0] != 0:
                check_compressed(self.prefix[0], self.encoding)
            length = (<Py_ssize_t>self.prefix[1] << 24) | (self.prefix[2] << 16) | (self.prefix[3] << 8) | self.prefix[4]
            if length > max_message_nbytes:
                raise ResourceExhausted(
                    f"request message: expected at most {max_message_nbytes} bytes (max_message_bytes; less where a method needs less), "
                    f"got {length}; split the request into smaller ones, or have the server's limit raised", reason="message_size")
            self.partial = awaited_message(length)
            self.partial.compressed = self.prefix[0]
            self.partial.share = self.share
            self.missing_nbytes = length
            if length > SMALL_NBYTES:
                self.ask_for_place(self.partial)
        taken = min(nbytes[0], self.missing_nbytes)
        append_bytes(self.partial, <const char *>data[0], taken)
        count_copied(taken)
        data[0] += taken
        nbytes[0] -= taken
        self.missing_nbytes -= taken
        if self.missing_nbytes > 0:
            return False
        if self.partial.standing == WAITING:        # it came within its first window
            self.partial.admission.leave(self.partial)
        self.message, self.partial = self.partial, None
        self.prefix_nbytes = 0
        return True


cdef class InferHandler:
    """Serves ModelInfer. Native transports call `infer`, without a Python frame; others call the object."""

    cdef int infer(self, Call call) except -1:
        raise NotImplementedError

    def __call__(self, Call call not None):
        self.infer(call)


cdef class StreamHandler(InferHandler):
    """Serves ModelStreamInfer. A handler in Python defines take(call) in place of `infer`."""

    cdef int infer(self, Call call) except -1:
        self.take(call)
        return 0

    def take(self, call):
        raise NotImplementedError

    cpdef Message wrap(self, Message response):
        raise NotImplementedError

    cpdef Message rejection(self, Message request, error):
        raise NotImplementedError


@cython.final
cdef class CallableHandler(InferHandler):
    """Any callable that takes a call."""

    cdef object function

    cdef int infer(self, Call call) except -1:
        self.function(call)
        return 0


cdef InferHandler infer_handler(handler):
    cdef CallableHandler wrapped
    if isinstance(handler, InferHandler):
        return <InferHandler>handler
    wrapped = CallableHandler.__new__(CallableHandler)
    wrapped.function = handler
    return wrapped


cdef int64_t[256] UNIT_NS               # of grpc-timeout, by its letter
UNIT_NS[c'n'], UNIT_NS[c'u'], UNIT_NS[c'm'] = 1, 1_000, 1_000_000
UNIT_NS[c'S'], UNIT_NS[c'M'], UNIT_NS[c'H'] = 1_000_000_000, 60_000_000_000, 3600_000_000_000


cdef int64_t timeout_ns(const uint8_t *value, Py_ssize_t nbytes) noexcept nogil:
    cdef int64_t amount = 0, unit
    cdef Py_ssize_t i
    if nbytes < 2 or nbytes > TIMEOUT_DIGITS + 1:
        return -1
    for i in range(nbytes - 1):
        if value[i] < c'0' or value[i] > c'9':
            return -1
        amount = amount * 10 + (value[i] - c'0')
    unit = UNIT_NS[value[nbytes - 1]]
    if unit == 0:
        return -1
    if amount > INT64_MAX // 4 // unit:           # 64 bits of nanoseconds do not hold 8 digits of hours
        return INT64_MAX // 4
    return amount * unit


def live():
    """Calls that exist now, of any transport; None where the build does not count them."""
    return live_count if COUNTED else None


def routing_key(bytes text not None):
    """Call.key of a text; 0 if it is empty."""
    return key_of(<const char *>text, len(text))


# The last status, encoded: a server that rejects many requests sends the same one to all of them.
cdef str last_text = ""
cdef bytes last_encoded = b""
cdef tuple last_status = ()
cdef bytes last_details = b""


cdef str shortened(str text):
    """The status message, cut so that MAX_STATUS_NBYTES hold it when it is encoded, in whole characters."""
    cdef str encoded = quote(text[:MAX_STATUS_NBYTES], safe=PLAIN_CHARACTERS, errors="replace")[:MAX_STATUS_NBYTES]
    if "%" in encoded[-2:]:
        encoded = encoded[:encoded.rindex("%")]
    return unquote(encoded, errors="ignore")


cpdef bytes percent_encode(str text):
    """A status message as grpc-message carries it: printable ASCII except '%' as it is, all else as %XX of its UTF-8 bytes. Spaces at
    its ends are left out, because a header's value may have none there. Cut at MAX_STATUS_NBYTES."""
    global last_text, last_encoded
    if text is not last_text:
        last_encoded = quote(shortened(text).strip(" "), safe=PLAIN_CHARACTERS, errors="replace").encode("ascii")
        last_text = text
    return last_encoded


cdef bytes varint(int64_t value):
    cdef list parts = []
    while value > 0x7F:
        parts.append(bytes((value & 0x7F | 0x80,)))
        value >>= 7
    parts.append(bytes((value,)))
    return b"".join(parts)


cdef bytes field(int number, bytes content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def status_proto(error):
    """A google.rpc.Status as bytes; b"" for an error that has no retry_after_ns.

    `Status{code 1, message 2, details 3: [Any{type_url 1, value 2: RetryInfo{retry_delay 1: Duration}}]}`, with the fields' numbers."""
    cdef int64_t retry_after_ns = getattr(error, "retry_after_ns", 0)
    if retry_after_ns <= 0:
        return b""
    duration = b""
    if retry_after_ns >= 1_000_000_000:
        duration += b"\x08" + varint(retry_after_ns // 1_000_000_000)
    if retry_after_ns % 1_000_000_000:
        duration += b"\x10" + varint(retry_after_ns % 1_000_000_000)
    retry_info = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, field(1, duration))
    return b"\x08" + varint(error.code) + field(2, shortened(str(error)).encode("utf-8", "replace")) + field(3, retry_info)


cpdef bytes status_details(error):
    """grpc-status-details-bin of an error, base64 without padding; b"" for an error that has no retry_after_ns."""
    global last_status, last_details
    cdef tuple status
    if getattr(error, "retry_after_ns", 0) <= 0:
        return b""
    status = (error.code, error.retry_after_ns, str(error))
    if status != last_status:
        last_details = b64encode(status_proto(error)).rstrip(b"=")
        last_status = status
    return last_details
