"""Charts of what is held against each other: rounds, versions, two reports, settings. Never in here: markup (charts), judging."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.bench.charts import SERIES, Axis, Bar, Bars, Chart, Limit, Line, Mark, Stop, linear
from inferd.bench.compare import Comparison
from inferd.bench.findings import number_of
from inferd.bench.tables import settings_words
from inferd.bench.verdicts import cells

if TYPE_CHECKING:
    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report

MOST_BARS = 24
SIDES = {"best": "best", "default": "as it is now"}  # of a tuning, as a report has them: as a chart names them
VERDICT_COLOURS = {"worse": 9, "better": 10, "unclear": 11}
FURTHEST = (-100.0, 200.0)  # percent of change that a chart shows


def rounds(report: Report) -> Chart | None:
    """The result of each round, in the order of the rounds."""
    versions: dict[str, list[Measurement]] = {}
    for one in report.measurements:
        versions.setdefault(one.version, []).append(one)
    sides = {f"version {name}" if len(versions) > 1 else "": [one.requests_per_second for one in own] for name, own in versions.items()}
    return in_rounds("rounds", "Round by round", sides)


def forest(comparison: Comparison) -> Chart | None:
    """Each figure's change and its interval."""
    shown = [change for change in comparison.changes if change.change is not None and change.unit != "%" and change.verdict]
    if not shown:
        return None
    several = len({change.load for change in shown}) > 1
    percents = [[100 * each for each in (change.low, change.change, change.high) if each is not None] for change in shown]
    edge = 100 * comparison.threshold
    low = max(FURTHEST[0], min(-edge, *(min(each) for each in percents)))
    high = min(FURTHEST[1], max(edge, *(max(each) for each in percents)))
    names = [f"{cells(change)[0]}, {change.load}" if several else cells(change)[0] for change in shown]
    colours = [VERDICT_COLOURS.get(change.verdict, 8) for change in shown]
    rows = [float(len(shown) - place) for place in range(len(shown))]
    return Chart(
        "changes",
        f"{comparison.after} against {comparison.before}",
        f"A point is the change of a figure, the line through it its {100 * comparison.confidence:g} % interval. Changes between the "
        "dashed lines are none. What is red is worse, green better, brown unclear.",
        linear("change in %", low, high, lambda value: f"{value:+g}" if value else "0"),
        Axis("", 0.3, len(shown) + 0.7, False, [(row, label, True) for row, label in zip(rows, names, strict=True)]),
        [
            Line("", colour, [(each[0], row), (each[-1], row)], dashed=False)
            for colour, each, row in zip(colours, percents, rows, strict=True)
        ],
        [Mark(100 * (change.change or 0.0), row, colour) for change, row, colour in zip(shown, rows, colours, strict=True)],
        [Limit("", -edge, vertical=True), Limit("", edge, vertical=True), Limit("", 0.0, ends=((0.0, 0.0), (0.0, 1e9)))],
        [
            Stop(100 * (change.change or 0.0), label, [("", text) for text in cells(change)[1:] if text], row)
            for change, label, row in zip(shown, names, rows, strict=True)
        ],
    )


def compared_versions(report: Report) -> Chart | None:
    """The first of the others against the first version."""
    comparisons = report.summary.get("comparisons", [])
    return forest(msgspec.convert(comparisons[0], Comparison)) if comparisons else None


def turns(report: Report) -> Chart | None:
    """The last rounds of a tuning."""
    verdict = report.summary.get("verdict")
    return (
        in_rounds("turns", "The model as it is now and the best in turn", {SIDES[side]: verdict[side] for side in ("default", "best")})
        if verdict
        else None
    )


def in_rounds(name: str, title: str, sides: dict[str, list[float]]) -> Chart | None:
    count = max(map(len, sides.values()), default=0)
    seen = [value for values in sides.values() for value in values]
    if count < 2 or not any(seen):
        return None
    colours = {side: number % SERIES + 1 for number, side in enumerate(sides)}
    lost = " A cross at the bottom is a round that did not keep the target, and is in no median." if not all(seen) else ""
    known = {side: statistics.median(kept) for side, values in sides.items() if (kept := [value for value in values if value])}
    medians = ", ".join(f"{side} {number_of(value)}" if len(sides) > 1 else number_of(value) for side, value in known.items())
    return Chart(
        name,
        title,
        f"A point is a round. A line is a median: {medians}.{lost}",
        Axis("round", 0.5, count + 0.5, False, [(at, f"{at}", count < 9 or at % 2 == 1) for at in range(1, count + 1)]),
        linear("responses a second", 0.0, max(seen), number_of),
        [Line(side if len(sides) > 1 else "", colours[side], [(0.5, value), (count + 0.5, value)]) for side, value in known.items()],
        [
            Mark(at, value, colours[side], "dot" if value else "cross")
            for side, values in sides.items()
            for at, value in enumerate(values, 1)
        ],
        stops=[
            Stop(at, f"round {at}", [(side, number_of(values[at - 1]) if values[at - 1] else "not kept") for side, values in sides.items()])
            for at in range(1, min(map(len, sides.values())) + 1)
        ],
    )


def searched(report: Report) -> Bars | None:
    """The settings that a tuning tried, the best first, by the trial whose figures stand for each."""
    trials = report.summary.get("trials", [])
    # reports of earlier versions do not say which it is: there it is the best of the search
    stand = [trial for trial in trials if trial.get("stands")] or [trial for trial in trials if trial["stage"] in ("default", "search")]
    best: dict[str, dict[str, Any]] = {}
    for trial in sorted(stand, key=lambda trial: -float(trial["requests_per_second"])):
        best.setdefault(settings_words(trial["settings"]), trial)
    roles = {settings_words(report.summary[side]): name for side, name in SIDES.items() if side in report.summary}
    winner = settings_words(report.summary["best"]) if "best" in report.summary else ""
    ranked = sorted(best.items(), key=lambda entry: -entry[1]["requests_per_second"])
    rows = [
        Bar(
            name,
            [(1 if name == winner else 7, trial["requests_per_second"], tried_words(trial))],
            "  ".join(
                filter(
                    None,
                    (f"{number_of(trial['requests_per_second'])}/s" if trial["requests_per_second"] else "not kept", roles.get(name, "")),
                )
            ),
            name == winner,
        )
        for name, trial in ranked[:MOST_BARS]
    ]
    if not rows:
        return None
    return Bars(
        "searched",
        "Settings that were tried",
        "Responses a second that keep the target: the median of the rounds where there were some, else one measurement.",
        rows,
    )


def tried_words(trial: dict[str, Any]) -> str:
    return trial["why"] or f"{number_of(trial['requests_per_second'])} responses/s with {trial['in_flight']} in flight"
