"""The retry budget: what it lets through of a broken model, and of one that a few requests break."""

from __future__ import annotations

import random

import pytest

from inferd.engine.retry_budget import MAX_TOKENS, RetryBudget


def bisect(budget: RetryBudget, good: list[bool]) -> tuple[int, int]:
    """A run that failed, run again as the budget lets it: the runs that this takes, and the good requests that fail all the same."""
    runs = lost = 0
    failed = [good]
    while failed:
        part = failed.pop()
        if len(part) == 1 or not budget.admits():
            lost += sum(part)
            continue
        for half in (part[: len(part) // 2], part[len(part) // 2 :]):
            runs += 1
            if all(half):
                budget.succeeded()
            else:
                budget.failed()
                failed.append(half)
    return runs, lost


@pytest.mark.parametrize("rows", [2, 3, 64])
def test_a_broken_model_costs_an_eighth_more_runs(rows: int) -> None:
    budget = RetryBudget()
    first = sum(bisect(budget, [False] * rows)[0] for _ in range(64))
    assert first <= MAX_TOKENS + 10
    batches = 10_000
    runs = sum(bisect(budget, [False] * rows)[0] for _ in range(batches))
    assert 0 < runs <= batches / 8, "it is still tried now and then"


@pytest.mark.parametrize("bad_in_64", [1, 4, 32, 48])
def test_neighbours_of_bad_requests_are_saved_for_as_long_as_these_come(bad_in_64: int) -> None:
    budget, shuffle = RetryBudget(), random.Random(bad_in_64)
    for _ in range(200):
        batch = [False] * bad_in_64 + [True] * (64 - bad_in_64)
        shuffle.shuffle(batch)
        assert bisect(budget, batch)[1] == 0


def test_a_model_that_was_mended_saves_neighbours_again() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        bisect(budget, [False] * 8)
    lost = [bisect(budget, [False] + [True] * 7)[1] for _ in range(40)]
    assert not any(lost[20:])
