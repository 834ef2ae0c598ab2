"""Which address a request goes to, with a clock of numbers and connections of a list."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from grpc import ChannelConnectivity
from inferd_client.balance import FIRST_ABSENCE_S, LONGEST_ABSENCE_S, LONGEST_FULL_S, SILENCES, Balance, Balancer, End

READY, IDLE, CONNECTING, LOST = (
    ChannelConnectivity.READY,
    ChannelConnectivity.IDLE,
    ChannelConnectivity.CONNECTING,
    ChannelConnectivity.TRANSIENT_FAILURE,
)


class Addresses:
    """A balancer over connections whose states are set by hand. Absences are as long as they can be: chance is 1 but for the start."""

    def __init__(self, count: int = 3, balance: Balance = "round_robin", chance: float = 1.0) -> None:
        self.states = [READY] * count
        chances = iter([0.999])  # the last one was the last address: the next is the first
        self.balancer = Balancer(count, balance, self.states.__getitem__, lambda: next(chances, chance))

    def take(self, now: float = 0, *tried: int) -> int | None:
        return self.balancer.take(now, tried)

    def call(self, end: End = End.RESPONDED, now: float = 0, *tried: int) -> int | None:
        place = self.take(now, *tried)
        if place is not None:
            self.balancer.ended(place, end, now)
        return place

    def calls(self, count: int, now: float = 0) -> list[int | None]:
        return [self.call(now=now) for _ in range(count)]

    def fail(self, place: int, now: float = 0, end: End = End.FAILED) -> None:
        """The next request goes to that address, and ends so."""
        before = self.states[:]
        self.states[:] = [READY if index == place else LOST for index in range(len(before))]
        assert self.call(end, now) == place
        self.states[:] = before


def test_each_in_turn() -> None:
    assert Addresses().calls(7) == [0, 1, 2, 0, 1, 2, 0]


def test_clients_begin_with_different_addresses() -> None:
    begins = {Balancer(3, "round_robin", lambda _: READY, lambda chance=chance: chance).take(0) for chance in (0.1, 0.5, 0.9)}
    assert begins == {0, 1, 2}


def test_the_least_busy_first_and_in_turn_where_they_are_alike() -> None:
    addresses = Addresses(balance="least_in_flight")
    assert [addresses.take() for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    addresses.balancer.ended(1, End.RESPONDED, 0)
    assert addresses.take() == 1
    for _ in range(2):
        addresses.balancer.ended(2, End.RESPONDED, 0)
    assert [addresses.take() for _ in range(2)] == [2, 2]


@pytest.mark.parametrize("balance", ["round_robin", "least_in_flight"])
@pytest.mark.parametrize("state", [IDLE, CONNECTING, LOST])
def test_without_a_connection_it_is_left_out_and_comes_back(balance: Balance, state: Any) -> None:
    addresses = Addresses(balance=balance)
    addresses.states[1] = state
    assert Counter(addresses.calls(6)) == {0: 3, 2: 3}
    addresses.states[1] = READY
    assert Counter(addresses.calls(6)) == {0: 2, 1: 2, 2: 2}


def test_while_they_connect_it_is_asked_again() -> None:
    addresses = Addresses()
    addresses.states[:] = [CONNECTING, LOST, IDLE]
    assert addresses.take() is None
    addresses.states[2] = READY
    assert addresses.take() == 2


def test_without_any_connection_each_is_tried_in_turn() -> None:
    addresses = Addresses()
    addresses.states[:] = [LOST] * 3
    assert addresses.calls(4) == [0, 1, 2, 0]


def test_a_single_address_is_taken_whatever_it_is() -> None:
    addresses = Addresses(1)
    addresses.states[0] = CONNECTING
    assert addresses.call(End.FAILED) == addresses.call() == 0


def test_one_that_failed_is_left_out_for_a_while_and_then_tried_by_one_request() -> None:
    addresses = Addresses()
    assert addresses.call(End.FAILED, now=0) == 0
    assert addresses.calls(4, now=FIRST_ABSENCE_S * 0.99) == [1, 2, 1, 2]
    assert addresses.take(FIRST_ABSENCE_S) == 0
    assert addresses.calls(4, now=FIRST_ABSENCE_S) == [1, 2, 1, 2], "until that one is answered"
    addresses.balancer.ended(0, End.RESPONDED, FIRST_ABSENCE_S)
    assert addresses.calls(3, now=FIRST_ABSENCE_S) == [0, 1, 2]


def test_one_that_fails_again_is_left_out_for_longer_up_to_a_limit() -> None:
    addresses = Addresses()
    back_at = 0.0
    for absence in (FIRST_ABSENCE_S, 2, 4, 8, LONGEST_ABSENCE_S, LONGEST_ABSENCE_S):
        addresses.fail(0, back_at)
        back_at += absence
        assert 0 not in addresses.calls(4, back_at - 0.01)
        assert addresses.balancer.take_another(back_at, [1, 2]) == 0
        addresses.balancer.ended(0, End.GONE, back_at)


def test_absences_differ_by_half() -> None:
    addresses = Addresses(2, chance=0.0)
    addresses.fail(0)
    assert addresses.balancer.take_another(FIRST_ABSENCE_S * 0.49, [1]) is None
    assert addresses.balancer.take_another(FIRST_ABSENCE_S * 0.5, [1]) == 0


def test_an_outage_may_last() -> None:
    addresses = Addresses(2)
    for failure in range(2000):
        addresses.fail(0, failure * LONGEST_ABSENCE_S)
    assert addresses.balancer.take_another(2000 * LONGEST_ABSENCE_S, [1]) == 0


def test_what_was_on_its_way_when_it_failed_says_nothing_new() -> None:
    addresses = Addresses(2)
    places = [addresses.take() for _ in range(20)]
    for place in places:
        if place == 0:
            addresses.balancer.ended(0, End.FAILED, 0)
    assert addresses.call(now=FIRST_ABSENCE_S) is not None
    assert 0 in addresses.calls(2, now=FIRST_ABSENCE_S)


def test_silence_counts_when_it_lasts() -> None:
    addresses = Addresses(2)
    for _ in range(SILENCES - 1):
        addresses.fail(0, end=End.SILENT)
    addresses.fail(0, end=End.RESPONDED)
    for _ in range(SILENCES - 1):
        addresses.fail(0, end=End.SILENT)
    assert 0 in addresses.calls(2)
    addresses.fail(0, end=End.SILENT)
    addresses.fail(0, end=End.SILENT)
    addresses.fail(0, end=End.SILENT)
    assert 0 not in addresses.calls(4)


def test_the_request_that_tries_an_address_again_fails_it_by_a_single_silence() -> None:
    addresses = Addresses(2)
    addresses.fail(0)
    addresses.fail(0, now=FIRST_ABSENCE_S, end=End.SILENT)
    assert 0 not in addresses.calls(4, now=FIRST_ABSENCE_S * 2)


def test_a_call_that_was_given_up_says_nothing() -> None:
    addresses = Addresses(2)
    for _ in range(9):
        addresses.fail(0, end=End.GONE)
    assert addresses.calls(2) in ([0, 1], [1, 0])


def test_with_all_left_out_each_is_used_rather_than_none() -> None:
    addresses = Addresses(2)
    addresses.fail(0)
    addresses.fail(1)
    assert [addresses.call(End.FAILED, now=0.1) for _ in range(4)] == [0, 1, 0, 1]
    assert addresses.calls(3, now=0.1) == [0, 0, 0], "the first that answers is in again"


def test_what_the_call_has_tried_comes_last() -> None:
    addresses = Addresses()
    assert addresses.take(0, 0, 1) == 2
    assert addresses.take(0, 0, 1, 2) == 0
    addresses.states[2] = LOST
    assert addresses.take(0, 0, 1) == 1, "better one that was tried than one without a connection"


def test_another_address_is_connected_in_and_new() -> None:
    addresses = Addresses()
    assert addresses.balancer.take_another(0, [0]) == 1
    addresses.states[2] = CONNECTING
    assert addresses.balancer.take_another(0, [0, 1]) is None
    addresses.states[2] = READY
    addresses.fail(2)
    assert addresses.balancer.take_another(0, [0, 1]) is None


def test_one_that_is_full_is_left_out_for_as_long_as_it_said_last() -> None:
    addresses = Addresses()
    addresses.balancer.full(1, 9, now=0)
    addresses.balancer.full(1, 5, now=0)
    assert addresses.calls(4, now=4.9) == [0, 2, 0, 2]
    assert addresses.balancer.take_another(4.9, [0, 2]) is None
    assert 1 in addresses.calls(3, now=5)
    addresses.balancer.full(1, 1e9, now=10)
    assert 1 not in addresses.calls(3, now=10 + LONGEST_FULL_S * 0.99)
    assert 1 in addresses.calls(3, now=10 + LONGEST_FULL_S), "whatever it said"


def test_an_answer_to_an_earlier_request_makes_no_room() -> None:
    addresses = Addresses(2)
    early = addresses.take()
    assert early == 0
    addresses.balancer.full(0, 5, now=0)
    addresses.balancer.ended(0, End.RESPONDED, 1)
    assert addresses.calls(2, now=1) == [1, 1]


def test_with_all_full_each_is_used_rather_than_none() -> None:
    addresses = Addresses(2)
    addresses.balancer.full(0, 5, now=0)
    addresses.balancer.full(1, 5, now=0)
    assert addresses.calls(4) == [0, 1, 0, 1]


def test_how_long_until_the_first_is_in() -> None:
    addresses = Addresses()
    assert addresses.balancer.absence(0) == 0
    for place, seconds in enumerate((5, 3, 4)):
        addresses.balancer.full(place, seconds, now=0)
    assert addresses.balancer.absence(1) == 2
    addresses.states[1] = LOST
    assert addresses.balancer.absence(1) == 3, "what has no connection does not count"
    addresses.states[0] = LOST
    addresses.fail(2, now=3.5)
    assert addresses.balancer.absence(3.5) == FIRST_ABSENCE_S
    back_at = 3.5 + FIRST_ABSENCE_S
    assert addresses.take(back_at) == 2
    assert addresses.balancer.absence(back_at) is None, "it is being tried"


def test_whether_another_is_being_connected() -> None:
    addresses = Addresses()
    assert not addresses.balancer.is_connecting(0, [0])
    addresses.states[1:] = [CONNECTING, LOST]
    assert addresses.balancer.is_connecting(0, [0])
    assert not addresses.balancer.is_connecting(0, [0, 1])


def test_what_is_no_way_to_balance() -> None:
    with pytest.raises(ValueError, match="balance: expected 'round_robin' or 'least_in_flight', got 'random'"):
        Balancer(2, "random", lambda _: READY, lambda: 0.0)  # type: ignore[arg-type]
