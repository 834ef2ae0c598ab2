"""Recorded requests: read as they travelled, sent to another model, and never misread."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench.inputs import make
from inferd.bench.recording import read_recording
from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description
from inferd.errors import ConfigError
from inferd.protocol import inference
from tests.wire import Caller

DESCRIPTION = Description("identity", "", (Spec("x", "FP32", (-1, 16)),), ())


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)


def request(value: float = 1, **options: object) -> inference.ModelInferRequest:
    message = inference.ModelInferRequest(model_name="other", model_version="3", id="a", **options)
    message.inputs.add(name="x", datatype="FP32", shape=[1, 16])
    message.raw_input_contents.append(np.full(16, value, np.float32).tobytes())
    return message


def typed() -> inference.ModelInferRequest:
    message = request()
    message.ClearField("raw_input_contents")
    message.inputs[0].contents.fp32_contents.extend(range(16))
    return message


def refusal(path: Path, content: bytes, **options: object) -> str:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        make(DESCRIPTION, recorded=str(path), **options)
    return str(caught.value)


def test_requests_are_readdressed_and_else_unchanged(tmp_path: Path, served) -> None:
    file = tmp_path / "recorded"
    file.write_bytes(framed(*(message.SerializeToString() for message in (request(1), request(2), typed()))))
    made = make(DESCRIPTION, recorded=str(file))
    assert [arrays["x"][0, 0] for arrays in made.inputs] == [1, 2, 0]
    messages = [inference.ModelInferRequest.FromString(body) for body in made.bodies]
    assert {(message.model_name, message.model_version, message.id) for message in messages} == {("identity", "", "a")}
    assert messages[2].raw_input_contents[0] == np.arange(16, dtype=np.float32).tobytes()
    assert not messages[2].inputs[0].HasField("contents")
    with Caller(served.address) as caller:
        responses = [inference.ModelInferResponse.FromString(caller.start(body).result()) for body in made.bodies]
    assert [answer.raw_output_contents[0] for answer in responses] == [message.raw_input_contents[0] for message in messages]
    assert len(make(DESCRIPTION, recorded=str(file), count=2).bodies) == 2


def test_what_is_no_recording(tmp_path: Path) -> None:
    file, good = tmp_path / "recorded", request().SerializeToString()
    assert "cannot be read: No such file" in _missing(tmp_path / "absent")
    assert "got an empty file" in refusal(file, b"")
    assert f"request 1 at byte {len(good) + 5}: expected 5 bytes before the message, got 2" in refusal(file, framed(good) + b"\0\0")
    assert "expected a message of 9 bytes, got 3" in refusal(file, b"\0\0\0\0\x09abc")
    assert "expected a message that is not compressed (0), got 1" in refusal(file, b"\1\0\0\0\0")
    assert "request 1: expected a ModelInferRequest" in refusal(file, framed(good, b"\xff\xff"))
    assert "leave --rows out" in refusal(file, framed(good), rows=2)
    assert "leave --input out" in refusal(file, framed(good), files=["x=1"])


def _missing(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_recording(str(path))
    return str(caught.value)


def test_requests_that_the_model_cannot_take(tmp_path: Path) -> None:
    file = tmp_path / "recorded"
    short, unknown, shared, surplus = request(), request(), request(), request()
    short.raw_input_contents[0] = b"123"
    unknown.inputs[0].name = "z"
    shared.inputs[0].parameters["shared_memory_region"].string_param = "region"
    surplus.raw_input_contents.append(b"")
    assert "input 'x': expected 64 bytes for FP32[1, 16], got 3" in _sent(file, short)
    assert "request 0 has the input z (FP32); the model takes: x (FP32 [?, 16])" in _sent(file, unknown)
    assert "lies in shared memory" in _sent(file, shared)
    assert "it has 1 inputs, and raw contents of 2" in _sent(file, surplus)


def _sent(file: Path, message: inference.ModelInferRequest) -> str:
    return refusal(file, framed(message.SerializeToString()))


def test_more_requests_than_anybody_sends_in_turn(tmp_path: Path) -> None:
    assert "expected 1,000,000 requests at most" in refusal(tmp_path / "recorded", bytes(5 * 1_000_001))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(framed(content) if len(content) % 2 else content)
    try:
        made = make(DESCRIPTION, recorded=str(file))
    except ConfigError:
        return
    assert len(made.bodies) == len(made.inputs)
