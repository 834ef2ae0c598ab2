"""When a call is sent again, worked out with numbers: waits, server's wishes, the budget."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from inferd_client import InferenceError, Retry
from inferd_client.retry import NEVER, Budget, is_transient

UNAVAILABLE = InferenceError(grpc.StatusCode.UNAVAILABLE, "")


def full(retry_after: float | None) -> InferenceError:
    return InferenceError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", retry_after)


def test_waits_grow_up_to_a_limit_and_are_anything_below() -> None:
    retry = Retry(attempts=10, initial_delay=0.1, multiplier=2, max_delay=0.5)
    assert [retry.delay(done, UNAVAILABLE, 1.0) for done in range(4)] == pytest.approx([0.1, 0.2, 0.4, 0.5])
    assert [retry.delay(done, UNAVAILABLE, 0.25) for done in range(2)] == pytest.approx([0.025, 0.05])
    assert retry.delay(3, UNAVAILABLE, 0.0) == 0


def test_attempts_are_counted() -> None:
    assert Retry().attempts == 3
    assert Retry().delay(1, UNAVAILABLE, 1.0) is not None
    assert Retry().delay(2, UNAVAILABLE, 1.0) is None
    assert NEVER.delay(0, UNAVAILABLE, 1.0) is None


def test_what_the_server_asks_for_comes_first() -> None:
    retry = Retry(initial_delay=0.1, max_retry_after=2)
    assert retry.delay(0, full(1.5), 0.0) == 1.5
    assert retry.delay(0, full(1.5), 1.0) == pytest.approx(1.6), "and not all who were refused come back at once"
    assert retry.delay(0, InferenceError(grpc.StatusCode.UNAVAILABLE, "", 1.5), 0.0) == 1.5
    assert retry.delay(0, full(2.5), 0.0) is None
    assert retry.delay(0, full(-1.0), 0.0) == 0


def test_of_several_that_are_full_the_first_to_have_room_counts() -> None:
    retry = Retry(initial_delay=0.1, max_retry_after=2)
    assert retry.delay(0, full(5), 1.0, 0.5) == pytest.approx(0.6)
    assert retry.delay(0, full(0.5), 0.0, 2.5) is None


def test_no_multiplier_is_too_large() -> None:
    retry = Retry(attempts=10, initial_delay=0.1, multiplier=1e300, max_delay=0.5)
    assert [retry.delay(repetitions, InferenceError(grpc.StatusCode.UNAVAILABLE, ""), 1.0) for repetitions in (0, 1, 8)] == [0.1, 0.5, 0.5]


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.UNAVAILABLE])
def test_nothing_else_is_tried_again(code: grpc.StatusCode) -> None:
    error = InferenceError(code, "")
    assert not is_transient(error), "RESOURCE_EXHAUSTED without RetryInfo among them"
    assert Retry().delay(0, error, 1.0) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attempts": 0}, "retry: attempts: expected 1 to 10, got 0"),
        ({"attempts": 11}, "retry: attempts: expected 1 to 10, got 11"),
        ({"initial_delay": -0.1}, "retry: initial_delay: expected 0 or more, got -0.1"),
        ({"multiplier": 0.5}, "retry: multiplier: expected 1 or more, got 0.5"),
        ({"max_delay": float("nan")}, "retry: max_delay: expected 0 or more, got nan"),
        ({"max_retry_after": float("inf")}, "retry: max_retry_after: expected 0 or more, got inf"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Retry(**settings)


def test_the_budget_closes_at_half_and_opens_with_answers() -> None:
    budget = Budget(10, 0.5)
    for _ in range(4):
        budget.take()
    assert budget.is_open
    budget.take()
    assert not budget.is_open
    budget.give()
    assert budget.is_open


def test_the_budget_is_never_less_than_empty_nor_more_than_full() -> None:
    budget = Budget(2, 0.5)
    for _ in range(9):
        budget.take()
    for _ in range(2):
        budget.give()
    assert not budget.is_open
    for _ in range(99):
        budget.give()
    assert budget.tokens == 2


@pytest.mark.parametrize(("failing", "open_at_last"), [(8, True), (10, False)])
def test_the_share_of_failures_at_which_it_closes(failing: int, open_at_last: bool) -> None:
    """With a ratio of 0.1 one in eleven: 8 in 100 are borne for good, 10 in 100 are not."""
    budget = Budget(100, 0.1)
    for attempt in range(100_000):
        if attempt % 100 < failing:
            budget.take()
        else:
            budget.give()
    assert budget.is_open is open_at_last
