"""Reads recorded arrival times: a number a line, CSV with a column, or JSON lines with a field.

A time is seconds (from any zero: the first arrival becomes 0) or a date as ISO 8601 writes it. The order of the lines does not
matter, as access logs are written when requests end. Never in here: what is asked at those times.
"""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.bench import replay
from inferd.bench.replay import Offsets, is_record
from inferd.client_inputs.files import read_whole
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = ("arrival_s", "offset_s", "time_s", "arrival", "offset", "timestamp", "time", "ts")  # looked for when none is named
LONGEST_S = 366 * 86400.0  # from the first arrival to the last
MAX_BYTES = 256 << 20
MOST_NAMES = 10  # that a message names

Seconds = np.ndarray[Any, np.dtype[np.float64]]


def read(text: str) -> Offsets:
    """Nanoseconds since the first arrival, ascending, of FILE, FILE:COLUMN, RECORD or RECORD:MODEL. Raises ConfigError that names file and
    line."""
    path, column, where = Path(text), "", f"--arrivals trace:{text}"
    if is_record(text) or is_record(text.rpartition(":")[0]):
        return replay.arrivals_of(text, where)
    if not path.exists() and ":" in text:
        before, _, column = text.rpartition(":")
        path = Path(before)
    content = read_whole(path, where, MAX_BYTES, "keep the column of times, or a part of the lines")
    seconds = None if column else _numbers(content)
    if seconds is None:
        seconds = _times(path, content, column)
    seconds.sort()
    if not len(seconds):
        raise ConfigError(f"{where}: holds no arrival; expected an arrival time in seconds a line, CSV or JSON lines")
    if seconds[-1] - seconds[0] > LONGEST_S:
        raise ConfigError(f"{where}: lasts {seconds[-1] - seconds[0]:.3g} s; expected seconds, not milliseconds or less")
    offsets: Offsets = np.rint((seconds - seconds[0]) * 1e9).astype(np.int64)
    return offsets


def _numbers(content: bytes | bytearray) -> Seconds | None:
    """Times of a file with only a number a line, ten times as fast; None: it's another form, or a line is wrong."""
    try:
        seconds = np.fromiter(map(float, io.BytesIO(content)), np.float64)
    except ValueError:
        return None
    return seconds if np.isfinite(seconds).all() else None


def _times(path: Path, content: bytes | bytearray, column: str) -> Seconds:
    """Times of a file of any form. A date's seconds since 1970 keep a quarter of a microsecond."""
    try:
        told = _told(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _wrong(path, 1, "expected text: an arrival time in seconds a line, CSV or JSON lines") from None
    return np.fromiter((_seconds(path, number, value) for number, value in _values(path, told, column)), np.float64)


def scaled(offsets: Offsets, rate: float) -> tuple[float, Offsets]:
    """The mean rate and the arrivals, stretched to `rate` unless it is 0. The rate of n arrivals is n - 1 gaps in their span."""
    span_s = float(offsets[-1]) / 1e9
    if not span_s:
        if rate and len(offsets) > 1:
            raise ConfigError(f"--rate {rate:g}: the trace's {len(offsets)} arrivals are all at one time, which no rate fits")
        return rate or float(len(offsets)), offsets
    recorded = (len(offsets) - 1) / span_s
    if not rate:
        return recorded, offsets
    return rate, np.rint(offsets * (recorded / rate)).astype(np.int64)


def _told(content: str) -> Iterator[tuple[int, str]]:
    """Numbers of lines, and what they say: empty ones, and those that begin with #, say nothing."""
    for number, line in enumerate(io.StringIO(content, newline=None), 1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _values(path: Path, told: Iterator[tuple[int, str]], column: str) -> Iterator[tuple[int, Any]]:
    """Line numbers and what stands for the time there."""
    first_line, first = next(told, (0, ""))
    if not first:
        return
    told = chain([(first_line, first)], told)
    if first.startswith("{"):
        yield from _fields(path, told, column)
        return
    rows: Iterator[tuple[int, list[str]]] = (
        (number, [cell.strip() for cell in row]) for number, line in told for row in _row(path, number, line)
    )
    (_, header) = next(rows)
    if len(header) == 1 and not column and _is_time(header[0]):
        place = 0
        rows = chain([(first_line, header)], rows)
    elif _is_time(header[0]):
        raise _wrong(path, first_line, f"expected names of columns, got {first[:60]!r}; write a first line such as arrival_s,...")
    else:
        place = header.index(_choose(path, first_line, header, column))
    for number, row in rows:
        if place >= len(row) or (len(header) == 1 and len(row) > 1):
            raise _wrong(path, number, f"expected {len(header)} column{'s' * (len(header) > 1)}, got {len(row)}")
        yield number, row[place]


def _row(path: Path, number: int, line: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader([line], strict=True)
    except csv.Error as error:
        raise _wrong(path, number, f"expected CSV, got {line[:60]!r}: {error}") from None


def _fields(path: Path, told: Iterator[tuple[int, str]], column: str) -> Iterator[tuple[int, Any]]:
    for number, line in told:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise _wrong(path, number, f"expected a JSON object as on the first line, got {line[:60]!r}")
        if not column:
            column = _choose(path, number, list(entry), "")
        if column not in entry:
            raise _wrong(path, number, f"expected a field '{column}', got {_some(list(entry)) or 'none'}")
        yield number, entry[column]


def _choose(path: Path, number: int, names: list[str], column: str) -> str:
    """The column asked for, the only one, or the one whose name says that it is a time."""
    if column in names or (not column and len(names) == 1):
        return column or names[0]
    known = [name for name in names if name.lower() in COLUMNS]
    if not column and len(known) == 1:
        return known[0]
    wanted = f"a column '{column}'" if column else "one column of arrival times; name it: trace:FILE:COLUMN"
    raise _wrong(path, number, f"expected {wanted}; there are: {_some(names)}")


def _some(names: list[str]) -> str:
    """The first names of a list that may be a whole file."""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(name[:60] for name in names[:MOST_NAMES]) + more


def _is_time(text: str) -> bool:
    try:
        _parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def _parse(value: object) -> float:
    """Seconds of a number, of a number's text, or of a date (without a zone: UTC)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    try:
        seconds = float(value)
    except ValueError:
        date = datetime.fromisoformat(str(value))
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError
    return seconds


def _seconds(path: Path, number: int, value: object) -> float:
    try:
        return _parse(value)
    except (ValueError, OverflowError):
        raise _wrong(path, number, f"expected an arrival time in seconds or an ISO date, got {str(value)[:60]!r}") from None


def _wrong(path: Path, number: int, message: str) -> ConfigError:
    return ConfigError(f"--arrivals trace: {path}, line {number}: {message}")
