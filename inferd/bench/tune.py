"""Which settings serve a model best: tries them, and finds whether the best beats the default by more than noise.

The settings of a model are instances x threads x rows of a batch x execution provider x buckets. They are searched one axis at a time from
the default on (climb.py), within a budget of time. The best then takes turns with the default on freshly started servers. It is called
better only if it is faster there, by more than a margin and more than chance. The figure is responses a second in a closed loop whose
latencies keep the target. With a target, the number in flight is searched for, too. Never in here: servers, files, terminals. The clock is
an argument.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from inferd.bench.climb import GAIN, Settings, Space, climb
from inferd.bench.findings import Slo, judge
from inferd.bench.measurement import Measurement
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from inferd.bench.measurement import Load

    Serve = Callable[["Settings | None"], AbstractContextManager["Server"]]
    Tell = Callable[[str, "Settings | None", float, float], None]

LUCK = 0.05  # the best must not be better by chance more often than this
FEW = 200  # requests; a measurement with fewer says little of a p99, so all become longer
TURNS = 10  # as long as so many median latencies, too: batches that end together would else be in or out by chance
LONGEST = 10  # times as long as asked, at most, and so that in the budget
TRIED = 6  # others are tried, too
SHORTLIST = 3  # the best of the search that are measured again, and the default: the first of many is the luckiest, too
NEAR = 0.9  # of the best's score; what is further behind is not measured again


# ---------------------------------------------------------------------------------------------------------------------
# The verdict


class Improvement(msgspec.Struct, frozen=True):
    """The best against the default: responses a second of each round; 0 where the target was not kept."""

    better: bool
    gain: float  # the median over the rounds; 0.1 is 10 % more; infinite where mostly the best alone keeps the target
    luck: float  # how often chance alone would bring as much, or more
    default: list[float]
    best: list[float]


def compare(default: Sequence[float], best: Sequence[float], margin: float) -> Improvement:
    """Round by round, for the two of a round are neighbours in time: what else the machine does comes and goes for both."""
    rounds = list(zip(default, best, strict=True))
    gain = statistics.median(after / before - 1 if before else math.inf if after else 0.0 for before, after in rounds)
    luck = chance(default, best)
    return Improvement(gain >= margin and luck <= LUCK, gain, luck, list(default), list(best))


def chance(default: Sequence[float], best: Sequence[float]) -> float:
    """The probability that `best` is ahead so far by chance: Fisher's exact test of paired figures, one-sided.

    It is the share of all ways to swap the two sides in some rounds that put `best` as far ahead. Nothing is assumed about the noise."""
    ahead = [(after - before) / (after + before or 1.0) for before, after in zip(default, best, strict=True)]
    swapped = itertools.product(*((one, -one) for one in ahead))
    return sum(sum(each) >= sum(ahead) - 1e-9 for each in swapped) / (1 << len(ahead))


# ---------------------------------------------------------------------------------------------------------------------
# The run


class Trial(NamedTuple):
    """One measurement of one server. why: what was not kept, or why it could not be served; empty: all is well."""

    stage: str  # default, search, again, final
    settings: Settings
    in_flight: int
    why: str
    measurement: Measurement | None

    @property
    def score(self) -> float:
        return self.measurement.requests_per_second if self.measurement and not self.why else 0.0


class Target(NamedTuple):
    """The load and the target. most_in_flight: most that may be tried to keep `slo`; without one, the load's number stays."""

    load: Load
    slo: Slo | None = None
    most_in_flight: int = 512
    fixed: bool = False  # load's number is what somebody wants to know about; else a model that is too slow for it gets fewer
    budget_s: float = 300.0
    rounds: int = 6
    margin: float = 0.03


class Tuned(NamedTuple):
    """The result of a tuning. best: the default where nothing is better. found: the best settings of the search. verdict: of these against
    the default. Without a result of the search, or after an interrupt, they are the default and None."""

    trials: list[Trial]
    default: Settings
    best: Settings
    found: Settings
    verdict: Improvement | None
    kept: bool  # whether any settings keep the target
    ended: str  # why the search ended
    interrupted: bool = False
    in_flight: int = 0  # that the default was given first; fewer than the load's where the model is too slow for those
    out_of_time: bool = False  # before anything but the default could be tried
    unshared: str = ""  # that requests share no run, and why; empty: they share runs, or a run takes one row


class Server(NamedTuple):
    """One that serves the model. run: measures a load on it."""

    settings: Settings
    run: Callable[[Load], Measurement]


