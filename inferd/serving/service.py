"""The path of a request, top to bottom, and the service table. Never in here: transports, threads, what a model is.

wire bytes -> transport -> model_infer: decode, route, check, submit -> (queue) -> engine/executor.py run_batch -> transport
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from inferd._core.codec.infer import decode_infer_request
from inferd.errors import Internal, RequestError
from inferd.serving.health import Health
from inferd.serving.inspection import SERVICE, Inspection
from inferd.serving.method import Method
from inferd.serving.reflection import Reflection
from inferd.serving.unpacking import Unpacker
from inferd.serving.unserved import stream_infer_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.codec.infer import InferRequest
    from inferd._core.grpc.call import Call
    from inferd.engine.repository import Repository

__all__ = ["InferenceService"]

log = logging.getLogger(__name__)


class InferenceService:
    """All methods that the server has, over one repository. Lives on the event loop's thread.

    version: inferd's own. ready: whether the server as a whole takes requests. The limits are those of health.
    """

    def __init__(
        self,
        repository: Repository,
        version: str,
        ready: Callable[[], bool],
        max_watchers: int = 1000,
        max_connection_watchers: int = 16,
    ) -> None:
        self.repository = repository
        self.health = Health(repository, ready, max_watchers, max_connection_watchers)
        self._unpacker = Unpacker(self.model_infer, self.reject)
        self.rejections: Counter[str] = Counter()  # of calls that were rejected as they came in, by reason
        self.methods: dict[str, Method] = {
            f"/{SERVICE}/ModelInfer": Method("infer", self.model_infer),
            **Inspection(repository, version, ready).methods(),
            **self.health.methods(),
            **Reflection().methods(),
            **stream_infer_method(),
        }

    def model_infer(self, call: Call, request: InferRequest | None = None) -> None:
        """One inference: rejected here by an exception, or queued; the response goes to the call when its batch has run.
        request: its message, where a thread has decoded that."""
        if request is None:
            request = decode_infer_request(call.message, True)
            if request is None:
                self._unpacker.take(call)
                return
        model = self.repository.lookup(request.model_name, request.model_version)
        model.check(request)
        model.submit(request, call)

    def reject(self, call: Call, error: Exception) -> None:
        """The one place where an exception becomes a response. What was not raised on purpose is a fault of ours: its text
        stays in the log."""
        if not isinstance(error, RequestError):
            log.error("%s failed", call.method, exc_info=error)
            error = Internal("the server failed to answer; its log has the details")
        self.rejections[error.reason] += 1
        call.fail(error)
