"""What a model that makes its own tensors takes: pictures, sounds, sentences and records, each a row of a BYTES input.

    client.infer("cats", {"image": files("cat.jpg", "dog.jpg")})
    client.infer("minilm", {"text": texts("a sentence", "another")})
    client.infer("income", {"record": records({"age": 39, "job": "clerk"})})

Nothing is decoded here: the server does that, and says what is wrong with which row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["files", "records", "texts"]

Array = np.ndarray[Any, np.dtype[Any]]


def files(*paths: str | PathLike[str]) -> Array:
    """The bytes of image or audio files, each a row: an object array [rows, 1]. Raises OSError."""
    return _rows([Path(path).read_bytes() for path in paths])


def texts(*lines: str) -> Array:
    """Sentences, each a row: an object array [rows, 1] of UTF-8."""
    return _rows([line.encode() for line in lines])


def records(*rows: Mapping[str, Any]) -> Array:
    """Records by column name, each a row: an object array [rows, 1] of JSON. None is a missing value. Raises TypeError for what JSON
    has not, ValueError for NaN and infinities."""
    return _rows([json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=_plain).encode() for row in rows])


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds numbers, truth values, texts and None, not {type(value).__name__}")


def _rows(elements: list[bytes]) -> Array:
    array = np.empty((len(elements), 1), dtype=object)
    array[:, 0] = elements
    return array
