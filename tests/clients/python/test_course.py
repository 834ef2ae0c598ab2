"""The course of one call: what is sent, waited for and given up, with a clock of numbers. Nothing here waits or sends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc import ChannelConnectivity
from hypothesis import given
from hypothesis import strategies as st
from inferd_client import InferenceError, Retry
from inferd_client.balance import SILENCES
from inferd_client.course import CONNECTING_S, Course, Done, Outcome, Policy, Send, Wait
from inferd_client.retry import NEVER

READY = ChannelConnectivity.READY
ANSWER = b"answer"


def failure(code: str = "UNAVAILABLE", retry_after: float | None = None) -> InferenceError:
    return InferenceError(grpc.StatusCode[code], "", retry_after)


def policy(
    addresses: int = 1,
    *,
    retry: Retry = Retry(),  # noqa: B008  # it cannot be changed
    hedge_after: float | None = None,
    state: Callable[[int], ChannelConnectivity] = lambda _: READY,
    chance: Callable[[], float] = lambda: 0.999,
) -> Policy:
    return Policy(addresses, state, chance, retry=retry, balance="round_robin", hedge_after=hedge_after)


class Told:
    """A call that is carried out by hand. Waits as the course says, and keeps what it said."""

    def __init__(self, policy: Policy, timeout: float | None = None, *, repeatable: bool = True) -> None:
        self.now = 0.0
        self.course = Course(policy, timeout, repeatable=repeatable)
        self.sent: list[Send] = []
        self.waits: list[float] = []

    def until_waiting(self) -> Wait | Done:
        """Sends what is to be sent."""
        while isinstance(step := self.course.next(self.now), Send):
            self.sent.append(step)
        return step

    def answer(self, outcome: Outcome, flight: int | None = None) -> Wait | Done:
        """The last request, or that one, ends so."""
        self.course.ended(self.sent[-1].flight if flight is None else flight, outcome, self.now)
        return self.until_waiting()

    def wait(self) -> Wait | Done:
        step = self.course.next(self.now)
        assert isinstance(step, Wait)
        assert step.seconds is not None
        self.waits.append(step.seconds)
        self.now += step.seconds
        return self.until_waiting()

    def run(self, *outcomes: Outcome) -> Outcome:
        """The call's end when its requests end so, one by one."""
        step = self.until_waiting()
        for outcome in outcomes:
            assert step == Wait(None)
            step = self.answer(outcome)
            while isinstance(step, Wait) and step.seconds is not None:
                step = self.wait()
        assert isinstance(step, Done)
        self.course.close(self.now)
        return step.outcome


def test_an_answer_is_the_end() -> None:
    call = Told(policy())
    assert call.run(ANSWER) == ANSWER
    assert call.sent == [Send(0, 0, None)]


def test_a_failure_is_waited_out_and_tried_again() -> None:
    call = Told(policy(chance=lambda: 0.5))
    assert call.run(failure(), failure(), ANSWER) == ANSWER
    assert call.waits == pytest.approx([0.05, 0.1])


def test_the_last_failure_is_the_calls() -> None:
    last = failure()
    call = Told(policy())
    assert call.run(failure(), failure(), last) is last
    assert len(call.sent) == 3


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_what_is_final(code: str) -> None:
    error = failure(code)
    assert Told(policy(3)).run(error) is error


def test_a_server_that_is_full_is_asked_again_when_it_said() -> None:
    call = Told(policy(chance=lambda: 0.0))
    assert call.run(failure("RESOURCE_EXHAUSTED", 1.5), ANSWER) == ANSWER
    assert call.waits == [1.5]


def test_a_request_that_must_not_come_twice() -> None:
    error = failure()
    call = Told(policy(2, hedge_after=0.1), repeatable=False)
    assert call.run(error) is error
    assert len(call.sent) == 1


def test_the_timeout_is_the_calls_not_the_attempts() -> None:
    call = Told(policy(chance=lambda: 0.0), timeout=10)
    call.until_waiting()
    call.now = 4
    call.answer(failure("RESOURCE_EXHAUSTED", 2))
    call.wait()
    assert [send.timeout for send in call.sent] == [10, 4]


