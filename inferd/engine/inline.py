"""Whether one model's runs may stay on the event loop. A pure policy: durations and times are arguments, nothing is measured here.

A tiny model runs on the loop at the end of the iteration that gathered its batch: no thread hop, half the cost of a request.
That is right only while its runs are short and leave the loop time for everything else, so every run is accounted for:

- Each run over the limit adds its length to a debt, counted in limits, MAX_WEIGHT at most; each run within the limit pays
  REPAYMENT of it back. A debt of MAX_DEBT, two to eight slow runs close together, sends the model to an executor thread. One run
  that the operating system interrupted, or a few in a hundred of them, do not.
  A run of HELD_NS or more sends it there at once, whatever held it up: nothing was answered meanwhile.
  While there is a debt the caller may give the processor time of a run instead of its duration, where that tells the two apart.
- So does a window of WINDOW_NS in which runs filled more than the given share of the loop's time.
- A run after a pause finds its data gone from the caches and the core asleep: it takes many times as long as one right behind another,
  on a thread no less than on the loop. So its limit is longer by PAUSE_SHARE of the pause, MAX_PAUSE_LIMITS limits at most: a model
  that is asked now and then stays.
- It may come back when, over the number of runs asked for, the mean run took half of the limit at most and runs filled half
  of the share at most. Each time it has to leave, that number doubles.

Never in here: clocks, threads, models.
"""

from __future__ import annotations

__all__ = ["InlinePolicy"]

WINDOW_NS = 1_000_000_000  # busy share is taken over this long
MAX_WEIGHT = 4.0  # limits that one run counts for at most
REPAYMENT = 0.25  # limits that a run within the limit pays back
MAX_DEBT = 8.0  # limits
PAUSE_SHARE = 1 / 16  # of the time since the last run: how much longer than the limit a run may take
MAX_PAUSE_LIMITS = 3  # limits that this adds at most
HELD_NS = 100_000_000  # of one run that is over the limit, too
FIRST_RETURN_RUNS = 1000  # runs, well within the limit, before a model returns for the first time
MAX_RETURN_RUNS = 64_000


class InlinePolicy:
    """One model's account. limit_ns: the longest run that may stay on the loop; busy_share: of the loop's time, 0 to 1."""

    def __init__(self, limit_ns: int, busy_share: float) -> None:
        self.limit_ns = limit_ns
        self.busy_share = busy_share
        self.return_runs = FIRST_RETURN_RUNS
        self._debt = 0.0
        self._ended_ns = 0  # of the last run
        self._window_end_ns = 0
        self._window_busy_ns = 0
        self._seen_runs = 0
        self._seen_ns = 0
        self._seen_limits_ns = 0
        self._seen_since_ns = 0

    @property
    def in_doubt(self) -> bool:
        """Whether a recent run was over the limit: the next ones decide, so they are worth a closer look at what delayed them."""
        return self._debt > 0.0

    def admits(self, run_ns: int) -> bool:
        """Whether a model whose run takes that long may start on the loop."""
        return run_ns <= self.limit_ns

    def overrun(self, run_ns: int, now_ns: int) -> str:
        """Accounts for one run on the loop that ended now. Why the model has to leave the loop; empty while it may stay."""
        self._window_busy_ns += run_ns
        limit_ns = self.limit_ns
        if run_ns > limit_ns:
            if run_ns >= HELD_NS:
                return self._leave(f"a run held it up for {run_ns / 1e6:.0f} ms")
            limit_ns = self._limit_of(run_ns, now_ns)
        self._ended_ns = now_ns
        if run_ns > limit_ns:
            self._debt += min(run_ns / limit_ns, MAX_WEIGHT)
            if self._debt >= MAX_DEBT:
                return self._leave(f"its runs take longer than {self.limit_ns / 1e3:.0f} us")
        elif self._debt > 0.0:
            self._debt -= REPAYMENT
        if now_ns >= self._window_end_ns:
            return self._end_window(now_ns)
        return ""

    def recovered(self, run_ns: int, now_ns: int) -> bool:
        """Accounts for one run on an executor thread that ended now. True: the model may return to the loop."""
        if self._seen_runs == 0:
            self._seen_since_ns = now_ns - run_ns
            self._seen_ns = self._seen_limits_ns = 0
        self._seen_runs += 1
        self._seen_ns += run_ns
        self._seen_limits_ns += self._limit_of(run_ns, now_ns)
        self._ended_ns = now_ns
        if self._seen_runs < self.return_runs:
            return False
        calm = 2 * self._seen_ns <= self._seen_limits_ns
        elapsed_ns = max(now_ns - self._seen_since_ns, 1)
        idle = 2 * self._seen_ns <= self.busy_share * elapsed_ns
        self._seen_runs = 0
        return calm and idle

    def _limit_of(self, run_ns: int, now_ns: int) -> int:
        """The limit of the run that ended now, with what the pause before it adds."""
        pause_ns = max(now_ns - run_ns - self._ended_ns, 0)
        return self.limit_ns + int(min(pause_ns * PAUSE_SHARE, MAX_PAUSE_LIMITS * self.limit_ns))

    def _end_window(self, now_ns: int) -> str:
        started, busy_ns = self._window_end_ns > 0, self._window_busy_ns
        elapsed_ns = WINDOW_NS + now_ns - self._window_end_ns
        self._window_end_ns = now_ns + WINDOW_NS
        self._window_busy_ns = 0
        if started and busy_ns > self.busy_share * elapsed_ns:
            return self._leave(f"its runs fill {100 * busy_ns / elapsed_ns:.0f} % of the event loop's time")
        return ""

    def begin_anew(self) -> None:
        """The model leaves the loop, for whatever reason: what was counted on it is over."""
        self._debt = 0.0
        self._window_end_ns = self._window_busy_ns = self._seen_runs = 0

    def _leave(self, reason: str) -> str:
        self.begin_anew()
        self.return_runs = min(2 * self.return_runs, MAX_RETURN_RUNS)
        return reason
