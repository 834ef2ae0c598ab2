"""One line of the memory budget. Never in here: who divides it (serving/memory/budget.py)."""

from __future__ import annotations

from typing import NamedTuple

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


class Share(NamedTuple):
    """The most that one kind of thing holds. how: the numbers that it comes from, for people."""

    what: str
    nbytes: int
    how: str


def spelled(nbytes: int) -> str:
    """1.5 GiB, 384 MiB, 16 KiB: for people, rounded."""
    unit, size = next(((unit, size) for unit, size in (("GiB", GiB), ("MiB", MiB)) if nbytes >= size), ("KiB", KiB))
    return f"{nbytes / size:.3g} {unit}" if nbytes < 1000 * size else f"{nbytes / size:.0f} {unit}"
