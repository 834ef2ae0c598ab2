"""Which settings serve a model best: what to try, how to judge it, and whether the best beats the default by more than noise.

The settings of a model are instances x threads x rows of a batch x execution provider. They are searched one axis at a time from the
default on (`climb`), within a budget of time. The best then takes turns with the default on freshly started servers, and only what is
faster there, by more than a margin and more than chance, is called better. A figure is answers a second in a closed loop whose
latencies keep the target; with a target the number in flight is looked for, too.
Never in here: servers, files, terminals. The clock is an argument.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from inferd.bench.findings import Slo, judge
from inferd.bench.measurement import Measurement
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from inferd.bench.measurement import Load

    Serve = Callable[["Settings | None"], AbstractContextManager["Server"]]
    Tell = Callable[[str, "Settings | None", float, float], None]

__all__ = ["Settings", "Space", "Target", "Trial", "Tuned", "Verdict", "climb", "compare", "tune"]

GAIN = 1.02  # a step of the search that brings less than this is none
LUCK = 0.05  # the best must not be better by chance more often than this
FEW = 100  # requests; a measurement with fewer says little of a p99, so all become longer
LONGEST = 10  # times as long as asked, at most


class Settings(msgspec.Struct, frozen=True):
    """What is tuned. rows: of a batch at most; 0 for a model that does not batch."""

    provider: str
    instances: int
    threads: int  # of one run
    rows: int

    def __str__(self) -> str:
        batches = f"batches of {self.rows}" if self.rows else "no batches"
        return f"{self.provider}, {self.instances} x {self.threads} threads, {batches}"


class Space(NamedTuple):
    """The values that may be tried, ascending. cores: that may be used at once."""

    providers: Sequence[str]
    instances: Sequence[int]
    threads: Sequence[int]
    rows: Sequence[int]
    cores: int

    def nearest(self, settings: Settings) -> Settings:
        """The settings themselves where the space has them."""
        return Settings(
            settings.provider if settings.provider in self.providers else self.providers[0],
            _nearest(self.instances, settings.instances),
            _nearest(self.threads, settings.threads),
            _nearest(self.rows, settings.rows) if settings.rows else 0,
        )


def _nearest(values: Sequence[int], wanted: int) -> int:
    return min(values, key=lambda value: abs(math.log(value / wanted)))


# ---------------------------------------------------------------------------------------------------------------------
# The search: a policy that asks for the score of settings


def climb(space: Space, default: Settings, score: float) -> Generator[Settings, float, None]:
    """Asks for settings and is sent their scores, the more the better; 0 is unusable. `score` is the default's, if it is known.

    Each provider has its own climb: first the ways to share the cores between instances and their threads, then rows of a batch, then
    instances and threads each for itself, up or down as long as it helps; again, until nothing helps. Nothing is asked twice.
    """
    scores = {default: score}

    def ask(settings: Settings) -> Generator[Settings, float, float]:
        if settings not in scores:
            scores[settings] = yield settings
        return scores[settings]

    def walk(best: Settings, axis: str, values: Sequence[int]) -> Generator[Settings, float, Settings]:
        """Up the axis, and down only if that did not help."""
        at = values.index(getattr(best, axis))
        for way in (values[at + 1 :], values[:at][::-1]):
            started = best
            for value in way:
                tried = replace(best, **{axis: value})
                if (yield from ask(tried)) <= GAIN * scores[best]:
                    break
                best = tried
            if best != started:
                break
        return best

    for provider in sorted(space.providers, key=lambda name: name != default.provider):
        best = space.nearest(replace(default, provider=provider))
        if not (yield from ask(best)) and provider != default.provider:
            continue
        before = None
        while best != before:
            before = best
            if provider == "cpu":
                for instances, threads in splits(space):
                    tried = replace(best, instances=instances, threads=threads)
                    if (yield from ask(tried)) > GAIN * scores[best]:
                        best = tried
            if best.rows:
                best = yield from walk(best, "rows", space.rows)
            best = yield from walk(best, "instances", space.instances)
            if provider == "cpu":  # on a GPU operators don't run on the host's threads
                best = yield from walk(best, "threads", space.threads)


def splits(space: Space) -> Iterator[tuple[int, int]]:
    """(instances, threads) that use all cores and share none, or nearly so."""
    for instances in space.instances:
        fitting = [threads for threads in space.threads if instances * threads <= space.cores]
        if fitting and 2 * instances * fitting[-1] > space.cores:
            yield instances, fitting[-1]


# ---------------------------------------------------------------------------------------------------------------------
# The verdict


class Verdict(msgspec.Struct, frozen=True):
    """The best against the default: answers a second of each round; 0 where the target was not kept."""

    better: bool
    gain: float  # of the medians; 0.1 is 10 % more; infinite where the default keeps the target in no round
    luck: float  # how often chance alone would rank the rounds like that, or more so
    default: list[float]
    best: list[float]


def compare(default: Sequence[float], best: Sequence[float], margin: float) -> Verdict:
    """An exact rank-sum test (Wilcoxon, one-sided): no noise is assumed to be normal, and one bad round is not the end."""
    before, after = statistics.median(default), statistics.median(best)
    gain = after / before - 1 if before else math.inf if after else 0.0
    luck = chance(default, best)
    return Verdict(gain >= margin and luck <= LUCK, gain, luck, list(default), list(best))


def chance(low: Sequence[float], high: Sequence[float]) -> float:
    """The share of all ways to deal these figures to the two sides in which `high` ranks as high as it does, or higher."""
    figures = sorted([*low, *high])
    ranks = {figure: statistics.fmean(at for at, other in enumerate(figures) if other == figure) for figure in figures}
    seen = sum(ranks[figure] for figure in high)
    dealt = [sum(ranks[figure] for figure in hand) for hand in itertools.combinations(figures, len(high))]
    return sum(total >= seen - 1e-9 for total in dealt) / len(dealt)


# ---------------------------------------------------------------------------------------------------------------------
# The run


class Trial(NamedTuple):
    """One measurement of one server. why: what was not kept, or why it could not be served; empty: all is well."""

    stage: str  # default, search, final
    settings: Settings
    in_flight: int
    why: str
    measurement: Measurement | None

    @property
    def score(self) -> float:
        return self.measurement.requests_per_second if self.measurement and not self.why else 0.0


class Target(NamedTuple):
    """What is measured and wanted. most_in_flight: that may be tried to keep `slo`; without one, load's number is taken as it is."""

    load: Load
    slo: Slo | None = None
    most_in_flight: int = 512
    budget_s: float = 300.0
    rounds: int = 4
    margin: float = 0.03


