"""A large ONNX file in two parts: its graph, and its bytes, in which the weights lie.

ONNX Runtime's Python interface holds Python's lock while it parses a file, 60 ms for 100 MB, and no request gets on meanwhile. It does not
hold it while it makes the session, which is when it takes weights that lie in other files. So it parses the graph alone, and finds the
weights in the second part, at the places where they are in the file. Never in here: onnxruntime (backend.py).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from inferd.engine.onnx_file import without_weights

__all__ = ["LOCATION", "Parts", "parted"]

LEAST_BYTES = 4 << 20  # a smaller file is parsed within some milliseconds
LOCATION = ".inferd-weights"  # the name of the second part


class Parts(NamedTuple):
    """graph: an ONNX file. weights: what it calls LOCATION."""

    graph: bytes
    weights: np.ndarray[Any, np.dtype[np.uint8]]


def parted(file: str | os.PathLike[str]) -> Parts | None:
    """None: the file is small, or is parsed as a whole for another reason."""
    try:
        size = os.stat(file).st_size
        if size < LEAST_BYTES:
            return None
        weights = np.fromfile(file, np.uint8, size)
        graph = without_weights(weights.data, LOCATION)
    except (OSError, ValueError, IndexError, MemoryError):
        return None  # onnxruntime says better why
    return None if graph is None or len(graph) > size // 2 else Parts(graph, weights)
