"""Trees and forests as scikit-learn has them: in FP64, and with the ways that missing values go.

skl2onnx rounds thresholds and leaves to FP32 even where numbers go in as FP64. It sends missing values right in all trees except boosted
histograms. These attributes are put right on their way into the graph; its own converters write the rest. Never in here: other steps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from inferd.scikit_learn.learned import inner_steps
from inferd.scikit_learn.nodes import takes_fp64
from inferd.scikit_learn.trained import library

_TREES = re.compile(r"(?:DecisionTree|ExtraTrees?|RandomForest|(?:Hist)?GradientBoosting)(Classifier|Regressor)")
_WAYS = "nodes_missing_value_tracks_true"  # 1: a missing value goes left
_NUMBERS = ("nodes_values", "class_weights", "target_weights", "base_values")
_OPSET = 3  # of ai.onnx.ml, the first that has these as FP64
# Votes are sums of 1 / trees. As whole multiples of this they add up without rounding, so that equal votes stay equal.
# A second class of two is chosen from more than 0.5 on, which half of the votes must not come to.
_VOTE = 2.0**-50
_DOWN = 1 - 2.0**-24  # of what skl2onnx has rounded to FP32, for a step in front gives that


def keep_trees(pipeline: Any, floats: str) -> None:
    """Has skl2onnx convert the trees of a pipeline so: it asks a step for `onnx_converter` before it looks for its own."""
    for step in inner_steps(pipeline):
        if named := _TREES.fullmatch(type(step).__name__):
            operator = (f"TreeEnsemble{named[1]}", "ai.onnx.ml", _OPSET) if floats == "FP64" else ()
            step.onnx_converter = lambda to=operator: partial(_convert, to)


def _convert(as_fp64: tuple[Any, ...], scope: Any, operator: Any, container: Any) -> None:
    """as_fp64: what skl2onnx is told to call the operator, where it is of FP64; else nothing."""
    own = library("skl2onnx.common._registration").get_converter(operator.type)
    with _infinite_thresholds():
        own(scope, operator, _Container(scope, container, operator, is_fp64=bool(as_fp64)), *as_fp64)


@contextmanager
def _infinite_thresholds() -> Iterator[None]:
    """Has skl2onnx keep thresholds that are infinite, by which a tree asks whether a value is missing.

    Its search for a number that stands for such a threshold never ends where numbers are FP64."""
    trees = library("skl2onnx.common.tree_ensemble")
    own = trees.sklearn_threshold
    trees.sklearn_threshold = lambda value, dtype, mode: value if math.isinf(value) else own(value, dtype, mode)
    try:
        yield
    finally:
        trees.sklearn_threshold = own


class _Container:
    """skl2onnx's container of nodes, in which those of one step's trees are put right."""

    def __init__(self, scope: Any, container: Any, operator: Any, *, is_fp64: bool) -> None:
        self._scope, self._container, self._is_fp64 = scope, container, is_fp64
        self._takes_fp64, step = takes_fp64(operator), operator.raw_operator
        members = [step] if hasattr(step, "tree_") else np.ravel(getattr(step, "estimators_", ())).tolist()
        self._trees = [member.tree_ for member in members if hasattr(member, "tree_")]
        self._is_log = type(step).__name__ == "HistGradientBoostingRegressor" and step.loss in ("poisson", "gamma")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        if op_type.startswith("TreeEnsemble"):
            if _are_all_of(self._trees, attributes):
                attributes[_WAYS] = [int(way) for tree in self._trees for way in tree.missing_go_to_left]
            if self._is_fp64:
                inputs, attributes = self._as_fp64(inputs), _with_fp64(attributes, 1.0 if self._takes_fp64 else _DOWN)
            if self._is_log:  # of which skl2onnx leaves the exponential out
                logarithm = self._scope.get_unique_variable_name("logarithm")
                self._container.add_node("Exp", logarithm, outputs, name=self._scope.get_unique_operator_name("Exp"))
                outputs = logarithm
        self._container.add_node(op_type, inputs, outputs, **attributes)

    def _as_fp64(self, given: Any) -> str:
        """A node that casts encoded texts, which are FP32, to FP64, for trees of FP64 take nothing else."""
        name: str = self._scope.get_unique_variable_name("as_fp64")
        self._container.add_node("Cast", given, name, to=library("onnx").TensorProto.DOUBLE)
        return name


def _are_all_of(trees: list[Any], attributes: dict[str, Any]) -> bool:
    """Whether the nodes are those of all trees, in their order. Where they are not, what is written stays, and is checked as all is."""
    places = [(number, node) for number, tree in enumerate(trees) for node in range(tree.node_count)]
    return (
        all(hasattr(tree, "missing_go_to_left") for tree in trees)
        and list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)) == places
    )


def _with_fp64(attributes: dict[str, Any], down: float) -> dict[str, Any]:
    changed = {name: values for name, values in attributes.items() if name not in (*_NUMBERS, "nodes_hitrates")}
    for name in _NUMBERS:
        if name in attributes:
            values = np.asarray(attributes[name], dtype=np.float64)
            if name == "class_weights" and attributes["post_transform"] == "NONE":
                values = np.floor(values * down / _VOTE) * _VOTE
            changed[f"{name}_as_tensor"] = library("onnx.numpy_helper").from_array(values)
    return changed
