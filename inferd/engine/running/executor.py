"""The threads that run batches, and the retries of failed runs. A run itself is `run_batch` of _core/inference/path.pyx.

An instance runs one batch at a time, either on the event loop (inline) or on its own executor thread. A failed run of several requests is
repeated in halves, and so on, so that a request fails only if it fails alone. retry_budget.py limits that. Never in here: which requests
form a batch (the batcher), who gets the responses (deliver).
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from inferd._core.inference.path import Runner
from inferd.engine.running.retry_budget import RetryBudget
from inferd.errors import DeadlineExceeded, Internal, InvalidArgument, RequestError, RunFailed, Unavailable
from inferd.log import event, trace_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batching.batch import Batch
    from inferd._core.batching.batcher import Batcher
    from inferd._core.tensor.tensor import Tensors
    from inferd.engine.runtime.runtime import Backend

log = logging.getLogger("inferd.engine")

EXPECTED_SHARE = 1 / 64  # of a run's time: the longest wait of the next run for the clients of this one
MAX_EXPECTED_NS = 1_000_000  # a run of more than 64 times this is bound by computing: more rows gain nothing, and waiting costs
SHOWN_REQUESTS = 16  # requests of a failed run whose ids the log names
TELL_EVERY_NS = 60 * 10**9  # between two log lines of an instance about requests that its model rejected


class Instance(Runner):
    """One backend, and the batch that it runs at the moment. `name` is the model and its version, as messages say it.

    Runner runs the batches; this class handles the runs that fail.

    finish(inputs, outputs): makes the response's tensors from a run's; None: the response has the outputs as they are.
    """

    def __init__(self, name: str, backend: Backend, finish: Callable[[Tensors, Tensors], Tensors] | None = None) -> None:
        super().__init__(name, backend, finish)
        self.warming_up = False  # True: a failed run is logged at the debug level
        self.labels: dict[str, object] = {}  # model and version, as log lines have them
        self._budget = RetryBudget()
        self._untold = 0  # requests that the model rejected since the last log line about them
        self._tell_ns = 0  # monotonic: the earliest time of the next line

    def run_failed(self, batch: Batch, error: Exception) -> None:
        """Called when the run of a batch raised `error`. Afterwards every request of it has a response or an error."""
        if len(batch.requests) == 1:
            batch.fail(self._error_for(error, batch))
        else:
            self._run_again(batch, error)

    def _run_again(self, batch: Batch, error: Exception) -> None:
        """Runs a failed batch of several requests again in parts, as far as the retry budget allows, so that only the requests at fault
        fail."""
        clients = batch.clients()
        again = clients if self._budget.admit() else self._budget.count_probation(clients)
        if again == clients:
            batch.settle(self._bisect(batch, error, batch))
            return
        batch.of_clients(clients - again).fail(self._error_for(error, batch, throttled=True))
        part = batch.of_clients(again)
        failure = self._failure_of(part, batch) if again else None
        batch.settle([part] if failure is None else [part, *self._bisect(part, failure, batch)])

    def _bisect(self, part: Batch, error: Exception, batch: Batch) -> list[Batch]:
        """Divides a failed part of `batch` until each request that fails has failed alone. Returns the parts that were run."""
        failed: list[tuple[Batch, Exception]] = [(part, error)]
        parts: list[Batch] = []
        told = part is not batch
        while failed:
            part, error = failed.pop()
            if len(part.requests) == 1 or batch.terminated or self.ended:
                part.fail(self._error_for(error, batch, told=told))
                told = True
                continue
            for half in part.halves():
                parts.append(half)
                failure = self._failure_of(half, batch)
                if failure is not None and len(half.requests) > 1:
                    failed.append((half, failure))
                elif failure is not None:
                    half.fail(self._error_for(failure, batch, told=told))
                    told = True
        return parts

    def _failure_of(self, part: Batch, batch: Batch) -> Exception | None:
        """Runs a part. Returns its error; None: its requests have responses."""
        try:
            self.run(part, batch)
        except Exception as failure:
            if not (batch.terminated or self.ended):  # else neither the model nor a request is at fault
                self._budget.failed(part.clients())
            return failure
        self._budget.succeeded(part.clients())
        return None

    def _error_for(self, error: Exception, batch: Batch, *, throttled: bool = False, told: bool = False) -> RequestError:
        """The error for requests whose run failed. Logs an unexpected error, unless the batch's was `told`. throttled: several
        requests, which are not run again."""
        if batch.overdue is not None:
            return batch.overdue
        if batch.terminated:
            return DeadlineExceeded(
                f"{self.name}: the deadline passed while the model ran, and the run was ended; allow more time, or send fewer rows"
            )
        if self.ended:
            return Unavailable(f"{self.name} was unloaded while the request ran; retry, another version or replica may respond")
        if isinstance(error, RequestError) and not throttled:
            if isinstance(error, InvalidArgument) and not self.warming_up:
                self._tell_rejected()
            return error
        if not told:
            self._tell_failed(error, batch)
        if throttled:
            return Internal(
                f"{self.name}: the run failed. It held other requests, too, and too many runs fail to run each request alone; "
                "the server's log has the details"
            )
        return Internal(f"{self.name}: the run failed; the server's log has the details")

    def _tell_failed(self, error: Exception, batch: Batch) -> None:
        if self.warming_up and isinstance(error, RunFailed):  # made-up values failed
            log.debug("%s: a run of %d rows failed: %s", self.name, batch.rows, error.words)
        else:
            level = logging.DEBUG if self.warming_up else logging.ERROR
            shown = batch.requests[:SHOWN_REQUESTS]
            requests = list(filter(None, (getattr(request, "id", "") for request in shown)))
            traces = list(filter(None, (trace_id(request.call.traceparent) for request in shown if request.call is not None)))
            fields = event("run_failed", **self.labels, rows=batch.rows, request_id=requests or None, trace_id=traces or None)
            log.log(level, "%s: a run of %d rows failed", self.name, batch.rows, exc_info=error, extra=fields)

    def _tell_rejected(self) -> None:
        """Logs now and then how many requests the model rejected. Its words may hold a request's values, and never go into the log."""
        self._untold += 1
        now_ns = time.monotonic_ns()
        if now_ns >= self._tell_ns:
            log.info("%s: the model's own operators rejected %d requests; their clients were told why", self.name, self._untold)
            self._untold, self._tell_ns = 0, now_ns + TELL_EVERY_NS


