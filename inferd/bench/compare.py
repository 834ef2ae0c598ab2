"""Two runs of the same load held against each other: what changed, by how much, and whether that is more than noise.

- `worse` and `better` need a change beyond the threshold, and a confidence interval that leaves out zero.
- `same`: all of the interval lies within the threshold.
- `unclear`: all else; a longer measurement helps.

Intervals come from resampling rounds where each side has four or more, in pairs if the sides took turns. Else they come from resampling the
seconds of each measurement, which do not show how much two runs differ. So without rounds all of the interval must lie beyond a generous
margin, which is wider where the client was the limit. A far tail is never judged so.

A change is also worse or better if it is a multiple that two runs of one server should not reach (`Figure.multiple`). One stall has no
interval. Requests without a response have no figure, and are worse by themselves (`failures`). All intervals of one comparison hold
together at its confidence (Bonferroni). Never in here: measuring, files, terminals.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.bench.pairing import Pair, same_loads, stresses, unlike
from inferd.bench.report import ENDED
from inferd.bench.resampling import CONFIDENCE, ROUNDS, limits, took_turns
from inferd.bench.sides import FIGURES, INTERRUPTED, RATE, STALL_S, Figure, Side, stalled, value_of
from inferd.compare.statistics import wilson
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report

SIDES = ("before", "after")
THRESHOLD = 0.05
MARGIN = 0.5  # what two runs of one unchanged server may well differ by: half as much again, or a third less
SHARE = 0.01  # shares of faults are the same if the interval of their difference lies within this
CLIENTS = 4.0  # margins and multiples, where the client was the limit of a side: its times are partly its own


class Change(msgspec.Struct, frozen=True):
    """One figure of one load. `change` is a share of `before`; of errors and wrong responses, which are shares themselves, the difference.
    `low` and `high`: the change's confidence interval."""

    load: str
    figure: str
    unit: str
    before: float
    after: float
    change: float | None  # None: there is nothing to take a share of
    low: float | None
    high: float | None
    verdict: str  # better, worse, same, unclear; empty: what says nothing unless it is a multiple, or one side has none


class Comparison(msgspec.Struct):
    """The names of both sides, and every change."""

    before: str
    after: str
    threshold: float
    confidence: float
    changes: list[Change] = []
    notices: list[str] = []
    margin: float = MARGIN  # instead of the threshold where a side has too few rounds
    rounds: int = 0  # of each load, at least

    @property
    def worse(self) -> bool:
        """Whether anything became worse."""
        return any(change.verdict == "worse" for change in self.changes)

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
    searches, stress = (before.kind == after.kind == kind for kind in ("search", "stress"))
    if not force:
        refuse_unlike(before, after, WHAT_IS_ASKED | {"deadline": "--deadline"} if stress else WHAT_IS_ASKED)
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
    if searches and (found_nothing(before) or found_nothing(after)):
        made.changes.append(found_change(before, after))
    else:
        fill(made, list(stresses(old, new) if stress else same_loads(old, new, force or searches)))
    made.changes += between_loads(before, after)
    return made


def refuse_unlike(before: Report, after: Report, flags: Mapping[str, str]) -> None:
    """flags: settings that must be the same, and what they are called on a command line."""
    if before.model != after.model:
        raise ConfigError(f"the reports are of different models, {before.model} and {after.model}: --force compares them all the same")
    for name, flag in flags.items():
        old, new = (report.settings.get(name) for report in (before, after))
        if old != new:
            values = f"{old or 'nothing'} and {new or 'nothing'}"
            raise ConfigError(f"the reports are of different requests: {flag} is {values}: --force compares them all the same")


def compare_measurements(
    before: Sequence[Measurement],
    after: Sequence[Measurement],
    *,
    names: tuple[str, str] = SIDES,
    sides: tuple[str, str] = SIDES,
    threshold: float = THRESHOLD,
    confidence: float = CONFIDENCE,
    margin: float = MARGIN,
    force: bool = False,
) -> Comparison:
    """Measurements of a load on one side count as rounds of it. sides: what notices call the two. ConfigError if their loads
    differ and `force` is not set."""
    made = Comparison(*names, threshold, confidence, margin=margin)
    refuse_nothing(made, before, after)
    fill(made, list(same_loads(before, after, force)), sides)
    return made


