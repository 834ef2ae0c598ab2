"""From what people have, pictures, sounds, sentences and tables, to the BYTES inputs of a model that makes tensors of them itself.

Nothing is decoded here: a file's bytes go as they are, and the server says what is wrong with them. Each file, text or record is one row.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.ask.files import read_whole
from inferd.ask.inputs import DTYPES
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.ask.inputs import Array, Spec

__all__ = ["from_csv", "from_files", "from_texts"]

MAX_FILE_BYTES = 1 << 30
NULLS = ("", "NA", "NaN", "nan", "null")  # cells of a CSV file that hold nothing


def from_files(option: str, arguments: Sequence[str], specs: Sequence[Spec]) -> dict[str, Array]:
    """--image or --audio [NAME=]FILE, each a row: BYTES[rows,1] by input name."""
    rows: dict[str, list[bytes]] = {}
    for argument in arguments:
        name, source = _target(option, argument, specs)
        rows.setdefault(name, []).append(bytes(_content(option, source)))
    return {name: _column(elements) for name, elements in rows.items()}


def from_texts(arguments: Sequence[str], specs: Sequence[Spec]) -> dict[str, Array]:
    """--text [NAME=]TEXT, each a row: BYTES[rows,1] by input name."""
    rows: dict[str, list[bytes]] = {}
    for argument in arguments:
        name, text = _target("--text", argument, specs)
        rows.setdefault(name, []).append(text.encode("utf-8", "surrogateescape"))
    return {name: _column(elements) for name, elements in rows.items()}


def from_csv(source: str, specs: Sequence[Spec], layouts: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, Array]:
    """--csv FILE with a header, each line a row.

    layouts: input name -> how a record is written ("JSON", "CSV" or "ARROW") and its columns, for the inputs that take whole records.
    Without any, the file's columns are the model's inputs.
    """
    header, lines = _table(source)
    for name, (layout, columns) in layouts.items():
        if layout == "JSON":
            return {name: _column([_record(header, line) for line in lines])}
        missing = [column for column in columns if column not in header]
        if layout != "CSV" or missing:
            lacks = f"column {missing[0]!r} is missing" if missing else f"the model takes records as {layout}"
            raise ConfigError(f"--csv {source}: {lacks}; it has {', '.join(header)}")
        places = [header.index(column) for column in columns]
        return {name: _column([_line([line[place] for place in places]) for line in lines])}
    missing = [spec.name for spec in specs if spec.name not in header]
    if missing:
        raise ConfigError(f"--csv {source}: the model's input {missing[0]!r} is none of its columns: {', '.join(header)}")
    return {spec.name: _values(source, spec, [line[header.index(spec.name)] for line in lines]) for spec in specs}


def _target(option: str, argument: str, specs: Sequence[Spec]) -> tuple[str, str]:
    """The input that `argument` is for, and what is left of it. An input's name and "=" in front choose; else there must be one only."""
    takers = [spec for spec in specs if spec.datatype == "BYTES"]
    head, equals, rest = argument.partition("=")
    if equals and head in {spec.name for spec in takers}:
        return head, rest
    if len(takers) == 1:
        return takers[0].name, argument
    listed = ", ".join(f"{spec.name} ({spec})" for spec in specs)
    if not takers:
        raise ConfigError(
            f"{option}: the model takes tensors: {listed}. Give it steps that make them (docs/preprocessing.md), or --input with an array"
        )
    raise ConfigError(f"{option} {argument}: expected NAME=... for one of {listed}")


def _column(elements: list[bytes]) -> Array:
    array = np.empty((len(elements), 1), dtype=object)
    array[:, 0] = elements
    return array


def _content(option: str, source: str) -> bytearray:
    try:
        return read_whole(source, f"{option} {source}", MAX_FILE_BYTES, "a request holds no more")
    except OSError as error:
        raise ConfigError(f"{option} {source}: cannot be read: {error.strerror}") from None


def _table(source: str) -> tuple[list[str], list[list[str]]]:
    content = _content("--csv", source)
    try:
        lines = [line for line in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if line]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"--csv {source}: expected UTF-8 text, values between commas: {error}") from None
    if len(lines) < 2:
        raise ConfigError(f"--csv {source}: expected a header with the columns' names and at least one line below it")
    header, *rows = lines
    for number, line in enumerate(rows, 2):
        if len(line) != len(header):
            raise ConfigError(f"--csv {source}, line {number}: expected {len(header)} values, as the header has, got {len(line)}")
    return header, rows


def _record(header: Sequence[str], line: Sequence[str]) -> bytes:
    """A line as a JSON object: numbers and truth values as such, empty cells as null."""
    return json.dumps({name: _cell(text) for name, text in zip(header, line, strict=True)}, ensure_ascii=False).encode()


def _cell(text: str) -> Any:
    if text in NULLS:
        return None
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(text) if text.lstrip("+-").isdecimal() else number


def _line(line: Sequence[str]) -> bytes:
    quoted = ['"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text for text in line]
    return ",".join(quoted).encode()


def _values(source: str, spec: Spec, cells: Sequence[str]) -> Array:
    """One column as the input that has its name."""
    if spec.datatype == "BYTES":
        return _column([cell.encode() for cell in cells])
    try:
        if spec.datatype == "BOOL":
            made = np.array([{"true": True, "false": False, "1": True, "0": False}[cell.lower()] for cell in cells])
        elif spec.datatype.startswith(("FP", "BF")):
            made = np.array([float("nan") if cell in NULLS else float(cell) for cell in cells])
        else:
            made = np.array([int(cell) for cell in cells])
        return made.astype(DTYPES[spec.datatype]).reshape(len(cells), 1)
    except (ValueError, KeyError, OverflowError):
        raise ConfigError(f"--csv {source}: column {spec.name!r}: expected values of {spec.datatype}") from None
