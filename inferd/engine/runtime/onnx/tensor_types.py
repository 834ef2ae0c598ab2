"""The inputs and outputs of a session, with the datatypes of requests in place of onnxruntime's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.engine.graph.zipmap import Cut

# onnxruntime's type -> the Open Inference Protocol's word, ONNX's element number.
_TYPES: dict[str, tuple[str, int]] = {
    "tensor(bool)": ("BOOL", 9),
    "tensor(uint8)": ("UINT8", 2),
    "tensor(uint16)": ("UINT16", 4),
    "tensor(uint32)": ("UINT32", 12),
    "tensor(uint64)": ("UINT64", 13),
    "tensor(int8)": ("INT8", 3),
    "tensor(int16)": ("INT16", 5),
    "tensor(int32)": ("INT32", 6),
    "tensor(int64)": ("INT64", 7),
    "tensor(float16)": ("FP16", 10),
    "tensor(float)": ("FP32", 1),
    "tensor(double)": ("FP64", 11),
    "tensor(string)": ("BYTES", 8),
    "tensor(bfloat16)": ("BF16", 16),
}
ONNX_NUMBER = dict(_TYPES.values())


def graph_of(name: str, session: Any, classes: Cut) -> Graph:
    """classes: by output whose ZipMap was cut. The output has a column for each class, even if onnxruntime does not know its shape."""
    try:
        inputs, outputs = (
            tuple(tensor_of(name, side, node) for node in nodes)
            for side, nodes in (("input", session.get_inputs()), ("output", session.get_outputs()))
        )
    except UnicodeDecodeError:
        raise not_utf8(name) from None
    known = (replace(each, shape=("", len(classes[each.name]))) if each.name in classes and not each.shape else each for each in outputs)
    return Graph(inputs, tuple(known))


def not_utf8(name: str) -> ConfigError:
    return ConfigError(
        f"model {name!r} cannot be loaded: the name of an input, output, axis or operator in its file is not UTF-8 text, as ONNX has it: "
        "give it another name, and export the model again"
    )


def tensor_of(name: str, side: str, node: Any) -> TensorInfo:
    if node.type not in _TYPES:
        cure = "cast or remove it in the graph"
        if node.type.startswith("seq(map("):
            cure = "convert the model with zipmap=False (skl2onnx: options={'zipmap': False}), which gives a plain tensor"
        elif node.type.startswith("seq("):
            cure = "give each element an output of its own, or join them with ConcatFromSequence"
        elif node.type.startswith("optional("):
            cure = "make it an ordinary tensor in the graph"
        raise ConfigError(f"model {name!r}: {side} {node.name!r} has the type {node.type}, which no request can carry: {cure}")
    return TensorInfo(node.name, _TYPES[node.type][0], tuple("" if size is None else size for size in node.shape))
