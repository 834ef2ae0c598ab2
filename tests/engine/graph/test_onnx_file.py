"""The operators of an ONNX file and the names between them, against the onnx package, which wrote it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from inferd._core.tensor.datatypes import DATATYPES
from inferd.engine.graph import onnx_file
from inferd.engine.graph.onnx_file import Subgraph, initial_values, read_onnx, without_weights
from tests import models

EVERY = [
    models.identity(),
    models.add(),
    models.slow(),
    models.failing(),
    models.many(),
    models.rows_depend(),
    models.text(),
    models.light(),
]


def agree(read: Subgraph, written: onnx.GraphProto) -> None:
    assert read.constants == {tensor.name for tensor in written.initializer} | {each.values.name for each in written.sparse_initializer}
    assert read.outputs == tuple(output.name for output in written.output)
    assert len(read.nodes) == len(written.node)
    for node, proto in zip(read.nodes, written.node, strict=True):
        assert node[:5] == (proto.op_type, proto.domain, proto.overload, tuple(proto.input), tuple(proto.output))
        graphs = [graph for attribute in proto.attribute for graph in ([attribute.g] if attribute.HasField("g") else attribute.graphs)]
        assert len(node.graphs) == len(graphs)
        for inner, graph in zip(node.graphs, graphs, strict=True):
            agree(inner, graph)


@pytest.mark.parametrize("content", EVERY, ids=range(len(EVERY)))
def test_what_was_written_is_read(content: bytes, tmp_path: Path) -> None:
    agree(read_onnx(content).graph, onnx.load_from_string(content).graph)
    assert read_onnx(models.write(tmp_path, "model", content)) == read_onnx(content)


def test_functions_and_numbers_that_are_passed_over() -> None:
    body = [helper.make_node("Add", ["a", "b"], ["c"])]
    function = helper.make_function("own", "Sum", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    node = helper.make_node("Sum", ["x", "x"], ["y"], domain="own", many=[1.5] * 1000, more=list(range(-3, 1000)), words=["a", "=bcde"])
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("few", TensorProto.FLOAT, [1], [1.0]), helper.make_tensor("where", TensorProto.INT64, [1], [0]), [4]
    )
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([node], "graph", [x], [y], sparse_initializer=[sparse])
    read = read_onnx(helper.make_model(graph, functions=[function]).SerializeToString())
    agree(read.graph, graph)
    assert read.graph.constants == {"few"}
    (key, found), *others = read.functions.items()
    assert (key, others) == (("own", "Sum", ""), [])
    assert (found.inputs, found.outputs, found.nodes[0].operator) == (("a", "b"), ("c",), "Add")


def test_initial_values_of_every_datatype(tmp_path: Path) -> None:
    """Raw, and in the lists that onnx has for them."""
    graph = onnx.GraphProto()
    expected = {}
    for word, (_, _, dtype) in DATATYPES.items():
        kind = models.ONNX_TYPES[word]
        if word == "BYTES":
            graph.initializer.append(helper.make_tensor("raw BYTES", kind, [2], [b"ab", b""]))
            expected["raw BYTES"] = b"\2\0\0\0ab\0\0\0\0"
            continue
        values = np.array([1, 0], dtype) if word in ("BOOL", "BF16") or word.startswith("U") else np.array([-2, 3], dtype)
        graph.initializer.append(helper.make_tensor(f"raw {word}", kind, [2], values.tobytes(), raw=True))
        expected[f"raw {word}"] = values.tobytes()
        if word != "BF16":
            graph.initializer.append(helper.make_tensor(f"list {word}", kind, [2], values))
            expected[f"list {word}"] = values.tobytes()
    content = onnx.ModelProto(ir_version=8, graph=graph).SerializeToString()
    words = {name: name.split()[1] for name in expected}
    (tmp_path / "m.onnx").write_bytes(content)
    for source in (content, tmp_path / "m.onnx"):
        assert initial_values(source, words) == expected
    assert initial_values(content, {"raw FP32": "FP32", "none": "FP32"}) == {"raw FP32": expected["raw FP32"]}


def test_large_weights_become_external_data(tmp_path: Path) -> None:
    """Read with the onnx package, which finds them in the first file, the second one is the same model."""
    model = onnx.load_from_string(models.add())
    for name, count in (("large", 40_000), ("small", 100), ("larger", 3_000_000)):
        tensor = onnx.numpy_helper.from_array(np.arange(count, dtype=np.float32), name)
        tensor.doc_string = "behind the weights"
        model.graph.initializer.append(tensor)
    model.producer_name = "behind the graph"
    (tmp_path / "whole").write_bytes(model.SerializeToString())
    content = without_weights(model.SerializeToString(), "whole")
    assert content is not None
    read = onnx.load_from_string(content)
    assert [onnx.external_data_helper.uses_external_data(tensor) for tensor in read.graph.initializer] == [True, False, True]
    onnx.external_data_helper.load_external_data_for_model(read, str(tmp_path))
    for tensor in read.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    assert read == model
    assert without_weights(content, "whole") is None


def test_weights_are_passed_over(tmp_path: Path) -> None:
    big = np.zeros(1 << 20, np.float32)
    content = models.model([helper.make_node("Add", ["x", "w"], ["y"])], [("x", "FP32", (1,))], [("y", "FP32", (1 << 20,))], {"w": big})
    assert read_onnx(content).graph.constants == {"w"}


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x3a\x05\x0a", b"\x3b", b"\xff" * 20, b"ORTM" * 8])
def test_what_is_no_model(content: bytes, tmp_path: Path) -> None:
    with pytest.raises((ValueError, IndexError)):
        read_onnx(content)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises((ValueError, IndexError)):
        read_onnx(tmp_path / "model.onnx")


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    """To look into a mapped file that somebody cuts would end the process."""
    path = tmp_path / "model.onnx"
    path.write_bytes(EVERY[0])
    maps: list[bool] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "_model", lambda _content: maps.append(str(path) in Path("/proc/self/maps").read_text()))
        read_onnx(path)
    assert maps == [False]


def test_a_file_that_is_too_large_for_one(tmp_path: Path) -> None:
    """Nothing of it is read: it would take memory."""
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(1 << 31)
    for read in (read_onnx, onnx_file.external_files):
        with pytest.raises(ValueError, match="an ONNX file has 2 GiB at most"):
            read(tmp_path / "model.onnx")


def test_names_that_are_no_utf8() -> None:
    """Put right they could be the same: what depends on one of them would be taken to depend on the other."""
    nodes = [helper.make_node("Identity", ["x"], ["first"]), helper.make_node("Identity", ["first"], ["y"])]
    content = models.model(nodes, [("x", "FP32", (1,))], [("y", "FP32", (1,))])
    with pytest.raises(ValueError, match="utf-8"):
        read_onnx(content.replace(b"first", b"\xff" * 5))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EVERY[:7]), st.integers(0, 1 << 16), st.integers(0, 255), st.booleans())
def test_damaged_files_are_read_or_rejected(content: bytes, place: int, byte: int, cut: bool) -> None:
    place %= len(content)
    damaged = content[:place] if cut else content[:place] + bytes([byte]) + content[place + 1 :]
    with suppress(ValueError, IndexError):
        read_onnx(damaged)
    with suppress(ValueError, IndexError):
        initial_values(damaged, dict.fromkeys(read_onnx(content).graph.constants, "INT64"))
