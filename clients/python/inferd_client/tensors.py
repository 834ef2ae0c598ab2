"""numpy arrays <-> the bytes of tensors, for every datatype of the protocol. Knows no messages and no network.

Raw tensor bytes are row-major and little-endian. BYTES elements are a 4-byte little-endian length and the data each.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATATYPES", "Array", "array_of", "bfloat16", "datatype_of", "decode", "elements_of", "encode", "numbers", "shown"]

Array: TypeAlias = NDArray[Any]

try:
    from ml_dtypes import bfloat16 as _bfloat16

    bfloat16: np.dtype[Any] | None = np.dtype(_bfloat16)
except ImportError:
    bfloat16 = None
"""numpy's dtype for BF16 when ml_dtypes is installed, else None: BF16 then comes as uint16."""

# Datatype word -> how its elements lie in a buffer. BYTES has no fixed size and is not here.
_FIXED: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": bfloat16 or np.dtype("<u2"),
}
_WORDS = {dtype: word for word, dtype in _FIXED.items() if word != "BF16"}

DATATYPES: tuple[str, ...] = (*_FIXED, "BYTES")
"""Every datatype word of the protocol."""

_LENGTH = struct.Struct("<I")

MAX_AXES = 64  # of an array of numpy


def datatype_of(array: Array) -> str:
    """The datatype word of an array's dtype: float32 -> "FP32"; object, bytes and str arrays -> "BYTES".

    Raises TypeError for dtypes without one, such as complex64 and datetime64.
    """
    dtype = array.dtype
    word = _WORDS.get(dtype) or _WORDS.get(dtype.newbyteorder("<"))
    if word is not None:
        return word
    if dtype.kind in "OSUT":
        return "BYTES"
    if dtype.name == "bfloat16":
        return "BF16"
    raise TypeError(f"no datatype of the protocol holds numpy's {dtype}; convert the array to one of {', '.join(DATATYPES)}")


def numbers(datatype: str) -> np.dtype[Any] | None:
    """numpy's dtype of a datatype of numbers that convert into each other; None for the others."""
    return None if datatype == "BF16" else _FIXED.get(datatype)


def shown(array: Array) -> str:
    """Datatype and shape, as FP32[1, 10]."""
    return f"{datatype_of(array)}{list(array.shape)}"


def array_of(value: Any, datatype: str) -> Array:
    """A list, nested list or number as an array of a datatype. Raises ValueError when it does not fit."""
    if datatype == "BYTES":
        return np.asarray(value, dtype=object)
    dtype = _FIXED.get(datatype)
    if dtype is None:
        raise ValueError(f"expected a datatype out of {', '.join(DATATYPES)}, got {datatype!r}")
    if datatype == "BF16" and bfloat16 is None:
        raise ValueError("a list can become BF16 only with ml-dtypes installed (inferd-client[bf16]); or pass a uint16 array of bits")
    return np.asarray(value, dtype=dtype)


def encode(array: Array, datatype: str) -> bytes | memoryview:
    """The raw bytes of an array as a tensor of `datatype`: a view of its memory when that is contiguous.

    Raises TypeError when the array's dtype is not that datatype's, and for numpy's bytes_ (S), which drops NUL bytes at the end. A uint16
    array may stand for BF16 (its bits).
    """
    own = datatype_of(array)
    if own != datatype and not (datatype == "BF16" and own == "UINT16"):
        raise TypeError(f"expected an array of {datatype}, got numpy's {array.dtype}, which is {own}")
    if datatype == "BYTES":
        if array.dtype.kind == "S":
            raise TypeError(
                f"numpy's {array.dtype} drops NUL bytes at the end of an element; make the array with dtype=object, or send a list"
            )
        return b"".join(_length_prefixed(array))
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and np.little_endian is False):
        array = array.astype(array.dtype.newbyteorder("<"))
    # asarray, unlike ascontiguousarray, leaves a scalar's shape alone. The view as bytes is for dtypes that the
    # buffer protocol has no letter for.
    return np.asarray(array, order="C").reshape(-1).view(np.uint8).data


def _length_prefixed(array: Array) -> Iterator[bytes]:
    for index, element in enumerate(array.flat):
        if isinstance(element, str):
            element = element.encode()
        elif not isinstance(element, bytes):
            raise TypeError(f"expected bytes or str in every element of a BYTES tensor, got {type(element).__name__} at position {index}")
        yield _LENGTH.pack(len(element))
        yield element


def elements_of(shape: Sequence[int]) -> int:
    """How many elements a shape has, which may be more than any memory holds. Raises ValueError for a shape that no array has."""
    if len(shape) > MAX_AXES:  # before they are multiplied: of a hundred thousand that takes a minute
        raise ValueError(f"expected a shape of {MAX_AXES} axes at most, got {len(shape)}")
    if any(size < 0 for size in shape):
        raise ValueError(f"expected a shape of sizes from 0 on, got {list(shape)}")
    return math.prod(shape)


def decode(raw: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """A tensor's raw bytes as a new, writable array. BYTES become an object array of bytes.

    Raises ValueError when the bytes do not hold exactly what datatype and shape say.
    """
    elements = elements_of(shape)
    if datatype == "BYTES":
        return _from_length_prefixed(raw, elements).reshape(shape)
    dtype = _FIXED.get(datatype)
    if dtype is None:
        raise ValueError(f"expected a datatype out of {', '.join(DATATYPES)}, got {datatype!r}")
    if len(raw) != elements * dtype.itemsize:
        raise ValueError(f"expected {elements * dtype.itemsize} bytes for {datatype}{list(shape)}, got {len(raw)}")
    array = np.empty(shape, dtype=dtype)
    array.reshape(-1).view(np.uint8)[:] = np.frombuffer(raw, dtype=np.uint8)
    return array


def _from_length_prefixed(raw: bytes | memoryview, elements: int) -> Array:
    if _LENGTH.size * elements > len(raw):  # before they have a place: a shape may say any number
        raise ValueError(f"expected {elements} BYTES elements, got {len(raw)} bytes, which is less than their lengths take")
    array = np.empty(elements, dtype=object)
    at = 0
    for index in range(elements):
        begin = at + _LENGTH.size
        if begin > len(raw):
            raise ValueError(f"expected {elements} BYTES elements, got {index} and {len(raw) - at} bytes more")
        at = begin + _LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise ValueError(f"BYTES element {index} says {at - begin} bytes, but only {len(raw) - begin} are left")
        array[index] = bytes(raw[begin:at])
    if at != len(raw):
        raise ValueError(f"expected {elements} BYTES elements, got {len(raw) - at} bytes after the last")
    return array