def refuse_nothing(made: Comparison, before: Sequence[Measurement], after: Sequence[Measurement]) -> None:
    if not before or not after:
        raise ConfigError(f"nothing to compare: {made.after if before else made.before} has no measurement")


def fill(made: Comparison, paired: Sequence[Pair], names: tuple[str, str] = SIDES) -> None:
    """The changes of all pairs, and what is to be doubted. names: of the sides, in notices."""
    figures = [[figure for figure in FIGURES if not pair.figures or figure.name in pair.figures] for pair in paired]
    sides = [(Side(pair.before), Side(pair.after)) for pair in paired]
    shares = [0 if pair.figures else 1 + any(side.verified for side in both) for pair, both in zip(paired, sides, strict=True)]
    level = 1 - (1 - made.confidence) / sum(shares, sum(map(len, figures)))  # of each figure, for all of them together
    for pair, some, (before, after) in zip(paired, figures, sides, strict=True):
        found = list(changes(pair, before, after, some, made, level))
        made.changes += found
        made.notices += outliers(found, before, after, names)
        if not pair.figures:
            made.changes += failures(pair.load, before, after, level)
    made.rounds = min((pair.rounds for pair in paired), default=0)
    made.notices += doubts(paired, made, names)


def changes(pair: Pair, before: Side, after: Side, figures: Sequence[Figure], made: Comparison, level: float) -> Iterator[Change]:
    """level: the confidence of each interval."""
    for figure in figures:
        old, new = value_of(figure, before), value_of(figure, after)
        if old is None or new is None:
            continue
        change = new / old - 1 if old else None if new else 0.0
        low, high = (None if figure.by_multiple else limits(figure, before, after, level)) or (None, None)
        if change is None or low is None or high is None:
            verdict = "" if figure.by_multiple else "same" if change is not None and abs(change) <= made.threshold else "unclear"
        else:
            low, high = (1 + change) * low - 1, (1 + change) * high - 1
            margin = margin_of(figure, old, new, before, after, made) if pair.rounds < ROUNDS else 0.0
            verdict = judged(change, low, high, made.threshold, margin, figure.more_is_worse)
        if not pair.is_overload and is_multiple(figure, old, new, before, after):
            verdict = "worse" if (new > old) == figure.more_is_worse else "better"
        if figure is RATE and (silent := fewer(after.share_silent, before.share_silent)):
            verdict = silent
        yield Change(pair.load, figure.name, figure.unit, old, new, change, low, high, verdict)


def fewer(after: float, before: float) -> str:
    """The verdict on a count that should be 0."""
    return "worse" if after > before else "better" if after < before else ""


def margin_of(figure: Figure, old: float, new: float, before: Side, after: Side, made: Comparison) -> float:
    """The margin of single runs; infinite for a figure that single runs do not show."""
    if not says_something(figure, old, new, before, after):
        return math.inf
    return made.margin * figure.margins * clients(figure, before, after)


def clients(figure: Figure, before: Side, after: Side) -> float:
    """How many times as wide as else the margin and the multiple are. One longest latency is not what a busy client makes, nor is CPU."""
    is_time = figure.of_interval is not None and not figure.by_multiple
    return CLIENTS if is_time and (before.client_bound or after.client_bound) else 1.0


def says_something(figure: Figure, old: float, new: float, before: Side, after: Side) -> bool:
    """Whether the figure is of so many requests, and so large, that it is not by chance what it is, nor the client's own pause."""
    paused_us = 1e6 * (after if new > old else before).held_up_s if figure.by_multiple else 0.0
    return min(before.requests, after.requests) >= figure.least_requests and max(old, new) - paused_us >= figure.least


