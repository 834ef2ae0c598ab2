"""A repository with the signatures of Triton's example models: those that are ONNX, and some that inferd does not serve beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests import models

CLASSES = 1000
SERVED = ("densenet_batched", "densenet_onnx", "simple", "simple_identity", "simple_int8", "simple_string")
REJECTED = ("inception_graphdef", "preprocess_ensemble", "simple_sequence")

_DENSENET = """
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size : {rows}
input [ {{ name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ] {inner_input} }} ]
output [ {{
  name: "fc6_1" data_type: TYPE_FP32 dims: [ 1000 ]
  reshape {{ shape: [ {inner_output} ] }}
  label_filename: "labels.txt"
}} ]
"""
_SIMPLE = """
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_{word} dims: [ 16 ] }}, {{ name: "INPUT1" data_type: TYPE_{word} dims: [ 16 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{word} dims: [ 16 ] }}, {{ name: "OUTPUT1" data_type: TYPE_{word} dims: [ 16 ] }} ]
"""
_CONFIGS = {
    "densenet_onnx": _DENSENET.format(
        name="densenet_onnx", rows=0, inner_input="reshape { shape: [ 1, 3, 224, 224 ] }", inner_output="1, 1000, 1, 1"
    ),
    "densenet_batched": _DENSENET.format(name="densenet_batched", rows=1, inner_input="", inner_output="1000, 1, 1"),
    "simple": _SIMPLE.format(name="simple", word="INT32"),
    "simple_int8": _SIMPLE.format(name="simple_int8", word="INT8"),
    "simple_string": _SIMPLE.format(name="simple_string", word="STRING"),
    "simple_identity": """
        max_batch_size: 8
        input [ { name: "INPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]
        output [ { name: "OUTPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]""",
    "simple_sequence": 'platform: "onnxruntime_onnx" max_batch_size: 8 sequence_batching { } instance_group [ { kind: KIND_CPU } ]',
    "inception_graphdef": 'platform: "tensorflow_graphdef" max_batch_size: 128',
    "preprocess_ensemble": 'platform: "ensemble" max_batch_size: 1 ensemble_scheduling { step [ { model_name: "simple" } ] }',
}


def densenet() -> bytes:
    """data_0 FP32[1,3,224,224] -> fc6_1 FP32[1,1000,1,1]: class k has the score k of the mean of channel k % 3."""
    weights = np.zeros((CLASSES, 3, 1, 1), np.float32)
    weights[np.arange(CLASSES), np.arange(CLASSES) % 3, 0, 0] = np.arange(CLASSES)
    return models.model(
        [helper.make_node("GlobalAveragePool", ["data_0"], ["means"]), helper.make_node("Conv", ["means", "weights"], ["fc6_1"])],
        [("data_0", "FP32", (1, 3, 224, 224))],
        [("fc6_1", "FP32", (1, CLASSES, 1, 1))],
        {"weights": weights},
    )


def simple(word: str) -> bytes:
    """INPUT0, INPUT1 [N,16] -> OUTPUT0 their sum, OUTPUT1 their difference, in whole numbers of 32 bits."""
    inputs, outputs = ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1")
    kind = models.ONNX_TYPES[word]
    nodes = [helper.make_node("Cast", [name], [f"{name}_number"], to=TensorProto.INT32) for name in inputs]
    nodes += [
        helper.make_node(operator, [f"{name}_number" for name in inputs], [f"{output}_number"])
        for operator, output in zip(("Add", "Sub"), outputs, strict=True)
    ]
    nodes += [helper.make_node("Cast", [f"{name}_number"], [name], to=kind) for name in outputs]
    return models.model(nodes, [(name, word, ("N", 16)) for name in inputs], [(name, word, ("N", 16)) for name in outputs])


def write(folder: Path) -> Path:
    """The repository, in `folder`."""
    strings = models.model(
        [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])],
        [("INPUT0", "BYTES", ("N", "size"))],
        [("OUTPUT0", "BYTES", ("N", "size"))],
    )
    files = {
        "densenet_onnx": densenet(),
        "densenet_batched": densenet(),
        "simple": simple("INT32"),
        "simple_int8": simple("INT8"),
        "simple_string": simple("BYTES"),
        "simple_identity": strings,
        **dict.fromkeys(REJECTED, simple("INT32")),
    }
    models.repository(folder, files, _CONFIGS)
    for name in ("densenet_onnx", "densenet_batched"):
        (folder / name / "labels.txt").write_text("".join(f"CLASS {number}\n" for number in range(CLASSES)))
    return folder
