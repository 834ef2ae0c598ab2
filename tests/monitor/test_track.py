"""A version over time: windows by rows and by age, findings in two of three, and what a restart keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.monitor import track as tracks
from inferd.monitor.judging import Finding
from inferd.monitor.reference import Reference
from inferd.monitor.track import MOST_WINDOWS, Track, packed, read
from inferd.tensors import Array
from tests.monitor.profiles import counts_of, learned

S = 10**9
VALUES = np.random.default_rng(0).normal(size=5000)
AGE, DEBT = learned(VALUES, label="age"), learned(VALUES, label="debt")
REFERENCE = Reference(model="m", rows=5000, made_unix_ns=0, inputs=(), outputs=(), features=(AGE, DEBT))


class Counted:
    """A track, and the counts that grow under it."""

    def __init__(self) -> None:
        self.track, self.total, self.now_ns = Track(), np.zeros(AGE.words + DEBT.words, np.uint64), 100 * S
        self.track.begin(self.total.copy(), self.now_ns)

    def window(self, age: Array, debt: Array = VALUES[:1000], examples: tuple[str, ...] = ()) -> list[tuple[int, Finding]]:
        self.total += np.concatenate([counts_of(AGE, age).words, counts_of(DEBT, debt).words])
        self.now_ns += 10 * S
        self.track.end(REFERENCE, self.total.copy(), self.now_ns, examples)
        return [(each.place, each.finding) for each in self.track.found]


def test_a_finding_takes_two_of_the_last_three_windows() -> None:
    counted = Counted()
    quiet, moved = VALUES[:1000], VALUES[:1000] + 1
    assert [counted.window(each) for each in (quiet, moved, quiet, moved)] == [[], [], [], [(0, Finding.DRIFT)]]
    assert counted.track.found[0].since_unix_ns == 110 * S
    assert [counted.window(each) for each in (quiet, quiet)] == [[], []]


def test_it_goes_on_since_its_first_window_and_keeps_an_example() -> None:
    counted = Counted()
    moved = VALUES[:1000] + 1
    counted.window(moved, examples=("", ""))
    counted.window(moved, examples=("r1", "other"))
    counted.window(moved, examples=("", ""))
    (found,) = counted.track.found
    assert (found.since_unix_ns, found.request_id, found.place) == (100 * S, "r1", 0)
    assert found.said(AGE) == f"moved away from the reference (effect {found.share:.2f})"


def test_a_window_ends_with_its_rows_or_its_age() -> None:
    track = Track()
    total = np.array([2**64 - 10, 0], np.uint64)
    track.begin(total, 100 * S)
    first = int(total[0])
    assert track.rows((first + 990) % 2**64) == 990
    assert not track.is_over((first + 990) % 2**64, 159 * S, 1000, 60 * S)
    assert track.is_over((first + 1000) % 2**64, 101 * S, 1000, 60 * S)
    assert track.is_over((first + 50) % 2**64, 160 * S, 1000, 60 * S)
    assert not track.is_over((first + 49) % 2**64, 9999 * S, 1000, 60 * S)


def test_a_clock_that_was_set_back_begins_the_age_anew() -> None:
    track = Track()
    track.begin(np.zeros(2, np.uint64), 1000 * S)
    assert not track.is_over(500, 10 * S, 1000, 60 * S)
    assert not track.is_over(500, 69 * S, 1000, 60 * S)
    assert track.is_over(500, 70 * S, 1000, 60 * S)


def test_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "MOST_WINDOWS", 5)
    counted = Counted()
    for _ in range(8):
        counted.window(VALUES[:100])
    assert MOST_WINDOWS > 5 == len(counted.track.windows)
    assert len(counted.track.last) == len(counted.track.looks) == 3
    assert counted.track.windows[-1].rows == 1000


def test_it_is_read_as_it_was_packed(tmp_path: Path) -> None:
    counted = Counted()
    for _ in range(3):
        counted.window(VALUES[:1000] + 1, examples=("r", ""))
    path = tmp_path / "m.track"
    path.write_bytes(packed(counted.track))
    assert read(path, len(counted.total)) == counted.track


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 100, packed(Track(base=b"12345678"))])
def test_a_broken_file_and_one_of_other_counts_begin_anew(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.track"
    if content is not None:
        path.write_bytes(content)
    assert read(path, 99) == Track()
