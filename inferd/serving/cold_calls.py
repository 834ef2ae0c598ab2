"""Calls of every method but ModelInfer on the native transport: a task each, and the turns that connections take for them.

Never in here: what a method does, and frames.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import DecodeError

from inferd._core.grpc.call import NO_DEADLINE
from inferd.errors import DeadlineExceeded, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from inferd._core.grpc.call import Call
    from inferd._core.http2.stream import Http2Call
    from inferd.serving.connection import Connection
    from inferd.serving.method import Method

__all__ = ["ColdCalls"]

PROBES = 4  # that begin in one iteration of the loop


class Turns:
    """What connections want begun on the loop: `most` of it in one iteration, by turns of theirs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop, self._most = loop, most
        self._lines: OrderedDict[Connection, dict[Callable[[], None], None]] = OrderedDict()  # by whose turn it is
        self._scheduled = False

    def line_up(self, connection: Connection, begin: Callable[[], None]) -> None:
        """Calls begin() when it is the connection's turn."""
        self._lines.setdefault(connection, {})[begin] = None
        if not self._scheduled:
            self._begin_some()

    def leave(self, connection: Connection, begin: Callable[[], None]) -> None:
        """It is not to begin any more."""
        line = self._lines.get(connection, {})
        line.pop(begin, None)
        if not line:
            self._lines.pop(connection, None)

    def clear(self) -> None:
        """Nothing that waits begins any more."""
        self._lines.clear()

    async def wait(self, connection: Connection) -> None:
        """Until it is the connection's turn."""
        over = asyncio.Event()
        begin = over.set
        self.line_up(connection, begin)
        try:
            await over.wait()
        finally:
            self.leave(connection, begin)

    def _begin_some(self) -> None:
        begun = 0
        try:
            while self._lines and begun < self._most:
                begun += 1
                connection, line = self._lines.popitem(last=False)
                begin = next(iter(line))
                del line[begin]
                if line:
                    self._lines[connection] = line  # behind the others
                begin()
        finally:
            self._scheduled = begun > 0
            if self._scheduled:
                self._loop.call_soon(self._begin_some)


class Place:
    """A call that waits for its turn: what its client can cancel until it is a task."""

    def __init__(self, calls: ColdCalls, turns: Turns, connection: Connection, call: Http2Call, method: Method) -> None:
        self._calls, self._turns, self._connection, self._call, self._method = calls, turns, connection, call, method

    def __call__(self) -> None:
        self._calls.begin(self._connection, self._call, self._method)

    def cancel(self) -> None:
        self._turns.leave(self._connection, self)
        if self._method.max_open:
            self._connection.streams[self._method] -= 1


class ColdCalls:
    """The calls of one transport that run as tasks. `call.request` is the place of one that waits, then its task, so that a client that
    goes away cancels it.

    One begins in each iteration of the loop, or takes another message of its stream, and connections take turns: each does all its work
    in one piece, and several together would hold up everybody else. Probes have turns of their own.

    reject(call, error): answers any exception that a method raised (see service.py).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reject: Callable[[Call, Exception], None]) -> None:
        self._loop, self._reject = loop, reject
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes, self._others = Turns(loop, PROBES), Turns(loop, 1)

    def start(self, call: Http2Call, method: Method) -> None:
        """When it is its turn."""
        connection = cast("Connection", call.connection)
        if method.max_open:
            method.check_open(call.method, connection.streams[method])
            connection.streams[method] += 1
        turns = self._probes if method.quick else self._others
        call.request = place = Place(self, turns, connection, call, method)
        turns.line_up(connection, place)

    def begin(self, connection: Connection, call: Http2Call, method: Method) -> None:
        """Its task."""
        serve = self._serve_stream if method.kind == "stream" else self._serve_unary
        call.request = task = self._loop.create_task(serve(call, method))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if method.max_open:
            task.add_done_callback(lambda _task: connection.streams.subtract((method,)))

    async def cancel(self) -> None:
        """Ends those that still run, or wait."""
        self._probes.clear()
        self._others.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve_unary(self, call: Http2Call, method: Method) -> None:
        try:
            request = _parse(method, call.message, call.method)
            async with asyncio.timeout(_remaining_s(call)):
                response = await method.handler(request)
            call.reply(response.SerializeToString())
        except TimeoutError:
            call.fail(DeadlineExceeded(f"{call.method}: the deadline passed before the answer was ready"))
        except Exception as error:
            self._reject(call, error)

    async def _serve_stream(self, call: Http2Call, method: Method) -> None:
        changed = asyncio.Event()
        call.listener = changed.set
        try:
            async with asyncio.timeout(_remaining_s(call)), aclosing(method.handler(self._requests(call, method, changed))) as responses:
                async for response in responses:
                    call.write(response.SerializeToString())
                    while call.sending and not call.closed:
                        changed.clear()
                        await changed.wait()
            call.end()
        except TimeoutError:
            call.fail(DeadlineExceeded(f"{call.method}: the deadline passed before the stream ended"))
        except Exception as error:
            self._reject(call, error)
        finally:
            call.listener = None

    async def _requests(self, call: Http2Call, method: Method, changed: asyncio.Event) -> AsyncIterator[Any]:
        """A streaming call's requests as they come, each in a turn of its connection, until the client ends its side."""
        begins = True  # one that is there is part of the turn in which the call begins
        while True:
            message = call.take_message()
            if message is not None:
                if not begins:
                    await self._others.wait(cast("Connection", call.connection))
                begins = False
                yield _parse(method, message, call.method)
            elif call.request_over or call.closed:
                return
            else:
                begins = False
                changed.clear()
                await changed.wait()


def _parse(method: Method, message: Any, name: str) -> Any:
    try:
        return method.request_type.FromString(bytes(message))
    except DecodeError:
        expected = method.request_type.DESCRIPTOR.full_name
        raise InvalidArgument(f"{name}: expected a serialized {expected}, got {len(message)} bytes that are none") from None


def _remaining_s(call: Http2Call) -> float | None:
    return None if call.deadline_ns == NO_DEADLINE else max(0.0, (call.deadline_ns - time.monotonic_ns()) / 1e9)