def is_multiple(figure: Figure, old: float, new: float, before: Side, after: Side) -> bool:
    """Whether one side is so many times the other that no two runs of one server are."""
    low, high = sorted((old, new))
    least = figure.multiple * clients(figure, before, after)
    return low > 0 and high >= least * low and says_something(figure, old, new, before, after)


def outliers(found: Sequence[Change], before: Side, after: Side, names: tuple[str, str]) -> Iterator[str]:
    """Sentences about the one of several rounds that makes a figure a multiple of the other side's, and about rounds without a response."""
    for figure, change in ((figure, change) for change in found for figure in FIGURES if figure.name == change.figure):
        is_new = (change.after > change.before) == figure.more_is_worse
        side, name = (after, names[1]) if is_new else (before, names[0])
        values = [figure.value(measured) for measured in side.rounds]
        known = [value for value in values if value is not None]
        if len(known) > 1 and len(known) == len(values) and is_multiple(figure, change.before, change.after, before, after):
            extreme = max(known) if figure.more_is_worse else min(known)
            round_words = f"round {known.index(extreme) + 1} of {len(known)}"
            unit = figure.unit.replace("us", "µs")
            yield f"{change.load}: {figure.name} {name} owes most to {round_words}, where it was {extreme:,.1f} {unit}"
    for side, name in zip((before, after), names, strict=True) if found else ():
        if side.silent and len(side.rounds) > 1:
            yield f"{found[0].load}: {name}, nothing was answered in round {', '.join(map(str, side.silent))} of {len(side.rounds)}"


def failures(load: str, before: Side, after: Side, level: float) -> Iterator[Change]:
    """Faults, which have no figure: requests that failed or got no response, silences, early ends, wrong responses.

    Errors are always listed, the others only if there are any."""
    yield share_change(load, "errors", (before.failed, before.requests), (after.failed, after.requests), level)
    if before.unanswered or after.unanswered:  # the errors have their number; a server that works has none
        verdict = fewer(bool(after.unanswered), bool(before.unanswered))
        yield count_change(load, "unanswered", before.unanswered, after.unanswered, verdict)
    if max(before.silence_s, after.silence_s) >= STALL_S:
        verdict = "worse" if stalled(after, before) else "better" if stalled(before, after) else ""
        old, new = 1e6 * before.silence_s, 1e6 * after.silence_s
        yield Change(load, "longest silence", "us", old, new, new / old - 1 if old else None, None, None, verdict)
    if before.ended_early or after.ended_early:
        yield count_change(load, "ended early", before.ended_early, after.ended_early)
    if before.verified or after.verified:
        change = share_change(load, "wrong responses", (before.wrong, before.checked), (after.wrong, after.checked), level)
        is_first = after.wrong and not before.wrong  # however few they are
        yield msgspec.structs.replace(change, verdict="worse") if is_first else change


def count_change(load: str, what: str, before: int, after: int, verdict: str | None = None) -> Change:
    """The change of a count that should be 0: one more is worse, unless there is another verdict."""
    found = fewer(after, before) or "same" if verdict is None else verdict
    return Change(load, what, "", before, after, None, None, None, found)


def between_loads(before: Report, after: Report) -> Iterator[Change]:
    """A run that ended before its time between two loads: none of its measurements knows that."""
    old, new = ended_between(before), ended_between(after)
    if old or new:
        yield count_change("the run", "ended early", old, new)


def ended_between(report: Report) -> bool:
    whys = [notice.removeprefix(ENDED) for notice in report.notices if notice.startswith(ENDED)]
    return any(why != INTERRUPTED for why in whys) and not any(measured.ended for measured in report.measurements)


def found_nothing(search: Report) -> bool:
    return search.summary.get("rate") == 0.0


def found_change(before: Report, after: Report) -> Change:
    """The change between two searches, of which at least one found no rate that keeps the target."""
    old, new = (0.0 if found_nothing(report) else report.requests_per_second for report in (before, after))
    verdict = fewer(found_nothing(after), found_nothing(before)) or "same"
    return Change("the rate found", RATE.name, RATE.unit, old, new, new / old - 1 if old else None, None, None, verdict)


