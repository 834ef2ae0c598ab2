"""ONNX files: read, or ValueError, IndexError or RecursionError; a graph that the onnx package reads is the same in both.

The package takes a message that is there twice as one, and the reader does not: both read what the package makes of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import onnx
from google.protobuf.message import DecodeError

from inferd.engine.graph.onnx_file import Subgraph, read_onnx
from tests import models
from tests.engine.graph.test_onnx_file import EVERY

MODULES = ()
LINES = ("inferd.engine.graph.onnx_file",)
DICTIONARY = (
    b"\x3a\x02",
    b"\x0a\x01x",
    b"\x12\x01y",
    b"\x22\x03Add",
    b"\x2a\x02",
    b"\x32\x02",
    b"\x5a\x02",
    b"\xca\x01\x02",
    b"\x3d\0\0\0\0",
)
NOT_ONE = (ValueError, IndexError, RecursionError)


def check(data: bytes) -> None:
    with suppress(*NOT_ONE):
        read_onnx(data)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return
    model.ClearField("functions")
    model.DiscardUnknownFields()
    if model.HasField("graph") and all(isinstance(name, str) for name in names_of(model.graph)):
        agree(read_onnx(model.SerializeToString()).graph, model.graph)


def tensors_of(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [*graph.initializer, *(each.values for each in graph.sparse_initializer)]


def graphs_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [each for attribute in node.attribute for each in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs)]


def names_of(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """All that is read; bytes where they are no UTF-8."""
    yield from (tensor.name for tensor in tensors_of(graph))
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from (node.op_type, node.domain, node.overload, *node.input, *node.output)
        for inner in graphs_of(node):
            yield from names_of(inner)


def agree(read: Subgraph, graph: onnx.GraphProto) -> None:
    """A tensor or an output without a name is nothing to the reader, and '' to the package."""
    assert read.constants - {""} == {tensor.name for tensor in tensors_of(graph)} - {""}
    assert [name for name in read.outputs if name] == [output.name for output in graph.output if output.name]
    for node, written in zip(read.nodes, graph.node, strict=True):
        assert node[:5] == (written.op_type, written.domain, written.overload, tuple(written.input), tuple(written.output))
        for one, other in zip(node.graphs, graphs_of(written), strict=True):
            agree(one, other)


def seeds() -> list[bytes]:
    branches = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "inner", [], [onnx.ValueInfoProto(name="y")])
    choice = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branches, else_branch=branches)
    found = [*EVERY, models.model([choice], [("c", "BOOL", ()), ("x", "FP32", (1,))], [("y", "FP32", (1,))])]
    return [content for content in found if len(content) < 2000]
