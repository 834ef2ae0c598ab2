"""The retry budget: what it lets through of a broken model, and of one that a few requests break."""

from __future__ import annotations

import random

import pytest

from inferd.engine.running.retry_budget import MAX_PROBATION, MAX_TOKENS, RetryBudget

Request = tuple[int, bool]  # its client, and whether it is good


def bisect(budget: RetryBudget, requests: list[Request]) -> tuple[int, int]:
    """A run that failed, run again as the budget lets it: the runs that this takes, and the good requests that fail all the same."""
    clients = clients_of(requests)
    again = clients if budget.admit() else budget.count_probation(clients)
    lost = sum(good for client, good in requests if client not in again)
    part = sorted((request for request in requests if request[0] in again), key=lambda request: request[0])
    runs = 0
    if part and again != clients:
        runs += 1
        part = [] if run(budget, part) else part
    failed = [part] if len(part) > 1 else []
    while failed:
        for half in halves(failed.pop()):
            runs += 1
            if not run(budget, half) and len(half) > 1:
                failed.append(half)
    return runs, lost


def run(budget: RetryBudget, part: list[Request]) -> bool:
    good = all(good for _, good in part)
    (budget.succeeded if good else budget.failed)(clients_of(part))
    return good


def halves(part: list[Request]) -> list[list[Request]]:
    """Divided between two clients, as near to the middle as that allows; where there is one, in the middle."""
    middle = len(part) // 2
    between = [place for place in range(1, len(part)) if part[place][0] != part[place - 1][0]]
    at = min(between, key=lambda place: abs(place - middle), default=middle)
    return [part[:at], part[at:]]


def clients_of(requests: list[Request]) -> set[int]:
    return {client for client, _ in requests}


def of_one(*good: bool) -> list[Request]:
    return [(1, each) for each in good]


@pytest.mark.parametrize("clients", [1, 10, 1000])
@pytest.mark.parametrize("rows", [2, 3, 64])
def test_a_broken_model_costs_less_than_as_many_runs_more(rows: int, clients: int) -> None:
    """Once its clients have their probations; until then each costs a few runs."""
    budget, draw = RetryBudget(), random.Random(rows)

    def runs() -> int:
        return sum(bisect(budget, [(draw.randrange(clients), False) for _ in range(rows)])[0] for _ in range(1000))

    assert runs() <= 1000 + MAX_TOKENS + 10 * clients
    runs(), runs()
    assert 0 < runs() <= 1000, "it is still tried now and then"


@pytest.mark.parametrize("bad_in_64", [1, 4, 32, 48])
def test_neighbours_of_bad_requests_are_saved_for_as_long_as_these_come(bad_in_64: int) -> None:
    """Also where all come by one connection, as behind a proxy."""
    budget, shuffle = RetryBudget(), random.Random(bad_in_64)
    for _ in range(200):
        good = [False] * bad_in_64 + [True] * (64 - bad_in_64)
        shuffle.shuffle(good)
        assert bisect(budget, of_one(*good))[1] == 0


def test_a_model_that_was_mended_saves_neighbours_again() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        bisect(budget, of_one(*[False] * 8))
    lost = [bisect(budget, of_one(False, *[True] * 7))[1] for _ in range(400)]
    assert not any(lost[200:])


@pytest.mark.parametrize("bad_clients", [1, 8, 60])
def test_clients_that_send_nothing_good_use_up_nothing_that_protects_others(bad_clients: int) -> None:
    """Batches of 64 that hold a good request now and then."""
    budget, draw = RetryBudget(), random.Random(bad_clients)
    runs = lost = 0
    for place in range(1000):
        batch: list[Request] = [(draw.randrange(1, bad_clients + 1), False) for _ in range(64)]
        if place % 8 == 0:
            batch[0] = (1000 + place % 3, True)
        again, missed = bisect(budget, batch)
        runs += again
        lost += missed
    assert lost == 0
    assert runs < 5 * 1000, "to divide each batch would take 126"


def test_one_mistake_costs_a_client_a_few_failed_runs() -> None:
    """While another one has used up the tokens."""
    budget = RetryBudget()
    for _ in range(1000):
        bisect(budget, of_one(*[False] * 16))
    lost = [bisect(budget, [*of_one(*[False] * 16), (2, place > 0)])[1] for place in range(200)]
    assert sum(lost) <= 8
    assert not any(lost[20:])


def test_new_clients_are_not_held_for_those_before_them() -> None:
    """Connections come and go, and share some 1,000 numbers."""
    budget = RetryBudget()
    for client in range(1024):
        for _ in range(20):
            bisect(budget, [(client, False)] * 16)
    lost = 0
    for place in range(5000):
        lost += bisect(budget, [*[(1, False)] * 62, (2 + place % 2, True), (2 + place % 2, True)])[1]
    assert lost <= 4 * MAX_PROBATION


def test_tokens_are_not_owed_for_long() -> None:
    """All by one connection, as behind a proxy: a flood, and then one bad request in 17."""
    budget = RetryBudget()
    for _ in range(3000):
        bisect(budget, of_one(*[False] * 62, True, True))
    lost = [bisect(budget, of_one(False, *[True] * 16))[1] for _ in range(2000)]
    assert not any(lost[1000:])
