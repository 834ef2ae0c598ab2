"""Cuts the ZipMap at the end of a classifier's graph. skl2onnx adds one by default, and no response can carry its list of maps.

The ZipMap becomes an Identity: its output keeps its name, and is the tensor of probabilities that the ZipMap was given. The keys of the
maps are the classes of that tensor's columns. Never in here: the file on disk, which stays as it is; the onnx package.
"""

from __future__ import annotations

import os
from pathlib import Path

from google.protobuf.message import DecodeError

from inferd.protocol import onnx

Cut = dict[str, tuple[str, ...]]  # by output: the classes of its columns


def without_zipmaps(source: str | os.PathLike[str] | bytes) -> tuple[bytes, Cut]:
    """The model's bytes without each ZipMap that makes an output of the graph. An empty Cut: there was none."""
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except DecodeError:
        return content, {}
    outputs = {output.name: output for output in model.graph.output}
    cut: Cut = {}
    for node in model.graph.node:
        if node.op_type != "ZipMap" or not (classes := _classes(node)):
            continue
        for name in outputs.keys() & set(node.output):
            cut[name] = classes
            outputs[name].ClearField("type")  # onnxruntime infers it
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
    return model.SerializeToString(), cut


def _classes(node: onnx.NodeProto) -> tuple[str, ...]:
    """The keys of the maps, in the order of the columns."""
    labels = [attribute for attribute in node.attribute if attribute.name.startswith("classlabels_")]
    texts = [text.decode("utf-8", "replace") for attribute in labels for text in attribute.strings]
    return tuple(texts or [str(number) for attribute in labels for number in attribute.ints])
