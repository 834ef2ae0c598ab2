"""A file of labels: CSV or Parquet with the columns request_id and label, and, if there is one, row. Never in here: how they are sent."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("request_id", "label", "row")
MAX_ROW = (1 << 32) - 1


class Labelled(NamedTuple):
    """One line. value: None: it has no label."""

    request_id: str
    row: int
    value: str | float | None


def labels_of(path: Path) -> Iterator[Labelled]:
    """Raises ConfigError that names the line."""
    lines = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    for number, (request_id, label, row) in lines:
        where = f"{path}, line {number}"
        if request_id is None or request_id == "":
            raise ConfigError(f"{where}: request_id: expected the id of a request, got none")
        yield Labelled(str(request_id), _row(where, row), _value(where, label))


def size_of(path: Path) -> int:
    """Bytes. Raises ConfigError."""
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _csv(path: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = [header.index(name) if name in header else None for name in NAMES]
            _check_columns(path, header)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ConfigError(f"{path}, line {reader.line_num}: expected {len(header)} values, as the header has, got {len(cells)}")
                yield reader.line_num, tuple(None if place is None else cells[place] for place in places)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: expected UTF-8 text, values between commas: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Rows count from 1."""
    from inferd.record.parquet import columns_of, read_columns  # with pyarrow

    _check_columns(path, columns_of(path))
    yield from enumerate(read_columns(path, NAMES), 1)


def _check_columns(path: Path, header: list[str]) -> None:
    for name in NAMES[:2]:
        if name not in header:
            raise ConfigError(f"{path}: expected the columns request_id and label, and maybe row, got {', '.join(header)[:200] or 'none'}")


def _row(where: str, row: Any) -> int:
    """A row that is left out is the first one."""
    if row is None or row == "":
        return 0
    text = str(row).removesuffix(".0")  # a column of whole numbers that has gaps
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_ROW):
        raise ConfigError(f"{where}: row: expected a whole number from 0, got {str(row)[:40]!r}")
    return int(text)


def _value(where: str, label: Any) -> str | float | None:
    if label is None or label == "" or (isinstance(label, float) and math.isnan(label)):
        return None
    if isinstance(label, bool | str):
        return str(label)
    if isinstance(label, int | float) and math.isfinite(label):
        return float(label)
    raise ConfigError(f"{where}: label: expected text or a finite number, got {str(label)[:40]!r}")
