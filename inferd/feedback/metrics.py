"""Metrics of the feedback. Never in here: formats, HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.feedback.label import Fate
from inferd.feedback.store import PREDICTED, REUSED_IDS
from inferd.part import counter, gauge
from inferd.part.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.feedback.writer import Writer

TOTAL = [Column("_total")]


def tables_of(writer: Writer) -> Iterator[Table]:
    """The store's counts are those of all processes, as each of them has seen them last: the largest is the newest."""
    totals, counts, tap = writer.totals, writer.counts, writer.tap
    fates = [((model, kind), (count,)) for (model, kind), count in sorted(totals.items()) if kind in list(Fate) and kind != Fate.WAITING]
    told = "Labels by fate, since the store began; only with feedback, as all of these."
    yield Table("inferd_feedback_labels", told, "counter", ("model", "fate"), TOTAL, fates, "max")
    predicted = {model: count for (model, kind), count in sorted(totals.items()) if kind == PREDICTED}
    waiting = [((model,), (totals.get((model, Fate.WAITING), 0),)) for model in predicted]
    told = "Labels that wait for their predictions."
    yield Table("inferd_feedback_waiting_labels", told, "gauge", ("model",), [Column()], waiting, "max")
    rows = [((model,), (count,)) for model, count in predicted.items()]
    yield Table("inferd_feedback_predicted_rows", "Rows whose predictions were kept.", "counter", ("model",), TOTAL, rows, "max")
    shares = [((model,), (totals.get((model, Fate.JOINED), 0) / count,)) for model, count in predicted.items() if count]
    told = "Share of the rows whose predictions were kept that have a label."
    yield Table("inferd_feedback_coverage", told, "gauge", ("model",), [Column()], shares, "max")
    reused = [((model,), (count,)) for (model, kind), count in sorted(totals.items()) if kind == REUSED_IDS]
    told = "Requests whose id an earlier one had, so that their predictions were not kept."
    yield Table("inferd_feedback_reused_ids", told, "counter", ("model",), TOTAL, reused, "max")
    yield counter("inferd_feedback_without_id", "Responses to requests without an id, which no label can join.", counts["without_id"])
    yield counter("inferd_feedback_unread", "Responses whose prediction could not be read.", counts["unread"])
    yield counter("inferd_feedback_dropped", "Responses for which there was no room: the disk is slow.", tap.dropped)
    yield counter("inferd_feedback_lost", "Predictions that could not be written.", counts["lost"])
    yield counter("inferd_feedback_write_failures", "Transactions that failed.", counts["failures"])
    yield gauge("inferd_feedback_bytes", "Bytes of predictions and labels on disk.", writer.used_bytes, combine="max")
