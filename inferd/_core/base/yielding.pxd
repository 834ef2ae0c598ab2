# yielding: a thread with a long piece of work lets others go first, once in a while; header-only. Where it shares a core with the event
# loop, Linux lets it run on to the next tick when the loop wakes up, 4 ms later at most, however nice it is: niceness is about shares of
# time, not about whose turn it is. Called without the GIL, which the loop needs then. Never in here: what the work is.

from libc.stdint cimport int64_t

from inferd._core.base.clock cimport monotonic_ns

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    RUN_NS = 100_000            # that a thread runs before it lets others go first,
    WAITED_SHARE = 3            # or a third of what it has just waited, so that a core that is never free is shared and not given away

cdef struct Turn:               # of a thread; zeros: it has worked for long
    int64_t began_ns
    int64_t run_ns


cdef inline void yield_after(Turn *turn) noexcept nogil:
    """Called again and again. Lets others run when the turn is over, and begins the next."""
    cdef int64_t now_ns = monotonic_ns()
    if now_ns - turn.began_ns < turn.run_ns:
        return
    sched_yield()
    turn.began_ns = monotonic_ns()
    turn.run_ns = max(<int64_t>RUN_NS, (turn.began_ns - now_ns) // WAITED_SHARE)
