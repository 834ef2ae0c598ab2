"""A label of one row of a request, and its fate. Never in here: files, how labels come to the server."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

Value = str | float

MAX_CHARS = 256  # of a class
EXACT = 2.0**53  # up to here a float is one whole number


class Fate(StrEnum):
    """The fate of a label. Every label has one of these; WAITING becomes another one later."""

    JOINED = "joined"
    REPEATED = "repeated"  # the row has the same label already
    CONTRADICTORY = "contradictory"  # the row has another label, which stays
    MISFIT = "misfit"  # the request has no such row, or its prediction is of another type
    LATE = "late"  # its prediction was there, and made room for newer ones
    WAITING = "waiting"  # there is no such prediction yet
    UNKNOWN = "unknown"  # it waited, and none came; or too many waited


class Label(NamedTuple):
    """value: a class, or a number that is finite."""

    request_id: str
    row: int
    value: Value


def fitting(value: Value, numbers: bool) -> Value | None:
    """A label in the type of its prediction; None: it has none. A class may be given as a whole number, and a number as text."""
    if not numbers:
        return value if isinstance(value, str) else class_of(value)
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def class_of(number: float) -> str | None:
    """The class with this number as its name: 7 of 7.0."""
    return str(int(number)) if number.is_integer() and abs(number) < EXACT else None
