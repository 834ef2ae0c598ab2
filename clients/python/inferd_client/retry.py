"""Whether and when a call that failed is tried again. Pure: no clock, no randomness of its own, no waiting."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from inferd_client.errors import InferenceError

__all__ = ["DEFAULT", "NEVER", "Budget", "Retry", "is_full", "is_transient"]

MOST_ATTEMPTS = 10


@dataclass(frozen=True)
class Retry:
    """When a call is sent once more: after UNAVAILABLE, and after RESOURCE_EXHAUSTED that says when to come back (RetryInfo).

    The latter sends it to another address at once, if one is available.

    attempts:         of one call, the first included; 1: none is repeated.
    initial_delay:    seconds; the wait before the first repetition is anything between 0 and this (full jitter).
    multiplier:       how much longer the longest wait gets each time.
    max_delay:        seconds; the longest wait never exceeds this.
    max_retry_after:  seconds; a call does not wait for a server that asks for more than this. Else the wait above is added to the time that
                      the server asks for. If several servers are full, it is added to the shortest of their times.
    tokens:           the budget of the whole client. A failure takes one token. Nothing is repeated while half of them or fewer are left.
    token_ratio:      tokens that a response gives back. With 0.1, repetitions end when more than one attempt in eleven fails.

    A wait that would not end before the call's timeout is not begun.
    """

    attempts: int = 3
    initial_delay: float = 0.1
    multiplier: float = 2.0
    max_delay: float = 5.0
    max_retry_after: float = 30.0
    tokens: float = 100.0
    token_ratio: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= MOST_ATTEMPTS:
            raise ValueError(f"retry: attempts: expected 1 to {MOST_ATTEMPTS}, got {self.attempts}")
        least = {"initial_delay": 0, "multiplier": 1, "max_delay": 0, "max_retry_after": 0, "tokens": 0, "token_ratio": 0}
        for name, bound in least.items():
            if not bound <= getattr(self, name) < float("inf"):
                raise ValueError(f"retry: {name}: expected {bound} or more, got {getattr(self, name)}")

    def repeats(self, repetitions: int, error: InferenceError) -> bool:
        """Whether a call may be sent once more after a failure. repetitions: how many there were before."""
        return repetitions + 1 < self.attempts and is_transient(error)

    def delay(self, repetitions: int, error: InferenceError, chance: float, absence: float | None = None) -> float | None:
        """Seconds to wait after a failure; None where the call is not to be repeated.

        repetitions:  how many there were before.
        chance:       from 0 to 1.
        absence:      seconds until an address is in again; None: what the error says.
        """
        if not self.repeats(repetitions, error):
            return None
        longest = min(self.max_delay, self.initial_delay)
        for _ in range(repetitions):
            longest = min(self.max_delay, longest * self.multiplier)  # step by step: the power may be more than a float holds
        own = chance * longest
        asked = error.retry_after if absence is None else absence
        if asked is None:
            return own
        return None if asked > self.max_retry_after else max(0.0, asked) + own


DEFAULT = Retry()
NEVER = Retry(attempts=1)


def is_transient(error: InferenceError) -> bool:
    """Whether the same request may succeed later: the request is not the reason of the failure."""
    return is_full(error) or error.code is grpc.StatusCode.UNAVAILABLE


def is_full(error: InferenceError) -> bool:
    """Whether the server has no room now, and said when it will. Without RetryInfo it may as well be a message that is too large."""
    return error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None


class Budget:
    """A bucket of tokens that keeps repetitions from adding to an overload, as gRPC's retryThrottling does."""

    def __init__(self, tokens: float, ratio: float) -> None:
        self.tokens = self._most = tokens
        self._ratio = ratio

    @property
    def is_open(self) -> bool:
        """Whether anything may be repeated now."""
        return self.tokens > self._most / 2

    def take(self) -> None:
        """For a failure, or for a hedge, which no failure caused."""
        self.tokens = max(0.0, self.tokens - 1)

    def give(self) -> None:
        """For a response."""
        self.tokens = min(self._most, self.tokens + self._ratio)
