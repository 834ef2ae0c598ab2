"""What the benchmarks send: models of known cost, and the request bodies for them. No server, no clock in here."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dev_packages  # noqa: F401
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from inferd.protocol import inference

INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
STREAM_PATH = "/inference.GRPCInferenceService/ModelStreamInfer"
IMAGE_SHAPE = (3, 224, 224)
LIGHT_MODELS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@dataclass(frozen=True)
class Workload:
    """One model, one request for it, and the answer that is right."""

    model: str
    input: str
    output: str
    value: NDArray[np.float32]  # one row, batch axis first

    def message(self) -> bytes:
        """The ModelInferRequest with the tensor as raw bytes."""
        request = inference.ModelInferRequest(model_name=self.model)
        request.inputs.add(name=self.input, datatype="FP32", shape=self.value.shape)
        request.raw_input_contents.append(self.value.tobytes())
        serialized: bytes = request.SerializeToString()
        return serialized

    def write_body(self, folder: Path) -> Path:
        """The message behind gRPC's length prefix, as a file for h2load."""
        message = self.message()
        path = folder / f"{self.model}.body"
        path.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        return path


def put(repository: Path, name: str, model: onnx.ModelProto, version: int = 1) -> None:
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)


def small_model(name: str, op: str, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> onnx.ModelProto:
    """One node between x and y, with a free batch axis."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", *out_shape])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def light(name: str) -> onnx.ModelProto:
    """A network of the onnx package's own tests (real architecture, constant weights), its batch axis set free."""
    model = onnx.load(LIGHT_MODELS / f"light_{name}.onnx")
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    # From IR version 4 on, initializers need not be inputs: only the image is left as one.
    model.ir_version = max(model.ir_version, 8)
    images = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(images)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    targets = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in targets:
            free_first_axis(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in targets:
            free_first_axis(node.attribute[0].t)
    return model


def free_first_axis(target: onnx.TensorProto) -> None:
    """A Reshape target that fixes the batch at 1 keeps the input's own first axis instead."""
    shape = onnx.numpy_helper.to_array(target).copy()
    if shape[0] == 1:
        shape[0] = 0
        target.CopyFrom(onnx.numpy_helper.from_array(shape, target.name))


def identity(repository: Path) -> Workload:
    put(repository, "identity", small_model("identity", "Identity", (16,), (16,)))
    return Workload("identity", "x", "y", np.arange(16, dtype=np.float32).reshape(1, 16))


def numbers() -> onnx.ModelProto:
    """The largest of each row's whole numbers, of which a row may have any number."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[1])],
        "numbers",
        [helper.make_tensor_value_info("x", TensorProto.INT32, ["rows", "numbers"])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["rows", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def pool(repository: Path) -> Workload:
    """602 KB in, 12 bytes out: what a large message costs."""
    put(repository, "pool", small_model("pool", "GlobalAveragePool", IMAGE_SHAPE, (3, 1, 1)))
    return Workload("pool", "x", "y", image())


def resnet50(repository: Path) -> Workload:
    model = light("resnet50")
    put(repository, "resnet50", model)
    return Workload("resnet50", model.graph.input[0].name, model.graph.output[0].name, image())


def with_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A `light` network whose file holds its weights, as a trained one's does: random numbers of a trained one's size."""
    graph, generator = model.graph, np.random.default_rng(0)
    shapes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = [node for node in graph.node if node.op_type == "ConstantOfShape" and node.input[0] in shapes]
    for node in made:
        shape = tuple(shapes[node.input[0]])
        weights = generator.standard_normal(shape, np.float32) * math.sqrt(2 / max(math.prod(shape[1:]), 1))
        graph.initializer.append(onnx.numpy_helper.from_array(np.abs(weights) if len(shape) == 1 else weights, node.output[0]))
        graph.node.remove(node)
    kept = [tensor for tensor in graph.initializer if tensor.name not in {node.input[0] for node in made}]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def squeezenet(repository: Path) -> Workload:
    model = light("squeezenet")
    put(repository, "squeezenet", model)
    return Workload("squeezenet", model.graph.input[0].name, model.graph.output[0].name, image())


def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((1, *IMAGE_SHAPE), dtype=np.float32)


def telling(version: int) -> onnx.ModelProto:
    """y = x + version: a response says which version made it, and for which request."""
    model = small_model("telling", "Identity", (1,), (1,))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([version], np.float32), "version"))
    model.graph.node[0].CopyFrom(helper.make_node("Add", ["x", "version"], ["y"]))
    return model


def turning(repository: Path) -> Workload:
    """As slow as the request says: y = x after x[0] turns of a loop of about 2 us each. For servers that stall, and for clients that
    must not be the limit."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["turns"], to=TensorProto.INT64),
    ]
    put(repository, "turning", looping("turning", nodes, []))
    return Workload("turning", "x", "y", np.ones((1, 1), np.float32))


def working(repository: Path, turns: Sequence[int]) -> Workload:
    """One model whose versions, from 1 on, differ in nothing but how many turns of that loop they do. All of them are served."""
    for version, count in enumerate(turns, 1):
        put(repository, "working", looping("working", [], [onnx.numpy_helper.from_array(np.array(count), "turns")]), version)
    (repository / "working" / "config.pbtxt").write_text("version_policy { all {} }\n")
    return Workload("working", "x", "y", np.ones((1, 1), np.float32))


def looping(name: str, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> onnx.ModelProto:
    """y = x after `turns` turns of a loop: these nodes or constants must say how many that is."""
    number = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("MatMul", ["state", "mirror"], ["next"]), helper.make_node("Identity", ["go"], ["go_on"])],
        "turn",
        [number("turn", TensorProto.INT64, []), number("go", TensorProto.BOOL, []), number("state", TensorProto.FLOAT, [64, 64])],
        [number("go_on", TensorProto.BOOL, []), number("next", TensorProto.FLOAT, [64, 64])],
    )
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("Loop", ["turns", "true", "state"], ["last"], body=body),
            helper.make_node("ReduceMax", ["last"], ["one"], keepdims=0),  # 1: the loop has to be run
            helper.make_node("Mul", ["x", "one"], ["y"]),
        ],
        name,
        [number("x", TensorProto.FLOAT, ["rows", 1])],
        [number("y", TensorProto.FLOAT, ["rows", 1])],
        [
            *constants,
            onnx.numpy_helper.from_array(np.array(True), "true"),
            onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "mirror"),
            onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "state"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model
