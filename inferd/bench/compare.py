"""Two runs of the same load held against each other: what changed, by how much, and whether that is more than noise.

A change is called worse or better only if it is beyond the threshold and its confidence interval leaves out zero; `same` if all of
the interval lies within the threshold; else `unclear`, for which measuring longer is the cure. Intervals come from resampling: of
rounds where each side has four or more, in pairs if the sides took turns; else of the seconds of each measurement, in blocks because
neighbouring seconds are alike. Those know nothing of what differs from run to run, so without rounds a change is called worse or
better only if all of its interval lies beyond a generous margin, and that of a far tail never. And whatever the interval says, with
rounds and without, if the figure is a multiple that no two runs of one server should reach (`Figure.multiple`): one stall has no
interval. All intervals of one comparison hold together at its confidence (Bonferroni). Never in here: measuring, files, terminals.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from inferd.bench.export import decode
from inferd.bench.findings import student
from inferd.bench.measurement import Histogram, Latency
from inferd.bench.pairing import Pair, same_loads, stresses, unlike
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inferd.bench.measurement import Interval, Measurement
    from inferd.bench.report import Report

__all__ = ["Change", "Comparison", "compare", "compare_measurements", "compare_versions"]

THRESHOLD, CONFIDENCE = 0.05, 0.95
MARGIN = 0.25  # what two runs of one unchanged server may well differ by
ROUNDS = 4  # from so many measurements of a load on, they are what is resampled
LEAST_INTERVALS = 4
STALL_US = 5e5  # a longest latency below this is no stall, however many times the other side's
DRAWS = 2000
FLOOR = 1e-130  # what is taken for 0 where logarithms are
Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Change(msgspec.Struct, frozen=True):
    """One figure of one load. `change` is a share of `before`; of the errors, which are shares themselves, it is the difference.
    `low` and `high`: the change's confidence interval."""

    load: str
    figure: str
    unit: str
    before: float
    after: float
    change: float | None  # None: there is nothing to take a share of
    low: float | None
    high: float | None
    verdict: str  # better, worse, same, unclear; empty: of one request, which says nothing unless it is a multiple


class Comparison(msgspec.Struct):
    """What `before` and `after` are, and every change."""

    before: str
    after: str
    threshold: float
    confidence: float
    changes: list[Change] = []
    notices: list[str] = []
    margin: float = MARGIN  # instead of the threshold where a side has too few rounds

    @property
    def exit_code(self) -> int:
        """1 if anything became worse, 0 else."""
        return int(any(change.verdict == "worse" for change in self.changes))

    @property
    def unclear(self) -> int:
        """How many changes nothing can be said of."""
        return sum(change.verdict == "unclear" for change in self.changes)


def compare(
    before: Report,
    after: Report,
    *,
    threshold: float = THRESHOLD,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
    force: bool = False,
) -> Comparison:
    """Two reports of the same model and loads; two searches by their results, two stresses by shares of their saturations. ConfigError
    where they differ, unless `force` is set."""
    if before.model != after.model and not force:
        raise ConfigError(f"the reports are of different models, {before.model} and {after.model}: --force compares them all the same")
    searches, stress = (before.kind == after.kind == kind for kind in ("search", "stress"))
    flags = WHAT_IS_ASKED | {"deadline": "--deadline"} if stress else WHAT_IS_ASKED
    asked = [{name: report.settings.get(name) for name in flags} for report in (before, after)]
    if asked[0] != asked[1] and not force:
        name = next(name for name in flags if asked[0][name] != asked[1][name])
        values = " and ".join(str(side[name] or "nothing") for side in asked)
        raise ConfigError(f"the reports are of different requests: {flags[name]} is {values}: --force compares them all the same")
    names = [f"{report.model} at {report.target}" for report in (before, after)]
    made = Comparison(names[0], names[1], threshold, confidence, margin=margin)
    made.notices += differences(before, after)
    old, new = before.measurements, after.measurements
    if searches:
        old, new = ([report.main] if report.main else [] for report in (before, after))
        made.notices.append("the rates are those that each search ended on")
    refuse_nothing(made, old, new)
    if stress:
        made.notices += unlike(old, new)
    fill(made, list(stresses(old, new) if stress else same_loads(old, new, force or searches)))
    return made


