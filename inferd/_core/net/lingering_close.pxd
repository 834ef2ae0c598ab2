# lingering_close: the end of a connection's socket, as in nginx. A kernel resets a closed socket to which bytes come, and the client
# loses what it has not read. So the server sends what is left, and shuts down its side. It throws away what comes until the client
# closes, too, or a limit of time or bytes is reached. Never in here: HTTP/2.

from libc.stdint cimport int64_t
from inferd._core.net.poller cimport Polled
from inferd._core.net.server_state cimport ServerState

cdef enum:
    LINGERING_TIMEOUT_NS = 2_000_000_000        # it ends when nothing has come and nothing was sent for this long,
    LINGERING_TIME_NS = 30_000_000_000          # and after this time in any case

cdef class LingeringClose(Polled):      # `unsent` is None once all was sent and our side is shut down
    cdef ServerState server
    cdef object socket                  # None once it is closed
    cdef int64_t left_nbytes            # bytes that it still throws away before it ends
    cdef int64_t moved                  # more than 0: bytes came or were sent since the last look
    cdef int queued_nbytes              # bytes in the kernel's send queue at the last look
    cdef int64_t since_ns, begun_ns     # when something moved last, when it began; as of the looks, monotonic
    cdef int send_left(self) except -1
    cdef void end(self) noexcept
