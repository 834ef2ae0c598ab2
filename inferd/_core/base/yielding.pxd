# yielding: a thread with a long piece of work lets others run once in a while; header-only. When the event loop wakes up on the same
# core, Linux lets the thread run on until the next tick, up to 4 ms. Niceness does not help: it decides shares of time, not turns.
# Called without the GIL, which the loop needs then. Never in here: what the work is.

from libc.stdint cimport int64_t

from inferd._core.base.clock cimport monotonic_ns

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    RUN_NS = 100_000            # how long a thread runs before it yields; or, if that is longer,
    WAITED_SHARE = 3            # a third of the time that it has just waited: a core that is never free is shared, not given away

cdef struct Turn:               # one thread's; all zeros: it yields at once
    int64_t began_ns            # monotonic
    int64_t run_ns              # how long it may run


cdef inline void yield_after(Turn *turn) noexcept nogil:
    """Call this again and again. When the turn is over, it lets others run, and begins the next turn."""
    cdef int64_t now_ns = monotonic_ns()
    if now_ns - turn.began_ns < turn.run_ns:
        return
    sched_yield()
    turn.began_ns = monotonic_ns()
    turn.run_ns = max(<int64_t>RUN_NS, (turn.began_ns - now_ns) // WAITED_SHARE)
