"""What a model that makes its own tensors takes: pictures, sounds, sentences and records, each a row of a BYTES input.

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
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Rows", "arrow_records", "csv_records", "files", "records", "texts"]

Array = np.ndarray[Any, np.dtype[Any]]


class Rows(np.ndarray[Any, np.dtype[Any]]):
    """Values of one input, a row each: an object array [rows, 1].

    Client and AsyncClient send it in the shape that the model's metadata names (asked for once and remembered): a model without a
    batch axis takes one value, as [1].
    """

    def fitted(self, shape: Sequence[int]) -> Array:
        """The values in the shape that an input has, -1 for any size. Raises ValueError where it takes another number of them."""
        own = tuple(max(size, 1) for size in shape)
        if tuple(shape[:1]) == (-1,):
            own = (self.size, *own[1:])
        if math.prod(own) != self.size:
            wanted = f"the model takes BYTES{list(shape)}: expected {math.prod(own)} a request"
            raise ValueError(f"{wanted}, got {self.size} (each file, text and record is one)")
        return np.asarray(self).reshape(own)


def files(*paths: str | PathLike[str]) -> Rows:
    """The bytes of image or audio files. Raises OSError."""
    return _rows([Path(path).read_bytes() for path in paths])


def texts(*lines: str) -> Rows:
    """Sentences, as UTF-8. Raises TypeError for what is no text."""
    for place, line in enumerate(lines):
        if not isinstance(line, str):
            raise TypeError(f"text {place}: expected a str, got {type(line).__name__}: give each as an argument, texts('one', 'another')")
    return _rows([line.encode() for line in lines])


def records(*rows: Mapping[str, Any]) -> Rows:
    """Records by column name, for a model that takes JSON. None is a missing value. Raises TypeError for what JSON has not, ValueError
    for NaN and infinities."""
    return _rows([_json(place, row) for place, row in enumerate(rows)])


def _json(place: int, row: object) -> bytes:
    if not isinstance(row, Mapping):
        got = type(row).__name__
        raise TypeError(f"record {place}: expected a mapping of columns, got {got}: give each as an argument, records({{...}}, {{...}})")
    write = partial(json.dumps, ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        return write(dict(row)).encode()
    except ValueError:
        for name, value in row.items():
            if isinstance(value, (float, np.floating)) and not math.isfinite(value):
                cure = "None is a missing value" if math.isnan(value) else "leave it out, or send it as CSV or Arrow"
                raise ValueError(f"record {place}: column {name!r}: JSON has no {float(value)}: {cure}") from None
        raise


def csv_records(*rows: Sequence[Any]) -> Rows:
    """Records as their values in the order of the model's columns, for one that takes CSV. None is a missing value. Raises TypeError for
    what is no number, truth value or text."""
    elements = []
    for row in rows:
        cells = [value if isinstance(value, _CELLS) else _plain(value) for value in row]
        line = io.StringIO()
        blank = len(cells) == 1 and not str(cells[0]).strip(" \t\r\n")  # which is no record, unless it is quoted
        # A cell is quoted that holds a character of the line's end, which is taken off again.
        csv.writer(line, lineterminator="\r\n", quoting=csv.QUOTE_ALL if blank else csv.QUOTE_MINIMAL).writerow(cells)
        elements.append(line.getvalue().removesuffix("\r\n").encode())
    return _rows(elements)


def arrow_records(*rows: Mapping[str, Any]) -> Rows:
    """Records by column name, for a model that takes Arrow. None is a missing value. Needs pyarrow (inferd-client[arrow]), whose errors
    it raises for what has no Arrow type."""
    import pyarrow
    import pyarrow.ipc

    elements = []
    for row in rows:
        batch = pyarrow.RecordBatch.from_pylist([dict(row)])
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        elements.append(sink.getvalue().to_pybytes())
    return _rows(elements)


_CELLS = (str, bool, int, float, type(None))


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds numbers, truth values, texts and None, not {type(value).__name__}")


def _rows(elements: list[bytes]) -> Rows:
    array = np.empty((len(elements), 1), dtype=object)
    array[:, 0] = elements
    return array.view(Rows)
