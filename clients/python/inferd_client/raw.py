"""Inputs of a model that makes its own tensors: pictures, sounds, sentences and records, each a row of a BYTES input.

    client.infer("cats", {"image": files("cat.jpg", "dog.jpg")})
    client.infer("minilm", {"text": texts("a sentence", "another")})
    client.infer("income", {"record": records({"age": 39, "job": "clerk"})})

Nothing is decoded here: the server does that, and says what is wrong with which row.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from decimal import Decimal
from functools import partial
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from inferd_client import tensors

__all__ = ["Rows", "arrow_records", "csv_records", "files", "records", "texts"]

Array = np.ndarray[Any, np.dtype[Any]]


class Rows(np.ndarray[Any, np.dtype[Any]]):
    """Values of one input, a row each: an object array [rows, 1].

    Client and AsyncClient send it in the shape that the model's metadata names, which is asked for once. A model without a batch axis takes
    one value, as [1].
    """

    def fitted(self, shape: Sequence[int]) -> Array:
        """The values in the shape that an input has, -1 for any size. Raises ValueError where it takes another number of them."""
        own = tuple(max(size, 1) for size in shape)
        if tuple(shape[:1]) == (-1,):
            own = (self.size, *own[1:])
        elements = tensors.elements_of(own)
        if elements != self.size:
            wanted = f"the model takes BYTES{list(shape)}: expected {elements} a request"
            raise ValueError(f"{wanted}, got {self.size} (each file, text and record is one)")
        return np.asarray(self).reshape(own)


def files(*paths: str | PathLike[str]) -> Rows:
    """The bytes of image or audio files. Raises OSError."""
    return _rows([Path(path).read_bytes() for path in paths])


def texts(*lines: str) -> Rows:
    """Sentences, as UTF-8. Raises TypeError for what is no text, ValueError for half of a surrogate pair."""
    for place, line in enumerate(lines):
        if not isinstance(line, str):
            raise TypeError(f"text {place}: expected a str, got {type(line).__name__}: give each as an argument, texts('one', 'another')")
        _refuse(f"text {place}", line)
    return _rows([line.encode() for line in lines])


def records(*rows: Mapping[str, Any]) -> Rows:
    """Records by column name, for a model that takes JSON. None is a missing value.

    Raises TypeError for a value that is no number, truth value or text, and for a name that is no text. Raises ValueError for NaN,
    infinities and half of a surrogate pair. Both name the record, the column and the cure."""
    return _rows([_json(place, row) for place, row in enumerate(rows)])


def _json(place: int, row: Mapping[Any, Any]) -> bytes:
    _refuse_others(place, row, "records")
    write = partial(json.dumps, ensure_ascii=False, allow_nan=False, default=_of_numpy)
    try:
        return write(dict(row)).encode()
    except (TypeError, ValueError):
        for name, value in row.items():
            where = f"record {place}: column {name!r}"
            if name is not None and not isinstance(name, (str, int, float)):
                raise TypeError(f"{where}: expected a str as its name, got {type(name).__name__}: send str() of it") from None
            if isinstance(value, (float, np.floating)) and not math.isfinite(value):
                cure = "None is a missing value" if math.isnan(value) else "send None, or send it as CSV or Arrow"
                raise ValueError(f"{where}: JSON has no {float(value)}: {cure}") from None
            _refuse(where, value)
            _refuse(f"{where}: its name", name)
        raise


def csv_records(*rows: Iterable[Any]) -> Rows:
    """Records as their values in the order of the model's columns, for one that takes CSV. None is a missing value.

    Raises TypeError for a value that is no number, truth value or text, and ValueError for half of a surrogate pair. Both name the record,
    the place and the cure."""
    return _rows([_line(place, row) for place, row in enumerate(rows)])


def _line(place: int, row: Iterable[Any]) -> bytes:
    if isinstance(row, (str, bytes, Mapping, AbstractSet)) or not isinstance(row, Iterable):
        cure = "give each record as an argument, csv_records([...], [...])"
        raise TypeError(f"record {place}: expected values in the order of the columns, got {type(row).__name__}: {cure}")
    cells = list(row)
    for column, value in enumerate(cells):
        _refuse(f"record {place}: column {column}", value)
    line = io.StringIO()
    blank = len(cells) == 1 and not str(cells[0]).strip(" \t\r\n")  # which is no record, unless it is quoted
    # A cell is quoted that holds a character of the line's end, which is taken off again.
    writer = csv.writer(line, lineterminator="\r\n", quoting=csv.QUOTE_ALL if blank else csv.QUOTE_MINIMAL)
    writer.writerow([_plain(value) for value in cells])
    return line.getvalue().removesuffix("\r\n").encode()


def arrow_records(*rows: Mapping[str, Any]) -> Rows:
    """Records by column name, for a model that takes Arrow. None is a missing value. Needs pyarrow (inferd-client[arrow]), whose errors
    it raises for what has no Arrow type. Raises TypeError for what is no mapping."""
    import pyarrow
    import pyarrow.ipc

    elements = []
    for place, row in enumerate(rows):
        _refuse_others(place, row, "arrow_records")
        batch = pyarrow.RecordBatch.from_pylist([dict(row)])
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        elements.append(sink.getvalue().to_pybytes())
    return _rows(elements)


def _refuse_others(place: int, row: object, function: str) -> None:
    """Raises TypeError for a record that is no mapping."""
    if not isinstance(row, Mapping):
        cure = f"give each as an argument, {function}({{...}}, {{...}})"
        raise TypeError(f"record {place}: expected a mapping of columns, got {type(row).__name__}: {cure}")


def _refuse(where: str, value: object) -> None:
    """Raises TypeError for a value that no record holds, ValueError for a text that UTF-8 has not; both begin with `where`."""
    plain = _plain(value)
    if isinstance(plain, str):
        try:
            plain.encode()
        except UnicodeEncodeError as error:
            what = f"character {error.start} is half of a surrogate pair, which UTF-8 has not"
            raise ValueError(f"{where}: {what}: send the whole character, or U+FFFD in its place") from None
    elif plain is not None and not isinstance(plain, (bool, int, float)):
        cure = next(cure for kind, cure in _CURES if isinstance(plain, kind))
        cure = "None is a missing value" if type(plain).__name__ in ("NAType", "NaTType") else cure  # of pandas
        raise TypeError(f"{where}: a record holds numbers, truth values, texts and None, not {type(plain).__name__}: {cure}")


_CURES: tuple[tuple[type, str], ...] = (
    (date, "send its isoformat()"),
    (np.datetime64, "send str() of it"),
    (np.timedelta64, "send one of these"),
    (Decimal, "send float() of it"),
    (Real, "send float() of it"),
    (np.ndarray, "send its item()"),
    (object, "send one of these"),
)


def _plain(value: object) -> object:
    """The same of Python, of a value of numpy; a time stays one: as a number its unit would be lost."""
    return value.item() if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)) else value


def _of_numpy(value: object) -> object:
    """For json.dumps: a plain value in place of numpy's. Raises TypeError for any other."""
    plain = _plain(value)
    if isinstance(plain, (bool, int, float)):
        return plain
    raise TypeError


def _rows(elements: list[bytes]) -> Rows:
    array = np.empty((len(elements), 1), dtype=object)
    array[:, 0] = elements
    return array.view(Rows)
