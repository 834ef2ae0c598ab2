"""Requests without a socket: from the embedded engine, a shadow's mirror, and other code that has arrays at hand.

Never in here: where requests come from.
"""

from __future__ import annotations

import copy
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.engine.model import Model
    from inferd.errors import RequestError
    from inferd.tensors import Array


class LocalCall(Call):
    """The call of such a request. Any thread may set its future."""

    def __init__(self, deadline_ns: int) -> None:
        super().__init__("", None, deadline_ns)
        self.future: Future[dict[str, Array]] = Future()
        self.future.set_running_or_notify_cancel()  # now only reply and fail can end it

    def reply(self, message: Any) -> None:
        if self.finish():
            self.future.set_result(message)

    def fail(self, error: RequestError) -> None:
        if self.finish():
            self.future.set_exception(copy.copy(error))  # the calls of a failed batch share one error, and each raises its own


def submit(model: Model, tensors: Sequence[tuple[str, str, Array]], deadline_ns: int, outputs: Sequence[str] = ()) -> LocalCall:
    """Puts a request into the model's queue. tensors: name, datatype and values of each input. outputs: the wanted ones; empty: all.

    Raises InvalidArgument, ResourceExhausted, Unavailable; the future has later errors."""
    request = LocalRequest(tensors, outputs)
    call = LocalCall(deadline_ns)
    call.work = request
    model.check(request)
    model.submit(request, call)
    return call
