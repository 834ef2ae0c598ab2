"""Models with operators of onnxruntime-extensions. test_session.py runs this file in a process of its own."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from inferd import Engine
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import SessionOptions
from inferd.errors import ConfigError, Internal, InvalidArgument
from tests import models

UNSAFE = SessionOptions(unsafe_operators=True)


def upper() -> bytes:
    """text BYTES[N] -> loud BYTES[N], by an operator that onnxruntime itself does not have."""
    graph = helper.make_graph(
        [helper.make_node("StringUpper", ["text"], ["loud"], domain="ai.onnx.contrib")],
        "graph",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("loud", TensorProto.STRING, ["N"])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def pixels() -> bytes:
    """image UINT8[N], a file -> pixels UINT8[H, W, 3] in BGR, as the package's own tools begin a graph that takes images."""
    graph = helper.make_graph(
        [helper.make_node("DecodeImage", ["image"], ["pixels"], domain="com.microsoft.extensions")],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N"])],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["H", "W", 3])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft.extensions", 1)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def test_operators_of_onnxruntime_extensions_are_there_where_a_model_has_them() -> None:
    answer = OnnxModel.load(upper(), UNSAFE, name="loud").trial({"text": np.array(["abc", "x1"], object)})
    assert answer["loud"].tolist() == ["ABC", "X1"]
    assert "onnxruntime_extensions" not in sys.modules
    assert "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION" not in os.environ


def test_so_are_those_of_images() -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (10, 20, 30)).save(file, "PNG")
    answer = OnnxModel.load(pixels(), UNSAFE, name="decoded").trial({"image": np.frombuffer(file.getvalue(), np.uint8)})
    assert answer["pixels"].tolist() == [[[30, 20, 10]] * 3] * 2


def test_what_an_operator_of_theirs_rejects_is_the_clients_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The operator's own words on one line, no traceback; others are answered."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), (10, 20, 30)).save(file, "PNG")
    models.repository(tmp_path, {"m": pixels()}, {"m": "max_batch_size: 0 inferd { unsafe_operators: true }"})
    with caplog.at_level(logging.INFO, "inferd.engine"), Engine(tmp_path) as engine:
        assert "'m': it has operators of onnxruntime-extensions, of which some end the whole process" in caplog.text
        for sent in (b"nopic", b"", file.getvalue()[:60]):
            with pytest.raises(InvalidArgument) as caught:
                engine.infer("m", {"image": np.frombuffer(sent, np.uint8)})
            assert re.fullmatch(
                r"model 'm': its operator DecodeImage rejected what was sent \(\[ImageDecoder\]: .+\): "
                r"send what that operator takes in 'image'",
                str(caught.value),
            )
            assert caught.value.reason == "bad_content"
        answer = engine.infer("m", {"image": np.frombuffer(file.getvalue(), np.uint8)})
    assert answer["pixels"].tolist() == [[[30, 20, 10]] * 3] * 2
    rejected = [record for record in caplog.records if "operators rejected" in record.getMessage()]
    assert len(rejected) == 1
    assert not any(record.exc_info for record in caplog.records)


def test_an_operator_of_theirs_that_gets_no_memory_has_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As any operator has: INTERNAL, and told in the log."""
    graph = helper.make_graph(
        [helper.make_node("SegmentSum", ["rows", "segments"], ["sums"], domain="ai.onnx.contrib")],
        "graph",
        [
            helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 1000]),
            helper.make_tensor_value_info("segments", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["K", 1000])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)])
    made.ir_version = 8
    models.repository(tmp_path, {"m": made.SerializeToString()}, {"m": "max_batch_size: 0 inferd { unsafe_operators: true }"})
    rows = np.ones((2, 1000), np.float32)
    with Engine(tmp_path) as engine:
        assert engine.infer("m", {"rows": rows, "segments": np.array([0, 0])})["sums"].tolist() == [[2.0] * 1000]
        with pytest.raises(InvalidArgument, match="its operator SegmentSum rejected what was sent"):
            engine.infer("m", {"rows": rows, "segments": np.array([1, 0])})
        with pytest.raises(Internal, match=r"'m'.*: the run failed; the server's log has the details"):
            engine.infer("m", {"rows": rows, "segments": np.array([0, 1 << 40])})  # more than addresses there are
    assert "operator SegmentSum, node '': it got no memory" in caplog.text


@pytest.mark.parametrize("content", [upper(), pixels()])
def test_those_by_which_clients_can_end_the_process_are_rejected(tmp_path: Path, content: bytes) -> None:
    models.repository(tmp_path, {"m": content}, {"m": "max_batch_size: 0"})
    with pytest.raises(ConfigError, match=r"'m': it has operators of onnxruntime-extensions, of which some end .* set unsafe_operators"):
        Engine(tmp_path)
