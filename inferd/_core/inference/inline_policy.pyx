# cython: language_level=3, cdivision=True
"""inline_policy: whether one model's runs may stay on the event loop. A pure policy: durations and times are arguments.

A tiny model runs on the loop, right after the iteration that gathered its batch: no thread hop, half the cost of a request.
That is right only while its runs are short and leave the loop time for everything else, so every run is accounted for:

- Each run over the limit adds its length to a debt, in multiples of its own limit, MAX_WEIGHT at most. Each run within the limit pays
  REPAYMENT of it back. A debt of MAX_DEBT, two to eight slow runs close together, sends the model to an executor thread. One run
  that the operating system interrupted, or a few in a hundred, do not.
  A run of HELD_NS or more sends it there at once, whatever held it up: no response left meanwhile.
  While there is a debt, the caller may give the processor time of a run instead of its duration.
- A window of WINDOW_NS in which runs filled more than busy_share of the loop's time sends it there, too.
- A run after a pause takes many times as long as one right behind another: its data has left the caches, and the core
  sleeps. So its limit is longer by PAUSE_SHARE of the pause, at most by MAX_PAUSE_LIMITS times limit_ns: a model that gets few requests
  stays.
- It may return when, over return_runs runs, the mean run took half of its limit at most, and runs filled half of busy_share at most.
  Each time it has to leave, that number doubles.

Never in here: clocks, threads, models.
"""

cimport cython
from libc.stdint cimport int64_t

cpdef enum:
    WINDOW_NS = 1_000_000_000   # the busy share is taken over this long
    HELD_NS = 100_000_000       # a run of this length that is over the limit sends the model away at once
    MAX_PAUSE_LIMITS = 3        # the most that a pause adds to the limit of the run after it, in multiples of limit_ns
    FIRST_RETURN_RUNS = 1000    # runs, well within the limit, before a model that was never too slow returns; each leaving doubles it
    MAX_RETURN_RUNS = 64_000

# In multiples of a run's own limit, which is longer after a pause:
cdef double MAX_WEIGHT = 4.0        # the most that one run adds to the debt
cdef double REPAYMENT = 0.25        # a run within the limit pays this back
cdef double MAX_DEBT = 8.0          # the model leaves
cdef double PAUSE_SHARE = 1.0 / 16  # a run may take longer by this share of the time since the last run


@cython.final
cdef class InlinePolicy:
    """One model's account. limit_ns: the longest run that may stay on the loop; busy_share: the share of the loop's time that runs may
    fill, 0 to 1."""

    def __init__(self, int64_t limit_ns, double busy_share):
        self.limit_ns = limit_ns
        self.busy_share = busy_share
        self.return_runs = FIRST_RETURN_RUNS

    def admits(self, int64_t run_ns):
        """Whether a model whose run takes that long may start on the loop."""
        return run_ns <= self.limit_ns

    cpdef str overrun(self, int64_t run_ns, int64_t now_ns):
        """Accounts for one run on the loop that ended now. Why the model has to leave the loop; empty while it may stay."""
        cdef int64_t limit_ns = self.limit_ns
        self.window_busy_ns += run_ns
        if run_ns > limit_ns:
            if run_ns >= HELD_NS:
                return self.leave(f"a run held it up for {run_ns / 1e6:.0f} ms")
            limit_ns = self.limit_of(run_ns, now_ns)
        self.ended_ns = now_ns
        if run_ns > limit_ns:
            self.debt += min(<double>run_ns / limit_ns, MAX_WEIGHT)
            if self.debt >= MAX_DEBT:
                return self.leave(f"its runs take longer than {self.limit_ns / 1e3:.0f} us")
        elif self.debt > 0:
            self.debt -= REPAYMENT
        if now_ns >= self.window_end_ns:
            return self.end_window(now_ns)
        return ""

    cpdef bint recovered(self, int64_t run_ns, int64_t now_ns):
        """Accounts for one run on an executor thread that ended now. True: the model may return to the loop."""
        cdef bint calm, idle
        if self.seen_runs == 0:
            self.seen_since_ns = now_ns - run_ns
            self.seen_ns = self.seen_limits_ns = 0
        self.seen_runs += 1
        self.seen_ns += run_ns
        self.seen_limits_ns += self.limit_of(run_ns, now_ns)
        self.ended_ns = now_ns
        if self.seen_runs < self.return_runs:
            return False
        calm = 2 * self.seen_ns <= self.seen_limits_ns
        idle = 2 * self.seen_ns <= self.busy_share * max(now_ns - self.seen_since_ns, <int64_t>1)
        self.seen_runs = 0
        return calm and idle

    cdef int64_t limit_of(self, int64_t run_ns, int64_t now_ns) noexcept:
        """The limit of the run that ended now: longer after a pause."""
        cdef int64_t pause_ns = max(now_ns - run_ns - self.ended_ns, <int64_t>0)
        return self.limit_ns + <int64_t>min(pause_ns * PAUSE_SHARE, <double>(MAX_PAUSE_LIMITS * self.limit_ns))

    cdef str end_window(self, int64_t now_ns):
        cdef bint started = self.window_end_ns > 0
        cdef int64_t busy_ns = self.window_busy_ns
        cdef int64_t elapsed_ns = WINDOW_NS + now_ns - self.window_end_ns
        self.window_end_ns = now_ns + WINDOW_NS
        self.window_busy_ns = 0
        if started and busy_ns > self.busy_share * elapsed_ns:
            return self.leave(f"its runs fill {100.0 * busy_ns / elapsed_ns:.0f} % of the event loop's time")
        return ""

    cpdef begin_anew(self):
        """The model leaves the loop, for whatever reason: counting begins anew."""
        self.debt = 0
        self.window_end_ns = self.window_busy_ns = self.seen_runs = 0

    cdef str leave(self, str reason):
        self.begin_anew()
        self.return_runs = min(2 * self.return_runs, <int64_t>MAX_RETURN_RUNS)
        return reason