def compare_versions(
    report: Report, before: str, after: str, *, threshold: float = THRESHOLD, confidence: float = CONFIDENCE
) -> Comparison:
    """Two model versions that one report measured in turn."""
    sides = []
    for version in (before, after):
        sides.append([measured for measured in report.measurements if measured.version == version])
        if not sides[-1]:
            there = ", ".join(sorted({measured.version or "(newest)" for measured in report.measurements})) or "none"
            raise ConfigError(f"version {version} was not measured: the report has {there}")
    names = (f"{report.model} version {before}", f"{report.model} version {after}")
    return compare_measurements(*sides, names=names, threshold=threshold, confidence=confidence)


def compare_measurements(
    before: Sequence[Measurement],
    after: Sequence[Measurement],
    *,
    names: tuple[str, str] = ("before", "after"),
    threshold: float = THRESHOLD,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
    force: bool = False,
) -> Comparison:
    """Measurements of a load on one side count as rounds of it. ConfigError if the sides' loads differ and `force` is not set."""
    made = Comparison(*names, threshold, confidence, margin=margin)
    refuse_nothing(made, before, after)
    fill(made, list(same_loads(before, after, force)))
    return made


def refuse_nothing(made: Comparison, before: Sequence[Measurement], after: Sequence[Measurement]) -> None:
    if not before or not after:
        raise ConfigError(f"nothing to compare: {made.after if before else made.before} has no measurement")


def fill(made: Comparison, paired: Sequence[Pair]) -> None:
    """The changes of all pairs, and what is to be doubted."""
    figures = [[figure for figure in FIGURES if not pair.figures or figure.name in pair.figures] for pair in paired]
    count = sum(len(some) + (not pair.figures) for some, pair in zip(figures, paired, strict=True))  # with the errors
    level = 1 - (1 - made.confidence) / count  # of each figure, for all of them together
    for pair, some in zip(paired, figures, strict=True):
        before, after = Side(pair.before), Side(pair.after)
        found = list(changes(pair, before, after, some, made, level))
        made.changes += found
        made.notices += outliers(found, before, after)
        if not pair.figures:
            made.changes += errors_changes(pair.load, before, after, level)
    made.notices += doubts(paired, made)


class Side:
    """The rounds of one load, and what they show together."""

    def __init__(self, rounds: list[Measurement]) -> None:
        self.rounds = rounds
        self.requests = sum(measured.requests for measured in rounds)
        self.failed = sum(measured.failed for measured in rounds)
        self.wrong = sum(measured.verified.wrong for measured in rounds if measured.verified)
        self.verified = any(measured.verified for measured in rounds)
        self.latency = self._latency()

    def _latency(self) -> Latency | None:
        """Of all rounds as one, if all have their histogram; a single round says it itself."""
        if len(self.rounds) == 1:
            return self.rounds[0].latency_us
        if not all(measured.histogram for measured in self.rounds):
            return None
        whole = Histogram()
        for measured in self.rounds:
            whole.add(decode(measured.histogram))
        return Latency.of(whole)


class Figure(NamedTuple):
    """How a figure is read. `weight` says what a round or interval counts for in a mean of several."""

    name: str
    unit: str
    value: Callable[[Measurement], float | None]
    of_interval: Callable[[Interval], float | None] | None  # None: that interval does not know it
    weight: Callable[[Any], float]
    more_is_worse: bool = True
    latency: str = ""  # the field of Latency
    margins: float = 1.0  # how many margins it may differ by from run to run
    multiple: float = 3.0  # times as much, or as little, is no difference of two runs of one server
    least: float = 0.0  # what the larger side must reach at least for that
    least_requests: int = 0  # and either side, for `multiple` to mean anything: else the tail is one request
    by_multiple: bool = False  # of one request: nothing else can be said of it, with any number of rounds


