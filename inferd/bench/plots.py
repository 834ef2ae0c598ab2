"""Which charts a report has, and what each shows. Two measurements are never drawn as one, however alike their loads.

Never in here: markup (charts), the page (html), measuring.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.bench.charts import SERIES, Axis, Bars, Chart, Limit, Line, Mark, Stop, linear, logarithmic
from inferd.bench.conclusion import conditions_of, slo_of
from inferd.bench.findings import duration, number_of, per_second
from inferd.bench.hdr import decode
from inferd.bench.plots_server import batches, memory, stages
from inferd.bench.plots_sides import compared_versions, rounds, searched, turns
from inferd.bench.tables import ROUNDS, group_of, judged_by, name_of
from inferd.bench.verdicts import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from inferd.bench.measurement import Histogram, Measurement
    from inferd.bench.report import Report

WIDE = 10.0  # more than so many times as long: the axis is logarithmic
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999)
DRAWN = 160  # points of a line of percentiles
MOST_STOPS = 60  # along a chart over time
FIGURES = {"p50": "p50", "p99": "p99", "max": "max"}


def plots(report: Report) -> Iterator[Chart | Bars]:
    """The charts for which the report has figures, the one of the mode's main figure first."""
    drawn: list[Callable[[Report], Chart | Bars | None]] = [percentiles, stages, over_time, batches]
    first: dict[str, list[Callable[[Report], Chart | Bars | None]]] = {
        **{kind: [throughput, goodput] for kind in ("search", "steps", "ramp")},
        "stress": [goodput, throughput],
        "soak": [over_time, memory],
        "rounds": [rounds],
        "versions": [compared_versions, rounds],
        "tune": [turns, searched],
    }
    if report.kind == "tune":
        drawn = [stages, batches]  # of the best; what others showed is in the charts of the search
    for draw in dict.fromkeys([*first.get(report.kind, []), *drawn]):
        if (chart := draw(report)) is not None:
            yield chart


# ---------------------------------------------------------------------------------------------------------------------
# Latency


def percentiles(report: Report) -> Chart | None:
    """Along -log10(1 - q): 90 % is 1, 99 % is 2; as far as there are entries."""
    shown = [(place, decode(report.measurements[place].histogram)) for place in chosen(report)]
    shown = [(place, histogram) for place, histogram in shown if histogram.count]
    if not shown:
        return None
    furthest = max(max(1.0, math.log10(histogram.count)) for _, histogram in shown)
    lines, groups = [], list(dict.fromkeys(group_of(report, place) for place, _ in shown))
    for place, histogram in shown:
        *places, last = map(float, np.linspace(0, max(1.0, math.log10(histogram.count)), DRAWN))
        points = [(at, histogram.quantile_ns(1 - 10**-at) / 1e3) for at in places]
        points.append((last, histogram.max_ns / 1e3))
        group = group_of(report, place)
        is_first = next(other for other, _ in shown if group_of(report, other) == group) == place
        lines.append(Line(group if is_first else "", groups.index(group) % SERIES + 1, points, thin=report.kind in ROUNDS))
    stops = [
        Stop(-math.log10(1 - q), f"{100 * q:.10g} %", quantile_words(report, shown, q)) for q in QUANTILES if -math.log10(1 - q) <= furthest
    ]
    nines = range(1, math.floor(furthest) + 1)
    ticks = [(0.0, "0 %", True), (-math.log10(0.5), "50 %", False)]
    ticks += [(float(nine), f"{100 - 100 / 10**nine:.10g} %", nine in (1, 2, 3, 5)) for nine in nines]
    hidden = len([one for one in report.measurements if one.histogram]) - len(shown)
    few = f" {len(shown)} of {len(shown) + hidden} measurements are drawn." if hidden else ""
    latencies = [us for line in lines for _, us in line.points]
    return Chart(
        "percentiles",
        "Latency by percentile",
        f"A point says how long all but the slowest requests took; each step to the right is ten times rarer.{few}",
        Axis("share of the requests", 0.0, furthest, False, ticks),
        latency_axis([*latencies, *(limit.value for limit in limits_of(report))]),
        lines,
        limits=limits_of(report),
        stops=stops,
    )


def chosen(report: Report) -> list[int]:
    """The measurements whose distribution is drawn: of rounds all, else at most as many as can be told apart, the headline among them."""
    places = [place for place, one in enumerate(report.measurements) if one.histogram]
    if report.kind in ROUNDS or len(places) <= SERIES:
        return places
    kept = {report.headline}
    if report.kind == "search":  # and the last look at the rate above it
        above = report.summary.get("above")
        kept |= set([place for place in places if report.measurements[place].load.rate == above][-1:])
    others = [place for place in places if place not in kept]
    kept |= {others[round(at)] for at in np.linspace(0, len(others) - 1, SERIES - len(kept))}
    return [place for place in places if place in kept]


