"""The pace of work that can wait, on a manual clock."""

from __future__ import annotations

import pytest

from inferd.system.pace import BURST_S, LOOK_S, Pace

CORES, RESERVED, SHARE, LEAST, MOST = 4.0, 2.0, 0.25, 0.0025, 0.25


class Work:
    """It works off each piece in `cost_s` of a core, as soon as it gets it; others use `busy` cores meanwhile."""

    def __init__(self, cost_s: float, busy: float) -> None:
        self.now_s = self.used_s = self.looked_s = self.seen_s = 0.0
        self.done, self.cost_s, self.busy = 0, cost_s, busy
        self.pace = Pace(self.left, RESERVED, SHARE, LEAST, MOST, lambda: self.now_s)

    def left(self) -> float:
        elapsed_s, used_s = self.now_s - self.looked_s, self.used_s - self.seen_s
        self.looked_s, self.seen_s = self.now_s, self.used_s
        return CORES - self.busy - used_s / elapsed_s

    def run(self, seconds: float) -> float:
        """Cores that it has used."""
        began_s, used_s = self.now_s, self.used_s
        while self.now_s - began_s < seconds:
            room = self.pace.room()
            self.done += room
            self.used_s += room * self.cost_s
            self.pace.told(self.done, self.used_s)
            self.now_s += max(0.05, self.pace.rest_s())
        return (self.used_s - used_s) / (self.now_s - began_s)


@pytest.mark.parametrize("cost_s", [1e-5, 3e-4, 0.06, 2.0])
@pytest.mark.parametrize(("busy", "cores"), [(0.0, MOST), (1.6, 0.1), (2.0, LEAST), (4.0, LEAST)])
def test_it_takes_a_part_of_what_is_left(cost_s: float, busy: float, cores: float) -> None:
    """A quarter of what is left beyond the reserved cores; never nothing, and never more than a quarter of a core."""
    work = Work(cost_s, busy)
    work.run(2 * (cost_s + BURST_S) / LEAST)  # past the first burst
    assert work.run(30 * max(cost_s, BURST_S) / LEAST) == pytest.approx(cores, rel=0.05)


def test_after_a_rest_it_gets_no_more_than_a_burst() -> None:
    work = Work(0.001, busy=0.0)
    work.run(10)
    work.now_s += 1000
    assert work.pace.room() == pytest.approx(BURST_S / 0.001, abs=1)


def test_one_piece_comes_first() -> None:
    """How much work a piece is shows only then."""
    work = Work(0.5, busy=4.0)
    assert work.pace.room() == 1
    work.pace.told(1, 0.5)
    assert work.pace.room() == 0
    assert work.pace.rest_s() == LOOK_S


def test_others_that_begin_to_work_are_noticed() -> None:
    work = Work(0.001, busy=0.0)
    work.run(10)
    work.busy = 4.0
    work.run(2 * LOOK_S)
    assert work.run(1000) == pytest.approx(LEAST, rel=0.1)