@pytest.mark.parametrize(("retry_after", "sent"), [(1.999, 2), (2.0, 1), (3.0, 1)])
def test_no_wait_begins_that_would_not_end_in_time(retry_after: float, sent: int) -> None:
    call = Told(policy(chance=lambda: 0.0), timeout=2)
    call.until_waiting()
    step = call.answer(failure("RESOURCE_EXHAUSTED", retry_after))
    assert isinstance(step, Done) is (sent == 1)
    if sent == 2:
        call.wait()
    assert len(call.sent) == sent


def test_a_wait_that_took_too_long_ends_with_what_was_waited_for() -> None:
    error = failure()
    call = Told(policy(), timeout=2)
    call.until_waiting()
    call.answer(error)
    call.now = 2.5
    assert call.until_waiting() == Done(error)


def test_repetitions_end_when_the_budget_is_spent_and_return_with_answers() -> None:
    shared = policy(retry=Retry(attempts=3, tokens=10, token_ratio=0.5))

    def sent(*outcomes: Outcome) -> int:
        call = Told(shared)
        assert call.run(*outcomes) is outcomes[-1]
        return len(call.sent)

    assert sent(failure(), failure(), failure()) == 3
    assert sent(failure(), failure()) == 2, "the fifth failure leaves five of ten tokens"
    assert sent(failure()) == 1
    for _ in range(5):
        sent(ANSWER)
    assert sent(failure(), ANSWER) == 2, "four and five halves, less one, are more than five"


def test_rejections_that_are_no_overload_cost_no_budget() -> None:
    shared = policy(retry=Retry(tokens=4))
    for code in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"):
        Told(shared).run(failure(code))
    assert shared.budget.tokens == 4


def test_another_address_is_tried_next() -> None:
    call = Told(policy(3))
    assert call.run(failure(), failure(), ANSWER) == ANSWER
    assert sorted(send.address for send in call.sent) == [0, 1, 2]


def test_another_address_is_tried_next_whose_turn_it_may_not_be() -> None:
    shared = policy(2)
    full, other = Told(shared), Told(shared)
    full.until_waiting()
    other.until_waiting()
    full.answer(failure())
    full.wait()
    assert [send.address for send in full.sent] == [0, 1]


def test_calls_go_on_without_the_address_that_failed() -> None:
    shared = policy(3)
    first = Told(shared)
    first.run(failure(), ANSWER)
    dead = first.sent[0].address
    for _ in range(9):
        call = Told(shared)
        call.run(ANSWER)
        assert call.sent[0].address != dead


def full(retry_after: float) -> InferenceError:
    return failure("RESOURCE_EXHAUSTED", retry_after)


def test_where_one_is_full_another_is_asked_at_once() -> None:
    shared = policy(2)
    call = Told(shared, timeout=1)
    assert call.run(full(5), ANSWER) == ANSWER
    assert [send.address for send in call.sent] == [0, 1]
    assert not call.waits
    assert shared.budget.tokens == pytest.approx(99.1), "a token for the failure, a tenth of one back for the answer"


def test_all_calls_go_on_without_the_address_that_is_full_for_as_long_as_it_said() -> None:
    shared = policy(3)
    Told(shared).run(full(5), ANSWER)

    def addresses(now: float) -> set[int]:
        asked = set()
        for _ in range(6):
            call = Told(shared)
            call.now = now
            call.run(ANSWER)
            asked |= {send.address for send in call.sent}
        return asked

    assert addresses(4.9) == {1, 2}
    assert addresses(5.0) == {0, 1, 2}


def test_where_all_are_full_the_shortest_wait_is_sat_out() -> None:
    call = Told(policy(3, chance=lambda: 0.0), timeout=2)
    call.until_waiting()
    call.answer(full(5))
    call.now = 0.5
    call.answer(full(1.25))
    assert call.answer(full(3)) == Done(call.course._failure), "three attempts were made"
    call = Told(policy(2, chance=lambda: 0.5), timeout=2)
    call.until_waiting()
    call.answer(full(1.25))
    call.now = 0.5
    call.answer(full(5))
    call.wait()
    assert call.waits == pytest.approx([0.75 + 0.1]), "and not all who were refused come back at once"
    assert [send.address for send in call.sent] == [0, 1, 0]


