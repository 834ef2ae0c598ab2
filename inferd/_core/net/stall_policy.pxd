# stall_policy: whether a client that owes bytes, or must read some, does so fast enough. The policy: integers in, yes or no out,
# header-only; no clock.

from libc.stdint cimport int64_t, uint64_t

cdef enum Owed:                         # what a call, or a connection, waits for its client to do
    NOTHING = 0
    REQUEST = 1                         # send the rest of the request
    CALL_RESPONSE = 2                   # read the call's response: its stream's window is shut
    CONNECTION_RESPONSES = 3            # read the connection's responses: the window that they share is shut
    OUTPUT = 4                          # read the bytes that the transport holds

cdef struct StallPolicy:                # how fast a count of bytes grows, looked at now and then
    Owed owed                           # what the client owed at the last look
    uint64_t seen_nbytes                # the count when the present period began
    int64_t since_ns                    # when it began: the client began to owe this, or had moved enough


cdef inline bint is_stalled(StallPolicy *stall, Owed owed, uint64_t moved_nbytes, int64_t now_ns, int64_t limit_ns, int64_t rate) noexcept:
    """Whether the client has owed the same for limit_ns while less than `rate` bytes a second moved. A count that falls has not moved."""
    cdef int64_t least_nbytes = max(1, rate * (limit_ns // 1000) // 1_000_000)
    if owed != stall.owed or <int64_t>(moved_nbytes - stall.seen_nbytes) >= least_nbytes:
        stall.owed, stall.seen_nbytes, stall.since_ns = owed, moved_nbytes, now_ns
        return False
    return owed != NOTHING and now_ns - stall.since_ns >= limit_ns
