"""Which graphs may be inline by themselves: those whose cost the shapes of a request bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inferd.engine.checks.bounds import why_unbounded
from tests import models

ONE = np.array([1], np.int64)


def graph_of(nodes: Sequence[onnx.NodeProto], functions: Sequence[onnx.FunctionProto] = (), **constants: Any) -> bytes:
    """x FP32[n], n INT64[1] -> y. Not checked: only its names and operators are looked at."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"]), helper.make_tensor_value_info("n", TensorProto.INT64, [1])]
    weights = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], weights)
    return helper.make_model(graph, functions=functions).SerializeToString()


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Names separated by blanks; `-` is an input that is left out."""
    return helper.make_node(operator, [name.strip("-") for name in inputs.split()], outputs.split(), **attributes)


def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])


@pytest.mark.parametrize(
    "content",
    [models.identity(), models.add(), models.pooled_image(), models.sequence_length(), models.text(), models.failing(), models.many(),
     models.false_promise(), models.running_total(), models.light()],
)  # fmt: skip
def test_ordinary_models_are_bounded(content: bytes) -> None:
    assert why_unbounded(content) == ""


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        ("Range", "zero n one"), ("Tile", "x n"), ("ConstantOfShape", "n"), ("Expand", "x n"), ("Resize", "x - n"), ("Resize", "x - - n"),
        ("Pad", "x n"), ("OneHot", "one n one"), ("Reshape", "x n"), ("Slice", "x one n"), ("TopK", "x n"), ("NonZero", "x"),
        ("Unique", "x"), ("Compress", "x n"), ("NonMaxSuppression", "x one n"), ("ReduceSum", "x n"), ("LSTM", "x one one - n"),
        ("RoiAlign", "x x one"), ("StringSplit", "x"), ("Split", "x n"), ("Unsqueeze", "x n"), ("MaxUnpool", "x one n"),
    ],
)  # fmt: skip
def test_sizes_that_values_decide(operator: str, inputs: str) -> None:
    constants = {"zero": np.int64(0), "one": ONE}
    assert why_unbounded(graph_of([node(operator, inputs)], **constants)) == (
        f"the cost of its {operator} depends on the values of an input"
    )
    free = [node("Shape", "n", "m"), node("Shape", "x", "s"), node("Cast", "s", "f", to=1), node(operator, _renamed(inputs))]
    assert why_unbounded(graph_of(free, **constants)) == "", "what shapes alone decide is bounded"


def _renamed(inputs: str) -> str:
    return " ".join({"n": "m", "x": "f"}.get(name, name) for name in inputs.split())


def test_values_reach_a_size_through_other_operators() -> None:
    through = [node("Cast", "n", "a", to=7), node("Add", "a one", "b"), node("Concat", "b one", "c", axis=0), node("Expand", "x c")]
    assert "Expand" in why_unbounded(graph_of(through, one=ONE))
    assert why_unbounded(graph_of([node("Expand", "x one")], one=ONE)) == "", "the size lies in the file"
    made = [node("Constant", "", "c", value_ints=[4]), node("Mul", "c one", "d"), node("Expand", "x d")]
    assert why_unbounded(graph_of(made, one=ONE)) == ""
    assert "Expand" in why_unbounded(graph_of([node("Expand", "x later"), node("Identity", "one", "later")], one=ONE)), "in doubt, it is"
    assert "Range" in why_unbounded(graph_of([node("RandomUniform", "", "r", shape=[1]), node("Range", "one r one")], one=ONE))


def test_control_flow() -> None:
    assert why_unbounded(models.slow()) == "shapes do not say how often its Loop runs"
    assert "its Scan" in why_unbounded(graph_of([node("Scan", "x", "y", body=branch(node("Identity", "x")), num_scan_inputs=1)]))
    assert "its BeamSearch" in why_unbounded(
        graph_of([node("BeamSearch", "x", domain="com.microsoft", decoder=branch(node("Identity", "x")))])
    )
    assert "its SequenceMap" in why_unbounded(graph_of([node("SequenceMap", "x")]))


def test_branches() -> None:
    short, long = branch(node("Identity", "x")), branch(node("Expand", "x n"))
    by_value = [node("Cast", "n", "b", to=9), node("If", "b", then_branch=short, else_branch=short)]
    assert why_unbounded(graph_of(by_value)) == "the values of an input choose the branch of its If"
    shape = [node("Size", "x", "s"), node("Equal", "s one", "b")]
    assert why_unbounded(graph_of([*shape, node("If", "b", then_branch=short, else_branch=short)], one=ONE)) == ""
    assert "its Expand" in why_unbounded(graph_of([*shape, node("If", "b", then_branch=short, else_branch=long)], one=ONE))
    inner = branch(node("If", "b", then_branch=long, else_branch=short))
    assert "its Expand" in why_unbounded(graph_of([*shape, node("If", "b", then_branch=short, else_branch=inner)], one=ONE))
    after = [*shape, node("If", "b", "c", then_branch=short, else_branch=short), node("Expand", "x c")]
    assert "its Expand" in why_unbounded(graph_of(after, one=ONE)), "what a branch gives depends on what it takes"
    free = [*shape, node("If", "b", "c", then_branch=branch(node("Identity", "one")), else_branch=branch(node("Identity", "s")))]
    assert why_unbounded(graph_of([*free, node("Expand", "x c")], one=ONE)) == ""


def test_functions() -> None:
    opsets = [helper.make_opsetid("", 17)]
    grow = helper.make_function("own", "Grow", ["a", "size"], ["c"], [node("Expand", "a size", "c")], opsets)
    twice = helper.make_function("own", "Twice", ["a", "size"], ["d"], [node("Grow", "a size", "d", domain="own")], opsets)
    for name in ("Grow", "Twice"):
        call = [node(name, "x n", domain="own")]
        assert "its Expand" in why_unbounded(graph_of(call, [grow, twice]))
        assert why_unbounded(graph_of([node(name, "x one", domain="own")], [grow, twice], one=ONE)) == ""
    sizes = helper.make_function("own", "Sizes", ["a"], ["s", "v"], [node("Shape", "a", "s"), node("Identity", "a", "v")], opsets)
    given = node("Sizes", "n", "s v", domain="own")
    assert why_unbounded(graph_of([given, node("Expand", "x s")], [sizes])) == ""
    assert "its Expand" in why_unbounded(graph_of([given, node("Expand", "x v")], [sizes]))
    left_out = helper.make_function("own", "Left", ["a", "b"], ["c"], [node("Expand", "a b", "c")], opsets)
    assert why_unbounded(graph_of([node("Left", "x", domain="own")], [left_out])) == ""


def test_functions_that_call_each_other_again_and_again() -> None:
    opsets = [helper.make_opsetid("", 17)]
    chain = [helper.make_function("own", "F0", ["a"], ["b"], [node("Identity", "a", "b")], opsets)]
    for depth in range(1, 60):
        body = [node(f"F{depth - 1}", "a", "b", domain="own"), node(f"F{depth - 1}", "a", "c", domain="own")]
        chain.append(helper.make_function("own", f"F{depth}", ["a"], ["c"], body, opsets))
    assert why_unbounded(graph_of([node("F59", "x", domain="own")], chain)) == "", "each is looked at once, not 2^59 times"
    itself = helper.make_function("own", "Self", ["a"], ["b"], [node("Self", "a", "b", domain="own")], opsets)
    assert "could not be looked through" in why_unbounded(graph_of([node("Self", "x", domain="own")], [itself]))


def test_what_lies_in_the_file_and_may_be_sent_all_the_same() -> None:
    content = models.model(
        [helper.make_node("Expand", ["x", "size"], ["y"])],
        [("x", "FP32", (1,))],
        [("y", "FP32", ("n",))],
        {"size": np.array([3])},
    )
    assert why_unbounded(content) == ""
    assert "Expand" in why_unbounded(content, frozenset({"size"}))


def test_unknown_operators_and_files(tmp_path: Path) -> None:
    assert why_unbounded(graph_of([node("BertTokenizer", "x", domain="ai.onnx.contrib")])) == (
        "it has BertTokenizer of ai.onnx.contrib, and nothing is known of what that costs"
    )
    assert why_unbounded(graph_of([node("Gelu", "x", domain="com.microsoft")])) == ""
    for content in (b"", b"ORTM" * 8):
        assert "could not be looked through" in why_unbounded(content)
    assert "could not be looked through" in why_unbounded(tmp_path / "none.onnx")
    assert why_unbounded(models.write(tmp_path, "model", models.identity())) == ""
