"""Requests of ModelInfer with so many typed contents that the event loop would be late if it unpacked them. Never in here: how that is done
(_core/codec/infer), threads.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic_ns
from typing import TYPE_CHECKING

from inferd._core.codec.infer import decode_infer_request
from inferd.errors import DeadlineExceeded, ResourceExhausted
from inferd.serving.message_threads import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd._core.codec.infer import InferRequest
    from inferd._core.grpc.call import Call, Work
    from inferd._core.grpc.message import Message

__all__ = ["Unpacker"]

Line = tuple[int, bool]  # in which work is done one after the other: the connection's number, and whether it is long

NEWEST = 0.2  # weight of the last request in how long a byte takes
LONG_NBYTES = 256 << 10  # take 2 ms: the message threads have short ones pass


class Unpacker:
    """Has the threads of a call's transport unpack its message; then go_on(call, request) is called, or reject(call, error)."""

    def __init__(self, go_on: Callable[[Call, InferRequest], None], reject: Callable[[Call, Exception], None]) -> None:
        self.go_on, self.reject = go_on, reject
        self._waiting_nbytes: Counter[Line] = Counter()  # and those that a thread has
        self._byte_ns = 0.0

    def take(self, call: Call) -> None:
        """Raises ResourceExhausted for a call whose deadline will have passed by then."""
        unpacking = _Unpacking(self, call)
        self._check_time(call, unpacking.line)
        self._waiting_nbytes[unpacking.line] += len(call.message)
        call.request = unpacking
        try:
            call.aside(unpacking)
        except BaseException:
            call.request = None
            unpacking.cancel()
            raise

    def _check_time(self, call: Call, line: Line) -> None:
        """By what comes before it in any case, and nothing else: what waits of its own connection, short work before short, long before
        long, and as many at a time as there may be threads. Others have their turns in between, but may leave, and cannot be counted on.
        Where nothing waits it is tried: else one that took long by chance would have others rejected for ever."""
        waiting_nbytes, own_nbytes = self._waiting_nbytes[line] if call.connection_id else 0, len(call.message)
        waiting_ns = int(self._byte_ns * max(own_nbytes, (waiting_nbytes + own_nbytes) / MAX_THREADS))
        if waiting_nbytes and waiting_ns > call.deadline_ns - monotonic_ns():
            raise ResourceExhausted(
                f"{call.method}: the typed contents of this connection that wait to be unpacked take about {waiting_ns / 1e6:.0f} ms, "
                "which is more than this request has; send raw_input_contents, which need no unpacking, allow more time, or retry later",
                reason="queue_time",
                retry_after_ns=waiting_ns,
            )

    def leave(self, line: Line, nbytes: int) -> None:
        """What was taken does not wait any more."""
        self._waiting_nbytes[line] -= nbytes
        if not self._waiting_nbytes[line]:
            del self._waiting_nbytes[line]

    def took(self, nbytes: int, took_ns: int) -> None:
        self._byte_ns += NEWEST * (took_ns / nbytes - self._byte_ns)


class _Unpacking:
    """Work for a thread, done in one turn."""

    def __init__(self, unpacker: Unpacker, call: Call) -> None:
        self._unpacker = unpacker
        self._call: Call | None = call
        self._message: Message | None = call.message
        self._nbytes, self._took_ns = len(call.message), 0
        self._deadline_ns = call.deadline_ns
        self._request: InferRequest | None = None
        self._error: Exception | None = None
        self.is_long = self._nbytes > LONG_NBYTES
        self.line = call.connection_id, self.is_long
        self.cancelled = False
        self.when_cancelled: Callable[[Work], None] | None = None

    def cancel(self) -> None:
        """The client went away: its message is not kept until a thread comes to it."""
        if self._call is None:
            return
        self.cancelled = True
        self._call = self._message = None
        self._unpacker.leave(self.line, self._nbytes)
        when_cancelled, self.when_cancelled = self.when_cancelled, None
        if when_cancelled is not None:
            when_cancelled(self)

    def run(self, until_ns: int = 0) -> bool:
        message, self._message = self._message, None
        if message is not None:
            self._unpack(message)
        return True

    def _unpack(self, message: Message) -> None:
        started_ns = monotonic_ns()
        try:
            if started_ns >= self._deadline_ns:
                raise DeadlineExceeded("the deadline passed before the request's typed contents were unpacked", reason="deadline")
            self._request = decode_infer_request(message)
            self._took_ns = monotonic_ns() - started_ns
        except Exception as error:
            self._error = error.with_traceback(None)  # which holds this, and so the message

    def restart(self) -> None:
        """Nobody asks for it."""

    def done(self) -> None:
        call, self._call = self._call, None
        self.when_cancelled = None
        if call is None:
            return
        self._unpacker.leave(self.line, self._nbytes)
        if self._took_ns:
            self._unpacker.took(self._nbytes, self._took_ns)
        if call.closed:
            return
        call.request = None
        if self._error is not None:
            self._unpacker.reject(call, self._error)
            return
        assert self._request is not None
        try:
            self._unpacker.go_on(call, self._request)
        except Exception as error:
            self._unpacker.reject(call, error)
