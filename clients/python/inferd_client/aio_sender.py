"""Carries out calls on an event loop: channels, clocks and waiting. course.py decides what to do next."""

# ruff: noqa: ASYNC109  # timeouts are gRPC's here

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from time import monotonic
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc import ChannelConnectivity

from inferd_client import calls
from inferd_client.balance import Balance
from inferd_client.connection import Connection
from inferd_client.course import Course, Done, Outcome, Policy, Send
from inferd_client.errors import InferenceError
from inferd_client.retry import Retry

__all__ = ["AsyncSender"]

Ended: TypeAlias = Iterable[tuple[int, Outcome]]  # flights and how they ended


class AsyncSender:
    """One channel an address, made at the first call: a channel belongs to the event loop that is running then."""

    def __init__(self, connection: Connection, *, retry: Retry, balance: Balance, hedge_after: float | None) -> None:
        self._connection = connection
        self._open = connection.for_asyncio()
        self._channels: list[Any] = []
        self._methods: dict[tuple[int, str], Any] = {}
        self._closed = asyncio.Event()
        self._policy = Policy(len(connection.targets), self._state, random.random, retry=retry, balance=balance, hedge_after=hedge_after)

    async def call(self, path: str, request: bytes, until: float | None, metadata: calls.Pairs, *, repeatable: bool = True) -> bytes:
        """The response to one call. until: on the clock `monotonic`. Raises InferenceError."""
        if self._closed.is_set():
            raise calls.closed()
        if not self._channels:
            self._channels = [self._open(target) for target in self._connection.targets]
        return calls.response_of(
            await self._carry_out(path, request, metadata, Course(self._policy, until, repeatable=repeatable)),
            plaintext=self._connection.lacks_credentials,
        )

    async def _carry_out(self, path: str, request: bytes, metadata: calls.Pairs, course: Course) -> Outcome:
        flights = _Single(self._closed) if self._policy.hedge_after is None else _Several(self._closed)
        try:
            while True:
                step = course.next(monotonic())
                if isinstance(step, Done):
                    return step.outcome
                if isinstance(step, Send):
                    await flights.launch(step.flight, self._method(step.address, path), request, step.timeout, metadata)
                    continue
                for flight, outcome in await flights.wait(step.seconds):
                    course.ended(flight, outcome, monotonic())
        except grpc.aio.UsageError:  # what grpc says of a channel that was closed
            if self._closed.is_set():
                return calls.closed()
            raise
        finally:
            flights.cancel()
            course.close(monotonic())

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def pause(self, seconds: float) -> None:
        """Raises InferenceError when the client is closed meanwhile."""
        await _pause(self._closed, seconds)

    async def close(self) -> None:
        self._closed.set()
        for channel in self._channels:
            await channel.close()

    def _method(self, address: int, path: str) -> Any:
        method = self._methods.get((address, path))
        if method is None:
            method = self._methods[address, path] = self._channels[address].unary_unary(path)
        return method

    def _state(self, address: int) -> ChannelConnectivity:
        state: ChannelConnectivity = self._channels[address].get_state(try_to_connect=True)
        return state


class _Single:
    """The requests of a call that has one in flight at most: each is over when it has been launched."""

    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed
        self._ended: list[tuple[int, Outcome]] = []

    async def launch(self, flight: int, method: Any, request: bytes, timeout: float | None, metadata: calls.Pairs) -> None:
        self._ended.append((flight, await _outcome(method(request, timeout=timeout, metadata=metadata), self._closed)))

    async def wait(self, seconds: float | None) -> Ended:
        """Requests that have ended; when none is in flight, nothing after so many seconds. Raises InferenceError when the client is
        closed."""
        ended, self._ended = self._ended, []
        if not ended:
            await _pause(self._closed, seconds)
        return ended

    def cancel(self) -> None:
        """A request that is awaited is cancelled with its task."""


class _Several:
    """The requests of a call that may have two in flight, a task each."""

    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed
        self._in_flight: dict[asyncio.Task[Outcome], int] = {}

    async def launch(self, flight: int, method: Any, request: bytes, timeout: float | None, metadata: calls.Pairs) -> None:
        call = method(request, timeout=timeout, metadata=metadata)
        self._in_flight[asyncio.create_task(_outcome(call, self._closed))] = flight

    async def wait(self, seconds: float | None) -> Ended:
        if not self._in_flight:
            await _pause(self._closed, seconds)
            return []
        done, _ = await asyncio.wait(self._in_flight, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return [(self._in_flight.pop(task), task.result()) for task in done]

    def cancel(self) -> None:
        for task in self._in_flight:
            task.cancel()


async def _outcome(call: Any, closed: asyncio.Event) -> Outcome:
    try:
        response: bytes = await call
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not closed.is_set() or task is None or task.cancelling():
            raise
        return calls.closed()  # it was the channel that cancelled the call, and nobody the task
    except grpc.RpcError as error:
        return InferenceError.from_rpc(error)
    except InferenceError as error:  # HTTP's
        return error
    return response


async def _pause(closed: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closed.wait()
    except TimeoutError:
        return
    raise calls.closed()
