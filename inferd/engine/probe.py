"""Asks a model whether axis 0 is a batch: whether two rows together give what each of them gives alone.

A graph only names its axes. Exporters name one axis twice ("unk__214", "unk__215"), or name a time axis as if it were a batch; batching
that would give wrong answers without an error. A few trial runs of one and two rows tell.
Never in here: configurations, requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.tensor import DATATYPES

if TYPE_CHECKING:
    from inferd.engine.backend import OnnxModel, TensorInfo

__all__ = ["why_rows_depend"]

log = logging.getLogger("inferd.engine")

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

FREE_SIZES = (1, 32)  # tried for axes of any size, in this order: some models of images want multiples of 32
LONGEST_TRIAL_S = 0.5  # a model whose one row takes longer is not tried further
TOLERANCE = 0.05  # of an output's largest value: dynamic quantization takes its scales over the whole batch


def why_rows_depend(model: OnnxModel) -> str | None:
    """Why rows may not be batched, by trial; '' when they may; None when trials did not tell (they failed, or take too long)."""
    for size in FREE_SIZES:
        try:
            return _compare(model, size)
        except Exception as error:  # onnxruntime's own: the model does not like these sizes or values
            log.debug("model %r: a trial run with free axes of %d failed: %s", model.name, size, error)
    return None


def _compare(model: OnnxModel, size: int) -> str | None:
    generator = np.random.default_rng(0)
    pair = {tensor.name: _rows(tensor, size, generator) for tensor in model.graph.inputs}
    started_s = time.monotonic()
    first = model.trial(_part(pair, 0))
    if time.monotonic() - started_s > LONGEST_TRIAL_S:
        return None
    alone = [first, model.trial(_part(pair, 1))]
    both = model.trial(pair)
    for name, array in both.items():
        if array.ndim == 0 or array.shape[0] != 2 or any(each[name].shape != (1, *array.shape[1:]) for each in alone):
            shapes = [list(each[name].shape) for each in (*alone, both)]
            return f"output {name!r} has shapes {shapes[0]} and {shapes[1]} for one row, and {shapes[2]} for two"
        for row in range(2):
            if not _same(array[row], alone[row][name][0]):
                return f"output {name!r} of a row changes with the other rows of its batch"
    return ""


def _rows(tensor: TensorInfo, size: int, generator: np.random.Generator) -> Array:
    """Two different rows: normal numbers, or zeros and ones, which are fit for indices and masks, too."""
    shape = (2, *(size if isinstance(axis, str) else axis for axis in tensor.shape[1:]))
    if tensor.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    dtype = DATATYPES[tensor.datatype][2]
    if tensor.datatype.startswith("FP"):
        return generator.normal(size=shape).astype(dtype)
    rows = np.zeros(shape, dtype)
    rows[1] = 1
    return rows


def _part(pair: Mapping[str, Array], row: int) -> Arrays:
    return {name: array[row : row + 1] for name, array in pair.items()}


def _same(one: Array, other: Array) -> bool:
    if one.dtype.kind not in "fc":
        return bool(np.array_equal(one, other))
    finite = np.abs(other[np.isfinite(other)])
    scale = float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * scale + 1e-6, equal_nan=True))
