"""Keeps predictions and joins labels: a thread that owns the store of this process.

A response costs the request path a pointer, as at any tap. This thread reads its prediction, in short pieces, since other threads wait for
the GIL meanwhile. Predictions are written about twice a second. Labels are written at once, in one transaction with the predictions that
came before them, and `report` is done when that is on disk. Predictions are lost if the tap is full, a transaction fails, or the process
is killed; the first two are counted. Never in here: files (store.py), which output is the prediction (reading.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING

from inferd._core.batching.tap import Tap
from inferd._core.rest.request import RestRequest
from inferd.errors import ResourceExhausted, Unavailable
from inferd.feedback.memory import room_bytes
from inferd.feedback.reading import Reading
from inferd.feedback.schema import StoreError
from inferd.log import LIMITED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd._core.batching.tap import Tapped
    from inferd.engine.model import Model
    from inferd.feedback.prediction import Prediction
    from inferd.feedback.store import Report, Store, Taken

log = logging.getLogger("inferd.feedback")

PIECE = 32  # requests between two rests, which other threads wait for: about 0.5 ms
REST_S = 0.001
LOOK_S = 0.1  # between two looks while no request comes
BATCH = 1000  # predictions that are written at once,
BATCH_S = 0.5  # or those that are as old
PRUNE_S = 1.0  # between two looks for what is old
MOST_REPORTS = 64  # that wait for the thread
RETRY_NS = 1_000_000_000


class Writer:
    """store: this thread's from `start` on; closed at the end. slices: names of inputs. message_memory_bytes: of this process."""

    def __init__(self, store: Store, slices: Sequence[str], message_memory_bytes: int) -> None:
        self._store, self._slices = store, slices
        self.tap = Tap(max_held_nbytes=room_bytes(message_memory_bytes))
        self.counts: Counter[str] = Counter(without_id=0, unread=0, lost=0, failures=0)
        self.totals: Mapping[tuple[str, str], int] = store.totals()  # of all processes, after the last transaction of this one
        self.used_bytes = store.used_bytes
        self._offset_ns = time.time_ns() - time.monotonic_ns()  # once: a clock that jumps moves no request against another
        self._readings: dict[tuple[bytes, bytes], Reading] = {}  # by model and version
        self._made: list[Prediction] = []
        self._began_s = self._pruned_s = 0.0
        self._reports: deque[tuple[Report, Future[Taken]]] = deque()
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)

    def watch(self, model: Model) -> None:
        """Keeps its predictions from now on. Before it starts."""
        signature = model.signature
        reading = Reading(signature.output_specs, model.config, signature.labels, self._slices)
        if reading.main is None:
            log.warning("feedback: model '%s' has no output that is one prediction a row, so no label joins it", model.name)
            return
        self._readings[signature.model_name, signature.model_version] = reading
        model.tap(self.tap)

    def report(self, report: Report) -> Future[Taken]:
        """Done once the labels are on disk. It may fail with Unavailable. Raises ResourceExhausted."""
        if len(self._reports) >= MOST_REPORTS:
            raise ResourceExhausted(
                f"labels: expected at most {MOST_REPORTS} reports that wait to be written, got one more; send them one after the other",
                retry_after_ns=RETRY_NS,
            )
        future: Future[Taken] = Future()
        self._reports.append((report, future))
        if self._stopping:  # its last look may be over
            raise Unavailable("labels: the server stops; send them to another one", retry_after_ns=RETRY_NS)
        self._wake.set()
        return future

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Writes what there is, once all requests have their responses."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # ---- the thread ----

    def _run(self) -> None:
        try:
            while not self._stopping:
                more = self._work()
                self._wake.wait(REST_S if more else LOOK_S)
                self._wake.clear()
            while self._read(PIECE):
                pass
            self._write(self._waiting_reports())
        finally:
            self._store.close()

    def _work(self) -> bool:
        """True: there is more."""
        reports = self._waiting_reports()
        more = self._read(max(self.tap.held, PIECE) if reports else PIECE)
        now_s = time.monotonic()
        if reports or len(self._made) >= BATCH or (self._made and now_s - self._began_s >= BATCH_S):
            self._write(reports)
        if now_s - self._pruned_s >= PRUNE_S:
            self._pruned_s = now_s
            self._prune()
        return more or bool(self._reports)

    def _waiting_reports(self) -> list[tuple[Report, Future[Taken]]]:
        """Those whose clients are still there."""
        taken = [self._reports.popleft() for _ in range(len(self._reports))]
        return [(report, future) for report, future in taken if future.set_running_or_notify_cancel()]

    def _read(self, most: int) -> bool:
        """True: there is more."""
        taken = self.tap.take(most)
        more = len(taken) == most
        taken.reverse()
        while taken:  # each gives its memory back as soon as it is read
            tapped = taken.pop()
            if tapped.response is not None:
                self._add(tapped)
        return more

    def _add(self, tapped: Tapped) -> None:
        signature, request_id = tapped.request.signature, id_of(tapped)
        if not request_id:
            self.counts["without_id"] += 1
            return
        assert signature is not None
        model, version = signature.model_name, signature.model_version
        try:
            made = self._readings[model, version].read(
                tapped, request_id, model.decode(), int(version), tapped.received_ns + self._offset_ns
            )
        except Exception as error:
            log.error("feedback: a prediction of model '%s' cannot be read", model.decode(), exc_info=error, extra=LIMITED)
            made = None
        if made is None:
            self.counts["unread"] += 1
            return
        if not self._made:
            self._began_s = time.monotonic()
        self._made.append(made)

    def _write(self, reports: Sequence[tuple[Report, Future[Taken]]]) -> None:
        made, self._made = self._made, []
        if not made and not reports:
            return
        try:
            found = self._store.write(made, [report for report, _ in reports])
        except Exception as error:
            self._failed(error)
            self.counts["lost"] += len(made)
            for _, future in reports:
                future.set_exception(Unavailable("labels: the server could not write them; send them again", retry_after_ns=RETRY_NS))
            return
        for (_, future), taken in zip(reports, found, strict=True):
            future.set_result(taken)
        self._look()

    def _prune(self) -> None:
        try:
            self._store.prune()
        except StoreError as error:
            self._failed(error)
        self._look()

    def _look(self) -> None:
        try:
            self.totals, self.used_bytes = self._store.totals(), self._store.used_bytes
        except StoreError as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.counts["failures"] += 1
        log.error("feedback: the store cannot be written: %s; predictions are lost until it can", error, extra=LIMITED)


def id_of(tapped: Tapped) -> str:
    """The id in the request, or else its X-Request-Id; '': it has none."""
    request = tapped.request
    if found := getattr(request, "id", ""):
        return str(found)
    if isinstance(request, RestRequest) and request.head.request_id:
        return request.head.request_id.decode("latin-1")
    return ""
