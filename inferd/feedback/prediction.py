"""A prediction as it is kept: of each row a class or a number. Never in here: files, responses (reading.py)."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from inferd.tensors import Array

KEY_NBYTES = 16
MAX_NBYTES = 256 << 10  # of the predictions of one request, and of its probabilities
_texts = msgspec.msgpack.Decoder(list[str])
_slices = msgspec.msgpack.Decoder(dict[str, list[str]])


class Prediction(NamedTuple):
    """The predictions of one request, one a row. time_ns: when it came, by the wall clock.

    predicted: classes, or float64. probabilities: float32 of shape (rows, classes), or None. classes: their names; empty: not known.
    slices: the values of each row by input.
    """

    request_id: str
    model: str
    version: int
    time_ns: int
    predicted: list[str] | Array
    probabilities: Array | None = None
    classes: tuple[str, ...] = ()
    slices: dict[str, list[str]] = {}


def key_of(model: str, request_id: str) -> bytes:
    """The place of a request in the store, whose size does not depend on its id."""
    return blake2b(f"{model}\0{request_id}".encode(errors="surrogatepass"), digest_size=KEY_NBYTES).digest()


def packed(predicted: list[str] | Array) -> bytes:
    return msgspec.msgpack.encode(predicted) if isinstance(predicted, list) else predicted.astype("<f8").tobytes()


def unpacked(numbers: bool, content: bytes) -> list[str] | Array:
    return np.frombuffer(content, "<f8") if numbers else _texts.decode(content)


def packed_slices(slices: dict[str, list[str]]) -> bytes | None:
    return msgspec.msgpack.encode(slices) if slices else None


def unpacked_slices(content: bytes | None) -> dict[str, list[str]]:
    return _slices.decode(content) if content else {}


def is_right(predicted: str | float, label: str | float) -> bool | None:
    """Whether a prediction is its label; None: that is no question, for it is a number. A number from 0 to 1 with the label 0 or 1 is
    the probability of 1."""
    if isinstance(predicted, str):
        return predicted == label
    if label in (0, 1) and 0 <= predicted <= 1:
        return (predicted >= 0.5) == (label == 1)
    return None
