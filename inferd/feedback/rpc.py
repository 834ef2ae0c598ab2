"""Feedback by RPC (inferd.v1.Feedback). Never in here: how labels join, the figures."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from inferd.errors import InvalidArgument, NotFound, Unavailable
from inferd.feedback import history
from inferd.feedback.history import Asked
from inferd.feedback.label import MAX_CHARS, Fate, Label
from inferd.feedback.schema import StoreError
from inferd.feedback.store import Report
from inferd.part import Method
from inferd.protocol import options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.feedback.writer import Writer

SERVICE = "inferd.v1.Feedback"
MAX_LABELS = 1_000  # of one Report: they are read on the event loop
MAX_REPORT_NBYTES = 1 << 20
MAX_BUCKETS = 100
RETRY_NS = 1_000_000_000


class FeedbackControl:
    """folder: of the store. serves(model): whether there is such a model. judged(model, right): told whether the predictions of requests
    were right, by id, on the event loop."""

    def __init__(
        self,
        writer: Callable[[], Writer],
        folder: str,
        serves: Callable[[str], bool],
        judged: Callable[[str, Mapping[str, bool]], None],
    ) -> None:
        self._writer, self._folder, self._serves, self._judged = writer, folder, serves, judged
        self._computing = asyncio.Lock()

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        labels, asked = options.ReportLabelsRequest, options.PerformanceRequest
        return {
            f"/{SERVICE}/Report": Method("unary", self.report, labels, options.ReportLabelsResponse, max_request_nbytes=MAX_REPORT_NBYTES),
            f"/{SERVICE}/Performance": Method("unary", self.performance, asked, options.PerformanceResponse),
        }

    async def report(self, request: options.ReportLabelsRequest) -> options.ReportLabelsResponse:
        self._check_model(request.model_name)
        if len(request.labels) > MAX_LABELS:
            raise InvalidArgument(f"labels: expected at most {MAX_LABELS}, got {len(request.labels)}; send them in parts")
        labels = [_label(place, each) for place, each in enumerate(request.labels)]
        if not labels:
            return options.ReportLabelsResponse()
        taken = await asyncio.wrap_future(self._writer().report(Report(request.model_name, labels)))
        if taken.right:
            self._judged(request.model_name, taken.right)
        return options.ReportLabelsResponse(**{fate.value: count for fate, count in taken.fates.items()})

    async def performance(self, request: options.PerformanceRequest) -> options.PerformanceResponse:
        model = request.model_name
        self._check_model(model)
        for name in ("model_version", "since_unix_ns", "until_unix_ns"):
            if (value := getattr(request, name)) < 0:
                raise InvalidArgument(f"{name}: expected 0 or more, got {value}")
        if request.buckets > MAX_BUCKETS:
            raise InvalidArgument(f"buckets: expected at most {MAX_BUCKETS}, got {request.buckets}")
        if len(request.slice) > MAX_CHARS:
            raise InvalidArgument(f"slice: expected the name of an input of at most {MAX_CHARS} characters, got {len(request.slice)}")
        asked = Asked(model, request.model_version, request.since_unix_ns, request.until_unix_ns, request.slice, request.buckets)
        totals = {kind: count for (name, kind), count in self._writer().totals.items() if name == model and kind in list(Fate)}
        async with self._computing:  # one after the other: each takes a second of a core, and memory
            return await asyncio.to_thread(self._computed, asked, totals)

    def _computed(self, asked: Asked, totals: Mapping[str, int]) -> options.PerformanceResponse:
        try:
            found = history.found(self._folder, asked)
        except StoreError:
            raise Unavailable("performance: the predictions cannot be read now; try again", retry_after_ns=RETRY_NS) from None
        return options.PerformanceResponse(
            groups=[_told(each) for each in found.groups],
            labels=totals,
            rows_left_out=found.rows_left_out,
            groups_left_out=found.groups_left_out,
        )

    def _check_model(self, model: str) -> None:
        """Raises NotFound. A model that is unloaded may have predictions."""
        if not self._serves(model) and not any(name == model for name, _ in self._writer().totals):
            raise NotFound(f"model_name: there is no model '{model:.100}', and no prediction of one")


def _label(place: int, given: options.RequestLabel) -> Label:
    where = f"labels[{place}]"
    if not given.request_id:
        raise InvalidArgument(f"{where}: request_id: expected the id of a request, got none")
    kind = given.WhichOneof("label")
    if kind is None:
        raise InvalidArgument(f"{where}: expected text or number, got neither")
    if kind == "number":
        if not math.isfinite(given.number):
            raise InvalidArgument(f"{where}: number: expected a finite number, got {given.number}; leave out rows without a label")
        return Label(given.request_id, given.row, given.number)
    if not 0 < len(given.text) <= MAX_CHARS:
        raise InvalidArgument(f"{where}: text: expected a class of 1 to {MAX_CHARS} characters, got {len(given.text)}")
    return Label(given.request_id, given.row, given.text)


def _told(group: history.Group) -> options.PerformanceGroup:
    return options.PerformanceGroup(
        model_version=group.version,
        slice_value=group.value,
        from_unix_ns=group.from_ns,
        until_unix_ns=group.until_ns,
        predicted_rows=group.predicted,
        labelled_rows=group.labelled,
        figures=[options.PerformanceFigure(**each._asdict()) for each in group.figures],
        figures_left_out=group.figures_left_out,
    )
