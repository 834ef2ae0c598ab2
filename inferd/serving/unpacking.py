"""Requests of ModelInfer with so many typed contents that the event loop would be late if it unpacked them. Never in here: how that is done
(_core/codec), threads.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from inferd._core.codec import decode_infer_request
from inferd.errors import DeadlineExceeded, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.codec import InferRequest
    from inferd._core.grpc import Call
    from inferd._core.message import Message

__all__ = ["Unpacker"]

NEWEST = 0.2  # weight of the last request in how long a byte takes


class Unpacker:
    """Has the threads of a call's transport unpack its message; then submit(request, call) is called, or refuse(call, error)."""

    def __init__(self, submit: Callable[[InferRequest, Call], None], refuse: Callable[[Call, Exception], None]) -> None:
        self.submit, self.refuse = submit, refuse
        self._waiting_nbytes = 0  # and those that a thread has
        self._byte_ns = 0.0

    def take(self, call: Call) -> None:
        """Raises ResourceExhausted for a call whose deadline is likely to have passed by then. Where nothing waits it is tried: else one
        that took long by chance would have others refused for ever."""
        waiting_ns = int(self._byte_ns * (self._waiting_nbytes + len(call.message)))
        if self._waiting_nbytes and waiting_ns > call.deadline_ns - monotonic_ns():
            raise ResourceExhausted(
                f"{call.method}: the typed contents that wait to be unpacked take about {waiting_ns / 1e6:.0f} ms, which is more than this "
                "request has; send raw_input_contents, which need no unpacking, allow more time, or retry later",
                reason="queue_time",
                retry_after_ns=waiting_ns,
            )
        self._waiting_nbytes += len(call.message)
        call.request = unpacking = _Unpacking(self, call)
        call.aside(unpacking)

    def done(self, nbytes: int, took_ns: int) -> None:
        """took_ns: 0 where nothing was unpacked."""
        self._waiting_nbytes -= nbytes
        if took_ns:
            self._byte_ns += NEWEST * (took_ns / nbytes - self._byte_ns)


class _Unpacking:
    """Work for a thread."""

    def __init__(self, unpacker: Unpacker, call: Call) -> None:
        self._unpacker = unpacker
        self._call: Call | None = call
        self._message: Message | None = call.message
        self._nbytes, self._took_ns = len(call.message), 0
        self._deadline_ns = call.deadline_ns
        self._request: InferRequest | None = None
        self._error: Exception | None = None

    def cancel(self) -> None:
        """The client went away: its message is not kept until a thread comes to it."""
        self._call = self._message = None

    def run(self) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        started_ns = monotonic_ns()
        try:
            if started_ns >= self._deadline_ns:
                raise DeadlineExceeded("the deadline passed before the request's typed contents were unpacked", reason="deadline")
            self._request = decode_infer_request(message)
            self._took_ns = monotonic_ns() - started_ns
        except Exception as error:
            self._error = error.with_traceback(None)  # which holds this, and so the message

    def done(self) -> None:
        self._unpacker.done(self._nbytes, self._took_ns)
        call, self._call = self._call, None
        if call is None or call.closed:
            return
        call.request = None
        if self._error is not None:
            self._unpacker.refuse(call, self._error)
            return
        assert self._request is not None
        try:
            self._unpacker.submit(self._request, call)
        except Exception as error:
            self._unpacker.refuse(call, error)
