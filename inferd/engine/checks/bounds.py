"""Whether the shapes of a request bound the cost of a run. Only such a model may become inline by itself: warm-up's times with zeros hold
for requests, too, and no request holds up the event loop.

Values may decide the cost, too: an input says how often a Loop runs and how much Range makes, and NonZero finds nothing in zeros. So the
whole graph is searched, with nested graphs and the functions that the file defines. It is bounded if it has

- no Loop, Scan or other operator with a graph inside; except an If whose branch shapes alone choose: both branches are searched;
- no operator whose work or output size depends on an input's values. The output of Shape and the file's constants do not depend on them;
- no operator of a domain that is not known here.

A tensor counts as dependent on values unless it is known not to be. Never in here: ONNX's format (graph/onnx_file.py), times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.graph.onnx_file import Function, Node, OnnxFile, Subgraph, read_onnx

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})

_EVERY = tuple(range(32))
# Inputs whose values decide an operator's work or output size. ai.onnx up to opset 24, and ONNX Runtime's own operators.
_DECIDING: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("Range", "ConstantOfShape", "MelWeightMatrix", "HannWindow", "HammingWindow", "BlackmanWindow", "ImageDecoder", "StringSplit"),
        _EVERY,
    ),
    **dict.fromkeys(("NonZero", "Unique", "Compress", "NonMaxSuppression", "DynamicTimeWarping", "BifurcationDetector"), _EVERY),
    **dict.fromkeys(("Tokenizer", "RemovePadding", "RestorePadding", "PackedAttention", "PackedMultiHeadAttention"), _EVERY),
    **dict.fromkeys(("PagedAttention", "SparseAttention", "LongformerAttention"), _EVERY),
    **dict.fromkeys(("Reshape", "Expand", "Upsample", "OneHot", "TopK", "Split", "SplitToSequence", "Squeeze", "Unsqueeze"), (1,)),
    **dict.fromkeys(("CenterCropPad", "AffineGrid", "ExpandDims", "SequenceAt", "SequenceErase", "RoiAlign", "MaxRoiPool"), (1,)),
    "Tile": (1, 2),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "Col2Im": (1, 2),
    "DFT": (1, 2),
    "STFT": (1, 3),
    "MaxUnpool": (2,),
    "CropAndResize": (1, 3),
    "ConvTransposeWithDynamicPads": (2,),
    "RelativePositionBias": (1, 2),
    **dict.fromkeys(("RNN", "GRU", "LSTM", "AttnLSTM", "DynamicQuantizeLSTM"), (4,)),  # how long each sequence is
    "Attention": (6,),
    "GroupQueryAttention": (5, 6),
    "DecoderMaskedSelfAttention": (5,),
    "DecoderMaskedMultiHeadAttention": (7,),
}
_REDUCE = (1,)  # which axes

_FREE = frozenset({"Shape", "Size", "EyeLike"})  # their outputs depend on no value
_CHANCE = ("Random", "Multinomial", "Bernoulli")  # their outputs are random

Free = frozenset[str]  # names of tensors that do not depend on an input's values


class _UnboundedError(Exception):
    """The cost is not bounded. Its text says why."""


def why_unbounded(source: str | os.PathLike[str] | bytes, inputs: frozenset[str] = frozenset()) -> str:
    """Why the shapes of a request do not bound a run of this ONNX file (or the bytes of one); '' where they do. inputs: tensors with a
    value in the file that requests may replace."""
    try:
        file = read_onnx(source)
        _Look(file).graph(file.graph._replace(constants=file.graph.constants - inputs), frozenset())
    except _UnboundedError as found:
        return str(found)
    except (OSError, ValueError, IndexError, RecursionError):
        return "its graph could not be looked through for operators whose cost depends on values"
    return ""


class _Look:
    """One search of a file. Raises _UnboundedError."""

    def __init__(self, file: OnnxFile) -> None:
        self._functions = file.functions
        self._calls: dict[tuple[tuple[str, str, str], tuple[bool, ...]], tuple[bool, ...]] = {}  # found before, by function and inputs

    def graph(self, graph: Subgraph, outer: Free) -> tuple[bool, ...]:
        """Whether each output is free of values. outer: free tensors of the graphs around it."""
        return self._through(graph.nodes, set(outer | graph.constants), graph.outputs)

    def _through(self, nodes: Sequence[Node], free: set[str], outputs: Sequence[str]) -> tuple[bool, ...]:
        free.add("")  # an input that is left out
        for node in nodes:
            for name, is_free in zip(node.outputs, self._node(node, free), strict=True):
                free.add(name) if is_free else free.discard(name)
        return tuple(name in free for name in outputs)

    def _node(self, node: Node, free: set[str]) -> tuple[bool, ...]:
        key = node.domain, node.operator, node.overload
        if key in self._functions:
            return self._call(key, self._functions[key], tuple(name in free for name in node.inputs), len(node.outputs))
        if node.operator == "If" and node.domain in ("", "ai.onnx"):
            return self._branches(node, free)
        if node.graphs or node.operator == "SequenceMap":
            raise _UnboundedError(f"shapes do not say how often its {node.operator} runs")
        if node.domain not in _DOMAINS:
            raise _UnboundedError(f"it has {node.operator} of {node.domain}, and nothing is known of what that costs")
        deciding = _REDUCE if node.operator.startswith("Reduce") else _DECIDING.get(node.operator, ())
        if any(index in deciding and name not in free for index, name in enumerate(node.inputs)):
            raise _UnboundedError(f"the cost of its {node.operator} depends on the values of an input")
        is_free = node.operator in _FREE or (not node.operator.startswith(_CHANCE) and free.issuperset(node.inputs))
        return (is_free,) * len(node.outputs)

    def _branches(self, node: Node, free: set[str]) -> tuple[bool, ...]:
        if not free.issuperset(node.inputs):
            raise _UnboundedError("the values of an input choose the branch of its If")
        found = [self.graph(branch, frozenset(free)) for branch in node.graphs]
        return tuple(map(all, zip(*found, strict=True)))

    def _call(self, key: tuple[str, str, str], function: Function, given: tuple[bool, ...], wanted: int) -> tuple[bool, ...]:
        if (key, given) not in self._calls:
            left_out = (True,) * (len(function.inputs) - len(given))
            free = {name for name, is_free in zip(function.inputs, (*given, *left_out), strict=True) if is_free}
            self._calls[key, given] = self._through(function.nodes, free, function.outputs)
        return self._calls[key, given][:wanted]