def quantile_words(report: Report, shown: Sequence[tuple[int, Histogram]], q: float) -> list[tuple[str, str]]:
    """A value of each line; of rounds the least and the most."""
    found: dict[str, list[float]] = {}
    for place, histogram in shown:
        if histogram.count * (1 - q) >= 0.5:
            found.setdefault(group_of(report, place), []).append(histogram.quantile_ns(q) / 1e3)
    return [(name if len(found) > 1 else "", between(seen)) for name, seen in found.items()]


def between(us: Sequence[float]) -> str:
    low, high = duration(min(us)), duration(max(us))
    return low if low == high else f"{low} to {high}"


def latency_axis(us: Iterable[float]) -> Axis:
    """From zero, or logarithmic where a linear axis would hide the short ones."""
    seen = [each for each in us if each > 0] or [1.0]
    if min(seen) < max(seen) / WIDE:
        return logarithmic("latency", min(seen), max(seen), duration)
    return linear("latency", 0.0, max(seen), lambda value: duration(value) if value else "0")


def limits_of(report: Report) -> list[Limit]:
    """The targets of a latency: --slo, --fail-if, and the deadline."""
    target = slo_of(report)
    found = [Limit(f"SLO {spelled(figure)} {duration(us)}", us) for figure, us in (target.limits_us if target else {}).items()]
    found += [Limit(f"fail if {spelled(str(each))}", each.limit) for each in conditions_of(report) if each.figure in FIGURES and each.above]
    if report.kind == "stress" and (deadline_ms := report.summary.get("deadline_ms")):
        found.append(Limit(f"deadline {duration(1e3 * deadline_ms)}", 1e3 * deadline_ms))
    return found


def spelled(figure: str) -> str:
    return figure.replace("p999", "p99.9")


