# lingering_close: the end of a connection's socket, as in nginx. A kernel answers bytes that come to a closed socket with a reset, for
# which the client loses what it has not read. So the server sends what is left, shuts down its side, and throws away what comes until
# the client closes too, or a limit of time or bytes is reached. Never in here: HTTP/2.

from libc.stdint cimport int64_t
from inferd._core.http2.poller cimport Polled
from inferd._core.http2.server_state cimport ServerState

cdef enum:
    LINGERING_TIMEOUT_NS = 2_000_000_000        # in which nothing comes, and the client takes nothing
    LINGERING_TIME_NS = 30_000_000_000          # in all

cdef class LingeringClose(Polled):      # `unsent` is None once all was sent and our side is shut down
    cdef ServerState server
    cdef object socket
    cdef int64_t left_nbytes            # that are still thrown away
    cdef int64_t moved                  # counts what came and what was sent, since the last look
    cdef int queued_nbytes              # in the kernel, at the last look
    cdef int64_t since_ns, begun_ns     # when something moved last, when it began; as of the looks
    cdef int send_left(self) except -1
    cdef void end(self) noexcept
