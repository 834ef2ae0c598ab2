"""Inference as a part of the server, and the error of a call whose method raised. The path of ModelInfer is in _core/inference/path.pyx.
Never in here: transports, threads, models."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from inferd._core.codec.infer import InferRequest
from inferd._core.inference.path import ModelInfer, ModelStreamInfer
from inferd._core.inference.rest_path import RestInfer
from inferd.errors import Internal, RequestError
from inferd.log import event, trace_id
from inferd.part import Column, Method, Part, Table
from inferd.serving.messages.unpacking import Unpacker
from inferd.serving.parts.inspection.rpc import SERVICE
from inferd.serving.rest.raw_infer import RawInfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd._core.grpc.call import Call
    from inferd._core.rest.request import RestRequest
    from inferd.engine.models.repository import Repository
    from inferd.serving.on_demand import OnDemand

log = logging.getLogger(__name__)


class InferenceService(Part):
    """Inference over one repository. Lives on the event loop's thread. on_demand: lets requests wait for models that are not in memory;
    None: all models are."""

    def __init__(self, repository: Repository, on_demand: OnDemand | None = None) -> None:
        self.repository = repository
        self.model_infer = ModelInfer(repository.routes, repository.find)
        self._unpacker = Unpacker(self.model_infer, self.reject)
        self.model_infer.unpack = self._unpacker.take
        self.rest_infer = RestInfer(repository.routes, repository.find)
        raw = RawInfer(repository, self.rest_infer.go_on, self.reject, None if on_demand is None else on_demand.bring, self.rest_infer)
        self.rest_infer.raw, self.rest_infer.unpack = raw.take, raw.unpack
        if on_demand is not None:
            self.model_infer.wait = self.rest_infer.wait = on_demand.take
            on_demand.go_on, on_demand.reject = self._go_on, self.reject
        self.rejections: Counter[str] = Counter()  # calls that were rejected as they came in, by reason

    def methods(self) -> dict[str, Method]:
        return {
            f"/{SERVICE}/ModelInfer": Method("infer", self.model_infer),
            f"/{SERVICE}/ModelStreamInfer": Method("infer_stream", ModelStreamInfer(self.model_infer)),
        }

    def metrics(self) -> Iterator[Table]:
        rows = [((reason,), (count,)) for reason, count in sorted(self.rejections.copy().items())]
        told = "RPCs rejected when they came in, by reason; inferd_refusals_total has those for a known model, too."
        yield Table("inferd_server_refusals", told, "counter", ["reason"], [Column("_total")], rows)

    def _go_on(self, call: Call, request: InferRequest | RestRequest) -> None:
        """Called when the request's model is in memory."""
        if isinstance(request, InferRequest):
            self.model_infer(call, request)
        else:
            self.rest_infer.go_on(call, request)

    def reject(self, call: Call, error: Exception) -> None:
        """Fails a call whose method raised, or whose request was wrong. An exception other than a RequestError is the server's fault: its
        text stays in the log."""
        if not isinstance(error, RequestError):
            fields = event("call_failed", method=call.method, trace_id=trace_id(call.traceparent))
            log.error("%s failed", call.method, exc_info=error, extra=fields)
            error = Internal("the server failed to make a response; its log has the details")
        self.rejections[error.reason] += 1
        call.fail(error)