class ExecutorThread(threading.Thread):
    """One thread that runs a batcher's batches until the batcher is closed, or dismisses the thread.

    deliver(batch) is called on this thread with every batch; finished(batch) before it, if given. alone: no other thread takes from this
    batcher. The next batch then waits EXPECTED_SHARE of the run's time, so that clients of this batch can send together again.
    """

    def __init__(
        self,
        instance: Instance,
        batcher: Batcher,
        deliver: Callable[[Batch], None],
        finished: Callable[[Batch], None] | None = None,
        name: str = "",
        *,
        alone: bool = False,
    ) -> None:
        super().__init__(name=name or instance.name, daemon=True)
        self._instance = instance
        self._batcher = batcher
        self._deliver = deliver
        self._finished = finished
        self._alone = alone

    def run(self) -> None:
        while (batch := self._batcher.take()) is not None:
            self._instance.run_batch(batch)
            if self._alone and len(batch.requests) > 1:
                self._batcher.expect(len(batch.requests), min(int(batch.run_ns * EXPECTED_SHARE), MAX_EXPECTED_NS))
            try:
                if self._finished is not None:
                    self._finished(batch)
                self._deliver(batch)
            except Exception:
                log.exception("%s: a batch could not be handed over", self._instance.name)
            del batch  # frees it while this thread waits
