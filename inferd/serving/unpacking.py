"""Requests of ModelInfer with so many typed contents that the event loop would be late if it unpacked them. Never in here: how that is done
(_core/codec), threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd._core.codec import decode_infer_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.codec import InferRequest
    from inferd._core.grpc import Call
    from inferd._core.message import Message

__all__ = ["Unpacking"]


class Unpacking:
    """Work for a thread: call.message becomes a request, then submit(request, call) is called, or refuse(call, error)."""

    def __init__(self, call: Call, submit: Callable[[InferRequest, Call], None], refuse: Callable[[Call, Exception], None]) -> None:
        self._call: Call | None = call
        self._message: Message | None = call.message
        self._submit, self._refuse = submit, refuse
        self._request: InferRequest | None = None
        self._error: Exception | None = None

    def cancel(self) -> None:
        """The client went away: its message is not kept until a thread comes to it."""
        self._call = self._message = None

    def run(self) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        try:
            self._request = decode_infer_request(message)
        except Exception as error:
            self._error = error.with_traceback(None)  # which holds this, and so the message

    def done(self) -> None:
        call, self._call = self._call, None
        if call is None or call.closed:
            return
        call.request = None
        if self._error is not None:
            self._refuse(call, self._error)
            return
        assert self._request is not None
        try:
            self._submit(self._request, call)
        except Exception as error:
            self._refuse(call, error)
