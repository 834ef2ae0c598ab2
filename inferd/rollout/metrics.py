"""Metrics of rollouts. Never in here: formats, HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.part.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.rollout.state import Rollout

MODEL = ("model", "kind")
BOUNDS = ("estimate", "lower", "upper", "limit")


def tables_of(rollouts: Sequence[Rollout]) -> Iterator[Table]:
    """Every table, once: of the rollouts that run, and those that ran last. Nothing where there never was one."""
    if not rollouts:
        return
    labelled = [(each, (each.model, each.kind.lower())) for each in rollouts]
    versions = [((*labels, str(each.stable), str(each.candidate)), (each.runs,)) for each, labels in labelled]
    yield Table(
        "inferd_rollout_running",
        "1 while the rollout runs, 0 once it has ended.",
        "gauge",
        (*MODEL, "stable", "candidate"),
        [Column()],
        versions,
        "max",
    )
    shares = [(labels, (each.share,)) for each, labels in labelled]
    told = "Share of requests that clients get the candidate's responses to."
    yield Table("inferd_rollout_share", told, "gauge", MODEL, [Column()], shares, "max")
    counts = [((*labels, name), (count,)) for each, labels in labelled for name, count in sorted(each.counts.items())]
    yield Table(
        "inferd_rollout_requests", "Requests of the rollout, by what became of them.", "gauge", (*MODEL, "outcome"), [Column()], counts
    )
    found = [
        ((*labels, evidence.guard), tuple(getattr(evidence, bound) for bound in BOUNDS))
        for each, labels in labelled
        for evidence in each.evidence
    ]
    columns = [Column("", {"bound": bound}) for bound in BOUNDS]
    told = "Figures of each guard, and its limit."
    yield Table("inferd_rollout_evidence", told, "gauge", (*MODEL, "guard"), columns, found, "max")
