"""A large file is parsed without its weights, and answers as it would as a whole."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from inferd.engine.graph import weights
from inferd.engine.graph.weights import parted
from inferd.engine.runtime.onnx import session
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import StartError
from tests import models


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """x @ (1024 columns of weights) + the bias, of which the last is small."""
    shape = (1024, 1100)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "weights"], ["product"]), onnx.helper.make_node("Add", ["product", "bias"], ["y"])],
        "large",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", shape[0]])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", shape[1]])],
        [
            onnx.numpy_helper.from_array(np.random.default_rng(0).random(shape, np.float32), "weights"),
            onnx.numpy_helper.from_array(np.arange(shape[1], dtype=np.float32), "bias"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return models.write(tmp_path, "large", model.SerializeToString())


def test_onnxruntime_takes_the_graph_and_the_weights_apart(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def spied(file: Any) -> weights.Parts | None:
        parts = parted(file)
        assert parts is not None
        made.append((len(parts.graph), weakref.ref(parts.weights[weights.LOCATION])))
        return parts

    monkeypatch.setattr(session, "parted", spied)
    loaded = OnnxModel.load(large)
    ((graph_bytes, held),) = made
    assert graph_bytes < 16 << 10
    assert held() is None  # the session has what it needs
    x = np.random.default_rng(1).random((3, 1024), np.float32)
    (expected,) = onnxruntime.InferenceSession(large, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    np.testing.assert_array_equal(loaded.trial({"x": x})["y"], expected)


def test_what_is_parsed_as_a_whole(large: Path, tmp_path: Path) -> None:
    assert parted(models.write(tmp_path, "small", models.identity())) is None
    assert parted(tmp_path / "none.onnx") is None
    content = large.read_bytes()
    large.write_bytes(content[:-1])
    assert parted(large) is None  # cut off: onnxruntime says what is wrong
    large.write_bytes(bytes(weights.LEAST_BYTES))
    assert parted(large) is None
    model = onnx.load_from_string(content)
    onnx.external_data_helper.set_external_data(model.graph.initializer[1], "bias.bin")
    large.write_bytes(model.SerializeToString())
    assert parted(large) is None  # weights in another file, which is not there


def test_a_model_keeps_its_weights_whatever_is_written_over_their_file(tmp_path: Path) -> None:
    file = models.write(tmp_path, "m", models.with_weights_in("weights.bin", "sub/more.bin"))
    (tmp_path / "sub").mkdir()
    written = [tmp_path / "weights.bin", tmp_path / "sub" / "more.bin"]
    for path in written:
        path.write_bytes(np.float32(1).tobytes())
    loaded = OnnxModel.load(file)
    x = np.zeros((1, 16), np.float32)
    assert loaded.trial({"x": x})["y"].tolist() == [[2.0] * 16]
    for path in written:
        path.write_bytes(b"")
    assert loaded.trial({"x": x})["y"].tolist() == [[2.0] * 16]
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_weights_that_would_take_much_of_the_memory_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = models.write(tmp_path, "m", models.with_weights_in("weights.bin"))
    (tmp_path / "weights.bin").write_bytes(np.float32(1).tobytes())
    for left, mapped in ((12, False), (11, True)):
        monkeypatch.setattr(weights, "_left_bytes", lambda left=left: left)
        assert (parted(file) is None) is mapped


def test_a_tensor_above_2_gib(tmp_path: Path) -> None:
    """Its file has no bytes on the disk, and is mapped: the test needs no memory."""
    rows = (1 << 31) // 4096 + 1
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[rows, 1024], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["w", "x"], ["y"])],
        "large",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["rows"])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 1024])],
        [tensor],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    file = models.write(tmp_path, "large", model.SerializeToString())
    with open(tmp_path / "weights.bin", "wb") as written:
        written.truncate(rows * 4096)
    loaded = OnnxModel.load(file)
    assert not loaded.trial({"x": np.array([0, rows - 1])})["y"].any()


def test_a_file_that_does_not_fit_is_rejected_before_the_system_ends_the_process(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = large.stat().st_size
    for left, read in ((3 * size, True), (3 * size - 1, False), (2 * size, False)):
        monkeypatch.setattr(weights, "_left_bytes", lambda left=left: left)
        assert (parted(large) is not None) is read
        OnnxModel.load(large)
    monkeypatch.setattr(weights, "_left_bytes", lambda: 2 * size - 1)
    with pytest.raises(StartError, match=r"has 4 MiB, and takes 8 MiB of memory to be opened; 8 MiB are left: raise the memory limit"):
        OnnxModel.load(large)
