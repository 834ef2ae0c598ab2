"""The backend of a model whose sizes vary: each input has a growing arena, and onnxruntime allocates the outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.runtime.onnx.arrays import aligned
from inferd.engine.runtime.onnx.run import OpenSession, Run
from inferd.tensors import DTYPES, Array

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch

_KEPT_BYTES = 16 << 20  # largest input whose memory a varying backend keeps; larger ones are freed after their run
_CACHED_SHAPES = 32  # combinations of input shapes for which a varying backend keeps its views and binding


class VaryingBackend(Run):
    """Sizes vary: each input has an arena that grows up to _KEPT_BYTES, and its arrays are views of it. A larger input gets a new array.
    onnxruntime allocates the outputs.

    Views of the last _CACHED_SHAPES combinations of shapes are kept. Text has no arena: its elements are Python objects.
    """

    def __init__(self, opened: OpenSession, signature: Signature) -> None:
        super().__init__(opened, signature)
        self._arenas: list[Array] = [aligned((0,), np.uint8) for _ in self._input_specs]
        self._views: dict[tuple[tuple[int, ...], ...], tuple[Tensors, dict[str, Any]]] = {}
        self._next_feed: dict[str, Any] = {}  # the next run's inputs
        self._has_text = "BYTES" in self._input_words

    def inputs(self, batch: Batch) -> Tensors:
        shapes = tuple([batch.input_shape(index) for index in range(len(self._input_specs))])
        views = self._views.get(shapes)
        if views is None:
            arrays = [self._array(index, shape) for index, shape in enumerate(shapes)]
            views = self._tensors(arrays, self._input_words, batch.rows), self._feed(arrays)
            if len(self._views) >= _CACHED_SHAPES:
                del self._views[next(iter(self._views))]
            if not self._has_text and all(array.nbytes <= _KEPT_BYTES for array in arrays):
                self._views[shapes] = views
        tensors, self._next_feed = views
        return tensors

    def _array(self, index: int, shape: tuple[int, ...]) -> Array:
        dtype = DTYPES[self._input_words[index]]
        if dtype.hasobject:
            return np.empty(shape, dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes > _KEPT_BYTES:  # the allocation costs little beside such a run
            return aligned(shape, dtype)
        if nbytes > self._arenas[index].nbytes:
            self._arenas[index] = aligned((max(nbytes, 2 * self._arenas[index].nbytes),), np.uint8)
            self._views.clear()  # they look into the old arena
        array: Array = self._arenas[index][:nbytes].view(dtype).reshape(shape)
        return array

    def run(self, rows: int) -> Tensors:
        feed, self._next_feed = self._next_feed, {}
        return self._run_allocating(feed, rows)

    def close(self) -> None:
        self._next_feed = {}
        self._views.clear()
        self._arenas = []
