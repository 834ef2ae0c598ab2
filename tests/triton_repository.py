"""A repository with the names and signatures of Triton's eight example models, all of them ONNX. inferd serves no sequences, so not two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests import models

SERVED = ("densenet_onnx", "inception_onnx", "simple", "simple_identity", "simple_int8", "simple_string")
REJECTED = ("simple_dyna_sequence", "simple_sequence")
INCEPTION_OUTPUT = "InceptionV3/Predictions/Softmax"

_DENSENET = """
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [ {
  name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ]
  reshape { shape: [ 1, 3, 224, 224 ] }
} ]
output [ {
  name: "fc6_1" data_type: TYPE_FP32 dims: [ 1000 ]
  reshape { shape: [ 1, 1000, 1, 1 ] }
  label_filename: "labels.txt"
} ]
"""
_INCEPTION = """
name: "inception_onnx"
platform: "onnxruntime_onnx"
max_batch_size: 128
input [ { name: "input" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 299, 299, 3 ] } ]
output [ { name: "InceptionV3/Predictions/Softmax" data_type: TYPE_FP32 dims: [ 1001 ] label_filename: "labels.txt" } ]
"""
_SIMPLE = """
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ {{ name: "INPUT0" data_type: TYPE_{word} dims: [ 16 ] }}, {{ name: "INPUT1" data_type: TYPE_{word} dims: [ 16 ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{word} dims: [ 16 ] }}, {{ name: "OUTPUT1" data_type: TYPE_{word} dims: [ 16 ] }} ]
"""
_CONFIGS = {
    "densenet_onnx": _DENSENET,
    "inception_onnx": _INCEPTION,
    "simple": _SIMPLE.format(name="simple", word="INT32"),
    "simple_int8": _SIMPLE.format(name="simple_int8", word="INT8"),
    "simple_string": _SIMPLE.format(name="simple_string", word="STRING"),
    "simple_identity": """
        max_batch_size: 8
        input [ { name: "INPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]
        output [ { name: "OUTPUT0" data_type: TYPE_STRING dims: [ -1 ] } ]""",
    **dict.fromkeys(REJECTED, 'platform: "onnxruntime_onnx" max_batch_size: 8 sequence_batching { } instance_group { kind: KIND_CPU }'),
}


def densenet() -> bytes:
    """data_0 FP32[1,3,224,224] -> fc6_1 FP32[1,1000,1,1]: class k has the score k of the mean of channel k % 3."""
    return models.model(
        [helper.make_node("GlobalAveragePool", ["data_0"], ["means"]), helper.make_node("Conv", ["means", "weights"], ["fc6_1"])],
        [("data_0", "FP32", (1, 3, 224, 224))],
        [("fc6_1", "FP32", (1, 1000, 1, 1))],
        {"weights": _weights(1000).T.reshape(1000, 3, 1, 1)},
    )


def inception() -> bytes:
    """input FP32[N,299,299,3] -> scores FP32[N,1001], of the channels' means as in `densenet`."""
    return models.model(
        [
            helper.make_node("ReduceMean", ["input"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], [INCEPTION_OUTPUT]),
        ],
        [("input", "FP32", ("N", 299, 299, 3))],
        [(INCEPTION_OUTPUT, "FP32", ("N", 1001))],
        {"weights": _weights(1001)},
    )


def _weights(classes: int) -> np.ndarray:
    weights = np.zeros((3, classes), np.float32)
    weights[np.arange(classes) % 3, np.arange(classes)] = np.arange(classes)
    return weights


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
        "inception_onnx": inception(),
        "simple": simple("INT32"),
        "simple_int8": simple("INT8"),
        "simple_string": simple("BYTES"),
        "simple_identity": strings,
        **dict.fromkeys(REJECTED, simple("INT32")),
    }
    models.repository(folder, files, _CONFIGS)
    for name in ("densenet_onnx", "inception_onnx"):
        (folder / name / "labels.txt").write_text("".join(f"CLASS {number}\n" for number in range(1001)))
    return folder