def over_time(report: Report) -> Chart | None:
    """All of the run: of one version p50, p99 and max, of several each one's p50 and p99."""
    measured = report.measurements
    if not any(len(one.intervals) > 1 for one in measured):
        return None
    start_s = min(one.started_unix_s for one in measured)
    versions = list(dict.fromkeys(one.version for one in measured))[:SERIES]
    several = len(versions) > 1
    lines = []
    for number, version in enumerate(versions):
        own = [one for one in measured if one.version == version]
        for place, field in enumerate(("p50_us", "p99_us", "max_us")[: 2 if several else 3]):
            name = field.removesuffix("_us")
            points = list(timeline(own, field, start_s))
            named = f"version {version or '(newest)'}, {name}" if several else name
            lines.append(Line(named, (number if several else place) + 1, points, dashed=not several, thin=several and place == 0))
    parts = [(one, part) for one in measured for part in one.intervals]
    every = -(-len(parts) // MOST_STOPS)
    last_s = max(one.started_unix_s - start_s + one.duration_s for one in measured)  # what failed has no line, and took its time
    values = [us for line in lines for _, us in line.points if us > 0] + [limit.value for limit in limits_of(report)]
    gaps = " Between two measurements there is a gap." if len(measured) > 1 else ""
    return Chart(
        "time",
        "Latency over time",
        f"The figures of each interval of about a second, from the intended start.{gaps}",
        linear("seconds since the first measurement began", 0.0, last_s, lambda value: f"{value:g}", exact=True),
        latency_axis(values),
        lines,
        limits=limits_of(report),
        stops=[
            Stop(one.started_unix_s - start_s + part.at_s + part.duration_s / 2, moment_words(report, one, part.at_s), interval_words(part))
            for one, part in parts[::every]
        ],
    )


def timeline(measured: Sequence[Measurement], field: str, start_s: float) -> Iterator[tuple[float, float]]:
    """Over all measurements, with a gap between two. Intervals without responses are a gap, too."""
    for one in measured:
        for part in one.intervals:
            yield one.started_unix_s - start_s + part.at_s + part.duration_s / 2, getattr(part, field) or math.nan
        yield math.nan, math.nan


def moment_words(report: Report, one: Measurement, at_s: float) -> str:
    return f"{at_s:.0f} s of {one_line(one.load)}" if len(report.measurements) > 1 else f"after {at_s:.0f} s"


def interval_words(part: Any) -> list[tuple[str, str]]:
    times = [(name, duration(us)) for name in FIGURES if (us := getattr(part, f"{name}_us"))]
    found = [*times, ("responses/s", number_of(part.requests / part.duration_s if part.duration_s else 0.0))]
    return [*found, ("errors", f"{part.errors:,}")] if part.errors else found


# ---------------------------------------------------------------------------------------------------------------------
# Throughput


def throughput(report: Report) -> Chart | None:
    """Every measurement is a point; one line goes through one point of each load, never from a load to its repetition."""
    answered = [(place, one) for place, one in enumerate(report.measurements) if one.requests_per_second and one.latency_us.p99]
    if len({str(one.load) for _, one in answered}) < 2:
        return None
    judged = judged_by(report)
    is_open = bool(report.main and report.main.load.rate)
    once = rising(one_of_each(report, [one for _, one in answered if bool(one.load.rate) == is_open]))
    high, low = ([(one.requests_per_second, getattr(one.latency_us, figure)) for one in once] for figure in ("p99", "p50"))
    lines = [Line("p99", 2, high, dashed=False, band=low), Line("p50", 1, low, dashed=False)]
    marks, stops, shapes = [], [], {}
    for place, one in answered:
        shape, words = "dot", ""
        if place in judged and not judged[place]["kept"]:
            shape, words = "cross", "p99 of a rate that did not keep the target"
        elif bool(one.load.rate) != is_open:
            shape, words = "ring", "p99 of a closed loop" if is_open else "p99 of an open loop"
        if words:
            shapes[shape] = words
        marks.append(Mark(one.requests_per_second, one.latency_us.p99, 2, shape))
        stops.append(Stop(one.requests_per_second, f"{name_of(report, place)}, step {place + 1}", point_words(one), one.latency_us.p99))
    limits = limits_of(report)
    values = [us for line in lines for _, us in line.points] + [mark.y for mark in marks] + [limit.value for limit in limits]
    return Chart(
        "throughput",
        "Throughput against latency",
        "A point is a measurement: further right is more responses a second, lower is sooner. The lines go through one point of each load, "
        "up to the most responses.",
        linear("responses a second", 0.0, max(mark.x for mark in marks), number_of),
        latency_axis(values),
        lines,
        marks,
        limits,
        stops,
        [(2, shape, words) for shape, words in shapes.items()],
    )


def rising(measured: Sequence[Measurement]) -> list[Measurement]:
    """Those with more responses than all before them: past its peak a server has points, and no line."""
    kept: list[Measurement] = []
    for one in measured:
        if not kept or one.requests_per_second > kept[-1].requests_per_second:
            kept.append(one)
    return kept


def one_of_each(report: Report, measured: Sequence[Measurement]) -> list[Measurement]:
    """For each load, in their order, the measurement whose p99 is the median; in a search the last one."""
    found: dict[float, list[Measurement]] = {}
    for one in measured:
        found.setdefault(asked(one), []).append(one)
    if report.kind == "search":  # where the last look at a rate decides
        return [own[-1] for _, own in sorted(found.items())]
    return [sorted(own, key=lambda one: one.latency_us.p99)[len(own) // 2] for _, own in sorted(found.items())]


def asked(measured: Measurement) -> float:
    load = measured.load
    return load.rate or load.connections * load.streams


def point_words(one: Measurement) -> list[tuple[str, str]]:
    latency = [(figure, duration(getattr(one.latency_us, figure))) for figure in ("p50", "p99")]
    found = [("responses/s", number_of(one.requests_per_second)), *latency]
    found += [("errors", f"{one.failed:,}")] if one.failed else []
    return [*found, ("", "client-bound")] if one.client_bound else found


def goodput(report: Report) -> Chart | None:
    opened = [(place, one) for place, one in enumerate(report.measurements) if one.load.rate]
    if len({one.load.rate for _, one in opened}) < 2:
        return None
    most = max(one.load.rate for _, one in opened)
    once = one_of_each(report, [one for _, one in opened])
    limits = [Limit("", 0.0, ends=((0.0, 0.0), (most, most)))]
    if report.kind == "search" and (rate := report.summary.get("rate")):
        limits.append(Limit(f"keeps the SLO: {per_second(rate)}", rate, vertical=True))
    if report.kind == "stress" and (rate := report.summary.get("saturation")):
        limits.append(Limit(f"saturation: {per_second(rate)}", rate, vertical=True))
    return Chart(
        "goodput",
        "Answered against asked",
        "The dashed diagonal is a server that answers everything with OK. Below it are errors, and responses that came too late.",
        linear("requests a second asked", 0.0, most, number_of),
        linear("answered with OK, a second", 0.0, max(most, *(one.requests_per_second for _, one in opened)), number_of),
        [Line("", 1, [(one.load.rate, one.requests_per_second) for one in once], dashed=False)],
        [Mark(one.load.rate, one.requests_per_second, 1) for _, one in opened],
        limits,
        [
            Stop(one.load.rate, f"{name_of(report, place)}, step {place + 1}", point_words(one), one.requests_per_second)
            for place, one in opened
        ],
    )
