"""The report of a mode's outcome: its findings in words, versions compared, and which measurement is the headline.

Never in here: files (report), how a report looks, measuring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from inferd.bench.compare import compare_measurements
from inferd.bench.conclusion import as_fields, conclude
from inferd.bench.findings import Curve, Search, Stress, Versions
from inferd.bench.report import ENDED, make

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.bench.compare import Comparison
    from inferd.bench.measurement import Measurement
    from inferd.bench.modes import Outcome
    from inferd.bench.report import Report

NO_SUBMISSION = "VALID is LoadGen's word for these settings: a result of MLPerf takes 600 s at least, and as many queries as its rules say"


def report_of(
    outcome: Outcome,
    target: str,
    model: str,
    *,
    settings: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    notices: Sequence[str] = (),
    command: str = "",
) -> Report:
    """The report of a mode's outcome. Its headline is the rate that a search found, or its lowest miss. Else it is
    the best step of a curve or stress, the median of rounds, or the first measurement."""
    found = outcome.findings
    summary = {"words": found.words(), **msgspec.to_builtins(found)} if found is not None else {}
    if isinstance(found, Versions):
        summary["comparisons"] = msgspec.to_builtins(compare_rounds(model, outcome.measurements))
    ended = [ENDED + outcome.ended] if outcome.ended else []
    if outcome.mode == "mlperf" and summary.get("valid"):
        ended.append(NO_SUBMISSION)
    made = make(
        outcome.mode,
        target,
        model,
        outcome.measurements,
        headline=headline_of(outcome),
        settings=settings,
        versions=versions,
        summary=summary,
        notices=[*notices, *ended],
        command=command,
    )
    made.verdict = as_fields(conclude(made))
    return made


def compare_rounds(model: str, measurements: Sequence[Measurement]) -> list[Comparison]:
    """Each version that was measured against the first one."""
    rounds: dict[str, list[Measurement]] = {}
    for measured in measurements:
        rounds.setdefault(measured.version, []).append(measured)
    first, *others = list(rounds) or [""]
    sides = {version: f"version {version}" for version in rounds}
    names = {version: f"{model} {side}" for version, side in sides.items()}
    return [
        compare_measurements(rounds[first], rounds[other], names=(names[first], names[other]), sides=(sides[first], sides[other]))
        for other in others
    ]


def headline_of(outcome: Outcome) -> int:
    measured, found = outcome.measurements, outcome.findings
    if isinstance(found, Search):
        return found.step if found.step is not None else max(len(measured) - 1, 0)
    by_rate = sorted(range(len(measured)), key=lambda place: measured[place].requests_per_second)
    if isinstance(found, Curve | Stress) and measured:
        return by_rate[-1]
    if outcome.mode == "rounds" and measured:
        return by_rate[len(measured) // 2]
    return 0
