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

CONNECTING_S = 0.005  # between two looks at connections of which none is ready yet; when that lasts,
LONGEST_CONNECTING_S = 0.1  # a quarter of the time that it has taken, up to this


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
    """The state that all calls of a client share: settings, budget, and the balancer of addresses. Not for two threads at once."""

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

    def ended(self, address: int, outcome: Outcome, now: float) -> None:
        """Tells the balancer how a request at an address ended."""
        self.balancer.ended(address, _end(outcome), now)
        if isinstance(outcome, InferenceError) and outcome.retry_after is not None and retry.is_full(outcome):
            self.balancer.full(address, outcome.retry_after, now)


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
        self._looks_since: float | None = None  # when it first looked for a connection for the next request
        self._failure: InferenceError | None = None  # the last one
        self._seeks = False  # another address, for that one was full
        self._outcome: Outcome | None = None
        self._decided_by = -1  # the flight that ended the call

    def next(self, now: float) -> Send | Wait | Done:
        """The next action of the call."""
        if self._outcome is not None:
            return Done(self._outcome)
        if self._seeks and self._failure is not None:
            return self._seek(self._failure, now)
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
        return self._look_again(now)

    def _seek(self, refusal: InferenceError, now: float) -> Send | Wait | Done:
        """Another address, at once or when it is connected; where there is none, the wait until one of them has room."""
        balancer = self._policy.balancer
        absence = balancer.absence(now)
        if not self._is_late(now):
            place = balancer.take_another(now, self._addresses)
            if place is not None:
                self._seeks = False
                self._repetitions += 1
                return self._flight(place, now)
            if absence != 0 and balancer.is_connecting(now, self._addresses):
                return self._look_again(now, absence)
        self._seeks = False
        self._sit_out(refusal, now, absence)
        return self.next(now)

    def _look_again(self, now: float, at_most: float | None = None) -> Wait:
        if self._looks_since is None:
            self._looks_since = now
        pause = min(max(CONNECTING_S, (now - self._looks_since) / 4), LONGEST_CONNECTING_S)
        limits = (pause, at_most, None if self._until is None else self._until - now)
        return Wait(min(limit for limit in limits if limit is not None))

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
        self._looks_since = None
        flight = len(self._addresses)
        self._addresses.append(place)
        self._in_flight.add(flight)
        if self._may_hedge and self._policy.hedge_after is not None:
            self._hedge_due = now + self._policy.hedge_after
        return Send(flight, place, None if self._until is None else self._until - now)

    def ended(self, flight: int, outcome: Outcome, now: float) -> None:
        """A request has a response, or failed."""
        self._in_flight.remove(flight)
        self._policy.ended(self._addresses[flight], outcome, now)
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
            return  # the other one may still succeed
        policy = self._policy
        if not (self._repeatable and policy.budget.is_open and policy.retry.repeats(self._repetitions, error)):
            self._decide(flight, error)
        elif retry.is_full(error) and len(policy.balancer) > 1:
            self._seeks = True
        else:
            self._sit_out(error, now)

    def _sit_out(self, error: InferenceError, now: float, absence: float | None = None) -> None:
        """The wait before the request is sent again; the end of the call where it would not end in time."""
        delay = self._policy.retry.delay(self._repetitions, error, self._policy.chance(), absence)
        if delay is None or self._is_late(now + delay):
            self._outcome = error
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
            # A later request had its response first: this one's address is slow, or has stopped.
            end = End.SILENT if flight < self._decided_by else End.GONE
            self._policy.balancer.ended(self._addresses[flight], end, now)
        self._in_flight.clear()


_ENDS = {
    grpc.StatusCode.UNAVAILABLE: End.FAILED,
    grpc.StatusCode.DEADLINE_EXCEEDED: End.SILENT,
    grpc.StatusCode.CANCELLED: End.GONE,
}


def _end(outcome: Outcome) -> End:
    return _ENDS.get(outcome.code, End.RESPONDED) if isinstance(outcome, InferenceError) else End.RESPONDED