@pytest.mark.parametrize(("retry_after", "waits"), [(1.999, 1), (2.0, 0)])
def test_where_no_wait_fits_the_last_refusal_is_the_calls(retry_after: float, waits: int) -> None:
    last = full(retry_after)
    call = Told(policy(2, chance=lambda: 0.0), timeout=2)
    assert call.run(full(5), last, *[ANSWER] * waits) == (ANSWER if waits else last)
    assert len(call.waits) == waits


def test_the_wait_for_one_that_is_full_ends_when_one_that_failed_may_be_tried() -> None:
    shared = policy(2, chance=lambda: 0.0)
    Told(shared).run(failure(), ANSWER)
    call = Told(shared)
    call.now = 0.1
    assert call.run(full(5), ANSWER) == ANSWER
    assert [send.address for send in call.sent] == [0, 1]
    assert call.now == pytest.approx(0.5)


def test_asking_another_is_a_repetition() -> None:
    refusal = full(5)
    for settings in ({"retry": NEVER}, {"retry": Retry(tokens=1)}):
        call = Told(policy(2, **settings))
        assert call.run(refusal) is refusal
        assert len(call.sent) == 1
    call = Told(policy(2), repeatable=False)
    assert call.run(refusal) is refusal


def test_one_that_is_being_connected_is_waited_for_while_the_other_is_full() -> None:
    states = [READY, ChannelConnectivity.CONNECTING]
    call = Told(policy(2, state=states.__getitem__), timeout=1)
    call.until_waiting()
    assert call.answer(full(5)) == Wait(CONNECTING_S)
    call.wait()
    states[1] = READY
    call.until_waiting()
    assert [send.address for send in call.sent] == [0, 1]


def test_and_not_longer_than_the_other_is_full() -> None:
    states = [READY, ChannelConnectivity.CONNECTING]
    call = Told(policy(2, state=states.__getitem__, chance=lambda: 0.0))
    assert call.run(full(0.3), ANSWER) == ANSWER
    assert [send.address for send in call.sent] == [0, 0]
    assert call.now == pytest.approx(0.3)


@pytest.mark.parametrize("timeout", [0.2, None])
def test_nor_when_it_is_not_to_be_reached(timeout: float | None) -> None:
    states = [READY, ChannelConnectivity.CONNECTING]
    refusal = full(5)
    call = Told(policy(2, state=states.__getitem__, chance=lambda: 0.0), timeout)
    call.until_waiting()
    call.answer(refusal)
    call.wait()
    states[1] = ChannelConnectivity.TRANSIENT_FAILURE
    step = call.until_waiting()
    assert step == Done(refusal) if timeout else Wait(5 - call.now)


def test_what_says_that_it_is_full_after_the_call_is_over_is_left_out_too() -> None:
    shared = policy(2, hedge_after=0.1)
    call = hedged(shared)
    call.course.ended(1, ANSWER, call.now)
    call.course.ended(0, full(5), call.now)
    for _ in range(2):
        call = Told(shared)
        call.now = 1.0
        call.until_waiting()
        assert call.sent[0].address == 1


def test_looks_at_connections_become_rare() -> None:
    """Where many calls wait for what is not to be reached they must not keep the processor busy."""
    call = Told(policy(2, state=lambda _: ChannelConnectivity.CONNECTING), timeout=100)
    call.until_waiting()
    while call.now < 99:
        call.wait()
    assert len(call.waits) < 1100


def test_while_addresses_connect_it_looks_again_until_the_time_is_up() -> None:
    call = Told(policy(2, state=lambda _: ChannelConnectivity.CONNECTING), timeout=CONNECTING_S * 2.5)
    call.until_waiting()
    for _ in range(2):
        assert isinstance(call.wait(), Wait)
    step = call.wait()
    assert isinstance(step, Done)
    assert isinstance(step.outcome, InferenceError)
    assert step.outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert call.waits == pytest.approx([CONNECTING_S, CONNECTING_S, CONNECTING_S / 2])
    assert not call.sent


