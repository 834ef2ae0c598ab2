"""Models with outputs of all kinds, small and made anew each time: x FP32[N,8] in, the kind's outputs out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from tests import models

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 8
RNG = np.random.default_rng(31)
X = RNG.normal(size=(300, WIDTH)).astype(np.float32)
WEIGHTS = RNG.normal(size=(WIDTH, 3)).astype(np.float32)
PLACES = (X @ WEIGHTS).argmax(axis=1)
NAMES = np.array(["rosé", "red", "white"])
KINDS = (
    "whole_labels",
    "text_labels",
    "zipmap",
    "truth_values",
    "regressor",
    "several_numbers",
    "several_labels",
    "ties",
    "forest",
    "outliers",
    "embeddings",
    "top_k",
    "ranks_of_the_graph",
    "all_classes_equal",
    "half",
    "counts",
    "not_a_number",
    "text",
)
CONFIGS = {
    "top_k": """
        inferd { postprocess { output: "p" name: "class" steps { top_k { k: 3 labels: "labels.txt" } } } }
    """
}


def all_kinds() -> dict[str, bytes]:
    """ONNX files by what their outputs are."""
    from sklearn.ensemble import IsolationForest, RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.tree import DecisionTreeClassifier

    targets = np.stack([X[:, 0] + X[:, 1], X[:, 2]], axis=1)
    several = np.stack([X[:, 0] > 0, X[:, 1] > 0.5, X[:, 2] > 1], axis=1).astype(np.int64)
    trained: dict[str, tuple[Any, Any, bool]] = {
        "whole_labels": (LogisticRegression(), PLACES, False),
        "text_labels": (LogisticRegression(), NAMES[PLACES], False),
        "zipmap": (LogisticRegression(), NAMES[PLACES], True),
        "truth_values": (LogisticRegression(), X[:, 0] > 0, False),
        "regressor": (LinearRegression(), targets[:, 0], False),
        "several_numbers": (LinearRegression(), targets, False),
        "several_labels": (OneVsRestClassifier(LogisticRegression()), several, False),
        "ties": (DecisionTreeClassifier(max_depth=1), PLACES, False),
        "forest": (RandomForestClassifier(5, max_depth=3, random_state=0), NAMES[PLACES], False),
        "outliers": (IsolationForest(n_estimators=5, random_state=0), None, False),
    }
    made = {name: converted(*each) for name, each in trained.items()}
    return made | by_hand()


def converted(estimator: Any, target: Any, zipmap: bool) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    fitted = estimator.fit(X, *([] if target is None else [target]))
    options = {"zipmap": zipmap} if hasattr(fitted, "predict_proba") else {}
    opsets = {"": 17, "ai.onnx.ml": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = convert_sklearn(
            fitted, initial_types=[("x", FloatTensorType([None, WIDTH]))], options={id(fitted): options}, target_opset=opsets
        )
    graph.ir_version = 8
    return bytes(graph.SerializeToString())


def by_hand() -> dict[str, bytes]:
    inputs = [("x", "FP32", ("N", WIDTH))]
    product = helper.make_node("MatMul", ["x", "w"], ["h"])
    softmax, constants = helper.make_node("Softmax", ["h"], ["p"]), {"w": WEIGHTS}
    half = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT16)
    whole = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.INT64)
    root = helper.make_node("Sqrt", ["h"], ["y"])  # NaN of what is below 0
    text = helper.make_node("Cast", ["class"], ["y"], to=TensorProto.STRING)
    choice = helper.make_node("ArgMax", ["h"], ["class"], axis=1, keepdims=1)
    best = helper.make_node("TopK", ["p", "two"], ["values", "places"], axis=1)
    ones = {**constants, "w": np.zeros_like(WEIGHTS)}
    return {
        "embeddings": models.model([product], inputs, [("h", "FP32", ("N", 3))], constants),
        "top_k": models.model([product, softmax], inputs, [("p", "FP32", ("N", 3))], constants),
        "ranks_of_the_graph": models.model(
            [product, softmax, best],
            inputs,
            [("values", "FP32", ("N", 2)), ("places", "INT64", ("N", 2))],
            {**constants, "two": np.array([2], np.int64)},
        ),
        "all_classes_equal": models.model([product, softmax], inputs, [("p", "FP32", ("N", 3))], ones),
        "half": models.model([product, half], inputs, [("y", "FP16", ("N", 3))], constants),
        "counts": models.model([product, whole], inputs, [("y", "INT64", ("N", 3))], constants),
        "not_a_number": models.model([product, root], inputs, [("y", "FP32", ("N", 3))], constants),
        "text": models.model([product, choice, text], inputs, [("y", "BYTES", ("N", 1))], constants),
    }


def repository(folder: Path, versions: int = 2) -> None:
    """All of them, each with so many versions of the same bytes."""
    kinds = all_kinds()
    assert set(kinds) == set(KINDS)
    configs = {name: "version_policy { all { } }" + CONFIGS.get(name, "") for name in kinds}
    models.repository(folder, {name: dict.fromkeys(range(1, versions + 1), content) for name, content in kinds.items()}, configs)
    (folder / "top_k" / "labels.txt").write_text("\n".join(NAMES))
