"""Arrays around runs: aligned memory, the memory of an OrtValue, and the shapes of `reshape`."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferd.engine.graph.reshaping import Reshape
from inferd.tensors import Array

_ALIGN_BYTES = 64  # a cache line, and the widest vector that MLAS loads
Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape with the batch axis; -1: any size
Reshapes = Mapping[str, Reshape]  # by tensor


def inward(reshapes: Reshapes, name: str, array: Array) -> Array:
    """The same memory in the graph's shape."""
    return array.reshape(reshapes[name].inward(array.shape)) if name in reshapes else array


def outward(reshapes: Reshapes, name: str, array: Array) -> Array:
    """The same memory in the shape that clients see."""
    return array.reshape(reshapes[name].outward(array.shape)) if name in reshapes else array


def fits(promised: Sequence[int | str], shape: Sequence[int]) -> bool:
    """Whether an array has the promised shape. -1, or a symbol, stands for any size."""
    return len(promised) == len(shape) and all(
        isinstance(size, str) or size in (-1, got) for size, got in zip(promised, shape, strict=True)
    )


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array whose first byte lies at a multiple of 64. The system gives it pages only as rows are used."""
    wanted = np.dtype(dtype)
    nbytes = math.prod(shape) * wanted.itemsize
    room = np.empty(nbytes + _ALIGN_BYTES, dtype=np.uint8)
    start = -room.ctypes.data % _ALIGN_BYTES
    aligned: Array = room[start : start + nbytes].view(wanted).reshape(shape)
    return aligned


def array_of(value: Any, word: str) -> Array:
    """The memory of an OrtValue as an array, without a copy. The array keeps the value alive."""
    if word != "BF16":
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    nbytes = 2 * math.prod(shape)
    if nbytes == 0:
        return np.empty(shape, dtype=np.uint16)
    memory: Any = (ctypes.c_char * nbytes).from_address(value.data_ptr())
    memory.owner = value
    return np.frombuffer(memory, dtype=np.uint16).reshape(shape)
