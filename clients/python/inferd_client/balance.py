"""Which of several addresses a request goes to. Pure: time is an argument, connections are asked for by a function.

An address is left out while it has no connection, while it is full, and for a while after it failed. Then one request tries it. It is full
for as long as it said with RESOURCE_EXHAUSTED (RetryInfo). It fails by UNAVAILABLE, or by silence: three requests in a row that reached
their deadline, or were overtaken by another address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias, get_args

from grpc import ChannelConnectivity

__all__ = ["Balance", "Balancer", "End"]

Balance: TypeAlias = Literal["round_robin", "least_in_flight"]

SILENCES = 3  # in a row
FIRST_ABSENCE_S = 1.0
LONGEST_ABSENCE_S = 10.0
LONGEST_FULL_S = 60.0  # whatever a server says


class End(Enum):
    """How a request at an address ended."""

    RESPONDED = "responded"
    FAILED = "failed"
    SILENT = "silent"
    GONE = "gone"  # given up before it could be told


@dataclass
class _Address:
    in_flight: int = 0
    failures: int = 0  # since its last response; several at one time count once
    silences: int = 0
    back_at: float = 0.0  # when it may be tried again
    on_trial: bool = False  # the request that tries it is on its way
    room_at: float = 0.0  # when it will have room again, as it said

    def is_out(self, now: float) -> bool:
        return now < self.room_at or (self.failures > 0 and (now < self.back_at or self.on_trial))

    def absence(self, now: float) -> float | None:
        """Seconds for which it is left out yet; None where that is not known."""
        if self.failures == 0:
            return max(0.0, self.room_at - now)
        return None if self.on_trial else max(0.0, self.room_at - now, self.back_at - now)


class Balancer:
    """Chooses an address for each request, by its place in the list of addresses.

    state(place) is the connection's state, and has one made where there is none.
    """

    def __init__(self, count: int, balance: Balance, state: Callable[[int], ChannelConnectivity], chance: Callable[[], float]) -> None:
        if balance not in get_args(Balance):
            raise ValueError(f"balance: expected {' or '.join(map(repr, get_args(Balance)))}, got {balance!r}")
        self._addresses = [_Address() for _ in range(count)]
        self._least = balance == "least_in_flight"
        self._state = state
        self._chance = chance
        self._last = int(chance() * count)  # not all clients begin with the same one

    def __len__(self) -> int:
        return len(self._addresses)

    def take(self, now: float, tried: Collection[int] = ()) -> int | None:
        """The address for a request, which counts as in flight from now on. One that the call has tried comes behind the others.

        Where none is both connected and in, one that is connected; None while one is still being connected: ask again soon. Where there
        is no connection at all, any: it fails at once, and says why.
        """
        if len(self._addresses) == 1:
            return self._taken(0)
        best, least = None, (4, True)
        for place in self._in_turn():
            rank = (self._rank(place, now), place in tried)
            if rank < least:
                best, least = place, rank
            if least == (0, False):
                break
        return None if best is None or least[0] == _CONNECTING else self._taken(best)

    def take_another(self, now: float, tried: Collection[int]) -> int | None:
        """An address that is connected, in, and new to the call; None where there is none."""
        for place in self._in_turn():
            if place not in tried and self._rank(place, now) == _READY:
                return self._taken(place)
        return None

    def is_connecting(self, now: float, tried: Collection[int]) -> bool:
        """Whether there may soon be another address than those that the call has tried."""
        return any(place not in tried and self._rank(place, now) == _CONNECTING for place in range(len(self._addresses)))

    def absence(self, now: float) -> float | None:
        """Seconds until the first of those that are connected is in; None where that is not known."""
        connected = (address for place, address in enumerate(self._addresses) if self._rank(place, now) in (_READY, _OUT))
        return min((absence for address in connected if (absence := address.absence(now)) is not None), default=None)

    def full(self, place: int, seconds: float, now: float) -> None:
        """An address said that it has no room for so many seconds. Its last word counts."""
        self._addresses[place].room_at = now + min(seconds, LONGEST_FULL_S)

    def ended(self, place: int, end: End, now: float) -> None:
        """A request at an address is over."""
        address = self._addresses[place]
        address.in_flight -= 1
        address.on_trial = False
        if end is End.RESPONDED:
            address.failures = address.silences = 0
        elif end is End.FAILED:
            self._leave_out(address, now)
        elif end is End.SILENT:
            address.silences += 1
            if address.failures or address.silences >= SILENCES:
                self._leave_out(address, now)

    def _leave_out(self, address: _Address, now: float) -> None:
        if now < address.back_at:
            return  # what was on its way when it failed says nothing new
        absence = min(LONGEST_ABSENCE_S, FIRST_ABSENCE_S * 2.0 ** min(address.failures, 10))
        address.failures += 1
        address.back_at = now + absence * (0.5 + self._chance() / 2)

    def _in_turn(self) -> Iterator[int]:
        count = len(self._addresses)
        turn = (place % count for place in range(self._last + 1, self._last + 1 + count))
        return iter(sorted(turn, key=lambda place: self._addresses[place].in_flight)) if self._least else turn

    def _rank(self, place: int, now: float) -> int:
        state = self._state(place)
        if state is ChannelConnectivity.READY:
            return _OUT if self._addresses[place].is_out(now) else _READY
        return _CONNECTING if state in (ChannelConnectivity.IDLE, ChannelConnectivity.CONNECTING) else _LOST

    def _taken(self, place: int) -> int:
        address = self._addresses[place]
        address.in_flight += 1
        address.on_trial = address.failures > 0
        self._last = place
        return place


_READY, _OUT, _CONNECTING, _LOST = range(4)
