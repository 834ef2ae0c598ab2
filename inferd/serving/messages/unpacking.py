"""Requests with so many typed contents, or so much JSON, that unpacking them would hold up the event loop. Never in here: how they are
unpacked (_core/codec/infer, _core/rest/decode), threads.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from inferd._core.codec.infer import decode_infer_request
from inferd.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.batching.request import Request
    from inferd._core.grpc.call import Call, Work
    from inferd._core.grpc.message import Message


class Unpacker:
    """Unpacks messages on the threads of their transport, then calls go_on(call, request) or reject(call, error) on the loop's thread."""

    def __init__(self, go_on: Callable[[Call, Any], None], reject: Callable[[Call, Exception], None]) -> None:
        self.go_on, self.reject = go_on, reject

    def take(self, call: Call, decode: Callable[[Message], Request] = decode_infer_request) -> None:
        """Unpacks the message of `call`. Raises the transport's error if it has no thread."""
        call.work = unpacking = _Unpacking(self, call, decode)
        try:
            call.run_on_thread(unpacking)
        except BaseException:
            call.work = None
            raise


class _Unpacking:
    """Work for a thread, done in one piece."""

    def __init__(self, unpacker: Unpacker, call: Call, decode: Callable[[Message], Request]) -> None:
        self._unpacker, self._decode = unpacker, decode
        self._call: Call | None = call
        self._message: Message | None = call.message
        self._deadline_ns = call.deadline_ns
        self._request: Request | None = None
        self._error: Exception | None = None
        self.nbytes = len(call.message)
        self.cancelled = False
        self.when_cancelled: Callable[[Work], None] | None = None

    def cancel(self) -> None:
        """Called when the client went away: frees its message."""
        self.cancelled = True
        self._call = self._message = None
        when_cancelled, self.when_cancelled = self.when_cancelled, None
        if when_cancelled is not None:
            when_cancelled(self)

    def run(self, until_ns: int = 0) -> bool:
        message, self._message = self._message, None
        try:
            if message is not None and monotonic_ns() >= self._deadline_ns:
                raise DeadlineExceeded("the deadline passed before the request's contents were unpacked", reason="deadline")
            if message is not None:
                self._request = self._decode(message)
        except Exception as error:
            self._error = error.with_traceback(None)  # a traceback holds this frame, and so the message
        return True

    def done(self) -> None:
        call, self._call = self._call, None
        self.when_cancelled = None
        if call is None or call.settled:
            return
        call.work = None
        error, self._error = self._error, None
        if error is not None:  # not raised: its traceback would hold this frame, and so the call and its message
            self._unpacker.reject(call, error)
            return
        assert self._request is not None
        try:
            self._unpacker.go_on(call, self._request)
        except Exception as rejection:
            self._unpacker.reject(call, rejection)