class Tuned(NamedTuple):
    """best: the default where nothing is better. verdict: None where there was nothing to compare."""

    trials: list[Trial]
    default: Settings
    best: Settings
    verdict: Verdict | None
    kept: bool  # whether any settings keep the target
    ended: str  # why the search ended
    interrupted: bool = False


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
            best = run.best
            verdict = None
            if best != default and run.found[best].score:
                verdict = run.finals(default, best)
        except KeyboardInterrupt:
            return Tuned(run.trials, default, default, None, run.any_kept, "interrupted", True)
    finally:
        run.close()
    chosen = best if verdict is not None and verdict.better else default
    return Tuned(run.trials, default, chosen, verdict, run.any_kept, ended)


class Run:
    """The state of one tuning: what was measured, and what is best so far."""

    def __init__(self, serve: Serve, target: Target, tell: Tell, keep: Callable[[Trial], None], now: Callable[[], float]) -> None:
        self.serve, self.target, self._tell, self._keep, self._now = serve, target, tell, keep, now
        self.load = target.load
        self.begun_s = now()
        self.trials: list[Trial] = []
        self.found: dict[Settings, Trial] = {}  # the best trial of each
        self.longest_s = 0.0  # that one server took
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

    def default(self) -> Settings:
        """Measures the server as it is, and makes measurements longer where they would show too few requests."""
        self._say("default", None)
        begun_s = self._now()
        with self.serve(None) as server:
            first = self._measure(server, self._in_flight(self.load))
            if 0 < first.requests < FEW and not first.failed:
                longer = min(LONGEST, 2 * FEW / first.requests)
                self.load = replace(self.load, duration_s=self.load.duration_s * longer)
            self._settle("default", server, 0.0)
        self._took(begun_s)
        return server.settings

    def search(self, space: Space, default: Settings) -> str:
        """Why it ended. Time is kept back for the final rounds."""
        self._policy = climb(space, default, self.found[default].score)
        final_s = 2 * self.target.rounds * self.longest_s
        score: float | None = None
        try:
            while True:
                asked = next(self._policy) if score is None else self._policy.send(score)
                if self.spent_s + self.longest_s + final_s > self.target.budget_s:
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

    def _settle(self, stage: str, server: Server, to_beat: float) -> None:
        """With a target: more in flight as long as that brings more and keeps it, less until it is kept or cannot win any more."""
        in_flight = self._in_flight(self.found[self.best].measurement.load if self.found else self.load)  # type: ignore[union-attr]
        trial = self._trial(stage, server, in_flight)
        if self.target.slo is None or trial.measurement is None:
            return
        if trial.score:
            while 2 * in_flight <= self.target.most_in_flight:
                in_flight, before = 2 * in_flight, trial.score
                trial = self._trial(stage, server, in_flight)
                if trial.score < GAIN * before:
                    return
        while not trial.score and in_flight > 1 and trial.measurement is not None:
            if trial.measurement.requests_per_second <= to_beat:
                return
            in_flight //= 2
            trial = self._trial(stage, server, in_flight)

    def finals(self, default: Settings, best: Settings) -> Verdict:
        """Both in turn and back again (A B B A), each time on a new server, with as many in flight as was best for each."""
        sides: dict[Settings, list[float]] = {default: [], best: []}
        for turn in range(self.target.rounds):
            for settings in (default, best) if turn % 2 == 0 else (best, default):
                self._say("final", settings)
                measured = self.found[settings].measurement
                in_flight = self._in_flight(measured.load if measured else self.load)
                try:
                    with self.serve(None if settings == default else settings) as server:
                        trial = self._trial("final", server, in_flight)
                except InferdError as error:
                    trial = self._add(Trial("final", settings, in_flight, str(error), None))
                sides[settings].append(trial.score)
        return compare(sides[default], sides[best], self.target.margin)

    def _trial(self, stage: str, server: Server, in_flight: int) -> Trial:
        measured = self._measure(server, in_flight)
        why = measured.ended or judge(measured, self.target.slo or Slo({}))
        return self._add(Trial(stage, server.settings, in_flight, why, measured))

    def _add(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        self._keep(trial)
        if trial.stage != "final":
            known = self.found.get(trial.settings)
            if known is None or trial.score > known.score or (not known.score and not trial.score):
                self.found[trial.settings] = trial
        return trial

    def _measure(self, server: Server, in_flight: int) -> Measurement:
        connections = min(self.target.load.connections, in_flight)
        measured = server.run(replace(self.load, connections=connections, streams=in_flight // connections))
        if measured.ended == "interrupted":
            raise KeyboardInterrupt
        return measured

    def _in_flight(self, load: Load) -> int:
        return load.connections * load.streams

    def _say(self, stage: str, settings: Settings | None) -> None:
        self._tell(stage, settings, self.found[self.best].score if self.found else 0.0, self.spent_s)

    def _took(self, begun_s: float) -> None:
        self.longest_s = max(self.longest_s, self._now() - begun_s)
