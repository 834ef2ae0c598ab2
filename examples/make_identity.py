"""Makes the `identity` example: the response is the question. It shows what a server costs when the model costs nothing.

    python examples/make_identity.py

Writes examples/models/identity/1/model.onnx: x FP32[rows, 16] -> y FP32[rows, 16]. benchmarks/server_cost.py measures with it.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

WIDTH = 16


def identity() -> onnx.ModelProto:
    """One Identity node with a free batch axis."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", WIDTH])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="inferd examples")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    path = Path(__file__).resolve().parent / "models" / "identity" / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(identity(), path)
    print(f"{path.name}: {path.stat().st_size} bytes")
