"""Calls on the native transport except inference: other gRPC methods, and other paths of REST. Each is a task, and connections take turns.

Never in here: methods, and frames.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from inferd._core.grpc.call import NO_DEADLINE
from inferd.errors import DeadlineExceeded, RequestError
from inferd.serving.messages.fair_queue import FairQueue
from inferd.serving.rest.service import is_probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from inferd._core.grpc.call import Call
    from inferd._core.http.head import Head
    from inferd._core.http1.session import Http1Call
    from inferd._core.http2.stream import Http2Call
    from inferd.part.method import Method
    from inferd.serving.rest.service import RestService
    from inferd.serving.transports.client import Client

PROBES = 4  # the most probes that begin in one iteration of the loop


class Turns:
    """Lets `most` calls go on in one iteration of the loop, by turns of their connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop, self._most = loop, most
        self._left = most  # calls that may still go on in this iteration
        self._waiting: FairQueue[Turn] = FairQueue()
        self._is_scheduled = False

    def take(self, turn: Turn) -> None:
        """Calls turn.go_on when it is its connection's turn: now, or in a later iteration."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._begin_iteration)
        if self._left > 0:
            self._left -= 1
            turn.go_on()
        else:
            self._waiting.put(turn.connection, turn)

    async def wait(self, connection: object) -> None:
        """Returns when it is the connection's turn."""
        reached = asyncio.Event()
        turn = Turn(self, connection, reached.set)
        self.take(turn)
        try:
            await reached.wait()
        finally:
            turn.cancel()

    def leave(self, turn: Turn) -> None:
        self._waiting.remove(turn.connection, turn)

    def _begin_iteration(self) -> None:
        self._left = self._most
        try:
            while self._left > 0 and (found := self._waiting.take()) is not None:
                self._left -= 1
                found[1].go_on()
        finally:
            self._is_scheduled = self._left < self._most
            if self._is_scheduled:
                self._loop.call_soon(self._begin_iteration)


@dataclass(eq=False, slots=True)
class Turn:
    """A call that waits for its turn."""

    turns: Turns
    connection: object
    go_on: Callable[[], None]

    def cancel(self) -> None:
        self.turns.leave(self)


class ColdCalls:
    """The calls of one transport that run as tasks. `call.work` is the task, or the turn that it waits for: a client that goes away cancels
    it.

    In each iteration of the loop, one call begins or takes another message of its stream. It does all its work in one piece, so several
    would hold up the loop. Connections take turns. Probes have turns of their own.

    reject(call, error): fails a call whose method raised (see service.py). rest: serves the paths of REST; None: there are none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, reject: Callable[[Call, Exception], None], rest: RestService | None = None) -> None:
        self._loop, self._reject, self._rest = loop, reject, rest
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes, self._others = Turns(loop, PROBES), Turns(loop, 1)

    def start(self, call: Http2Call, method: Method) -> None:
        self._take_turn(call, partial(self._begin, call, method), quick=method.quick)

    def start_rest(self, call: Call, head: Head) -> None:
        """call: an Http1Call or Http2Call."""
        known = cast("Http1Call | Http2Call", call)
        self._take_turn(known, partial(self._begin_rest, known, head), quick=is_probe(head))

    def _take_turn(self, call: Http1Call | Http2Call, go_on: Callable[[], None], *, quick: bool) -> None:
        turns = self._probes if quick else self._others
        call.work = turn = Turn(turns, call.connection, go_on)
        turns.take(turn)

    def _begin(self, call: Http2Call, method: Method) -> None:
        assert call.connection is not None
        client: Client = call.connection.client
        try:
            if remaining_s(call) == 0:
                raise DeadlineExceeded(f"{call.method}: the deadline passed before the call's turn came")
            method.check_open(call.method, client.open_by_method[method])
        except RequestError as error:
            call.work = None
            self._reject(call, error)
            return
        if method.kind == "stream":
            task = self._run(call, partial(self._serve_stream, call, method), "the stream ended")
        else:
            task = self._run(call, partial(self._serve_unary, call, method), "the response was ready")
        if method.max_open:
            client.open_by_method[method] += 1
            task.add_done_callback(lambda _task: client.open_by_method.subtract((method,)))

    def _begin_rest(self, call: Http1Call | Http2Call, head: Head) -> None:
        self._run(call, partial(self._serve_rest, call, head), "the response was ready")

    def _run(self, call: Call, work: Callable[[], Awaitable[None]], end: str) -> asyncio.Task[None]:
        call.work = task = self._loop.create_task(self._serve(call, work, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """Cancels all tasks."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, call: Call, work: Callable[[], Awaitable[None]], end: str) -> None:
        """Does the work of a call before its deadline, and fails the call where that raises. end: of the work, for the error."""
        try:
            async with asyncio.timeout(remaining_s(call)):
                await work()
        except TimeoutError:
            call.fail(DeadlineExceeded(f"{call.method}: the deadline passed before {end}"))
        except Exception as error:
            self._reject(call, error)

    async def _serve_unary(self, call: Http2Call, method: Method) -> None:
        response = await method.handler(method.parse(call.method, bytes(call.message)))
        call.reply(response.SerializeToString())

    async def _serve_rest(self, call: Http1Call | Http2Call, head: Head) -> None:
        assert self._rest is not None
        call.respond(*await self._rest.respond(head, bytes(call.message)))

    async def _serve_stream(self, call: Http2Call, method: Method) -> None:
        changed = asyncio.Event()
        call.listener = changed.set
        try:
            async with aclosing(method.handler(self._requests(call, method, changed))) as responses:
                async for response in responses:
                    call.write(response.SerializeToString())
                    while call.sending and not call.settled:
                        changed.clear()
                        await changed.wait()
            call.end()
        finally:
            call.listener = None

    async def _requests(self, call: Http2Call, method: Method, changed: asyncio.Event) -> AsyncIterator[Any]:
        """A streaming call's requests as they come, each in a turn of its connection, until the client half-closes the stream."""
        begins = True  # the call begins in a turn: the first message needs no other, if it is there
        while True:
            message = call.take_message()
            if message is not None:
                if not begins:
                    await self._others.wait(call.connection)
                begins = False
                yield method.parse(call.method, bytes(message))
            elif call.request_over or call.settled:
                return
            else:
                begins = False
                changed.clear()
                await changed.wait()


def remaining_s(call: Call) -> float | None:
    return None if call.deadline_ns == NO_DEADLINE else max(0.0, (call.deadline_ns - time.monotonic_ns()) / 1e9)
