# poller: watches the sockets of a server by epoll, edge-triggered, and gives turns to those that have work.
# Never in here: what is read and written.

from libc.stdint cimport int64_t, uint32_t
from inferd._core.base.scheduler cimport Flow, Scheduler

cdef enum:
    READABLE = 1                        # bytes may be there to be read
    WRITABLE = 2                        # the socket takes bytes
    HUNG_UP = 4                         # the client sends nothing more: read until the end of its bytes
    CUT = 8                             # a read may end before the bytes do, at urgent data or a descriptor: read until EAGAIN
    GONE = 16                           # the client reads nothing more either

cdef class Polled(Flow):                # one socket
    cdef readonly int descriptor        # -1: none, or it is closed
    cdef bytearray unsent               # bytes that the socket did not take; None: it takes more
    cdef uint32_t readiness             # READABLE, WRITABLE, HUNG_UP, CUT, GONE: what epoll has said and no system call has disproved
    cdef Poller poller                  # None before add() and after forget()
    cdef bint dirty                     # it is in the server's list of connections with output
    # Writes the output that the transport takes, a turn's worth at most.
    cpdef flush(self)
    # Schedules a flush in this connection's next turn.
    cdef void schedule_flush_turn(self) noexcept

cdef class Poller:
    cdef int epoll                      # the descriptor; -1: closed
    cdef dict sockets                   # descriptor -> Polled
    cdef Scheduler scheduler            # the flows that have work
    cdef object schedule                # schedule(callback) is loop.call_soon: the callback runs before the loop handles new events
    cdef public int64_t budget_ns       # how long turns take in one iteration
    cdef int64_t now_ns                 # when the latest turn began
    cdef bint scheduled                 # turns are scheduled for the next iteration
    # Watches the socket. Raises OSError.
    cdef int add(self, Polled socket) except -1
    # Stops watching it. The caller may close the descriptor.
    cdef void forget(self, Polled socket) noexcept
    # The flow has work that no event of epoll announces.
    cdef void wake(self, Flow flow) noexcept
    # Gives turns until the budget is used up.
    cdef int run(self) except -1
    cdef void schedule_turns(self) noexcept
