"""A classifier as skl2onnx exports it by default is served: its ZipMap is cut, and its answers are scikit-learn's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skl2onnx
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from inferd import Engine
from inferd.engine.graph.zipmap import without_zipmaps
from tests import models

X, Y = (part[::3] for part in load_iris(return_X_y=True))
NAMES = load_iris().target_names[Y].astype(str)


@pytest.mark.parametrize(
    ("model", "classes", "word"),
    [
        (LogisticRegression(max_iter=1000), ["0", "1", "2"], "FP64"),  # a ZipMap of FP64, which onnxruntime does not open
        (DecisionTreeClassifier(max_depth=3), ["setosa", "versicolor", "virginica"], "FP32"),
    ],
    ids=["numbers", "names"],
)
def test_a_default_export_is_served(tmp_path: Path, caplog: pytest.LogCaptureFixture, model: Any, classes: list[str], word: str) -> None:
    model.fit(X, Y if word == "FP64" else NAMES)
    path = models.write(tmp_path, "iris", skl2onnx.to_onnx(model, X).SerializeToString())
    with caplog.at_level(logging.INFO, "inferd.engine"), Engine(path) as engine:
        response = engine.infer("iris", {"X": X})
        described = {output.name: (output.datatype, output.shape) for output in engine.metadata("iris").outputs}
        told = [(entry.output, list(entry.classes)) for entry in engine.config("iris").inferd.postprocess]
    np.testing.assert_allclose(response["output_probability"], model.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(response["output_label"].astype(str), model.predict(X).astype(str))
    assert described["output_probability"] == (word, (-1, 3))
    assert told == [("output_probability", classes)]
    notices = [record.getMessage() for record in caplog.records if "ZipMap" in record.getMessage()]
    assert len(notices) == 1
    assert all(part in notices[0] for part in ("'iris'", "'output_probability'", ", ".join(classes)))


def test_own_words_about_the_output_stay(tmp_path: Path) -> None:
    config = 'inferd { postprocess { output: "output_probability" steps { top_k { k: 1 } } } }'
    export = skl2onnx.to_onnx(LogisticRegression(max_iter=1000).fit(X, Y), X).SerializeToString()
    with Engine(models.repository(tmp_path, {"iris": export}, {"iris": config})) as engine:
        assert engine.infer("iris", {"X": X[:1]})["output_probability_index"].tolist() == [[0]]


def test_only_a_zipmap_that_makes_an_output_is_cut() -> None:
    inner = helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph(
        [inner, helper.make_node("SequenceLength", ["maps"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [])],
    )
    content = helper.make_model(graph).SerializeToString()
    again, cut = without_zipmaps(content)
    assert not cut
    assert len(again) == len(content)  # nothing is lost, neither what is known here nor what is not


@pytest.mark.parametrize("content", [b"junk", b"", models.identity()])
def test_what_has_none(content: bytes) -> None:
    assert without_zipmaps(content)[1] == {}
