"""Outputs whose declared shapes are wrong are served as the runs have them, and a model that runs nothing is not served."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from inferd import Engine
from inferd.engine.graph.declared import trust_runs, why_nothing_runs
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import StartError
from tests import models

if TYPE_CHECKING:
    from pathlib import Path

Shape = tuple[int | str, ...]


def first_column(declared: Shape | None, *, keep: bool, rows: str = "N", width: int | str = 4) -> bytes:
    """x FP32[rows,width] -> y, 1.0 where x[0] is above 0: [rows, 1] if it keeps the axis, else [rows].

    declared: of y; None: no shape. onnxmltools declares the label of LightGBM's classifiers wrongly, and CatBoost the predictions of its
    regressors. A tree, since onnxruntime knows not what shape that gives.
    """
    tree = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y" if keep else "column"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[0.0, 1.0],
    )
    graph = helper.make_graph(
        [tree] if keep else [tree, helper.make_node("Squeeze", ["column", "axes"], ["y"])],
        "tree",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)],
        [] if keep else [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize(
    ("declared", "keep", "shape"),
    [
        ((1,), False, ("N",)),  # LightGBM's
        (("N",), True, ("N", 1)),  # CatBoost's
        ((1, 1), True, ("N", 1)),
        (("N", 2), True, ("N", 1)),
        (("N",), False, ("N",)),
        (("M", 1), True, ("M", 1)),
    ],
)
def test_runs_are_trusted_over_the_declaration(declared: Shape, keep: bool, shape: Shape, caplog: pytest.LogCaptureFixture) -> None:
    model = OnnxModel.load(first_column(declared, keep=keep))
    trust_runs(model, "model 'm' version 1")
    assert model.graph.outputs[0].shape == shape
    if shape == declared:
        assert not caplog.records
        return
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = str(list(declared)).replace("'", "")
    assert f"model 'm' version 1: its graph declares shape {said} for output 'y', and its runs give [1" in record.message
    trust_runs(model, "model 'm' version 1")
    assert len(caplog.records) == 1, "the graph is right now"


def test_rows_are_found_where_onnxruntime_knows_no_shape(caplog: pytest.LogCaptureFixture) -> None:
    """As of CatBoost's regressors, whose declared shape contradicts the graph's own."""
    model = OnnxModel.load(first_column(None, keep=True))
    assert model.graph.outputs[0].shape == ()
    trust_runs(model, "model 'm' version 1")
    assert model.graph.outputs[0].shape == ("N", 1)
    assert "declares shape [] for output 'y', and its runs give [1, 1] and [2, 1]: it is served as [N, 1]" in caplog.text


def test_an_unknown_rank_stays_unknown_where_it_may_depend_on_sizes() -> None:
    model = OnnxModel.load(first_column(None, keep=True, width="M"))
    trust_runs(model, "model 'm' version 1")
    assert model.graph.outputs[0].shape == ()


@pytest.mark.parametrize(("declared", "keep"), [((1,), False), (("N",), True)], ids=["as LightGBM's", "as CatBoost's"])
@pytest.mark.filterwarnings("error")
def test_such_a_model_answers(tmp_path: Path, declared: Shape, keep: bool) -> None:
    file = models.write(tmp_path, "m", first_column(declared, keep=keep))
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    with Engine(file) as engine:
        for rows in (1, 2, 5):
            expected = (x[:rows, :1] if keep else x[:rows, 0]) > 0
            np.testing.assert_array_equal(engine.infer("m", {"x": x[:rows]})["y"], expected)


def broken(word: str = "FP32") -> bytes:
    """x[N,4] -> y[N,3], which no run can make: 4 values are no 3."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["reshaped"]), helper.make_node("Cast", ["reshaped"], ["y"], to=1)]
    return models.model(nodes, [("x", word, ("N", 4))], [("y", "FP32", ("N", 3))], {"shape": np.array([-1, 3], np.int64)})


def test_a_model_that_runs_nothing_is_not_ready(tmp_path: Path) -> None:
    assert "Reshape" in why_nothing_runs(OnnxModel.load(broken()))
    assert why_nothing_runs(OnnxModel.load(models.identity())) == ""
    file = models.write(tmp_path, "m", broken())
    with pytest.raises(StartError, match="it runs neither zeros nor other values of the shapes that its graph declares") as raised:
        Engine(file).close()
    assert "Reshape" in str(raised.value)
    assert "input shape" in str(raised.value).lower()
    assert "/onnxruntime/" not in str(raised.value)


def test_values_that_the_server_cannot_know_are_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whole numbers may be ids of which 0 and 1 are none."""
    file = models.write(tmp_path, "m", broken("INT64"))
    with Engine(file):
        told = [record.message for record in caplog.records if "zeros failed as a warm-up" in record.message]
    assert len(told) == 1
    assert "Reshape" in told[0]


def test_a_model_of_free_sizes_is_taken_as_it_is(tmp_path: Path) -> None:
    nodes: list[Any] = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    content = models.model(nodes, [("x", "FP32", ("N", "M"))], [("y", "FP32", ("N", 2))], {"w": np.ones((77, 2), np.float32)})
    with Engine(models.write(tmp_path, "m", content)) as engine:
        assert engine.infer("m", {"x": np.ones((1, 77), np.float32)})["y"].tolist() == [[77.0, 77.0]]
