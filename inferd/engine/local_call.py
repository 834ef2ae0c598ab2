"""The way into a model without a socket: of the embedded engine, of a shadow's candidate, and of all else that has arrays at hand.

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

__all__ = ["LocalCall", "submit"]


class LocalCall(Call):
    """Who asked: a future that any thread may set."""

    def __init__(self, deadline_ns: int) -> None:
        super().__init__("", None, deadline_ns)
        self.future: Future[dict[str, Array]] = Future()
        self.future.set_running_or_notify_cancel()  # from here on only reply and fail end it

    def reply(self, message: Any) -> None:
        if self.finish():
            self.future.set_result(message)

    def fail(self, error: RequestError) -> None:
        if self.finish():
            self.future.set_exception(copy.copy(error))  # a failed batch gives all its calls one error; each raises its own


def submit(model: Model, tensors: Sequence[tuple[str, str, Array]], deadline_ns: int, outputs: Sequence[str] = ()) -> LocalCall:
    """Lets a request wait for its batch. tensors: name, datatype and values of each input. outputs: those that are wanted; none: all.

    Raises InvalidArgument, ResourceExhausted, Unavailable; later errors are the future's."""
    request = LocalRequest(tensors, outputs)
    call = LocalCall(deadline_ns)
    call.work = request
    model.check(request)
    model.submit(request, call)
    return call
