# call_stalls: which calls of a connection wait too long for their client, or have passed their deadline, and how they end.
# Never in here: reading a clock, the connection's own limits.

from libc.stdint cimport int64_t
from inferd._core.http2.stream cimport Http2Call
from inferd._core.net.stall_policy cimport Owed

cdef enum Found:                        # what a look at all calls of a connection has found, beside late calls
    NO_MORE = 0
    SHARED_WINDOW = 1                   # a call waits for the window that all calls share: its client must read the responses of others
    WITHIN_HEADERS = 2                  # a client stops within the headers of a call, and so for all

# Looks at `call` and those behind it. Adds the late ones to `late`.
cdef Found find_late(Http2Call call, list late, int64_t now_ns, int64_t request_limit_ns, int64_t response_limit_ns) noexcept
# The client has owed this step for too long, or the deadline has passed.
cdef void end_stalled(Http2Call call, Owed step, int64_t limit_ns, int64_t now_ns) noexcept
