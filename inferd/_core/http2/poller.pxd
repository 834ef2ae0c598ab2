# poller: the sockets of a server, edge-triggered, and the turns of those that have work. Never in here: what is read and written.

from libc.stdint cimport int64_t, uint32_t
from inferd._core.base.scheduler cimport Flow, Scheduler

cdef enum:
    READABLE = 1                        # bytes may be there to be read
    WRITABLE = 2                        # the socket takes bytes
    HUNG_UP = 4                         # the client sends nothing more: read until the end is seen
    CUT = 8                             # a read may end before the bytes do, at urgent data or a descriptor: read until EAGAIN

cdef class Polled(Flow):                # one socket
    cdef readonly int descriptor        # -1: none, or it is closed
    cdef bytearray unsent               # bytes that the socket did not take, or None
    cdef uint32_t readiness             # READABLE, WRITABLE, HUNG_UP: what epoll has said and no call has disproved
    cdef Poller poller                  # None before add() and after forget()
    cdef bint dirty                     # is in the server's list of those with output
    # Writes the output that the transport takes, a turn's worth at most.
    cpdef flush(self)
    # The same in a turn, for others have written much.
    cdef void flush_in_turn(self) noexcept

cdef class Poller:
    cdef int epoll
    cdef dict sockets                   # descriptor -> Polled
    cdef Scheduler scheduler
    cdef object schedule                # schedule(callback): runs it at the end of the loop's present iteration
    cdef public int64_t budget_ns       # of one iteration
    cdef bint scheduled                 # serve() is
    # From now on. Raises OSError.
    cdef int add(self, Polled socket) except -1
    # Not any more. Its descriptor may be closed then.
    cdef void forget(self, Polled socket) noexcept
    # The socket has work that no event of epoll announces.
    cdef void wake(self, Flow flow) noexcept
    cdef int run(self) except -1
    cdef void go_on(self) noexcept
