# protocol: what a connection speaks, as its socket knows it: bytes in, bytes out, a clock as an argument. A StreamSocket holds one; http2's
# Session and http1's Http1Session derive from it.
# Never in here: sockets, TLS, turns, reading a clock.

from libc.stdint cimport int64_t, uint8_t
from inferd._core.net.poller cimport Polled

cdef class Protocol:
    # Begins, with its StreamSocket, which it holds until close(). max_age_ns: at which age it drains; 0: never.
    cdef int open(self, Polled connection, int64_t max_age_ns) except -1
    # It is over: abandons calls, frees memory, and lets go of the StreamSocket. Idempotent.
    cdef int close(self) except -1
    # The connection has begun to drain, perhaps before open(): tells the client that no new calls are served.
    cdef int drain(self) except -1
    # Takes bytes of the client, in pieces of READ_NBYTES or of a message's next frame_nbytes, and returns how many. It takes all of them,
    # unless it has set `paused`: the rest waits in `pending`. now_ns: monotonic; when the present turn began.
    cdef Py_ssize_t take(self, const uint8_t *source, Py_ssize_t nbytes, int64_t now_ns) except -1
    # Hands output to put(), a turn's worth at most; when more is left, it calls schedule_flush_turn(). Only while `unsent` is None.
    cdef int write_output(self) except -1
    # Goes on with the calls of `resuming`, which becomes None.
    cdef int take_backlogs(self) except -1
    # The client has hung up while reading is paused: nobody may read the response. Called in each turn.
    cdef int left_while_paused(self, int64_t now_ns) except -1
    # Ends each call that waits too long for its client. True: the connection must be aborted. Called now and then. acknowledged_nbytes: a
    # count of bytes that the client's kernel has taken; -1: the transport holds none for it.
    cdef bint end_late_calls(self, int64_t now_ns, int64_t acknowledged_nbytes, int64_t request_limit_ns,
                             int64_t response_limit_ns) except -1
    # Takes the step that the keepalive policy decides on. True: the connection must be aborted. Called now and then. waiting_nbytes: bytes
    # that the transport holds.
    cdef bint take_keepalive_step(self, int64_t now_ns, Py_ssize_t waiting_nbytes) except -1