def answered(part: Any) -> float:
    return float(part.requests)


def duration(part: Any) -> float:
    return float(part.duration_s)


def latency_figure(name: str) -> Figure:
    return Figure(
        name,
        "us",
        lambda measured: float(getattr(measured.latency_us, name)) or None,
        lambda interval: float(getattr(interval, f"{name}_us", 0.0)) or None,
        answered,
        latency=name,
        margins={"p99": 3.0, "p999": math.inf}.get(name, 1.0),
        multiple={"p50": 10.0, "mean": 20.0, "p99": 30.0, "p999": 100.0, "max": 10.0}[name],
        least=STALL_US if name == "max" else 0.0,
        least_requests={"p99": 1000, "p999": 10_000}.get(name, 0),
        by_multiple=name == "max",
    )


FIGURES = (
    Figure(
        "requests/s",
        "1/s",
        lambda measured: measured.requests_per_second,
        lambda interval: interval.requests / interval.duration_s if interval.duration_s else None,
        duration,
        more_is_worse=False,
    ),
    *map(latency_figure, ("mean", "p50", "p99", "p999", "max")),
    Figure("client CPU/request", "us", lambda measured: measured.client_cpu_us_per_request or None, None, answered),
    Figure("server CPU/request", "us", lambda measured: measured.server.cpu_us_per_request if measured.server else None, None, answered),
)


def changes(pair: Pair, before: Side, after: Side, figures: Sequence[Figure], made: Comparison, level: float) -> Iterator[Change]:
    """level: the confidence of each interval."""
    threshold, has_rounds = made.threshold, pair.rounds >= ROUNDS
    for figure in figures:
        old, new = value_of(figure, before), value_of(figure, after)
        if old is None or new is None:
            continue
        change = new / old - 1 if old else None if new else 0.0
        low, high = (None if figure.by_multiple else limits(figure, before, after, level)) or (None, None)
        if change is None or low is None or high is None:
            verdict = "" if figure.by_multiple else "same" if change is not None and abs(change) <= threshold else "unclear"
        else:
            low, high = (1 + change) * low - 1, (1 + change) * high - 1
            margin = 0.0 if has_rounds else made.margin * figure.margins
            verdict = judged(change, low, high, threshold, margin, figure.more_is_worse)
        if not pair.is_overload and is_multiple(figure, old, new, before, after):
            verdict = "worse" if (new > old) == figure.more_is_worse else "better"
        yield Change(pair.load, figure.name, figure.unit, old, new, change, low, high, verdict)


def is_multiple(figure: Figure, old: float, new: float, before: Side, after: Side) -> bool:
    """Whether one side is so many times the other that no two runs of one server are."""
    enough = min(before.requests, after.requests) >= figure.least_requests
    low, high = sorted((old, new))
    return enough and low > 0 and high >= max(figure.multiple * low, figure.least)


def outliers(found: Sequence[Change], before: Side, after: Side) -> Iterator[str]:
    """Of several rounds, the one to which a figure owes its being so many times the other side's."""
    for figure, change in ((figure, change) for change in found for figure in FIGURES if figure.name == change.figure):
        is_new = (change.after > change.before) == figure.more_is_worse
        side, name = (after, "after") if is_new else (before, "before")
        values = [figure.value(measured) for measured in side.rounds]
        known = [value for value in values if value is not None]
        if len(known) > 1 and len(known) == len(values) and is_multiple(figure, change.before, change.after, before, after):
            extreme = max(known) if figure.more_is_worse else min(known)
            round_words = f"round {known.index(extreme) + 1} of {len(known)}"
            yield f"{change.load}: {figure.name} {name} owes most to {round_words}, where it was {extreme:,.1f} {figure.unit}"


def errors_changes(load: str, before: Side, after: Side, level: float) -> Iterator[Change]:
    yield errors_change(load, before, after, level)
    if before.verified or after.verified:
        verdict = "worse" if after.wrong > before.wrong else "better" if after.wrong < before.wrong else "same"
        yield Change(load, "wrong answers", "", before.wrong, after.wrong, None, None, None, verdict)


