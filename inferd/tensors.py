"""Tensors as numpy arrays: the datatypes of the protocol, the bytes of BYTES, the bits of BF16.

An array of BYTES has objects, which are bytes or str; one of BF16 has the bits, as uint16. Never in here: how one datatype becomes another
(engine/conversion.py), requests, models.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES: dict[str, np.dtype[Any]] = {word: dtype for word, (_, _, dtype) in DATATYPES.items()}
"""The protocol's datatype -> the numpy type of an array."""

_WORDS = {dtype.name: word for word, dtype in DTYPES.items() if word != "BF16"} | {"bfloat16": "BF16"}  # that of ml_dtypes


def word_of(dtype: np.dtype[Any]) -> str:
    """The protocol's datatype for a numpy type; numpy's own name where there is none."""
    return _WORDS.get(dtype.name, dtype.name)


def is_fraction(word: str) -> bool:
    """Whether values of the datatype may be fractions."""
    return word.startswith("FP") or word == "BF16"


def objects(values: Iterable[Any], shape: Sequence[int] | None = None) -> Array:
    """An array of these objects. numpy does not look into any of them."""
    held = list(values)
    array = np.empty(len(held), object)
    array[:] = held
    return array if shape is None else array.reshape(shape)


def encoded(array: Array) -> Array:
    """Texts as objects of bytes, from any of numpy's types for texts; other arrays as they are."""
    if array.dtype.kind not in "OSU":
        return array
    return objects((text.encode() if isinstance(text, str) else text for text in array.reshape(-1).tolist()), array.shape)


def elements_of(data: Buffer) -> list[bytes]:
    """The elements of a tensor of BYTES, each after its length (4 bytes, little-endian). Raises ValueError."""
    memory, at = memoryview(data), 0
    elements = []
    while at < len(memory):
        end = at + 4 + int.from_bytes(memory[at : at + 4], "little")
        if end > len(memory):
            raise ValueError("an element of BYTES is longer than its tensor")
        elements.append(bytes(memory[at + 4 : end]))
        at = end
    return elements


def array_of(word: str, shape: Sequence[int], data: Buffer) -> Array:
    """An array from raw bytes, as requests carry them. Raises ValueError if the bytes do not fit the shape."""
    if word == "BYTES":
        return objects(elements_of(data), shape)
    flat: Array = np.frombuffer(memoryview(data), DTYPES[word])
    return flat.reshape(shape)


def bytes_of(word: str, values: Any) -> bytes:
    """Raw bytes of an array, or of numbers and texts from JSON."""
    if word != "BYTES":
        return np.asarray(values, DTYPES[word]).tobytes()
    elements = encoded(np.asarray(values, object)).reshape(-1)
    return b"".join(len(each).to_bytes(4, "little") + bytes(each) for each in elements)


def widened(bits: Array) -> Array:
    """Bits of BF16, or ml_dtypes' bfloat16, as float32; wider arrays as they are."""
    if bits.dtype.itemsize != 2:
        return bits
    return (bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def as_numbers(array: Array, word: str) -> Array:
    """Numbers as float64, in which a difference of two float32 is exact enough to compare with a tolerance. BF16 may be given as bits."""
    return (widened(array) if word == "BF16" and array.dtype == np.uint16 else array).astype(np.float64)


def distances(one: Array, other: Array, size: Any = 1.0) -> Array:
    """Between floats, over their size: 0 where they are the same, or both NaN, and infinity where nothing can be said."""
    with np.errstate(all="ignore"):
        apart: Array = np.abs(one - other) / size
    apart[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0
    apart[np.isnan(apart)] = math.inf
    return apart


def bfloat16(array: Array) -> Array:
    """The bits of BF16: the upper half of each float32, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, np.uint16(0x7FC0), rounded).reshape(np.shape(array))


def numbers_as(word: str, numbers: Array) -> Array:
    """Numbers as an array of the datatype: their digits for BYTES, their bits for BF16, else as numpy casts them."""
    if word == "BYTES":
        return objects(map(str, numbers.reshape(-1).tolist()), numbers.shape)
    return bfloat16(numbers) if word == "BF16" else numbers.astype(DTYPES[word])


def zeros(word: str, shape: Sequence[int]) -> Array:
    """Zeros; empty texts for BYTES."""
    return objects([""] * math.prod(shape), shape) if word == "BYTES" else np.zeros(shape, DTYPES[word])
