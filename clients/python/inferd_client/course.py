"""The course of one call: what is to be sent where, what to wait for, when it is over. The same for both clients.

Pure: it is told what happened and what time it is, and says what to do next. Whoever carries it out (sender.py, aio_sender.py) sends,
waits and knows the clock, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import grpc
from grpc import ChannelConnectivity

from inferd_client import retry
from inferd_client.balance import Balance, Balancer, End
from inferd_client.errors import InferenceError
from inferd_client.retry import Budget, Retry

__all__ = ["Course", "Done", "Outcome", "Policy", "Send", "Wait"]

Outcome: TypeAlias = bytes | InferenceError

_REFUSALS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)  # another address may say something else

CONNECTING_S = 0.005  # between two looks at connections of which none is ready yet


class Send(NamedTuple):
    """Send the request once more."""

    flight: int  # which of the call's requests this is, from 0
    address: int
    timeout: float | None  # seconds


class Wait(NamedTuple):
    """Wait for a request in flight to end, or for the time; None: as long as it takes."""

    seconds: float | None


class Done(NamedTuple):
    """The call is over."""

    outcome: Outcome


class Policy:
    """What all calls of a client share: the settings, the budget, and what is known of the addresses. Not for two threads at once."""

    def __init__(
        self,
        addresses: int,
        state: Callable[[int], ChannelConnectivity],
        chance: Callable[[], float],
        *,
        retry: Retry,
        balance: Balance,
        hedge_after: float | None,
    ) -> None:
        if not isinstance(retry, Retry):
            raise TypeError(f"retry: expected a Retry or None, got {retry!r}: for so many attempts write Retry(attempts=3)")
        if hedge_after is not None and not 0 < hedge_after < float("inf"):
            raise ValueError(f"hedge_after: expected seconds, more than 0, got {hedge_after}")
        if hedge_after is not None and addresses < 2:
            raise ValueError("hedge_after: a second request goes to another address, and there is only one")
        self.retry = retry
        self.budget = Budget(retry.tokens, retry.token_ratio)
        self.balancer = Balancer(addresses, balance, state, chance)
        self.chance = chance
        self.hedge_after = hedge_after


class Course:
    """One call. Whoever carries it out does what `next` says until that is Done, tells `ended` of each request that ends, and at last,
    whatever happened, `close`.

    until:       the time at which the caller's patience ends; None: it does not.
    repeatable:  whether the request may reach servers more than once.
    """

    def __init__(self, policy: Policy, until: float | None, *, repeatable: bool = True) -> None:
        self._policy = policy
        self._until = until
        self._repeatable = repeatable
        self._addresses: list[int] = []  # by flight
        self._in_flight: set[int] = set()
        self._repetitions = 0
        self._due: float | None = 0.0  # when the next request is to be sent, at the earliest
        self._hedge_due: float | None = None
        self._may_hedge = repeatable and policy.hedge_after is not None
        self._failure: InferenceError | None = None  # the last one
        self._outcome: Outcome | None = None
        self._decided_by = -1  # the flight that ended the call

    def next(self, now: float) -> Send | Wait | Done:
        """What to do now."""
        if self._outcome is not None:
            return Done(self._outcome)
        if self._due is not None:
            return Wait(self._due - now) if now < self._due else self._send(now)
        if self._hedge_due is not None:
            return Wait(self._hedge_due - now) if now < self._hedge_due else self._hedge(now)
        return Wait(None)

    def _send(self, now: float) -> Send | Wait | Done:
        if self._failure is not None and self._is_late(now):  # the wait took longer than it was meant to
            return Done(self._failure)
        place = self._policy.balancer.take(now, self._addresses)
        if place is not None:
            self._due = None
            return self._flight(place, now)
        if self._is_late(now):
            return Done(self._failure or InferenceError(grpc.StatusCode.DEADLINE_EXCEEDED, "no address was connected in time"))
        return Wait(CONNECTING_S if self._until is None else min(CONNECTING_S, self._until - now))

    def _hedge(self, now: float) -> Send | Wait:
        """A second request, where an address and the budget have room for it."""
        self._may_hedge, self._hedge_due = False, None
        if self._policy.budget.is_open:
            place = self._policy.balancer.take_another(now, self._addresses)
            if place is not None:
                self._policy.budget.take()
                return self._flight(place, now)
        return Wait(None)

    def _flight(self, place: int, now: float) -> Send:
        flight = len(self._addresses)
        self._addresses.append(place)
        self._in_flight.add(flight)
        if self._may_hedge and self._policy.hedge_after is not None:
            self._hedge_due = now + self._policy.hedge_after
        return Send(flight, place, None if self._until is None else self._until - now)

    def ended(self, flight: int, outcome: Outcome, now: float) -> None:
        """A request was answered, or failed."""
        self._in_flight.remove(flight)
        self._policy.balancer.ended(self._addresses[flight], _end(outcome), now)
        if self._outcome is not None:
            return  # two ended at one time, and the other decided
        if not isinstance(outcome, InferenceError):
            self._policy.budget.give()
            self._decide(flight, outcome)
        elif outcome.code in _REFUSALS:
            self._refused(flight, outcome, now)
        else:
            self._decide(flight, outcome)

    def _refused(self, flight: int, error: InferenceError, now: float) -> None:
        self._failure = error
        if retry.is_transient(error):
            self._policy.budget.take()
        if self._in_flight:
            return  # the other one may still be answered
        delay = self._policy.retry.delay(self._repetitions, error, self._policy.chance())
        if delay is None or not self._repeatable or not self._policy.budget.is_open or self._is_late(now + delay):
            self._decide(flight, error)
            return
        self._repetitions += 1
        self._due = now + delay

    def _decide(self, flight: int, outcome: Outcome) -> None:
        self._outcome, self._decided_by = outcome, flight

    def _is_late(self, now: float) -> bool:
        return self._until is not None and now >= self._until

    def close(self, now: float) -> None:
        """The call is over, or was given up; what is still in flight is cancelled."""
        for flight in self._in_flight:
            # A later request was answered first: this one's address is slow, or has stopped.
            end = End.SILENT if flight < self._decided_by else End.GONE
            self._policy.balancer.ended(self._addresses[flight], end, now)
        self._in_flight.clear()


_ENDS = {
    grpc.StatusCode.UNAVAILABLE: End.FAILED,
    grpc.StatusCode.DEADLINE_EXCEEDED: End.SILENT,
    grpc.StatusCode.CANCELLED: End.GONE,
}


def _end(outcome: Outcome) -> End:
    return _ENDS.get(outcome.code, End.ANSWERED) if isinstance(outcome, InferenceError) else End.ANSWERED