def judged(change: float, low: float, high: float, threshold: float, margin: float, more_is_worse: bool) -> str:
    """margin: where any of the interval lies within it, nothing is worse or better. It is so many times more, or less."""
    if low > margin and change > threshold:
        return "worse" if more_is_worse else "better"
    if high < 1 / (1 + margin) - 1 and change < -threshold:
        return "better" if more_is_worse else "worse"
    return "same" if -threshold <= low and high <= threshold else "unclear"


def share_change(load: str, what: str, before: tuple[int, int], after: tuple[int, int], confidence: float) -> Change:
    """Two shares, each so many of so many, and Newcombe's interval of their difference: any increase beyond noise is worse. Where there
    are none on either side that is the same, however few were looked at."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    old, old_low, old_high = wilson(*before, z)
    new, new_low, new_high = wilson(*after, z)
    change = new - old
    low, high = change - math.hypot(new - new_low, old_high - old), change + math.hypot(new_high - new, old - old_low)
    same = before[0] == after[0] == 0 or (low >= -SHARE and high <= SHARE)
    verdict = "worse" if low > 0 else "better" if high < 0 else "same" if same else "unclear"
    return Change(load, what, "%", 100 * old, 100 * new, change, low, high, verdict)


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
    "parameters": "--parameter",
}
FILES = ("files", "npz", "json", "images", "clips", "texts", "table", "recorded")
# Settings that say what is compared and where it was written, not how it was measured.
NOT_OF_THE_LOAD = frozenset(
    {
        *("target", "model", "model_version", "versions", "rounds", "server_pid", "metrics_url"),
        *("json_file", "html", "csv", "hdr", "samples", "quiet", "fail_if", "fail_on"),
    }
)


def differences(before: Report, after: Report) -> Iterator[str]:
    """Settings and versions that are not the same on both sides."""
    drawn = any(draws(report.settings) for report in (before, after))
    for what, old, new, skipped in (
        ("setting", before.settings, after.settings, NOT_OF_THE_LOAD if drawn else NOT_OF_THE_LOAD | {"seed"}),
        ("version of", before.versions, after.versions, frozenset[str]()),
    ):
        for name in sorted((old.keys() | new.keys()) - skipped):
            if old.get(name) != new.get(name):
                yield f"{what} {name} differs: {old.get(name, '(none)')} before, {new.get(name, '(none)')} after"


def draws(settings: Mapping[str, Any]) -> bool:
    """Whether the seed made the inputs, or when they were asked."""
    return settings.get("random") or not any(map(settings.get, FILES)) or settings.get("arrivals") == "poisson"


def doubts(paired: Sequence[Pair], made: Comparison, names: tuple[str, str]) -> Iterator[str]:
    """Reasons to doubt the table."""
    for side, attribute in zip(names, SIDES, strict=True):
        measurements = [measured for pair in paired if len(pair.figures) != 1 for measured in getattr(pair, attribute)]
        if bound := [measured for measured in measurements if measured.client_bound]:
            reason = f": {bound[0].client_bound_reason}" if bound[0].client_bound_reason else ""
            yield f"{side}: {len(bound)} of {len(measurements)} measurements were limited by the client{reason}; not the server's figures"
        for ended in sorted({measured.ended for measured in measurements if measured.ended}):
            yield f"{side}: a measurement ended early: {ended}"
    if any(pair.rounds < ROUNDS for pair in paired):
        yield (
            f"fewer than {ROUNDS} rounds a side, so how much two runs differ is not known: only a change of more than "
            f"{100 * made.margin:g} % counts (p99: three times that; {CLIENTS:g} times that where the client was the limit); "
            f"--rounds {ROUNDS} finds less"
        )
    if made.unclear:
        yield "unclear: the interval is too wide, or there is none; measure longer or more rounds"
    turns = [took_turns(Side(pair.before), Side(pair.after)) for pair in paired]
    if not all(turns) and all(pair.rounds >= ROUNDS for pair in paired):
        yield "the sides did not take turns: what else happened on the machines between them counts as a change, too"
