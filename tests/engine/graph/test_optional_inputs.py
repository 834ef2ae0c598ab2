"""Inputs that requests may leave out: what they are then, and models that have some."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd._core.batching.local import LocalRequest
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.call import Call
from inferd._core.tensor.signature import Signature
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.graph.optional_inputs import defaults_of
from inferd.engine.loading.planner import Host
from inferd.engine.models.repository import Repository
from inferd.errors import ConfigError, InvalidArgument
from inferd.protocol import inference
from tests import models


def scaled(batch: str | int = "N", scale: tuple[int, ...] = (1, 2), external: bool = False) -> bytes:
    """x, scale FP32[N,2], unit BYTES[N,1] -> y = x * scale, z = unit; the file has defaults for scale and unit."""
    content = models.model(
        [helper.make_node("Mul", ["x", "scale"], ["y"]), helper.make_node("Identity", ["unit"], ["z"])],
        [("x", "FP32", (batch, 2)), ("scale", "FP32", (batch, 2)), ("unit", "BYTES", (batch, 1))],
        [("y", "FP32", (batch, 2)), ("z", "BYTES", (batch, 1))],
    )
    proto = onnx.load_from_string(content)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.full(scale, 3, np.float32), "scale"))
    proto.graph.initializer.append(helper.make_tensor("unit", onnx.TensorProto.STRING, [1, 1], [b"mm"]))
    if external:
        onnx.external_data_helper.set_external_data(proto.graph.initializer[0], "weights", 0, 8)
        proto.graph.initializer[0].ClearField("raw_data")
    return proto.SerializeToString()


CONFIG = """
max_batch_size: {rows}
input {{ name: "x" data_type: TYPE_FP32 dims: [ {batch}2 ] }}
input {{ name: "unit" data_type: TYPE_STRING dims: [ {batch}1 ] optional: true }}
input {{ name: "scale" data_type: TYPE_FP32 dims: [ {batch}2 ] optional: true }}
dynamic_batching {{ }}
"""


class Asked(Call):
    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()
        self.response: Any = None

    def reply(self, message: object) -> None:
        self.response = message
        self.done.set()

    def fail(self, error: Exception) -> None:
        self.response = error
        self.done.set()


@pytest.fixture
def loaded() -> Iterator[Any]:
    made: list[Repository] = []

    def load(folder: Path) -> Any:
        made.append(Repository(Defaults(), deliver=Batch.deliver, host=Host(2, 2)))
        made[-1].load(folder)
        return made[-1].lookup("m", "")

    yield load
    for repository in made:
        repository.close()


def ask(model: Any, **inputs: Any) -> dict[str, Any]:
    arrays = {name: np.array(value, object if name == "unit" else np.float32) for name, value in inputs.items()}
    request, asked = LocalRequest([(name, "BYTES" if name == "unit" else "FP32", array) for name, array in arrays.items()]), Asked()
    model.check(request)
    model.submit(request, asked)
    assert asked.done.wait(30)
    assert isinstance(asked.response, dict), asked.response
    return {name: array.tolist() for name, array in asked.response.items()}


@pytest.mark.parametrize("batched", [True, False])
def test_what_is_left_out_has_its_default(tmp_path: Path, loaded: Any, batched: bool) -> None:
    text = CONFIG.format(rows=4, batch="") if batched else CONFIG.format(rows=0, batch="1, ").replace("dynamic_batching { }", "")
    models.repository(tmp_path, {"m": scaled("N" if batched else 1)}, {"m": text})
    model = loaded(tmp_path)
    assert ask(model, x=[[1, 2]]) == {"y": [[3, 6]], "z": [[b"mm"]]}
    assert ask(model, x=[[1, 2]], scale=[[5, 7]]) == {"y": [[5, 14]], "z": [[b"mm"]]}
    assert ask(model, unit=[["cm"]], x=[[1, 2]]) == {"y": [[3, 6]], "z": [[b"cm"]]}
    if batched:
        assert ask(model, x=[[1, 2], [3, 4]]) == {"y": [[3, 6], [9, 12]], "z": [[b"mm"], [b"mm"]]}
    assert [entry.optional for entry in model.config.input] == [False, True, True]
    for wrong in ({"scale": [[1, 2]]}, {"x": [[1, 2]], "other": [[1]]}, {}):
        with pytest.raises(InvalidArgument):
            ask(model, **wrong)


def test_a_request_of_the_wire_that_leaves_inputs_out() -> None:
    signature = Signature("m", "1", [("s", "INT8", (-1, 2)), ("x", "INT8", (-1, 2)), ("t", "BYTES", (-1, 1))], [("y", "INT8", (-1,))], 3)
    signature.defaults = defaults_of(signature, {"s": b"\7\1", "t": b"\2\0\0\0ab"}, "m")
    sent = inference.ModelInferRequest(model_name="m", raw_input_contents=[b"\1\2\3\4"])
    sent.inputs.add(name="x", datatype="INT8", shape=[2, 2])
    request = decode_infer_request(sent.SerializeToString())
    request.check(signature)
    scale, x, text = request.values()
    assert (scale.tolist(), x.tolist(), [bytes(each) for each in text]) == ([[7, 1], [7, 1]], [[1, 2], [3, 4]], [b"ab", b"ab"])
    assert (request.rows, request.nbytes) == (2, 4 + 4 + 12)
    for shape in ([4, 2], [0, 2], [], [-1, 2]):
        sent.inputs[0].shape[:] = shape
        with pytest.raises(InvalidArgument):
            decode_infer_request(sent.SerializeToString()).check(signature)


@pytest.mark.parametrize(
    ("content", "text", "words"),
    [
        (scaled(scale=(2, 2)), CONFIG.format(rows=4, batch=""), "input 'scale': optional is true, and the default in the ONNX file is not"),
        (scaled(external=True), CONFIG.format(rows=4, batch=""), "input 'scale': optional is true"),
        (models.identity(), 'input { name: "x" optional: true }', "input 'x': optional is true, and the graph has no default for it"),
    ],
    ids=["two rows", "in a file of its own", "no default"],
)
def test_defaults_that_are_none(tmp_path: Path, loaded: Any, content: bytes, text: str, words: str) -> None:
    models.repository(tmp_path, {"m": content}, {"m": text})
    (tmp_path / "m" / "1" / "weights").write_bytes(bytes(8))
    with pytest.raises(ConfigError, match=words):
        loaded(tmp_path)


def test_a_default_that_is_too_large_for_all_rows() -> None:
    signature = Signature("m", "1", [("x", "UINT8", (-1, 1 << 20))], [("y", "FP32", (-1,))], 65)
    with pytest.raises(ConfigError, match="its default for 65 rows has more than 67108864 bytes"):
        defaults_of(signature, {"x": bytes(1 << 20)}, "m")
