"""Carries out calls, blocking: channels, locks, clocks and waiting. course.py decides what to do next."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeAlias

import grpc
from grpc import ChannelConnectivity

from inferd_client import calls
from inferd_client.balance import Balance
from inferd_client.connection import Connection
from inferd_client.course import Course, Done, Outcome, Policy, Send
from inferd_client.errors import InferenceError
from inferd_client.retry import Retry

__all__ = ["Sender"]

Ended: TypeAlias = Iterable[tuple[int, Outcome]]  # flights and how they ended


class Sender:
    """One channel an address. Safe to share between threads."""

    def __init__(self, connection: Connection, *, retry: Retry, balance: Balance, hedge_after: float | None) -> None:
        self._channels = [connection.channel(target) for target in connection.targets]
        self._plaintext = connection.lacks_credentials
        self._methods: dict[tuple[int, str], Any] = {}
        self._closed = threading.Event()
        self._lock = threading.Lock()  # around the policy
        self._policy = Policy(len(self._channels), self._state, random.random, retry=retry, balance=balance, hedge_after=hedge_after)

    def call(self, path: str, request: bytes, until: float | None, metadata: calls.Pairs, *, repeatable: bool = True) -> bytes:
        """The response to one call. until: on the clock `monotonic`. Raises InferenceError."""
        if self._closed.is_set():
            raise calls.closed()
        return calls.response_of(
            self._carry_out(path, request, metadata, Course(self._policy, until, repeatable=repeatable)), plaintext=self._plaintext
        )

    def _carry_out(self, path: str, request: bytes, metadata: calls.Pairs, course: Course) -> Outcome:
        flights = _Single(self._closed) if self._policy.hedge_after is None else _Several(self._closed)
        try:
            while True:
                with self._lock:
                    step = course.next(monotonic())
                if isinstance(step, Done):
                    return step.outcome
                if isinstance(step, Send):
                    flights.launch(step.flight, self._method(step.address, path), request, step.timeout, metadata)
                    continue
                for flight, outcome in flights.wait(step.seconds):
                    with self._lock:
                        course.ended(flight, outcome, monotonic())
        except ValueError:  # what grpc says of a channel that was closed
            if self._closed.is_set():
                return calls.closed()
            raise
        finally:
            flights.cancel()
            with self._lock:
                course.close(monotonic())

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def pause(self, seconds: float) -> None:
        """Raises InferenceError when the client is closed meanwhile."""
        _pause(self._closed, seconds)

    def close(self) -> None:
        self._closed.set()
        for channel in self._channels:
            channel.close()

    def _method(self, address: int, path: str) -> Any:
        method = self._methods.get((address, path))
        if method is None:
            method = self._methods[address, path] = self._channels[address].unary_unary(path)
        return method

    def _state(self, address: int) -> ChannelConnectivity:
        return _connectivity(self._channels[address])


class _Single:
    """The requests of a call that has one in flight at most: each is over when it has been launched."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed
        self._ended: list[tuple[int, Outcome]] = []

    def launch(self, flight: int, method: Any, request: bytes, timeout: float | None, metadata: calls.Pairs) -> None:
        try:
            self._ended.append((flight, method(request, timeout=timeout, metadata=metadata)))
        except grpc.RpcError as error:
            self._ended.append((flight, InferenceError.from_rpc(error)))
        except InferenceError as error:  # HTTP's
            self._ended.append((flight, error))

    def wait(self, seconds: float | None) -> Ended:
        """Requests that have ended; when none is in flight, nothing after so many seconds. Raises InferenceError when the client is
        closed."""
        ended, self._ended = self._ended, []
        if not ended:
            _pause(self._closed, seconds)
        return ended

    def cancel(self) -> None:
        """Nothing is in flight."""


class _Several:
    """The requests of a call that may have two in flight. Each costs more than _Single's: gRPC has a thread of its own receive it."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed
        self._in_flight: dict[int, Any] = {}
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def launch(self, flight: int, method: Any, request: bytes, timeout: float | None, metadata: calls.Pairs) -> None:
        call = self._in_flight[flight] = method.future(request, timeout=timeout, metadata=metadata)
        call.add_done_callback(lambda _: self._ended.put(flight))

    def wait(self, seconds: float | None) -> Ended:
        if not self._in_flight:
            _pause(self._closed, seconds)
            return []
        try:
            flight = self._ended.get(timeout=seconds)
        except queue.Empty:
            return []
        return [(flight, _outcome(self._in_flight.pop(flight)))]

    def cancel(self) -> None:
        for call in self._in_flight.values():
            call.cancel()


def _outcome(call: Any) -> Outcome:
    """The outcome of a call that has ended. Such a call is an RpcError itself when it failed."""
    if isinstance(call, Future):  # HTTP's
        failure = call.exception()
        return failure if isinstance(failure, InferenceError) else call.result()
    if call.code() is not grpc.StatusCode.OK:
        return InferenceError.from_rpc(call)
    response: bytes = call.result()
    return response


def _pause(closed: threading.Event, seconds: float | None) -> None:
    if closed.wait(seconds):
        raise calls.closed()


def _connectivity(channel: Any) -> ChannelConnectivity:
    """The state of a channel, which is told to connect. Channels of HTTP have none, and count as ready.

    gRPC's `subscribe` needs a thread for each blocking channel, which polls five times a second, and fails when the channel is closed
    meanwhile (grpc/grpc 18995). So this uses the private object behind the channel, as asyncio's `get_state` does. If a later grpcio moves
    it, every channel counts as ready; an address that fails is left out all the same.
    """
    check = getattr(getattr(channel, "_channel", None), "check_connectivity_state", None)
    return ChannelConnectivity.READY if check is None else _STATES[check(True)]


_STATES: dict[int, ChannelConnectivity] = {state.value[0]: state for state in ChannelConnectivity}
