"""One side of a comparison: what was not answered, and for how long nothing was."""

from __future__ import annotations

import pytest

from inferd.bench.measurement import Interval, Load, Measurement
from inferd.bench.sides import Side, stalled


def answering(counts: list[int], load: Load | None = None, length_s: float = 0.5, **fields) -> Measurement:
    """So many responses in each interval."""
    intervals = [Interval(at * length_s, length_s, count, 0, 1e3, 1e3, 1e3) for at, count in enumerate(counts)]
    seconds = length_s * len(counts)
    return Measurement(
        load or Load(), duration_s=seconds, requests=sum(counts), requests_per_second=sum(counts) / seconds, intervals=intervals, **fields
    )


def test_the_longest_stretch_without_responses_counts_of_all_rounds() -> None:
    side = Side([answering([5, 0, 5, 0, 0, 5]), answering([0, 0, 0, 5]), answering([5, 5])])
    assert side.silence_s == 1.5
    assert Side([answering([1, 1])]).silence_s == 0.0


@pytest.mark.parametrize(
    ("counts", "other", "load", "is_stall"),
    [
        ([50, 0, 50, 50], [50, 50, 50, 50], Load(), True),
        ([50, 0, 50, 50], [50, 50, 0, 50], Load(), False),  # so is the other
        ([2, 0, 2, 2], [2, 2, 2, 2], Load(rate=4.0, arrivals="poisson"), False),  # two responses that came a little later
        ([60, 0, 60, 0], [30, 30, 30, 30], Load(rate=60.0, arrivals="burst:60"), False),  # the bursts fall on the ends of intervals
        ([60, 0, 0, 60], [60, 0, 60, 0], Load(rate=60.0, arrivals="burst:60"), False),
        ([60, 0, 0, 0, 60], [30, 30, 30, 30, 30], Load(rate=60.0, arrivals="burst:60"), True),
    ],
)
def test_a_silence_is_a_stall_where_responses_were_due(counts, other, load, is_stall) -> None:
    assert stalled(Side([answering(counts, load)]), Side([answering(other, load)])) == is_stall


def test_a_server_that_answers_now_and_then_is_as_good_as_silent() -> None:
    """A few responses an interval hide nothing; half as many are half as many."""
    assert Side([answering([500] * 4 + [20] * 4)]).silence_s == 2.0
    assert Side([answering([500] * 2 + [20] * 8)]).silence_s == 4.0
    assert Side([answering([500] * 4 + [250] * 4)]).silence_s == 0.0
    assert Side([answering([3, 1, 0, 2, 1, 4])]).silence_s == 0.5


def test_what_a_client_that_stood_still_did_not_hear_is_no_silence() -> None:
    held = answering([50, 0, 0, 50], held_up_s=0.9)
    assert Side([held]).silence_s == pytest.approx(0.1)
    assert not stalled(Side([held]), Side([answering([50] * 4)]))


def test_a_pause_of_less_than_half_a_second_is_no_stall() -> None:
    assert not stalled(Side([answering([50, 0, 50], length_s=0.4)]), Side([answering([50, 50, 50], length_s=0.4)]))


@pytest.mark.parametrize(
    ("fields", "unanswered", "failed"),
    [
        ({}, 0, 0),
        ({"unfinished": 2}, 2, 2),  # nobody counted them
        ({"unfinished": 2, "errors": {"unanswered": 2}}, 2, 2),
        ({"unfinished": 2, "errors": {"connection": 2}}, 0, 2),  # what could not be sent for want of a connection
        ({"unfinished": 2, "ended": "interrupted"}, 0, 0),  # nobody waited for them
    ],
)
def test_what_stayed_unanswered_failed(fields, unanswered, failed) -> None:
    side = Side([answering([5, 5], **fields)])
    assert (side.unanswered, side.failed) == (unanswered, failed)