# Hedging


def hedged(shared: Policy | None = None, timeout: float | None = None) -> Told:
    """A call whose first request has not been answered for 0.1 s."""
    call = Told(shared or policy(2, hedge_after=0.1), timeout)
    assert call.until_waiting() == Wait(0.1)
    call.wait()
    return call


def test_without_an_answer_another_address_is_asked_too() -> None:
    call = hedged(timeout=1)
    assert [(send.address, send.timeout) for send in call.sent] == [(0, 1), (1, pytest.approx(0.9))]
    assert call.answer(ANSWER, flight=1) == Done(ANSWER)


def test_the_first_may_still_be_the_answer() -> None:
    call = hedged()
    assert call.answer(ANSWER, flight=0) == Done(ANSWER)


def test_an_answer_in_time_needs_no_second_request() -> None:
    call = Told(policy(2, hedge_after=0.1))
    call.until_waiting()
    call.now = 0.099
    assert call.answer(ANSWER) == Done(ANSWER)


def test_there_is_one_hedge_a_call() -> None:
    call = hedged(policy(3, hedge_after=0.1))
    assert call.until_waiting() == Wait(None)
    assert len(call.sent) == 2


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("refusal", [failure(), failure("RESOURCE_EXHAUSTED"), failure("RESOURCE_EXHAUSTED", 1)])
def test_while_one_is_in_flight_the_refusal_of_the_other_is_no_end(first: int, refusal: InferenceError) -> None:
    call = hedged()
    assert call.answer(refusal, flight=first) == Wait(None)
    assert call.answer(ANSWER, flight=1 - first) == Done(ANSWER)


def test_when_both_are_refused_the_call_is_tried_again() -> None:
    call = hedged(policy(2, hedge_after=0.1, chance=lambda: 0.5))
    call.answer(failure(), flight=1)
    call.answer(failure(), flight=0)
    call.wait()
    assert call.waits == pytest.approx([0.1, 0.05])
    assert len(call.sent) == 3
    assert call.until_waiting() == Wait(None), "and not hedged again"
    assert call.answer(ANSWER) == Done(ANSWER)


def test_what_both_would_say_ends_the_call() -> None:
    call = hedged()
    wrong = failure("INVALID_ARGUMENT")
    assert call.answer(wrong, flight=0) == Done(wrong)


@pytest.mark.parametrize("late", [failure("INVALID_ARGUMENT"), failure(), b"another answer"])
def test_what_ends_after_the_answer_changes_nothing(late: Outcome) -> None:
    call = hedged(policy(2, hedge_after=0.1, retry=NEVER))
    call.course.ended(1, ANSWER, call.now)
    call.course.ended(0, late, call.now)
    assert call.until_waiting() == Done(ANSWER)


def test_hedges_are_paid_for_by_answers() -> None:
    shared = policy(2, hedge_after=0.1, retry=Retry(tokens=10, token_ratio=0.1))
    sent = []
    for _ in range(100):
        call = Told(shared)
        call.until_waiting()
        call.wait()
        call.answer(ANSWER, flight=0)
        call.course.close(call.now)
        sent.append(len(call.sent))
    assert sent[:5] == [2] * 5
    assert sum(sent[10:]) == 90 + 9, "a hedge for ten answers"


def test_with_no_other_address_there_is_no_hedge() -> None:
    states = [READY, ChannelConnectivity.TRANSIENT_FAILURE]
    shared = policy(2, hedge_after=0.1, state=states.__getitem__)
    call = hedged(shared)
    assert len(call.sent) == 1
    assert shared.budget.tokens == shared.retry.tokens


