"""Metrics of the monitor. Never in here: formats, HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.monitor.judging import Finding
from inferd.part.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.monitor.notices import Notices
    from inferd.monitor.watcher import Watcher

MOST_FEATURES = 16  # of a version, those that are farthest from the reference


def tables_of(watcher: Watcher, notices: Notices | None = None) -> Iterator[Table]:
    """Each process tells what it knows, and the sums of rows are those of all: the largest is the newest. A version without a window has
    neither effects nor findings."""
    effects, findings, rows = [], [], []
    for watch in watcher.watches():
        track, version = watch.track(), str(watch.version)
        names = [feature.name for feature in watch.reference.features]
        rows.append(((watch.name, version), (watch.rows(),)))
        last = track.windows[-1].effects if track.windows else []
        farthest = sorted(range(len(last)), key=lambda place: -last[place])[:MOST_FEATURES]
        effects += [((watch.name, version, names[place]), (last[place],)) for place in sorted(farthest)]
        counts = dict.fromkeys(Finding if track.windows else (), 0)
        for found in track.found:
            counts[found.finding] += 1
        findings += [((watch.name, version, finding.value), (count,)) for finding, count in counts.items()]
    labels = ("model", "version")
    told = "Rows of a version that has a reference profile; only with one, as all of these."
    yield Table("inferd_drift_rows", told, "counter", labels, [Column("_total")], rows, "max")
    told = "How far a feature was from the reference in the newest window, from 0 to 1: the farthest 16 features."
    yield Table("inferd_drift_effect", told, "gauge", (*labels, "feature"), [Column()], effects, "max")
    told = "Features with a finding in two of the last three windows, by finding: drift, missing, units and others."
    yield Table("inferd_drift_findings", told, "gauge", (*labels, "finding"), [Column()], findings, "max")
    if notices is not None:
        outcomes = [((outcome,), (count,)) for outcome, count in notices.counts.items()]
        told = "Notices of changed findings, by outcome; only with drift_webhook or drift_command."
        yield Table("inferd_drift_notices", told, "counter", ("outcome",), [Column("_total")], outcomes)
