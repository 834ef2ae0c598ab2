"""Trees as FP64, which skl2onnx has as FP32 even where numbers go in as FP64.

It rounds their thresholds and leaves: its own converters write them as FP64 here, which ONNX has since version 3 of ai.onnx.ml.
Never in here: what any other step becomes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from inferd.features.learned import inner_steps
from inferd.features.missing import Ways
from inferd.features.trained import library

__all__ = ["keep_fp64"]

_TREES = re.compile(r"(?:DecisionTree|ExtraTrees?|RandomForest|(?:Hist)?GradientBoosting)(Classifier|Regressor)")
_NUMBERS = ("nodes_values", "class_weights", "target_weights", "base_values")
_OPSET = 3
# Votes are sums of 1 / trees. As whole multiples of this they add up without rounding, so that equal votes stay equal.
_VOTE = 2.0**-50


def keep_fp64(pipeline: Any) -> None:
    """Has skl2onnx convert such steps of a pipeline so: it asks a step for `onnx_converter` before it looks for its own."""
    for step in inner_steps(pipeline):
        if _TREES.fullmatch(type(step).__name__):
            step.onnx_converter = lambda: _tree


def _own(operator: Any) -> Any:
    return library("skl2onnx.common._registration").get_converter(operator.type)


def _tree(scope: Any, operator: Any, container: Any) -> None:
    named = _TREES.fullmatch(type(operator.raw_operator).__name__)
    with _infinite_thresholds():
        ways = Ways(container, operator.raw_operator)
        _own(operator)(scope, operator, _Container(ways), f"TreeEnsemble{named[1] if named else ''}", "ai.onnx.ml", _OPSET)


@contextmanager
def _infinite_thresholds() -> Iterator[None]:
    """skl2onnx looks for the number that stands for a threshold, and for infinity, by which a tree asks whether a value is missing, its
    search has no end where numbers are FP64. Infinity stands for itself."""
    trees = library("skl2onnx.common.tree_ensemble")
    own = trees.sklearn_threshold
    trees.sklearn_threshold = lambda value, dtype, mode: value if math.isinf(value) else own(value, dtype, mode)
    try:
        yield
    finally:
        trees.sklearn_threshold = own


class _Container:
    """skl2onnx's container of nodes, in which trees have FP64."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        if op_type.startswith("TreeEnsemble"):
            attributes.pop("nodes_hitrates", None)
            for name in _NUMBERS:
                if name in attributes:
                    values = np.asarray(attributes.pop(name), dtype=np.float64)
                    if name == "class_weights" and attributes["post_transform"] == "NONE":
                        values = np.floor(values / _VOTE) * _VOTE
                    attributes[f"{name}_as_tensor"] = library("onnx.numpy_helper").from_array(values)
        self._container.add_node(op_type, inputs, outputs, **attributes)
