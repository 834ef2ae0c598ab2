# inline_policy: whether one model's runs may stay on the event loop. A pure policy: durations and times are arguments.

from libc.stdint cimport int64_t

cdef class InlinePolicy:        # one model's account
    cdef public int64_t limit_ns        # the longest run that may stay on the loop
    cdef public double busy_share       # the share of the loop's time that runs may fill, 0 to 1
    cdef public int64_t return_runs     # runs on an executor thread that decide whether the model returns
    cdef readonly double debt           # in multiples of each run's own limit
    cdef int64_t ended_ns               # when the last run ended, monotonic
    cdef int64_t window_end_ns, window_busy_ns                          # of the window that goes on: its end, the time that runs filled
    cdef int64_t seen_runs, seen_ns, seen_limits_ns, seen_since_ns      # runs on an executor thread: number, time, their limits, since when
    # One run on the loop has ended now. The reason why the model must leave the loop; empty while it may stay.
    cpdef str overrun(self, int64_t run_ns, int64_t now_ns)
    # One run on an executor thread has ended now. True: the model may return to the loop.
    cpdef bint recovered(self, int64_t run_ns, int64_t now_ns)
    cpdef begin_anew(self)
    cdef int64_t limit_of(self, int64_t run_ns, int64_t now_ns) noexcept
    cdef str end_window(self, int64_t now_ns)
    cdef str leave(self, str reason)