def tune(
    serve: Serve,
    space: Callable[[Settings], Space],
    target: Target,
    *,
    tell: Tell = lambda *_: None,
    keep: Callable[[Trial], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
) -> Tuned:
    """Searches, and compares what was found with the default.

    serve: starts a server with these settings, None for the default's; InferdError where it cannot. space: what may be tried, given the
    default. tell(stage, settings, best score, seconds) says what comes next, `keep` is given every trial. Ctrl-C ends it with what there
    is. Raises the default's own InferdError, for then there is nothing to tune.
    """
    run = Run(serve, target, tell, keep, now)
    try:
        default = run.default()
        try:
            ended = run.search(space(default), default)
            best = run.shortlisted(default)
            verdict = run.finals(default, best) if best != default else None
        except KeyboardInterrupt:
            return Tuned(run.trials, default, default, default, None, run.any_kept, "interrupted", True, run.in_flight)
    finally:
        run.close()
    chosen = best if verdict is not None and verdict.better else default
    return Tuned(run.trials, default, chosen, best, verdict, run.any_kept, ended, in_flight=run.in_flight, out_of_time=run.out_of_time)


class Run:
    """The state of one tuning: what was measured, and what is best so far."""

    def __init__(self, serve: Serve, target: Target, tell: Tell, keep: Callable[[Trial], None], now: Callable[[], float]) -> None:
        self.serve, self.target, self._tell, self._keep, self._now = serve, target, tell, keep, now
        self.load = target.load
        self.begun_s = now()
        self.trials: list[Trial] = []
        self.found: dict[Settings, Trial] = {}  # the best trial of each
        self.took_s: list[float] = []  # each server, from its start to its end
        self.once_s: list[float] = []  # the same, had it been measured once only
        self.loads_s: list[float] = []  # each measurement of the present server
        self.out_of_time = False  # before anything but the default could be tried
        self._policy: Generator[Settings, float, None] | None = None

    @property
    def best(self) -> Settings:
        return max(self.found, key=lambda settings: self.found[settings].score)  # the first of equals: the default is it

    @property
    def any_kept(self) -> bool:
        return any(trial.score for trial in self.trials)

    @property
    def spent_s(self) -> float:
        return self._now() - self.begun_s

    def close(self) -> None:
        if self._policy is not None:
            self._policy.close()

    @property
    def in_flight(self) -> int:
        return self.load.connections * self.load.streams

    @property
    def kept_back(self) -> int:
        """Measurements after the search."""
        return 2 * self.target.rounds + SHORTLIST + 1

    def default(self) -> Settings:
        """Measures the server as it is. Measurements become longer if they would show too few requests. If the model is so slow that they
        would be too long, fewer requests are put in flight."""
        self._say("default", None)
        begun_s = self._now()
        with self.serve(None) as server:
            first = self._measure(server, self.in_flight)
            start_s = self._now() - begun_s - self.loads_s[0]
            least_s = self.spent_s + (self.kept_back + 1) * (start_s + self.load.duration_s + self.load.warm_up_s)
            each_s = self.target.budget_s / (self.kept_back + TRIED) - start_s - self.load.warm_up_s
            longest_s = max(self.load.duration_s, min(LONGEST * self.load.duration_s, each_s))
            short = least_s > self.target.budget_s and not self._why(first)  # so no search follows
            if not short and not self.target.fixed and self.in_flight > (most := in_time(first, self.loads_s[0], longest_s)):
                self.load = with_in_flight(self.load, most)
                first = self._measure(server, most)
            self.load = long_enough(self.load, first, longest_s)
            if short:
                self._add(Trial("default", server.settings, self.in_flight, "", first))
            else:
                self._settle("default", server, 0.0)
        self._took(begun_s)
        return server.settings

    def search(self, space: Space, default: Settings) -> str:
        """Why it ended. Time is kept back for the final rounds."""
        self._policy = climb(space, default, self.found[default].score)
        score: float | None = None
        try:
            while True:
                asked = next(self._policy) if score is None else self._policy.send(score)
                if (same := self._same(asked)) is not None:
                    score = same.score
                    continue
                final_s = self.kept_back * statistics.median(self.once_s)
                if self.spent_s + max(self.took_s) + final_s > self.target.budget_s:
                    if len(self.took_s) == 1:  # the default
                        self.out_of_time = True
                        enough_s = self.spent_s + 2 * final_s
                        short = f"in the budget of {self.target.budget_s:.0f} s nothing can be tried and compared"
                        cure = f"give --budget {enough_s:.0f}s"
                        if self.target.fixed and self.in_flight > 1 and self.load.duration_s > self.target.load.duration_s:  # a slow model
                            cure += ", or fewer in flight (--connections 1 --concurrency 1)"
                        return f"{short}: {cure}"
                    return f"the budget of {self.target.budget_s:.0f} s was used up"
                score = self._try(asked)
        except StopIteration:
            return "nothing near the best is better"

    def _try(self, settings: Settings) -> float:
        self._say("search", settings)
        begun_s = self._now()
        try:
            with self.serve(settings) as server:
                self._settle("search", server, self.found[self.best].score)
        except InferdError as error:
            self._add(Trial("search", settings, 0, str(error), None))
        self._took(begun_s)
        return self.found[settings].score

    def _same(self, asked: Settings) -> Trial | None:
        """A trial that differs only in a limit of rows that no run came up to in either."""
        for settings, trial in self.found.items():
            if asked.rows and replace(settings, rows=asked.rows) == asked:
                largest = max((largest_run(trial) for trial in self.trials if trial.settings == settings), default=0)
                if 0 < largest < settings.rows and largest < asked.rows:
                    return trial
        return None

    def _settle(self, stage: str, server: Server, to_beat: float) -> None:
        """With a target: more in flight as long as that brings more and keeps it, less until it is kept or cannot win any more."""
        in_flight = self.found[self.best].in_flight if self.found else self.in_flight
        trial = self._trial(stage, server, in_flight)
        if self.target.slo is None or trial.measurement is None:
            return
        if trial.score:
            best, misses = trial.score, 0
            while 2 * in_flight <= self.target.most_in_flight and misses < (2 if best >= to_beat else 1):
                in_flight *= 2
                trial = self._trial(stage, server, in_flight)
                if not trial.score:
                    return
                misses = 0 if trial.score >= GAIN * best else misses + 1
                best = max(best, trial.score)
            return
        while not trial.score and in_flight > 1 and trial.measurement is not None:
            if trial.measurement.requests_per_second <= to_beat:
                return
            in_flight //= 2
            trial = self._trial(stage, server, in_flight)

    def shortlisted(self, default: Settings) -> Settings:
        """The best of the search by the mean of two measurements, so that neither it nor the default was only lucky once."""
        limit = NEAR * self.found[self.best].score
        ranked = sorted(self.found, key=lambda settings: -self.found[settings].score)
        near = [settings for settings in ranked if settings != default and self.found[settings].score > limit][:SHORTLIST]
        if self.found[default].score > limit:
            near.insert(0, default)
        if len(near) < 2:
            return near[0] if near else default
        again = {settings: self._anew("again", settings, default).score for settings in near}
        return max(near, key=lambda settings: self.found[settings].score + again[settings])

    def finals(self, default: Settings, best: Settings) -> Improvement:
        """Measures both in turn and back again (A B B A), each time on a new server, with each one's own best number in flight."""
        sides: dict[Settings, list[float]] = {default: [], best: []}
        for turn in range(self.target.rounds):
            for settings in (default, best) if turn % 2 == 0 else (best, default):
                sides[settings].append(self._anew("final", settings, default).score)
        return compare(sides[default], sides[best], self.target.margin)

    def _anew(self, stage: str, settings: Settings, default: Settings) -> Trial:
        """One more measurement on a new server, with as many in flight as was best."""
        self._say(stage, settings)
        in_flight = self.found[settings].in_flight
        try:
            with self.serve(None if settings == default else settings) as server:
                return self._trial(stage, server, in_flight)
        except InferdError as error:
            return self._add(Trial(stage, settings, in_flight, str(error), None))

    def _trial(self, stage: str, server: Server, in_flight: int) -> Trial:
        measured = self._measure(server, in_flight)
        return self._add(Trial(stage, server.settings, in_flight, self._why(measured), measured))

    def _why(self, measured: Measurement) -> str:
        """The reason why the target was not kept."""
        return measured.ended or judge(measured, self.target.slo or Slo({}))

    def _add(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        self._keep(trial)
        if trial.stage in ("default", "search"):
            known = self.found.get(trial.settings)
            if known is None or trial.score > known.score or (not known.score and not trial.score):
                self.found[trial.settings] = trial
        return trial

    def _measure(self, server: Server, in_flight: int) -> Measurement:
        begun_s = self._now()
        measured = server.run(with_in_flight(self.load, in_flight))
        self.loads_s.append(self._now() - begun_s)
        if measured.ended == "interrupted":
            raise KeyboardInterrupt
        return measured

    def _took(self, begun_s: float) -> None:
        self.took_s.append(self._now() - begun_s)
        self.once_s.append(self.took_s[-1] - sum(self.loads_s[:-1]))
        self.loads_s.clear()

    def _say(self, stage: str, settings: Settings | None) -> None:
        self._tell(stage, settings, self.found[self.best].score if self.found else 0.0, self.spent_s)


def in_time(first: Measurement, took_s: float, longest_s: float) -> int:
    """How many in flight wait for so short a time each that TURNS of it fit into the longest measurement: a power of two. took_s: by the
    first one, which may have seen responses only after its end."""
    answered = first.requests - first.failed
    rate = max(first.requests_per_second, answered / took_s if took_s else 0.0)
    return 1 << max(int(rate * longest_s / TURNS), 1).bit_length() - 1


def long_enough(load: Load, first: Measurement, longest_s: float) -> Load:
    """Longer where the first measurement shows that the time asked for is too short for this model."""
    asked_s, latency_s = load.duration_s, first.latency_us.p50 / 1e6
    if first.failed or not first.requests:
        return load
    wanted_s = max(asked_s, asked_s * FEW / first.requests, TURNS * latency_s)
    return replace(load, duration_s=min(wanted_s, longest_s), warm_up_s=max(load.warm_up_s, min(2 * latency_s, asked_s)))


def with_in_flight(load: Load, in_flight: int) -> Load:
    """On as many of its connections as share them evenly, and no process without a connection."""
    connections = max(count for count in range(1, min(load.connections, in_flight) + 1) if in_flight % count == 0)
    return replace(load, connections=connections, streams=in_flight // connections, processes=min(load.processes, connections))


def largest_run(trial: Trial) -> int:
    """Rows of the largest run that the server told of; 0 where it told of none."""
    server = trial.measurement.server if trial.measurement else None
    return max(server.batch_sizes, default=0) if server else 0
