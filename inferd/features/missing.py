"""Trees that learned which way a missing value goes. skl2onnx has all of them go right, but for boosted histograms.

It writes the rest of a tree, and this one attribute is put right on its way into the graph. Never in here: precision (fp64.py).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from inferd.features.learned import inner_steps
from inferd.features.trained import library

__all__ = ["Ways", "keep_ways"]

_TREES = re.compile(r"(?:DecisionTree|ExtraTrees?|RandomForest)(?:Classifier|Regressor)")
_WAYS = "nodes_missing_value_tracks_true"  # 1: a missing value goes left


def keep_ways(pipeline: Any) -> None:
    """Has skl2onnx convert the trees of a pipeline so: it asks a step for `onnx_converter` before it looks for its own."""
    for step in inner_steps(pipeline):
        if _TREES.fullmatch(type(step).__name__):
            step.onnx_converter = lambda: _tree


def _tree(scope: Any, operator: Any, container: Any) -> None:
    own = library("skl2onnx.common._registration").get_converter(operator.type)
    own(scope, operator, Ways(container, operator.raw_operator))


class Ways:
    """skl2onnx's container of nodes, in which the nodes of one step's trees say which way a missing value goes."""

    def __init__(self, container: Any, step: Any) -> None:
        self._container = container
        members = [step] if hasattr(step, "tree_") else np.ravel(getattr(step, "estimators_", ())).tolist()
        self._trees = [member.tree_ for member in members if hasattr(member, "tree_")]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, op_type: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
        if op_type.startswith("TreeEnsemble") and self._are_all_of(attributes):
            attributes[_WAYS] = [int(way) for tree in self._trees for way in tree.missing_go_to_left]
        self._container.add_node(op_type, inputs, outputs, **attributes)

    def _are_all_of(self, attributes: dict[str, Any]) -> bool:
        """Whether the nodes are those of all trees, in their order. Where they are not, what is written stays, and is checked as all is."""
        places = [(number, node) for number, tree in enumerate(self._trees) for node in range(tree.node_count)]
        return (
            all(hasattr(tree, "missing_go_to_left") for tree in self._trees)
            and list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True)) == places
        )
