"""Limits on open files: raised as far as they go, and what they leave for connections."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from inferd.system import descriptors
from inferd.system.descriptors import RESERVED, allow, fitting, make_room, warn_of_few


class Limits:
    """As the system has them for open files."""

    RLIM_INFINITY, RLIMIT_NOFILE = -1, 7

    def __init__(self, soft: int, hard: int, system: int = 1 << 40) -> None:
        self.soft, self.hard, self.system = soft, hard, system

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.soft, self.hard

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if limits[0] > self.system:
            raise ValueError("not allowed to raise maximum limit")
        self.soft, self.hard = limits


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then"),
    [
        (1024, 4096, None, 4096),
        (1024, 4096, 2000, 2000),
        (1024, 4096, 9000, 4096),
        (1024, -1, None, -1),
        (-1, -1, 9, -1),
        (4096, 4096, 9, 4096),
    ],
)
def test_the_soft_limit_is_raised(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int | None, then: int) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setattr(descriptors, "resource", limits)
    allowed = allow() if wanted is None else allow(wanted)
    assert (limits.soft, limits.hard) == (then, hard)
    assert allowed == (then if then >= 0 else allowed)
    assert allowed >= min(wanted or 0, 4096)


def test_a_system_that_allows_less_than_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "resource", Limits(1024, 1 << 20, system=1 << 16))
    assert allow() == 1024


def test_what_is_left_for_connections(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for soft, most in ((-1, 10_000), (20_000, 10_000), (10_000 + RESERVED, 10_000), (4096, 4096 - RESERVED), (200, 100)):
        monkeypatch.setattr(descriptors, "resource", Limits(soft, soft))
        assert fitting(10_000) == most
        caplog.clear()
        warn_of_few(10_000)
        assert caplog.text.count("max_connections: 10000 of a process do not fit") == (most < 10_000)
        assert caplog.text.count(f": {most} are taken; raise the limit") == (most < 10_000)


def test_the_kernel_has_room_for_all_before_they_come() -> None:
    """And nothing is open for it."""

    def table() -> int:
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("FDSize:")]
        return int(line.split()[1])

    opened = set(os.listdir("/proc/self/fd"))
    wanted = min(2 * table(), fitting(1 << 20) - RESERVED)
    make_room(wanted)
    assert table() >= wanted
    assert set(os.listdir("/proc/self/fd")) <= opened  # what an earlier test has left may go meanwhile


def test_no_more_room_than_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor an error where there is none."""
    made: list[int] = []

    def duplicate(file: object, command: int, least: int) -> int:
        made.append(least)
        raise OSError(errno.ENOMEM, "")

    monkeypatch.setattr(descriptors, "resource", Limits(4096, 4096))
    monkeypatch.setattr(descriptors.fcntl, "fcntl", duplicate)
    for connections in (100, 10_000):
        make_room(connections)
    assert made == [100 + RESERVED - 1, 4096 - 1]