def value_of(figure: Figure, side: Side) -> float | None:
    """Of all rounds; None where a round does not know it."""
    if figure.latency and side.latency is not None:
        return float(getattr(side.latency, figure.latency)) or None
    known = [(figure.weight(measured), figure.value(measured)) for measured in side.rounds]
    values = [value for _, value in known if value is not None]
    if len(values) < len(known) or not sum(weight for weight, _ in known):
        return None
    return float(np.average(values, weights=[weight for weight, _ in known]))


def judged(change: float, low: float, high: float, threshold: float, margin: float, more_is_worse: bool) -> str:
    """margin: where any of the interval lies within it, nothing is worse or better."""
    if low > margin and change > threshold:
        return "worse" if more_is_worse else "better"
    if high < -margin and change < -threshold:
        return "better" if more_is_worse else "worse"
    return "same" if -threshold <= low and high <= threshold else "unclear"


def limits(figure: Figure, before: Side, after: Side, confidence: float) -> tuple[float, float] | None:
    """Between which factors of itself the ratio after / before lies; None if there is too little to say."""
    seeds = (0, 0) if took_turns(before, after) else (0, 1)  # equal seeds draw the same rounds of both: what disturbs a pair cancels
    old, new = (resampled(figure, side, np.random.default_rng(seed)) for side, seed in zip((before, after), seeds, strict=True))
    if old is None or new is None:
        return None
    logarithms = np.log(np.maximum(new[0], FLOOR)) - np.log(np.maximum(old[0], FLOOR))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]  # further out there are too few draws, and so few units have no tails
    low, high = np.clip(np.quantile(logarithms, tails) * widening(min(old[1], new[1]), confidence), -300, 300)
    return math.exp(low), math.exp(high)


def took_turns(before: Side, after: Side) -> bool:
    """Whether the rounds are pairs, one of each side after the other, in either order."""
    if len(before.rounds) != len(after.rounds) or len(before.rounds) < ROUNDS:
        return False
    in_time = sorted([(one.started_unix_s, 0) for one in before.rounds] + [(one.started_unix_s, 1) for one in after.rounds])
    sides = [side for _, side in in_time]
    return all({*pair} == {0, 1} for pair in zip(sides[::2], sides[1::2], strict=True))


def widening(units: int, confidence: float) -> float:
    """What makes a resampled interval of CONFIDENCE from few units one of `confidence`: Student's t over the normal quantile, and n
    over n - 1."""
    return student(units - 1, confidence) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(units / (units - 1))