def test_an_address_that_others_overtake_again_and_again_is_left_out() -> None:
    """A server that was stopped keeps its connection and never answers."""
    now = 0.0
    shared = policy(2, hedge_after=0.1)
    overtaken = 0
    for _ in range(SILENCES * 2):
        call = Told(shared)
        call.now = now
        call.until_waiting()
        if call.sent[0].address == 0:
            overtaken += 1
            call.wait()
            call.answer(ANSWER, flight=1)
        else:
            call.answer(ANSWER)
        call.course.close(call.now)
        now = call.now
    assert overtaken == SILENCES
    for _ in range(4):
        call = Told(shared)
        call.now = now
        call.until_waiting()
        assert call.sent[0].address == 1
        call.answer(ANSWER)
        call.course.close(now)


def test_what_a_closed_call_had_in_flight_is_nobodys_fault() -> None:
    shared = policy(2, hedge_after=0.1)
    for _ in range(9):
        hedged(shared).course.close(0.1)
    assert len(hedged(shared).sent) == 2, "both are in"


@pytest.mark.parametrize(
    ("addresses", "hedge_after", "message"),
    [
        (1, 0.1, "hedge_after: a second request goes to another address, and there is only one"),
        (2, 0.0, "hedge_after: expected seconds, more than 0, got 0.0"),
        (2, float("nan"), "hedge_after: expected seconds, more than 0, got nan"),
    ],
)
def test_settings_that_make_no_sense(addresses: int, hedge_after: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(addresses, hedge_after=hedge_after)


# Whatever happens


class Drawn:
    """What a made-up world says: outcomes and durations of requests."""

    CODES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "CANCELLED")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def outcome(self) -> Outcome:
        if self.random.random() < 0.3:
            return ANSWER
        return failure(self.random.choice(self.CODES[:2] * 4 + self.CODES), self.random.choice([None, 0.0, 0.5, 40.0]))

    def state(self, _: int) -> ChannelConnectivity:
        return self.random.choice([READY, READY, READY, *ChannelConnectivity])


@given(seed=st.integers(0, 2**32), addresses=st.integers(1, 4), hedge=st.booleans(), timeout=st.sampled_from([None, 0.01, 1.0, 5.0]))
def test_every_course_ends_within_its_limits(seed: int, addresses: int, hedge: bool, timeout: float | None) -> None:
    world = Drawn(seed)
    shared = policy(
        addresses,
        retry=world.random.choice([Retry(attempts=4, tokens=6), NEVER]),
        hedge_after=0.2 if hedge and addresses > 1 else None,
        state=world.state,
        chance=world.random.random,
    )
    now = 0.0
    for _ in range(5):
        now, sent = carried_out(world, shared, now, timeout)
        assert sent <= shared.retry.attempts + (shared.hedge_after is not None)
    assert [address.in_flight for address in shared.balancer._addresses] == [0] * addresses
    assert 0 <= shared.budget.tokens <= shared.retry.tokens


def carried_out(world: Drawn, shared: Policy, now: float, timeout: float | None) -> tuple[float, int]:
    """When the call was over, and how many requests it took."""
    until = None if timeout is None else now + timeout
    course = Course(shared, until)
    ends: dict[int, float] = {}
    sent = 0
    while not isinstance(step := course.next(now), Done):
        if isinstance(step, Send):
            sent += 1
            assert step.flight not in ends
            assert step.timeout == (None if until is None else until - now)
            ends[step.flight] = now + min(world.random.random(), world.random.random() if step.timeout is None else max(0, step.timeout))
            continue
        assert step.seconds is None or step.seconds > 0
        assert ends or step.seconds is not None, "nothing would ever end this wait"
        wake = min([*ends.values(), *([] if step.seconds is None else [now + step.seconds])])
        assert until is None or wake <= until + 1e-9
        now = max(now, wake)
        for flight in [flight for flight, end in ends.items() if end <= now]:
            del ends[flight]
            course.ended(flight, world.outcome(), now)
            if world.random.random() < 0.5:
                break
    course.close(now)
    return now, sent


def test_the_steps_are_plain_values() -> None:
    def steps() -> Iterator[Any]:
        course = Course(policy(), 1.0)
        yield course.next(0.0)
        yield course.next(0.5)
        course.ended(0, ANSWER, 0.5)
        yield course.next(0.5)

    assert list(steps()) == [Send(0, 0, 1.0), Wait(None), Done(ANSWER)]
