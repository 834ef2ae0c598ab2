"""Charts of the server's own time and batches. Never in here: markup (charts), measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inferd.bench.charts import Bar, Bars, Chart, Line, Mark, Stop, linear
from inferd.bench.findings import duration, number_of
from inferd.bench.measurement import WHOLE
from inferd.bench.tables import ROUNDS, group_of, stages_of

if TYPE_CHECKING:
    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report

MOST_BARS = 12
STAGES = ("outside", "decode", "queue", "preprocess", "execute", "encode", "other")  # in the order of a bar, with its colours
STAGE_COLOURS = {"outside": 7, "decode": 5, "queue": 2, "preprocess": 4, "execute": 1, "encode": 3, "other": 8}
STAGE_WORDS = {"outside": "outside the server", "other": "between stages"}


def stages(report: Report) -> Bars | None:
    """Where the mean latency goes: a bar a measurement, all equally long, so that what changes is the share."""
    told = [place for place, one in enumerate(report.measurements) if one.server and one.server.stages_known and one.latency_us.max]
    if report.kind == "tune":
        told = [place for place in told if place == report.headline]
    if len(told) > MOST_BARS:
        others = [place for place in told if place != report.headline]
        kept = {report.headline, *(others[round(at)] for at in np.linspace(0, len(others) - 1, MOST_BARS - 1))}
        told = [place for place in told if place in kept]
    shares = {place: shares_of(report.measurements[place]) for place in told}
    if not shares:
        return None
    seen = [stage for stage in STAGES if any(us[stage] > 0 for us in shares.values())]
    rows = []
    for place, us in shares.items():
        whole = sum(us.values())
        parts = [
            (STAGE_COLOURS[stage], us[stage], f"{STAGE_WORDS.get(stage, stage)} {duration(us[stage])}, {us[stage] / whole:.0%}")
            for stage in seen
        ]
        rows.append(Bar(bar_name(report, place), parts, duration(whole), len(shares) > 1 and place == report.headline))
    return Bars(
        "stages",
        "Where the time goes",
        "Means of a request: the server's stages, warm-up included, and what is outside of it: network, client, the wait to be sent.",
        rows,
        [(STAGE_COLOURS[stage], "square", STAGE_WORDS.get(stage, stage)) for stage in seen],
        whole=True,
    )


def bar_name(report: Report, place: int) -> str:
    if report.kind == "tune":
        return "a request"
    if report.kind not in ROUNDS:
        return group_of(report, place)
    one = report.measurements[place]
    before = [each for each in report.measurements[:place] if each.version == one.version]
    version = f"version {one.version}, " if report.kind == "versions" else ""
    return f"{version}round {len(before) + 1}"


def shares_of(measured: Measurement) -> dict[str, float]:
    """The mean latency in us, cut into stages. A server that does not say how long a whole request takes has no time between them."""
    assert measured.server is not None
    told = {name: stage.mean_us for name, stage in stages_of(measured.server).items()}
    inside = sum(us for name, us in told.items() if name != WHOLE)
    whole = max(told.get(WHOLE, inside), inside)
    found = {"outside": max(measured.latency_us.mean - whole, 0.0), "other": whole - inside}
    return {stage: found.get(stage, told.get(stage, 0.0)) for stage in STAGES}


def memory(report: Report) -> Chart | None:
    """The memory over a soak."""
    seen = [(at_s, size / (1 << 20)) for at_s, size in report.summary.get("memory", [])]
    if len(seen) < 2:
        return None
    return Chart(
        "memory",
        "The server's memory",
        "Resident memory of the server and its children.",
        linear("seconds since the measuring began", 0.0, seen[-1][0], lambda value: f"{value:g}", exact=True),
        linear("MiB", 0.0, max(size for _, size in seen), number_of),
        [Line("", 1, seen)],
        stops=[Stop(at_s, f"after {at_s:.0f} s", [("", f"{number_of(size)} MiB")]) for at_s, size in seen],
    )


def batches(report: Report) -> Chart | None:
    """The batch sizes of the headline measurement."""
    if report.main is None or report.main.server is None or not (sizes := report.main.server.batch_sizes):
        return None
    whole = sum(sizes.values())
    return Chart(
        "batches",
        "Batch sizes",
        "Runs of the model by their rows, as the server counts them.",
        linear("rows of a run", 0.0, max(sizes) + 1, number_of, whole=True),
        linear("runs", 0.0, max(sizes.values()), number_of, whole=True),
        marks=[Mark(size, runs, 1, "bar") for size, runs in sorted(sizes.items())],
        stops=[Stop(size, f"{size} rows", [("runs", f"{runs:,}"), ("", f"{runs / whole:.1%}")]) for size, runs in sorted(sizes.items())],
    )