def resampled(figure: Figure, side: Side, numbers: np.random.Generator) -> tuple[Numbers, int] | None:
    """The figure in many resamplings of a side, over its value in all of it, and how many independent units there were."""
    series: list[list[tuple[float, float | None]]]
    if len(side.rounds) >= ROUNDS:
        series = [[(figure.weight(measured), figure.value(measured)) for measured in side.rounds]]
        block = 1
    elif figure.of_interval is not None:
        series = [[(figure.weight(part), figure.of_interval(part)) for part in measured.intervals] for measured in side.rounds]
        block = round(max(map(len, series)) ** (1 / 3))
    else:
        return None
    count = sum(map(len, series))
    if count < LEAST_INTERVALS or any(value is None for part in series for weight, value in part if weight):
        return None
    sums, weights = np.zeros(DRAWS), np.zeros(DRAWS)
    for part in filter(None, series):
        weight, value = np.array([(weight, value or 0.0) for weight, value in part], np.float64).T
        drawn = blocks(len(part), block, numbers)
        sums += (weight * value)[drawn].sum(axis=1)
        weights += weight[drawn].sum(axis=1)
    total = sum(weight for part in series for weight, _ in part)
    if not total or not weights.all():
        return None
    whole = sum(weight * (value or 0.0) for part in series for weight, value in part) / total
    if not whole:
        return None
    return sums / weights / whole, max(count // block, 3)


def blocks(count: int, block: int, numbers: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
    """DRAWS times `count` places, drawn as runs of `block` neighbours in a circle."""
    starts = numbers.integers(count, size=(DRAWS, -(-count // block)))
    runs: np.ndarray[Any, np.dtype[np.int64]] = (starts[:, :, None] + np.arange(block)) % count
    return runs.reshape(DRAWS, -1)[:, :count]


def errors_change(load: str, before: Side, after: Side, confidence: float) -> Change:
    """Shares of requests that failed, and Newcombe's interval of their difference: any increase beyond noise is worse."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    old, old_low, old_high = wilson(before.failed, before.requests, z)
    new, new_low, new_high = wilson(after.failed, after.requests, z)
    change = new - old
    low, high = change - math.hypot(new - new_low, old_high - old), change + math.hypot(new_high - new, old - old_low)
    verdict = "worse" if low > 0 else "better" if high < 0 else "same"
    return Change(load, "errors", "%", 100 * old, 100 * new, change, low, high, verdict)


def wilson(failed: int, requests: int, z: float) -> tuple[float, float, float]:
    """A share and its interval."""
    if not requests:
        return 0.0, 0.0, 1.0
    share, spread = failed / requests, z * z / requests
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / requests + spread / (4 * requests))
    return share, max(0.0, middle - half), min(1.0, middle + half)


# Settings that say what is compared and where it was written, not how it was measured.
# Settings that make the requests, and their flags.
WHAT_IS_ASKED = {
    **{name: f"--{name}" for name in ("rows", "sizes", "count", "npz", "recorded", "random")},
    "shapes": "--shape",
    "files": "--input",
    "json": "--json-input",
    "images": "--image",
    "clips": "--audio",
    "texts": "--text",
    "table": "--csv-input",
}
NOT_OF_THE_LOAD = frozenset(
    {
        *("target", "model", "model_version", "versions", "rounds", "seed", "server_pid", "metrics_url"),
        *("json_file", "html", "csv", "hdr", "samples", "quiet"),
    }
)


def differences(before: Report, after: Report) -> Iterator[str]:
    """Settings and versions that are not the same on both sides."""
    for what, old, new, skipped in (
        ("setting", before.settings, after.settings, NOT_OF_THE_LOAD),
        ("version of", before.versions, after.versions, frozenset[str]()),
    ):
        for name in sorted((old.keys() | new.keys()) - skipped):
            if old.get(name) != new.get(name):
                yield f"{what} {name} differs: {old.get(name, '(none)')} before, {new.get(name, '(none)')} after"


def doubts(paired: Sequence[Pair], made: Comparison) -> Iterator[str]:
    """What a reader must know before believing the table."""
    for side in ("before", "after"):
        measurements = [measured for pair in paired if len(pair.figures) != 1 for measured in getattr(pair, side)]
        if bound := [measured for measured in measurements if measured.client_bound]:
            reason = f": {bound[0].client_bound_reason}" if bound[0].client_bound_reason else ""
            yield f"{side}: {len(bound)} of {len(measurements)} measurements were limited by the client{reason}; not the server's figures"
        for ended in sorted({measured.ended for measured in measurements if measured.ended}):
            yield f"{side}: a measurement ended early: {ended}"
    if any(pair.rounds < ROUNDS for pair in paired):
        multiples = ", ".join(f"{figure.name} {figure.multiple:g}" for figure in FIGURES)
        yield (
            f"fewer than {ROUNDS} rounds a side: the intervals hold the spread within a run, not that between runs, so a figure is "
            f"worse or better only where all of its interval is beyond {100 * made.margin:g} % (p99: three times that; p999: never), or "
            f"where it is so many times what it was: {multiples}; measure with --rounds {ROUNDS} to find less"
        )
    if made.unclear:
        yield "unclear: the interval is too wide, or there is none; measure longer or more rounds"
    turns = [took_turns(Side(pair.before), Side(pair.after)) for pair in paired]
    if not all(turns) and all(pair.rounds >= ROUNDS for pair in paired):
        yield "the sides did not take turns: what else happened on the machines between them counts as a change, too"
